"""
Where the CPU time of one row of the throughput benchmark goes.

    python -m tests.benchmarks.profile ROW [--seconds N] [--lines N] [--sort KEY] [--out FILE]

Runs the row, plain HTTP, under :mod:`cProfile` in this process, warm-up included.  The
profiler makes every call dearer: compare shares, not figures.  A row that works in threads
is profiled in all of them.  Times are each thread's CPU time: waiting does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import pstats
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from .harness import BenchmarkError, nginx_sink, note, stop_on_signals
from .measuring import Measured, Plan
from .subjects import SUBJECTS


class _ThreadProfile(cProfile.Profile):
    """A profile in one thread's CPU time."""

    def __init__(self) -> None:
        super().__init__(time.thread_time)

    def create_stats(self) -> None:
        # The base class would first end the calls that go on in a thread that still waits,
        # and measure them by the clock of the thread that asks.
        self.snapshot_stats()


class Profiles:
    """Profiles of the thread that uses this, and of the threads that begin meanwhile."""

    def __init__(self) -> None:
        self._profiles: list[_ThreadProfile] = []

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record the calls of this thread, and of the threads that begin meanwhile."""
        threading.setprofile(self._begin_thread)
        self._begin()
        try:
            yield
        finally:
            threading.setprofile(None)
            self._profiles[0].disable()

    def _begin_thread(self, frame: FrameType, event: str, argument: Any) -> None:
        sys.setprofile(None)
        self._begin()

    def _begin(self) -> None:
        profile = _ThreadProfile()
        # Since Python 3.12 there is one for the whole process, and the first one is it.
        with contextlib.suppress(ValueError):
            profile.enable()
            self._profiles.append(profile)

    def stats(self) -> pstats.Stats:
        """All profiles, added up."""
        first, *others = self._profiles
        return pstats.Stats(first).add(*others)


def profile(row: str, seconds: float) -> tuple[Measured, pstats.Stats]:
    """
    Run a row under the profiler.

    :raises BenchmarkError: There is no nginx to send to.
    """
    profiles = Profiles()
    with nginx_sink() as sink:
        plan = Plan(subject=row, port=sink.port, ca=None, seconds=seconds)
        with profiles.recording():
            measured = SUBJECTS[row](plan)
    return measured, profiles.stats()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.profile",
        description="Where the CPU time of one row of the throughput benchmark goes.",
    )
    parser.add_argument("row", choices=SUBJECTS, metavar="ROW", help=", ".join(SUBJECTS))
    parser.add_argument("--seconds", type=float, default=3.0, help="after the warm-up")
    parser.add_argument("--lines", type=int, default=40, help="functions to show")
    parser.add_argument("--sort", default="tottime", help="as pstats has it: cumtime, ncalls")
    parser.add_argument("--out", help="a file for the profile, as pstats and snakeviz read it")
    options = parser.parse_args(arguments)
    stop_on_signals()
    try:
        measured, stats = profile(options.row, options.seconds)
    except BenchmarkError as error:
        note(f"left out: {error}")
        return 1
    if options.out:
        stats.dump_stats(options.out)
    print(f"{options.row}: {measured.cost:.0f} CPU us per event under the profiler")
    stats.sort_stats(options.sort).print_stats(options.lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
