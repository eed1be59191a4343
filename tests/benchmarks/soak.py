"""
A million triggers against a server that misbehaves now and then.

    python -m tests.benchmarks.soak [--count N] [--seed N]

Whatever the server does, resident memory and file descriptors stay level after
a warm-up, every Deferred fires exactly once, nothing is left unhandled in
Twisted's log, no event is acted on twice, each outcome says truly whether the
server may have acted, and nothing is sent on a connection whose end the server
has announced.  Exit code 1 where any of it does not hold.
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
from typing import Any, cast

import attrs
import treq
from twisted.internet import reactor as running_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogBeginner

from txpusher import Pusher, PusherError

from .harness import (
    APP_ID,
    KEY,
    SECRET,
    free_port,
    note,
    own_descriptors,
    own_memory,
    serving,
    show_table,
    stop_on_signals,
)

#: Triggers that have not fired at any time.
OUTSTANDING = 256
#: Seconds; a silent server is given up on.
TIMEOUT = 1.0
SAMPLES = 40
#: The part of the run that is warm-up.
WARM_UP = 0.2
#: Resident bytes that the run may add after the warm-up.
GROWTH = 2 * 2**20
#: The part of the events that is accepted at least: a run that sends nothing says nothing.
ACCEPTED = 0.95

MIB = 2**20


@attrs.frozen
class Sample:
    """What the process used when so many triggers had fired."""

    fired: int
    seconds: float
    resident: int
    descriptors: int


class Soak:
    """
    One run.

    :ivar fires: For each event, how often its Deferred has fired.
    :ivar said: For each event, what its outcome says: the server has acted (2),
        may have acted (1), has not (0).
    """

    def __init__(self, count: int, port: int, reactor: Any, limit: float) -> None:
        self.count = count
        self.outcomes: Counter[str] = Counter()
        self.log: Counter[str] = Counter()
        self.samples: list[Sample] = []
        # Every page is touched now, so that it does not look like growth later.
        self.fires = bytearray(b"\0") * count
        self.said = bytearray(b"\0") * count
        self.baseline = own_descriptors()
        self.pusher = Pusher(
            APP_ID,
            KEY,
            SECRET,
            host="127.0.0.1",
            port=port,
            use_tls=False,
            timeout=TIMEOUT,
            reactor=reactor,
        )
        self._began = time.monotonic()
        self._deadline = self._began + limit
        self._offered = 0
        self._fired = 0
        self._every = max(1, count // SAMPLES)
        self._over: Deferred[None] = Deferred()

    def run(self) -> Deferred[None]:
        """Fires when every Deferred has."""
        for _ in range(min(OUTSTANDING, self.count)):
            self._trigger()
        return self._over

    @property
    def in_time(self) -> bool:
        """Whether all was offered before the deadline."""
        return self._offered == self.count

    def _trigger(self) -> None:
        number = self._offered
        self._offered += 1
        self.pusher.trigger("soak", str(number), {"number": number}).addBoth(
            self._outcome, number
        ).addErrback(self._broken)

    def _outcome(self, result: Any, number: int) -> None:
        self.fires[number] += 1
        if result == {}:
            self.said[number] = 2
            self.outcomes["accepted"] += 1
        else:
            error = result.value
            known = isinstance(error, PusherError)
            self.said[number] = error.maybe_delivered if known else 1
            name = type(error).__name__
            self.outcomes[name if known else f"not a PusherError: {name}"] += 1
        self._fired += 1
        if self._fired % self._every == 0:
            self._sample()
        if self._offered < self.count and time.monotonic() < self._deadline:
            self._trigger()
        elif self._fired == self._offered:
            self._over.callback(None)

    def _broken(self, failure: Any) -> None:
        if not self._over.called:
            self._over.errback(failure)

    def _sample(self) -> None:
        seconds = time.monotonic() - self._began
        sample = Sample(self._fired, seconds, own_memory(), own_descriptors())
        self.samples.append(sample)
        note(
            f"{sample.fired:>9,}  {seconds:6.1f} s  {sample.resident / MIB:6.1f} MiB"
            f"  {sample.descriptors} descriptors"
        )

    def observe(self, event: Any) -> None:
        """Count what Twisted's log has of warnings and worse."""
        level = event.get("log_level")
        if event.get("log_failure") is not None or (level and level >= LogLevel.warn):
            self.log[formatEvent(event)[:200]] += 1


