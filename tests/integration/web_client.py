"""A client of the resources for twisted.web, and what they are given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest_twisted
import treq
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.support.observing import Log
from txpusher import Pusher

KEY, SECRET = "web-key", "web-secret-of-the-app"
PUSHER = Pusher("3", KEY, SECRET, host="127.0.0.1")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SUBSCRIBE = b"socket_id=1.2&channel_name=private-a"

Serve = Callable[..., str]


def asyncio_future() -> object:
    """Return a future of a loop that does not run."""
    loop = asyncio.new_event_loop()
    loop.close()
    return loop.create_future()


def generator() -> Iterator[None]:
    """Return what runs only where somebody iterates over it."""
    yield


async def async_generator() -> AsyncIterator[None]:
    """Return what runs only where somebody iterates over it."""
    yield


#: Make results of callables that are neither a value, a Deferred nor a coroutine.
UNDONE = [asyncio_future, generator, async_generator]


@pytest_twisted.async_yield_fixture
async def serve_resource(log: Log, clean_reactor: None) -> AsyncIterator[Serve]:
    """Serve resources, each at a URL of its own; fail where a secret was logged."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    ports = []

    def start(resource: Resource, timeout: float = 30) -> str:
        site = Site(resource, timeout=timeout)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        ports.append(port)
        return f"http://127.0.0.1:{port.getHost().port}/"

    yield start
    for port in ports:
        await port.stopListening()
    assert SECRET not in log.text


async def ask(
    url: str,
    body: bytes = SUBSCRIBE,
    headers: dict[str, str] | None = None,
    method: str = "POST",
) -> tuple[int, Any, Any]:
    """Send one request; return status, decoded body and headers."""
    from twisted.internet import reactor

    client = treq.client.HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor, False)))
    response = await client.request(
        method, url, data=body, headers=FORM if headers is None else headers
    )
    text = await response.content()
    return response.code, json.loads(text) if text else None, response.headers


async def connect(url: str) -> Any:
    from twisted.internet import reactor

    port = int(url.rpartition(":")[2].strip("/"))
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    return await endpoint.connect(Factory.forProtocol(Protocol))


def header(headers: Any, name: str) -> str | None:
    values = headers.getRawHeaders(name)
    return None if values is None else ", ".join(values)


def never(*arguments: Any) -> Any:
    raise AssertionError(f"called with {arguments}")


async def some_rounds() -> None:
    """Give the server some rounds of the reactor to notice that a client has gone."""
    from twisted.internet import reactor

    for _ in range(5):
        await deferLater(reactor, 0.005)
