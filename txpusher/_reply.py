"""
What a reply of the HTTP API means: a value, or the error that it stands for.

Pure functions, like :mod:`txpusher._api`, which they complete.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import attrs
from twisted.web.http import stringToDatetime

from txpusher._interfaces import JsonLoads
from txpusher.config import Config
from txpusher.errors import APIError, AuthenticationError, HTTPError, error_class_for
from txpusher.retry import may_have_been_delivered

#: Difference between two clocks, in seconds, from which an error tells of it.
SKEW_WORTH_TELLING = 300

_QUOTED = 300
_SIGNATURE = re.compile(r"[0-9a-fA-F]{32,}")
#: Whole ones by the standard; some servers are more exact.
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?").fullmatch
#: A secret shorter than this is taken for one only where it stands alone.
_UNMISTAKABLE = 8


@attrs.frozen
class ApiReply:
    """
    A reply as the transport read it.

    :ivar status: The HTTP status.
    :ivar body: The whole body.
    :ivar date: Its ``Date`` header.
    :ivar retry_after: Its ``Retry-After`` header.
    :ivar now: The local clock when it came, in seconds since the epoch.
    """

    status: int
    body: bytes = attrs.field(repr=False)
    date: str | None = None
    retry_after: str | None = None
    now: float = 0.0


#: The largest reply that is taken, in bytes, unpacked.
MAX_REPLY_BYTES = 2**20

_GZIP = zlib.MAX_WBITS + 16


class UnpackingError(Exception):
    """A body is not what its Content-Encoding says, or too large when unpacked."""


def unpack(body: bytes) -> bytes:
    """
    A body with the Content-Encoding gzip, as it was before.

    An empty one has nothing to unpack: some servers say so of a 202.

    :raises UnpackingError: It is no gzip, or not all of it, or too large.
    """
    if not body:
        return body
    unpacking = zlib.decompressobj(_GZIP)
    try:
        text = unpacking.decompress(body, MAX_REPLY_BYTES + 1)
    except zlib.error:
        raise UnpackingError("the reply is not the gzip that it is said to be") from None
    if len(text) > MAX_REPLY_BYTES:
        raise UnpackingError(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
    if not unpacking.eof:
        raise UnpackingError("the reply is not all of the gzip that it is said to be")
    return text


def redactor(config: Config) -> Callable[[str], str]:
    """What replaces each signature, key, secret and password of an app in a text."""
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
    json_loads: JsonLoads,
    redact: Callable[[str], str],
) -> dict[str, Any]:
    """
    The JSON object of a reply, ``{}`` for an empty one.

    A success whose object has a string ``error`` and an integer ``code`` of
    400 or more is the error of that code: soketi answers so.

    :raises APIError: The server refused the request or failed.
    :raises HTTPError: The reply is a success that is no JSON object.
    """
    status = reply.status
    if not 200 <= status < 300:
        raise _api_error(method, path, reply, status, redact)
    # Most replies are this one, and need no decoding.
    plain = reply.body == b"{}" and json_loads is json.loads
    if plain or not reply.body.strip():
        return {}
    try:
        value = json_loads(reply.body)
    except Exception as error:
        raise _unusable(method, path, reply, error) from error
    if not isinstance(value, dict):
        raise _unusable(method, path, reply, None)
    code = value.get("code")
    if isinstance(code, int) and code >= 400 and isinstance(value.get("error"), str):
        raise _api_error(method, path, reply, code, redact)
    return value


def _unusable(method: str, path: str, reply: ApiReply, error: Exception | None) -> HTTPError:
    return HTTPError(
        f"{method} {path}: the reply with status {reply.status} is not a JSON object "
        f"but {len(reply.body)} bytes of something else",
        maybe_delivered=may_have_been_delivered(method, sent=True, status=reply.status),
        original_error=error,
    )


def _api_error(
    method: str, path: str, reply: ApiReply, status: int, redact: Callable[[str], str]
) -> APIError:
    body = reply.body.decode("utf-8", "replace")
    text = " ".join(redact(body).split())
    quoted = f": {text[:_QUOTED]}" if text else ""
    kind = error_class_for(status)
    skew = _clock_skew(reply) if kind is AuthenticationError else ""
    return kind(
        f"{method} {path}: status {status}{quoted}{skew}",
        status=status,
        body=body,
        path=path,
        retry_after=parse_retry_after(reply),
        maybe_delivered=may_have_been_delivered(method, sent=True, status=status),
    )


def _seconds_since_epoch(date: str | None) -> float | None:
    try:
        return None if date is None else float(stringToDatetime(date.encode("latin-1")))
    except (ValueError, IndexError, OverflowError):
        return None


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
    """Seconds that a reply's ``Retry-After`` asks for, None where it says nothing usable."""
    text = (reply.retry_after or "").strip()
    if _SECONDS(text):
        return float(text[:12])
    at = _seconds_since_epoch(text or None)
    if at is None:
        return None
    server = _seconds_since_epoch(reply.date)
    return max(0.0, at - (reply.now if server is None else server))
