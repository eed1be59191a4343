# -*- test-case-name: tests.integration.test_server_http_abuse -*-
"""
Twisted's HTTP server, kept within bounds: the site, its requests, and what answers them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from http import HTTPStatus
from io import BytesIO
from typing import Any, Protocol

import twisted
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.web import http
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from txpusher._text import short_repr
from txpusher.server import _limits as limits
from txpusher.server._core.endpoints import Response
from txpusher.server._core.refusals import Refusal
from txpusher.server._net.connection import HTTPConnection, RequestChannel


class RequestState(Enum):
    """The states of a request."""

    RECEIVING = "the request is coming in"
    REFUSED = "the request is too large, and has been answered by the connection"
    ANSWERING = "the answer is being written"
    FINISHED = "the answer is complete, and may wait for room in the connection"


#: What stands behind the status in a reply.
_PHRASES = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}
_ORIGIN = re.compile(rb"http://[^/?]*/?", re.IGNORECASE).match


@implementer(IPushProducer)
class ChannelsRequest(Request):
    """
    A request whose body is bounded, and kept in memory.

    The request ends only when the connection has room for another answer.  Twisted would
    go on with the requests that a client has pipelined, whose answers may be a thousand
    times as large as the requests, and would keep all answers in memory.

    :ivar connection: The connection that the request came in on.
    :ivar content_type: The type of the body, empty without one.
    """

    def __init__(self, connection: HTTPConnection, channel: http.HTTPChannel) -> None:
        super().__init__(channel)
        self.connection = connection
        self.content_type = b""
        self._state = RequestState.RECEIVING
        self._congested = False
        self._body = BytesIO()
        self._size = 0

    def __repr__(self) -> str:
        # Twisted logs it here and there: the query holds a signature.
        path = self.uri.partition(b"?")[0]
        return f"<{type(self).__name__} {self.method!r} {path!r}>"

    def gotLength(self, length: int | None) -> None:
        self.content = self._body
        if length is not None and length > limits.REQUEST_BODY:
            # Nor is the client told to go on, if it asked.
            self.requestHeaders.removeHeader(b"expect")
            self._refuse(short_repr(length))

    def handleContentChunk(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > limits.REQUEST_BODY:
            self._refuse(f"{self._size} or more")
        else:
            self._body.write(data)

    def _refuse(self, size: str) -> None:
        self._state = RequestState.REFUSED
        self.connection.refuse(
            Refusal.LARGE_REQUEST,
            f"a request body may have {limits.REQUEST_BODY} bytes, not {size}",
        )

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self._state is RequestState.REFUSED:
            return
        self._state = RequestState.ANSWERING
        self.connection.answering()
        origin = _ORIGIN(path)
        if origin is not None:
            # A whole URL, as for a proxy, which every server must accept
            # (RFC 9112, section 3.2.2).  What is signed is the path.
            path = b"/" + path[origin.end() :]
        # Twisted would parse a form, and no endpoint takes one.
        types = self.requestHeaders.getRawHeaders(b"content-type") or [b""]
        self.content_type = types[-1]
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def write(self, data: bytes) -> None:
        if self.producer is None and self._state is RequestState.ANSWERING:
            # A producer is told whether the connection has room.
            self.registerProducer(self, True)
        super().write(data)

    def finish(self) -> None:
        self._state = RequestState.FINISHED
        if self._congested:
            self.connection.waits_for_room()
        else:
            self._end()

    def _end(self) -> None:
        if self.producer is not None:
            self.unregisterProducer()
        # Before Twisted begins with the next request, which may be there already.
        self.connection.answered()
        super().finish()

    # IPushProducer

    def pauseProducing(self) -> None:
        self._congested = True

    def resumeProducing(self) -> None:
        self._congested = False
        if self._state is RequestState.FINISHED:
            self._end()

    def stopProducing(self) -> None:
        """Do nothing: the connection is lost, and the request with it."""


# What answers them


class ChannelsSite(Site):
    """
    Makes the connections of a port, and ends those whose time is up.

    :param resource: Answers every request.
    :param reactor: Keeps the time.
    :param refused: Called, with a sentence, where a request is refused that reaches no
        resource.
    :ivar stopping: Whether the server stops.
    """

    noisy = False
    # Twisted's own would choose between this and HTTP/2.
    protocol = RequestChannel  # type: ignore[assignment]

    def __init__(
        self, resource: IResource, reactor: Any, refused: Callable[[Refusal, str], None]
    ) -> None:
        # Connections have deadlines of their own: the site's timeout begins anew with
        # every byte, so that a request may take forever.
        super().__init__(resource, timeout=None, reactor=reactor)
        self._reactor = reactor
        self.refused = refused
        self.connections: set[HTTPConnection] = set()
        self.stopping = False
        self._empty: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel = super().buildProtocol(addr)
        connection = channel.connection = HTTPConnection(self, channel)
        channel.requestFactory = lambda channel, *queued: ChannelsRequest(connection, channel)
        return connection

    def acceptableProtocols(self) -> list[bytes]:
        """
        Return what may be negotiated with TLS: HTTP/1.1 alone, which WebSockets need.

        Twisted itself would add HTTP/2 where ``h2`` is installed.  Up to version 25.5 it
        cannot negotiate at all with pyOpenSSL from 26.2 on; a client that is not answered
        speaks HTTP/1.1 (RFC 7301, section 3.1).
        """
        year = int(twisted.__version__.partition(".")[0])
        return [b"http/1.1"] if year > 25 else []

    def seconds(self) -> float:
        """Return the reactor's time, in seconds."""
        return float(self._reactor.seconds())

    def log(self, request: http.Request) -> None:
        """Write no access log: the query of a request holds its signature."""

    def http_date(self) -> bytes:
        """Return the time for a ``Date`` header."""
        date: bytes = http.datetimeToString()
        return date

    def sweep(self) -> None:
        """End the connections whose state has lasted too long."""
        now = self.seconds()
        for connection in list(self.connections):
            if connection.deadline is not None and connection.deadline <= now:
                connection.expire()

    def close_unless_websockets(self) -> None:
        """Close every connection that is no WebSocket, and keep none open from now on."""
        self.stopping = True
        for connection in list(self.connections):
            connection.close_unless_websocket()

    def abort(self) -> None:
        """End every connection at once."""
        for connection in list(self.connections):
            connection.abort()

    def lost(self, connection: HTTPConnection) -> None:
        """Forget a connection that has ended."""
        self.connections.discard(connection)
        if not self.connections:
            waiting, self._empty = self._empty, []
            for deferred in waiting:
                deferred.callback(None)

    def emptied(self) -> Deferred[None]:
        """Return a Deferred that fires with None once there is no connection."""
        deferred: Deferred[None] = Deferred()
        if self.connections:
            self._empty.append(deferred)
        else:
            deferred.callback(None)
        return deferred


