"""Commands of ``txpusher`` in processes of their own, with an environment that is clean."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

import txpusher

TXPUSHER = [sys.executable, "-m", "txpusher"]
#: Seconds that a command may take on a busy machine.
PATIENCE = 60


def environment(url: str | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a command finds in its environment: nothing of Pusher's but what is given."""
    kept = {name: value for name, value in os.environ.items() if "PUSHER" not in name}
    kept |= {"PYTHONPATH": str(Path(txpusher.__file__).parents[1]), "TERM": "xterm"}
    kept.pop("NO_COLOR", None)
    if url is not None:
        kept["PUSHER_URL"] = url
    return {**kept, **(more or {})}


@attrs.frozen
class Done:
    """How a command has ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        """What it has printed, each line as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        """What it has printed on the standard error, which must be one line."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("txpusher: "), self.err
        return self.err.removeprefix("txpusher: ").rstrip("\n")


def run(
    *arguments: str,
    url: str | None = None,
    given: str | bytes = b"",
    env: Mapping[str, str] | None = None,
) -> Done:
    """
    Run a command to its end.

    :param url: The PUSHER_URL.
    :param given: The standard input.
    """
    done = subprocess.run(
        [*TXPUSHER, *arguments],
        input=given.encode() if isinstance(given, str) else given,
        env=environment(url, env),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_aside(*arguments: str, **options: Any) -> Deferred[Done]:
    """The same in a thread, for a server in the reactor of the test."""
    return deferToThread(run, *arguments, **options)


def run_on_terminal(
    *arguments: str, url: str | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command with a terminal for its output, and return its code and what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*TXPUSHER, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(url, env),
    )
    os.close(theirs)
    shown = b""
    # A terminal whose other side is closed is an error on Linux.
    with suppress(OSError):
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    return process.wait(PATIENCE), shown.decode().replace("\r\n", "\n")


class Command:
    """A command that runs until it is told to end."""

    def __init__(
        self,
        *arguments: str,
        url: str | None = None,
        stdin: int | None = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [*TXPUSHER, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(url, env),
        )

    @property
    def stdin(self) -> IO[str]:
        """What it reads."""
        assert self.process.stdin is not None
        return self.process.stdin

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def error_line(self) -> str:
        """The next line that it prints on the standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.readline().rstrip("\n")

    def line_with(self, text: str) -> str:
        """The next line that has *text* in it."""
        while text not in (line := self.line()):
            assert line or self.process.poll() is None, f"no line has {text!r}"
        return line

    def end(self, number: int = signal.SIGINT) -> Done:
        """Send a signal, and wait for the end, with the standard input open all the while."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        return self.ended()

    def ended(self) -> Done:
        """Wait for the end."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return Done(self.process.returncode, out, err)

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
