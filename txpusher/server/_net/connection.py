# -*- test-case-name: tests.integration.test_server_http_abuse -*-
"""
TCP connections: what stands before Twisted's HTTP code, and before the WebSocket that a
request may turn a connection into, and ends what takes too long.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from http import HTTPStatus
from typing import Any, Protocol

from OpenSSL.SSL import Error as TLSError
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    ISSLTransport,
    ITransport,
)
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from txpusher.server import _limits as limits
from txpusher.server._core.refusals import Refusal


class State(Enum):
    """
    The states of a connection; the value says what the connection does in each.

    :ivar timeout: Seconds after which the state ends, None for never.
    """

    CONNECTED = ("nothing has come in yet", limits.READING_REQUEST)
    READING_REQUEST = ("a request is coming in", limits.READING_REQUEST)
    ANSWERING = ("the server works on a request that has come in whole", None)
    WAITING_FOR_ROOM = (
        "an answer is ready, and the client has not read the last one",
        limits.KEEP_ALIVE,
    )
    KEEP_ALIVE = ("every request is answered, and another may come", limits.KEEP_ALIVE)
    WEBSOCKET = ("the connection carries WebSocket frames", None)
    PARTING = (
        "the server has sent its close frame, and waits for the client's",
        limits.CLOSING,
    )
    CLOSING = (
        "the last answer is written, and whatever comes in is dropped",
        limits.CLOSING,
    )

    def __init__(self, meaning: str, timeout: float | None) -> None:
        self.timeout = timeout


#: Bytes of a refused request that are quoted.
_QUOTED = 20
#: The first byte of TLS (RFC 8446, section 5.1), with which no request of HTTP begins.
_TLS_HANDSHAKE = b"\x16"
_NO_TLS = (
    "a client speaks TLS, and this port has none: set forceTLS: false in pusher-js, and use "
    "http:// in a server library"
)
#: What OpenSSL says, in part, of handshakes that fail, and what that means.
_TLS_FAILURES = {
    "http request": (
        "a client speaks none, and this port has nothing else: use https:// in a server "
        "library, and forceTLS: true with wssPort in pusher-js"
    ),
    "unknown ca": "a client does not trust the certificate of this server",
    "certificate unknown": "a client does not trust the certificate of this server",
    "bad certificate": "a client does not trust the certificate of this server",
}
_ENDING = (State.PARTING, State.CLOSING)


class Site(Protocol):
    """
    Keeps the connections of a port.

    :ivar connections: The connections that are open.
    :ivar stopping: Whether the server stops.
    """

    connections: set[HTTPConnection]
    stopping: bool

    def seconds(self) -> float:
        """Return the time by which deadlines are kept, in seconds."""

    def http_date(self) -> bytes:
        """Return the time for a ``Date`` header."""

    @property
    def refused(self) -> Callable[[Refusal, str], None]:
        """Reports, with a sentence, that a request was refused that reached no resource."""

    def lost(self, connection: HTTPConnection, /) -> None:
        """Forget a connection that has ended."""


class RequestChannel(HTTPChannel):
    """
    Twisted's reader of the requests of a connection, which tells it of malformed requests.

    A request may have just come in, or may have waited for the answers to the requests before.

    :ivar connection: The connection that the requests come in on.
    """

    connection: HTTPConnection
    transport: Any

    def __init__(self) -> None:
        super().__init__()
        # Of the request that is coming in; too short for a signature.
        self._first_bytes = b""

    def lineReceived(self, line: bytes) -> None:
        if line and not self._first_bytes:
            self._begin(line)
        try:
            super().lineReceived(line)
        except ValueError:
            # Twisted takes any digits for a Content-Length, and Python makes no
            # number of some thousand.
            self.clearLineBuffer()
            self.connection.refuse(
                Refusal.NO_REQUEST,
                f"the head of the request is malformed; it begins {self._first_bytes!r}",
            )
        if self.transport.disconnecting:
            self.connection.refused_by_twisted(self._first_bytes)

    def lineLengthExceeded(self, line: bytes) -> None:
        if not self._first_bytes:
            self._begin(line)
        super().lineLengthExceeded(line)
        self.connection.refused_by_twisted(self._first_bytes)

    def rawDataReceived(self, data: bytes) -> None:
        super().rawDataReceived(data)
        if self.transport.disconnecting:
            self.connection.refused_by_twisted(self._first_bytes)

    def allContentReceived(self) -> None:
        self._first_bytes = b""
        super().allContentReceived()

    def _begin(self, line: bytes) -> None:
        self._first_bytes = line[:_QUOTED]
        self.connection.receiving()


class WebSocket(Protocol):
    """Takes over a connection that a request has turned into a WebSocket."""

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client's frames."""

    def ended(self) -> None:
        """Note that nothing more can be sent."""


