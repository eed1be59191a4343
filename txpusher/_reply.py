"""
The meaning of a reply of the HTTP API: a value, or the error that the reply stands for.

The functions are pure.  They complete :mod:`txpusher._api`.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict

import attrs

from txpusher.config import Config
from txpusher.errors import APIError, AuthenticationError, HTTPError, error_class_for
from txpusher.retry import may_have_been_delivered

#: The difference between two clocks, in seconds, from which a 401 tells of it.
SKEW_WORTH_TELLING = 300
#: The most characters of a reply's text that a message quotes.
_QUOTED = 300
_SIGNATURE = re.compile(r"[0-9a-fA-F]{32,}")
#: Seconds are whole by the standard; some servers send fractions.
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?").fullmatch
#: A secret shorter than this is taken for one only where it stands alone.
_UNMISTAKABLE = 8
#: The parts of a URL that may hold a secret: a user with a password, and the query.
_SECRET_PARTS = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)


class CachedEvent(TypedDict):
    """
    The last event of a cache channel, as the server keeps it.

    ``data`` is the event's data, ``ttl`` the seconds for which the server keeps it.
    """

    data: str
    ttl: int


class ChannelAttributes(TypedDict, total=False):
    """The attributes of one channel that ``info`` has asked for."""

    user_count: int
    subscription_count: int


class TriggerReply(TypedDict, total=False):
    """
    The reply to ``trigger`` and ``send_to_user``.

    ``channels`` is there where ``info`` asked for attributes: by the channel's name.
    """

    channels: dict[str, ChannelAttributes]


class BatchReply(TypedDict, total=False):
    """
    The reply to ``trigger_batch``.

    ``batch`` is there where the ``info`` of an event asked for attributes: one mapping for
    each event, in the order of the events.
    """

    batch: list[ChannelAttributes]


class ChannelsReply(TypedDict):
    """The reply to ``channels``: the occupied channels by name."""

    channels: dict[str, ChannelAttributes]


class ChannelInfoReply(ChannelAttributes, total=False):
    """
    The reply to ``channel_info``.

    ``occupied`` tells whether the channel has a subscriber.  ``cache`` is the last event of
    a cache channel, None where there is none.
    """

    occupied: bool
    cache: CachedEvent | None


class ChannelUser(TypedDict):
    """A member of a presence channel."""

    id: str


class ChannelUsersReply(TypedDict):
    """The reply to ``channel_users``: the members of a presence channel."""

    users: list[ChannelUser]


@attrs.frozen
class ApiReply:
    """
    A reply as the transport read it.

    :ivar status: The HTTP status.
    :ivar body: The whole body, unpacked.
    :ivar date: The header ``Date``, None without one.
    :ivar retry_after: The header ``Retry-After``, None without one.
    :ivar now: The local time when the reply came, in seconds since the epoch.
    :ivar location: The header ``Location``, None without one.
    """

    status: int
    body: bytes = attrs.field(repr=False)
    date: str | None = None
    retry_after: str | None = None
    now: float = 0.0
    location: str | None = attrs.field(default=None, repr=False)


#: The default of the setting ``max_reply_bytes``.
MAX_REPLY_BYTES = 2**20

_GZIP = zlib.MAX_WBITS + 16


class UnpackingError(Exception):
    """A body is not what its Content-Encoding says, or too large when unpacked."""


def too_large(limit: int) -> str:
    """Say of a reply that it is larger than ``max_reply_bytes`` allows."""
    return f"the reply is larger than {limit} bytes, the limit that max_reply_bytes sets"


def unpack(body: bytes, limit: int = MAX_REPLY_BYTES) -> bytes:
    """
    Unpack a body whose Content-Encoding is gzip.

    An empty body is returned as it is: some servers name the encoding of a 202 without a
    body.

    :param limit: The most bytes that the body may have when unpacked.
    :raises UnpackingError: The body is no gzip, or not all of it, or too large.
    """
    if not body:
        return body
    unpacking = zlib.decompressobj(_GZIP)
    try:
        text = unpacking.decompress(body, limit + 1)
    except zlib.error:
        raise UnpackingError("the reply is not the gzip that it is said to be") from None
    if len(text) > limit:
        raise UnpackingError(too_large(limit))
    if not unpacking.eof:
        raise UnpackingError("the reply is not all of the gzip that it is said to be")
    return text


def redactor(config: Config) -> Callable[[str], str]:
    """
    Make a function that replaces each signature, key, secret and password in a text.

    Servers quote signatures in their replies, and an error's message goes into logs.
    """
    words = [config.key, config.secret, config.encryption_master_key_base64]
    if config.proxy is not None and config.proxy.user:
        pair = f"{config.proxy.user}:{config.proxy.password}".encode()
        words += [config.proxy.password, base64.b64encode(pair).decode("ascii")]
    longest_first = sorted(filter(None, words), key=len, reverse=True)
    secrets = re.compile("|".join(map(_pattern, longest_first)))

    def redact(text: str) -> str:
        return _SIGNATURE.sub("[redacted]", secrets.sub("[redacted]", text))

    return redact


def _pattern(word: str) -> str:
    literal = re.escape(word)
    if len(word) >= _UNMISTAKABLE:
        return literal
    return rf"(?<![A-Za-z0-9]){literal}(?![A-Za-z0-9])"


def decode_reply(
    method: str,
    path: str,
    reply: ApiReply,
    config: Config,
    redact: Callable[[str], str],
) -> dict[str, Any]:
    """
    Return the JSON object of a reply, ``{}`` for an empty one.

    A success whose object has a string ``error`` and an integer ``code`` of 400 or more is
    the error of that code: soketi answers so.

    :param method: The method of the request.
    :param path: The path of the request, without the query.
    :param redact: What :func:`redactor` has made.
    :raises APIError: The server refused the request or failed.
    :raises HTTPError: The reply is a success that is no JSON object.
    """
    status = reply.status
    if not 200 <= status < 300:
        raise _api_error(method, path, reply, status, config, redact)
    # Most replies are this one, and need no decoding.
    is_empty_object = reply.body == b"{}" and config.json_loads is json.loads
    if is_empty_object or not reply.body.strip():
        return {}
    try:
        value = config.json_loads(reply.body)
        is_object = isinstance(value, dict)
        code, error_text = (value.get("code"), value.get("error")) if is_object else (0, None)
    except Exception as error:
        # json_loads is the caller's, and so is the class of what it returned.
        raise _unusable(method, path, reply, error) from error
    if not is_object:
        raise _unusable(method, path, reply, None)
    if isinstance(code, int) and code >= 400 and isinstance(error_text, str):
        raise _api_error(method, path, reply, code, config, redact)
    decoded: dict[str, Any] = value
    return decoded


def _unusable(method: str, path: str, reply: ApiReply, error: Exception | None) -> HTTPError:
    return HTTPError(
        f"{method} {path}: the reply with status {reply.status} is not a JSON object "
        f"but {len(reply.body)} bytes of something else",
        maybe_delivered=may_have_been_delivered(method, sent=True, status=reply.status),
        original_error=error,
    )


def _api_error(
    method: str,
    path: str,
    reply: ApiReply,
    status: int,
    config: Config,
    redact: Callable[[str], str],
) -> APIError:
    body = reply.body.decode("utf-8", "replace")
    text = " ".join(redact(body).split())
    quoted = f": {text[:_QUOTED]}" if text else ""
    kind = error_class_for(status)
    hint = ""
    if kind is AuthenticationError:
        hint = f"{_clock_skew(reply)}{_signed_side(config)}"
    elif 300 <= status < 400:
        hint = _redirect(reply, redact)
    return kind(
        f"{method} {path}: status {status}{quoted}{hint}",
        status=status,
        body=body,
        path=path,
        retry_after=parse_retry_after(reply),
        maybe_delivered=may_have_been_delivered(method, sent=True, status=status),
    )


def _signed_side(config: Config) -> str:
    """Say whether the path prefix is signed, where there is one: servers differ in that."""
    prefix = config.path_prefix
    if not prefix:
        return ""
    if config.sign_path_prefix:
        return (
            f"; path_prefix {prefix} is signed too: where a proxy strips it before the server "
            "sees the path, sign_path_prefix must be False"
        )
    return (
        f"; path_prefix {prefix} is sent and not signed: where the server itself has the "
        "prefix, sign_path_prefix must be True"
    )


def _redirect(reply: ApiReply, redact: Callable[[str], str]) -> str:
    """Say where a redirect leads, without the query: that repeats the signature."""
    if not reply.location:
        return "; the reply names no Location"
    bare = " ".join(redact(_SECRET_PARTS.sub("", reply.location)).split())
    return f"; it redirects to {bare[:_QUOTED]}, and no redirect is followed"


def _seconds_since_epoch(date: str | None) -> float | None:
    try:
        time = None if date is None else parsedate_to_datetime(date)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if time is None:
        return None
    # HTTP's dates are all in UTC; one of its three formats does not say so.
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()


def _clock_skew(reply: ApiReply) -> str:
    server = _seconds_since_epoch(reply.date)
    if server is None or abs(reply.now - server) <= SKEW_WORTH_TELLING:
        return ""
    direction = "ahead of" if reply.now > server else "behind"
    return (
        f"; the local clock is {abs(reply.now - server):.0f} seconds {direction} "
        "the server's, which accepts 600"
    )


def parse_retry_after(reply: ApiReply) -> float | None:
    """
    Return the seconds that a reply's ``Retry-After`` asks for.

    :return: None where there is no such header, or none that can be read.
    """
    text = (reply.retry_after or "").strip()
    if _SECONDS(text):
        return float(text[:12])
    at = _seconds_since_epoch(text or None)
    if at is None:
        return None
    server = _seconds_since_epoch(reply.date)
    return max(0.0, at - (reply.now if server is None else server))
