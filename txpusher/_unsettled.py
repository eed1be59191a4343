"""
Events whose outcome is not known yet: each one, and how many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed

from txpusher._batching import QueuedEvent
from txpusher._interfaces import ReactorClock
from txpusher._waiters import own_error
from txpusher.errors import PusherError

Reply = dict[str, Any]


class Count:
    """A number that events share."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


@attrs.define(eq=False, weakref_slot=False)
class SentEvent(QueuedEvent):
    """
    One event that a :class:`BatchSender` sends.

    :ivar count: The number of unsettled events that the event is one of, once it is taken.
    :ivar maybe_delivered: Whether a batch that was split may have been acted on.
    """

    maybe_delivered: bool = attrs.field(default=False, kw_only=True)
    count: Count = attrs.field(init=False)

    def accept(self, reply: Reply) -> None:
        """Tell that the server has accepted the event; to be defined by the derived class."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """Tell that the event has failed; to be defined by the derived class."""
        raise NotImplementedError

    def own(self, error: BaseException) -> BaseException:
        """Copy the error of a batch, as the error of this event alone."""
        mine = own_error(error)
        if isinstance(mine, PusherError):
            mine.maybe_delivered |= self.maybe_delivered
        return mine


class _Flush:
    """
    One call of :meth:`Unsettled.flush`, until its events are settled.

    :ivar count: How many of the events are unsettled that came after the flush before.
    :ivar flushed: Fires with the number of events that are unsettled then.
    """

    def __init__(self, count: Count) -> None:
        self.count = count
        self.flushed: Deferred[int] = Deferred()

    def fire(self, unsettled: int) -> None:
        """Fire the Deferred, unless the time was up before."""
        if not self.flushed.called:
            self.flushed.callback(unsettled)


class Unsettled:
    """
    Counts unsettled events, and tells whoever waits for those up to a moment.

    Each event knows the count of its time, so that settling an event costs no look-up.

    :ivar latest: How many events since the last flush are unsettled: the count of an event
        that is taken now.
    """

    def __init__(self) -> None:
        self.latest = Count()
        self._flushes: deque[_Flush] = deque()

    @property
    def total(self) -> int:
        """How many events have neither been accepted nor failed."""
        return self.latest.value + sum(flush.count.value for flush in self._flushes)

    @property
    def is_awaited(self) -> bool:
        """Whether a flush waits, whose caller will be told what is unsettled."""
        return any(not flush.flushed.called for flush in self._flushes)

    def flush(
        self, timeout: float | None, reactor: Callable[[], ReactorClock]
    ) -> Deferred[int]:
        """
        Wait for the events so far.

        :param timeout: The most seconds to wait, or None.
        :param reactor: Looks up the clock, where there is a time to wait.
        :return: A Deferred that fires with how many of the events are unsettled.
        """
        if not self.total and not self.is_awaited:
            return succeed(0)
        flush = _Flush(self.latest)
        self.latest = Count()
        self._flushes.append(flush)
        if timeout == 0:
            self._give_up(flush)
        elif timeout is not None:
            call = reactor().callLater(timeout, self._give_up, flush)
            flush.flushed.addBoth(_cancelling(call))
        return flush.flushed

    def _give_up(self, flush: _Flush) -> None:
        unsettled = 0
        for earlier in self._flushes:
            unsettled += earlier.count.value
            if earlier is flush:
                break
        flush.fire(unsettled)

    def fire_flushes(self) -> None:
        """Tell whoever waits for events that are all settled, the first first."""
        while self._flushes and not self._flushes[0].count.value:
            self._flushes.popleft().fire(0)


def _cancelling(call: Any) -> Callable[[Any], Any]:
    """Make a callback that cancels *call* and passes on its result."""

    def cancel(result: Any) -> Any:
        if call.active():
            call.cancel()
        return result

    return cancel
