"""The scheduling of batches: what is done with takes no memory, at once."""

import gc
import weakref

import pytest

from txpusher._batching import Ticket

from .test_batching import make, names, offer


def test_a_lane_is_not_gone_through_for_every_event_that_is_cancelled():
    scheduler = make(batch_size=1)
    offer(scheduler, "a1")
    scheduler.due()
    lane = scheduler._lanes["a"]
    tickets = offer(scheduler, *(f"a{number}" for number in range(100)))
    lengths = []
    kept = lane.waiting
    for ticket in tickets[:-1]:
        scheduler.cancel(ticket)
        if lane.waiting is not kept:
            kept = lane.waiting
            lengths.append(len(kept))
    # Once, when far more than half of them were cancelled.
    assert lengths == [33]


def test_a_waiting_event_has_no_dict():
    scheduler = make()
    ticket = Ticket(b"x")
    scheduler.add("a", ticket)
    assert not hasattr(ticket, "__dict__")
    assert not hasattr(scheduler._lanes["a"], "__dict__")
    [batch] = scheduler.due()
    assert batch.tickets == [ticket]
    assert not hasattr(batch, "__dict__")


@pytest.fixture
def no_collector():
    """What is in a cycle stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("sent", [True, False])
def test_what_is_cancelled_is_freed_with_the_last_of_its_lane(no_collector, ordered, sent):
    scheduler = make(batch_size=1, ordered=ordered)
    offer(scheduler, "z1")
    scheduler.due()
    last, *tickets = offer(scheduler, "a1", "a2", "a3")
    for ticket in tickets:
        scheduler.cancel(ticket)
    cancelled = [weakref.ref(ticket) for ticket in tickets]
    del ticket, tickets
    assert all(ticket() for ticket in cancelled)
    if sent:
        scheduler.due(hurry=True)
        assert not last.waiting
    else:
        scheduler.cancel(last)
    assert not any(ticket() for ticket in cancelled)


@pytest.mark.parametrize("outcome", ["accepted", "failed"])
def test_what_is_settled_holds_its_event_no_longer(outcome):
    scheduler = make(batch_size=2)
    tickets = offer(scheduler, "a1", "b1")
    [batch] = scheduler.due()
    assert [ticket.item for ticket in tickets] == [b"x", b"x"]
    getattr(scheduler, outcome)(batch)
    assert [(ticket.item, ticket.live) for ticket in tickets] == [(b"", False)] * 2


def test_what_is_cancelled_before_it_goes_out_holds_its_event_no_longer():
    scheduler = make(batch_size=2)
    ticket, *_ = offer(scheduler, "a1", "a2", "a3")
    scheduler.cancel(ticket)
    assert (ticket.item, ticket.live, ticket.waiting) == (b"", False, True)
    assert names(scheduler.due()) == [["a2", "a3"]]


def test_what_is_cancelled_on_its_way_is_still_to_be_sent():
    """It is given out before its request is built."""
    scheduler = make(batch_size=2)
    ticket, _ = offer(scheduler, "a1", "a2")
    [batch] = scheduler.due()
    scheduler.cancel(ticket)
    assert [ticket.item for ticket in batch.tickets] == [b"x", b"x"]


def test_a_channel_that_is_done_with_takes_no_memory():
    scheduler = make()
    for number in range(100):
        [ticket] = offer(scheduler, f"{chr(200 + number)}1")
        [batch] = scheduler.due()
        if number % 2:
            scheduler.cancel(ticket)
        scheduler.accepted(batch)
    assert scheduler._lanes == {}


def test_a_channel_whose_waiting_events_are_cancelled_takes_no_memory():
    scheduler = make(batch_size=1, max_in_flight=1)
    offer(scheduler, "a1")
    scheduler.due()
    for number in range(100):
        [ticket] = offer(scheduler, f"{chr(200 + number)}1")
        scheduler.cancel(ticket)
    assert list(scheduler._lanes) == ["a"]
    assert not scheduler._open


def test_cancelled_events_that_wait_behind_a_live_one_take_no_memory():
    scheduler = make(batch_size=1)
    offer(scheduler, "a1")
    [first] = scheduler.due()
    offer(scheduler, "a2")
    for number in range(1000):
        [ticket] = offer(scheduler, f"a{number}")
        scheduler.cancel(ticket)
    offer(scheduler, "a3")
    assert len(scheduler._lanes["a"].waiting) < 100
    sent = []
    scheduler.accepted(first)
    while batches := scheduler.due():
        sent += names(batches)
        for batch in batches:
            scheduler.accepted(batch)
    assert sent == [["a2"], ["a3"]]
