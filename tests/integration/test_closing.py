"""``close()``: what is in flight ends, what waits fails, and nothing is left."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.support.asserting import error_of
from tests.support.blocking_server import BlockingServer
from tests.support.misbehaving import (
    OK,
    answering,
    in_turn,
    never_answer,
    read_and_close,
    reply,
)
from tests.support.observing import client_sockets, timers
from tests.support.waiting import pause, until, within
from txpusher import (
    ClosedError,
    HTTPError,
    InvalidRequestError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
)

from .test_retries import free_port

FAST = RetryPolicy(initial_delay=0.001)


class Gate:
    """A script that answers once it is told to."""

    def __init__(self, answer: bytes = OK) -> None:
        self._answer = answer
        self.is_open = False

    async def __call__(self, peer) -> None:
        while True:
            await peer.request()
            await until(lambda: self.is_open)
            peer.send(self._answer)


@pytest_twisted.ensureDeferred
async def test_close_lets_work_in_flight_end_and_fails_waiting_operations(serve, connect):
    gate = Gate()
    server = serve(gate)
    pusher = connect(server, max_connections=2)
    before = len(timers())
    operations = [pusher.trigger("c", "e", str(number)) for number in range(5)]
    events = []
    for number, operation in enumerate(operations[:2]):
        operation.addCallback(lambda _, number=number: events.append(number))
    await until(lambda: len(server.requests) == 2)
    closed = pusher.close()
    closed.addCallback(lambda result: events.append(("closed", result)))
    for queued in operations[2:]:
        assert queued.called
        error = await error_of(queued, ClosedError)
        assert error.maybe_delivered is False
    assert events == []
    gate.is_open = True
    await within(closed)
    assert sorted(events[:2]) == [0, 1]
    assert events[2:] == [("closed", None)]
    assert client_sockets(server.port) == 0
    assert len(timers()) == before
    assert len(server.requests) == 2


@pytest_twisted.ensureDeferred
async def test_close_fires_when_idle_connections_are_closed(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, max_connections=3)
    before = len(timers())
    for operation in [pusher.trigger("c", "e", "d") for _ in range(9)]:
        await within(operation)
    assert client_sockets(server.port) == 3
    assert await within(pusher.close()) is None
    assert client_sockets(server.port) == 0
    assert len(timers()) == before


@pytest_twisted.ensureDeferred
async def test_a_client_that_did_nothing_closes_at_once(connect):
    closed = connect(port=1).close()
    assert closed.called
    assert await closed is None


@pytest_twisted.ensureDeferred
async def test_later_operations_fail(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server)
    await within(pusher.trigger("c", "e", "d"))
    connections = server.connections
    closed = pusher.close()
    for _ in range(2):
        for operation in (
            pusher.trigger("c", "e", "d"),
            pusher.trigger_batch([{"channel": "c", "name": "e", "data": "d"}]),
            pusher.channels(),
            pusher["c"].info(),
            pusher.post("/events"),
        ):
            error = await error_of(operation, ClosedError)
            assert error.maybe_delivered is False
        await within(closed)
    assert server.connections == connections
    assert len(server.requests) == 1


@pytest_twisted.ensureDeferred
async def test_closing_more_than_once_is_fine(serve, connect):
    gate = Gate()
    server = serve(gate)
    pusher = connect(server)
    operation = pusher.trigger("c", "e", "d")
    await until(lambda: server.requests)
    first, second = pusher.close(), pusher.close(timeout=30)
    assert not first.called
    assert not second.called
    before = len(timers())
    gate.is_open = True
    await within(operation)
    await within(first)
    await within(second)
    assert (await within(pusher.close(timeout=30))) is None
    # Neither the limit of the second nor the connection has left a timer.
    assert len(timers()) < before


@pytest_twisted.ensureDeferred
async def test_close_fails_operation_that_waits_to_retry(serve, connect):
    server = serve(answering(reply(429, "", "Retry-After: 30")))
    pusher = connect(server)
    before = len(timers())
    operation = pusher.trigger("c", "e", "d")
    await until(lambda: pusher.stats.pending)
    closed = pusher.close()
    error = await error_of(operation, ClosedError)
    assert error.maybe_delivered is False
    await within(closed)
    assert len(timers()) == before


@pytest_twisted.ensureDeferred
async def test_operation_closed_before_its_retry_may_have_been_delivered(serve, connect):
    server = serve(answering(reply(500)))
    retry = RetryPolicy(initial_delay=30, max_delay=30, unsafe=True)
    pusher = connect(server, retry=retry)
    operation = pusher.trigger("c", "e", "d")
    await until(lambda: pusher.stats.pending)
    closed = pusher.close()
    error = await error_of(operation, ClosedError)
    assert error.maybe_delivered is True
    await within(closed)


@pytest_twisted.ensureDeferred
async def test_operation_that_fails_while_closing_is_not_retried(serve, connect):
    gate = Gate(reply(503, "", "Retry-After: 1"))
    server = serve(gate)
    pusher = connect(server, retry=FAST)
    query = pusher.channels()
    await until(lambda: server.requests)
    closed = pusher.close()
    gate.is_open = True
    await error_of(query, ServerError)
    await within(closed)
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest_twisted.ensureDeferred
async def test_timeout_of_close_ends_operation_in_flight(serve, connect, method):
    server = serve(never_answer)
    pusher = connect(server, timeout=60)
    before = len(timers())
    operation = pusher.post("/events") if method == "POST" else pusher.get("/channels")
    await until(lambda: server.requests)
    closed = pusher.close(timeout=0.1)
    error = await error_of(operation, ClosedError)
    assert error.maybe_delivered is (method == "POST")
    await within(closed)
    assert client_sockets(server.port) == 0
    assert len(timers()) == before


@pytest_twisted.ensureDeferred
async def test_timeout_of_close_ends_operation_that_is_connecting(serve, connect):
    async def silent(peer):
        await peer.stall()

    server = serve(silent)
    pusher = connect(server, use_tls=True, connect_timeout=60)
    operation = pusher.trigger("c", "e", "d")
    await until(lambda: server.peers)
    closed = pusher.close(timeout=0.1)
    error = await error_of(operation, ClosedError)
    assert error.maybe_delivered is False
    await within(closed)
    assert client_sockets(server.port) == 0


@pytest_twisted.ensureDeferred
async def test_work_in_flight_that_fails_keeps_its_error(serve, connect):
    server = serve(in_turn(read_and_close))
    pusher = connect(server)
    operation = pusher.trigger("c", "e", "d")
    closed = pusher.close()
    error = await error_of(operation, HTTPError)
    assert error.maybe_delivered is True
    await within(closed)


@pytest_twisted.ensureDeferred
async def test_close_from_a_callback_fires(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server)
    closed = pusher.trigger("c", "e", "d").addCallback(lambda _: pusher.close())
    await within(closed)
    assert client_sockets(server.port) == 0


@pytest_twisted.ensureDeferred
async def test_close_from_the_hook_fires(serve, connect):
    closings = []
    server = serve(answering(reply(429), OK))
    pusher = connect(server, on_attempt=lambda attempt: closings.append(pusher.close()))
    await error_of(pusher.trigger("c", "e", "d"), RateLimitedError)
    await within(closings[0])
    assert len(server.requests) == 1
    assert client_sockets(server.port) == 0


@pytest.mark.parametrize("timeout", [None, 5])
@pytest_twisted.ensureDeferred
async def test_close_from_the_hook_waits_for_the_operation(connect, timeout):
    order = []

    def hook(attempt):
        pusher.close(timeout).addCallback(lambda _: order.append("closed"))

    # No socket is left when the hook is called.
    pusher = connect(port=free_port(), on_attempt=hook)
    operation = pusher.trigger("c", "e", "d")
    await within(operation.addErrback(lambda failure: order.append("failed")))
    await until(lambda: len(order) == 2)
    assert order == ["failed", "closed"]


@pytest.mark.parametrize(
    ("timeout", "shown"),
    [(-1, "-1"), ("1", "the str '1'"), (True, "the bool True"), (float("nan"), "nan")],
)
@pytest_twisted.ensureDeferred
async def test_close_with_no_number_of_seconds_is_refused_and_closes_nothing(
    serve, connect, timeout, shown
):
    pusher = connect(serve(answering(OK)))
    error = await error_of(pusher.close(timeout=timeout), InvalidRequestError)
    assert str(error) == f"timeout must be a number of seconds >= 0 or None, not {shown}"
    assert await within(pusher.trigger("c", "e", "d")) == {}


@pytest.mark.parametrize("secure", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_timeout_ends_idle_connections_too(connect, tls, monkeypatch, secure):
    # The server does not answer the close: an orderly one would take that long.
    monkeypatch.setattr("txpusher._http.connection.CLOSE_GRACE", 60.0)
    server = BlockingServer(tls.blocking_context() if secure else None)
    pusher = connect(port=server.port, use_tls=secure, tls_policy=tls.policy)
    before = len(timers())
    assert await within(pusher.trigger("c", "e", "d")) == {}
    await within(pusher.close(timeout=0.05))
    assert client_sockets(server.port) == 0
    assert pusher.stats.open_connections == 0
    assert len(timers()) == before
    server.stop()


@pytest_twisted.ensureDeferred
async def test_a_reply_whose_status_is_known_was_no_delivery(serve, connect):
    async def refuse_slowly(peer):
        await peer.request()
        peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nno")
        await peer.stall()

    server = serve(refuse_slowly)
    pusher = connect(server, timeout=60)
    operation = pusher.trigger("c", "e", "d")
    await until(lambda: server.requests)
    await pause(0.05)
    closed = pusher.close(timeout=0.01)
    error = await error_of(operation, ClosedError)
    assert error.maybe_delivered is False
    await within(closed)


@pytest.mark.parametrize("answer", [reply(429, "", "Retry-After: 30"), None])
@pytest_twisted.ensureDeferred
async def test_error_after_close_says_whether_the_request_was_sent(serve, connect, answer):
    server = serve(answering(answer) if answer else never_answer)
    pusher = connect(server, max_connections=1, timeout=60)
    operation = pusher.trigger("c", "e", "d")
    queued = operation if answer else pusher.trigger("c", "e", "d")
    await until(lambda: server.requests and pusher.stats.pending)
    pusher.close(timeout=0.01)
    if queued is not operation:
        await error_of(operation, ClosedError)
    error = await error_of(queued, ClosedError)
    assert str(error).endswith("sent again" if answer else "sent")
