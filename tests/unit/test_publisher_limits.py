"""max_pending of a BatchPublisher: exact, and nobody is turned away who has a place."""

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
    def test_as_many_wait_as_may_and_the_next_are_turned_away_at_once(self, most):
        publisher, client = publishing(most, max_connections=1)
        publisher.trigger("c", "first", "d")
        events = Events(publisher)
        for number in range(most + 3):
            events.trigger("c")
            assert events.turned_away == list(range(most, number + 1))
        client.held[0].answer()
        assert sizes(client) == [1, most][: 1 + bool(most)]

    @pytest.mark.parametrize("most", [0, 3])
    def test_the_error_says_how_many_wait(self, most):
        publisher, _ = publishing(most, max_connections=1)
        events = Events(publisher)
        events.trigger(*["c"] * (most + 2))
        [failure] = events.outcomes[-1]
        text = f"{most} events are waiting already, max_pending is {most}"
        assert str(failure.value) == text
        assert failure.value.maybe_delivered is False

    def test_one_that_is_cancelled_makes_a_place(self):
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
    def test_free_connections_are_used_before_an_event_is_turned_away(self, most, sent):
        publisher, client = publishing(most)
        events = Events(publisher)
        events.trigger(*(f"c{number}" for number in range(100)))
        assert sizes(client) == sent
        assert events.turned_away == list(range(sum(sent) + most, 100))

    def test_one_of_a_channel_that_must_wait_makes_those_go_that_need_not(self):
        publisher, client = publishing(3)
        events = Events(publisher)
        events.trigger("a", "a", "b", "b", "a", "a", "a")
        assert sizes(client) == [1, 2]
        assert events.turned_away == [6]

    def test_what_goes_out_after_all_is_remembered_no_longer(self):
        publisher, client = publishing(1)
        Events(publisher).trigger(*(f"c{number}" for number in range(20)))
        assert sizes(client) == [1] + [2] * 9
        assert publisher._surplus == []


class TestInsideCallbacks:
    @pytest.mark.parametrize("most", [0, 3])
    def test_what_they_trigger_goes_out_together(self, most):
        publisher, client = publishing(most)
        events = Events(publisher)
        first = publisher.trigger("c", "first", "d")
        first.addCallback(lambda _: events.trigger(*(f"c{number}" for number in range(100))))
        client.held[0].answer()
        assert sizes(client) == [1] + [10] * 10
        assert events.turned_away == []

    def test_one_of_theirs_that_is_cancelled_is_not_turned_away_too(self, beside):
        publisher, client, last = beside
        events = Events(publisher)

        def meanwhile(_):
            events.trigger(*["a"] * 5)
            cancelled = publisher.trigger("a", "e", "d")
            cancelled.addErrback(lambda failure: errors.append(failure.type))
            cancelled.cancel()
            events.trigger(*["a"] * 2)

        errors = []
        last.addCallback(meanwhile)
        client.held[1].answer()
        assert errors == [CancelledError]
        assert events.turned_away == [5, 6]

    @pytest.fixture
    def beside(self):
        """
        A publisher, what it sends with, and an event of channel "b" on its way.

        So is one of channel "a", in a request of its own.
        """
        publisher, client = publishing(5)
        publisher.trigger("a", "e", "d")
        # The sixth is too many, so that all of them go.
        *_, last = [publisher.trigger("b", "e", "d") for _ in range(6)]
        assert sizes(client) == [1, 6]
        return publisher, client, last

    def test_of_a_channel_that_must_wait_the_newest_are_turned_away(self, beside):
        publisher, client, last = beside
        events = Events(publisher)
        last.addCallback(lambda _: events.trigger(*["a"] * 300))
        client.held[1].answer()
        assert events.turned_away == list(range(5, 300))
        client.held[0].answer()
        assert sizes(client) == [1, 6, 5]

    @pytest.mark.parametrize(("channel", "at_once"), [("a", 0), ("new", 10)])
    def test_many_of_one_channel_do_not_stand_in_the_way_of_others(
        self, beside, channel, at_once
    ):
        publisher, client, last = beside
        many, others = Events(publisher), Events(publisher)
        last.addCallback(lambda _: many.trigger(*[channel] * 300))
        last.addCallback(lambda _: others.trigger(*(f"c{number}" for number in range(15))))
        client.held[1].answer()
        assert sum(sizes(client)[2:]) == at_once + 15
        assert many.turned_away == list(range(at_once + 5, 300))
        assert others.turned_away == []

    def test_one_that_goes_on_until_an_event_is_turned_away_comes_to_an_end(self, beside):
        publisher, client, last = beside
        events = Events(publisher)

        def fill(_):
            while not events.turned_away and len(events.outcomes) < 500:
                events.trigger("c")

        last.addCallback(fill)
        client.held[1].answer()
        assert sizes(client) == [1, 6, 10]
        # That of "a" is on its way still: 15 connections were free.
        assert events.turned_away == list(range(15, 5 + 150 + 1))

    def test_while_a_split_goes_on_there_is_no_place_but_that_of_those_who_may_wait(self):
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
