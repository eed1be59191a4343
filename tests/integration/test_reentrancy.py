"""
Callbacks that act on the client that calls them: every Deferred fires once, and
the client goes on.
"""

from __future__ import annotations

import base64

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, gatherResults

from tests.support.asserting import error_of, kinds, outcomes_of
from tests.support.credentials import PROXY_PASSWORD, PROXY_USER
from tests.support.misbehaving import OK, answering, never_answer, reply
from tests.support.waiting import until, within
from txpusher import (
    BatchPublisher,
    ClosedError,
    InvalidRequestError,
    QueueFullError,
    RetryPolicy,
    ServerError,
)

from .test_closing import Gate

ONCE = RetryPolicy(max_retries=0)
BASIC = base64.b64encode(f"{PROXY_USER}:{PROXY_PASSWORD}".encode()).decode()


class TestCallbacksOfABatch:
    @pytest_twisted.ensureDeferred
    async def test_callback_that_cancels_a_companion_leaves_the_publisher_working(
        self, serve, connect
    ):
        gate = Gate()
        server = serve(gate)
        publisher = BatchPublisher(connect(server))
        first, x, y, z = (publisher.trigger(name, "e", "d") for name in ("first", *"xyz"))
        x.addCallback(lambda _: y.cancel())
        outcomes = outcomes_of([first, x, y, z])
        flushed = publisher.flush()
        gate.is_open = True
        await within(flushed)
        assert kinds(outcomes) == [[dict], [type(None)], [CancelledError], [dict]]
        assert await within(publisher.trigger("x", "e", "later")) == {}
        await within(publisher.close())
        assert len(server.requests) == 3

    @pytest_twisted.ensureDeferred
    async def test_an_errback_that_cancels_a_companion_does_neither(self, serve, connect):
        gate = Gate(reply(500))
        publisher = BatchPublisher(connect(serve(gate), retry=ONCE))
        first, x, y, z = (publisher.trigger(name, "e", "d") for name in ("first", *"xyz"))
        outcomes = outcomes_of([first, x, y, z])
        x.addCallback(lambda _: y.cancel())
        flushed = publisher.flush()
        gate.is_open = True
        await within(flushed)
        assert kinds(outcomes) == [
            [ServerError],
            [ServerError],
            [CancelledError],
            [ServerError],
        ]
        await error_of(publisher.trigger("x", "e", "later"), ServerError)

    @pytest_twisted.ensureDeferred
    async def test_replies_are_not_shared(self, serve, connect):
        gate = Gate()
        server = serve(gate)
        publisher = BatchPublisher(connect(server))
        events = [publisher.trigger(name, "e", "d") for name in "abc"]
        gate.is_open = True
        replies = await within(gatherResults(events))
        assert len(server.requests) == 2
        replies[1]["mine"] = True
        assert replies == [{}, {"mine": True}, {}]

    @pytest_twisted.ensureDeferred
    async def test_errors_are_alike_and_not_shared(self, serve, connect):
        gate = Gate(reply(503, "why"))
        server = serve(gate)
        publisher = BatchPublisher(connect(server, retry=ONCE))
        events = [publisher.trigger(name, "e", "d") for name in "abc"]
        gate.is_open = True
        errors = [await error_of(event, ServerError) for event in events]
        assert len(server.requests) == 2
        _, one, other = errors
        assert one is not other
        assert str(one) == str(other)
        assert "503" in str(one)
        for error in errors:
            assert (error.maybe_delivered, error.status, error.body) == (True, 503, "why")
            assert error.path == "/apps/3/batch_events"


