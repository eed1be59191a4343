"""
This checkout beside another one, in one run: how many times the CPU time per event.

The same subjects, from this checkout, measure both: a child imports ``tests`` from here
and ``txpusher`` from where it is told to.  The two take turns, and each round begins with
the other one of them, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from .harness import ROOT, BenchmarkError, median, note, run_program
from .targets import TIMES, Figure

#: Prints from where a child imports the package.
_WHERE = "import json, txpusher; print(json.dumps({'file': txpusher.__file__}))"


@attrs.frozen
class Places:
    """
    The working directories of the children: from there they import ``txpusher``.

    :ivar here: For this checkout.
    :ivar there: For the other one.
    """

    here: Path
    there: Path

    def in_turn(self, round_number: int) -> tuple[tuple[str, Path], tuple[str, Path]]:
        """Both, by name; odd rounds begin with this checkout, even ones with the other."""
        here, there = ("here", self.here), ("there", self.there)
        return (here, there) if round_number % 2 else (there, here)


@contextlib.contextmanager
def places(checkout: Path) -> Iterator[Places]:
    """
    A directory with this checkout's tests and the other's package, for as long as it takes.

    :raises BenchmarkError: The other checkout has no package that can be imported.
    """
    package = checkout.resolve() / "txpusher"
    with tempfile.TemporaryDirectory(prefix="txpusher-against-") as name:
        there = Path(name)
        (there / "tests").symlink_to(ROOT / "tests")
        (there / "txpusher").symlink_to(package)
        command = [sys.executable, "-c", _WHERE]
        found = Path(run_program(command, timeout=60, place=there)["file"]).resolve()
        if found.parent != package:
            raise BenchmarkError(f"txpusher comes from {found}, not from {package}")
        yield Places(ROOT, there)


@attrs.frozen
class Compared:
    """What rounds have measured of one row in both checkouts, the same rounds in each."""

    here: Figure
    there: Figure


def compare(
    rows: Iterable[str],
    rounds: int,
    where: Places,
    measure: Callable[[str, Path], tuple[float, float]],
) -> dict[str, Compared]:
    """
    Measure each row in both checkouts, round after round.

    :param measure: Called with a row and a working directory; returns a rate, and CPU
        microseconds per event.  What raises BenchmarkError is left out.
    """
    seen: dict[str, dict[str, list[tuple[float, float]]]]
    seen = {row: {"here": [], "there": []} for row in rows}
    for number in range(1, rounds + 1):
        note(f"round {number} of {rounds}")
        for row in list(seen):
            try:
                measured = [(name, measure(row, at)) for name, at in where.in_turn(number)]
            except BenchmarkError as error:
                note(f"left out: {row}: {error}")
                del seen[row]
                continue
            for name, pair in measured:
                seen[row][name].append(pair)
    return {
        row: Compared(_figure(both["here"]), _figure(both["there"]))
        for row, both in seen.items()
    }


def _figure(measured: Sequence[tuple[float, float]]) -> Figure:
    return Figure(tuple(rate for rate, _ in measured), tuple(cpu for _, cpu in measured))


#: What stands above what :func:`compared_rows` gives.
HEADER = (
    "Row",
    "CPU us/event there",
    "here",
    "here to there",
    "lowest",
    "highest",
    "events/s, here to there",
)


def compared_rows(
    labels: Mapping[str, str], compared: Mapping[str, Compared]
) -> Iterator[tuple[str, ...]]:
    """A line for each row: the medians, and the ratios within the rounds."""
    for row, both in compared.items():
        cpus = [one / two for one, two in zip(both.here.cpus, both.there.cpus, strict=True)]
        yield (
            labels[row],
            f"{both.there.cpu:.1f}",
            f"{both.here.cpu:.1f}",
            *(f"{ratio:.2f} {TIMES}" for ratio in (median(cpus), min(cpus), max(cpus))),
            f"{both.here.rate_over(both.there):.2f} {TIMES}",
        )
