"""BlockingBatchPublisher: what happens in the caller's thread, what its futures are."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from concurrent.futures import wait

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel

from tests.support.asserting import error_of
from tests.support.misbehaving import OK, answering, reply
from tests.support.waiting import PATIENCE, until, within
from txpusher import (
    BlockingBatchPublisher,
    BlockingCallError,
    BlockingPusher,
    ClosedError,
    ConfigurationError,
    ForbiddenError,
    InvalidRequestError,
    PusherError,
    QueueFullError,
    ServerError,
)

from .test_closing import Gate


@pytest.fixture
def publishing(connect):
    """Makes a publisher for threads, *options* being those of its client."""

    def make(server, *, max_pending=100_000, ordered=True, **options):
        pusher = BlockingPusher.wrap(connect(server, **options))
        return BlockingBatchPublisher(pusher, max_pending=max_pending, ordered=ordered)

    return make


def while_the_reactor_stands_still(call):
    """What *call* returns in a thread, while this one, the reactor's, does nothing else."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join(PATIENCE)
    return results[0]


def unpublished(log):
    """What was logged of events that were not published."""
    gc.collect()
    return [event for event in log.events if "not published" in event["log_format"]]


def result_of(future):
    """Ask for the result, which is a failure."""
    with pytest.raises(ForbiddenError):
        future.result(PATIENCE)


def outcome(future):
    """A Deferred of what becomes of *future*."""
    return deferToThread(future.result, PATIENCE)


class TestInTheCallersThread:
    @pytest.mark.parametrize("method", ["submit", "trigger"])
    @pytest_twisted.ensureDeferred
    async def test_data_is_encoded_there(self, serve, publishing, method):
        threads = []

        def dumps(value):
            threads.append(threading.current_thread())
            return json.dumps(value)

        publisher = publishing(serve(answering(OK)), json_dumps=dumps)

        def work():
            given = getattr(publisher, method)("c", "e", {"x": 1})
            assert threads == [threading.current_thread()]
            return given if method == "trigger" else given.result(PATIENCE)

        assert await within(deferToThread(work)) == {}

    @pytest_twisted.ensureDeferred
    async def test_data_changed_after_submit_is_sent_as_it_was(self, serve, publishing):
        server = serve(answering(OK))
        publisher = publishing(server)

        def work():
            data = {"price": 1}
            future = publisher.submit("c", "e", data)
            data["price"] = 2
            return future

        assert await within(outcome(while_the_reactor_stands_still(work))) == {}
        [event] = json.loads(server.bodies[0])["batch"]
        assert event["data"] == '{"price":1}'

    @pytest.mark.parametrize("method", ["submit", "trigger", "flush", "close"])
    def test_call_in_the_reactors_thread_is_refused(self, serve, publishing, method):
        server = serve(answering(OK))
        arguments = ["no such name", "e", "d"] if method in ("submit", "trigger") else []
        with pytest.raises(BlockingCallError, match="reactor thread"):
            getattr(publishing(server), method)(*arguments)
        assert server.connections == 0


