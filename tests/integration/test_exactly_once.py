"""Idempotency keys and unsafe retries: whatever is cut, each event arrives once."""

from __future__ import annotations

import random
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.protocols.portforward import (
    ProxyClient,
    ProxyClientFactory,
    ProxyFactory,
    ProxyServer,
)

from txpusher import BatchPublisher, Event, Published, Pusher, RetryPolicy

pytest.importorskip("wsproto")

from txpusher.testing import RunningServer

EVENTS = 1000
#: A tenth of the requests are cut on their way, a tenth of the replies.
SHARE = 0.1


class CuttingClient(ProxyClient):
    """The side of the server: loses some replies."""

    factory: Any

    def dataReceived(self, data):
        if self.factory.server.factory.chance():
            self.transport.abortConnection()
            self.peer.transport.abortConnection()
        else:
            super().dataReceived(data)


class CuttingClientFactory(ProxyClientFactory):
    noisy = False
    protocol = CuttingClient


class CuttingServer(ProxyServer):
    """The side of the client: loses some requests, in the middle."""

    factory: Any

    clientProtocolFactory = CuttingClientFactory

    def dataReceived(self, data):
        if self.factory.chance():
            super().dataReceived(data[: len(data) // 2])
            self.transport.loseConnection()
        else:
            super().dataReceived(data)


class CuttingProxy(ProxyFactory):
    noisy = False
    protocol = CuttingServer

    def __init__(self, port):
        super().__init__("127.0.0.1", port)
        self._random = random.Random(7)
        self.cuts = 0

    def chance(self):
        cut = self._random.random() < SHARE
        self.cuts += cut
        return cut


@pytest_twisted.async_yield_fixture
async def cut():
    """A server, a client that reaches it through a cutting proxy, and the proxy."""
    server = await RunningServer.start()
    proxy = CuttingProxy(server.server.port)
    port: Any = reactor.listenTCP(0, proxy, interface="127.0.0.1")
    pusher = Pusher.from_url(
        server.url,
        host="127.0.0.1",
        port=port.getHost().port,
        idempotency_keys=True,
        retry=RetryPolicy(max_retries=20, initial_delay=0.001, max_delay=0.01, unsafe=True),
    )
    yield server, pusher, proxy
    await pusher.close()
    await port.stopListening()
    await server.stop()


def numbers(server):
    return [int(event.data) for event in server.events]


@pytest_twisted.ensureDeferred
async def test_each_event_arrives_once(cut):
    server, pusher, proxy = cut
    await gatherResults([pusher.trigger(f"c{n % 7}", "e", n) for n in range(EVENTS)])
    assert proxy.cuts > EVENTS * SHARE
    assert sorted(numbers(server)) == list(range(EVENTS))


@pytest_twisted.ensureDeferred
async def test_each_event_of_a_publisher_arrives_once_and_in_order(cut):
    server, pusher, proxy = cut
    publisher = BatchPublisher(pusher)
    await gatherResults([publisher.trigger(f"c{n % 7}", "e", n) for n in range(EVENTS)])
    assert proxy.cuts > 0
    assert sorted(numbers(server)) == list(range(EVENTS))
    for channel in range(7):
        of_channel = [n for n in numbers(server) if n % 7 == channel]
        assert of_channel == sorted(of_channel)


@pytest_twisted.ensureDeferred
async def test_each_published_event_arrives_once_and_in_order(cut):
    server, pusher, proxy = cut
    events = (Event(f"c{n % 7}", "e", n) for n in range(EVENTS))
    assert await BatchPublisher(pusher).publish(events) == Published(EVENTS, [])
    assert proxy.cuts > 0
    assert sorted(numbers(server)) == list(range(EVENTS))
    for channel in range(7):
        of_channel = [n for n in numbers(server) if n % 7 == channel]
        assert of_channel == sorted(of_channel)
