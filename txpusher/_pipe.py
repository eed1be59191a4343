"""
:class:`Pipe`: values from a thread to the reactor's thread, not too many at a time.
"""

from __future__ import annotations

import enum
import threading
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class PipeState(enum.Enum):
    """Whether more can come through a pipe."""

    OPEN = enum.auto()
    #: The thread has put in everything.
    ENDED = enum.auto()
    #: The reactor's side takes nothing more.
    CLOSED = enum.auto()


class Pipe(Generic[T]):
    """
    Values on their way from one thread to the reactor's, not too many at a time.

    :param limit: The most values that are on their way.
    :param reactor: The reactor.
    """

    def __init__(self, limit: int, reactor: Any) -> None:
        self._limit = limit
        self._reactor = reactor
        self._condition = threading.Condition()
        self._values: list[T] = []
        self._state = PipeState.OPEN
        self._waiter: Deferred[None] | None = None

    def put(self, value: T, seconds: float) -> bool:
        """
        Put in a value, in the thread.

        :param seconds: The most seconds to wait for a place.
        :return: Whether the value was taken.
        """
        with self._condition:
            if self._state is PipeState.OPEN and len(self._values) >= self._limit:
                self._condition.wait(seconds)
            if self._state is not PipeState.OPEN or len(self._values) >= self._limit:
                return False
            self._values.append(value)
            first = len(self._values) == 1
        if first:
            self._reactor.callFromThread(self._wake)
        return True

    @property
    def is_closed(self) -> bool:
        """Whether the reactor's side takes nothing more."""
        return self._state is PipeState.CLOSED

    def end(self) -> None:
        """Say, in the thread, that nothing more comes."""
        with self._condition:
            if self._state is PipeState.OPEN:
                self._state = PipeState.ENDED
        self._reactor.callFromThread(self._wake)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    async def get(self) -> list[T]:
        """Wait for values, in the reactor's thread; nothing comes after an empty list."""
        while True:
            with self._condition:
                values, self._values = self._values, []
                self._condition.notify_all()
                if values or self._state is not PipeState.OPEN:
                    return values
            self._waiter = Deferred()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def close(self) -> None:
        """Take nothing more, in the reactor's thread."""
        with self._condition:
            self._state = PipeState.CLOSED
            self._values.clear()
            self._condition.notify_all()
