"""
The scheduling of batches, whatever the order of outcomes.

No event is lost, none goes out twice, none overtakes another of its channel, none
fails for another, no limit is passed, none waits that could go out.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from txpusher._batching import EventState, QueuedEvent, Scheduler

CHANNELS = "abcd"


class Event(QueuedEvent):
    """An event with a channel and a number, which the server takes or does not."""

    def __init__(self, channel, number, culprit):
        super().__init__(b"x")
        self.channel = channel
        self.number = number
        self.culprit = culprit
        #: What has become of it, in order; in the end one thing.
        self.ends = []


ADD = st.tuples(
    st.just("add"),
    st.lists(
        st.tuples(st.sampled_from(CHANNELS), st.sampled_from([False, False, True])),
        min_size=1,
        max_size=6,
    ),
)
ONE_OF_THEM = st.integers(0, 99)
ANSWER = st.tuples(st.sampled_from(["answer", "answer", "answer", "fail"]), ONE_OF_THEM)
#: Anything that is not settled, what is on its way, what is behind a part on its way.
CANCEL = st.tuples(
    st.sampled_from(["cancel", "cancel out", "cancel behind", "cancel behind"]), ONE_OF_THEM
)
STEPS = st.lists(
    st.tuples(st.one_of(ADD, ANSWER, ANSWER, CANCEL), st.booleans()), min_size=10, max_size=80
)


class Model:
    """Drives a scheduler, and checks after each step what must always hold."""

    def __init__(self, batch_size, max_in_flight, ordered):
        self.scheduler = Scheduler(
            batch_size=batch_size, max_in_flight=max_in_flight, ordered=ordered
        )
        self.batch_size = batch_size
        self.max_in_flight = max_in_flight
        self.ordered = ordered
        self.events = []
        #: Each batch on its way with the events of the one that it is a part of.
        self.flying = []
        #: Those of a batch of which the next part is due.
        self.split = None
        self.acted_on = []

    def step(self, action, *arguments, hurry=False):
        came_back = False
        if action == "add":
            self.add(*arguments)
        elif action.startswith("cancel"):
            self.cancel(action, *arguments)
        elif self.flying:
            came_back = self.end(action, *arguments)
        self.send(hurry, came_back)

    def add(self, events):
        for channel, culprit in events:
            event = Event(channel, len(self.events), culprit)
            self.events.append(event)
            self.scheduler.add(channel, event)

    def cancel(self, action, number):
        events = [event for event in self.events if not event.ends]
        if action != "cancel":
            events = [event for event in events if event.state is not EventState.WAITING]
        if action == "cancel behind":
            flying = {event for batch, _ in self.flying for event in batch.events}
            events = [event for event in events if event not in flying]
        if events:
            event = events[number % len(events)]
            event.ends.append("cancelled")
            self.scheduler.cancel(event)

    def end(self, action, number):
        """A batch comes back: refused exactly where a culprit is in it, cancelled or not."""
        batch, whole = self.flying.pop(number % len(self.flying))
        before = self.scheduler.in_flight
        if action == "fail":
            ended = self.scheduler.failed(batch)
        elif any(event.culprit for event in batch.events):
            ended = self.scheduler.rejected(batch)
            assert all(event.culprit and len(batch.events) == 1 for event in ended)
        else:
            self.acted_on += batch.events
            ended = self.scheduler.accepted(batch)
            assert ended == [event for event in batch.events if event in ended]
        for event in ended:
            event.ends.append("failed" if action == "fail" else "answered")
            assert event.encoded == b""
        came_back = self.scheduler.in_flight < before
        self.split = None if came_back else whole
        return came_back

    def send(self, hurry, came_back):
        if hurry:
            self.scheduler.hurry()
        for batch in self.scheduler.due():
            # What is no full batch waits for more to come, while there is time.
            full = len(batch.events) == self.batch_size
            assert full or hurry or came_back or self.split or not self.flying
            assert len(batch.events) <= self.batch_size
            assert not any(event.ends for event in batch.events)
            if self.split is not None:
                # It comes before what is new.
                assert set(batch.events) < set(self.split)
            self.flying.append((batch, self.split or batch.events))
            self.split = None
        assert self.split is None
        self.check_those_on_their_way()
        self.check_those_that_wait(hurry, came_back)

    def check_those_on_their_way(self):
        assert len(self.flying) == self.scheduler.in_flight <= self.max_in_flight
        room = (self.max_in_flight - len(self.flying)) * self.batch_size
        assert self.scheduler.room == room
        for batch, _ in self.flying:
            assert batch.events
            assert not any(event.state is EventState.WAITING for event in batch.events)
            assert all(event.encoded == b"x" for event in batch.events)
        if self.ordered:
            closed = [{event.channel for event in whole} for _, whole in self.flying]
            together = [channel for channels in closed for channel in channels]
            assert len(together) == len(set(together)), "a channel is in two batches at once"

    def check_those_that_wait(self, hurry, came_back):
        waiting = [event for event in self.events if event.state is EventState.WAITING]
        assert self.scheduler.pending == len(waiting)
        closed = {event.channel for _, whole in self.flying for event in whole}
        free = [event for event in waiting if not (self.ordered and event.channel in closed)]
        if free and len(self.flying) < self.max_in_flight:
            assert self.flying
            assert not hurry
            assert not came_back
            assert len(free) < self.batch_size


@given(
    steps=STEPS,
    batch_size=st.integers(1, 7),
    max_in_flight=st.integers(1, 3),
    ordered=st.booleans(),
)
@settings(max_examples=400)
def test_no_event_is_lost_doubled_or_overtaken(steps, batch_size, max_in_flight, ordered):
    model = Model(batch_size, max_in_flight, ordered)
    for step, hurry in steps:
        model.step(*step, hurry=hurry)
    while model.flying:
        model.step("answer", 0)

    assert model.scheduler.pending == model.scheduler.in_flight == 0
    for event in model.events:
        assert len(event.ends) == 1
        # Whoever is told of an answer was refused where it was the culprit.
        acted_on = event in model.acted_on
        if event.ends == ["answered"]:
            assert acted_on is not event.culprit
        elif event.ends == ["failed"]:
            assert not acted_on
    check_order(model)


def check_order(model):
    """The server acts on each event once, and on those of a channel in order."""
    numbers = [event.number for event in model.acted_on]
    assert len(numbers) == len(set(numbers))
    if model.ordered:
        for channel in CHANNELS:
            own = [event.number for event in model.acted_on if event.channel == channel]
            assert own == sorted(own)
