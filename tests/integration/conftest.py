"""Servers that misbehave, clients of them, and what must hold after each test."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted

from tests.support.certificates import Authority
from tests.support.credentials import APP_ID, KEY, PROXY_PASSWORD, SECRET
from tests.support.misbehaving import Script, Server
from tests.support.observing import Log, in_reactor, text_of
from tests.support.waiting import until
from txpusher import Pusher
from txpusher.server import App, ChannelsServer

from .subscribers import make_subscriber as make_subscriber

Serve = Callable[..., Server]
Connect = Callable[..., Pusher]


@pytest_twisted.async_yield_fixture
async def clean_reactor() -> AsyncIterator[None]:
    """Fail where a test leaves a connection, a port or a timer behind."""
    before = set(in_reactor())
    yield
    # The other end of a connection notices a little later that it was closed.
    await until(lambda: not set(in_reactor()) - before)


@pytest.fixture
def log() -> Iterator[Log]:
    """All that is logged; a failure that the test does not ask for fails it."""
    log = Log()
    log.start()
    yield log
    # A failure that nobody handled is logged when its Deferred is collected.
    gc.collect()
    log.stop()
    assert [text_of(event) for event in log.failures] == []


@pytest_twisted.async_yield_fixture
async def serve(log: Log, clean_reactor: None) -> AsyncIterator[Serve]:
    """Starts servers; checks in the end that nothing secret was logged."""
    servers: list[Server] = []

    def start(script: Script, tls: Any = None, *, listen: bool = True) -> Server:
        server = Server(script)
        servers.append(server)
        if listen:
            server.listen(tls)
        return server

    yield start
    for server in servers:
        await server.stop()
    signatures = [r.signature for server in servers for r in server.requests if r.signature]
    for secret in (SECRET, KEY, PROXY_PASSWORD, *signatures):
        assert secret not in log.text


@pytest_twisted.async_yield_fixture
async def connect(serve: Serve) -> AsyncIterator[Connect]:
    """Makes clients, of a server or of any address; they are closed after the test."""
    clients: list[Pusher] = []

    def make(server: Server | None = None, **options: Any) -> Pusher:
        settings = {"host": "127.0.0.1", "use_tls": False, **options}
        if server is not None:
            settings.setdefault("port", server.port)
        client = Pusher(APP_ID, KEY, SECRET, **settings)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close(timeout=0.001)


@pytest.fixture(scope="session")
def tls() -> Authority:
    """An authority, whose certificates no client trusts unless told to."""
    return Authority()


@pytest_twisted.async_yield_fixture
async def server(log: Log, clean_reactor: None) -> AsyncIterator[ChannelsServer]:
    """A Channels server with one app, stopped after the test."""
    running = ChannelsServer([App("3", KEY, SECRET)])
    await running.listen()
    yield running
    await running.stop()
