"""BatchPublisher.publish(): any number of events, read no faster than they can be sent."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from txpusher import (
    BadRequestError,
    BatchPublisher,
    ClosedError,
    Event,
    InvalidRequestError,
    Published,
    ServerError,
)

from .held_client import HeldClient, held_pusher
from .helpers import error_of, result_of

#: What the connections of a test carry at a time, and as much again.
HELD = 8


class Source:
    """
    Events of one channel after another, and how many of them have been read.

    :ivar closed: Whether nothing more can be read.
    """

    def __init__(self, count: int, channels: int = 100) -> None:
        self.count = count
        self.channels = channels
        self.read = 0
        self.closed = False

    def __iter__(self) -> Any:
        try:
            for number in range(self.count):
                self.read += 1
                yield Event(f"c{number % self.channels}", str(number), "d")
        finally:
            self.closed = True


class AsyncSource:
    """The same, as an async iterable."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def __aiter__(self) -> Any:
        for event in self._source:
            yield event


def publishing(**options: Any) -> tuple[BatchPublisher, HeldClient]:
    """A publisher over two connections with two events in a batch, and what it sends with."""
    client_options = {"max_connections": 2, "max_batch_size": 2}
    pusher, client = held_pusher(**client_options)
    return BatchPublisher(pusher, **options), client


def publishing_by_a_clock() -> tuple[BatchPublisher, HeldClient, Clock]:
    """The same, and the clock that stands for its reactor."""
    clock = Clock()
    pusher, client = held_pusher(max_connections=2, max_batch_size=2, reactor=clock)
    return BatchPublisher(pusher), client, clock


def answer_all(client: HeldClient, status: int = 200) -> None:
    while client.held:
        client.held[0].answer(status)


@pytest.fixture(params=["iterable", "async iterable"])
def as_given(request: pytest.FixtureRequest) -> Any:
    """What turns a source into the argument of publish()."""
    return (lambda source: source) if request.param == "iterable" else AsyncSource


class TestReading:
    def test_no_more_events_are_held_than_connections_carry_twice(self, as_given: Any) -> None:
        publisher, client = publishing()
        source = Source(100)
        published = publisher.publish(as_given(source))
        held = 0
        while client.held:
            sent = sum(len(batch.events) for batch in client.sent)
            settled = sent - sum(len(batch.events) for batch in client.held)
            held = max(held, source.read - settled)
            client.held[0].answer()
        assert held == HELD
        assert result_of(published) == Published(100, [])
        assert source.closed

    def test_events_of_a_channel_arrive_in_order(self, as_given: Any) -> None:
        publisher, client = publishing()
        published = publisher.publish(as_given(Source(50, channels=1)))
        answer_all(client)
        assert result_of(published).accepted == 50
        assert [*chain.from_iterable(client.names)] == [str(number) for number in range(50)]

    def test_batches_are_full_where_events_come_at_once(self, as_given: Any) -> None:
        publisher, client = publishing()
        publisher.publish(as_given(Source(40)))
        answer_all(client)
        assert {len(batch.events) for batch in client.sent} == {2}

    def test_max_pending_bounds_events_that_wait(self) -> None:
        publisher, client = publishing(max_pending=1)
        source = Source(100, channels=1)
        publisher.publish(source)
        # One is in flight, one waits for it.
        assert source.read - sum(len(batch.events) for batch in client.sent) <= 1

    def test_slow_iterable_gives_the_reactor_its_turn_after_each_slice(self) -> None:
        publisher, client, clock = publishing_by_a_clock()
        read = []

        def events() -> Any:
            for event in Source(5):
                clock.rightNow += 0.006
                read.append(event)
                yield event

        published = publisher.publish(events())
        # What is answered meanwhile does not cut the reactor's turn short.
        answer_all(client)
        assert len(read) == 2
        clock.advance(0)
        answer_all(client)
        assert result_of(published) == Published(5, [])

    def test_cancelled_publication_of_a_slow_iterable_leaves_no_timer(self) -> None:
        publisher, client, clock = publishing_by_a_clock()

        def events() -> Any:
            for event in Source(4):
                clock.rightNow += 1.0
                yield event

        published = publisher.publish(events())
        published.cancel()
        assert isinstance(error_of(published), CancelledError)
        answer_all(client)
        assert clock.getDelayedCalls() == []

    def test_more_refused_events_than_connections_carry_are_all_read(self) -> None:
        publisher, _ = publishing()
        refused = [Event("no channel", "e", "d")] * (10 * HELD)
        assert len(result_of(publisher.publish(refused)).failed) == 10 * HELD

    @pytest.mark.parametrize("pending", [0, 1])
    def test_smallest_max_pending_lets_every_event_through(self, pending: int) -> None:
        publisher, client = publishing(max_pending=pending)
        published = publisher.publish(Source(20, channels=3))
        answer_all(client)
        assert result_of(published).accepted == 20

    def test_two_publications_share_a_publisher(self) -> None:
        publisher, client = publishing()
        both = [publisher.publish(Source(30)), publisher.publish(Source(20))]
        answer_all(client)
        assert [result_of(published).accepted for published in both] == [30, 20]

    @pytest.mark.parametrize("events", [[], iter(())])
    def test_no_event_is_published_at_once(self, events: Any) -> None:
        publisher, client = publishing()
        assert result_of(publisher.publish(events)) == Published(0, [])
        assert client.sent == []

    def test_mappings_are_events_too(self) -> None:
        publisher, client = publishing()
        publisher.publish(
            [{"channel": "c", "name": "e", "data": {"x": 1}, "idempotency_key": "k"}]
        )
        assert client.sent[0].events == [
            {"channel": "c", "name": "e", "data": '{"x":1}', "idempotency_key": "k"}
        ]

    def test_event_of_an_async_iterable_leaves_before_the_next_one_comes(self) -> None:
        publisher, client = publishing()
        more: Deferred[None] = Deferred()

        class Given:
            async def __aiter__(self) -> Any:
                yield Event("c", "first", "d")
                await more
                yield Event("c", "second", "d")

        published = publisher.publish(Given())
        assert client.names == [["first"]]
        client.held[0].answer()
        more.callback(None)
        client.held[0].answer()
        assert result_of(published) == Published(2, [])


