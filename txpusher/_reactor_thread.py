"""
From a thread to the reactor's thread and back.

Crochet sees to it that a reactor runs: :class:`ReactorThread` imports it, and has it start
a reactor where none runs, at the first call.  Calls themselves do without crochet: a thread
waits for a Future of ours, which is settled in every case.  A call that could only wait for
ever raises at once.
"""

from __future__ import annotations

import contextlib
import enum
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakSet

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python import threadable

from txpusher._crochet import crochet_runs_reactor, import_crochet, set_up_crochet
from txpusher._http.reactor import import_reactor
from txpusher._log_names import name_own_records
from txpusher._pipe import Pipe
from txpusher._reactor_call import (
    Call,
    has_stopped,
    has_thread,
    running_reactor,
    stopped_error,
)
from txpusher.errors import BlockingCallError, ClosedError, ConfigurationError

T = TypeVar("T")
P = ParamSpec("P")

_log = Logger(namespace="txpusher")


class ReactorState(enum.Enum):
    """The state of the reactor, as far as this process knows it."""

    #: No call has been made yet.
    UNUSED = enum.auto()
    #: Calls may be made; the reactor runs, or is about to.
    READY = enum.auto()
    #: The reactor stops: no new call, but those under way may end.
    STOPPING = enum.auto()
    #: The reactor has stopped, and cannot be started again.
    STOPPED = enum.auto()
    #: The process was forked from one in which the reactor's thread ran.
    FORKED = enum.auto()