class TestMaxPendingOfAPublisher:
    @pytest_twisted.ensureDeferred
    async def test_idle_publisher_takes_an_event_from_a_callback(self, serve, connect):
        server = serve(answering(OK))
        publisher = BatchPublisher(connect(server, max_connections=1), max_pending=0)
        event = publisher.trigger("c", "e", "1")
        event.addCallback(lambda _: publisher.trigger("c", "e", "2"))
        event.addCallback(lambda _: publisher.trigger("c", "e", "3"))
        assert await within(event) == {}
        assert len(server.requests) == 3

    @pytest_twisted.ensureDeferred
    async def test_a_callback_cannot_have_more_wait_than_go_out_with_the_next_request(
        self, serve, connect
    ):
        server = serve(answering(OK))
        pusher = connect(server, max_connections=1, max_batch_size=2)
        publisher = BatchPublisher(pusher, max_pending=0)
        more = []
        event = publisher.trigger("c", "e", "d")
        event.addCallback(
            lambda _: more.extend(publisher.trigger("c", "e", word) for word in "123")
        )
        await within(event)
        assert await within(gatherResults(more[:2])) == [{}, {}]
        error = await error_of(more[2], QueueFullError)
        assert str(error) == "2 events are waiting already, max_pending is 0"
        assert len(server.requests) == 2

    @pytest.mark.parametrize("most", [0, 2])
    @pytest_twisted.ensureDeferred
    async def test_the_error_says_how_many_wait(self, serve, connect, most):
        gate = Gate()
        pusher = connect(serve(gate), max_connections=1)
        publisher = BatchPublisher(pusher, max_pending=most)
        accepted = [publisher.trigger("c", "e", number) for number in range(1 + most)]
        for _ in range(2):
            error = await error_of(publisher.trigger("c", "e", "more"), QueueFullError)
            assert str(error) == f"{most} events are waiting already, max_pending is {most}"
        gate.is_open = True
        assert await within(gatherResults(accepted)) == [{}] * (1 + most)


class TestClosing:
    @pytest_twisted.ensureDeferred
    async def test_errback_may_cancel_another_waiting_operation(self, serve, connect):
        gate = Gate()
        server = serve(gate)
        pusher = connect(server, max_connections=1)
        operations = [pusher.trigger("c", "e", number) for number in range(4)]
        outcomes = outcomes_of(operations)
        operations[1].addCallback(lambda _: operations[2].cancel())
        await until(lambda: server.requests)
        closed = pusher.close()
        assert kinds(outcomes) == [[], [ClosedError], [CancelledError], [ClosedError]]
        gate.is_open = True
        await within(closed)
        assert outcomes[0] == [{}]
        assert (pusher.stats.succeeded, pusher.stats.failed) == (1, 3)
        assert (pusher.stats.pending, pusher.stats.in_flight) == (0, 0)
        assert len(server.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_errback_may_cancel_another_operation_that_waits_to_retry(
        self, serve, connect
    ):
        pusher = connect(serve(answering(reply(429, "", "Retry-After: 30"))))
        operations = [pusher.trigger("c", "e", number) for number in range(3)]
        outcomes = outcomes_of(operations)
        for operation in operations:
            operation.addCallback(lambda _: [other.cancel() for other in operations])
        await until(lambda: pusher.stats.pending == 3)
        await within(pusher.close())
        assert sorted(kind.__name__ for [kind] in kinds(outcomes)) == [
            "CancelledError",
            "CancelledError",
            "ClosedError",
        ]
        assert pusher.stats.failed == 3

    @pytest_twisted.ensureDeferred
    async def test_errback_may_cancel_another_operation_in_flight_at_the_timeout(
        self, serve, connect
    ):
        server = serve(never_answer)
        pusher = connect(server, max_connections=3, timeout=60)
        operations = [pusher.trigger("c", "e", number) for number in range(3)]
        outcomes = outcomes_of(operations)
        operations[0].addCallback(lambda _: operations[1].cancel())
        await until(lambda: len(server.requests) == 3)
        await within(pusher.close(timeout=0.02))
        assert kinds(outcomes) == [[ClosedError], [CancelledError], [ClosedError]]
        assert [outcomes[n][0].maybe_delivered for n in (0, 2)] == [True, True]
        assert pusher.stats.failed == 3
        assert pusher.stats.in_flight == 0

    @pytest.mark.parametrize("timeout", [-1, "1", float("nan"), True])
    @pytest_twisted.ensureDeferred
    async def test_timeout_that_is_no_number_is_refused_and_closes_nothing(
        self, serve, connect, timeout
    ):
        gate = Gate()
        server = serve(gate)
        pusher = connect(server)
        operation = pusher.trigger("c", "e", "d")
        await until(lambda: server.requests)
        error = await error_of(pusher.close(timeout), InvalidRequestError)
        assert "timeout" in str(error)
        gate.is_open = True
        assert await within(operation) == {}
        assert await within(pusher.trigger("c", "e", "d")) == {}
        await error_of(pusher.close(timeout), InvalidRequestError)
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert await within(pusher.close(1)) is None
