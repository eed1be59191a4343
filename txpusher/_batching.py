"""
Which events travel together, and when: events in, batches out, outcomes in.

The scheduler does no I/O and knows neither Deferreds nor a clock:
:mod:`txpusher._batch_sender` sends the batches that are due here, and reports what came
of them.

An idle scheduler gives out an event at once, unless it lingers.  While batches are in
flight, events gather: a full batch is due as soon as one more batch may be in flight, and
everything that has gathered is due when a batch has returned.  Where order matters, a
channel has events in one batch at a time: its next events wait until those have been
accepted or have failed.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import attrs

from txpusher.errors import APIError

#: Cancelled events that a queue keeps, besides as many as it has live ones.
_MOST_CANCELLED = 32

#: ``{"batch":[`` and ``]}``, less the comma that the last event does not need.
_ENVELOPE_BYTES = 11

#: More bytes than events can have.
_NO_LIMIT = 2**62

#: The statuses by which a server refuses a batch for the content of one of its events.
#: Such a batch is split until only the event at fault fails.
#:
#: * 400: Pusher's and soketi's answer to an event over a limit; soketi sends it with a 200.
#: * 406: the answer of ModSecurity and of firewalls like it to a text that they dislike.
#:   The headers of txpusher never change, so a 406 is about the body.
#: * 413: the body is too large for the server or for a proxy; half of it may not be.
#: * 422: Laravel's (Reverb's) answer to an event that does not validate.
#:
#: Not among them, because each part of the batch would be refused likewise: 401 and 404
#: (the app), 407 (the proxy), 415 and 431 (headers, which are the same in each request),
#: 429 (too fast: more requests make it worse), 5xx (the server may have acted).
CONTENT_STATUSES = frozenset({400, 406, 413, 422})


def is_about_content(error: BaseException) -> bool:
    """
    Tell whether *error* refuses a batch for the content of an event.

    A 403 does so where it brings an HTML page: a firewall wrote it.  Channels servers say
    403 in plain text or JSON, of an app that is disabled or over its quota.
    """
    if not isinstance(error, APIError):
        return False
    if error.status == 403:
        return error.body.lstrip()[:1] == "<"
    return error.status in CONTENT_STATUSES


class EventState(enum.Enum):
    """The state of one event of a scheduler."""

    #: In the queue of its channel.
    WAITING = enum.auto()
    #: Given out in a batch whose outcome is not known.
    IN_FLIGHT = enum.auto()
    #: Accepted, failed or cancelled.
    OVER = enum.auto()


_WAITING, _IN_FLIGHT, _OVER = EventState


@attrs.define(eq=False, weakref_slot=False)
class QueuedEvent:
    """
    One event, from the moment it is offered until its outcome is known.

    The caller derives a class of its own that holds what has to be told of the outcome.

    :ivar encoded: The event as JSON; empty once it is not needed any more.
    :ivar state: Where the event is.
    :ivar queue: The queue that the event entered, once it is offered.
    """

    encoded: bytes
    state: EventState = attrs.field(default=_WAITING, kw_only=True)
    queue: ChannelQueue[Any] = attrs.field(init=False)

    def end(self) -> None:
        """Let go of the JSON: the event is accepted, has failed or is cancelled."""
        self.state = _OVER
        self.encoded = b""


T = TypeVar("T", bound=QueuedEvent)


class ChannelQueue(Generic[T]):
    """
    The waiting events of one channel, or of all channels where order does not matter.

    :ivar waiting: The events, oldest first; some of them may have been cancelled.
    :ivar live: How many of them have not been cancelled.
    :ivar size: The bytes of the live events in a body, a comma after each.
    :ivar in_flight: Whether a batch with events of this channel is in flight.
    """

    __slots__ = ("in_flight", "live", "name", "size", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: deque[T] = deque()
        self.live = 0
        self.size = 0
        self.in_flight = False

    def discard(self, size: int) -> None:
        """Count a cancelled event out; drop the cancelled ones once they are too many."""
        self.live -= 1
        self.size -= size
        if not self.live:
            self.waiting.clear()
        elif len(self.waiting) > 2 * self.live + _MOST_CANCELLED:
            self.waiting = deque(event for event in self.waiting if event.state is _WAITING)

    def take_into(self, events: list[T], most: int, most_bytes: int) -> int:
        """
        Move live events to the end of *events*, as many as fit.

        :param most: The most events of a batch.
        :param most_bytes: The most bytes of a batch; its first event is taken anyway.
        :return: The bytes that the events need.
        """
        waiting = self.waiting
        before, used = len(events), 0
        while waiting and len(events) < most:
            event = waiting.popleft()
            if event.state is _WAITING:
                size = len(event.encoded) + 1
                if used + size > most_bytes and events:
                    waiting.appendleft(event)
                    break
                used += size
                event.state = _IN_FLIGHT
                events.append(event)
        self.live -= len(events) - before
        self.size -= used
        if not self.live:
            # Cancelled events know the queue, which would keep them: a cycle.
            waiting.clear()
        return used


class Batch(Generic[T]):
    """
    Events to be sent in one request, first to last.

    :ivar events: The events, none of them over when the batch was made.
    :ivar queues: The queues that wait for the batch.
    :ivar parts: The events that a split has put off until this part is settled.
    """

    __slots__ = ("events", "parts", "queues")

    def __init__(
        self, events: list[T], queues: list[ChannelQueue[T]], parts: list[list[T]]
    ) -> None:
        self.events = events
        self.queues = queues
        self.parts = parts


class Scheduler(Generic[T]):
    """
    Decides which events go out together, and when.

    :param batch_size: The most events in a batch.
    :param max_in_flight: The most batches in flight.
    :param ordered: Whether the events of a channel keep their order.
    :param batch_bytes: The most bytes of the body of a batch, or None for any number.  A
        larger event travels alone.
    :param lingers: Whether an idle scheduler keeps events that do not fill a batch, until
        :meth:`hurry` is called.
    :ivar pending: How many events wait.
    :ivar in_flight: How many batches are in flight.  A batch that was split counts as one
        until its last part is settled.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        max_in_flight: int,
        ordered: bool,
        batch_bytes: int | None = None,
        lingers: bool = False,
    ) -> None:
        self._batch_size = batch_size
        self._batch_bytes = _NO_LIMIT if batch_bytes is None else batch_bytes - _ENVELOPE_BYTES
        self._max_in_flight = max_in_flight
        self._ordered = ordered
        self._lingers = lingers
        self._queues: dict[str, ChannelQueue[T]] = {}
        #: The queues from which an event may go out, the longest waiting first.
        self._ready: OrderedDict[ChannelQueue[T], None] = OrderedDict()
        self._split: list[Batch[T]] = []
        #: Live events of the ready queues, and their bytes.
        self._available = 0
        self._available_bytes = 0
        #: Whether what has gathered is due before it fills a batch.
        self._gathered_is_due = False
        self.pending = 0
        self.in_flight = 0

    @property
    def room(self) -> int:
        """How many events could go out at once, were none of their channels in flight."""
        return (self._max_in_flight - self.in_flight) * self._batch_size

    @property
    def lingering(self) -> bool:
        """Whether events wait for nothing but more events."""
        return self._available > 0 and not self.in_flight

    def add(self, channel: str, event: T) -> None:
        """Offer an event."""
        name = channel if self._ordered else ""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = ChannelQueue(name)
        event.queue = queue
        size = len(event.encoded) + 1
        queue.waiting.append(event)
        queue.live += 1
        queue.size += size
        self.pending += 1
        if not queue.in_flight:
            self._available += 1
            self._available_bytes += size
            self._ready[queue] = None

    def cancel(self, event: T) -> None:
        """Forget an event; one in flight travels on, and its outcome is ignored."""
        if event.state is _IN_FLIGHT:
            # Its JSON stays: the batch may not have been sent yet.
            event.state = _OVER
        if event.state is _OVER:
            return
        queue, size = event.queue, len(event.encoded) + 1
        event.end()
        queue.discard(size)
        self.pending -= 1
        if not queue.in_flight:
            self._available -= 1
            self._available_bytes -= size
            if not queue.live:
                del self._ready[queue], self._queues[queue.name]

    def waiting(self) -> list[T]:
        """List the events that wait, in no particular order of their channels."""
        queues = list(self._queues.values())
        return [e for queue in queues for e in queue.waiting if e.state is _WAITING]

    def hurry(self) -> None:
        """Make everything that has gathered due, whether it fills a batch or not."""
        self._gathered_is_due = True

    def due(self) -> list[Batch[T]]:
        """Give out the batches to send now.  To be asked after each change."""
        batches, self._split = self._split, []
        while (
            self._available
            and self.in_flight < self._max_in_flight
            and (
                self._gathered_is_due
                or self._available >= self._batch_size
                or self._available_bytes > self._batch_bytes
                or not (self.in_flight or self._lingers)
            )
        ):
            self.in_flight += 1
            batches.append(self._take())
        self._gathered_is_due = False
        return batches

    def accepted(self, batch: Batch[T]) -> list[T]:
        """
        Record that the server has acted on a batch.

        :return: The events that are accepted: those that are not over.
        """
        return self._end(batch)

    def failed(self, batch: Batch[T]) -> list[T]:
        """
        Record that a batch came to nothing.

        :return: The events that fail: those that are not over.
        """
        return self._end(batch)

    def _end(self, batch: Batch[T]) -> list[T]:
        events = [event for event in batch.events if event.state is _IN_FLIGHT]
        for event in events:
            event.end()
        self._next_part(batch)
        return events

    def rejected(self, batch: Batch[T]) -> list[T]:
        """
        Record that the server refused a batch for its content, and acted on none of it.

        :return: The events that fail: the one event of a batch of one; no event of a
            larger batch, whose halves are due in its place, one after the other.
        """
        if len(batch.events) == 1:
            return self.failed(batch)
        events = [event for event in batch.events if event.state is _IN_FLIGHT]
        middle = (len(events) + 1) // 2
        batch.parts[:0] = [events[:middle], events[middle:]]
        self._next_part(batch)
        return []

    def _take(self) -> Batch[T]:
        """Make a batch of the events of the ready queues, as many as fit."""
        events: list[T] = []
        queues: list[ChannelQueue[T]] = []
        ready, most, space = self._ready, self._batch_size, self._batch_bytes
        while ready and len(events) < most:
            queue = next(iter(ready))
            live, size, before = queue.live, queue.size, len(events)
            space -= queue.take_into(events, most, space)
            if len(events) == before:
                break
            if self._ordered:
                queue.in_flight = True
                queues.append(queue)
                del ready[queue]
            else:
                live -= queue.live
                size -= queue.size
                if not queue.live:
                    del ready[queue], self._queues[queue.name]
            self._available -= live
            self._available_bytes -= size
        self.pending -= len(events)
        return Batch(events, queues, [])

    def _next_part(self, batch: Batch[T]) -> None:
        """Give out the next part of a split batch; after the last, free its channels."""
        parts = batch.parts
        while parts:
            events = [event for event in parts.pop(0) if event.state is _IN_FLIGHT]
            if events:
                self._split.append(Batch(events, batch.queues, parts))
                return
        self.in_flight -= 1
        self._gathered_is_due = True
        for queue in batch.queues:
            queue.in_flight = False
            if queue.live:
                self._available += queue.live
                self._available_bytes += queue.size
                self._ready[queue] = None
            else:
                del self._queues[queue.name]


def wants_attributes(events: Iterable[QueuedEvent]) -> bool:
    """
    Tell whether one of the *events* asked for attributes (``info``).

    Within the data of an event each quotation mark is escaped, so the member cannot be
    mistaken.
    """
    return any(b',"info":' in event.encoded for event in events)
