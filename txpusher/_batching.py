"""
Which events travel together, and when: events in, batches out, outcomes in.

No I/O, no Deferred, no clock: :mod:`txpusher.publisher` sends what is due here
and says what came of it.

An idle scheduler gives an event out at once.  While batches are on their way,
events gather: a full batch is due as soon as there is room for one more, what
has gathered is due when a batch has come back.  Where order matters, a channel
with events on their way has a closed lane: its next events wait until those
have been accepted or have failed.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

#: Cancelled events that a lane keeps, besides as many as it has live ones.
_MOST_CANCELLED = 32


class Ticket:
    """
    One event, from when it is offered until its outcome is known.

    The caller's own class, derived from this one, holds what it has to know.

    :param item: The event as JSON.
    :ivar item: The same, empty once it is not needed any more.
    :ivar live: False once the event is settled or cancelled.
    :ivar waiting: False once the event has gone out in a batch.
    """

    __slots__ = ("_lane", "item", "live", "waiting")

    _lane: _Lane[Any]

    def __init__(self, item: bytes) -> None:
        self.item = item
        self.live = True
        self.waiting = True


T = TypeVar("T", bound=Ticket)


class _Lane(Generic[T]):
    """The waiting events of one channel, or of all where order does not matter."""

    __slots__ = ("closed", "count", "name", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: deque[T] = deque()
        #: How many of them are live.
        self.count = 0
        self.closed = False


class Batch(Generic[T]):
    """
    Events to be sent in one request, first to last.

    :ivar tickets: The events, all live when the batch was made.
    """

    __slots__ = ("_lanes", "_rest", "tickets")

    def __init__(self, tickets: list[T], lanes: list[_Lane[T]], rest: list[list[T]]) -> None:
        self.tickets = tickets
        self._lanes = lanes
        # What a split has put off until this part is settled.
        self._rest = rest


class Scheduler(Generic[T]):
    """
    :param batch_size: The most events in a batch.
    :param max_in_flight: The most batches on their way.
    :param ordered: Whether the events of a channel keep their order.
    :ivar pending: Events that wait.
    :ivar in_flight: Batches on their way, those whose split goes on included.
    """

    def __init__(self, *, batch_size: int, max_in_flight: int, ordered: bool) -> None:
        self._batch_size = batch_size
        self._max_in_flight = max_in_flight
        self._ordered = ordered
        self._lanes: dict[str, _Lane[T]] = {}
        #: Those that are open and have something to give.
        self._open: OrderedDict[_Lane[T], None] = OrderedDict()
        self._split: list[Batch[T]] = []
        #: Waiting events whose lane is open.
        self._available = 0
        self._one_came_back = False
        self.pending = 0
        self.in_flight = 0

    @property
    def room(self) -> int:
        """How many events could go out at once."""
        return (self._max_in_flight - self.in_flight) * self._batch_size

    def add(self, channel: str, ticket: T) -> None:
        """Offer an event."""
        name = channel if self._ordered else ""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(name)
        ticket._lane = lane
        lane.waiting.append(ticket)
        lane.count += 1
        self.pending += 1
        if not lane.closed:
            self._available += 1
            self._open[lane] = None

    def cancel(self, ticket: T) -> None:
        """Forget an event; one on its way travels on, its outcome ignored."""
        if not ticket.live:
            return
        ticket.live = False
        if not ticket.waiting:
            return
        lane = ticket._lane
        lane.count -= 1
        self.pending -= 1
        ticket.item = b""
        if not lane.closed:
            self._available -= 1
            if not lane.count:
                del self._open[lane], self._lanes[lane.name]
        if not lane.count:
            lane.waiting.clear()
        elif len(lane.waiting) > 2 * lane.count + _MOST_CANCELLED:
            lane.waiting = deque(one for one in lane.waiting if one.live)

    def due(self, *, hurry: bool = False) -> list[Batch[T]]:
        """
        The batches to send now.  To be asked after each change.

        :param hurry: Whether what has gathered is due before it is a full batch.
        """
        batches, self._split = self._split, []
        size = self._batch_size
        while (
            self._available
            and self.in_flight < self._max_in_flight
            and (hurry or self._available >= size or not self.in_flight or self._one_came_back)
        ):
            self.in_flight += 1
            batches.append(self._take(size))
        self._one_came_back = False
        return batches

    def accepted(self, batch: Batch[T]) -> list[tuple[int, T]]:
        """The server has acted on a batch: its live events, each with its place in it."""
        settled = [entry for entry in enumerate(batch.tickets) if entry[1].live]
        self._settle(ticket for _, ticket in settled)
        self._go_on(batch)
        return settled

    def failed(self, batch: Batch[T]) -> list[T]:
        """A batch came to nothing: the events that fail."""
        failed = [ticket for ticket in batch.tickets if ticket.live]
        self._settle(failed)
        self._go_on(batch)
        return failed

    def rejected(self, batch: Batch[T]) -> list[T]:
        """
        The server refused a batch for what is in it, and acted on none of it.

        :return: The events that fail: the one of a batch of one; none of a
            larger batch, whose halves are due in its place, one after the other.
        """
        tickets = [ticket for ticket in batch.tickets if ticket.live]
        if len(batch.tickets) == 1:
            return self.failed(batch)
        middle = (len(tickets) + 1) // 2
        batch._rest[:0] = [tickets[:middle], tickets[middle:]]
        self._go_on(batch)
        return []

    def _take(self, size: int) -> Batch[T]:
        tickets: list[T] = []
        lanes: list[_Lane[T]] = []
        while len(tickets) < size and self._open:
            lane = next(iter(self._open))
            self._take_from(lane, size - len(tickets), tickets)
            if self._ordered:
                lane.closed = True
                self._available -= lane.count
                lanes.append(lane)
                del self._open[lane]
            elif not lane.count:
                del self._open[lane], self._lanes[lane.name]
        return Batch(tickets, lanes, [])

    def _take_from(self, lane: _Lane[T], room: int, tickets: list[T]) -> None:
        waiting = lane.waiting
        taken = 0
        while waiting and taken < room:
            ticket = waiting.popleft()
            if ticket.live:
                ticket.waiting = False
                tickets.append(ticket)
                taken += 1
        lane.count -= taken
        if not lane.count:
            # What is cancelled knows the lane: a cycle, were it to stay.
            waiting.clear()
        self.pending -= taken
        self._available -= taken

    def _settle(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            ticket.live = False
            ticket.item = b""

    def _go_on(self, batch: Batch[T]) -> None:
        """Give out the next part of a split batch; after the last, open its lanes."""
        rest = batch._rest
        while rest:
            tickets = [ticket for ticket in rest.pop(0) if ticket.live]
            if tickets:
                self._split.append(Batch(tickets, batch._lanes, rest))
                return
        self.in_flight -= 1
        self._one_came_back = True
        for lane in batch._lanes:
            lane.closed = False
            if lane.count:
                self._available += lane.count
                self._open[lane] = None
            else:
                del self._lanes[lane.name]
