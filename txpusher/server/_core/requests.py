"""
What a request of the HTTP API says: its signature and its body, each accepted whole or
refused whole.

Sources: "Generating authentication signatures" and the limits in the Pusher Channels
"HTTP API reference".
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from txpusher._protocol import signing
from txpusher._protocol.encryption import is_encrypted
from txpusher._protocol.names import (
    MAX_CHANNELS,
    check_event_name,
    check_socket_id,
    check_target,
)
from txpusher._text import short_repr
from txpusher.server import _limits as limits
from txpusher.server._app import App
from txpusher.server._core.hub import Publication
from txpusher.server._core.json import kind_of, load_object
from txpusher.server._core.refusals import Refusal
from txpusher.server._core.state import is_presence, is_user_channel
from txpusher.server._limits import Limits

#: Characters that are quoted of a parameter beside the signature, with which a program may have
#: confused it.
_QUOTED = 20


class HTTPRefusedError(Exception):
    """
    A request is answered with an error, which the message explains.

    The message says what to look at; it holds neither a secret nor a signature.

    :ivar refusal: What is refused; its code is the HTTP status of the answer.
    :ivar headers: What other headers the answer has.
    """

    def __init__(self, refusal: Refusal, message: str, **headers: str) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


# The signature


def authenticate(
    app: App, method: str, path: str, params: Mapping[str, str], body: bytes, unix_time: float
) -> None:
    """
    Check that a request was signed with the secret of *app*.

    :param path: The path as it was sent, escapes included.
    :param params: The query's parameters, names in lower case, values unescaped.
    :param unix_time: The server's clock, in seconds since the epoch.
    :raises HTTPRefusedError: The request is not authentic; the message says why.
    """
    for name in ("auth_key", "auth_version", "auth_timestamp", "auth_signature"):
        if not params.get(name):
            raise HTTPRefusedError(Refusal.AUTH_MISSING, f"{name} is missing from the query")
    if not _same(params["auth_key"], app.key):
        raise HTTPRefusedError(
            Refusal.AUTH_KEY, "unknown auth_key: it is not the key of this app"
        )
    if params["auth_version"] != "1.0":
        version = short_repr(params["auth_version"], _QUOTED)
        raise HTTPRefusedError(Refusal.AUTH_VERSION, f"auth_version must be 1.0, not {version}")
    _check_time(params["auth_timestamp"], unix_time)
    _check_body(params.get("body_md5"), method, body)
    signed = {name: value for name, value in params.items() if name != "auth_signature"}
    right = signing.request_signature(app.secret, method, path, signed)
    if not signing.same_signature(params["auth_signature"], right):
        query = "&".join(f"{name}={signed[name]}" for name in sorted(signed))
        raise HTTPRefusedError(
            Refusal.AUTH_SIGNATURE,
            "invalid signature: it must be the HMAC-SHA256 in hex, with the secret of the "
            f"app with id {app.id}, of these three lines:\n{method}\n{path}\n{query}",
        )


def _check_time(text: str, unix_time: float) -> None:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise HTTPRefusedError(
            Refusal.AUTH_TIMESTAMP,
            f"auth_timestamp must be seconds since the epoch, not {short_repr(text, _QUOTED)}",
        )
    difference = int(text) - unix_time
    if abs(difference) > limits.CLOCK_DIFFERENCE:
        direction = "ahead of" if difference > 0 else "behind"
        raise HTTPRefusedError(
            Refusal.AUTH_TIMESTAMP,
            f"auth_timestamp is {abs(difference):.0f} seconds {direction} this server's "
            f"clock, and {limits.CLOCK_DIFFERENCE} are allowed",
        )


def _check_body(given: str | None, method: str, body: bytes) -> None:
    # The official Python SDK sends a body_md5 with its GETs too.
    if given is None:
        if method == "POST" and body:
            raise HTTPRefusedError(Refusal.AUTH_BODY, "body_md5 is missing from the query")
    elif not _same(given, signing.body_md5(body)):
        raise HTTPRefusedError(
            Refusal.AUTH_BODY, "body_md5 is not the MD5 of the body in lower-case hex"
        )


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


# Idempotency keys


def check_idempotency_key(what: str, key: object) -> str | None:
    """
    Return an idempotency key as it is, None where there is none.

    :param what: What has the key, for the message.
    :raises HTTPRefusedError: The key is no string, or empty or too long.
    """
    if key is None:
        return None
    if not isinstance(key, str):
        problem = kind_of(key)
    elif 0 < len(key) <= limits.IDEMPOTENCY_KEY:
        return key
    else:
        problem = f"{short_repr(key)} of {len(key)}"
    raise HTTPRefusedError(
        Refusal.IDEMPOTENCY_KEY,
        f"{what} must be a string of 1 to {limits.IDEMPOTENCY_KEY} characters, not {problem}",
    )


def scope_of_request(app: App, key: str, path: Iterable[str]) -> str:
    """
    Return what a request has in common with its copies alone, as JSON.

    :param key: The request's idempotency key.
    :param path: The segments of the path below the app's.
    """
    return json.dumps([app.id, key, "request", *path])


def scope_of_event(app: App, trigger: Trigger) -> str | None:
    """
    Return what an event has in common with its copies alone, None where it has no key.

    The key is the event's, whichever request carries it: a BatchPublisher may send an event
    in one batch, and its copy in another.  It counts together with the event's name and its
    channels, so that a key that is used twice by mistake swallows no other event; the data of
    a copy may differ, as it does where it is encrypted anew.
    """
    key, event = trigger.idempotency_key, trigger.publication
    if key is None:
        return None
    return json.dumps([app.id, key, "event", event.name, *sorted(event.channels)])


# The body


@attrs.frozen
class Trigger:
    """
    An event to publish.

    :ivar info: The attributes of its channels that the sender asks for.
    :ivar idempotency_key: What the event has in common with its copies, None without a key.
    """

    publication: Publication
    info: frozenset[str]
    idempotency_key: str | None = None


def json_body(body: bytes) -> dict[str, Any]:
    """
    Return the JSON object of a body.

    :raises HTTPRefusedError: The body is not a JSON object.
    """
    try:
        return load_object(body)
    except ValueError as error:
        raise HTTPRefusedError(
            Refusal.BODY, f"the body must be a JSON object: {error}"
        ) from None


def parse_event(
    fields: Mapping[str, Any], app_limits: Limits, idempotency_key: str | None = None
) -> Trigger:
    """
    Return the event in the body of POST /events.

    :param app_limits: The limits of the app.
    :param idempotency_key: The key of the request, which is the event's.
    :raises HTTPRefusedError: A field is missing, malformed or too large.
    :raises InvalidRequestError: A name is malformed.
    """
    channels = fields.get("channels")
    if channels is None:
        channels = [fields.get("channel")]
    elif not isinstance(channels, list):
        raise HTTPRefusedError(
            Refusal.BODY, f"channels must be an array of names, not {short_repr(channels)}"
        )
    if not 0 < len(channels) <= MAX_CHANNELS:
        raise HTTPRefusedError(
            Refusal.BODY, f"an event goes to 1 to {MAX_CHANNELS} channels, not {len(channels)}"
        )
    names = list(dict.fromkeys([check_target(name) for name in channels]))
    if len(names) > 1 and any(map(is_encrypted, names)):
        raise HTTPRefusedError(
            Refusal.BODY, "an encrypted channel must be the only one of an event"
        )
    return _trigger(fields, names, app_limits, idempotency_key)


def parse_batch(fields: Mapping[str, Any], app_limits: Limits) -> list[Trigger]:
    """
    Return the events in the body of POST /batch_events.

    :param app_limits: The limits of the app.
    :raises HTTPRefusedError: The batch or an event of it is missing, malformed or too large.
    :raises InvalidRequestError: A name is malformed.
    """
    batch = fields.get("batch")
    if not isinstance(batch, list):
        raise HTTPRefusedError(
            Refusal.BODY, f"batch must be an array of events, not {short_repr(batch)}"
        )
    if not 0 < len(batch) <= limits.BATCH_EVENTS:
        raise HTTPRefusedError(
            Refusal.BODY,
            f"a batch must have 1 to {limits.BATCH_EVENTS} events, not {len(batch)}",
        )
    for event in batch:
        if not isinstance(event, dict):
            raise HTTPRefusedError(
                Refusal.BODY, f"an event of a batch must be an object, not {short_repr(event)}"
            )
    return [
        _trigger(
            event,
            [check_target(event.get("channel"))],
            app_limits,
            check_idempotency_key("idempotency_key", event.get("idempotency_key")),
        )
        for event in batch
    ]


def parse_info(
    info: object, allowed: frozenset[str], channels: Iterable[str] = ()
) -> frozenset[str]:
    """
    Return the attributes that an ``info`` asks for.

    :param allowed: The attributes that the endpoint has.
    :param channels: The names of the channels that the request is about.
    :raises HTTPRefusedError: The endpoint, or one of the channels, has no such attribute.
    """
    if info is None:
        return frozenset()
    if not isinstance(info, str):
        raise HTTPRefusedError(
            Refusal.INFO,
            f"info must be a string, names with commas between, not {short_repr(info)}",
        )
    names = frozenset(name.strip() for name in info.split(",")) - {""}
    if not names <= allowed:
        raise HTTPRefusedError(
            Refusal.INFO,
            f"info may ask for {', '.join(sorted(allowed))} here, not for "
            f"{short_repr(', '.join(sorted(names - allowed)))}",
        )
    if "user_count" in names and not all(map(is_presence, channels)):
        raise HTTPRefusedError(
            Refusal.INFO, "user_count is an attribute of presence channels alone"
        )
    return names


def _trigger(
    fields: Mapping[str, Any],
    channels: list[str],
    app_limits: Limits,
    idempotency_key: str | None,
) -> Trigger:
    _check_lengths(channels, app_limits)
    name = check_event_name(fields.get("name"))
    data = fields.get("data")
    if not isinstance(data, str):
        raise HTTPRefusedError(
            Refusal.BODY,
            f"data must be a string, such as JSON in a string, not {short_repr(data)}",
        )
    socket_id = fields.get("socket_id")
    if socket_id is not None:
        check_socket_id(socket_id)
    info = parse_info(
        fields.get("info"), frozenset({"subscription_count", "user_count"}), channels
    )
    try:
        size = len(data) if data.isascii() else len(data.encode("utf-8"))
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise HTTPRefusedError(
            Refusal.BODY, "name and data must be text that UTF-8 can express"
        ) from None
    if app_limits.payload_bytes is not None and size > app_limits.payload_bytes:
        raise HTTPRefusedError(
            Refusal.LARGE_EVENT,
            f"data may have {app_limits.payload_bytes} bytes of UTF-8, not {size}",
        )
    return Trigger(Publication(name, channels, data, socket_id), info, idempotency_key)


def _check_lengths(channels: list[str], app_limits: Limits) -> None:
    """Refuse names that are longer than those of the app's channels may be."""
    most = app_limits.channel_name_length
    for name in channels:
        if most is not None and len(name) > most and not is_user_channel(name):
            raise HTTPRefusedError(
                Refusal.NAME,
                f"the name of a channel may have {most} characters, not {len(name)}: "
                f"{short_repr(name)}",
            )
