"""``txpusher serve`` is sent signals: two at once, and while nobody reads what it prints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.command_line import Command

pytest.importorskip("wsproto")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")


@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)]
)
def test_second_signal_of_another_kind_is_no_error(numbers: tuple[signal.Signals, ...]) -> None:
    command = Command("serve", "--port", "0")
    try:
        command.line_with("Console: ")
        # Both at once: after the first alone, the program may have ended already.
        for number in (signal.SIGSTOP, *numbers, signal.SIGCONT):
            command.process.send_signal(number)
        done = command.ended()
        assert (done.code, done.err) == (130, "")
    finally:
        command.kill()


def test_interrupts_that_are_ignored_stay_ignored() -> None:
    # A shell without job control starts what is in the background so.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command = Command("serve", "--port", "0")
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        command.line_with("Console: ")
        for _ in range(2):
            command.process.send_signal(signal.SIGINT)
        assert command.end(signal.SIGTERM).code == 0
    finally:
        command.kill()


def test_server_whose_lines_nobody_reads_ends_with_a_signal(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    place = tmp_path / "s"
    serve = [sys.executable, "-m", "txpusher", "serve", "--listen", f"unix:{place}"]
    process = subprocess.Popen(serve, stdout=writing, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not place.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        _, told = process.communicate(timeout=60)
        assert (process.returncode, told) == (0, "")
        assert not place.exists()
    finally:
        process.kill()
        os.close(reading)
        os.close(writing)
