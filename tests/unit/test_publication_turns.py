"""BatchPublisher.publish(): an iterable that takes several turns, or ends its publication."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from tests.support.observing import Log
from txpusher import BatchPublisher, Event, InvalidRequestError, Published

from .held_client import HeldClient, held_pusher
from .helpers import error_of, result_of

#: Seconds that an event takes to be made: two of them are a turn.
SLOW = 0.006


class Publishing:
    """A publication of events that a function makes, by a clock and to a server at hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        pusher, self.client = held_pusher(
            max_connections=2, max_batch_size=2, reactor=self.clock
        )
        self.publisher = BatchPublisher(pusher)
        self.published: Deferred[Published]

    def event(self, number: int) -> Event:
        """Make an event, slowly."""
        self.clock.rightNow += SLOW
        return Event(f"c{number}", str(number), "d")

    def run(self, events: Any, **options: Any) -> Deferred[Published]:
        """Publish *events*, in as many turns as it takes; every request is answered."""
        self.published = self.publisher.publish(events, **options)
        self.let_run()
        return self.published

    def let_run(self) -> None:
        """Give the publication its turns."""
        for _ in range(50):
            self.clock.advance(0)
            answer_all(self.client)

    @property
    def sent(self) -> set[str]:
        """The names of the events that were sent."""
        return {name for names in self.client.names for name in names}


def answer_all(client: HeldClient) -> None:
    while client.held:
        client.held[0].answer()


class Items:
    """An iterator that goes on after it has raised, as that of map() does."""

    def __init__(self, make: Callable[[int], Event]) -> None:
        self._make = make
        self.asked = 0

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Event:
        self.asked += 1
        if self.asked > 10:
            raise StopIteration
        return self._make(self.asked)


def test_generator_that_raises_in_a_later_turn_fails_its_publication() -> None:
    publishing = Publishing()

    def events() -> Iterator[Event]:
        for number in range(5):
            yield publishing.event(number)
        raise ValueError("five")

    error = error_of(publishing.run(events()))
    assert type(error) is InvalidRequestError
    assert str(error) == "events[5] could not be read: ValueError: 'five'"
    assert publishing.sent == set("01234")


def test_nothing_is_read_after_what_has_raised() -> None:
    publishing = Publishing()

    def make(number: int) -> Event:
        if number == 5:
            raise ValueError("five")
        return publishing.event(number)

    items = Items(make)
    assert type(error_of(publishing.run(items))) is InvalidRequestError
    assert (items.asked, publishing.sent) == (5, set("1234"))


def test_nothing_is_read_after_the_end() -> None:
    publishing = Publishing()

    def make(number: int) -> Event:
        if number == 5:
            raise StopIteration
        return publishing.event(number)

    items = Items(make)
    assert result_of(publishing.run(items)).accepted == 4
    assert items.asked == 5


@pytest.mark.parametrize("then", ["go on", "raise"])
def test_iterator_may_cancel_its_publication(then: str) -> None:
    publishing = Publishing()

    def make(number: int) -> Event:
        if number == 5:
            publishing.published.cancel()
            if then == "raise":
                raise ValueError("five")
        return publishing.event(number)

    items = Items(make)
    assert isinstance(error_of(publishing.run(items)), CancelledError)
    assert (items.asked, "5" in publishing.sent) == (5, False)
    assert result_of(publishing.publisher.flush()) == 0
    assert publishing.clock.getDelayedCalls() == []


def test_generator_may_cancel_its_publication_and_is_closed() -> None:
    publishing = Publishing()
    closed = []

    def events() -> Iterator[Event]:
        try:
            for number in range(10):
                if number == 5:
                    publishing.published.cancel()
                yield publishing.event(number)
        finally:
            closed.append(number)

    assert isinstance(error_of(publishing.run(events())), CancelledError)
    assert closed == [5]
    assert publishing.sent <= set("01234")
    assert result_of(publishing.publisher.flush()) == 0


def test_async_generator_may_cancel_its_publication() -> None:
    publishing, begun = Publishing(), Deferred[None]()
    closed = []

    async def events() -> AsyncIterator[Event]:
        try:
            await begun
            for number in range(10):
                if number == 5:
                    publishing.published.cancel()
                yield publishing.event(number)
        finally:
            closed.append(number)

    log = Log()
    log.start()
    published = publishing.run(events())
    begun.callback(None)
    publishing.let_run()
    # A failure that nobody handled is logged when its Deferred is collected.
    gc.collect()
    log.stop()
    assert log.failures == []
    assert isinstance(error_of(published), CancelledError)
    assert closed == [5]
    assert publishing.sent <= set("01234")
    assert result_of(publishing.publisher.flush()) == 0


def test_async_generator_that_cancels_its_publication_and_ends_is_not_waited_for() -> None:
    publishing, told = Publishing(), []

    async def events() -> AsyncIterator[Event]:
        for number in range(20):
            yield publishing.event(number)
        publishing.published.cancel()
        told.append("cancelled")
        publishing.clock.rightNow += 1

    published = publishing.run(events(), on_progress=lambda done, failed: told.append("done"))
    assert isinstance(error_of(published), CancelledError)
    assert told[-1] == "cancelled"
    assert len(publishing.sent) < 20
    assert result_of(publishing.publisher.flush()) == 0
