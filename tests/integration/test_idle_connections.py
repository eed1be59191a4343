"""Connections that the server closed while they were idle are nobody's failure."""

from __future__ import annotations

import time

import pytest
import pytest_twisted

from tests.support.asserting import error_of
from tests.support.blocking_server import BlockingServer
from tests.support.misbehaving import (
    OK,
    answer_then_close,
    answering,
    in_turn,
    read_and_close,
    read_and_reset,
    reply,
)
from tests.support.observing import client_sockets, timers
from tests.support.waiting import pause, until, within
from txpusher import HTTPError, RetryPolicy

UNASKED = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

PARTINGS = {
    "FIN": BlockingServer.leave,
    "RST": BlockingServer.reset,
    "408 and FIN": lambda server: server.leave(UNASKED),
    "408 and no FIN": lambda server: server.say(UNASKED),
    "one byte": lambda server: server.say(b"\n"),
}


@pytest.fixture
def blocking_server():
    servers = []

    def start(tls=None):
        servers.append(BlockingServer(tls))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize("parting", PARTINGS)
@pytest_twisted.ensureDeferred
async def test_a_close_that_the_reactor_has_not_seen_yet_is_not_a_failure(
    connect, blocking_server, parting
):
    server = blocking_server()
    pusher = connect(port=server.port, max_connections=1)
    for number in range(1, 4):
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert server.answered == number
        PARTINGS[parting](server)
        time.sleep(0.02)


@pytest.mark.parametrize("parting", ["FIN", "RST"])
@pytest_twisted.ensureDeferred
async def test_connection_closed_while_idle_is_no_failure_under_tls(
    connect, blocking_server, tls, parting
):
    server = blocking_server(tls.blocking_context())
    pusher = connect(port=server.port, max_connections=1, use_tls=True, tls_policy=tls.policy)
    for number in range(1, 4):
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert server.answered == number
        PARTINGS[parting](server)
        time.sleep(0.02)


@pytest_twisted.ensureDeferred
async def test_a_close_that_the_reactor_has_seen_is_not_a_failure(serve, connect):
    server = serve(answer_then_close(OK))
    pusher = connect(server, max_connections=1)
    for number in range(1, 4):
        assert await within(pusher.trigger("c", "e", "d")) == {}
        await until(lambda: not server.peers)
        assert server.connections == number


@pytest_twisted.ensureDeferred
async def test_connections_closed_at_once_while_idle_are_no_failure(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, max_connections=5)
    for _ in range(4):
        for operation in [pusher.trigger("c", "e", "d") for _ in range(12)]:
            assert await within(operation) == {}
        for peer in list(server.peers):
            peer.hang_up()
    assert len(server.requests) == 48


@pytest_twisted.ensureDeferred
async def test_an_announced_close_is_obeyed(serve, connect):
    server = serve(answering(reply(200, "{}", "Connection: close")))
    pusher = connect(server, max_connections=1)
    for number in range(1, 4):
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert server.connections == number


CLOSING = {
    "lower case": reply(200, "{}", "Connection: close"),
    "capital": reply(200, "{}", "Connection: Close"),
    "among others": reply(200, "{}", "Connection: foo, close"),
    "in two lines": reply(200, "{}", "Connection: keep-alive", "Connection: CLOSE"),
    "HTTP/1.0": OK.replace(b"HTTP/1.1", b"HTTP/1.0"),
}


@pytest.mark.parametrize("spelling", CLOSING)
@pytest_twisted.ensureDeferred
async def test_an_announced_close_is_obeyed_before_it_comes(serve, connect, spelling):
    async def close_later(peer):
        await peer.request()
        peer.send(CLOSING[spelling])
        # What is sent in the meantime is not read.
        await peer.pause(0.01)

    server = serve(close_later)
    pusher = connect(server, max_connections=1)
    for operation in [pusher.trigger("c", "e", str(number)) for number in range(6)]:
        assert await within(operation) == {}
    assert len(server.requests) == 6
    assert server.connections == 6


