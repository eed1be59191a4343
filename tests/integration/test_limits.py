"""How many sockets there are, who waits, who is turned away, and in which order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import DeferredList

from tests.support.asserting import error_of
from tests.support.misbehaving import OK, answering, never_answer, reply
from tests.support.observing import client_sockets, established
from tests.support.waiting import pause, until, within
from txpusher import Attempt, HTTPError, QueueFullError, RetryPolicy

SINK = Path(__file__).parent / "scripts" / "sink.py"
FAST = RetryPolicy(max_retries=2, initial_delay=0.001, max_delay=0.01)
#: A retry that waits for one turn of the reactor.
AT_ONCE = RetryPolicy(max_retries=2, initial_delay=0)


class Sink:
    """The program ``sink.py``."""

    def __init__(self, what: str, log: Path) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, str(SINK), what, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = int(self._process.stdout.readline())

    @property
    def read(self) -> list[int]:
        """The events that it has read, in order."""
        return [int(line) for line in self._log.read_text("ascii").split()]

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@pytest.fixture
def sink(tmp_path):
    sinks = []

    def start(what="keep"):
        sinks.append(Sink(what, tmp_path / "read"))
        return sinks[-1]

    yield start
    for sink in sinks:
        sink.kill()


class Sample:
    """Counts the sockets again and again, as an ``on_attempt``."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._done = 0
        self._before = self._descriptors()
        self.most = {"descriptors": 0, "sockets": 0, "established": 0}

    @staticmethod
    def _descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def __call__(self, attempt: Attempt) -> None:
        self._done += 1
        if self._done % 20 == 0:
            self._count("descriptors", self._descriptors() - self._before)
        if self._done % 500 == 0:
            self._count("sockets", client_sockets(self._port))
            self._count("established", established(self._port))

    def check(self, limit: int) -> None:
        """There were never more than *limit*."""
        assert all(number <= limit for number in self.most.values()), self.most
        # So many descriptors were sockets: at some moment there were some.
        assert self.most["descriptors"] > 0

    def _count(self, what: str, number: int) -> None:
        self.most[what] = max(self.most[what], number)


class TestSockets:
    @pytest.mark.parametrize("what", ["keep", "announce"])
    @pytest_twisted.ensureDeferred
    async def test_triggers_10_000_at_once_share_the_allowed_sockets(self, connect, sink, what):
        server = sink(what)
        sample = Sample(server.port)
        pusher = connect(port=server.port, max_connections=16, timeout=60, on_attempt=sample)
        operations = [pusher.trigger("c", "e", str(number)) for number in range(10_000)]
        assert pusher.stats.pending == 10_000 - 16
        assert pusher.stats.in_flight == 16
        results = await within(DeferredList(operations, consumeErrors=True), 80)
        assert [result for result in results if result != (True, {})] == []
        assert sorted(server.read) == list(range(10_000))
        sample.check(16)
        assert pusher.stats.succeeded == 10_000

    @pytest_twisted.ensureDeferred
    async def test_unannounced_close_fails_at_most_the_requests_in_flight(self, connect, sink):
        """A close may cross the next request on the wire: then nobody can know."""
        server = sink("close")
        sample = Sample(server.port)
        pusher = connect(port=server.port, max_connections=16, on_attempt=sample)
        operations = [pusher.trigger("c", "e", str(number)) for number in range(2000)]
        results = await within(DeferredList(operations, consumeErrors=True), 60)
        read = set(server.read)
        for number, (succeeded, result) in enumerate(results):
            if succeeded:
                assert number in read
            else:
                assert type(result.value) is HTTPError
                assert result.value.maybe_delivered is True
        assert pusher.stats.succeeded > 0
        sample.check(16)


@pytest.mark.parametrize("unsafe", [False, True])
@pytest_twisted.ensureDeferred
async def test_triggers_amid_which_the_server_is_killed_all_settle(connect, sink, unsafe):
    server = sink()
    retry = RetryPolicy(max_retries=1, initial_delay=0.001, unsafe=unsafe)
    pusher = connect(port=server.port, retry=retry)
    operations = [pusher.trigger("c", "e", str(number)) for number in range(1000)]
    await until(lambda: pusher.stats.succeeded >= 300)
    server.kill()
    results = await within(DeferredList(operations, consumeErrors=True), 60)
    read = set(server.read)
    surely_lost = 0
    for number, (succeeded, result) in enumerate(results):
        if succeeded:
            assert number in read
        else:
            assert type(result.value) is HTTPError
            surely_lost += not result.value.maybe_delivered
            if number in read:
                assert result.value.maybe_delivered is True
    # What was never sent is told from what may have been delivered.
    assert 0 < surely_lost <= 1000 - len(read)
    assert len(results) == 1000


