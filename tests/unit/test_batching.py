"""
The scheduling of batches: which events go out together, and when.

That no event is lost, whatever happens, is for test_batching_model to see to.
"""

import pytest

from txpusher import APIError, HTTPError, Pusher
from txpusher._batching import (
    EventState,
    QueuedEvent,
    Scheduler,
    is_about_content,
    wants_attributes,
)


class Event(QueuedEvent):
    """An event with a name to know it by."""

    def __init__(self, name, encoded=b"x"):
        super().__init__(encoded)
        self.tag = name


def make(batch_size=3, max_in_flight=2, ordered=True, **options):
    return Scheduler(
        batch_size=batch_size, max_in_flight=max_in_flight, ordered=ordered, **options
    )


def offer(scheduler, *names, encoded=b"x"):
    """Offer events written as channel and number: "a1"."""
    events = [Event(name, encoded) for name in names]
    for event in events:
        scheduler.add(event.tag[0], event)
    return events


def due_in_a_hurry(scheduler):
    scheduler.hurry()
    return scheduler.due()


def names(batches):
    return [[event.tag for event in batch.events] for batch in batches]


def test_idle_scheduler_gives_out_an_event_at_once():
    scheduler = make()
    offer(scheduler, "a1")
    assert names(scheduler.due()) == [["a1"]]


def test_events_gather_while_a_batch_is_in_flight():
    scheduler = make()
    offer(scheduler, "a1")
    [first] = scheduler.due()
    offer(scheduler, "b1", "c1")
    assert scheduler.due() == []
    scheduler.accepted(first)
    assert names(scheduler.due()) == [["b1", "c1"]]


def test_full_batch_does_not_wait_for_another_to_return():
    scheduler = make()
    offer(scheduler, "a1")
    scheduler.due()
    offer(scheduler, "b1", "c1", "d1")
    assert names(scheduler.due()) == [["b1", "c1", "d1"]]


def test_no_more_batches_than_allowed_are_in_flight():
    scheduler = make(batch_size=1, max_in_flight=2)
    offer(scheduler, "a1", "b1", "c1")
    assert names(scheduler.due()) == [["a1"], ["b1"]]
    assert scheduler.pending == 1


def test_idle_scheduler_gives_out_one_batch_that_is_not_full():
    scheduler = make(batch_size=2, ordered=False)
    offer(scheduler, "a1", "a2", "a3")
    assert names(scheduler.due()) == [["a1", "a2"]]


def test_gathered_events_leave_when_one_of_several_batches_returns():
    scheduler = make(batch_size=3, max_in_flight=3)
    offer(scheduler, "a1")
    [first] = scheduler.due()
    offer(scheduler, "b1", "c1", "d1")
    scheduler.due()
    offer(scheduler, "e1", "f1")
    assert scheduler.due() == []
    scheduler.accepted(first)
    assert names(scheduler.due()) == [["e1", "f1"]]
    offer(scheduler, "g1")
    # That one has come back is over with.
    assert scheduler.due() == []


def test_returned_batch_makes_events_beyond_full_batches_leave():
    scheduler = make(batch_size=2, max_in_flight=3, ordered=False)
    offer(scheduler, "a1")
    [first] = scheduler.due()
    scheduler.accepted(first)
    offer(scheduler, "a2", "a3", "a4")
    assert names(scheduler.due()) == [["a2", "a3"], ["a4"]]


def test_batch_that_returns_while_no_event_waits_makes_no_event_leave_later():
    scheduler = make(batch_size=3, max_in_flight=3)
    offer(scheduler, "a1")
    [first] = scheduler.due()
    offer(scheduler, "b1", "c1", "d1")
    scheduler.due()
    scheduler.accepted(first)
    assert scheduler.due() == []
    offer(scheduler, "e1")
    assert scheduler.due() == []


def test_hurried_events_leave_before_they_fill_a_batch():
    scheduler = make(batch_size=3, max_in_flight=3)
    offer(scheduler, "a1")
    scheduler.due()
    offer(scheduler, "a2", "b1")
    assert scheduler.due() == []
    assert names(due_in_a_hurry(scheduler)) == [["b1"]]
    assert due_in_a_hurry(scheduler) == []


