"""TLS: what is verified, what is refused and why, and connections that are used again."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.support.asserting import error_of
from tests.support.misbehaving import OK, answering, close_at_once, in_turn, relay, reply
from tests.support.observing import client_sockets
from tests.support.waiting import until, within
from txpusher import HTTPError, RequestTimeoutError, RetryPolicy

FAST = RetryPolicy(max_retries=2, initial_delay=0.001)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest_twisted.ensureDeferred
async def test_a_connection_is_verified_and_used_again(serve, connect, tls, host):
    server = serve(answering(OK), tls.server_context())
    pusher = connect(server, host=host, use_tls=True, tls_policy=tls.policy)
    for _ in range(5):
        assert await within(pusher.trigger("c", "e", "d")) == {}
    assert await within(pusher.channels()) == {}
    assert server.connections == 1
    assert len(server.requests) == 6
    assert all(r.signature == r.expected_signature() for r in server.requests)
    assert server.requests[0].headers["host"] == f"{host}:{server.port}"


@pytest_twisted.ensureDeferred
async def test_operations_over_tls_share_the_allowed_connections(serve, connect, tls):
    server = serve(answering(OK), tls.server_context())
    pusher = connect(server, use_tls=True, tls_policy=tls.policy, max_connections=3)
    for operation in [pusher.trigger("c", "e", str(n)) for n in range(30)]:
        assert await within(operation) == {}
    assert server.connections == 3


@pytest_twisted.ensureDeferred
async def test_certificate_of_an_unknown_authority_is_refused_and_not_retried(
    serve, connect, tls
):
    server = serve(answering(OK), tls.server_context())
    pusher = connect(server, use_tls=True, retry=FAST)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert "certificate verify failed" in str(error)
    assert "TLS" in str(error)
    assert error.maybe_delivered is False
    assert error.original_error is not None
    assert server.connections == 1
    assert server.requests == []


@pytest_twisted.ensureDeferred
async def test_certificate_for_another_host_is_refused_and_not_retried(serve, connect, tls):
    server = serve(answering(OK), tls.server_context("channels.example"))
    pusher = connect(server, use_tls=True, tls_policy=tls.policy, retry=FAST)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert "not valid for the host name" in str(error)
    assert error.maybe_delivered is False
    assert server.connections == 1
    assert server.requests == []


@pytest_twisted.ensureDeferred
async def test_a_server_that_does_not_speak_tls_is_an_error_that_says_so(serve, connect):
    async def plain(peer):
        await peer.some()
        peer.send(reply(400, "this is HTTP"))

    server = serve(plain)
    pusher = connect(server, use_tls=True, retry=FAST)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert str(error).startswith("POST /apps/3/events: TLS failed: ")
    assert error.maybe_delivered is False


async def _read_hello_and_close(peer):
    await peer.some()


async def _read_hello_and_reset(peer):
    await peer.some()
    peer.reset()


async def _half_an_answer(peer):
    await peer.some()
    peer.send(b"\x16\x03\x03\x00\x7a\x02\x00\x00")


@pytest.mark.parametrize(
    "cut", [close_at_once, _read_hello_and_close, _read_hello_and_reset, _half_an_answer]
)
@pytest_twisted.ensureDeferred
async def test_a_handshake_that_is_cut_was_no_delivery_and_is_tried_again(serve, connect, cut):
    server = serve(cut)
    pusher = connect(server, use_tls=True, retry=FAST)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert error.maybe_delivered is False
    assert error.original_error is not None
    assert server.connections == 3


@pytest_twisted.ensureDeferred
async def test_a_handshake_that_never_ends_is_a_connect_timeout(serve, connect):
    async def silent(peer):
        await peer.stall()

    server = serve(silent)
    pusher = connect(
        server, use_tls=True, connect_timeout=0.2, retry=RetryPolicy(max_retries=1)
    )
    error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)
    assert error.maybe_delivered is False
    assert "connected, but no TLS handshake within 0.2 seconds" in str(error)
    assert server.connections == 2
    await until(lambda: not server.peers)


@pytest_twisted.ensureDeferred
async def test_a_query_outlives_a_cut_handshake(serve, connect, tls):
    """The first connection is cut by a relay in front of a good server."""
    server = serve(answering(OK), tls.server_context())

    async def front(peer):
        if peer.number > 1:
            await relay(peer, server.port)

    relaying = serve(front)
    pusher = connect(relaying, use_tls=True, tls_policy=tls.policy, retry=FAST)
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert relaying.connections == 2
    assert len(server.requests) == 1


@pytest_twisted.ensureDeferred
async def test_a_close_without_an_end_does_not_hold_the_only_socket(serve, connect, tls):
    """The server announces a close, then never reads the end of TLS, nor sends its own."""

    async def linger(peer):
        await peer.request()
        peer.send(reply(200, "{}", "Connection: close"))
        peer.transport.pauseProducing()
        await until(lambda: peer.server.connections == 2)

    server = serve(in_turn(linger, answering(OK)), tls.server_context())
    pusher = connect(server, use_tls=True, tls_policy=tls.policy, max_connections=1)
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert server.connections == 2
    assert client_sockets(server.port) == 1


@pytest_twisted.ensureDeferred
async def test_close_of_a_tls_client_leaves_no_socket_behind(serve, connect, tls):
    server = serve(answering(OK), tls.server_context())
    pusher = connect(server, use_tls=True, tls_policy=tls.policy, max_connections=4)
    for operation in [pusher.trigger("c", "e", str(n)) for n in range(12)]:
        await within(operation)
    assert client_sockets(server.port) == 4
    await within(pusher.close())
    assert client_sockets(server.port) == 0
    assert pusher.stats.open_connections == 0


@pytest_twisted.ensureDeferred
async def test_a_post_lost_after_sending_may_have_been_delivered(serve, connect, tls):
    async def lose(peer):
        await peer.request()
        peer.reset()

    server = serve(lose, tls.server_context())
    pusher = connect(server, use_tls=True, tls_policy=tls.policy, retry=FAST)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError, server)
    assert error.maybe_delivered is True
    assert len(server.requests) == 1
