# -*- test-case-name: tests.integration.test_server_abuse -*-
"""
WebSocket connections, over wsproto: the handshake, messages in, frames out.

Needs ``wsproto``; no other module of the server does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from io import StringIO
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, unquote

from h11 import ProtocolError as HTTPProtocolError
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection as FrameConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
)
from wsproto.utilities import ProtocolError

from txpusher._text import short_repr
from txpusher.server import _limits as limits
from txpusher.server._core import messages
from txpusher.server._core.endpoints import below
from txpusher.server._core.outputs import Peer
from txpusher.server._core.refusals import Refusal
from txpusher.server._core.state import Connection
from txpusher.server._net.connection import HTTPConnection
from txpusher.server._net.http import ChannelsRequest, ShownHeaders, shown_headers
from txpusher.server._net.outbox import make_writer, text_frame

_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch
_APP_PATH = re.compile(rb"/app/([^/]+)/?").fullmatch


class MessageTooBigError(Exception):
    """A message from a client has too many bytes, or too many frames."""


class IncomingMessage:
    """
    The message that a client is sending, and the one place where its size is bounded.

    wsproto hands over a message piece by piece, as its bytes come in, so that no more than
    the bound is ever kept.
    """

    __slots__ = ("_frames", "_size", "_text")

    def __init__(self) -> None:
        self._text: StringIO | None = None
        self._size = 0
        self._frames = 0

    def add(self, event: Message[Any]) -> str | None:
        """
        Add the next piece of a message.

        :return: The whole message where *event* ends it, else None; of a binary message
            only an empty text.
        :raises MessageTooBigError: The message is over the bound.
        """
        data = event.data if isinstance(event.data, str) else ""
        self._size += len(data.encode("utf-8")) if data else len(event.data)
        self._frames += event.frame_finished
        if self._size > limits.MESSAGE or self._frames > limits.MESSAGE_FRAMES:
            raise MessageTooBigError(
                f"a message may have {limits.MESSAGE} bytes in {limits.MESSAGE_FRAMES} frames, "
                f"not {self._size} in {self._frames} or more"
            )
        if event.message_finished:
            text, self._text = self._text, None
            self._size = self._frames = 0
            return data if text is None else text.getvalue() + data
        if self._text is None:
            self._text = StringIO()
        self._text.write(data)
        return None


class WebSocketState(Enum):
    """The states of a WebSocket connection."""

    OPEN = "messages go both ways"
    PARTING = "the server has sent its close frame: only the client's close frame counts"
    CLOSED = "nothing is sent any more, and whatever comes in is dropped"


class Subscribers(Protocol):
    """Is told of everything that the clients of WebSocket connections do."""

    def connected(self, peer: Peer, key: str, protocol: str | None, /) -> Connection | None:
        """Accept a WebSocket, and return its connection; None where it is refused."""

    def refuse(self, peer: Peer, refusal: Refusal, reason: str, /) -> None:
        """Refuse a WebSocket that has just been opened."""

    def refused_handshake(self, problem: str, headers: ShownHeaders, /) -> None:
        """Note that a request for a WebSocket is no handshake."""

    def seen(self, connection: Connection, /) -> None:
        """Note that a client has sent something."""

    def received(self, connection: Connection, message: str, /) -> None:
        """Act on a message of a client."""

    def disconnected(self, connection: Connection, /) -> None:
        """Forget a client that is gone."""

    def broke_off(
        self, connection: Connection, refusal: Refusal, reason: str, code: int | None, /
    ) -> None:
        """
        Note that the server ends a connection, because of what its client has done.

        The code is the close code, None where nothing can be sent.
        """


class WebSocketConnection:
    """
    The server's end of one WebSocket connection: the hub's peer.

    :param subscribers: Told of everything that the client does.
    :param http: The TCP connection.
    :param frames: wsproto's connection, which reads the client's frames.
    :ivar send: Sends a frame or several; an ended connection drops them.
    """

    def __init__(
        self, subscribers: Subscribers, http: HTTPConnection, frames: FrameConnection
    ) -> None:
        self._subscribers = subscribers
        self._http = http
        self._frames = frames
        self._state = WebSocketState.OPEN
        self._message = IncomingMessage()
        self._writer = make_writer(http.transport, self._too_slow)
        # Called for every subscriber of every event: a method of our own between the two
        # would cost a twentieth of a delivery.
        self.send: Callable[[bytes], None] = self._writer.write
        self._connection: Connection | None = None

    def start(self, uri: bytes, early: bytes, path_prefix: bytes = b"") -> None:
        """
        Begin, once the answer to the handshake has been written.

        :param uri: The target of the handshake: it names the app.
        :param early: The bytes that came in along with the handshake.
        :param path_prefix: The path that may stand before the app's.
        """
        self._writer.start()
        path, _, query = uri.partition(b"?")
        app_path = _APP_PATH(below(path_prefix, path))
        if app_path is None:
            reason = f"the path must be /app/KEY, not {short_repr(path.decode('latin-1'))}"
            self._subscribers.refuse(self, Refusal.NO_SOCKET_PATH, reason)
        else:
            key = unquote(app_path[1].decode("ascii"))
            params = dict(parse_qsl(query.decode("latin-1")))
            self._connection = self._subscribers.connected(self, key, params.get("protocol"))
        if early:
            self.data_received(early)

    # What comes in

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client's frames."""
        if self._is_closed():
            return
        if self._connection is not None:
            self._subscribers.seen(self._connection)
        self._frames.receive_data(data)
        for event in self._frames.events():
            if self._state is WebSocketState.OPEN:
                self._handle(event)
            elif isinstance(event, CloseConnection):
                self._leave_open(WebSocketState.CLOSED)
                self._http.close()
            if self._is_closed():
                return

    def _is_closed(self) -> bool:
        return self._state is WebSocketState.CLOSED

    def _handle(self, event: Event) -> None:
        if isinstance(event, Message):
            self._handle_message(event)
        elif isinstance(event, Ping):
            self._writer.write(self._frames.send(event.response()))
        elif isinstance(event, CloseConnection):
            # The client's close frame, or wsproto's word on a breach of RFC 6455.
            breach = self._frames.state is ConnectionState.OPEN
            if breach:
                self._break_off(Refusal.BROKEN_FRAME, event.reason or "malformed", event.code)
            self._http.transport.write(self._frames.send(event.response()))
            if breach:
                self._http.half_close()
            else:
                self._http.close()
            self.ended()

    def _handle_message(self, event: Message[Any]) -> None:
        try:
            text = self._message.add(event)
        except MessageTooBigError as error:
            code = self._break_off(Refusal.LARGE_MESSAGE, str(error))
            self._send_close(code, str(error))
            self._http.half_close()
            self.ended()
            return
        if text is None:
            return
        if isinstance(event, BytesMessage):
            reason = "a message must be text"
            self.close(self._break_off(Refusal.BINARY_MESSAGE, reason), reason)
        elif self._connection is not None:
            self._subscribers.received(self._connection, text)

    def ended(self) -> None:
        """Note that nothing more can be sent."""
        self._leave_open(WebSocketState.CLOSED)
        self._disconnected()

    def _leave_open(self, state: WebSocketState) -> None:
        self._state = state
        self._writer.end()

    def _disconnected(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._subscribers.disconnected(connection)

    # What goes out

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and wait for the client's; once ended, do nothing."""
        if self._state is WebSocketState.OPEN:
            self._leave_open(WebSocketState.PARTING)
            self._send_close(code, reason)
            self._http.await_close_frame()
            self._disconnected()

    def _send_close(self, code: int, reason: str) -> None:
        self._http.transport.write(self._frames.send(CloseConnection(code, reason)))

    def _too_slow(self) -> None:
        self._leave_open(WebSocketState.CLOSED)
        if self._connection is not None:
            reason = "the client does not read: its connection is aborted"
            self._subscribers.broke_off(self._connection, Refusal.SLOW_READER, reason, None)
        self._http.abort()

    def _break_off(self, refusal: Refusal, reason: str, code: int | None = None) -> int:
        """
        Report that the server is about to close the connection, and tell an old client.

        :return: The close code: *code*, or that of the refusal.
        """
        code = refusal.code or 0 if code is None else code
        if self._connection is not None:
            self._subscribers.broke_off(self._connection, refusal, reason, code)
            if self._connection.is_told_first:
                self._writer.write(text_frame(messages.error(code, reason)))
        return code


# The handshake


class HandshakeError(Exception):
    """A request for a WebSocket is no handshake; the message says why."""


class WebSocketResource(Resource):
    """
    Turns requests for a WebSocket into WebSocket connections.

    :param path_prefix: The path that may stand before every path.
    """

    def __init__(self, subscribers: Subscribers, path_prefix: bytes = b"") -> None:
        super().__init__()
        self._subscribers = subscribers
        self._path_prefix = path_prefix

    def render(self, request: Any) -> bytes | int:
        try:
            frames, accepted = _shake_hands(request)
        except HandshakeError as error:
            self._subscribers.refused_handshake(str(error), shown_headers(request))
            request.setResponseCode(400)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            request.setHeader(b"sec-websocket-version", b"13")
            return f"this is no WebSocket handshake: {error}\n".encode()
        http = request.connection
        websocket = WebSocketConnection(self._subscribers, http, frames)
        http.upgrade(websocket)
        http.transport.write(accepted)
        # What came along with the handshake Twisted's HTTP code would keep to itself.
        websocket.start(request.uri, request.channel.clearLineBuffer(), self._path_prefix)
        return NOT_DONE_YET


def _shake_hands(request: ChannelsRequest) -> tuple[FrameConnection, bytes]:
    """
    Answer a handshake (RFC 6455, section 4.2).

    :return: wsproto's connection, and the bytes of the answer.
    :raises HandshakeError: The request is no handshake.
    """
    if request.method != b"GET":
        raise HandshakeError("it must be a GET")
    if request.clientproto != b"HTTP/1.1":
        raise HandshakeError(
            "it must be HTTP/1.1, which a proxy between client and server must speak too"
        )
    headers = [
        (name, value)
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]
    version = (request.requestHeaders.getRawHeaders(b"sec-websocket-version") or [b"13"])[-1]
    if version != b"13":
        # wsproto would say that there is none.
        shown = short_repr(version.decode("latin-1"))
        raise HandshakeError(f"Sec-WebSocket-Version must be 13, not {shown}")
    handshake = WSConnection(ConnectionType.SERVER)
    try:
        handshake.initiate_upgrade_connection(headers, request.uri)
        key = b",".join(request.requestHeaders.getRawHeaders(b"sec-websocket-key") or [])
        if not _KEY(key):
            raise HandshakeError("Sec-WebSocket-Key must be 16 bytes in base64")
        accepted = handshake.send(AcceptConnection(subprotocol=_subprotocol(request)))
    except (ProtocolError, HTTPProtocolError, UnicodeError) as error:
        raise HandshakeError(str(error) or "the headers are malformed") from None
    return cast(FrameConnection, handshake.connection), accepted


def _subprotocol(request: ChannelsRequest) -> str | None:
    """
    Return the subprotocol of the connection, None for none.

    The official Swift client offers ``pusher-channels-protocol-7`` and insists on it; a name
    that a client has not offered must not come back (RFC 6455, section 4.1).
    """
    query = parse_qsl(request.uri.partition(b"?")[2].decode("latin-1"))
    name = f"pusher-channels-protocol-{dict(query).get('protocol')}"
    lines = request.requestHeaders.getRawHeaders(b"sec-websocket-protocol") or []
    offered = {offer.strip() for line in lines for offer in line.split(b",")}
    return name if name.encode("utf-8") in offered else None