class TestArguments:
    @pytest.mark.parametrize("method", ["submit", "trigger"])
    @pytest_twisted.ensureDeferred
    async def test_arguments_of_blocking_publisher_reach_the_wire(
        self, serve, publishing, method
    ):
        server = serve(answering(reply(200, '{"batch": [{"user_count": 3}]}')))
        call = getattr(publishing(server), method)

        def work():
            given = call("c", "e", "d", socket_id="1.2", info=["user_count", "cache"])
            return given if method == "trigger" else given.result(PATIENCE)

        assert await within(deferToThread(work)) == {"user_count": 3}
        assert json.loads(server.bodies[0])["batch"] == [
            {
                "name": "e",
                "channel": "c",
                "data": "d",
                "socket_id": "1.2",
                "info": "user_count,cache",
            }
        ]

    @pytest.mark.parametrize(
        ("arguments", "kind"),
        [
            (("no such name", "e", "d"), InvalidRequestError),
            (("c", "e", {1, 2}), InvalidRequestError),
            (("private-encrypted-c", "e", "d"), ConfigurationError),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_refused_argument_fails_the_future(self, serve, publishing, arguments, kind):
        server = serve(answering(OK))
        publisher = publishing(server)
        future = await within(deferToThread(publisher.submit, *arguments))
        assert future.done()
        await error_of(outcome(future), kind)
        await error_of(deferToThread(publisher.trigger, *arguments), kind)
        assert server.connections == 0

    @pytest_twisted.ensureDeferred
    async def test_max_pending_is_passed_to_the_publisher(self, serve, publishing):
        gate = Gate()
        publisher = publishing(serve(gate), max_pending=2, max_connections=1)

        def work():
            return [publisher.submit("c", "e", number) for number in range(4)]

        *futures, last = await within(deferToThread(work))
        error = await error_of(outcome(last), QueueFullError)
        assert "max_pending is 2" in str(error)
        gate.is_open = True
        assert [await within(outcome(future)) for future in futures] == [{}] * 3

    @pytest.mark.parametrize(("ordered", "at_a_time"), [(True, 1), (False, 3)])
    @pytest_twisted.ensureDeferred
    async def test_ordered_is_passed_to_the_publisher(
        self, serve, publishing, ordered, at_a_time
    ):
        gate = Gate()
        server = serve(gate)
        publisher = publishing(server, ordered=ordered, max_batch_size=1)

        def work():
            return [publisher.submit("c", "e", number) for number in range(3)]

        futures = while_the_reactor_stands_still(work)
        await until(lambda: len(server.requests) == at_a_time)
        gate.is_open = True
        assert [await within(outcome(future)) for future in futures] == [{}] * 3


class TestFutures:
    @pytest.mark.parametrize("data", ["d", {1, 2}])
    @pytest_twisted.ensureDeferred
    async def test_failure_that_nobody_asks_for_is_logged(self, serve, publishing, log, data):
        publisher = publishing(serve(answering(reply(403, "no"))))

        def work():
            future = publisher.submit("c", "e", data)
            wait([future], PATIENCE)

        await within(deferToThread(work))
        # The reactor's thread lets go of it a little later.
        await until(lambda: unpublished(log))
        (event,) = unpublished(log)
        assert event["channel"] == "c"
        assert event["log_level"] is LogLevel.error
        assert isinstance(event["error"], PusherError)

    @pytest.mark.parametrize(
        "ask",
        [
            lambda future: future.exception(PATIENCE),
            result_of,
            lambda future: future.add_done_callback(lambda _: None),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_failure_that_was_asked_for_is_not_logged(self, serve, publishing, log, ask):
        publisher = publishing(serve(answering(reply(403, "no"))))
        gone = threading.Event()

        def work():
            future = publisher.submit("c", "e", "d")
            weakref.finalize(future, gone.set)
            ask(future)
            wait([future], PATIENCE)

        await within(deferToThread(work))
        await until(lambda: unpublished(log) or gone.is_set())
        assert unpublished(log) == []

    @pytest_twisted.ensureDeferred
    async def test_future_of_an_event_cannot_be_cancelled(self, serve, publishing):
        gate = Gate()
        publisher = publishing(serve(gate))
        future = await within(deferToThread(publisher.submit, "c", "e", "d"))
        assert future.running()
        assert future.cancel() is False
        gate.is_open = True
        assert await within(outcome(future)) == {}
        refused = await within(deferToThread(publisher.submit, "no such name", "e", "d"))
        assert refused.cancel() is False

    @pytest_twisted.ensureDeferred
    async def test_future_raises_the_error_of_its_event(self, serve, publishing):
        publisher = publishing(serve(answering(reply(500, "why"))))
        future = await within(deferToThread(publisher.submit, "c", "e", "d"))
        error = await error_of(outcome(future), ServerError)
        assert (error.body, error.maybe_delivered) == ("why", True)
        await within(deferToThread(publisher.close))
        future = await within(deferToThread(publisher.submit, "c", "e", "d"))
        await error_of(outcome(future), ClosedError)

    @pytest_twisted.ensureDeferred
    async def test_trigger_waits_and_so_do_flush_and_close(self, serve, publishing):
        gate = Gate()
        server = serve(gate)
        publisher = publishing(server)
        calls = [deferToThread(publisher.trigger, "c", "e", "d")]
        await until(lambda: server.requests)
        calls += [deferToThread(publisher.flush), deferToThread(publisher.close)]
        await server.peers[0].pause(0.05)
        assert not any(call.called for call in calls)
        gate.is_open = True
        assert [await within(call) for call in calls] == [{}, 0, 0]