#: The headers of a request, as pairs of text that may be shown.
ShownHeaders = tuple[tuple[str, str], ...]


class API(Protocol):
    """Answers the requests of the HTTP API."""

    def answer(
        self,
        method: str,
        path: str,
        query: str,
        body: bytes,
        idempotency_key: str | None,
        headers: Callable[[], ShownHeaders] | None,
        /,
    ) -> Response:
        """Return the response to a request; path and query are as they were sent."""

    def refused(self, refusal: Refusal, detail: str, /) -> None:
        """Note that a request was refused."""


class Console(Protocol):
    """Answers the requests for the page that shows what happens."""

    def owns(self, path: str, /) -> bool:
        """Return whether a path is the console's."""

    def render(self, request: Any, path: str, query: str, /) -> bytes | int:
        """Answer a request for one of its paths, as a resource does."""


#: Headers whose values are shown: they explain refusals.  Any other may hold a secret, or a
#: signature, as the URL does that a proxy passes on.
_SHOWN_HEADERS = frozenset(
    b"accept accept-encoding accept-language cache-control connection content-encoding "
    b"content-length content-type date expect host keep-alive origin sec-fetch-dest "
    b"sec-fetch-mode sec-fetch-site sec-websocket-extensions sec-websocket-key "
    b"sec-websocket-protocol sec-websocket-version te transfer-encoding upgrade user-agent via "
    b"x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-pusher-key "
    b"x-pusher-library x-real-ip".split()
)


def shown_headers(request: http.Request) -> ShownHeaders:
    """Return the headers of a request as pairs of text, without what may be a secret."""
    return tuple(
        (
            name.decode("latin-1"),
            value.decode("latin-1") if name.lower() in _SHOWN_HEADERS else "(not shown)",
        )
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    )


class ChannelsResource(Resource):
    """
    Turns requests into calls of the HTTP API, and responses into answers.

    :param api: Answers the calls.
    :param websocket: Renders the requests for a WebSocket.
    :param reactor: Calls later where an answer is to be late.
    :param console: Answers for its paths, None where there is no console.
    """

    def __init__(
        self, api: API, websocket: Resource, reactor: Any, console: Console | None = None
    ) -> None:
        super().__init__()
        # The path is what is signed: nothing may take it apart before.
        self.isLeaf = True
        self._api = api
        self._websocket = websocket
        self._reactor = reactor
        self._console = console

    def render(self, request: Any) -> bytes | int:
        # Clients may offer HTTP/2 or TLS in the same header, which a server may ignore:
        # Java's clients offer HTTP/2 with every request.
        offers = request.requestHeaders.getRawHeaders(b"upgrade") or []
        if offers and any(b"websocket" in offer.lower() for offer in offers):
            return self._websocket.render(request)  # type: ignore[no-any-return]
        try:
            path, _, query = request.uri.decode("ascii").partition("?")
            method = request.method.decode("ascii")
        except UnicodeDecodeError:
            text = "the path and the query must be percent-escaped"
            self._api.refused(Refusal.UNESCAPED_URL, f"400: {text}")
            request.setResponseCode(400)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return f"{text}\n".encode()
        if self._console is not None and self._console.owns(path):
            return self._console.render(request, path, query)
        key = request.requestHeaders.getRawHeaders(b"x-idempotency-key")
        response = self._api.answer(
            method,
            path,
            query,
            request.content.read(),
            None if key is None else key[0].decode("latin-1"),
            lambda: shown_headers(request),
        )
        # Twisted has no phrase for 426, and nobody has one for what trouble may ask for.
        phrase = _PHRASES.get(response.status, b"Unknown Status")
        request.setResponseCode(response.status, phrase)
        request.setHeader(b"content-type", response.content_type)
        for name, value in response.headers.items():
            request.setHeader(name, value)
        # Twisted would cut off the body of an answer to a HEAD, and log that it had to.
        body = b"" if method == "HEAD" else response.body
        if response.is_dropped or response.delay:
            self._answer_later(request, response, body)
            return NOT_DONE_YET
        return body

    def _answer_later(self, request: Any, response: Response, body: bytes) -> None:
        """Answer after a delay, or close the connection, unless it is lost before."""

        def answer() -> None:
            if response.is_dropped:
                request.connection.close()
                return
            request.setHeader(b"content-length", b"%d" % len(body))
            request.write(body)
            request.finish()

        call = self._reactor.callLater(response.delay, answer)

        def forget(_: object) -> None:
            if call.active():
                call.cancel()

        request.notifyFinish().addBoth(forget)
