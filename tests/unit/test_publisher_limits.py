"""
max_pending of a BatchPublisher.

It is exact outside callbacks.  While callbacks run, events gather, and as many more may
wait as free connections can carry afterwards.
"""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from txpusher import BatchPublisher, QueueFullError

from .held_client import held_pusher
from .helpers import result_of


class Events:
    """Triggers events, and keeps what becomes of each."""

    def __init__(self, publisher):
        self._publisher = publisher
        self.outcomes = []

    def trigger(self, *channels):
        for channel in channels:
            ends = []
            self.outcomes.append(ends)
            event = self._publisher.trigger(channel, "e", "d")
            event.addCallbacks(ends.append, lambda failure, ends=ends: ends.append(failure))

    @property
    def turned_away(self):
        """The places of those that failed with a QueueFullError; no other has fired."""
        ended = {place: ends[0] for place, ends in enumerate(self.outcomes) if ends}
        assert {failure.type for failure in ended.values()} <= {QueueFullError}
        return list(ended)


def publishing(max_pending, **options):
    """A publisher and what it sends with."""
    pusher, client = held_pusher(**options)
    return BatchPublisher(pusher, max_pending=max_pending), client


def sizes(client):
    """How many events there were in each request."""
    return [len(batch.events) for batch in client.sent]


class TestOutsideCallbacks:
    @pytest.mark.parametrize("most", [0, 1, 7])
    def test_events_beyond_max_pending_are_refused_at_once(self, most):
        publisher, client = publishing(most, max_connections=1)
        publisher.trigger("c", "first", "d")
        events = Events(publisher)
        for number in range(most + 3):
            events.trigger("c")
            assert events.turned_away == list(range(most, number + 1))
        client.held[0].answer()
        assert sizes(client) == [1, most][: 1 + bool(most)]

    @pytest.mark.parametrize("most", [0, 3])
    def test_error_says_how_many_events_wait(self, most):
        publisher, _ = publishing(most, max_connections=1)
        events = Events(publisher)
        events.trigger(*["c"] * (most + 2))
        [failure] = events.outcomes[-1]
        text = f"{most} events are waiting already, max_pending is {most}"
        assert str(failure.value) == text
        assert failure.value.maybe_delivered is False

    def test_cancelled_event_makes_a_place(self):
        publisher, _ = publishing(1, max_connections=1)
        publisher.trigger("c", "first", "d")
        waiting = publisher.trigger("c", "second", "d")
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        events = Events(publisher)
        events.trigger("c", "c")
        assert events.turned_away == [1]

    @pytest.mark.parametrize(
        ("most", "sent"),
        # The first goes at once; each time that one is too many, all that wait go.
        [(0, [1] * 16), (3, [1] + [4] * 15)],
    )
    def test_free_connections_are_used_before_an_event_is_refused(self, most, sent):
        publisher, client = publishing(most)
        events = Events(publisher)
        events.trigger(*(f"c{number}" for number in range(100)))
        assert sizes(client) == sent
        assert events.turned_away == list(range(sum(sent) + most, 100))

    def test_event_of_a_waiting_channel_makes_events_of_others_leave(self):
        publisher, client = publishing(3)
        events = Events(publisher)
        events.trigger("a", "a", "b", "b", "a", "a", "a")
        assert sizes(client) == [1, 2]
        assert events.turned_away == [6]


class TestInsideCallbacks:
    @pytest.mark.parametrize("most", [0, 3])
    def test_events_of_a_callback_go_out_together(self, most):
        publisher, client = publishing(most)
        events = Events(publisher)
        first = publisher.trigger("c", "first", "d")
        first.addCallback(lambda _: events.trigger(*(f"c{number}" for number in range(100))))
        client.held[0].answer()
        assert sizes(client) == [1] + [10] * 10
        assert events.turned_away == []

    @pytest.fixture
    def beside(self):
        """
        A publisher, what it sends with, and an event of channel "b" in flight.

        An event of channel "a" is in flight too, in a request of its own.
        """
        publisher, client = publishing(5)
        publisher.trigger("a", "e", "d")
        # The sixth is too many, so that all of them go.
        *_, last = [publisher.trigger("b", "e", "d") for _ in range(6)]
        assert sizes(client) == [1, 6]
        return publisher, client, last

    def test_cancelled_event_of_a_callback_makes_a_place(self, beside):
        publisher, client, last = beside
        events = Events(publisher)

        def meanwhile(_):
            events.trigger(*["c"] * 154)
            cancelled = publisher.trigger("c", "e", "d")
            cancelled.addErrback(lambda failure: errors.append(failure.type))
            cancelled.cancel()
            events.trigger(*["c"] * 2)

        errors = []
        last.addCallback(meanwhile)
        client.held[1].answer()
        assert errors == [CancelledError]
        assert events.turned_away == [155]

    @pytest.mark.parametrize("channel", ["a", "new"])
    def test_callback_has_no_more_wait_than_free_connections_carry(self, beside, channel):
        publisher, client, last = beside
        events = Events(publisher)
        last.addCallback(lambda _: events.trigger(*[channel] * 300))
        client.held[1].answer()
        # The event of "a" is in flight still: 15 connections were free.
        assert events.turned_away == list(range(5 + 150, 300))

    def test_events_beyond_max_pending_go_out_when_their_channel_may(self, beside):
        publisher, client, last = beside
        events = Events(publisher)
        last.addCallback(lambda _: events.trigger(*["a"] * 30))
        client.held[1].answer()
        assert sizes(client) == [1, 6]
        later = Events(publisher)
        later.trigger("a")
        assert later.turned_away == [0]
        while client.held:
            client.held[0].answer()
        assert sizes(client) == [1, 6, 10, 10, 10]
        assert events.outcomes == [[{}]] * 30

    def test_callback_that_triggers_until_an_event_is_refused_comes_to_an_end(self, beside):
        publisher, client, last = beside
        events = Events(publisher)

        def fill(_):
            while not events.turned_away and len(events.outcomes) < 500:
                events.trigger("c")

        last.addCallback(fill)
        client.held[1].answer()
        assert sizes(client) == [1, 6, 10]
        assert events.turned_away == [5 + 150]

    def test_split_leaves_no_room_but_max_pending(self):
        publisher, client = publishing(2, max_connections=1)
        publisher.trigger("first", "e", "d")
        culprit = publisher.trigger("a", "culprit", "d")
        other = publisher.trigger("b", "other", "d")
        client.held[0].answer()
        client.held[0].answer(400)
        events, at_once = Events(publisher), []
        culprit.addErrback(lambda _: events.trigger(*["c"] * 4))
        culprit.addCallback(lambda _: at_once.extend(events.turned_away))
        assert client.names == [["e"], ["culprit", "other"], ["culprit"]]
        client.held[0].answer(400)
        assert at_once == [2, 3]
        client.held[0].answer()
        assert result_of(other) == {}
        assert client.names[3:] == [["other"], ["e", "e"]]