def test_hurry_makes_no_more_batches_than_allowed():
    scheduler = make(batch_size=2, max_in_flight=2, ordered=False)
    offer(scheduler, "a1", "a2", "a3", "a4", "a5")
    assert names(due_in_a_hurry(scheduler)) == [["a1", "a2"], ["a3", "a4"]]
    assert due_in_a_hurry(scheduler) == []


def test_room_counts_events_that_could_leave_at_once():
    scheduler = make(batch_size=3, max_in_flight=2)
    assert scheduler.room == 6
    offer(scheduler, "a1")
    [batch] = scheduler.due()
    assert scheduler.room == 3
    scheduler.failed(batch)
    assert scheduler.room == 6


def test_events_of_a_channel_wait_for_earlier_events_of_the_channel():
    scheduler = make(batch_size=2, max_in_flight=3)
    offer(scheduler, "a1", "a2", "a3", "a4", "b1", "c1")
    first, second = scheduler.due()
    assert names([first, second]) == [["a1", "a2"], ["b1", "c1"]]
    assert scheduler.due() == []
    scheduler.accepted(first)
    assert names(scheduler.due()) == [["a3", "a4"]]


def test_unordered_events_of_a_channel_do_not_wait():
    scheduler = make(batch_size=2, ordered=False)
    offer(scheduler, "a1", "a2", "a3", "a4")
    assert names(scheduler.due()) == [["a1", "a2"], ["a3", "a4"]]


def test_unordered_events_of_all_channels_leave_in_order_of_arrival():
    scheduler = make(batch_size=2, max_in_flight=4, ordered=False)
    offer(scheduler, "a1", "b1", "a2", "b2", "c1", "a3")
    assert names(scheduler.due()) == [["a1", "b1"], ["a2", "b2"], ["c1", "a3"]]


def test_rejected_batch_is_halved_until_only_the_culprit_fails():
    scheduler = make(batch_size=4)
    offer(scheduler, "a1", "a2", "a3", "b1")
    outcome = {"accepted": [], "failed": []}
    sent = []
    while batches := scheduler.due():
        [batch] = batches
        sent.append([event.tag for event in batch.events])
        if "a3" in sent[-1]:
            outcome["failed"] += [event.tag for event in scheduler.rejected(batch)]
        else:
            outcome["accepted"] += [event.tag for event in scheduler.accepted(batch)]
    assert sent == [["a1", "a2", "a3", "b1"], ["a1", "a2"], ["a3", "b1"], ["a3"], ["b1"]]
    assert outcome == {"accepted": ["a1", "a2", "b1"], "failed": ["a3"]}


def test_split_keeps_its_channels_waiting_until_its_last_part():
    scheduler = make(batch_size=2)
    offer(scheduler, "a1", "a2", "a3")
    [batch] = scheduler.due()
    scheduler.rejected(batch)
    [half] = scheduler.due()
    assert names([half]) == [["a1"]]
    scheduler.accepted(half)
    assert names(scheduler.due()) == [["a2"]]


def test_failed_batch_fails_every_event():
    scheduler = make()
    offer(scheduler, "a1", "b1", "c1")
    [batch] = scheduler.due()
    assert [event.tag for event in scheduler.failed(batch)] == ["a1", "b1", "c1"]
    assert scheduler.in_flight == 0


def test_cancelled_event_does_not_leave():
    scheduler = make()
    events = offer(scheduler, "a1", "a2", "b1")
    scheduler.cancel(events[1])
    assert names(scheduler.due()) == [["a1", "b1"]]
    assert scheduler.pending == 0


def test_event_cancelled_twice_counts_once():
    scheduler = make()
    [event] = offer(scheduler, "a1")
    scheduler.cancel(event)
    scheduler.cancel(event)
    assert scheduler.pending == 0
    offer(scheduler, "a2")
    assert names(scheduler.due()) == [["a2"]]


def test_event_cancelled_in_flight_leaves_its_companions_alone():
    scheduler = make()
    events = offer(scheduler, "a1", "b1")
    [batch] = scheduler.due()
    scheduler.cancel(events[0])
    assert [event.tag for event in scheduler.accepted(batch)] == ["b1"]


