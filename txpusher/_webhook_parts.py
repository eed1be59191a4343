"""
The parts of a webhook, found in whatever brought it: a request or its headers.

The library knows the requests of twisted.web.  The requests of other frameworks differ in
how a body is read, some only in a coroutine, so their users pass headers and body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from txpusher._text import is_really, is_str
from txpusher.errors import InvalidRequestError

#: The value of a header, None where there is none.
HeaderValue = bytes | str | None

_GENERAL = "headers=... and body=..., the exact bytes received"


@attrs.frozen
class Parts:
    """
    The parts of a webhook that were found; None stands for a part that was not.

    :ivar key: The header ``X-Pusher-Key``.
    :ivar signature: The header ``X-Pusher-Signature``.
    :ivar content_type: The header ``Content-Type``.
    :ivar body: The body, exactly as received.
    """

    key: HeaderValue = None
    signature: HeaderValue = None
    content_type: HeaderValue = None
    body: bytes | str | None = None

    def before(self, other: Parts) -> Parts:
        """Return the parts found here, and those of *other* where one was not found."""
        return Parts(
            key=other.key if self.key is None else self.key,
            signature=other.signature if self.signature is None else self.signature,
            content_type=other.content_type if self.content_type is None else self.content_type,
            body=other.body if self.body is None else self.body,
        )


def parts_of_request(request: Any) -> Parts:
    """
    Find the parts of a webhook in a request of twisted.web.

    :raises InvalidRequestError: *request* is another framework's; the message says what to
        pass in its place.
    """
    content = _member(request, "content")
    if not callable(_member(request, "getHeader")) or not callable(_member(content, "read")):
        raise InvalidRequestError(
            "request must be a request of twisted.web, not "
            f"{type(request).__name__}; pass {_advice(request)}"
        )
    content.seek(0)
    body = content.read()
    content.seek(0)
    return Parts(
        key=request.getHeader(b"X-Pusher-Key"),
        signature=request.getHeader(b"X-Pusher-Signature"),
        content_type=request.getHeader(b"Content-Type"),
        body=body,
    )


def parts_of_headers(headers: Any) -> Parts:
    """
    Find the parts of a webhook in the headers of any framework.

    :param headers: A mapping, another object with ``items()``, or pairs of name and value.
        Names are str or bytes, in any case of letters; ``HTTP_X_PUSHER_KEY`` of WSGI is one
        of them.  A value may be a list of values.
    :raises InvalidRequestError: *headers* are none of these.
    """
    found: dict[str, HeaderValue] = {}
    for name, value in _pairs(headers):
        known = _NAMES.get(_lower(name))
        if known is not None:
            found[known] = _last(value)
    return Parts(**found)


_NAMES = {
    "x-pusher-key": "key",
    "x-pusher-signature": "signature",
    "content-type": "content_type",
    "http_x_pusher_key": "key",
    "http_x_pusher_signature": "signature",
    "content_type": "content_type",
}


def header_text(what: str, value: object) -> str | None:
    """
    Return the value of a header as text.

    :param what: The name of the value, for the message.
    :raises InvalidRequestError: The value is neither str nor bytes.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is not None and not is_str(value):
        raise InvalidRequestError(
            f"{what} of a webhook must be str or bytes, not {type(value).__name__}"
        )
    return value


def body_bytes(body: object) -> bytes:
    """
    Return the body of a webhook as bytes; a str is taken as UTF-8, None as empty.

    :raises InvalidRequestError: The body is neither str nor bytes.  Of a mapping, which a
        framework has decoded, the bytes that were signed cannot be told any more.
    """
    if is_str(body):
        return body.encode("utf-8", "replace")
    if body is not None and not is_really((bytes, bytearray, memoryview), body):
        raise InvalidRequestError(
            "body of a webhook must be str or bytes, exactly as received, "
            f"not {type(body).__name__}"
        )
    return bytes(body or b"")  # type: ignore[call-overload, no-any-return]


def _pairs(headers: Any) -> list[tuple[Any, Any]]:
    # twisted.web's own Headers have neither items() nor pairs.
    items = _member(headers, "getAllRawHeaders") or _member(headers, "items")
    try:
        pairs = list(items() if callable(items) else headers)
        if not all(isinstance(pair, (tuple, list)) for pair in pairs):
            raise TypeError
        return [(name, value) for name, value in pairs]
    except (TypeError, ValueError):
        raise InvalidRequestError(
            "headers of a webhook must be a mapping or pairs of name and value, not "
            f"{type(headers).__name__}"
        ) from None


def _lower(name: object) -> str:
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    return name.lower() if is_str(name) else ""


def _last(value: object) -> Any:
    return (value[-1] if value else None) if isinstance(value, (list, tuple)) else value


def _member(thing: Any, name: str) -> Any:
    # A proxy, such as flask.request outside of a request, may raise anything.
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


def _has(thing: Any, name: str) -> bool:
    try:
        return hasattr(thing, name)
    except Exception:
        return False


def _advice(request: Any) -> str:
    """
    Say what to pass for the request of another framework, known by its shape.

    None of the frameworks is imported: what matters is how the body is read.
    """
    if _member(request, "headers") is None:
        if not is_really(Mapping, request):
            return _GENERAL
        if "wsgi.input" in request:
            return 'headers=environ and body=environ["wsgi.input"].read(length)'
        if "headers" in request and "type" in request:
            return 'headers=scope["headers"] and body=the bodies of all messages, joined'
        return "it as headers=..., and body=..., the exact bytes received"
    for member, advice in (
        ("get_data", "body=request.get_data()"),
        ("rfile", 'body=self.rfile.read(int(self.headers["Content-Length"]))'),
        ("receive", "body=await request.body()"),
        ("content_length", "body=await request.read()"),
        ("body", "body=request.body"),
    ):
        if _has(request, member):
            owner = "self" if member == "rfile" else "request"
            return f"headers={owner}.headers and {advice}"
    return _GENERAL
