"""
The settings of one app on the server, checked once, when it is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from txpusher._protocol.encryption import decode_master_key
from txpusher._text import is_str, short_repr, with_type
from txpusher._validators import (
    boolean,
    identifier,
    instance_of,
    plain_str,
    seconds,
    whole_number,
)
from txpusher.errors import ConfigurationError
from txpusher.server._limits import Limits


def _check_webhook_url(instance: object, attribute: Any, url: Any) -> None:
    # The URL is not quoted: it may hold a password.
    if not isinstance(url, str):
        raise ConfigurationError(f"webhooks must be URLs, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not url.isascii() or any(ch.isspace() for ch in url):
        raise ConfigurationError(
            "webhooks must be URLs such as http://127.0.0.1:8000/webhook, percent-escaped"
        )


def _events(value: object) -> frozenset[str] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"events of a webhook must be several names, such as a list, not {with_type(value)}"
        )
    names = list(value)
    unknown = [one for one in names if not is_str(one) or one not in WEBHOOK_EVENTS]
    if unknown:
        raise ConfigurationError(
            f"events of a webhook may be {', '.join(sorted(WEBHOOK_EVENTS))}, "
            f"not {short_repr(unknown)}"
        )
    return frozenset(names)


def _headers(value: object) -> Mapping[str, str]:
    headers = {} if value is None else value
    if not isinstance(headers, Mapping):
        raise ConfigurationError(
            f"headers of a webhook must be a mapping, not {type(headers).__name__}"
        )
    for name, text in headers.items():
        # Values are not quoted: they may be secrets.
        if not isinstance(name, str) or not _HEADER_NAME(name):
            raise ConfigurationError(
                f"headers of a webhook: {short_repr(name)} is no name of a header, or one that "
                "the server sets itself"
            )
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            raise ConfigurationError(
                f"headers of a webhook: the value of {name} must be a str of printable ASCII"
            )
    return dict(headers)


_HEADER_NAME = re.compile(
    r"(?!(?i:x-pusher-|content-|host$))[A-Za-z0-9!#$%&'*+.^_`|~-]+"
).fullmatch

#: The names of all webhook events ("Webhooks" in the Pusher Channels documentation).
WEBHOOK_EVENTS = frozenset(
    {
        "channel_occupied",
        "channel_vacated",
        "member_added",
        "member_removed",
        "client_event",
        "cache_miss",
        "subscription_count",
    }
)


def _check_master_key(instance: object, attribute: Any, text: Any) -> None:
    if text is not None:
        decode_master_key(text)


@attrs.frozen
class WebHookTarget:
    """
    A URL that is sent webhooks, and which of them.

    :param url: The URL; a user and a password in it go into an ``Authorization`` header.
    :param events: The names of the webhook events to send, None for all.
    :param channel_prefix: Only events of channels whose name begins so are sent.
    :param headers: Headers to send with each request, beside Pusher's own.
    :raises ConfigurationError: A setting is malformed.
    """

    url: str = attrs.field(validator=_check_webhook_url, repr=False)
    events: frozenset[str] | None = attrs.field(default=None, kw_only=True, converter=_events)
    channel_prefix: str = attrs.field(
        default="", kw_only=True, validator=instance_of(str, "a str")
    )
    headers: Mapping[str, str] = attrs.field(
        default=None, kw_only=True, converter=_headers, repr=False
    )

    def wants(self, event: Mapping[str, Any]) -> bool:
        """Return whether a webhook event is for this URL."""
        return (self.events is None or event["name"] in self.events) and event.get(
            "channel", ""
        ).startswith(self.channel_prefix)


def _webhooks(value: object) -> tuple[WebHookTarget, ...]:
    if isinstance(value, (str, bytes, WebHookTarget)) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"webhooks must be several URLs, such as a list, not {type(value).__name__}"
        )
    return tuple(one if isinstance(one, WebHookTarget) else WebHookTarget(one) for one in value)


def _or_default_limits(value: Limits | None) -> Limits:
    return Limits() if value is None else value


@attrs.frozen
class App:
    """
    One app: its credentials, its settings, and what its clients may do.

    :param id: The app's id; it need not be digits.
    :param key: The app's key.
    :param secret: The app's secret.
    :param webhooks: URLs, each of which is sent every webhook event of the app, or
        :class:`WebHookTarget` where a URL is to be sent some of them.
    :param webhook_grace: Seconds that ``channel_vacated`` and ``member_removed`` wait: a
        client that comes back in time, because its page was reloaded, has never left for
        the webhooks.  The hosted service waits for up to three seconds; 0 sends at once.
    :param webhook_batches: Whether events that happen at about the same time go out in one
        request.  The hosted service has batches switched off at first.
    :param client_events: Whether clients may send ``client-`` events.
    :param user_authentication: Whether clients may sign in.
    :param subscription_counts: Whether the subscribers of a channel are sent
        their number.
    :param activity_timeout: Seconds of silence after which either side pings.
    :param pong_timeout: Seconds that the server waits for the answer.
    :param authorization_timeout: Seconds in which a client must sign in or subscribe to a
        private or presence channel, lest its connection be closed with 4009; None for any
        time, as the hosted service has it until "Authorized connections" are switched on.
    :param limits: What the app's clients may use up, such as
        :data:`txpusher.server.HOSTED_LIMITS`; None for little more than 10 kB of data in an
        event, and ten client events in a second.
    :param max_connections: The most WebSocket connections at a time, None for
        any number; one more is refused with 4004.
    :param encryption_master_key_base64: The 32 bytes of the master key in base64, with which
        the console shows events of encrypted channels in clear; no client is ever sent it.
    :param enabled: A disabled app answers 403, and 4003 to its clients.
    :raises ConfigurationError: A setting is missing or malformed.
    """

    id: str = attrs.field(converter=plain_str, validator=identifier())
    key: str = attrs.field(converter=plain_str, validator=identifier(), repr=False)
    secret: str = attrs.field(converter=plain_str, validator=identifier(), repr=False)
    webhooks: tuple[WebHookTarget, ...] = attrs.field(
        default=(), kw_only=True, converter=_webhooks, repr=False
    )
    webhook_grace: float = attrs.field(default=3.0, kw_only=True, validator=seconds(zero=True))
    webhook_batches: bool = attrs.field(default=False, kw_only=True, validator=boolean())
    client_events: bool = attrs.field(default=True, kw_only=True, validator=boolean())
    user_authentication: bool = attrs.field(default=True, kw_only=True, validator=boolean())
    subscription_counts: bool = attrs.field(default=True, kw_only=True, validator=boolean())
    activity_timeout: float = attrs.field(default=120.0, kw_only=True, validator=seconds())
    pong_timeout: float = attrs.field(default=30.0, kw_only=True, validator=seconds())
    authorization_timeout: float | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(seconds())
    )
    limits: Limits = attrs.field(
        default=None,
        kw_only=True,
        converter=_or_default_limits,
        validator=instance_of(Limits, "a Limits such as HOSTED_LIMITS"),
    )
    max_connections: int | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(whole_number(1))
    )
    enabled: bool = attrs.field(default=True, kw_only=True, validator=boolean())
    encryption_master_key_base64: str | None = attrs.field(
        default=None, kw_only=True, validator=_check_master_key, repr=False
    )


def checked_apps(apps: Any) -> tuple[App, ...]:
    """
    Return *apps* as a tuple.

    :raises ConfigurationError: *apps* is empty or holds something that is no
        :class:`App`, or two apps share an id or a key.
    """
    if isinstance(apps, App) or not isinstance(apps, Iterable):
        raise ConfigurationError("apps must be several App, such as [App(...)]")
    checked = tuple(apps)
    if not checked:
        raise ConfigurationError("apps is empty: a server needs at least one App")
    for app in checked:
        if not isinstance(app, App):
            raise ConfigurationError(f"apps must hold App, not {type(app).__name__}")
    for what, values in (("id", [a.id for a in checked]), ("key", [a.key for a in checked])):
        if len(set(values)) != len(values):
            raise ConfigurationError(f"apps: two of them have the same {what}")
    return checked
