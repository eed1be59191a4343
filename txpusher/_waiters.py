"""
:class:`Waiters`: Deferreds that wait for one outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


def own_error(error: E) -> E:
    """
    Copy *error*, for one Deferred alone.

    Python changes an exception when it is raised: each ``await`` adds its frames, with the
    values in them, so that Deferreds share none.
    """
    try:
        mine = copy(error)
    except Exception:
        # An exception of the program's, whose class takes other arguments than it keeps.
        return error
    # The class may have made its words of other arguments, and have made them once more.
    mine.args = error.args
    mine.__cause__, mine.__context__ = error.__cause__, error.__context__
    mine.__suppress_context__ = error.__suppress_context__
    return mine.with_traceback(error.__traceback__)


def without_frames(error: E) -> E:
    """
    Strip *error*, and the error behind it, of tracebacks.

    The frames of its request, with all that is in them, would be kept as long as the error.
    """
    reason = getattr(error, "original_error", None)
    if isinstance(reason, BaseException):
        reason.__traceback__ = None
    return error.with_traceback(None)


class Waiters(Generic[T]):
    """
    The Deferreds that wait for one outcome, in the order in which they came.

    The callback of one may cancel another; and it may wait anew, for another outcome.
    """

    def __init__(self) -> None:
        self._waiting: list[Deferred[T]] = []

    def add(self, waiter: Deferred[T]) -> None:
        """Let a Deferred wait, whose canceller calls :meth:`forget`."""
        self._waiting.append(waiter)

    def forget(self, waiter: Deferred[T]) -> bool:
        """
        Forget a Deferred that is cancelled.

        :return: Whether it was the last one that waited.
        """
        if waiter not in self._waiting:
            return False
        self._waiting.remove(waiter)
        return not self._waiting

    def take(self) -> Waiters[T]:
        """Return the Deferreds so far; what comes later is not for them."""
        taken: Waiters[T] = Waiters()
        taken._waiting, self._waiting = self._waiting, []
        return taken

    def drain(self) -> Iterator[Deferred[T]]:
        """Take and yield each Deferred, but for one that is cancelled before its turn."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                yield waiter

    def fire(self, value: T) -> None:
        """Fire every Deferred with *value*."""
        for waiter in self.drain():
            waiter.callback(value)

    def fail(self, error: BaseException) -> None:
        """Fail every Deferred with *error*, each with a copy of its own."""
        for waiter in self.drain():
            waiter.errback(own_error(error))