def test_event_cancelled_in_flight_is_left_out_of_split():
    scheduler = make()
    events = offer(scheduler, "a1", "b1", "c1")
    [batch] = scheduler.due()
    scheduler.cancel(events[0])
    scheduler.rejected(batch)
    assert names(scheduler.due()) == [["b1"]]


def test_innocent_event_does_not_fail_for_a_cancelled_culprit():
    scheduler = make()
    culprit, _ = offer(scheduler, "a1", "b1")
    [batch] = scheduler.due()
    scheduler.cancel(culprit)
    assert scheduler.rejected(batch) == []
    [alone] = scheduler.due()
    assert names([alone]) == [["b1"]]
    assert [event.tag for event in scheduler.accepted(alone)] == ["b1"]
    assert scheduler.in_flight == 0


def test_cancelled_culprit_alone_in_its_batch_ends_the_batch():
    scheduler = make()
    [culprit] = offer(scheduler, "a1")
    [batch] = scheduler.due()
    scheduler.cancel(culprit)
    assert scheduler.rejected(batch) == []
    assert scheduler.due() == []
    assert scheduler.in_flight == 0


def test_uncancelled_events_of_a_batch_are_halved():
    scheduler = make(batch_size=4)
    events = offer(scheduler, "a1", "b1", "c1", "d1")
    [batch] = scheduler.due()
    for event in events[:2]:
        scheduler.cancel(event)
    scheduler.rejected(batch)
    assert names(scheduler.due()) == [["c1"]]


def test_event_cancelled_while_its_half_waits_is_not_sent():
    scheduler = make(batch_size=4)
    events = offer(scheduler, "a1", "b1", "c1", "d1")
    [batch] = scheduler.due()
    scheduler.rejected(batch)
    [half] = scheduler.due()
    scheduler.cancel(events[2])
    scheduler.accepted(half)
    assert names(scheduler.due()) == [["d1"]]


def test_half_of_cancelled_events_is_passed_over():
    scheduler = make(batch_size=4)
    events = offer(scheduler, "a1", "b1", "c1", "d1")
    [batch] = scheduler.due()
    offer(scheduler, "a2")
    scheduler.rejected(batch)
    [half] = scheduler.due()
    for event in events[2:4]:
        scheduler.cancel(event)
    scheduler.failed(half)
    assert names(scheduler.due()) == [["a2"]]


def test_rejected_batch_of_cancelled_events_ends():
    scheduler = make()
    events = offer(scheduler, "a1", "b1")
    [batch] = scheduler.due()
    for event in events:
        scheduler.cancel(event)
    assert scheduler.rejected(batch) == []
    assert scheduler.due() == []
    assert scheduler.in_flight == 0


def test_settled_event_lets_go_of_its_json():
    scheduler = make()
    accepted, *_ = offer(scheduler, "a1")
    scheduler.accepted(*scheduler.due())
    failed, *_ = offer(scheduler, "a2")
    scheduler.failed(*scheduler.due())
    offer(scheduler, "a3")
    scheduler.due()
    cancelled, *_ = offer(scheduler, "a4")
    scheduler.cancel(cancelled)
    for event in (accepted, failed, cancelled):
        assert (event.encoded, event.state) == (b"", EventState.OVER)


def test_event_cancelled_between_giving_out_and_sending_keeps_its_json():
    scheduler = make(batch_size=2)
    event, _ = offer(scheduler, "a1", "a2")
    [batch] = scheduler.due()
    scheduler.cancel(event)
    assert [event.encoded for event in batch.events] == [b"x", b"x"]


def test_cancelled_events_behind_a_live_event_are_dropped_before_they_are_many():
    scheduler = make(batch_size=1)
    offer(scheduler, "a1")
    scheduler.due()
    live, *_ = offer(scheduler, "a2")
    for number in range(1000):
        [event] = offer(scheduler, f"a{number}")
        scheduler.cancel(event)
    assert len(live.queue.waiting) < 100
    assert scheduler.pending == 1


