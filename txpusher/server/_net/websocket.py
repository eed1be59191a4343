"""
The WebSocket face: Twisted's own implementation, with the hub behind it.

Needs ``wsproto``, and a Twisted that has :mod:`twisted.web.websocket`; no other
module of the package does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from h11 import ProtocolError as HTTPProtocolError
from twisted.internet.interfaces import IPullProducer, IWriteDescriptor
from twisted.python.failure import Failure
from twisted.web.websocket import WebSocketResource, WebSocketTransport
from wsproto.utilities import ProtocolError
from zope.interface import implementer

from txpusher.server._core.messages import CloseCode
from txpusher.server._net.frames import close_frame

if TYPE_CHECKING:
    from txpusher.server._core.connection import Connection
    from txpusher.server._net.site import ChannelsRequest
    from txpusher.server._server import ChannelsServer

#: The most bytes that wait for a client that does not read.
MAX_BEHIND = 1024 * 1024
#: From here on nothing is read from it either, whose answers would wait too.
READ_NO_MORE = 65536

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch
_APP_PATH = re.compile(rb"/app/([^/]+)/?").fullmatch


def _drop(frame: bytes) -> None:
    """What an ended connection does with what it is sent."""


@implementer(IPullProducer)
class Client:
    """
    One client: the hub's peer, and what Twisted calls the WebSocket protocol.

    Frames are written as they are.  Twisted's own ``sendTextMessage`` would
    encode, frame and copy the same event once per subscriber, and has no part
    in reading: the frames of the two directions have nothing to do with each
    other, but for the close frame, after which the wire takes nothing in.

    And they are written to the socket itself while nothing waits in the
    transport, whose own way, a round through the reactor for each write, costs
    three times the system call.  As a pull producer the client is told whenever
    the transport has nothing left to write; so it also knows how much waits.

    :ivar send: Takes a frame.
    """

    def __init__(self, server: ChannelsServer, request: ChannelsRequest) -> None:
        self._server = server
        self._request = request
        self._wire = request.wire
        self._connection: Connection | None = None
        self._pieces: list[str] = []
        self._waiting = 0
        self._reading = True
        self._clear = False
        self._write_now: Callable[[bytes], int] | None = None
        self.send: Callable[[bytes], None] = _drop

    # Twisted's WebSocketProtocol

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """Too early to send: the handshake is not written yet."""

    def negotiationFinished(self) -> None:
        request = self._request
        transport: Any = self._wire.transport
        self._wire.upgraded(self)
        # Where the reactor polls, the handle is a socket that does not block.
        polled = IWriteDescriptor.providedBy(transport)
        self._write_now = transport.getHandle().send if polled else None
        # Twisted's HTTP code is the producer so far.
        transport.unregisterProducer()
        transport.registerProducer(self, False)
        # The handshake waits.
        self._clear = False
        self.send = self._send
        query = dict(parse_qsl(request.uri.partition(b"?")[2].decode("latin-1")))
        path = _APP_PATH(request.path)
        if path is None:
            self._server.refuse(self, CloseCode.NO_SUCH_PATH, "the path must be /app/KEY")
        else:
            key = unquote(path[1].decode("ascii"))
            self._connection = self._server.connected(self, key, query.get("protocol"))
        # What came along with the handshake Twisted's HTTP code would keep to itself,
        # and where it is much, read no more.
        early = request.channel.clearLineBuffer()
        if early:
            self._wire.dataReceived(early)

    def textMessageReceived(self, message: str) -> None:
        self._pieces.append(message)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        self.close(1003, "a message must be text")

    def pongReceived(self, payload: bytes) -> None:
        """Nothing to do: every byte that comes in is a sign of life."""

    def connectionLost(self, reason: Failure) -> None:
        self.ended()

    # The wire's Socket

    def seen(self, pongs: int) -> None:
        if self._connection is not None:
            self._server.seen(self._connection)
        if pongs:
            self._clear = False
            self._wait(pongs)

    def message_ends(self) -> None:
        message, self._pieces = "".join(self._pieces), []
        if self._connection is not None:
            self._server.received(self._connection, message)

    def ended(self) -> None:
        self.send = _drop
        connection, self._connection = self._connection, None
        if connection is not None:
            self._server.disconnected(connection)

    def close(self, code: int, reason: str) -> None:
        if self.send is not _drop:
            self.send = _drop
            self._wire.transport.write(close_frame(code, reason))
            self._wire.part()
            self.ended()

    def refuse(self, reason: str) -> None:
        if self.send is not _drop:
            self.send = _drop
            self._wire.transport.write(close_frame(1009, reason))
            self._wire.drain()
            self.ended()

    # Sending

    def _send(self, frame: bytes) -> None:
        if self._clear and self._write_now is not None:
            try:
                sent = self._write_now(frame)
            except OSError:
                # Either it would block, or the transport will see it too.
                sent = 0
            if sent == len(frame):
                return
            self._clear = False
            frame = frame[sent:]
        if self._wait(len(frame)):
            self._wire.transport.write(frame)

    def _wait(self, size: int) -> bool:
        """So many more bytes wait in the transport; False where it is too much."""
        self._waiting += size
        if self._waiting > MAX_BEHIND:
            self.send = _drop
            self._server.too_slow(self._connection)
            self._wire.abort()
            return False
        if self._waiting > READ_NO_MORE and self._reading:
            self._reading = False
            self._wire.transport.pauseProducing()
        return True

    # IPullProducer

    def resumeProducing(self) -> None:
        """The transport has nothing left to write."""
        self._clear = True
        self._waiting = 0
        if not self._reading:
            self._reading = True
            self._wire.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is lost, as :meth:`connectionLost` is told too."""


class WebSocketFace(WebSocketResource):
    """Makes WebSockets of requests that ask for it."""

    def __init__(self, server: ChannelsServer) -> None:
        self._server = server
        super().__init__(self)

    def buildProtocol(self, request: Any) -> Client:
        """The client behind an accepted request."""
        return Client(self._server, request)

    def render(self, request: Any) -> bytes | int:
        problem = self._problem(request)
        if problem is None:
            try:
                return self.render_GET(request)
            except (ProtocolError, HTTPProtocolError, UnicodeDecodeError):
                # Raised before anything is written.
                problem = "the headers are malformed"
        request.setResponseCode(400)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"sec-websocket-version", b"13")
        return f"this is no WebSocket handshake: {problem}\n".encode()

    def _problem(self, request: Any) -> str | None:
        # Twisted logs each of these as an error of the server's.
        def header(name: bytes) -> bytes:
            return b",".join(request.requestHeaders.getRawHeaders(name) or [])

        tokens = {token.strip().lower() for token in header(b"connection").split(b",")}
        if request.method != b"GET" or request.clientproto != b"HTTP/1.1":
            return "it must be a GET of HTTP/1.1"
        if b"upgrade" not in tokens or header(b"upgrade").lower() != b"websocket":
            return "it needs Connection: Upgrade and Upgrade: websocket"
        if header(b"sec-websocket-version") != b"13":
            return "Sec-WebSocket-Version must be 13"
        if not _KEY(header(b"sec-websocket-key")):
            return "Sec-WebSocket-Key must be 16 bytes in base64"
        if len(request.requestHeaders.getRawHeaders(b"host") or []) != 1:
            return "it needs one Host"
        return None
