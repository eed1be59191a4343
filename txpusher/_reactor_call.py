"""
:class:`Call`: one function that a thread has called in the reactor's thread.
"""

from __future__ import annotations

import enum
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python import threadable
from twisted.python.failure import Failure

from txpusher.errors import ClosedError

T = TypeVar("T")

#: Seconds between two looks whether the reactor is still there.
LOOK_INTERVAL = 1.0


def running_reactor() -> Any:
    """Return the reactor where one was imported and runs, else None; import none."""
    reactor = sys.modules.get("twisted.internet.reactor")
    return reactor if reactor is not None and getattr(reactor, "running", False) else None


def may_run() -> bool:
    """Tell, at a glance, whether the reactor runs or has not begun to."""
    return threadable.ioThread is None or running_reactor() is not None


def has_stopped() -> bool:
    """Tell whether the reactor has run, and runs no more."""
    if threadable.ioThread is None:
        return False
    if running_reactor() is None:
        # It has its thread a moment before it says that it runs.
        time.sleep(0.1)
    return running_reactor() is None or not has_thread(threadable.ioThread)


def has_thread(ident: int) -> bool:
    """Tell whether a thread with this identifier runs in this process."""
    return any(thread.ident == ident for thread in threading.enumerate())


def stopped_error(*, maybe_delivered: bool = False) -> ClosedError:
    """Make the error of a call that the reactor's end leaves without a result."""
    return ClosedError("the reactor has stopped", maybe_delivered=maybe_delivered)


class CallState(enum.Enum):
    """The state of one call."""

    #: Handed to the reactor, whose thread has not come to it.
    QUEUED = enum.auto()
    #: Its function has been called.
    BEGUN = enum.auto()
    #: Its Future is settled, or it was given up.
    OVER = enum.auto()


class Call(Generic[T]):
    """
    One function that is called in the reactor's thread, for another thread.

    :param on_over: Called with the call, in the reactor's thread, before its Future is
        settled.
    :param future: Gets the result of the Deferred that the function returns, or its error.
        It cannot be cancelled.
    """

    def __init__(
        self,
        function: Callable[[], Deferred[T]],
        reactor: Any,
        on_over: Callable[[Call[Any]], None],
        future: Future[T],
    ) -> None:
        self._function: Callable[[], Deferred[T]] | None = function
        self._reactor = reactor
        self._on_over = on_over
        self._state = CallState.QUEUED
        self._deferred: Deferred[Any] | None = None
        self.future = future
        self.future.set_running_or_notify_cancel()

    def begin(self) -> None:
        """Call the function, in the reactor's thread."""
        function, self._function = self._function, None
        if self._state is not CallState.QUEUED or function is None:
            return
        self._state = CallState.BEGUN
        # It takes whatever the function raises for a failure; a thread waits to hear of it.
        self._deferred = maybeDeferred(function)
        self._deferred.addBoth(self._settle)

    def _settle(self, result: Any) -> None:
        self._deferred = None
        if not self._end():
            return
        if isinstance(result, Failure):
            self.future.set_exception(result.value)
        else:
            self.future.set_result(result)

    def give_up(self) -> None:
        """Fail the Future, in the reactor's thread: there will be no result."""
        begun = self._state is CallState.BEGUN
        if self._end():
            self.future.set_exception(stopped_error(maybe_delivered=begun))

    def _end(self) -> bool:
        """Enter the last state; return False where the call is in it already."""
        if self._state is CallState.OVER:
            return False
        self._state = CallState.OVER
        self._on_over(self)
        return True

    def cancel(self) -> None:
        """Cancel the Deferred, from any thread; nobody waits for the Future any more."""
        self._reactor.callFromThread(self._cancel)

    def _cancel(self) -> None:
        deferred = self._deferred
        self._end()
        if deferred is not None:
            deferred.cancel()

    def is_over(self) -> bool:
        """
        Tell whether the Future is settled.

        :raises ClosedError: The reactor has stopped without settling it.
        """
        if not self.future.done() and has_stopped():
            raise stopped_error(maybe_delivered=True)
        return self.future.done()

    def wait(
        self, interval: float = LOOK_INTERVAL, look: Callable[[], object] | None = None
    ) -> T:
        """
        Wait for the result; whatever interrupts the wait cancels the call.

        :param interval: Seconds between two looks whether the reactor is still there.
        :param look: Called at each look, in the thread that waits.
        :raises ClosedError: The reactor stopped before there was a result.
        """
        try:
            while True:
                try:
                    return self.future.result(interval)
                except NotYet as error:
                    # The result may itself be an error of that kind, or have just come.
                    if self.is_over() and self.future.exception() is error:
                        raise
                    if look is not None:
                        look()
        except BaseException:
            if not self.future.done():
                self.cancel()
            raise
        finally:
            # The error knows this frame, the call knows the error: a cycle.
            del self