@pytest_twisted.ensureDeferred
async def test_http_1_0_may_keep_a_connection(serve, connect):
    answer = reply(200, "{}", "Connection: Keep-Alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    server = serve(answering(answer))
    pusher = connect(server)
    for _ in range(3):
        assert await within(pusher.trigger("c", "e", "d")) == {}
    assert server.connections == 1


@pytest.mark.parametrize("seconds", [0.0, 0.05])
@pytest.mark.parametrize("secure", [False, True])
@pytest_twisted.ensureDeferred
async def test_connection_that_is_being_closed_is_not_used(
    connect, blocking_server, tls, monkeypatch, secure, seconds
):
    # The peer does not answer the close: the connection would be there that long.
    monkeypatch.setattr("txpusher._http.connection.CLOSE_GRACE", 60.0)
    server = blocking_server(tls.blocking_context() if secure else None)
    pusher = connect(port=server.port, max_connections=1, use_tls=secure, tls_policy=tls.policy)
    for number in range(1, 4):
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert server.answered == number
        server.say(UNASKED)
        # Whether the reactor has seen it or not.
        await pause(seconds)


@pytest_twisted.ensureDeferred
async def test_a_408_that_crosses_a_request_is_not_its_failure(serve, connect):
    server = serve(in_turn(answer_then_close(UNASKED), answering(OK)))
    pusher = connect(server, retry=RetryPolicy(initial_delay=0.001))
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert len(server.requests) == 2


@pytest_twisted.ensureDeferred
async def test_a_connection_is_used_again_and_given_up_when_idle_for_long(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, keep_alive_timeout=0.2)
    before = len(timers())
    for _ in range(3):
        await within(pusher.trigger("c", "e", "d"))
    assert server.connections == 1
    assert pusher.stats.open_connections == 1
    await until(lambda: not server.peers and not pusher.stats.open_connections)
    assert client_sockets(server.port) == 0
    assert len(timers()) == before
    await within(pusher.trigger("c", "e", "d"))
    assert server.connections == 2


@pytest.mark.parametrize("loss", [read_and_close, read_and_reset])
class TestLostAfterSending:
    @pytest_twisted.ensureDeferred
    async def test_lost_post_is_sent_once_and_may_have_been_delivered(
        self, serve, connect, loss
    ):
        async def reused(peer):
            await peer.request()
            peer.send(OK)
            await loss(peer)

        server = serve(in_turn(reused, answering(OK)))
        pusher = connect(server, max_connections=1)
        await within(pusher.trigger("c", "e", "first"))
        error = await error_of(pusher.trigger("c", "e", "second"), HTTPError, server)
        assert error.maybe_delivered is True
        assert error.original_error is not None
        assert [b"second" in body for body in server.bodies] == [False, True]
        assert server.connections == 1
        await within(pusher.trigger("c", "e", "third"))
        assert server.connections == 2

    @pytest_twisted.ensureDeferred
    async def test_a_post_is_sent_again_where_that_was_asked_for(self, serve, connect, loss):
        server = serve(in_turn(loss, answering(OK)))
        pusher = connect(server, retry=RetryPolicy(initial_delay=0.001, unsafe=True))
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert len(set(server.bodies)) == 1
        assert len(server.bodies) == 2

    @pytest_twisted.ensureDeferred
    async def test_query_is_retried_after_a_lost_connection(self, serve, connect, loss):
        server = serve(in_turn(loss, loss, answering(OK)))
        pusher = connect(server, retry=RetryPolicy(initial_delay=0.001))
        assert await within(pusher.channels()) == {}
        assert len(server.requests) == 3

    @pytest_twisted.ensureDeferred
    async def test_a_query_that_never_gets_an_answer_fails_undelivered(
        self, serve, connect, loss
    ):
        server = serve(loss)
        pusher = connect(server, retry=RetryPolicy(initial_delay=0.001))
        error = await error_of(pusher.channels(), HTTPError, server)
        assert error.maybe_delivered is False
        assert len(server.requests) == 4
