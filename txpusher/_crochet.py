"""
What rests on private parts of crochet, and of Python's ``threading`` for crochet's sake.

Crochet runs the reactor in a thread, and stops it when the main thread ends.  It names
neither thread in public.  Seen in crochet 2.1.1.

Python goes on until the last thread that is no daemon has ended, and so does the reactor
that txpusher has crochet start: a program may leave its work to such threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

#: How the names of the threads begin that end because the reactor does: crochet's three,
#: and those of Twisted's thread pools.
_THREADS_OF_REACTOR = ("Crochet", "PoolThread-")


class _OwnThreads:
    """The threads of the program itself, in place of the one thread that crochet watches."""

    def is_alive(self) -> bool:
        """Return whether a thread runs for whose end Python waits."""
        main = threading.main_thread()
        return any(
            thread is main or not (thread.daemon or thread.name.startswith(_THREADS_OF_REACTOR))
            for thread in threading.enumerate()
            if thread.is_alive()
        )


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


def import_crochet() -> Any:
    """Import crochet, and have it watch the thread that is the main thread now."""
    with _main_thread_for_crochet():
        import crochet
        from crochet import _shutdown as shutdown
    package: Any = crochet
    if shutdown._watchdog.ident is None:  # noqa: SLF001
        # It has not begun to watch.  It may have been made in a daemon thread or, before a
        # fork, in another thread; and what was made before a fork, Python 3.13 never starts.
        watchdog = shutdown.Watchdog(threading.main_thread(), shutdown._registry.run)  # noqa: SLF001
        watchdog.daemon = False
        shutdown._watchdog = package.no_setup.__self__._watchdog_thread = watchdog  # noqa: SLF001
    return package


def set_up_crochet(crochet: Any) -> None:
    """
    Have crochet run the reactor, in a thread for whose end Python waits.

    The reactor stops once the program's own threads have ended.

    A new thread is a daemon where the thread that makes it is one, as the threads of a web
    server are, and greenlets.  The program would end without a word to the reactor.

    :raises Exception: Crochet cannot do it.
    """
    errors: list[Exception] = []
    crochet._shutdown._watchdog._canary = _OwnThreads()  # noqa: SLF001

    def set_up() -> None:
        try:
            crochet.setup()
        except Exception as error:
            errors.append(error)

    if threading.current_thread().daemon:
        thread = threading.Thread(target=set_up, daemon=False)
        thread.start()
        thread.join()
    else:
        set_up()
    if errors:
        raise errors[0]
