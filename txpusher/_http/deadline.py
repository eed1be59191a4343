"""
Deadlines that do not run while the reactor stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import Clock

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

#: In how many slices a deadline runs.
_SLICES = 4

#: Seconds that a timer may be late without being taken for late.
_TOLERANCE = 0.05


class PatientClock:
    """
    A reactor, and whether it can stand still, for :class:`Deadline`.

    A ``Clock`` is no reactor: it jumps, and whoever advances it means it.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        can_stand_still = IReactorCore.providedBy(reactor) and not isinstance(reactor, Clock)
        self.slices = _SLICES if can_stand_still else 1
        self.graces = _SLICES if can_stand_still else 0

    def callLater(self, seconds: float, function: Callable[[], object]) -> Deadline:
        """Call *function* at the end of a deadline, for ``Deferred.addTimeout``."""
        return Deadline(self, seconds, function)


class Deadline:
    """
    Calls a function once the reactor has run for a number of seconds.

    Time passes without the reactor: SIGSTOP, a laptop asleep, a long computation in a
    callback.  A plain timer is then overdue, and would fail a request that has just begun, or
    one whose reply lies in the socket: timers are called before sockets are read.  So the
    deadline runs in slices.  A slice in which the reactor stood still runs again, and a late
    last slice leaves the reactor time to read.  Both are bounded, so that the deadline
    comes under a reactor that is always late, too.

    :param expired: Called at the end, unless :meth:`cancel` is called before.
    """

    __slots__ = ("_call", "_expired", "_graces", "_reactor", "_remaining", "_slice")

    def __init__(
        self, clock: PatientClock, seconds: float, expired: Callable[[], object]
    ) -> None:
        self._reactor = clock.reactor
        self._expired = expired
        self._slice = seconds / clock.slices
        self._remaining = clock.slices - 1
        self._graces = clock.graces
        self._call: IDelayedCall = self._reactor.callLater(self._slice, self._slice_over)

    def active(self) -> bool:
        """Return whether the function is still to be called."""
        return self._call.active() != 0

    def cancel(self) -> None:
        """Never call the function, where it has not been called yet."""
        if self._call.active():
            self._call.cancel()

    def _slice_over(self) -> None:
        late = self._reactor.seconds() - self._call.getTime()
        seconds = self._slice
        if self._graces and late > self._slice:
            self._graces -= 1
        elif self._remaining:
            self._remaining -= 1
        elif self._graces and late > _TOLERANCE:
            self._graces = 0
            seconds = late
        else:
            self._expired()
            return
        self._call = self._reactor.callLater(seconds, self._slice_over)
