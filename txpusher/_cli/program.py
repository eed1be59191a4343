"""
Commands as programs: a coroutine under the reactor, and where its output and errors go.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure

from txpusher._cli.codes import INTERRUPTED, fail, fail_with, unforeseen
from txpusher._cli.write import cannot_write, discard_output, set_waiting
from txpusher.errors import PusherError

#: Prints a line.
Show = Callable[[str], None]
#: A command: takes the reactor and what prints, and returns the exit code.
Command = Callable[[Any, Show], Awaitable[int]]


class Gathered:
    """
    Prints lines, those of one round of the reactor in one write.

    :param reactor: Tells, by ``callLater``, when a round has ended.
    :param show: Prints them.
    """

    def __init__(self, reactor: Any, show: Show) -> None:
        self._reactor = reactor
        self._show = show
        self._lines: list[str] = []
        self._call: Any = None

    def __call__(self, line: str) -> None:
        """Print a line, at the latest when the round ends."""
        self._lines.append(line)
        if self._call is None:
            self._call = self._reactor.callLater(0, self._round_ends)

    def _round_ends(self) -> None:
        self._call = None
        self._print()

    def _print(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._show("\n".join(lines))

    def stop(self) -> None:
        """Print what has gathered, and leave no call behind in the reactor."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._print()


class Program:
    """
    Runs a command under the reactor until it is done, a signal comes, or nothing more can
    be printed.

    A signal cancels the command, and the program waits for what its ``finally`` does.  A
    second Ctrl-C ends the program without waiting.  Where nobody reads what it prints, the
    program waits for a reader; once a signal has come, it drops what cannot be printed.

    :param command: The command.
    :param stopped: The exit code where a signal other than Ctrl-C's ends the command.
    :param message: What to print where a signal ends the command, None for nothing.
    :param logs: Whether warnings and errors of the log are printed; a command that tells its
        errors itself, in one line each, has no use for them.
    """

    def __init__(
        self,
        command: Command,
        *,
        stopped: int = 0,
        message: str | None = None,
        logs: bool = True,
    ) -> None:
        self._command = command
        self._stopped = stopped
        self._message = message
        self._logs = logs
        self._reactor: Any = None
        self._running: Deferred[int] | None = None
        self._code: int | None = None
        self._interrupted = False
        self._cancelled = False
        self._stopping = False
        self._is_showing = False
        self._is_impatient = False

    def run(self) -> int:
        """
        Run the command.

        :return: The exit code.
        """
        _begin_log(self._logs)
        try:
            react(self._main)
        except SystemExit as ended:
            # Where react itself has something to say, the command has failed unforeseen.
            if ended.code and self._code is None:
                return 1
        if self._code is None and self._message is not None:
            fail(self._message)
        if self._interrupted:
            return INTERRUPTED
        return self._stopped if self._code is None else self._code

    def _main(self, reactor: Any) -> Deferred[None]:
        self._reactor = reactor
        ended: Deferred[None] = Deferred()

        def begin() -> None:
            self._note_signals()
            # Twisted waits for the command's end before it stops.
            reactor.addSystemEventTrigger("before", "shutdown", self._end)
            self._running = Deferred.fromCoroutine(self._run_command())
            self._running.addCallbacks(self._done, self._failed).chainDeferred(ended)

        # Not before the reactor takes signals.
        reactor.callWhenRunning(begin)
        return ended

    async def _run_command(self) -> int:
        try:
            return await self._command(self._reactor, self._show)
        except PusherError as error:
            if self._cancelled:
                raise
            return fail_with(error)

    def _done(self, code: int) -> None:
        if self._code is None:
            self._code = code

    def _failed(self, failure: Failure) -> None:
        # A command that was cancelled may fail in ways of its own.
        if not self._cancelled:
            if self._logs:
                failure.raiseException()
            self._code = unforeseen(cast(Exception, failure.value))

    def _end(self) -> Deferred[None]:
        self._stopping = True
        ended: Deferred[None] = Deferred()

        def tell(result: Any) -> Any:
            ended.callback(None)
            return result

        if self._running is None:
            ended.callback(None)
        else:
            self._running.addBoth(tell)
            self._cancel()
        return ended

    def _cancel(self) -> None:
        if self._running is not None:
            self._cancelled = True
            self._running.cancel()

    def _note_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            # Else the signal is ignored, as for a program in the background.
            if callable(before):
                signal.signal(number, partial(self._signalled, before))

    def _signalled(self, before: Callable[[int, Any], object], number: int, frame: Any) -> None:
        """
        Take note of a signal.

        :param before: Stops the reactor.
        """
        if number == signal.SIGINT:
            if self._interrupted:
                os._exit(INTERRUPTED)
            self._interrupted = True
        if not self._stopping:
            # A reactor that is stopped twice logs an error.
            self._stopping = True
            before(number, frame)
        if self._is_showing:
            # Python takes up again a write that a signal has interrupted; it is to fail then.
            self._wait_no_more()

    def _wait_no_more(self) -> None:
        self._is_impatient = set_waiting(False) or self._is_impatient

    def _shown(self) -> None:
        """Leave the standard output as it was: other programs may have it too."""
        self._is_showing = False
        if self._is_impatient:
            self._is_impatient = False
            set_waiting(True)

    def _show(self, text: str) -> None:
        if self._code is not None:
            return
        encoding = sys.stdout.encoding or "utf-8"
        self._is_showing = True
        if self._stopping:
            self._wait_no_more()
        try:
            print(text.encode(encoding, "replace").decode(encoding), flush=True)
        except OSError as error:
            self._shown()
            if self._stopping and isinstance(error, BlockingIOError):
                discard_output()
                return
            # Later, when the command waits for something: it is what shows the text.
            self._reactor.callLater(0, self._cancel)
            self._code = cannot_write(error)
        else:
            self._shown()


def _begin_log(shows: bool) -> None:
    """Print warnings and errors of the log on the standard error, or nothing."""
    observer = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)]
    )
    globalLogBeginner.beginLoggingTo([observer] if shows else [], redirectStandardIO=False)
