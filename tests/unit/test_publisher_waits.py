"""Who waits for a BatchPublisher, and for what: linger, room, flush, close, the reactor."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from twisted.internet.base import _ThreePhaseEvent
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorCore, IReactorTime
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from zope.interface import directlyProvides

from txpusher import BatchPublisher, ClosedError, InvalidRequestError

from .held_client import HeldClient, held_pusher
from .helpers import error_of, outcome_of, result_of


def publishing(**options: Any) -> tuple[BatchPublisher, HeldClient, Any]:
    """A publisher over one connection, what it sends with, and its clock."""
    pusher, client = held_pusher(max_connections=1, max_batch_size=3, timeout=1000.0)
    return BatchPublisher(pusher, **options), client, pusher.transport.reactor


def timers(clock: Any) -> list[Any]:
    """The timers but those of the requests in flight."""
    return [call for call in clock.getDelayedCalls() if call.getTime() < 1000]


class TestLinger:
    def test_idle_publisher_waits_for_a_batch_to_fill(self) -> None:
        publisher, client, clock = publishing(linger=0.5)
        publisher.trigger("a", "1", "d")
        clock.advance(0.4)
        publisher.trigger("b", "2", "d")
        assert client.sent == []
        clock.advance(0.2)
        assert client.names == [["1", "2"]]
        assert timers(clock) == []

    def test_full_batch_does_not_wait_and_leaves_no_timer(self) -> None:
        publisher, client, clock = publishing(linger=0.5)
        for number in range(3):
            publisher.trigger(f"c{number}", str(number), "d")
        assert client.names == [["0", "1", "2"]]
        assert timers(clock) == []

    def test_next_event_lingers_anew(self) -> None:
        publisher, client, clock = publishing(linger=0.5)
        publisher.trigger("a", "1", "d")
        clock.advance(0.5)
        client.held[0].answer()
        publisher.trigger("a", "2", "d")
        clock.advance(0.4)
        assert client.names == [["1"]]
        clock.advance(0.1)
        assert client.names == [["1"], ["2"]]

    @pytest.mark.parametrize("end", ["flush", "close"])
    def test_flush_ends_the_wait(self, end: str) -> None:
        publisher, client, clock = publishing(linger=0.5)
        publisher.trigger("a", "1", "d")
        flushed = getattr(publisher, end)()
        assert client.names == [["1"]]
        assert timers(clock) == []
        client.held[0].answer()
        assert result_of(flushed) == 0

    def test_cancelled_event_leaves_no_timer(self) -> None:
        publisher, client, clock = publishing(linger=0.5)
        publisher.trigger("a", "1", "d").addErrback(lambda _: None).cancel()
        clock.advance(0.5)
        assert client.sent == []
        assert timers(clock) == []


class TestBytes:
    def test_body_has_at_most_max_batch_bytes(self) -> None:
        pusher, client = held_pusher(max_batch_size=10, max_connections=1)
        publisher = BatchPublisher(pusher, max_batch_bytes=1000)
        for number in range(40):
            publisher.trigger(f"c{number}", "e", "x" * (50 + number))
        while client.held:
            client.held[0].answer()
        full = client.sent[1:-1]
        assert all(batch.size <= 1000 for batch in client.sent)
        # The next event would not have fitted.
        assert all(batch.size > 1000 - 150 for batch in full)


class TestRoom:
    def test_room_fires_at_once_where_an_event_can_be_taken(self) -> None:
        publisher, _, _ = publishing(max_pending=1)
        publisher.trigger("c", "1", "d")
        assert result_of(publisher.room()) is None

    @pytest.mark.parametrize("most", [0, 2])
    def test_room_fires_when_an_event_can_be_taken_first_come_first_served(
        self, most: int
    ) -> None:
        publisher, client, _ = publishing(max_pending=most)
        for number in range(1 + most):
            publisher.trigger("c", str(number), "d")
        order: list[str] = []

        def take(_: object, name: str) -> None:
            order.append(name)
            publisher.trigger("c", name, "d").addErrback(order.append)

        for name in "xyz":
            publisher.room().addCallback(take, name)
        assert order == []
        while client.held:
            client.held[0].answer()
        assert order == ["x", "y", "z"]

    def test_waiter_that_close_tells_may_cancel_another(self) -> None:
        publisher, _, _ = publishing(max_pending=0)
        publisher.trigger("c", "e", "d")
        first, second = publisher.room(), publisher.room()
        first.addErrback(lambda failure: second.cancel())
        publisher.close()
        assert isinstance(error_of(second), CancelledError)
        assert result_of(first) is None

    def test_cancelled_waiter_takes_no_room(self) -> None:
        publisher, client, _ = publishing(max_pending=0)
        publisher.trigger("c", "1", "d")
        first, second = publisher.room(), publisher.room()
        first.cancel()
        assert isinstance(error_of(first), CancelledError)
        client.held[0].answer()
        assert result_of(second) is None

    def test_closed_publisher_fails_whoever_waits(self) -> None:
        publisher, _, _ = publishing(max_pending=0)
        publisher.trigger("c", "1", "d")
        waiting = publisher.room()
        publisher.close()
        assert type(error_of(waiting)) is ClosedError
        assert type(error_of(publisher.room())) is ClosedError

    def test_thousands_of_waiters_do_not_exhaust_the_stack(self) -> None:
        publisher, client, _ = publishing(max_pending=0)
        publisher.trigger("c", "first", "d")
        client.at_once = lambda held: held.answer()
        taken: list[int] = []

        def take(_: object, number: int) -> None:
            taken.append(number)
            publisher.trigger("c", "e", "d")

        for number in range(5000):
            publisher.room().addCallback(take, number)
        client.held[0].answer()
        assert taken == list(range(5000))


class TestFlush:
    @pytest.mark.parametrize("end", ["flush", "close"])
    def test_timeout_fires_with_the_number_of_unsettled_events(self, end: str) -> None:
        publisher, client, clock = publishing()
        events = [publisher.trigger("c", "e", "d") for _ in range(5)]
        flushed = getattr(publisher, end)(timeout=2.0)
        client.held[0].answer()
        clock.advance(1.9)
        assert not flushed.called
        clock.advance(0.1)
        assert result_of(flushed) == 4
        while client.held:
            client.held[0].answer()
        assert [result_of(event) for event in events] == [{}] * 5

    def test_timeout_of_zero_fires_at_once(self) -> None:
        publisher, _, clock = publishing()
        publisher.trigger("c", "e", "d")
        assert result_of(publisher.flush(timeout=0)) == 1
        assert timers(clock) == []

    def test_later_events_do_not_count(self) -> None:
        publisher, client, clock = publishing()
        publisher.trigger("c", "e", "d")
        first = publisher.flush(timeout=1)
        publisher.trigger("c", "e", "d")
        second = publisher.flush(timeout=2)
        publisher.trigger("c", "e", "d")
        clock.advance(1)
        assert (result_of(first), second.called) == (1, False)
        clock.advance(1)
        assert result_of(second) == 2
        third = publisher.flush()
        while client.held:
            client.held[0].answer()
        assert result_of(third) == 0

    def test_settled_events_leave_no_timer(self) -> None:
        publisher, client, clock = publishing()
        publisher.trigger("c", "e", "d")
        flushed = publisher.flush(timeout=5)
        client.held[0].answer()
        assert result_of(flushed) == 0
        assert timers(clock) == []

    @pytest.mark.parametrize("end", ["flush", "close"])
    @pytest.mark.parametrize(
        ("timeout", "shown"),
        [(-1, "-1"), ("1", "the str '1'"), (True, "the bool True"), (float("nan"), "nan")],
    )
    def test_bad_timeout_is_refused_and_closes_nothing(
        self, end: str, timeout: Any, shown: str
    ) -> None:
        publisher, _, _ = publishing()
        error = error_of(getattr(publisher, end)(timeout=timeout))
        assert type(error) is InvalidRequestError
        assert str(error) == (f"timeout must be a number of seconds >= 0 or None, not {shown}")
        assert not publisher.trigger("c", "e", "d").called


class StoppingClock(Clock):
    """A clock that has the triggers of a reactor."""

    def __init__(self) -> None:
        super().__init__()
        directlyProvides(self, IReactorCore, IReactorTime)
        self.event = _ThreePhaseEvent()

    def addSystemEventTrigger(self, phase: str, event: str, *call: Any) -> Any:
        assert event == "shutdown"
        return self.event.addTrigger(phase, *call)

    def removeSystemEventTrigger(self, trigger: Any) -> None:
        self.event.removeTrigger(trigger)


def warnings(lines: list[Any]) -> list[Any]:
    return [line for line in lines if line["log_level"] is LogLevel.warn]


class TestReactorThatStops:
    @pytest.fixture
    def stopping(self) -> Any:
        """A publisher, what it sends with, a reactor that can stop, and what is logged."""
        clock = StoppingClock()
        pusher, client = held_pusher(max_connections=1, reactor=clock)
        lines: list[Any] = []
        globalLogPublisher.addObserver(lines.append)
        yield BatchPublisher(pusher), client, clock, lines
        globalLogPublisher.removeObserver(lines.append)

    def test_unsettled_events_are_logged_with_their_number(self, stopping: Any) -> None:
        publisher, _, clock, lines = stopping
        for _ in range(3):
            publisher.trigger("c", "e", "d")
        clock.event.fireEvent()
        clock.advance(0)
        [line] = warnings(lines)
        assert line["count"] == 3

    def test_settled_events_leave_no_trigger(self, stopping: Any) -> None:
        publisher, client, clock, _ = stopping
        publisher.trigger("c", "e", "d")
        assert "BatchSender" in str(clock.event.before)
        client.held[0].answer()
        assert "BatchSender" not in str(clock.event.before)
        cancelled = publisher.trigger("c", "e", "d").addErrback(lambda _: None)
        cancelled.cancel()
        assert "BatchSender" not in str(clock.event.before)

    def test_events_that_somebody_waits_for_are_not_logged(self, stopping: Any) -> None:
        publisher, client, clock, lines = stopping
        publisher.trigger("c", "e", "d")
        flushed = publisher.close(timeout=5)
        clock.event.fireEvent()
        clock.advance(0)
        client.held[0].answer()
        assert result_of(flushed) == 0
        assert warnings(lines) == []


def test_waiting_events_take_few_bytes_and_leave_none() -> None:
    """100 000 events of 1000 channels: what a publisher holds at most by default."""
    publisher, client, _ = publishing()
    publisher.trigger("first", "e", "d")
    events = 100_000
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(events):
            publisher.trigger(f"c{number % 1000}", "e", "d")
        waiting, _ = tracemalloc.get_traced_memory()
        client.at_once = lambda held: held.answer()
        client.held[0].answer()
        client.sent.clear()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (waiting - before) / events < 1200
    assert (after - before) / events < 10


def test_flush_of_a_publisher_that_is_idle_fires_at_once() -> None:
    publisher, _, _ = publishing()
    assert outcome_of(publisher.flush()) == 0