class TestOutcomes:
    def test_refused_event_fails_at_its_place_and_the_others_go_on(self, as_given: Any) -> None:
        publisher, client = publishing()
        events: list[Any] = [Event("a", "e", "d"), Event("no such name", "e", "d"), {"x": 1}]
        events += [Event("b", "e", "d")]

        class Given:
            async def __aiter__(self) -> Any:
                for event in events:
                    yield event

        published = publisher.publish(events if as_given is not AsyncSource else Given())
        answer_all(client)
        outcome = result_of(published)
        assert outcome.accepted == 2
        assert [(place, event) for place, event, _ in outcome.failed] == [
            (1, events[1]),
            (2, events[2]),
        ]
        assert all(isinstance(error, InvalidRequestError) for *_, error in outcome.failed)

    @pytest.mark.parametrize("status", [400, 422])
    def test_batch_refused_for_its_content_is_split(self, status: int) -> None:
        publisher, client = publishing()
        published = publisher.publish(Source(8))
        while client.held:
            batch = client.held[0]
            batch.answer(status if "5" in batch.names else 200)
        outcome = result_of(published)
        assert outcome.accepted == 7
        [(place, event, error)] = outcome.failed
        assert (place, event.name, error.status) == (5, "5", status)
        assert error.maybe_delivered is False

    def test_failures_are_told_in_the_order_given(self) -> None:
        publisher, client = publishing()
        published = publisher.publish(Source(8))
        while client.held:
            client.held[-1].answer(500)
        outcome = result_of(published)
        assert [place for place, _, _ in outcome.failed] == list(range(8))
        errors = [error for *_, error in outcome.failed]
        # The frames of the requests would be kept as long as the errors are.
        assert [error.__traceback__ for error in errors] == [None] * len(errors)
        assert all(type(error) is ServerError and error.maybe_delivered for error in errors)
        assert len(set(map(id, errors))) == 8