class ReactorThread:
    """The way to the one reactor of this process, for every other thread."""

    def __init__(self) -> None:
        # A signal handler of the program may make a call in the middle of another one.
        self._lock = threading.RLock()
        self._state = ReactorState.UNUSED
        self._reactor: Any = None
        self._set_up_error: ConfigurationError | None = None
        #: The calls whose futures are not settled.
        self._calls: set[Call[Any]] = set()
        self._before_stop: WeakSet[Any] = WeakSet()
        self._ran_at_fork = False
        self._checked_process: int | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)

    def _before_fork(self) -> None:
        self._ran_at_fork = running_reactor() is not None or crochet_runs_reactor()

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        if self._ran_at_fork:
            self._state = ReactorState.FORKED

    def check(self) -> None:
        """
        Refuse a blocking call where it could only wait for ever.

        :raises BlockingCallError: This is the reactor thread, or a process forked from
            one that had it.
        """
        if self._state is ReactorState.FORKED or self._is_missing():
            raise BlockingCallError(
                "a blocking call in a process forked while the reactor ran: its thread "
                "does not exist here; make the first call after the fork, or spawn the "
                "process"
            )
        if running_reactor() is not None and threadable.isInIOThread():
            raise BlockingCallError(
                "a blocking call in the reactor thread would wait for itself: use Pusher "
                "here, or deferToThread"
            )

    def _is_missing(self) -> bool:
        """Tell whether this process was forked from the reactor's before we were imported."""
        if self._checked_process == os.getpid() or running_reactor() is None:
            return False
        if threadable.ioThread is not None and not has_thread(threadable.ioThread):
            return True
        self._checked_process = os.getpid()
        return False

    def start(
        self, function: Callable[P, Deferred[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Call[T]:
        """
        Have *function* called in the reactor's thread, and do not wait.

        :return: The call, whose Future is settled in every case: with a ClosedError at
            the latest when the reactor stops.
        :raises BlockingCallError: Here the result could never arrive.
        :raises ConfigurationError: There is no reactor, and none can be imported.
        :raises ClosedError: The reactor stops, or has stopped.
        """
        return self.start_for(Future(), lambda: function(*args, **kwargs))

    def start_for(self, future: Future[T], function: Callable[[], Deferred[T]]) -> Call[T]:
        """Do what :meth:`start` does for a Future of the caller's."""
        self.check()
        reactor = self._set_up()
        call = Call(function, reactor, self._calls.discard, future)
        with self._lock:
            if self._state is not ReactorState.READY:
                raise stopped_error()
            self._calls.add(call)
            # Within the lock: once the reactor stops, it begins what is queued by then.
            reactor.callFromThread(call.begin)
        return call

    def pipe(self, limit: int) -> Pipe[Any]:
        """Make a pipe for up to *limit* values; raises what :meth:`start` raises."""
        self.check()
        return Pipe(limit, self._set_up())

    def _set_up(self) -> Any:
        """Return the reactor, and see to it that it runs."""
        with self._lock:
            unused = self._state is ReactorState.UNUSED
            # Crochet would try to run it again, and never end.
            if not (unused or self._state is ReactorState.READY) or (unused and has_stopped()):
                raise stopped_error()
            if unused:
                self._reactor = self._start_reactor()
                self._state = ReactorState.READY
        if (
            running_reactor() is None
            and threading.current_thread() is threading.main_thread()
            and not crochet_runs_reactor()
        ):
            raise BlockingCallError(
                "a blocking call before the reactor runs would wait for ever: "
                "crochet.no_setup() leaves it to the application to run it"
            )
        return self._reactor

    def _start_reactor(self) -> Any:
        """
        Import the reactor, and have crochet run it where it does not run yet.

        The reactor comes first: crochet takes itself for set up once it has begun.

        :raises ConfigurationError: A module cannot be imported.
        """
        reactor = import_reactor()
        try:
            crochet = import_crochet()
        except Exception as error:
            raise ConfigurationError(
                "reactor: crochet, which runs the reactor for blocking calls, cannot be "
                f"imported: {type(error).__name__}: {error}"
            ) from error
        if running_reactor() is not None:
            # It raises where the application has set crochet up itself.
            with contextlib.suppress(RuntimeError):
                crochet.no_setup()
        elif self._set_up_error is not None:
            raise self._set_up_error
        else:
            try:
                set_up_crochet(crochet)
            except Exception as error:
                # Crochet takes itself for set up, and would do nothing the next time.
                self._set_up_error = ConfigurationError(
                    "reactor: crochet could not run the reactor in a thread: "
                    f"{type(error).__name__}: {error}"
                )
                raise self._set_up_error from error
        if crochet_runs_reactor():
            name_own_records()
        for phase, trigger in (("before", self._stop), ("during", self._give_up_calls)):
            cast(Any, reactor).addSystemEventTrigger(phase, "shutdown", trigger)
        return reactor

    # The end of the reactor

    def wait_before_stop(self, owner: Any) -> None:
        """
        Have the reactor wait for *owner*, before it stops.

        :param owner: Its method ``before_stop()`` is called in the reactor's thread and
            returns an awaitable.  Only a weak reference to it is kept.
        """
        self._before_stop.add(owner)

    def _stop(self) -> Deferred[None]:
        with self._lock:
            self._state = ReactorState.STOPPING
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        # What threads have started so far begins before what is queued here.
        turn: Deferred[None] = Deferred()
        self._reactor.callFromThread(turn.callback, None)
        await turn
        waits = [Deferred.fromCoroutine(_logged(each)) for each in list(self._before_stop)]
        for wait in waits:
            await wait
        self._give_up_calls()

    def _give_up_calls(self) -> None:
        """Settle every call that is not over: the reactor has stopped, and none would end."""
        with self._lock:
            self._state = ReactorState.STOPPED
            calls = list(self._calls)
        for call in calls:
            call.give_up()


async def _logged(owner: Any) -> None:
    """Wait for *owner*, whose failure must not keep the others from being waited for."""
    try:
        awaitable: Awaitable[object] = owner.before_stop()
        await awaitable
    except Exception:
        _log.failure("waiting for events at the end failed")


#: The way to the reactor of this process.
reactor_thread = ReactorThread()


def wait_for(function: Callable[P, Deferred[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Call *function* in the reactor's thread and wait for its Deferred.

    :raises BlockingCallError: Here one could only wait for ever.
    :raises ConfigurationError: There is no reactor, and none can be imported.
    :raises ClosedError: The reactor stopped before there was a result.
    """
    return reactor_thread.start(function, *args, **kwargs).wait()


def wait_for_query(function: Callable[P, Deferred[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do as :func:`wait_for`, with a function that changes nothing on the server."""
    try:
        return wait_for(function, *args, **kwargs)
    except ClosedError as error:
        error.maybe_delivered = False
        raise
