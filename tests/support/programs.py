"""Small programs in processes of their own: a process has one reactor, run once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

import txpusher
from tests.support.credentials import APP_ID, KEY, SECRET

from .waiting import PATIENCE

#: From 3.12 on, Python warns of each fork beside threads: here it is the point.
QUIET = ("-W", "ignore:This process:DeprecationWarning")

PROLOGUE = f"""\
import os, sys, threading
from txpusher import *

port = int(sys.argv[1])

def settings(**options):
    return {{"app_id": {APP_ID!r}, "key": {KEY!r}, "secret": {SECRET!r},
            "host": "127.0.0.1", "port": port, "use_tls": False, **options}}

def client(**options):
    return BlockingPusher(**settings(**options))

def say(*words):
    # In one piece: a parent and its child may say something at the same time.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def trigger(blocking, data="d"):
    return blocking.trigger("c", "e", data)

def attempt(call, *arguments):
    try:
        return call(*arguments)
    except PusherError as error:
        return f"{{type(error).__name__}} {{error.maybe_delivered}}"
"""


@attrs.frozen
class Ended:
    """How a program has ended."""

    code: int
    output: str
    errors: str

    def said(self) -> list[str]:
        """The lines of a program that has ended well."""
        assert (self.code, self.errors) == (0, "")
        return self.output.splitlines()


class Program:
    """
    A running program.

    :param source: What it does, after :data:`PROLOGUE`.
    :param arguments: Options for Python itself.
    """

    def __init__(self, source: str, port: int, *arguments: str) -> None:
        root = str(Path(txpusher.__file__).parents[1])
        self._process = subprocess.Popen(
            [
                sys.executable,
                *arguments,
                *QUIET,
                "-c",
                PROLOGUE + textwrap.dedent(source),
                str(port),
            ],
            env={**os.environ, "PYTHONPATH": root},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> Deferred[Any]:
        """Fires with an :class:`Ended` once it has; it must do so by itself."""
        return deferToThread(self._end)

    def _end(self) -> Ended:
        try:
            output, errors = self._process.communicate(timeout=3 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            output, errors = self._process.communicate()
            raise AssertionError(f"it does not end: {output!r} {errors!r}") from None
        return Ended(self._process.returncode, output, errors)

    def kill(self) -> None:
        """End it, and what it has forked."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
