"""A connection that is not TCP: an endpoint of the user's in its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
import twisted
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from tests.support.waiting import within
from txpusher import BatchPublisher, HTTPError, Pusher, RequestTimeoutError, RetryPolicy

ONCE = RetryPolicy(max_retries=0)


class Recorder(Resource):
    """Accepts every event, and records the requests."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, Any]] = []

    def render_POST(self, request: Any) -> bytes:
        host = request.getHeader("host")
        self.requests.append((host, json.loads(request.content.read())))
        return b"{}"


@implementer(IStreamClientEndpoint)
class Scripted:
    """An endpoint whose attempts to connect end as the test wants."""

    def __init__(self, connect: Any) -> None:
        self._connect = connect
        self.attempts = 0

    def connect(self, factory: Any) -> Any:
        self.attempts += 1
        return self._connect(factory)


@pytest.fixture
def unix_site(tmp_path, clean_reactor):
    """Serve a resource on a Unix socket, with TLS where a context is given."""
    from twisted.internet import reactor

    async def start(context: Any = None) -> tuple[Recorder, Any, Any]:
        resource = Recorder()
        factory: Any = Site(resource)
        if context is not None:
            factory = TLSMemoryBIOFactory(context, False, factory)
        path = str(tmp_path / "channels.sock")
        port = await UNIXServerEndpoint(reactor, path).listen(factory)
        return resource, UNIXClientEndpoint(reactor, path), port

    return start


def client(**options: Any) -> Pusher:
    return Pusher("3", "key", "secret", host="channels.test", retry=ONCE, **options)


@pytest_twisted.ensureDeferred
async def test_requests_go_over_a_unix_socket_that_is_kept(unix_site):
    resource, endpoint, port = await unix_site()
    async with client(endpoint=endpoint, use_tls=False) as pusher:
        assert await within(pusher.trigger("orders", "created", {"n": 1})) == {}
        assert await within(pusher.trigger("orders", "created", {"n": 2})) == {}
        publisher = BatchPublisher(pusher)
        assert await within(publisher.trigger("orders", "created", {"n": 3})) == {}
        assert pusher.stats.open_connections == 1
    assert [host for host, _ in resource.requests] == ["channels.test"] * 3
    await port.stopListening()


@pytest.mark.skipif(
    tuple(map(int, twisted.__version__.split(".")[:2])) < (25, 6),
    reason="Twisted's own TLS server lets no client through with pyOpenSSL 26.2",
)
@pytest_twisted.ensureDeferred
async def test_tls_is_spoken_over_the_endpoint_and_verified(unix_site, tls):
    resource, endpoint, port = await unix_site(tls.server_context("channels.test"))
    trusting = client(endpoint=endpoint, tls_policy=tls.policy)
    assert await within(trusting.trigger("orders", "created", {"n": 1})) == {}
    with pytest.raises(HTTPError, match="certificate"):
        await within(client(endpoint=endpoint).trigger("orders", "created", {"n": 2}))
    assert len(resource.requests) == 1
    await within(trusting.close())
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_endpoint_that_never_connects_is_given_up_after_connect_timeout(clean_reactor):
    endpoint = Scripted(lambda factory: Deferred())
    pusher = client(endpoint=endpoint, use_tls=False, connect_timeout=0.05)
    with pytest.raises(RequestTimeoutError) as caught:
        await within(pusher.trigger("orders", "created", {}))
    assert caught.value.maybe_delivered is False
    assert endpoint.attempts == 1
    await within(pusher.close())


def raising(factory: Any) -> Any:
    raise OSError("no circuit")


@pytest.mark.parametrize(
    "connect",
    [raising, lambda factory: fail(OSError("no circuit")), lambda factory: succeed(None)],
    ids=["raises", "fails", "connects nothing"],
)
@pytest_twisted.ensureDeferred
async def test_endpoint_that_cannot_connect_fails_the_operation(clean_reactor, connect):
    pusher = client(endpoint=Scripted(connect), use_tls=False, connect_timeout=0.2)
    for _ in range(2):
        with pytest.raises(HTTPError) as caught:
            await within(pusher.trigger("orders", "created", {}))
        assert caught.value.maybe_delivered is False
    assert pusher.stats.open_connections == 0
    await within(pusher.close())