def violations(
    soak: Soak, acted: bytes, sums: Mapping[str, Any], left: Sequence[str]
) -> Iterator[str]:
    """
    What does not hold.

    :param acted: For each event, how often the server acted on it.
    :param sums: What the server has counted.
    :param left: What the client has left behind after it was closed.
    """
    if not soak.in_time:
        yield "the time was up before every event was offered"
    wrong = soak.count - soak.fires.count(1)
    if wrong and soak.in_time:
        yield f"{wrong} Deferreds did not fire exactly once"
    for what, times in soak.log.items():
        yield f"in the log, {times} times: {what}"
    for name in soak.outcomes:
        if name.startswith("not a PusherError"):
            yield name
    if (accepted := soak.outcomes["accepted"]) < ACCEPTED * soak.count:
        yield f"only {accepted} of {soak.count} events were accepted"
    if late := sums["late"]:
        yield f"{late} requests were sent on connections whose end had been announced"
    if twice := sum(times > 1 for times in acted):
        yield f"{twice} events were acted on more than once"
    pairs = Counter(zip(soak.said, acted, strict=True))
    if lost := pairs[2, 0]:
        yield f"{lost} events were reported as accepted that the server did not act on"
    if denied := sum(times for (said, did), times in pairs.items() if not said and did):
        yield f"{denied} events were reported as not delivered that the server acted on"
    yield from _not_level(soak)
    yield from left


def _not_level(soak: Soak) -> Iterator[str]:
    later = [sample for sample in soak.samples if sample.fired > WARM_UP * soak.count]
    if len(later) < 5:
        yield "too few samples"
        return
    fifth = max(1, len(later) // 5)
    residents = [sample.resident for sample in later]
    growth = max(residents[-fifth:]) - max(residents[:fifth])
    if growth > GROWTH:
        yield f"resident memory grew by {growth / MIB:.1f} MiB after the warm-up"
    allowed = soak.baseline + soak.pusher.config.max_connections
    most = max(sample.descriptors for sample in soak.samples)
    if most > allowed:
        yield f"{most} file descriptors were open, no more than {allowed} ought to be"


async def _left_behind(soak: Soak, reactor: Any) -> list[str]:
    await soak.pusher.close()
    stats = soak.pusher.stats
    left = []
    if own_descriptors() > soak.baseline:
        left.append(f"{own_descriptors() - soak.baseline} file descriptors are left open")
    if calls := reactor.getDelayedCalls():
        left.append(f"{len(calls)} delayed calls are left in the reactor")
    if stats.pending or stats.in_flight or stats.open_connections:
        left.append(f"the closed client has not come to rest: {stats}")
    if soak.in_time and stats.succeeded + stats.failed != soak.count:
        left.append(f"the client has counted otherwise: {stats}")
    return left


async def report_of(port: int) -> dict[str, Any]:
    """Have the sink write its report; the sums."""
    response = await treq.post(f"http://127.0.0.1:{port}/report", b"{}", persistent=False)
    sums: dict[str, Any] = json.loads(await treq.content(response))
    return sums


def show(soak: Soak, sums: dict[str, Any]) -> None:
    """Print what was seen."""
    show_table(
        "Samples",
        ("triggers", "seconds", "MiB", "descriptors"),
        [
            (
                f"{sample.fired:,}",
                f"{sample.seconds:.1f}",
                f"{sample.resident / MIB:.1f}",
                str(sample.descriptors),
            )
            for sample in soak.samples
        ],
        rst=False,
    )
    show_table("Outcomes", ("Outcome", "events"), _counts(soak.outcomes), rst=False)
    show_table("Faults", ("Fault", "requests"), _counts(Counter(sums["faults"])), rst=False)
    print(f"\nrequests: {sums['requests']:,}")


def _counts(counts: Counter[str]) -> list[tuple[str, str]]:
    return [(name, f"{times:,}") for name, times in counts.most_common()]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.soak",
        description="Many triggers against a server that misbehaves now and then.",
    )
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20, help="the most it may take")
    options = parser.parse_args(arguments)
    stop_on_signals()
    found = ["the run did not come to its end"]

    async def body(reactor: Any, port: int, report: Path) -> None:
        # The descriptors of the reactor itself are there once it runs.
        await deferLater(reactor, 0)
        soak = Soak(options.count, port, reactor, options.minutes * 60)
        globalLogBeginner.beginLoggingTo(
            [cast(ILogObserver, soak.observe)], redirectStandardIO=False
        )
        await soak.run()
        left = await _left_behind(soak, reactor)
        gc.collect()
        sums = await report_of(port)
        show(soak, sums)
        found[:] = violations(soak, report.read_bytes(), sums, left)

    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="txpusher-soak-")))
        port, report = free_port(), place / "acted"
        plan = {
            "port": port,
            "seed": options.seed,
            "count": options.count,
            "report": str(report),
        }
        command = [sys.executable, "-m", "tests.benchmarks.faulty_sink", json.dumps(plan)]
        stack.enter_context(serving(command, port))
        with contextlib.suppress(SystemExit):
            react(
                lambda reactor: Deferred.fromCoroutine(body(reactor, port, report)),
                _reactor=running_reactor,
            )
    for what in found:
        print(f"VIOLATED: {what}")
    if not found:
        print("all of it holds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