@pytest_twisted.ensureDeferred
async def test_waiting_operations_are_sent_in_order(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, max_connections=1)
    operations = [pusher.trigger("c", "e", f"<{number}>") for number in range(100)]
    fired = []
    for number, operation in enumerate(operations):
        operation.addCallback(lambda _, number=number: fired.append(number))
    await within(operations[-1])
    assert fired == list(range(100))
    assert [int(body.split(b"<")[1].split(b">")[0]) for body in server.bodies] == fired


@pytest_twisted.ensureDeferred
async def test_an_operation_begun_by_a_callback_does_not_overtake(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, max_connections=1)
    late = []
    first = pusher.trigger("c", "e", "first")
    first.addCallback(lambda _: late.append(pusher.trigger("c", "e", "third")))
    await within(pusher.trigger("c", "e", "second"))
    await within(late[0])
    words = [w for b in server.bodies for w in (b"first", b"second", b"third") if w in b]
    assert words == [b"first", b"second", b"third"]


@pytest_twisted.ensureDeferred
async def test_retried_operation_is_sent_before_waiting_operations(serve, connect):
    gate = []

    async def script(peer):
        await peer.request()
        peer.send(reply(429))
        while True:
            await peer.request()
            await until(lambda: gate)
            peer.send(OK)

    server = serve(script)
    pusher = connect(server, max_connections=1, retry=AT_ONCE)
    words = [b"first", b"second", b"third", b"fourth"]
    operations = [pusher.trigger("c", "e", word.decode()) for word in words]
    # The first waits in the queue again, and the second is on its way.
    await until(lambda: pusher.stats.sent == 2)
    await pause(0)
    assert pusher.stats.retried == 0
    gate.append(True)
    for operation in operations:
        await within(operation)
    order = [word for body in server.bodies for word in words if word in body]
    assert order == [b"first", b"second", b"first", b"third", b"fourth"]
    assert pusher.stats.retried == 1


