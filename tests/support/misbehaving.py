"""
A server that does to each connection what a script says.

A script is an async function of a :class:`Peer`: it reads requests, sends
bytes, closes, resets, or waits.  Where it returns, the connection is closed.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from tests.support.credentials import SECRET
from txpusher._protocol import signing

from .waiting import pause, until

Script = Callable[["Peer"], Awaitable[None]]


class Gone(Exception):  # noqa: N818
    """The client has closed the connection."""


@attrs.frozen
class Request:
    """
    One request as it was on the wire.

    :ivar connection: The number of its connection, 1 for the first.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def params(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def signature(self) -> str:
        return self.params.get("auth_signature", "")

    def expected_signature(self, prefix: str = "", secret: str = SECRET) -> str:
        """What the signature must be, *prefix* being what a proxy strips."""
        params = {k: v for k, v in self.params.items() if k != "auth_signature"}
        assert self.path.startswith(prefix)
        return signing.request_signature(secret, self.method, self.path[len(prefix) :], params)


def reply(status: int = 200, body: bytes | str = b"{}", *headers: str) -> bytes:
    """An HTTP response with a Content-Length."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


class Peer(Protocol):
    """The server's end of one connection."""

    transport: Any

    def __init__(self, server: Server, number: int) -> None:
        self.server = server
        self.number = number
        self.is_gone = False
        self._received = b""
        self._waiting: list[Deferred[None]] = []

    def connectionMade(self) -> None:
        self.server.peers.append(self)
        Deferred.fromCoroutine(self._run()).addErrback(self.server.failures.append)

    async def _run(self) -> None:
        try:
            await self.server.script(self)
        except Gone:
            return
        self.close()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        self._wake()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.is_gone = True
        self.server.peers.remove(self)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    async def _event(self) -> None:
        if self.is_gone:
            raise Gone
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        await waiter

    async def head(self) -> bytes:
        """What there is up to and with the next empty line."""
        while b"\r\n\r\n" not in self._received:
            await self._event()
        head, end, self._received = self._received.partition(b"\r\n\r\n")
        return head + end

    async def some(self) -> bytes:
        """Whatever there is, at least one byte."""
        while not self._received:
            await self._event()
        data, self._received = self._received, b""
        return data

    async def request(self) -> Request:
        """The next request, read to its end and recorded."""
        first, _, rest = (await self.head()).decode("latin-1").partition("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in rest.split("\r\n") if line)
        }
        length = int(headers.get("content-length", 0))
        while len(self._received) < length:
            await self._event()
        body, self._received = self._received[:length], self._received[length:]
        request = Request(method, target, headers, body, self.number)
        self.server.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    async def stall(self) -> None:
        """Do nothing until the client goes."""
        while True:
            await self._event()

    async def pause(self, seconds: float) -> None:
        """Do nothing for a while."""
        await pause(seconds)
        if self.is_gone:
            raise Gone

    def close(self) -> None:
        """Send what was written, then FIN."""
        self.transport.loseConnection()

    def has_bytes_unread(self) -> bool:
        """Whether bytes wait in the socket, which go on waiting there."""
        try:
            return bool(self.transport.getHandle().recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False

    def hang_up(self) -> None:
        """FIN at once: before the reactor runs again, it is at the client."""
        self.transport.getHandle().shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """RST when the reactor runs again."""
        self.transport.abortConnection()


class Server(Factory):
    """
    A listening port and what became of it.

    :ivar requests: Every request that was read to its end.
    :ivar connections: How many there have been.
    :ivar peers: The connections that are open.
    """

    noisy = False

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.connections = 0
        self.peers: list[Peer] = []
        self.failures: list[Failure] = []
        self.port = 0
        self._listening: Any = None

    def buildProtocol(self, addr: Any) -> Peer:
        self.connections += 1
        return Peer(self, self.connections)

    def listen(self, tls: Any = None, port: int = 0, interface: str = "127.0.0.1") -> None:
        """Listen on *port*, else on a free one; *tls* is a context factory."""
        from twisted.internet import reactor as installed

        reactor: Any = installed
        if tls is None:
            self._listening = reactor.listenTCP(port, self, 128, interface)
        else:
            self._listening = reactor.listenSSL(port, self, tls, 128, interface)
        self.port = self._listening.getHost().port

    async def stop_listening(self) -> None:
        """Refuse new connections."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.stopListening()

    async def stop(self) -> None:
        """Close all, and tell of what went wrong in a script."""
        await self.stop_listening()
        for peer in list(self.peers):
            peer.reset()
        await until(lambda: not self.peers)
        for failure in self.failures:
            failure.raiseException()

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for request in self.requests]


# Scripts


def answering(*answers: bytes) -> Script:
    """Answer the requests of all connections in turn; the last answer repeats."""
    left = list(answers)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def in_turn(*scripts: Script) -> Script:
    """Each connection has the next script; the last repeats."""

    async def script(peer: Peer) -> None:
        await scripts[min(peer.number, len(scripts)) - 1](peer)

    return script


def answer_then_close(answer: bytes) -> Script:
    """Answer one request without a word about closing, and close."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(answer)

    return script


async def never_answer(peer: Peer) -> None:
    """Read, and be silent."""
    while True:
        await peer.request()


async def read_and_close(peer: Peer) -> None:
    """Read one request and close in place of an answer."""
    await peer.request()


async def read_and_reset(peer: Peer) -> None:
    """Read one request and reset in place of an answer."""
    await peer.request()
    peer.reset()


async def close_at_once(peer: Peer) -> None:
    """Close a new connection unread, whether or not a request has been sent."""


async def close_unread(peer: Peer) -> None:
    """Close a connection once bytes of a request are there, and read none of them."""
    peer.transport.pauseProducing()
    await until(peer.has_bytes_unread)
    peer.reset()


async def relay(peer: Peer, port: int) -> None:
    """Pass everything on to *port*, and back, until one end closes."""
    from twisted.internet import reactor

    other: Any = Protocol()
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), other)
    other.dataReceived = peer.send
    other.connectionLost = lambda reason: peer.close()
    try:
        while True:
            other.transport.write(await peer.some())
    finally:
        other.transport.abortConnection()


OK = reply()