class TestLingering:
    def test_idle_scheduler_keeps_events_until_it_is_hurried(self):
        scheduler = make(lingers=True)
        offer(scheduler, "a1")
        assert scheduler.due() == []
        assert scheduler.lingering
        offer(scheduler, "b1")
        assert names(due_in_a_hurry(scheduler)) == [["a1", "b1"]]
        assert not scheduler.lingering

    def test_full_batch_leaves_at_once(self):
        scheduler = make(lingers=True)
        offer(scheduler, "a1", "b1", "c1")
        assert names(scheduler.due()) == [["a1", "b1", "c1"]]

    def test_gathered_events_leave_when_a_batch_returns(self):
        scheduler = make(lingers=True)
        offer(scheduler, "a1", "b1", "c1")
        [batch] = scheduler.due()
        offer(scheduler, "d1")
        assert not scheduler.lingering
        scheduler.accepted(batch)
        assert names(scheduler.due()) == [["d1"]]


class TestBytes:
    """A body is the events with a comma between them, and 12 bytes around them."""

    @pytest.mark.parametrize(("limit", "size"), [(12 + 10 + 1 + 10, 2), (12 + 20, 1)])
    def test_batch_is_as_full_as_the_limit_allows(self, limit, size):
        scheduler = make(batch_size=9, batch_bytes=limit)
        offer(scheduler, "a1", "b1", "c1", encoded=b"0123456789")
        assert len(scheduler.due()[0].events) == size

    def test_batch_full_of_bytes_does_not_wait_for_another_to_return(self):
        scheduler = make(batch_size=9, batch_bytes=32)
        offer(scheduler, "a1")
        scheduler.due()
        offer(scheduler, "b1", encoded=b"0123456789")
        assert scheduler.due() == []
        offer(scheduler, "c1", encoded=b"0123456789")
        assert names(scheduler.due()) == [["b1"]]

    def test_event_over_the_limit_travels_alone(self):
        scheduler = make(batch_size=9, batch_bytes=20, max_in_flight=9, ordered=False)
        offer(scheduler, "a1")
        offer(scheduler, "a2", encoded=b"x" * 50)
        offer(scheduler, "a3", "a4")
        assert names(due_in_a_hurry(scheduler)) == [["a1"], ["a2"], ["a3", "a4"]]

    def test_bytes_of_a_cancelled_event_do_not_count(self):
        scheduler = make(batch_size=9, batch_bytes=32)
        offer(scheduler, "z1")
        scheduler.due()
        [event] = offer(scheduler, "a1", encoded=b"0123456789")
        scheduler.cancel(event)
        offer(scheduler, "b1", encoded=b"0123456789")
        assert scheduler.due() == []

    def test_bytes_of_a_channel_in_flight_count_once_it_returns(self):
        scheduler = make(batch_size=1, batch_bytes=32)
        offer(scheduler, "a1")
        [batch] = scheduler.due()
        offer(scheduler, "a2", "a3", encoded=b"0123456789")
        assert scheduler.due() == []
        scheduler.accepted(batch)
        assert names(scheduler.due()) == [["a2"]]


class TestContent:
    @pytest.mark.parametrize("status", [400, 406, 413, 422])
    def test_status_about_content_splits(self, status):
        assert is_about_content(APIError("no", status=status))

    @pytest.mark.parametrize(
        "status", [301, 401, 403, 404, 407, 408, 411, 415, 429, 431, 500, 503]
    )
    def test_status_about_the_client_does_not_split(self, status):
        assert not is_about_content(APIError("no", status=status, body="the app is disabled"))

    def test_page_of_a_firewall_with_403_splits(self):
        page = "\n<!DOCTYPE html><html>Forbidden</html>"
        assert is_about_content(APIError("no", status=403, body=page))

    def test_lost_connection_does_not_split(self):
        assert not is_about_content(HTTPError("lost"))


@pytest.mark.parametrize(
    ("options", "wants"),
    [({}, False), ({"info": ["user_count"]}, True), ({"socket_id": "1.2"}, False)],
)
@pytest.mark.parametrize("data", ["text", ',"info":"user_count"', {"info": "user_count"}])
def test_attributes_are_wanted_where_an_event_asks_for_info(options, wants, data):
    pusher = Pusher("3", "key", "secret")
    encoded = pusher.api.batch_item("a", "created", data, **options)
    other = pusher.api.batch_item("b", "created", "text")
    assert wants_attributes([Event("b1", other), Event("a1", encoded)]) is wants