class TestQueueFull:
    @pytest_twisted.ensureDeferred
    async def test_only_the_surplus_is_turned_away(self, serve, connect):
        open_gate = []

        async def gate(peer):
            while True:
                await peer.request()
                await until(lambda: open_gate)
                peer.send(OK)

        server = serve(gate)
        pusher = connect(server, max_connections=2, max_pending=3)
        operations = [pusher.trigger("c", "e", str(number)) for number in range(10)]
        for surplus in operations[5:]:
            error = await error_of(surplus, QueueFullError)
            assert error.maybe_delivered is False
            assert "3" in str(error)
        assert not any(operation.called for operation in operations[:5])
        open_gate.append(True)
        for operation in operations[:5]:
            assert await within(operation) == {}
        assert len(server.requests) == 5
        assert await within(pusher.trigger("c", "e", "d")) == {}

    @pytest_twisted.ensureDeferred
    async def test_max_pending_of_zero_sends_what_fits_into_connections(self, serve, connect):
        server = serve(answering(OK))
        pusher = connect(server, max_connections=2, max_pending=0)
        operations = [pusher.trigger("c", "e", str(number)) for number in range(3)]
        await error_of(operations[2], QueueFullError)
        for operation in operations[:2]:
            assert await within(operation) == {}
        assert await within(pusher.trigger("c", "e", "d")) == {}

    @pytest.mark.parametrize("most", [0, 1])
    @pytest.mark.parametrize("from_hook", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_an_operation_that_has_ended_leaves_its_place_to_the_next(
        self, serve, connect, most, from_hook
    ):
        left = 20
        begun = []

        def begin(result=None):
            nonlocal left
            if left:
                left -= 1
                operation = pusher.trigger("c", "e", "d")
                begun.append(operation)
                if not from_hook:
                    operation.addCallback(begin)

        server = serve(answering(OK))
        hook = begin if from_hook else None
        pusher = connect(server, max_connections=1, max_pending=most, on_attempt=hook)
        # Never more at a time than there are places.
        for _ in range(1 + most):
            begin()
        await until(lambda: len(server.requests) == 20)
        for operation in begun:
            assert await within(operation) in ({}, None)

    @pytest_twisted.ensureDeferred
    async def test_a_callback_has_no_more_places_than_there_are(self, serve, connect):
        more = []

        def begin(result):
            more.extend(pusher.trigger("c", "e", "d") for _ in range(5))

        server = serve(answering(OK))
        pusher = connect(server, max_connections=1, max_pending=2)
        first = pusher.trigger("c", "e", "d").addCallback(begin)
        second = pusher.trigger("c", "e", "d")
        await within(first)
        outcomes = [
            await within(operation.addErrback(lambda failure: type(failure.value)))
            for operation in [second, *more]
        ]
        # The second takes the connection, two wait.
        assert outcomes == [{}, {}, {}, *[QueueFullError] * 3]

    @pytest_twisted.ensureDeferred
    async def test_operation_that_waits_to_retry_counts_as_pending(self, serve, connect):
        server = serve(answering(reply(429, "", "Retry-After: 30")))
        pusher = connect(server, max_connections=1, max_pending=1)
        repeated = pusher.trigger("c", "e", "d")
        await until(lambda: pusher.stats.pending == 1)
        # The connection is free: this one does not wait.
        other = pusher.trigger("c", "e", "d")
        await error_of(pusher.trigger("c", "e", "d"), QueueFullError)
        for operation in (repeated, other):
            operation.addErrback(lambda failure: None)
            operation.cancel()

    @pytest_twisted.ensureDeferred
    async def test_a_place_in_the_queue_comes_free_when_its_holder_is_cancelled(
        self, serve, connect
    ):
        server = serve(never_answer)
        pusher = connect(server, max_connections=1, max_pending=1)
        operations = [pusher.trigger("c", "e", str(number)) for number in range(2)]
        await error_of(pusher.trigger("c", "e", "d"), QueueFullError)
        for operation in operations:
            operation.addErrback(lambda failure: None)
        operations[1].cancel()
        another = pusher.trigger("c", "e", "d")
        assert not another.called
        assert pusher.stats.pending == 1
        another.addErrback(lambda failure: None)


class TestStats:
    @pytest_twisted.ensureDeferred
    async def test_stats_count_present_and_past_operations(self, serve, connect):
        answers = [reply(429), OK, reply(400), OK]
        server = serve(answering(*answers))
        pusher = connect(server, max_connections=1, retry=FAST)
        fresh = pusher.stats
        assert (fresh.pending, fresh.in_flight, fresh.open_connections) == (0, 0, 0)
        assert (fresh.sent, fresh.succeeded, fresh.failed, fresh.retried) == (0, 0, 0, 0)
        operations = [pusher.trigger("c", "e", str(number)) for number in range(3)]
        assert pusher.stats.pending == 2
        assert pusher.stats.in_flight == 1
        assert pusher.stats.open_connections == 1
        await within(DeferredList(operations, consumeErrors=True))
        stats = pusher.stats
        assert (stats.pending, stats.in_flight, stats.open_connections) == (0, 0, 1)
        assert (stats.sent, stats.succeeded, stats.failed, stats.retried) == (4, 2, 1, 1)
        await within(pusher.close())
        assert pusher.stats.open_connections == 0
        # It was a snapshot.
        assert stats.open_connections == 1
        assert fresh.sent == 0

    @pytest_twisted.ensureDeferred
    async def test_a_retry_counts_when_it_is_sent(self, serve, connect):
        async def script(peer):
            await peer.request()
            peer.send(reply(429))
            await peer.stall()

        pusher = connect(serve(script), max_connections=1, retry=AT_ONCE, timeout=60)
        repeated = pusher.trigger("c", "e", "d")
        stuck = pusher.trigger("c", "e", "d")
        await until(lambda: pusher.stats.sent == 2)
        await pause(0)
        for operation in (repeated, stuck):
            operation.addErrback(lambda failure: None)
            operation.cancel()
        assert (pusher.stats.sent, pusher.stats.retried, pusher.stats.failed) == (2, 0, 2)

    @pytest_twisted.ensureDeferred
    async def test_operation_that_cannot_be_sent_counts_as_failed(self, connect):
        pusher = connect(use_tls=True, host="a" * 63 + ".b_c")
        operations = [pusher.trigger("c", "e", "d") for _ in range(2)]
        for operation in operations:
            await within(operation.addErrback(lambda failure: None))
        assert pusher.stats.failed == 2
