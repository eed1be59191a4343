"""
Replies that have come in whole, read at a glance.

Most replies are a few hundred bytes that come in one piece, with a head that differs from the
head before in its date alone.  Twisted's parser takes each reply apart line by line, header by
header, and hands its body on in four steps: a fifth of the CPU time of a request.  What is not
plain here is left to Twisted's parser.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IClientRequest, IResponse
from zope.interface import implementer

#: The longest head that is read here; heads are remembered.
_MOST_BYTES = 4096

_HEAD = re.compile(
    rb"HTTP/1\.1 200(?: ([\t -~]*))?"
    rb"((?:\r\n[A-Za-z0-9!#$%&'*+.^_`|~-]+:[\t -~\x80-\xff]*)*)",
).fullmatch
_LENGTH = re.compile(rb"[0-9]{1,7}").fullmatch

#: The headers that say more of the body, or of the connection, than how long the body is.
_NOT_PLAIN = (
    b"Transfer-Encoding",
    b"Content-Encoding",
    b"Upgrade",
    b"Trailers",
    b"TE",
    b"Proxy-Connection",
)

_DONE = Failure(ResponseDone("Response body fully received"))


@implementer(IResponse)
class WholeReply:
    """
    A response whose body is all there; see ``IResponse``.

    :param transport: The connection that the reply came from.
    :ivar body: The body.
    """

    version = (b"HTTP", 1, 1)
    code = 200

    def __init__(
        self,
        phrase: bytes,
        headers: Headers,
        body: bytes,
        request: IClientRequest,
        transport: Any,
    ) -> None:
        self.phrase = phrase
        self.headers = headers
        self.length = len(body)
        self.request = request
        self.previousResponse: IResponse | None = None
        self.body = body
        self._transport = transport

    def setPreviousResponse(self, response: IResponse) -> None:
        """Remember the response before, of a redirect."""
        self.previousResponse = response

    def deliverBody(self, protocol: IProtocol) -> None:
        """Give the body to *protocol*, and say that it has ended."""
        protocol.makeConnection(self._transport)
        protocol.dataReceived(self.body)
        protocol.connectionLost(_DONE)


def whole_body(response: Any, limit: int) -> bytes | None:
    """
    Return the body of a response of treq's that is a :class:`WholeReply`.

    treq's response has the agent's as its ``original``, a private part.  Seen in treq 24.9 to
    26.7.

    :return: None where the body has to be read, or is larger than *limit* bytes.
    """
    reply = getattr(response, "original", None)
    if isinstance(reply, WholeReply) and len(reply.body) <= limit:
        return reply.body
    return None


def read_plain(data: bytes) -> tuple[bytes, Headers, bytes] | None:
    """
    Return phrase, headers and body of the plain reply that *data* is.

    A plain reply is a 200 of HTTP/1.1 with a body as long as its one Content-Length says, not
    encoded, after which the connection stays open.

    :return: None where *data* is anything else, part of a reply or more than one included.
        The replies with one head share its headers: nobody changes them.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    if not body or len(head) > _MOST_BYTES:
        return None
    plain = _read_head(head)
    if plain is None or len(body) != plain[2]:
        return None
    return plain[0], plain[1], body


@lru_cache(maxsize=32)
def _read_head(head: bytes) -> tuple[bytes, Headers, int] | None:
    """Return phrase, headers and length; a head with a date recurs within its second."""
    matched = _HEAD(head)
    if matched is None:
        return None
    headers = Headers()
    for line in matched[2].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        headers.addRawHeader(name, value.strip())
    if any(headers.hasHeader(name) for name in _NOT_PLAIN):
        return None
    connection = headers.getRawHeaders(b"Connection", [b"keep-alive"])
    lengths = headers.getRawHeaders(b"Content-Length", [])
    if [option.lower() for option in connection] != [b"keep-alive"]:
        return None
    if len(lengths) != 1 or not _LENGTH(lengths[0]):
        return None
    # As Twisted has it, these are the connection's.
    headers.removeHeader(b"Connection")
    headers.removeHeader(b"Keep-Alive")
    headers.removeHeader(b"Content-Length")
    return matched[1] or b"", headers, int(lengths[0])