class TestRefused:
    @pytest.mark.parametrize("events", ["text", b"bytes", {"a": 1}, Event("c", "e", "d"), 3])
    def test_argument_that_is_no_iterable_of_events_is_refused(self, events: Any) -> None:
        publisher, client = publishing()
        error = error_of(publisher.publish(events))
        assert type(error) is InvalidRequestError
        assert str(error).startswith("events must be an iterable of several events, not the ")
        assert client.sent == []

    def test_progress_that_cannot_be_called_is_refused(self) -> None:
        publisher, _ = publishing()
        error = error_of(publisher.publish([], on_progress=3))  # type: ignore[arg-type]
        assert str(error) == "on_progress must be callable, not the int 3"

    def test_iterable_that_raises_fails_after_its_events_are_settled(
        self, as_given: Any
    ) -> None:
        publisher, client = publishing()

        def events() -> Any:
            yield from Source(3)
            raise KeyError("gone")

        class Given:
            async def __aiter__(self) -> Any:
                for event in events():
                    yield event

        published = publisher.publish(events() if as_given is not AsyncSource else Given())
        assert not published.called
        answer_all(client)
        error = error_of(published)
        assert type(error) is InvalidRequestError
        assert str(error) == """events[3] could not be read: KeyError: "'gone'\""""
        assert isinstance(error.__cause__, KeyError)
        assert sum(len(batch.events) for batch in client.sent) == 3


class TestEnds:
    def test_cancelled_publication_reads_no_further_and_takes_back_waiting_events(
        self, as_given: Any
    ) -> None:
        publisher, client = publishing()
        source = Source(100, channels=1)
        published = publisher.publish(as_given(source))
        beside = publisher.trigger("c0", "beside", "d")
        read = source.read
        published.cancel()
        assert isinstance(error_of(published), CancelledError)
        answer_all(client)
        assert source.read == read
        assert source.closed
        assert result_of(beside) == {}
        in_flight = client.sent[0].names
        assert [*chain.from_iterable(client.names)] == [*in_flight, "beside"]
        assert result_of(publisher.flush()) == 0

    def test_closed_publisher_ends_a_publication_after_its_events(self, as_given: Any) -> None:
        publisher, client = publishing()
        source = Source(100)
        published = publisher.publish(as_given(source))
        closed = publisher.close()
        read = source.read
        assert not published.called
        answer_all(client)
        error = error_of(published)
        assert type(error) is ClosedError
        assert str(error) == f"the publisher was closed before events[{read}] was sent"
        assert result_of(closed) == 0
        # One more was read to learn that there is one.
        assert source.read == read + 1

    def test_waiting_async_iterable_is_cancelled(self) -> None:
        publisher, _ = publishing()
        waiting: Deferred[None] = Deferred()

        class Given:
            async def __aiter__(self) -> Any:
                await waiting
                yield Event("c", "e", "d")

        published = publisher.publish(Given())
        published.cancel()
        assert isinstance(error_of(published), CancelledError)
        assert waiting.called


class TestProgress:
    def test_progress_is_told_at_most_ten_times_a_second_and_at_the_end(self) -> None:
        pusher, client = held_pusher(max_connections=1, max_batch_size=1)
        clock: Any = pusher.transport.reactor
        publisher = BatchPublisher(pusher)
        calls: list[tuple[float, int, int]] = []
        published = publisher.publish(
            Source(101), on_progress=lambda *numbers: calls.append((clock.seconds(), *numbers))
        )
        while client.held:
            clock.advance(0.02)
            client.held[0].answer(400 if "7" in client.held[0].names else 200)
        assert result_of(published).accepted == 100
        assert calls[-1][1:] == (101, 1)
        assert len(calls) > 10
        for at, _, _ in calls:
            assert sum(at <= other < at + 1 for other, _, _ in calls) <= 10
        assert [done for _, done, _ in calls] == sorted({done for _, done, _ in calls})

    def test_progress_that_raises_is_logged_and_stops_nothing(self, logged: Any) -> None:
        publisher, client = publishing()
        published = publisher.publish(Source(5), on_progress=lambda done, failed: 1 / 0)
        answer_all(client)
        assert result_of(published).accepted == 5
        assert logged() == ["on_progress failed"]


@pytest.fixture
def logged() -> Any:
    """The formats of the failures that are logged in a test."""
    from twisted.logger import globalLogPublisher

    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    yield lambda: [event["log_format"] for event in events if event.get("log_failure")]
    globalLogPublisher.removeObserver(events.append)


def test_published_error_is_no_bad_request_of_a_companion() -> None:
    publisher, client = publishing()
    published = publisher.publish([Event("a", "bad", "d"), Event("b", "good", "d")])
    while client.held:
        batch = client.held[0]
        batch.answer(400 if "bad" in batch.names else 200)
    [(_, event, error)] = result_of(published).failed
    assert event.name == "bad"
    assert type(error) is BadRequestError
