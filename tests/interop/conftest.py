"""Servers, a subscriber on each, and a Pusher for each."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted

from tests.support.observing import Log, in_reactor, text_of
from tests.support.waiting import until
from txpusher import Pusher

from . import servers
from .node import NodeScript
from .own_subscriber import OwnSubscriber
from .requirements import node_command
from .servers import Address
from .subscriber import Browsers, Subscriber


@pytest_twisted.async_yield_fixture(scope="module", autouse=True)
async def clean_reactor() -> AsyncIterator[None]:
    """Fail where a module leaves connections, ports or timers behind."""
    before = set(in_reactor())
    yield
    # The other end of a connection notices a little later that it was closed.
    await until(lambda: not set(in_reactor()) - before)


@pytest.fixture(autouse=True)
def no_error_in_the_log() -> Iterator[None]:
    """Fail where a test, or a server in this process, logs a failure."""
    log = Log()
    log.start()
    yield
    log.stop()
    assert [text_of(event) for event in log.failures] == []


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, with all packages installed."""
    return node_command()


@pytest.fixture(scope="session")
def soketi(node: str) -> Iterator[Address]:
    """A running soketi."""
    with servers.soketi(node) as address:
        yield address


@pytest_twisted.async_yield_fixture(scope="module")
async def embedded() -> AsyncIterator[Address]:
    """A running ``txpusher.server``."""
    async with servers.embedded() as address:
        yield address


@pytest.fixture(scope="module", params=["soketi", "embedded"])
def server(request: pytest.FixtureRequest) -> Address:
    """The server under test: each in turn, unless a module has its own."""
    return request.getfixturevalue(request.param)


@pytest_twisted.async_yield_fixture(scope="module")
async def browsers(node: str) -> AsyncIterator[Browsers]:
    """The Node.js program that runs pusher-js."""
    from twisted.internet import reactor

    script = await NodeScript.start(reactor, node, "subscriber.js")
    yield Browsers(script, reactor)
    await script.stop()


@pytest_twisted.async_yield_fixture(scope="module")
async def node_sdk(node: str) -> AsyncIterator[NodeScript]:
    """The Node.js program that runs the official server SDK."""
    from twisted.internet import reactor

    script = await NodeScript.start(reactor, node, "node_sdk.js")
    yield script
    await script.stop()


@pytest_twisted.async_yield_fixture
async def pusher(server: Address) -> AsyncIterator[Pusher]:
    """A Pusher for the app on the server under test."""
    async with servers.pusher_for(server) as client:
        yield client


@pytest.fixture
def client() -> str:
    """Which client subscribes: ``pusher-js``, or ``txpusher`` where a module has both."""
    return "pusher-js"


@pytest.fixture
def make(client: str, pusher: Any, request: pytest.FixtureRequest) -> Callable[..., Subscriber]:
    """Makes subscribers that are not connected yet."""
    from twisted.internet import reactor

    if client == "pusher-js":
        browsers: Browsers = request.getfixturevalue("browsers")
        return lambda member, user: browsers.subscriber(pusher, member, user)
    return lambda member, user: OwnSubscriber(
        f"own subscriber {next(_NUMBERS)}", reactor, pusher, member, user
    )


@pytest_twisted.async_yield_fixture
async def subscribers(
    server: Address, make: Callable[..., Subscriber]
) -> AsyncIterator[Callable[..., Subscriber]]:
    """Makes subscribers that are not connected yet; they are closed after the test."""
    opened: list[Subscriber] = []

    def make_one(member: Any = None, user: Any = None) -> Subscriber:
        opened.append(make(member, user))
        return opened[-1]

    yield make_one
    for subscriber in opened:
        await subscriber.disconnect()


@pytest.fixture
def connect(server: Address, subscribers: Callable[..., Subscriber]) -> Callable[..., Any]:
    """Connects a subscriber to the server under test."""

    async def connected(member: Any = None, user: Any = None, **options: Any) -> Subscriber:
        subscriber = subscribers(member, user)
        await subscriber.connect(server, **options)
        return subscriber

    return connected


@pytest.fixture
def name() -> Callable[[str], str]:
    """Makes names that no other test uses."""
    return lambda prefix: f"{prefix}-{next(_NUMBERS)}"


_NUMBERS = itertools.count(1)
