"""
The settings of one app on the server, checked once, when it is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import attrs

from txpusher._validators import boolean, identifier, plain_str, seconds, whole_number
from txpusher.errors import ConfigurationError


def _webhook_urls(value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"webhooks must be several URLs, such as a list, not {type(value).__name__}"
        )
    urls = tuple(value)
    for url in urls:
        _check_webhook_url(url)
    return urls


def _check_webhook_url(url: object) -> None:
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


@attrs.frozen
class App:
    """
    One app: its credentials, its settings, and what its clients may do.

    :param id: The app's id; it need not be digits.
    :param key: The app's key.
    :param secret: The app's secret.
    :param webhooks: URLs, each of which is sent every webhook event of the app.
    :param client_events: Whether clients may send ``client-`` events.
    :param user_authentication: Whether clients may sign in.
    :param subscription_counts: Whether the subscribers of a channel are sent
        their number.
    :param activity_timeout: Seconds of silence after which either side pings.
    :param pong_timeout: Seconds that the server waits for the answer.
    :param max_connections: The most WebSocket connections at a time, None for
        any number; one more is refused with 4004.
    :param enabled: A disabled app answers 403, and 4003 to its clients.
    :raises ConfigurationError: A setting is missing or malformed.
    """

    id: str = attrs.field(converter=plain_str, validator=identifier())
    key: str = attrs.field(converter=plain_str, validator=identifier(), repr=False)
    secret: str = attrs.field(converter=plain_str, validator=identifier(), repr=False)
    webhooks: tuple[str, ...] = attrs.field(
        default=(), kw_only=True, converter=_webhook_urls, repr=False
    )
    client_events: bool = attrs.field(default=True, kw_only=True, validator=boolean())
    user_authentication: bool = attrs.field(default=True, kw_only=True, validator=boolean())
    subscription_counts: bool = attrs.field(default=True, kw_only=True, validator=boolean())
    activity_timeout: float = attrs.field(default=120.0, kw_only=True, validator=seconds())
    pong_timeout: float = attrs.field(default=30.0, kw_only=True, validator=seconds())
    max_connections: int | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(whole_number(1))
    )
    enabled: bool = attrs.field(default=True, kw_only=True, validator=boolean())


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
