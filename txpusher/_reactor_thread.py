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
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Generic, ParamSpec, TypeVar, cast
from weakref import WeakSet

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python import threadable
from twisted.python.failure import Failure

from txpusher._log_names import name_own_records
from txpusher.errors import BlockingCallError, ClosedError, ConfigurationError

T = TypeVar("T")
P = ParamSpec("P")

#: Seconds between two looks whether the reactor is still there.
LOOK_INTERVAL = 1.0

_log = Logger(namespace="txpusher")


# What rests on private parts of crochet and of Python, seen in crochet 2.1.1.


def crochet_runs_reactor() -> bool:
    """
    Tell whether crochet has a thread for the reactor, which may not run quite yet.

    Crochet does not say so, but gives its thread a name.
    """
    return any(thread.name == "CrochetReactor" for thread in threading.enumerate())


@contextlib.contextmanager
def _main_thread_for_crochet() -> Iterator[None]:
    """
    Let crochet find the main thread, whose end tells it to stop the reactor.

    Crochet looks for an instance of ``threading._MainThread``.  A process that was forked in
    another thread, as a pool of processes does to replace a worker, has none: the thread
    that forked is its main thread, and keeps its class.
    """
    main = threading.main_thread()
    kind = threading._MainThread  # type: ignore[attr-defined]  # noqa: SLF001
    if isinstance(main, kind):
        yield
        return
    threading._MainThread = type(main)  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        yield
    finally:
        threading._MainThread = kind  # type: ignore[attr-defined]  # noqa: SLF001


def _import_crochet() -> Any:
    """Import crochet, with the thread to watch that is the main thread now."""
    with _main_thread_for_crochet():
        import crochet
        from crochet._shutdown import _watchdog
    if not _watchdog._canary.is_alive():  # noqa: SLF001
        # It was imported before a fork in another thread than the main one.
        _watchdog._canary = threading.main_thread()  # noqa: SLF001
    return crochet


# What holds for any reactor.


def _running_reactor() -> Any:
    """Return the reactor where one was imported and runs, else None; import none."""
    reactor = sys.modules.get("twisted.internet.reactor")
    return reactor if reactor is not None and getattr(reactor, "running", False) else None


def _has_stopped() -> bool:
    """Tell whether the reactor has run, and runs no more."""
    if threadable.ioThread is None:
        return False
    if _running_reactor() is None:
        # It has its thread a moment before it says that it runs.
        time.sleep(0.1)
    return _running_reactor() is None or not _has_thread(threadable.ioThread)


def _has_thread(ident: int) -> bool:
    return any(thread.ident == ident for thread in threading.enumerate())


def _stopped(*, maybe_delivered: bool = False) -> ClosedError:
    return ClosedError("the reactor has stopped", maybe_delivered=maybe_delivered)


class ReactorState(enum.Enum):
    """What this process knows of its reactor."""

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


class CallState(enum.Enum):
    """Where a call is."""

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
    :ivar future: Gets the result of the Deferred that the function returns, or its error.
        It cannot be cancelled.
    """

    def __init__(
        self,
        function: Callable[[], Deferred[T]],
        reactor: Any,
        on_over: Callable[[Call[Any]], None],
    ) -> None:
        self._function: Callable[[], Deferred[T]] | None = function
        self._reactor = reactor
        self._on_over = on_over
        self._state = CallState.QUEUED
        self._deferred: Deferred[Any] | None = None
        self.future: Future[T] = Future()
        self.future.set_running_or_notify_cancel()

    def begin(self) -> None:
        """Call the function, in the reactor's thread."""
        function, self._function = self._function, None
        if self._state is not CallState.QUEUED or function is None:
            return
        self._state = CallState.BEGUN
        try:
            self._deferred = maybeDeferred(function)
            self._deferred.addBoth(self._settle)
        except BaseException as error:
            # Whatever it is, a thread waits to hear of it.
            self._settle(Failure(error))

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
            self.future.set_exception(_stopped(maybe_delivered=begun))

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
        if not self.future.done() and _has_stopped():
            raise _stopped(maybe_delivered=True)
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


class ReactorThread:
    """The way to the one reactor of this process, for every other thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
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
        self._ran_at_fork = _running_reactor() is not None or crochet_runs_reactor()

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
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
        if _running_reactor() is not None and threadable.isInIOThread():
            raise BlockingCallError(
                "a blocking call in the reactor thread would wait for itself: use Pusher "
                "here, or deferToThread"
            )

    def _is_missing(self) -> bool:
        """Tell whether this process was forked from the reactor's before we were imported."""
        if self._checked_process == os.getpid() or _running_reactor() is None:
            return False
        if threadable.ioThread is not None and not _has_thread(threadable.ioThread):
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
        self.check()
        reactor = self._set_up()
        call = Call(lambda: function(*args, **kwargs), reactor, self._calls.discard)
        with self._lock:
            if self._state is not ReactorState.READY:
                raise _stopped()
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
            if not (unused or self._state is ReactorState.READY) or (unused and _has_stopped()):
                raise _stopped()
            if unused:
                self._reactor = self._start_reactor()
                self._state = ReactorState.READY
        if (
            _running_reactor() is None
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
        try:
            # Whatever a dependency raises, such as a warning where warnings are errors.
            from twisted.internet import reactor
        except Exception as error:
            raise ConfigurationError(
                f"reactor: twisted.internet.reactor cannot be imported: {error}"
            ) from error
        try:
            crochet = _import_crochet()
        except Exception as error:
            raise ConfigurationError(
                "reactor: crochet, which runs the reactor for blocking calls, cannot be "
                f"imported: {type(error).__name__}: {error}"
            ) from error
        if _running_reactor() is not None:
            # It raises where the application has set crochet up itself.
            with contextlib.suppress(RuntimeError):
                crochet.no_setup()
        elif self._set_up_error is not None:
            raise self._set_up_error
        else:
            try:
                crochet.setup()
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
        """The reactor has stopped: a call that is not over may never be."""
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
