"""The scheduling of batches: whatever the order of outcomes, no event is lost,
none goes out twice, none overtakes another of its channel, no limit is passed."""

from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_a_rejected_batch_of_cancelled_events_ends():
    scheduler = make()
    tickets = offer(scheduler, "a1", "b1")
    [batch] = scheduler.due()
    for ticket in tickets:
        scheduler.cancel(ticket)
    assert scheduler.rejected(batch) == []
    assert scheduler.due() == []
    assert scheduler.in_flight == 0


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


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcd")),
        st.tuples(st.sampled_from(["accept", "fail", "reject", "cancel"]), st.integers(0, 99)),
    ),
    max_size=120,
)


class Model:
    """Drives a scheduler, and checks after each step what must always hold."""

    def __init__(self, batch_size, max_in_flight, ordered):
        self.scheduler = make(batch_size, max_in_flight, ordered)
        self.batch_size = batch_size
        self.max_in_flight = max_in_flight
        self.ordered = ordered
        self.tickets = []
        self.flying = []
        self.settled = []
        self.cancelled = []

    def step(self, action, argument):
        if action == "add":
            self.tickets += offer(self.scheduler, (argument, len(self.tickets)))
        elif action == "cancel" and self.tickets:
            ticket = self.tickets[argument % len(self.tickets)]
            if ticket.live:
                self.cancelled.append(ticket.tag)
            self.scheduler.cancel(ticket)
        elif self.flying and action != "cancel":
            self.end(self.flying.pop(argument % len(self.flying)), action)
        self.send()

    def end(self, batch, action):
        if action == "accept":
            ended = [ticket for _, ticket in self.scheduler.accepted(batch)]
        elif action == "fail":
            ended = self.scheduler.failed(batch)
        else:
            ended = self.scheduler.rejected(batch)
            assert len(ended) <= 1
        self.settled += [ticket.tag for ticket in ended]

    def send(self):
        for batch in self.scheduler.due():
            assert 1 <= len(batch.tickets) <= self.batch_size
            assert all(ticket.live and ticket.item for ticket in batch.tickets)
            self.flying.append(batch)
        assert len(self.flying) == self.scheduler.in_flight <= self.max_in_flight
        self.check_order()

    def check_order(self):
        if not self.ordered:
            return
        channels = [{ticket.tag[0] for ticket in batch.tickets} for batch in self.flying]
        together = [name for batch in channels for name in batch]
        assert len(together) == len(set(together)), "a channel is in two batches at once"
        for batch in self.flying:
            for name in "abcd":
                numbers = [tag.tag[1] for tag in batch.tickets if tag.tag[0] == name]
                assert numbers == sorted(numbers)


@given(
    steps=STEPS,
    batch_size=st.integers(1, 4),
    max_in_flight=st.integers(1, 3),
    ordered=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_nothing_is_lost_doubled_or_overtaken(steps, batch_size, max_in_flight, ordered):
    model = Model(batch_size, max_in_flight, ordered)
    for step in steps:
        model.step(*step)
    while model.flying:
        model.step("accept", 0)

    assert model.scheduler.pending == model.scheduler.in_flight == 0
    offered = [ticket.tag for ticket in model.tickets]
    assert sorted(model.settled + model.cancelled) == sorted(offered)
    if ordered:
        for name in "abcd":
            numbers = [number for channel, number in model.settled if channel == name]
            assert numbers == sorted(numbers)
    assert not model.scheduler._lanes
    assert not model.scheduler._open
