"""
BatchPublisher, whatever callbacks do and in whatever order replies come.

No event is lost, none is settled twice or with the outcome of another, none is refused
that has a place; no limit is passed once control is back; a flush fires when all events
before it are settled, and then.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from txpusher import BadRequestError, BatchPublisher, HTTPError, QueueFullError, ServerError

from .held_client import held_pusher

CHANNELS = "abc"
ONE_OF_THEM = st.integers(0, 99)


def triggers(reactions):
    """Several events of one channel, and what a callback of the first does."""
    return st.tuples(
        st.just("trigger"),
        st.sampled_from(CHANNELS),
        st.sampled_from([False, False, True]),
        st.sampled_from([1, 1, 2, 5, 20]),
        reactions,
    )


OTHERS = st.one_of(
    # The oldest are those whose companions are just being told.
    st.tuples(st.just("cancel"), st.sampled_from([0, 0, 1, 2, 5, 50])),
    st.tuples(st.just("cancel_out"), ONE_OF_THEM),
    st.tuples(st.just("flush")),
)
REACTIONS = st.lists(
    st.one_of(triggers(st.lists(st.one_of(triggers(st.just([])), OTHERS), max_size=2)), OTHERS),
    max_size=2,
)
REPLY = st.tuples(
    st.just("reply"),
    ONE_OF_THEM,
    st.sampled_from(["answer", "answer", "answer", "fail", "lose"]),
)
AT_ONCE = st.tuples(st.just("at_once"), st.sampled_from([False, False, True]))
TRIGGERS = triggers(REACTIONS)
STEPS = st.lists(
    st.one_of(TRIGGERS, TRIGGERS, TRIGGERS, REPLY, REPLY, REPLY, OTHERS, AT_ONCE),
    min_size=20,
    max_size=50,
)


@attrs.define(eq=False)
class Event:
    """
    An event, from before it is triggered on.

    :ivar deferred: Its Deferred, once there is one.
    :ivar ends: What that has fired with: in the end one thing.
    """

    number: int
    channel: str
    culprit: bool
    deferred: Deferred[Any] | None = None
    ends: list[Any] = attrs.field(factory=list)


@attrs.define(eq=False)
class Flush:
    """
    A call of flush().

    :ivar before: The events before it that were not settled.
    :ivar fired: Whether it has, with all of them settled.
    """

    before: list[Event]
    fired: bool = False


class Model:
    """Drives a publisher, and checks whenever control is back what must hold then."""

    def __init__(self, max_pending, max_connections, batch_size, ordered):
        pusher, self.client = held_pusher(
            max_connections=max_connections, max_batch_size=batch_size
        )
        self.publisher = BatchPublisher(pusher, max_pending=max_pending, ordered=ordered)
        self.max_pending = max_pending
        self.max_connections = max_connections
        self.batch_size = batch_size
        self.ordered = ordered
        self.events = []
        self.flushes = []
        self.acted_on = []
        self.lost = set()
        self.failures = []

    def step(self, action, *arguments):
        getattr(self, action)(*arguments)
        self.check()

    def trigger(self, channel, culprit, count, reactions):
        for place in range(count):
            event = Event(len(self.events), channel, culprit)
            self.events.append(event)
            event.deferred = self.publisher.trigger(
                channel, f"{event.number} {culprit}", "d", info="user_count"
            )
            event.deferred.addBoth(self.settled, event, [] if place else reactions)
            event.deferred.addErrback(self.failures.append)

    def settled(self, result, event, reactions):
        outcome = result.value if isinstance(result, Failure) else result
        event.ends.append(outcome)
        for action, *arguments in reactions:
            getattr(self, action)(*arguments)

    def cancel(self, number):
        self.cancel_one([event for event in self.events if event.deferred], number)

    def cancel_out(self, number):
        """Cancel an event that is on its way."""
        numbers = {self.number(item) for batch in self.client.held for item in batch.events}
        events = [event for event in self.events if event.number in numbers and event.deferred]
        self.cancel_one(events, number)

    def cancel_one(self, events, number):
        events = [event for event in events if not event.deferred.called]
        if events:
            events[number % len(events)].deferred.cancel()

    def flush(self):
        flush = Flush([event for event in self.events if not event.ends])
        self.flushes.append(flush)
        self.publisher.flush().addCallback(self.flushed, flush)

    def flushed(self, _, flush):
        # One that was answered at once has no Deferred yet.
        flush.fired = all(event.ends or event.deferred is None for event in flush.before)

    def at_once(self, on):
        """Whether from now on the server answers before the request is sent."""
        self.client.at_once = self.answer if on else None

    def reply(self, number, kind):
        if not self.client.held:
            return
        batch = self.client.held[number % len(self.client.held)]
        if kind == "answer":
            self.answer(batch)
            return
        self.lost |= {self.number(item) for item in batch.events}
        if kind == "fail":
            batch.answer(503)
        else:
            batch.lose()

    def answer(self, batch):
        """Refuse a batch with a culprit in it; else tell each event its number."""
        if any(item["name"].endswith("True") for item in batch.events):
            batch.answer(400)
            return
        numbers = [self.number(item) for item in batch.events]
        self.acted_on += numbers
        batch.answer(200, {"batch": [{"user_count": number} for number in numbers]})

    @staticmethod
    def number(item):
        return int(item["name"].split()[0])

    def check(self):
        assert self.failures == []
        in_callbacks = self.max_connections * self.batch_size
        assert self.pending() <= self.max_pending + in_callbacks
        assert len(self.client.held) <= self.max_connections
        assert all(len(event.ends) == event.deferred.called for event in self.events)
        for flush in self.flushes:
            assert flush.fired == all(event.ends for event in flush.before)

    def pending(self):
        """How many events wait: those that are neither settled nor have been sent."""
        sent = {self.number(item) for batch in self.client.sent for item in batch.events}
        return sum(not event.ends and event.number not in sent for event in self.events)

    def finish(self):
        """Answer all there is."""
        self.client.at_once = None
        while self.client.held:
            self.step("reply", 0, "answer")
        assert self.publisher.close().called
        assert self.pending() == 0
        sent = {self.number(item) for batch in self.client.sent for item in batch.events}
        for event in self.events:
            self.check_end(event, event.number in sent, *event.ends)
        self.check_order()

    def check_end(self, event, sent, outcome):
        acted_on = event.number in self.acted_on
        if isinstance(outcome, dict):
            assert outcome == {"user_count": event.number}
            assert acted_on
        elif isinstance(outcome, QueueFullError):
            assert not sent
        elif isinstance(outcome, BadRequestError):
            assert event.culprit
            assert not acted_on
        elif not isinstance(outcome, CancelledError):
            assert isinstance(outcome, (ServerError, HTTPError))
            assert event.number in self.lost

    def check_order(self):
        """The server acts on each event once, and on those of a channel in order."""
        assert len(self.acted_on) == len(set(self.acted_on))
        for channel in CHANNELS if self.ordered else "":
            own = [n for n in self.acted_on if self.events[n].channel == channel]
            assert own == sorted(own)


@given(
    steps=STEPS,
    max_pending=st.integers(0, 8),
    max_connections=st.integers(1, 5),
    batch_size=st.integers(1, 4),
    ordered=st.booleans(),
)
@settings(max_examples=200)
def test_each_event_has_one_outcome_of_its_own(
    steps, max_pending, max_connections, batch_size, ordered
):
    model = Model(max_pending, max_connections, batch_size, ordered)
    for step in steps:
        model.step(*step)
    model.finish()
