"""
The scheduling of batches: which events go out together, and when.

That no event is lost, whatever happens, is for test_batching_model to see to.
"""

from txpusher._batching import Scheduler, Ticket


class Event(Ticket):
    """An event with a name to know it by."""

    def __init__(self, name):
        super().__init__(b"x")
        self.tag = name


def make(batch_size=3, max_in_flight=2, ordered=True):
    return Scheduler(batch_size=batch_size, max_in_flight=max_in_flight, ordered=ordered)


def offer(scheduler, *events):
    """Offer events written as channel and number: "a1"."""
    tickets = [Event(event) for event in events]
    for ticket in tickets:
        scheduler.add(ticket.tag[0], ticket)
    return tickets


def names(batches):
    return [[ticket.tag for ticket in batch.tickets] for batch in batches]


def test_an_idle_scheduler_gives_an_event_out_at_once():
    scheduler = make()
    offer(scheduler, "a1")
    assert names(scheduler.due()) == [["a1"]]


def test_events_gather_while_a_batch_is_on_its_way():
    scheduler = make()
    offer(scheduler, "a1")
    [first] = scheduler.due()
    offer(scheduler, "b1", "c1")
    assert scheduler.due() == []
    scheduler.accepted(first)
    assert names(scheduler.due()) == [["b1", "c1"]]


def test_a_full_batch_does_not_wait_for_one_to_come_back():
    scheduler = make()
    offer(scheduler, "a1")
    scheduler.due()
    offer(scheduler, "b1", "c1", "d1")
    assert names(scheduler.due()) == [["b1", "c1", "d1"]]


def test_no_more_batches_than_allowed_are_on_their_way():
    scheduler = make(batch_size=1, max_in_flight=2)
    offer(scheduler, "a1", "b1", "c1")
    assert names(scheduler.due()) == [["a1"], ["b1"]]
    assert scheduler.pending == 1


def test_an_idle_scheduler_gives_out_one_batch_that_is_not_full():
    scheduler = make(batch_size=2, ordered=False)
    offer(scheduler, "a1", "a2", "a3")
    assert names(scheduler.due()) == [["a1", "a2"]]


def test_what_has_gathered_leaves_when_one_of_several_batches_comes_back():
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


def test_one_that_comes_back_takes_the_rest_over_full_batches_along():
    scheduler = make(batch_size=2, max_in_flight=3, ordered=False)
    offer(scheduler, "a1")
    [first] = scheduler.due()
    scheduler.accepted(first)
    offer(scheduler, "a2", "a3", "a4")
    assert names(scheduler.due()) == [["a2", "a3"], ["a4"]]


def test_one_that_comes_back_while_nothing_waits_makes_nothing_leave_later():
    scheduler = make(batch_size=3, max_in_flight=3)
    offer(scheduler, "a1")
    [first] = scheduler.due()
    offer(scheduler, "b1", "c1", "d1")
    scheduler.due()
    scheduler.accepted(first)
    assert scheduler.due() == []
    offer(scheduler, "e1")
    assert scheduler.due() == []


def test_in_a_hurry_what_has_gathered_leaves_before_it_is_a_full_batch():
    scheduler = make(batch_size=3, max_in_flight=3)
    offer(scheduler, "a1")
    scheduler.due()
    offer(scheduler, "a2", "b1")
    assert scheduler.due() == []
    assert names(scheduler.due(hurry=True)) == [["b1"]]
    assert scheduler.due(hurry=True) == []


def test_nor_does_a_hurry_make_more_batches_than_allowed():
    scheduler = make(batch_size=2, max_in_flight=2, ordered=False)
    offer(scheduler, "a1", "a2", "a3", "a4", "a5")
    assert names(scheduler.due(hurry=True)) == [["a1", "a2"], ["a3", "a4"]]
    assert scheduler.due(hurry=True) == []


def test_there_is_room_for_what_could_go_out_at_once():
    scheduler = make(batch_size=3, max_in_flight=2)
    assert scheduler.room == 6
    offer(scheduler, "a1")
    [batch] = scheduler.due()
    assert scheduler.room == 3
    scheduler.failed(batch)
    assert scheduler.room == 6


def test_events_of_a_channel_wait_for_those_before_them():
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


def test_unordered_events_of_all_channels_go_out_in_one_order():
    scheduler = make(batch_size=2, max_in_flight=4, ordered=False)
    offer(scheduler, "a1", "b1", "a2", "b2", "c1", "a3")
    assert names(scheduler.due()) == [["a1", "b1"], ["a2", "b2"], ["c1", "a3"]]


