"""
A million events through one ``publish()``, from a generator.

    python -m tests.benchmarks.publication_soak [--count N] [--seed N] [--no-faults]

Resident memory stays flat, the server acts on the events of each channel in their order,
acts on no event twice, and each outcome says truly whether it may have acted: whether or
not the server misbehaves now and then.  Exit code 1 where any of it does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor as running_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txpusher import BatchPublisher, Published, Pusher, PusherError

from .harness import (
    APP_ID,
    KEY,
    SECRET,
    free_port,
    note,
    own_memory,
    serving,
    stop_on_signals,
)
from .measuring import TEXT
from .soak import MIB, TIMEOUT, report_of

#: Channels that the events go to in turn.
CHANNELS = 100
#: Resident bytes that the run may add.
GROWTH = 20 * MIB
#: The part of the events that is accepted at least.
ACCEPTED = 0.9


@attrs.frozen
class Run:
    """
    What one run has shown.

    :ivar memory: Resident bytes before the first event.
    :ivar most: The most resident bytes after that.
    :ivar acted: For each event, how often the server acted on it.
    :ivar sums: What the server has counted.
    """

    count: int
    published: Published
    seconds: float
    memory: int
    most: int
    acted: bytes
    sums: Mapping[str, Any]

    def violations(self) -> Iterator[str]:
        """What does not hold."""
        published = self.published
        if published.accepted + len(published.failed) != self.count:
            yield f"{published.accepted} + {len(published.failed)} of {self.count} events ended"
        if published.accepted < ACCEPTED * self.count:
            yield f"only {published.accepted} of {self.count} events were accepted"
        if (growth := self.most - self.memory) > GROWTH:
            yield f"resident memory grew by {growth / MIB:.1f} MiB"
        if disorder := self.sums["disorder"]:
            yield f"{disorder} events were acted on after a later one of their channel"
        if late := self.sums["late"]:
            yield f"{late} requests were sent on connections whose end had been announced"
        if twice := sum(times > 1 for times in self.acted):
            yield f"{twice} events were acted on more than once"
        yield from self._untrue()

    def _untrue(self) -> Iterator[str]:
        failed = {place: error for place, _, error in self.published.failed}
        if list(failed) != sorted(failed):
            yield "the failures are not in the order of their events"
        others = {
            type(error) for error in failed.values() if not isinstance(error, PusherError)
        }
        for kind in others:
            yield f"not a PusherError: {kind.__name__}"
        lost = sum(not self.acted[place] for place in range(self.count) if place not in failed)
        if lost:
            yield f"{lost} events were reported as accepted that the server did not act on"
        denied = sum(
            isinstance(error, PusherError) and not error.maybe_delivered
            for place, error in failed.items()
            if self.acted[place]
        )
        if denied:
            yield f"{denied} events were reported as not delivered that the server acted on"


def events(count: int) -> Iterator[dict[str, Any]]:
    """Events whose names are their numbers."""
    for number in range(count):
        yield {
            "channel": f"channel-{number % CHANNELS}",
            "name": str(number),
            "data": {"number": number, "text": TEXT},
        }


async def publish(count: int, port: int, report: Path) -> Run:
    """Publish *count* events to the sink on *port*."""
    pusher = Pusher(
        APP_ID, KEY, SECRET, host="127.0.0.1", port=port, use_tls=False, timeout=TIMEOUT
    )
    publisher = BatchPublisher(pusher)
    gc.collect()
    memory = most = own_memory()

    def look(done: int, failed: int) -> None:
        nonlocal most
        most = max(most, own_memory())
        if done * 20 // count > (done - 1000) * 20 // count:
            note(f"{done:>9,}  {failed:>7,} failed  {own_memory() / MIB:6.1f} MiB")

    began = time.monotonic()
    published = await publisher.publish(events(count), on_progress=look)
    seconds = time.monotonic() - began
    await publisher.close()
    await pusher.close()
    sums = await report_of(port)
    return Run(count, published, seconds, memory, most, report.read_bytes(), sums)


@contextlib.contextmanager
def faulty_sink(count: int, seed: int | None) -> Iterator[tuple[int, Path]]:
    """A sink that counts *count* events: its port, and the file of its report."""
    with tempfile.TemporaryDirectory(prefix="txpusher-soak-") as name:
        port, report = free_port(), Path(name) / "acted"
        plan = {"port": port, "seed": seed, "count": count, "report": str(report)}
        command = [sys.executable, "-m", "tests.benchmarks.faulty_sink", json.dumps(plan)]
        with serving(command, port):
            yield port, report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.publication_soak",
        description="Many events through one publish().",
    )
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--no-faults", action="store_true", help="the server does nothing wrong"
    )
    options = parser.parse_args(arguments)
    stop_on_signals()
    found = ["the run did not come to its end"]

    async def body(port: int, report: Path) -> None:
        run = await publish(options.count, port, report)
        found[:] = run.violations()
        kinds = Counter(type(error).__name__ for _, _, error in run.published.failed)
        print(
            f"{run.published.accepted:,} events accepted in {run.seconds:.1f} s"
            f" and {run.sums['requests']:,} requests; failed: {dict(kinds)};"
            f" memory {run.memory / MIB:.1f} MiB,"
            f" at most {(run.most - run.memory) / MIB:.1f} MiB more"
        )

    seed = None if options.no_faults else options.seed
    with faulty_sink(options.count, seed) as (port, report), contextlib.suppress(SystemExit):
        react(
            lambda reactor: Deferred.fromCoroutine(body(port, report)),
            _reactor=running_reactor,
        )
    for what in found:
        print(f"VIOLATED: {what}")
    if not found:
        print("all of it holds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
