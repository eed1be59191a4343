"""A kept connection that ends before a byte of the next request has left is no failure."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError
from twisted.internet.threads import deferToThread

from tests.support.asserting import error_of
from tests.support.blocking_server import BlockingServer
from tests.support.misbehaving import OK, answering, in_turn, relay, reply
from tests.support.waiting import until, within
from txpusher import BlockingPusher, ClosedError, HTTPError, RetryPolicy, ServerError

NEVER = RetryPolicy(max_retries=0)

OPERATIONS = {
    "trigger": lambda pusher: pusher.trigger("c", "e", "second"),
    "query": lambda pusher: pusher.channels(),
    "batch": lambda pusher: pusher.trigger_batch(
        [{"channel": "c", "name": "e", "data": f"second {n}"} for n in range(10)]
    ),
}


def hang_up(server):
    for peer in list(server.peers):
        peer.hang_up()


@pytest.mark.parametrize("kind", OPERATIONS)
@pytest_twisted.ensureDeferred
async def test_close_after_the_call_costs_neither_error_nor_retry(serve, connect, kind):
    server, attempts = serve(answering(OK)), []
    pusher = connect(server, retry=NEVER, max_connections=1, on_attempt=attempts.append)
    await within(pusher.trigger("c", "e", "first"))
    second = OPERATIONS[kind](pusher)
    hang_up(server)
    assert await within(second) == {}
    assert len(server.requests) == 2
    assert [attempt.attempt for attempt in attempts] == [1, 1]
    assert (pusher.stats.sent, pusher.stats.retried) == (2, 0)


@pytest_twisted.ensureDeferred
async def test_close_of_every_kept_connection_costs_nothing(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, retry=NEVER, max_connections=5)
    for _ in range(3):
        operations = [pusher.trigger("c", "e", "d") for _ in range(5)]
        hang_up(server)
        for operation in operations:
            assert await within(operation) == {}
    assert len(server.requests) == 15
    assert pusher.stats.retried == 0


@pytest_twisted.ensureDeferred
async def test_close_after_a_blocking_call_costs_nothing(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, retry=NEVER, max_connections=1)
    blocking = BlockingPusher.wrap(pusher)
    for number in range(1, 4):
        calling = deferToThread(blocking.trigger, "c", "e", "d")
        # The call reaches the reactor's thread in this turn or a later one.
        hang_up(server)
        assert await within(calling) == {}
        assert len(server.requests) == number


@pytest.mark.parametrize("parting", ["leave", "reset", "notify_close"])
@pytest_twisted.ensureDeferred
async def test_close_after_the_call_costs_nothing_under_tls(connect, tls, parting):
    server = BlockingServer(tls.blocking_context())
    pusher = connect(
        port=server.port,
        max_connections=1,
        use_tls=True,
        tls_policy=tls.policy,
        retry=NEVER,
    )
    try:
        for number in range(1, 4):
            operation = pusher.trigger("c", "e", "d")
            if number > 1:
                getattr(server, parting)()
                time.sleep(0.01)
            assert await within(operation) == {}
            assert server.answered == number
    finally:
        server.stop()


@pytest_twisted.ensureDeferred
async def test_close_after_the_call_costs_nothing_in_a_tunnel(serve, connect, tls):
    server = serve(answering(OK), tls.server_context())

    async def honest(peer):
        await peer.head()
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await relay(peer, server.port)

    proxy = serve(honest)
    pusher = connect(
        server,
        use_tls=True,
        tls_policy=tls.policy,
        http_proxy=f"http://127.0.0.1:{proxy.port}",
        retry=NEVER,
        max_connections=1,
    )
    await within(pusher.trigger("c", "e", "d"))
    second = pusher.trigger("c", "e", "d")
    hang_up(proxy)
    assert await within(second) == {}
    assert len(server.requests) == 2
    assert proxy.connections == 2


@pytest_twisted.ensureDeferred
async def test_retry_that_meets_the_close_uses_up_no_further_retry(serve, connect):
    async def refused(peer):
        await peer.request()
        peer.send(reply(429))
        await peer.stall()

    server = serve(in_turn(refused, answering(OK)))
    attempts = []

    def attempted(attempt):
        attempts.append(attempt.attempt)
        if attempt.status == 429:
            pusher_reactor.callLater(0, hang_up_once_sent)

    def hang_up_once_sent():
        if pusher.stats.sent == 2:
            hang_up(server)
        else:
            pusher_reactor.callLater(0, hang_up_once_sent)

    from twisted.internet import reactor as pusher_reactor

    pusher = connect(
        server,
        retry=RetryPolicy(max_retries=1, initial_delay=0.001),
        max_connections=1,
        on_attempt=attempted,
    )
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert attempts == [1, 2]
    assert pusher.stats.retried == 1


@pytest_twisted.ensureDeferred
async def test_cancelled_operation_that_is_held_never_leaves(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, max_connections=1)
    await within(pusher.trigger("c", "e", "first"))
    second = pusher.trigger("c", "e", "second")
    second.cancel()
    await error_of(second, CancelledError)
    await within(pusher.trigger("c", "e", "third"))
    assert [b"second" in body for body in server.bodies] == [False, False]


@pytest_twisted.ensureDeferred
async def test_closing_client_goes_on_over_another_connection(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, max_connections=1, retry=NEVER)
    await within(pusher.trigger("c", "e", "d"))
    second, closed = pusher.trigger("c", "e", "d"), pusher.close()
    hang_up(server)
    assert await within(second) == {}
    assert await within(closed) is None
    assert len(server.requests) == 2


@pytest_twisted.ensureDeferred
async def test_operation_that_is_held_when_the_time_to_close_is_over_was_not_delivered(
    serve, connect
):
    server = serve(answering(OK))
    pusher = connect(server, max_connections=1)
    await within(pusher.trigger("c", "e", "d"))
    second = pusher.trigger("c", "e", "d")
    pusher.transport._abort()
    error = await error_of(second, ClosedError)
    assert error.maybe_delivered is False
    await until(lambda: not server.peers)
    assert len(server.requests) == 1


@pytest_twisted.ensureDeferred
async def test_new_connection_that_ends_before_a_byte_left_is_retried(serve, connect):
    async def ends(peer):
        hang_up(peer.server)

    server = serve(in_turn(ends, answering(OK)))
    pusher = connect(server, retry=NEVER)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert error.maybe_delivered is False
    pusher = connect(
        serve(in_turn(ends, answering(OK))), retry=RetryPolicy(initial_delay=0.001)
    )
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert pusher.stats.retried == 1


@contextlib.contextmanager
def answering_too_early(connect, answer):
    """A client whose server answers before the request has left, and the server's sockets."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:
        peers = []

        def clock():
            # The first time, the request is signed, and has not been written.
            if not peers:
                peers.append(listening.accept()[0])
                peers[-1].sendall(answer)
            return time.time()

        yield connect(port=listening.getsockname()[1], clock=clock, retry=NEVER), peers
        for peer in peers:
            peer.close()