def test_a_rejected_batch_is_halved_until_only_the_culprit_fails():
    scheduler = make(batch_size=4)
    offer(scheduler, "a1", "a2", "a3", "b1")
    outcome = {"accepted": [], "failed": []}
    sent = []
    while batches := scheduler.due():
        [batch] = batches
        sent.append([ticket.tag for ticket in batch.tickets])
        if "a3" in sent[-1]:
            outcome["failed"] += [ticket.tag for ticket in scheduler.rejected(batch)]
        else:
            outcome["accepted"] += [ticket.tag for _, ticket in scheduler.accepted(batch)]
    assert sent == [["a1", "a2", "a3", "b1"], ["a1", "a2"], ["a3", "b1"], ["a3"], ["b1"]]
    assert outcome == {"accepted": ["a1", "a2", "b1"], "failed": ["a3"]}


def test_a_split_keeps_its_channels_closed_until_it_is_done():
    scheduler = make(batch_size=2)
    offer(scheduler, "a1", "a2", "a3")
    [batch] = scheduler.due()
    scheduler.rejected(batch)
    [half] = scheduler.due()
    assert names([half]) == [["a1"]]
    scheduler.accepted(half)
    assert names(scheduler.due()) == [["a2"]]


def test_any_other_failure_is_that_of_every_event():
    scheduler = make()
    offer(scheduler, "a1", "b1", "c1")
    [batch] = scheduler.due()
    assert [ticket.tag for ticket in scheduler.failed(batch)] == ["a1", "b1", "c1"]
    assert scheduler.in_flight == 0


def test_a_cancelled_event_does_not_go_out():
    scheduler = make()
    tickets = offer(scheduler, "a1", "a2", "b1")
    scheduler.cancel(tickets[1])
    assert names(scheduler.due()) == [["a1", "b1"]]
    assert scheduler.pending == 0


def test_cancelling_twice_counts_once():
    scheduler = make()
    [ticket] = offer(scheduler, "a1")
    scheduler.cancel(ticket)
    scheduler.cancel(ticket)
    assert scheduler.pending == 0
    offer(scheduler, "a2")
    assert names(scheduler.due()) == [["a2"]]


def test_cancelling_in_flight_leaves_the_companions_alone():
    scheduler = make()
    tickets = offer(scheduler, "a1", "b1")
    [batch] = scheduler.due()
    scheduler.cancel(tickets[0])
    assert [(place, ticket.tag) for place, ticket in scheduler.accepted(batch)] == [(1, "b1")]


def test_an_event_cancelled_in_flight_is_left_out_of_the_split():
    scheduler = make()
    tickets = offer(scheduler, "a1", "b1", "c1")
    [batch] = scheduler.due()
    scheduler.cancel(tickets[0])
    scheduler.rejected(batch)
    assert names(scheduler.due()) == [["b1"]]


def test_an_innocent_event_does_not_fail_for_a_culprit_that_was_cancelled():
    scheduler = make()
    culprit, _ = offer(scheduler, "a1", "b1")
    [batch] = scheduler.due()
    scheduler.cancel(culprit)
    assert scheduler.rejected(batch) == []
    [alone] = scheduler.due()
    assert names([alone]) == [["b1"]]
    assert [ticket.tag for _, ticket in scheduler.accepted(alone)] == ["b1"]
    assert scheduler.in_flight == 0


def test_a_culprit_that_is_cancelled_alone_in_its_batch_ends_it():
    scheduler = make()
    [culprit] = offer(scheduler, "a1")
    [batch] = scheduler.due()
    scheduler.cancel(culprit)
    assert scheduler.rejected(batch) == []
    assert scheduler.due() == []
    assert scheduler.in_flight == 0


def test_what_is_left_of_a_batch_is_halved():
    scheduler = make(batch_size=4)
    tickets = offer(scheduler, "a1", "b1", "c1", "d1")
    [batch] = scheduler.due()
    for ticket in tickets[:2]:
        scheduler.cancel(ticket)
    scheduler.rejected(batch)
    assert names(scheduler.due()) == [["c1"]]


def test_one_cancelled_while_its_half_waits_is_not_sent():
    scheduler = make(batch_size=4)
    tickets = offer(scheduler, "a1", "b1", "c1", "d1")
    [batch] = scheduler.due()
    scheduler.rejected(batch)
    [half] = scheduler.due()
    scheduler.cancel(tickets[2])
    scheduler.accepted(half)
    assert names(scheduler.due()) == [["d1"]]


def test_a_half_of_which_all_are_cancelled_is_passed_over():
    scheduler = make(batch_size=4)
    tickets = offer(scheduler, "a1", "b1", "c1", "d1")
    [batch] = scheduler.due()
    offer(scheduler, "a2")
    scheduler.rejected(batch)
    [half] = scheduler.due()
    for ticket in tickets[2:4]:
        scheduler.cancel(ticket)
    scheduler.failed(half)
    assert names(scheduler.due()) == [["a2"]]


def test_a_rejected_batch_of_cancelled_events_ends():
    scheduler = make()
    tickets = offer(scheduler, "a1", "b1")
    [batch] = scheduler.due()
    for ticket in tickets:
        scheduler.cancel(ticket)
    assert scheduler.rejected(batch) == []
    assert scheduler.due() == []
    assert scheduler.in_flight == 0
