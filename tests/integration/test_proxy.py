"""Through real proxies: plain requests, tunnels, passwords, and what each refuses."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.support.asserting import error_of
from tests.support.credentials import PROXY_PASSWORD
from tests.support.misbehaving import OK, answering, never_answer
from tests.support.observing import client_sockets
from tests.support.waiting import until, within
from txpusher import (
    AuthenticationError,
    HTTPError,
    ProxyAuthenticationError,
    RetryPolicy,
    ServerError,
)

from .proxies import Proxy
from .test_retries import free_port

FAST = RetryPolicy(max_retries=2, initial_delay=0.001)


@pytest.fixture(scope="module", params=["tinyproxy", "squid"])
def proxy(request):
    proxy = Proxy(request.param)
    yield proxy
    proxy.stop()


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def use_tls(request):
    return request.param


@pytest.fixture
def behind(proxy, serve, connect, tls, use_tls):
    """Starts a server, and makes a client that reaches it through the proxy."""

    def make(script, url=None, **options):
        server = serve(script, tls.server_context() if use_tls else None)
        url = proxy.url() if url is None else url
        if use_tls:
            options.setdefault("tls_policy", tls.policy)
        return server, connect(server, http_proxy=url, use_tls=use_tls, **options)

    return make


@pytest_twisted.ensureDeferred
async def test_operations_work(behind, use_tls):
    server, pusher = behind(answering(OK))
    for number in range(3):
        assert await within(pusher.trigger("c", "e", {"number": number})) == {}
    assert await within(pusher.channels("presence-", info="user_count")) == {}
    assert await within(pusher.channel_info("a=b@c,d.e;f-g_h;")) == {}
    assert await within(pusher.terminate_user_connections("a b/ü?#%2F")) == {}
    assert len(server.requests) == 6
    for request in server.requests:
        assert request.signature == request.expected_signature()
        assert request.target.startswith("/apps/3/")
        assert "proxy-authorization" not in request.headers
    if use_tls:
        assert server.connections == 1


@pytest_twisted.ensureDeferred
async def test_plain_connections_are_not_kept_and_tunnels_are(behind, use_tls, proxy):
    _, pusher = behind(answering(OK))
    await within(pusher.trigger("c", "e", "d"))
    await until(lambda: pusher.stats.open_connections == int(use_tls))
    assert client_sockets(proxy.port) == int(use_tls)


@pytest_twisted.ensureDeferred
async def test_operations_at_once_through_a_proxy_share_the_allowed_connections(behind):
    server, pusher = behind(answering(OK), max_connections=4)
    operations = [pusher.trigger("c", "e", str(number)) for number in range(40)]
    for operation in operations:
        assert await within(operation) == {}
        assert pusher.stats.open_connections <= 4
    assert len(server.requests) == 40


@pytest_twisted.ensureDeferred
async def test_wrong_proxy_password_is_told_and_no_request_passes(behind, proxy, use_tls):
    """Of a plain request, tinyproxy's 401 looks like one of the server."""
    server, pusher = behind(answering(OK), proxy.url(password="wr0ng-pa55word"), retry=FAST)
    told = proxy.name == "squid" or use_tls
    kind = ProxyAuthenticationError if told else AuthenticationError
    error = await error_of(pusher.trigger("c", "e", "d"), kind)
    assert error.status == (407 if proxy.name == "squid" else 401)
    assert error.path == "/apps/3/events"
    assert error.maybe_delivered is False
    assert "wr0ng-pa55word" not in f"{error} {error!r}"
    assert server.requests == []
    assert pusher.stats.sent == 1


@pytest_twisted.ensureDeferred
async def test_missing_proxy_password_is_told_and_no_request_passes(behind, proxy):
    server, pusher = behind(answering(OK), proxy.bare_url, retry=FAST)
    error = await error_of(pusher.trigger("c", "e", "d"), ProxyAuthenticationError)
    assert error.status == 407
    assert error.maybe_delivered is False
    assert server.requests == []
    assert pusher.stats.sent == 1


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_down_is_told_by_the_proxy(connect, proxy, use_tls):
    pusher = connect(port=free_port(), http_proxy=proxy.url(), use_tls=use_tls, retry=FAST)
    if use_tls:
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert "the proxy refused to connect: status 50" in str(error)
        assert error.maybe_delivered is False
        assert pusher.stats.sent == 3
    else:
        # Nobody can tell it from an error of the server's own.
        error = await error_of(pusher.trigger("c", "e", "d"), ServerError)
        assert error.maybe_delivered is True
        assert pusher.stats.sent == 1


@pytest_twisted.ensureDeferred
async def test_a_certificate_is_verified_through_the_tunnel(serve, connect, proxy, tls):
    server = serve(answering(OK), tls.server_context("channels.example"))
    options = {"use_tls": True, "tls_policy": tls.policy, "http_proxy": proxy.url()}
    error = await error_of(connect(server, **options).trigger("c", "e", "d"), HTTPError)
    assert "not valid for the host name" in str(error)
    assert error.maybe_delivered is False
    assert server.requests == []


@pytest_twisted.ensureDeferred
async def test_a_tunnel_that_was_closed_idle_is_nobodys_failure(behind):
    server, pusher = behind(answering(OK), max_connections=1)
    for number in range(1, 4):
        assert await within(pusher.trigger("c", "e", "d")) == {}
        for peer in list(server.peers):
            peer.reset()
        await until(lambda: not server.peers and not pusher.stats.open_connections)
        assert server.connections == number


@pytest_twisted.ensureDeferred
async def test_cancelled_operation_ends_the_connection_to_the_proxy(behind, proxy):
    server, pusher = behind(never_answer)
    operation = pusher.trigger("c", "e", "d")
    await until(lambda: server.requests)
    operation.addErrback(lambda failure: None)
    operation.cancel()
    # Whether the proxy then closes the other one at once is its own affair.
    await until(lambda: not client_sockets(proxy.port))
    assert pusher.stats.open_connections == 0


@pytest.mark.parametrize("name", ["tinyproxy", "squid"])
@pytest_twisted.ensureDeferred
async def test_proxy_that_dies_with_a_request_in_flight_is_an_http_error(
    serve, connect, tls, name
):
    server = serve(never_answer, tls.server_context())
    proxy = Proxy(name)
    try:
        pusher = connect(
            server, http_proxy=proxy.url(), use_tls=True, tls_policy=tls.policy, retry=FAST
        )
        operation = pusher.trigger("c", "e", "d")
        await until(lambda: server.requests)
    finally:
        proxy.stop()
    error = await error_of(operation, HTTPError, server)
    assert error.maybe_delivered is True
    assert len(server.requests) == 1
    # Now the proxy is down: nothing more can have been sent.
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert "refused" in str(error)
    assert error.maybe_delivered is False
    assert PROXY_PASSWORD not in repr(pusher)
