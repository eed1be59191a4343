"""
:class:`ServerProcess`: starts the process of a server, talks to it, and ends it.

The lines that go to and fro are described in :mod:`txpusher._testing_child`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from pathlib import Path
from typing import IO, Any, cast

import attrs

from txpusher.errors import BlockingCallError, ClosedError, ConfigurationError
from txpusher.server import Activity, App

#: Seconds within which the process answers, and within which it ends.
ANSWER_TIMEOUT = 10.0
END_TIMEOUT = 10.0

#: The directory that this package is in.
_PACKAGES = str(Path(__file__).resolve().parents[1])

#: Bytes of the process's standard error that an error message quotes, the latest ones.
_QUOTED = 2000


@attrs.frozen
class Place:
    """
    The place where a server listens.

    :ivar host: The address.
    :ivar port: The TCP port.
    :ivar url: The PUSHER_URL of the app.
    """

    host: str
    port: int
    url: str


class _Mailbox:
    """
    Takes what the process writes, in the thread that reads.

    :param observe: Called with each activity of the server.
    :param on_end: Called when the process has ended.
    """

    def __init__(self, observe: Callable[[Activity], None], on_end: Callable[[], None]) -> None:
        self.place: Future[Place] = Future()
        self._observe = observe
        self._on_end = on_end
        self._lock = threading.Lock()
        self._answers: dict[int, Future[None]] = {}
        self._ending: str | None = None

    def read(self, lines: IO[bytes], popen: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        """Take each line to the end; then tell everyone who waits that there is no more."""
        raw = cast("io.RawIOBase", lines)
        with contextlib.suppress(OSError), io.BufferedReader(raw) as buffered:
            for line in buffered:
                # A line that is none of ours was printed before the process got to redirect.
                if line.startswith(b'{"'):
                    self._take(json.loads(line))
        status = popen.wait()
        with self._lock:
            self._ending = f"the server's process has ended with status {status}{_said(errors)}"
            waiting: list[Future[Any]] = [*self._answers.values()]
        if not self.place.done():
            waiting.append(self.place)
        for future in waiting:
            future.set_exception(ClosedError(self._ending))
        self._on_end()

    def _take(self, message: dict[str, Any]) -> None:
        if "activity" in message:
            self._observe(Activity(**message["activity"]))
        elif "synced" in message:
            with self._lock:
                answer = self._answers.pop(message["synced"], None)
            if answer is not None:
                answer.set_result(None)
        elif "listening" in message:
            self.place.set_result(Place(**message["listening"]))
        else:
            kind, text = message["failed"]
            wrong: Exception = RuntimeError(f"the server did not start: {kind}: {text}")
            if kind == "ConfigurationError":
                wrong = ConfigurationError(text)
            self.place.set_exception(wrong)

    def expect(self, number: int) -> Future[None]:
        """
        Return what will be settled by the answer to the ``sync`` with this number.

        :raises ClosedError: The process has ended.
        """
        answer: Future[None] = Future()
        with self._lock:
            if self._ending is not None:
                raise ClosedError(self._ending)
            self._answers[number] = answer
        return answer

    def give_up(self, number: int) -> None:
        """Expect the answer with this number no longer."""
        with self._lock:
            self._answers.pop(number, None)


class ServerProcess:
    """
    A process with a server, which ends with this one, however this one ends.

    Any thread may call any method.  A process that is forked from this one has the place
    of the server and nothing else.

    :param app: The server's app.
    :param observe: Called with each activity, in a thread of its own.
    :param on_end: Called in that thread when the process has ended.
    :param timeout: Seconds within which the server has to listen.
    :raises ConfigurationError: A setting is wrong, or the extra is not installed.
    :raises RuntimeError: The server did not start.
    :raises TimeoutError: The server did not listen in time.

    :ivar place: The :class:`Place` where the server listens.
    """

    def __init__(
        self,
        app: App,
        observe: Callable[[Activity], None],
        on_end: Callable[[], None],
        timeout: float,
    ) -> None:
        self._maker = os.getpid()
        self._numbers = itertools.count()
        self._write_lock = threading.Lock()
        self._stop_lock = threading.Lock()
        pickled = base64.b64encode(pickle.dumps(app)).decode("ascii")
        self._popen, self._errors = _spawn()
        self._end = weakref.finalize(self, _end, self._popen, self._errors)
        _processes.add(self)
        mailbox = self._mailbox = _Mailbox(observe, on_end)
        # The thread knows the mailbox and not this object, which may so be collected.
        self._reader = threading.Thread(
            target=mailbox.read,
            args=(self._popen.stdout, self._popen, self._errors),
            name="txpusher-testing",
            daemon=True,
        )
        try:
            self._reader.start()
            self._write({"app": pickled})
            self.place = self._wait_for_place(timeout)
        except BaseException:
            self.stop()
            raise

    def _wait_for_place(self, timeout: float) -> Place:
        try:
            return self._mailbox.place.result(timeout)
        except ClosedError as error:
            raise RuntimeError(f"the server did not start: {error}") from None
        except NotYetError:
            raise TimeoutError(
                f"the server did not listen within {timeout:g} seconds{_said(self._errors)}"
            ) from None

    @property
    def is_anothers(self) -> bool:
        """Whether this process was forked from the one that made the server's."""
        return os.getpid() != self._maker

    @property
    def is_stopped(self) -> bool:
        """Whether :meth:`stop` has ended the process, rather than an accident."""
        return not self._end.alive

    def sync(self) -> None:
        """
        Wait until every activity of the server so far has been observed.

        :raises ClosedError: The process has ended.
        :raises BlockingCallError: This process was forked from the one that has the pipes.
        :raises TimeoutError: The process does not answer.
        """
        if self.is_anothers:
            raise BlockingCallError(
                f"the server's process belongs to process {self._maker}, from which this one "
                "was forked: here the server has its url and its pusher(), nothing else"
            )
        number = next(self._numbers)
        answer = self._mailbox.expect(number)
        try:
            self._write({"sync": number})
            answer.result(ANSWER_TIMEOUT)
        except NotYetError:
            raise TimeoutError(
                f"the server's process does not answer within {ANSWER_TIMEOUT:g} seconds"
            ) from None
        finally:
            self._mailbox.give_up(number)

    def _write(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode("ascii") + b"\n"
        # A process that has ended is told by the thread that reads.
        with contextlib.suppress(OSError, ValueError), self._write_lock:
            while line:
                line = line[cast("io.RawIOBase", self._popen.stdin).write(line) or 0 :]

    def stop(self) -> None:
        """End the process, and wait until it is gone; once is enough."""
        if self.is_anothers:
            return
        with self._stop_lock:
            if self._end.alive:
                try:
                    _leave(self._popen)
                finally:
                    # A KeyboardInterrupt leaves a process behind that has to be killed.
                    self._popen.kill()
                    self._reader.join(END_TIMEOUT)
                    self._end()

    def forget(self) -> None:
        """Let the process be the affair of the process that this one was forked from."""
        self._end.detach()
        # The pipe must end with the other process, whatever this one does.
        for file in (self._popen.stdin, self._popen.stdout, self._errors):
            if file is not None:
                file.close()
        self._popen.returncode = 0


_processes: weakref.WeakSet[ServerProcess] = weakref.WeakSet()


def _after_fork() -> None:
    for process in list(_processes):
        process.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _spawn() -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start the process; return it and the file of its standard error."""
    # In append mode, so that reading does not move the place where the process writes.
    errors = tempfile.TemporaryFile("a+b")  # noqa: SIM115
    try:
        popen = subprocess.Popen(
            [sys.executable, "-m", "txpusher._testing_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            # Python 3.10 looks for modules in the current directory first.
            cwd=_PACKAGES,
            env=_environment(),
            # Ctrl-C in a terminal goes to all processes of the session.
            start_new_session=True,
        )
    except BaseException:
        errors.close()
        raise
    return popen, errors


def _environment() -> dict[str, str]:
    """Return an environment in which the process finds the modules of this one."""
    paths = dict.fromkeys([*map(os.path.abspath, sys.path), _PACKAGES])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    # Where the program is started must not matter for what it imports, and warnings are
    # not for the process to fail with.
    environment["PYTHONSAFEPATH"] = "1"
    environment.pop("PYTHONWARNINGS", None)
    return environment


def _leave(popen: subprocess.Popen[bytes]) -> None:
    """Close the pipe at whose end the process ends, and wait for a while."""
    if popen.stdin is not None:
        popen.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        popen.wait(END_TIMEOUT)


def _end(popen: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    """End the process of a server that was stopped, or collected, or left at the exit."""
    _leave(popen)
    popen.kill()
    popen.wait()
    text = _text_of(errors)
    errors.close()
    if text and sys.stderr is not None:
        sys.stderr.write(f"the server's process wrote to standard error:\n{text}")


def _text_of(errors: IO[bytes], most: int = -1) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(0 if most < 0 else max(0, errors.tell() - most))
    return errors.read().decode("utf-8", "replace")


def _said(errors: IO[bytes]) -> str:
    """Return what a process that failed has written, for an error message."""
    try:
        text = _text_of(errors, _QUOTED).strip()
    except ValueError:
        # stop() has closed the file.
        text = ""
    return f":\n{text}" if text else ""
