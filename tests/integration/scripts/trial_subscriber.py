"""A Subscriber that is closed in every state, under trial, which finds what is left."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from txpusher import ClosedError, ConnectionClosedError, RetryPolicy, Subscriber
from txpusher.testing import RunningServer

reactor: Any = installed


class ClosingTests(TestCase):
    """Each test ends with close(); trial looks at the reactor then."""

    timeout = 20

    async def start(self) -> RunningServer:
        server = await RunningServer.start()
        self.addCleanup(server.stop)
        return server

    def listen(self) -> int:
        """The port of a server that never says a word."""
        listening = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        port: int = listening.getHost().port
        return port

    def silent(self, **options: Any) -> Subscriber:
        return Subscriber("key", host="127.0.0.1", port=self.listen(), use_tls=False, **options)

    async def closed(self, subscriber: Subscriber, connecting: Deferred[str]) -> None:
        await subscriber.close()
        await self.assertFailure(connecting, ClosedError)
        assert subscriber.state == "disconnected"

    async def test_initialized(self) -> None:
        await Subscriber("key").close()

    async def test_connecting(self) -> None:
        subscriber = self.silent()
        await self.closed(subscriber, subscriber.connect())

    async def test_shaking_hands(self) -> None:
        subscriber = self.silent()
        connecting = subscriber.connect()
        await deferLater(reactor, 0.1)
        await self.closed(subscriber, connecting)

    async def test_unavailable(self) -> None:
        slow = RetryPolicy(initial_delay=60, max_delay=60)
        subscriber = self.silent(connect_timeout=0.02, retry=slow)
        connecting = subscriber.connect()
        await deferLater(reactor, 0.2)
        assert subscriber.state == "unavailable"
        await self.closed(subscriber, connecting)

    async def test_connected(self) -> None:
        server = await self.start()
        subscriber = Subscriber.for_pusher(server.pusher())
        await subscriber.connect()
        await subscriber.subscribe("private-room")
        await subscriber.sign_in({"id": "7"})
        await subscriber.close()

    async def test_reconnecting(self) -> None:
        server = await self.start()
        subscriber = Subscriber.for_pusher(server.pusher())
        await subscriber.connect()
        await server.server.stop()
        await deferLater(reactor, 0.05)
        await subscriber.close()

    async def test_failed(self) -> None:
        server = await self.start()
        settings: Any = {"host": "127.0.0.1", "port": server.port, "use_tls": False}
        subscriber = Subscriber("other-key", **settings)
        await self.assertFailure(subscriber.connect(), ConnectionClosedError)
        await subscriber.close()
