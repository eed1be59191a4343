"""What each event of a batch is told: its part of the reply, an error of its own."""

from __future__ import annotations

import json
import traceback

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults
from twisted.logger import LogLevel

from tests.support.asserting import error_of
from tests.support.misbehaving import OK, answering, never_answer, reply
from tests.support.waiting import until, within
from txpusher import (
    AuthenticationError,
    BadRequestError,
    BatchPublisher,
    ForbiddenError,
    HTTPError,
    PayloadTooLargeError,
    QueueFullError,
    RetryPolicy,
)

from .test_closing import Gate

UNSAFE = RetryPolicy(max_retries=1, initial_delay=0.001, unsafe=True)


@pytest_twisted.ensureDeferred
async def test_arguments_of_publisher_trigger_reach_the_wire(serve, connect):
    server = serve(answering(OK))
    publisher = BatchPublisher(connect(server))
    publisher.trigger("a", "plain", {"x": 1})
    publisher.trigger("b", "full", "d", socket_id="1.2", info="subscription_count")
    publisher.trigger("c", "several", "d", info=("subscription_count", "user_count"))
    await within(publisher.flush())
    sent = [event for body in server.bodies for event in json.loads(body)["batch"]]
    assert sent == [
        {"name": "plain", "channel": "a", "data": '{"x":1}'},
        {
            "name": "full",
            "channel": "b",
            "data": "d",
            "socket_id": "1.2",
            "info": "subscription_count",
        },
        {
            "name": "several",
            "channel": "c",
            "data": "d",
            "info": "subscription_count,user_count",
        },
    ]


@pytest_twisted.ensureDeferred
async def test_a_client_that_takes_no_more_operations_takes_batches(serve, connect):
    gate = Gate()
    server = serve(gate)
    pusher = connect(server, max_connections=1, max_pending=0)
    operation = pusher.trigger("c", "e", "d")
    events = [BatchPublisher(pusher).trigger("c", "e", number) for number in range(2)]
    await error_of(pusher.trigger("c", "e", "d"), QueueFullError)
    assert pusher.stats.pending == 2
    gate.is_open = True
    assert await within(gatherResults([operation, *events])) == [{}, {}, {}]