@pytest_twisted.ensureDeferred
async def test_failure_that_comes_before_the_request_has_left_is_safe_to_repeat(connect):
    with answering_too_early(connect, reply(503)) as (pusher, _):
        error = await error_of(pusher.trigger("c", "e", "d"), ServerError)
        assert error.maybe_delivered is False


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 200 OK\r\n\r\n{}"], ids=["whole", "endless"])
@pytest_twisted.ensureDeferred
async def test_success_that_comes_before_the_request_has_left_is_none(connect, answer):
    with answering_too_early(connect, answer) as (pusher, peers):
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert str(error) == "POST /apps/3/events: a reply came before the request had left"
        assert (error.maybe_delivered, error.transient) == (False, True)
        await until(lambda: not pusher.stats.open_connections)
        [peer] = peers
        with contextlib.suppress(ConnectionResetError):
            assert peer.recv(1) == b""


@pytest_twisted.ensureDeferred
async def test_new_connection_is_used_once_however_short_keep_alive_is(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, keep_alive_timeout=1e-9)
    for _ in range(3):
        assert await within(pusher.trigger("c", "e", "d")) == {}
    assert [request.connection for request in server.requests] == [1, 2, 3]


@pytest.mark.parametrize(
    "surplus", [b"\n", OK[:30], OK], ids=["a byte", "half a reply", "a reply"]
)
@pytest.mark.parametrize(
    "answer",
    [OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
    ids=["plain", "chunked"],
)
@pytest_twisted.ensureDeferred
async def test_connection_with_bytes_behind_a_reply_is_not_kept(
    serve, connect, answer, surplus
):
    server = serve(answering(answer + surplus))
    pusher = connect(server, max_connections=1, retry=NEVER)
    for _ in range(3):
        assert await within(pusher.trigger("c", "e", "d")) == {}
    assert [request.connection for request in server.requests] == [1, 2, 3]


@pytest_twisted.ensureDeferred
async def test_request_larger_than_the_socket_takes_is_whole_and_next_one_too(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, max_payload_bytes=2**25, max_connections=1, timeout=30)
    for size in (2**23, 10, 2**23, 20):
        assert await within(pusher.trigger("c", "e", "x" * size), 30) == {}
        assert server.bodies[-1].count(b"x") == size
    assert server.connections == 1


@pytest.mark.parametrize("answer", [OK, reply(413)], ids=["accepted", "refused"])
@pytest_twisted.ensureDeferred
async def test_no_request_waits_behind_one_that_the_server_does_not_read(
    serve, connect, answer
):
    async def answers_the_head(peer):
        await peer.head()
        peer.transport.pauseProducing()
        peer.send(answer)
        await peer.stall()

    server = serve(in_turn(answers_the_head, answering(OK)))
    pusher = connect(server, max_payload_bytes=2**25, max_connections=1, retry=NEVER)
    await within(pusher.trigger("c", "e", "x" * 2**24).addErrback(lambda failure: None))
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert server.connections == 2


@pytest.mark.parametrize("before", [0.2, 0.0], ids=["before the call", "after the call"])
@pytest_twisted.ensureDeferred
async def test_connection_older_than_keep_alive_is_not_used_after_a_standstill(
    serve, connect, before
):
    server = serve(answering(OK))
    pusher = connect(server, keep_alive_timeout=0.1, max_connections=1)
    await within(pusher.trigger("c", "e", "d"))
    time.sleep(before)
    second = pusher.trigger("c", "e", "d")
    time.sleep(0.2 - before)
    await within(second)
    assert [request.connection for request in server.requests] == [1, 2]
    assert pusher.stats.retried == 0


@pytest_twisted.ensureDeferred
async def test_wall_clock_tells_of_a_sleep_that_the_reactor_did_not_see(
    serve, connect, monkeypatch
):
    server = serve(answering(OK))
    pusher = connect(server)
    await within(pusher.trigger("c", "e", "d"))
    later = time.time() + 3600
    monkeypatch.setattr("txpusher._http.connection.time.time", lambda: later)
    await within(pusher.trigger("c", "e", "d"))
    assert [request.connection for request in server.requests] == [1, 2]


@pytest.mark.parametrize("stage", ["begun", "in flight"])
@pytest_twisted.ensureDeferred
async def test_standstill_fails_neither_a_request_begun_nor_one_with_its_reply(
    serve, connect, stage
):
    server = serve(answering(OK))
    pusher = connect(server, timeout=0.2, connect_timeout=0.2, retry=NEVER)
    operation = pusher.trigger("c", "e", "d")
    if stage == "in flight":
        await until(lambda: server.requests)
    time.sleep(0.6)
    assert await within(operation) == {}
