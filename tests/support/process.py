"""Child processes that end with the test run, whatever happens to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path


class Process:
    """
    A program in a process group of its own, what it prints kept for error messages.

    Its standard input is a pipe that closes when the test run ends, even by a
    signal; the scripts of the tests end then.

    :param place: Its working directory.
    """

    def __init__(
        self, command: Sequence[str], place: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            cwd=place,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """The end of what it has printed."""
        self._output.seek(0)
        return self._output.read()[-4000:].decode("utf-8", "replace")

    def send_signal(self, number: int) -> None:
        """Send a signal to the program alone."""
        self._process.send_signal(number)

    def terminate(self) -> int:
        """Ask the program to end, as an init system does; return its exit code."""
        self._process.terminate()
        return self._process.wait(60)

    def stop(self) -> None:
        """End the whole group: nothing that runs here has anything to save."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._output.close()