class TestParts:
    """What the server says of each event of a batch."""

    @pytest.fixture
    def outcomes(self, serve, connect):
        """What the two events fire with that are answered with *value* as JSON."""

        async def publish(value, info=None):
            answers = answering(reply(200, "{}"), reply(200, json.dumps(value)))
            publisher = BatchPublisher(connect(serve(answers)))
            publisher.trigger("first", "e", "d")
            events = [publisher.trigger("a", "e", "d", info=info)]
            events.append(publisher.trigger("b", "e", '"info":'))
            return await within(gatherResults(events))

        return publish

    @staticmethod
    def warnings(log):
        return [event for event in log.events if event.get("log_level") == LogLevel.warn]

    @pytest.mark.parametrize(
        ("value", "parts"),
        [
            ({"batch": [{"user_count": 1}, {"user_count": 2}]}, [1, 2]),
            ({"batch": [None, {"user_count": 2}]}, [None, 2]),
            ({"batch": [{"user_count": 1}, "x"]}, [1, None]),
            ({"batch": [[], 7]}, [None, None]),
            ({"batch": None}, [None, None]),
            ({}, [None, None]),
            ({"other": [{}]}, [None, None]),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_part_of_the_reply_is_that_of_its_event_or_empty(
        self, outcomes, log, value, parts
    ):
        expected = [{} if part is None else {"user_count": part} for part in parts]
        assert await outcomes(value) == expected
        assert self.warnings(log) == []

    MISFITS = (
        [],
        [{"user_count": 1}],
        [{"user_count": 1}] * 3,
        {"0": {"user_count": 1}},
        {},
        "ab",
        0,
    )

    @pytest.mark.parametrize("batch", MISFITS)
    @pytest_twisted.ensureDeferred
    async def test_lost_attributes_are_logged(self, outcomes, log, batch):
        assert await outcomes({"batch": batch}, info="user_count") == [{}, {}]
        [event] = self.warnings(log)
        assert event["log_namespace"] == "txpusher"
        assert event["log_format"] == (
            "a reply does not fit its batch: the attributes that its events asked for are lost"
        )

    @pytest.mark.parametrize("batch", MISFITS)
    @pytest_twisted.ensureDeferred
    async def test_reply_is_not_logged_where_no_event_asked_for_attributes(
        self, outcomes, log, batch
    ):
        assert await outcomes({"batch": batch}) == [{}, {}]
        assert self.warnings(log) == []


class TestErrors:
    @pytest_twisted.ensureDeferred
    async def test_error_of_each_event_has_a_cause_and_traceback_of_its_own(
        self, serve, connect
    ):
        server = serve(answering(OK, reply(200, "not JSON")))
        publisher = BatchPublisher(connect(server))
        publisher.trigger("first", "e", "d")
        events = [publisher.trigger(name, "e", "d") for name in "ab"]
        one, other = [await error_of(event, HTTPError, server) for event in events]
        assert one is not other
        for error in (one, other):
            assert isinstance(error.original_error, json.JSONDecodeError)
            assert error.__cause__ is error.__context__ is error.original_error
            assert error.__suppress_context__ is True
            frames = traceback.extract_tb(error.__traceback__)
            assert "decode_reply" in [frame.name for frame in frames]
        before = other.__traceback__
        with pytest.raises(HTTPError):
            raise one
        assert one.__traceback__ is not before
        assert other.__traceback__ is before
        one.__cause__ = one.original_error = None
        assert isinstance(other.__cause__, json.JSONDecodeError)
        assert other.original_error is other.__cause__

    @pytest_twisted.ensureDeferred
    async def test_error_without_a_cause_stays_without_a_cause(self, serve, connect):
        publisher = BatchPublisher(connect(serve(answering(reply(403)))))
        error = await error_of(publisher.trigger("c", "e", "d"), ForbiddenError)
        assert error.__cause__ is error.__context__ is None
        assert error.__suppress_context__ is False

    @pytest.mark.parametrize("status", [400, 413])
    @pytest.mark.parametrize("failed_before", [True, False])
    @pytest_twisted.ensureDeferred
    async def test_a_split_does_not_forget_that_the_batch_may_have_been_delivered(
        self, serve, connect, status, failed_before
    ):
        before = [reply(500)] if failed_before else []
        server = serve(answering(OK, *before, reply(status)))
        publisher = BatchPublisher(connect(server, retry=UNSAFE))
        first = publisher.trigger("first", "e", "d")
        events = [publisher.trigger(name, "e", "d") for name in "abc"]
        kind = {400: BadRequestError, 413: PayloadTooLargeError}[status]
        for event in events:
            assert (await error_of(event, kind)).maybe_delivered is failed_before
        # The first, all three, two of them, each alone.
        assert len(server.requests) == 1 + len(before) + 1 + 1 + 3
        assert await within(first) == {}
        # What comes later has nothing to do with it.
        error = await error_of(publisher.trigger("a", "e", "d"), kind)
        assert error.maybe_delivered is False

    @pytest_twisted.ensureDeferred
    async def test_error_of_a_failed_part_has_no_foreign_cause(self, serve, connect):
        server = serve(answering(OK, reply(500), reply(400), reply(401)))
        publisher = BatchPublisher(connect(server, retry=UNSAFE))
        publisher.trigger("first", "e", "d")
        events = [publisher.trigger(name, "e", "d") for name in "abc"]
        for event in events:
            assert (await error_of(event, AuthenticationError)).maybe_delivered is True
        await until(lambda: len(server.requests) == 5)


class TestSettling:
    """An event is settled before what waits for it: flush() and close()."""

    @pytest.mark.parametrize("wait", ["flush", "close"])
    @pytest_twisted.ensureDeferred
    async def test_cancelled_event_is_settled(self, serve, connect, wait):
        publisher = BatchPublisher(connect(serve(never_answer)))
        order = []
        event = publisher.trigger("c", "e", "d")
        waiting = getattr(publisher, wait)()
        waiting.addCallback(lambda _: order.append(wait))
        event.addErrback(lambda _: order.append("event"))
        event.cancel()
        assert order == ["event", wait]

    @pytest_twisted.ensureDeferred
    async def test_flush_fires_after_an_earlier_flush(self, serve, connect):
        gate = Gate()
        publisher = BatchPublisher(connect(serve(gate)))
        order = []
        publisher.trigger("c", "e", "d").addCallback(lambda _: order.append("event"))
        for name in ("first", "second", "third"):
            publisher.flush().addCallback(lambda _, name=name: order.append(name))
        closed = publisher.close()
        assert order == []
        gate.is_open = True
        await within(closed)
        assert order == ["event", "first", "second", "third"]
        assert await within(publisher.flush()) == 0
