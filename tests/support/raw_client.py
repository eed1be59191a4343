"""
A client of the server that can do all that a client should not: raw bytes over TCP.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from tests.support.credentials import KEY, SECRET
from txpusher import Pusher
from txpusher._protocol import signing
from txpusher.server import ChannelsServer

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
    """A frame as a client sends it, under a mask of zeros."""
    first, size = opcode | (0x80 if fin else 0), len(payload)
    mask = 0x80 if masked else 0
    if size < 126:
        header = struct.pack("!BB", first, mask | size)
    elif size < 65536:
        header = struct.pack("!BBH", first, mask | 126, size)
    else:
        header = struct.pack("!BBQ", first, mask | 127, size)
    return header + (bytes(4) if masked else b"") + payload


def signed(method: str, path: str, body: bytes | None = None, **params: str) -> bytes:
    """A whole request of the HTTP API, as bytes."""
    query = signing.signed_params(KEY, SECRET, method, path, params, body, int(time.time()))
    head = f"{method} {path}?{urlencode(query)} HTTP/1.1\r\nHost: localhost\r\n"
    if body is not None:
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


class Raw(Protocol):
    """
    One TCP connection.

    :ivar received: All bytes that came and were not taken yet.
    :ivar lost: Fires with None when the connection is gone.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[None] = Deferred()
        self.open = True
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._check()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.open = False
        self._check()
        self.lost.callback(None)

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    async def until(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        """Wait until *condition* holds; it is asked whenever something came in."""
        from twisted.internet import reactor

        if condition():
            return
        deferred: Deferred[None] = Deferred()
        self._waiting.append((condition, deferred))
        await deferred.addTimeout(timeout, reactor)

    async def until_has(self, text: bytes) -> bytes:
        """Wait for *text*; all that came up to its end is taken."""
        await self.until(lambda: text in self.received or not self.open)
        before, found, after = self.received.partition(text)
        assert found, self.received
        self.received = after
        return before + found

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """One whole HTTP response: status, headers in lower case, body."""
        head = (await self.until_has(b"\r\n\r\n")).decode()
        lines = head.strip().split("\r\n")
        headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])
        }
        size = int(headers.get("content-length", 0))
        await self.until(lambda: len(self.received) >= size or not self.open)
        body, self.received = self.received[:size], self.received[size:]
        return int(lines[0].split()[1]), headers, body

    def _check(self) -> None:
        for waiting in list(self._waiting):
            condition, deferred = waiting
            if condition():
                self._waiting.remove(waiting)
                deferred.callback(None)


class Socket:
    """A WebSocket on a raw connection; what comes in is taken apart here."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.messages: list[dict[str, Any]] = []
        self.pongs: list[bytes] = []
        self.close_code: int | None = None
        self.close_reason = ""

    def send(self, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self.raw.write(frame(TEXT, text.encode()))

    def subscribe(self, channel: str, member: Any = None) -> None:
        data = {"channel": channel}
        channel_data = None if member is None else json.dumps(member)
        if channel.startswith(("private-", "presence-")):
            signature = signing.channel_signature(SECRET, self.socket_id, channel, channel_data)
            data["auth"] = f"{KEY}:{signature}"
        if channel_data is not None:
            data["channel_data"] = channel_data
        self.send({"event": "pusher:subscribe", "data": data})

    @property
    def socket_id(self) -> str:
        socket_id: str = json.loads(self.messages[0]["data"])["socket_id"]
        return socket_id

    def got(self, event: str) -> list[dict[str, Any]]:
        self.take_apart()
        return [message for message in self.messages if message["event"] == event]

    async def wait(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """The messages with this event, once there are as many."""
        await self.raw.until(lambda: len(self.got(event)) >= count or not self.raw.open)
        assert len(self.got(event)) >= count, (event, self.messages, self.close_code)
        return self.got(event)

    async def wait_for_pongs(self, count: int) -> None:
        """Wait until so many WebSocket pongs have come."""

        def enough() -> bool:
            self.take_apart()
            return len(self.pongs) >= count or not self.raw.open

        await self.raw.until(enough)
        assert len(self.pongs) >= count

    async def end(self) -> int | None:
        """The close code, once the connection is gone."""
        await self.raw.until(lambda: self.is_closing() or not self.raw.open)
        self.raw.transport.loseConnection()
        await self.raw.lost
        return self.close_code

    def is_closing(self) -> bool:
        """Whether the server has sent a close frame."""
        self.take_apart()
        return self.close_code is not None

    def take_apart(self) -> None:
        """Sort what has come in so far by its frames."""
        data, begin = self.raw.received, 0
        while len(data) - begin >= 2:
            size, at = data[begin + 1], begin + 2
            if size >= 126:
                at += 2 if size == 126 else 8
                size = int.from_bytes(data[begin + 2 : at], "big")
            if len(data) < at + size:
                break
            self._take(data[begin] & 15, data[at : at + size])
            begin = at + size
        self.raw.received = data[begin:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self.messages.append(json.loads(payload))
        elif opcode == PONG:
            self.pongs.append(payload)
        elif opcode == CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")
            self.close_reason = payload[2:].decode()


async def connect_raw(port: int) -> Raw:
    """A TCP connection."""
    from twisted.internet import reactor

    return await connect_raw_to(TCP4ClientEndpoint(reactor, "127.0.0.1", port))


async def connect_raw_to(endpoint: IStreamClientEndpoint) -> Raw:
    """A connection through an endpoint."""
    raw = Raw()
    await connectProtocol(endpoint, raw)
    return raw


HANDSHAKE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


def handshake(path: str, **changes: str | None) -> bytes:
    """The request for a WebSocket; a header that is None is left out."""
    headers: dict[str, str | None] = {
        **HANDSHAKE,
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


async def open_socket(port: int, path: str = f"/app/{KEY}?protocol=7") -> Socket:
    """A WebSocket; the server has greeted it or turned it away."""
    return await shake_hands(await connect_raw(port), path)


async def shake_hands(raw: Raw, path: str = f"/app/{KEY}?protocol=7") -> Socket:
    """A WebSocket over a connection; the server has greeted it or turned it away."""
    raw.write(handshake(path))
    head = await raw.until_has(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    socket = Socket(raw)
    await raw.until(
        lambda: bool(socket.got("pusher:connection_established")) or socket.is_closing()
    )
    return socket


async def close(socket: Socket) -> None:
    """End the connection, and wait until it is gone."""
    socket.raw.transport.loseConnection()
    await socket.raw.lost


async def end(raw: Raw) -> None:
    """The same without a WebSocket."""
    raw.transport.loseConnection()
    await raw.lost


async def check_that_it_serves(server: ChannelsServer) -> None:
    """An event goes from the HTTP API to a subscriber."""
    witness = await open_socket(server.port)
    witness.subscribe("witness")
    await witness.wait("pusher_internal:subscription_succeeded")
    pusher = Pusher.from_url(server.url("3"))
    await pusher.trigger("witness", "still-there", "")
    await witness.wait("still-there")
    await pusher.close()
    await close(witness)


class Timed:
    """The reactor with a time of its own: ``clock`` has what it is to call later."""

    def __init__(self) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self.clock = Clock()
        self.seconds = self.clock.seconds
        self.callLater = self.clock.callLater
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)