@implementer(IProtocol, IHalfCloseableProtocol)
class HTTPConnection:
    """
    One TCP connection, from the first byte to the last.

    The connection does not close at once after its last answer: with bytes unread, the
    kernel of the other side would throw away the very answer that explains why.  It closes
    its own side, and waits some seconds for the other side to close.

    :param site: The site that the connection belongs to.
    :param http: Twisted's protocol for the connection.
    :ivar deadline: When the site's sweep calls :meth:`expire`, None for never.
    """

    factory: Any = None
    transport: Any

    def __init__(self, site: Site, http: IProtocol) -> None:
        self._site = site
        self._http = http
        self._websocket: WebSocket | None = None
        self.deadline: float | None = None
        self._enter(State.CONNECTED)

    def _enter(self, state: State) -> None:
        self.state = state
        timeout = state.timeout
        self.deadline = None if timeout is None else self._site.seconds() + timeout

    def makeConnection(self, transport: ITransport) -> None:
        self.transport = transport
        self._site.connections.add(self)
        self._http.makeConnection(transport)

    def connectionMade(self) -> None:
        """Do nothing: :meth:`makeConnection` has done all there is to do."""

    def dataReceived(self, data: bytes) -> None:
        if self._websocket is not None and self.state is not State.CLOSING:
            self._websocket.data_received(data)
        elif self.state is not State.CLOSING:
            self._request_data_received(data)

    def readConnectionLost(self) -> None:
        """Close the connection once the answers so far are out: the client sends no more."""
        if self.state not in _ENDING:
            if self._websocket is not None:
                self._websocket.ended()
            self._end()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: the server itself has closed its side."""

    def connectionLost(self, reason: Failure) -> None:
        if self.state is State.CONNECTED:
            self._report_failed_handshake(reason.value)
        if self._websocket is not None:
            self._websocket.ended()
        self._http.connectionLost(reason)
        self._site.lost(self)

    def _report_failed_handshake(self, error: BaseException | None) -> None:
        """Report why TLS ended the connection before a byte of a request had come in."""
        if not isinstance(error, TLSError):
            return
        # OpenSSL's errors are a list of tuples whose last item is in words.
        words = str(error.args[0][-1][-1]) if error.args and error.args[0] else "no reason"
        known = next((text for part, text in _TLS_FAILURES.items() if part in words), words)
        self._site.refused(Refusal.TLS, f"TLS: {known}")

    # Requests

    def _request_data_received(self, data: bytes) -> None:
        if self.state is State.CONNECTED and data.startswith(_TLS_HANDSHAKE):
            self._site.refused(Refusal.TLS, _NO_TLS)
            self.close()
            return
        self.receiving()
        self._http.dataReceived(data)

    def receiving(self) -> None:
        """Note that a request is coming in."""
        if self.state in (State.CONNECTED, State.KEEP_ALIVE):
            self._enter(State.READING_REQUEST)

    def refused_by_twisted(self, first_bytes: bytes) -> None:
        """Report that Twisted ends the connection, if a request is coming in: it is refused."""
        if self.state is State.READING_REQUEST:
            self._enter(State.CLOSING)
            self._site.refused(
                Refusal.NO_REQUEST,
                "a request is no HTTP, or malformed, or its head is too large; it begins "
                f"{first_bytes!r}",
            )

    def answering(self) -> None:
        """Note that a request has come in whole."""
        self._enter(State.ANSWERING)

    def waits_for_room(self) -> None:
        """Note that an answer is complete, and the client has yet to read the last one."""
        if self.state not in _ENDING:
            self._enter(State.WAITING_FOR_ROOM)

    def answered(self) -> None:
        """Note that a request has been answered; another may come."""
        if self.state not in _ENDING:
            self._enter(State.KEEP_ALIVE)

    def refuse(self, refusal: Refusal, text: str) -> None:
        """Answer a request that has not come in whole, and read no more of it."""
        if self.state not in _ENDING:
            status = f"{refusal.code} {HTTPStatus(refusal.code or 500).phrase}"
            self._site.refused(refusal, f"{status}: {text}")
            self.transport.write(
                b"HTTP/1.1 %b\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Date: %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (status.encode(), self._site.http_date(), len(text), text.encode())
            )
            self.half_close()

    # WebSocket

    def upgrade(self, websocket: WebSocket) -> None:
        """Hand the connection over to *websocket*: what comes in from now on are frames."""
        self._websocket = websocket
        self._enter(State.WEBSOCKET)

    def await_close_frame(self) -> None:
        """Wait for the client's close frame: the server's close frame has been written."""
        self._end(State.PARTING)
        if self._site.stopping:
            # A client that comes back at once must find the port free for the next
            # server: there is no time to wait for its close frame.
            self.transport.loseConnection()
        else:
            self.transport.resumeProducing()

    # The end

    def _end(self, state: State = State.CLOSING) -> None:
        self._enter(state)
        # A producer would keep the transport from closing after the last byte.
        self.transport.unregisterProducer()

    def close(self) -> None:
        """Close the connection once everything is written: the other side expects it."""
        self._end()
        self.transport.loseConnection()

    def half_close(self) -> None:
        """Close the server's side, and wait for the other side to close, dropping its bytes."""
        self._end()
        if ISSLTransport.providedBy(self.transport):
            # TLS says goodbye, and waits for the other side's.
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
        self.transport.resumeProducing()

    def abort(self) -> None:
        """End the connection at once; what is not sent yet is lost."""
        self._enter(State.CLOSING)
        self.transport.abortConnection()

    def expire(self) -> None:
        """End the connection, because its state has lasted too long."""
        self.deadline = None
        if self.state in _ENDING:
            self.abort()
        elif self.state in (State.CONNECTED, State.READING_REQUEST):
            self.refuse(Refusal.SLOW_REQUEST, "the request did not come in in time")
        else:
            self.close_unless_websocket()

    def close_unless_websocket(self) -> None:
        """Close the connection, be it between two requests or in the middle of one."""
        if self._websocket is None and self.state not in _ENDING:
            self.close()
