"""
From a thread to the reactor's thread and back, over crochet.

Crochet is imported, and a reactor started where none runs, by the first call.
Whatever could only wait for ever raises at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python import threadable
from twisted.python.failure import Failure

from txpusher._log_names import name_own_records
from txpusher.errors import BlockingCallError, ClosedError

T = TypeVar("T")

_setup_lock = threading.Lock()
_run_in_reactor: Any = None
_reactor_at_fork = False
_forked_from_reactor = False
_checked_process: int | None = None
_reactor_stopped = False
#: What was handed to the reactor and is not settled; whether it has begun there.
_outstanding: dict[Future[Any], bool] = {}

#: Seconds between two looks whether the reactor is still there.
LOOK_INTERVAL = 1.0


def _running_reactor() -> Any:
    """The reactor where one was imported and runs, else None; imports none itself."""
    reactor = sys.modules.get("twisted.internet.reactor")
    return reactor if reactor is not None and getattr(reactor, "running", False) else None


def _crochet_runs_it() -> bool:
    """Whether crochet has a thread for the reactor; it may not run quite yet."""
    return any(thread.name == "CrochetReactor" for thread in threading.enumerate())


def _before_fork() -> None:
    global _reactor_at_fork
    _reactor_at_fork = _running_reactor() is not None or _crochet_runs_it()


def _after_fork() -> None:
    global _forked_from_reactor, _setup_lock
    _setup_lock = threading.Lock()
    _forked_from_reactor = _forked_from_reactor or _reactor_at_fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def _reactor_thread_is_missing() -> bool:
    """Whether the reactor's thread is not here: forked before this module was imported."""
    global _checked_process
    if _checked_process == os.getpid() or _running_reactor() is None:
        return False
    if threadable.ioThread not in {thread.ident for thread in threading.enumerate()}:
        return True
    _checked_process = os.getpid()
    return False


def _has_stopped() -> bool:
    """Whether the reactor has run, and runs no more."""
    if _running_reactor() is not None or threadable.ioThread is None:
        return False
    # It has its thread a moment before it says that it runs.
    time.sleep(0.1)
    return _running_reactor() is None


def check_thread() -> None:
    """
    Refuse a blocking call where it could only wait for ever.

    :raises BlockingCallError: This is the reactor thread, or a process forked from
        one that had it.
    """
    running = _running_reactor()
    if _forked_from_reactor or _reactor_thread_is_missing():
        raise BlockingCallError(
            "a blocking call in a process forked while the reactor ran: its thread does "
            "not exist here; make the first call after the fork, or spawn the process"
        )
    if running is not None and threadable.isInIOThread():
        raise BlockingCallError(
            "a blocking call in the reactor thread would wait for itself: use Pusher here, "
            "or deferToThread"
        )


def _set_up() -> Any:
    """What runs a function in the reactor thread; sees to it that there is one."""
    global _run_in_reactor
    with _setup_lock:
        # Crochet would try to run it again, and never end.
        if _reactor_stopped or (_run_in_reactor is None and _has_stopped()):
            raise ClosedError("the reactor has stopped")
        if _run_in_reactor is None:
            import crochet

            if _running_reactor() is not None:
                # It raises where the application has set crochet up itself.
                with contextlib.suppress(RuntimeError):
                    crochet.no_setup()
            else:
                crochet.setup()
            if _crochet_runs_it():
                name_own_records()
            _run_in_reactor = crochet.run_in_reactor(_call)
            from twisted.internet import reactor

            cast(Any, reactor).addSystemEventTrigger("before", "shutdown", _shut_down)
    if (
        _running_reactor() is None
        and threading.current_thread() is threading.main_thread()
        and not _crochet_runs_it()
    ):
        raise BlockingCallError(
            "a blocking call before the reactor runs would wait for ever: "
            "crochet.no_setup() leaves it to the application to run it"
        )
    return _run_in_reactor


def _call(function: Callable[..., Any], arguments: Any, options: Any) -> Deferred[list[Any]]:
    # A list, so that crochet does not take a failure that nobody waits for
    # any more, after Ctrl-C, for one to log.
    return maybeDeferred(function, *arguments, **options).addBoth(lambda result: [result])


def wait_for(function: Callable[..., Deferred[T]], *arguments: Any, **options: Any) -> T:
    """
    Call *function* in the reactor thread and wait for its Deferred.

    :raises BlockingCallError: Here one could only wait for ever.
    :raises ClosedError: The reactor stopped before there was a result.
    """
    check_thread()
    run = _set_up()
    from crochet import ReactorStopped

    eventual = None
    try:
        eventual = run(function, arguments, options)
        [result] = _wait(eventual)
    except ReactorStopped:
        # It may have stopped with the request on its way.
        raise ClosedError(
            "the reactor has stopped", maybe_delivered=eventual is not None
        ) from None
    except BaseException:
        if eventual is not None:
            eventual.cancel()
        raise
    if isinstance(result, Failure):
        result.raiseException()
    return cast(T, result)


def wait_for_query(function: Callable[..., Deferred[T]], *arguments: Any) -> T:
    """:func:`wait_for` of what changes nothing on the server."""
    try:
        return wait_for(function, *arguments)
    except ClosedError as error:
        error.maybe_delivered = False
        raise


def _wait(eventual: Any) -> list[Any]:
    from crochet import TimeoutError as NotYet

    while True:
        try:
            return cast("list[Any]", eventual.wait(LOOK_INTERVAL))
        except NotYet:
            if _has_stopped():
                raise ClosedError("the reactor has stopped", maybe_delivered=True) from None


def _shut_down() -> None:
    """The reactor stops: what is not settled by now may never be."""
    global _reactor_stopped
    with _setup_lock:
        _reactor_stopped = True
        abandoned = dict(_outstanding)
        _outstanding.clear()
    for future, begun in abandoned.items():
        future.set_exception(ClosedError("the reactor has stopped", maybe_delivered=begun))


def call_in_reactor(function: Callable[[], object], future: Future[Any]) -> None:
    """
    Have *function* called in the reactor thread, and do not wait.

    :param future: What *function* will settle, unless it is done; it fails where
        the reactor stops before.
    :raises BlockingCallError: As :func:`wait_for`.
    :raises ClosedError: The reactor has stopped.
    """
    check_thread()
    _set_up()

    def begin() -> None:
        with _setup_lock:
            abandoned = future not in _outstanding
            if not abandoned:
                _outstanding[future] = True
        if not abandoned:
            function()

    with _setup_lock:
        if _reactor_stopped:
            raise ClosedError("the reactor has stopped")
        _outstanding[future] = False
    future.add_done_callback(lambda done: _outstanding.pop(done, None))
    from twisted.internet import reactor

    cast(Any, reactor).callFromThread(begin)
