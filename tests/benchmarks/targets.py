"""
What the figures of one run show: ratios, and whether each is what it ought to be.

Pure functions over what :mod:`tests.benchmarks.throughput` has measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

import attrs

from .harness import median
from .pending import EVENTS, Pending


@attrs.frozen
class Figure:
    """
    What was measured of one subject, round by round.

    :ivar rates: Events per second.
    :ivar cpus: CPU microseconds per event.
    """

    rates: tuple[float, ...]
    cpus: tuple[float, ...]

    @property
    def rate(self) -> float:
        """The median of the rates."""
        return median(self.rates)

    @property
    def cpu(self) -> float:
        """The median of the CPU times."""
        return median(self.cpus)

    def rate_over(self, other: Figure) -> float:
        """How many times the other's rate: the median of the ratios within a round."""
        return median(one / two for one, two in zip(self.rates, other.rates, strict=True))

    def cpu_over(self, other: Figure) -> float:
        """How many times the other's CPU time, in the same way."""
        return median(one / two for one, two in zip(self.cpus, other.cpus, strict=True))


#: By name of the subject, those over TLS as ``"<name>/tls"``.
Figures = Mapping[str, Figure]


@attrs.frozen
class Target:
    """
    One figure that was aimed at, and what was measured.

    :ivar measured: None where it could not be measured.
    :ivar obstacle: What stands in the way of a target that nobody expects to be met yet.
    """

    what: str
    wanted: str
    measured: str | None = None
    met: bool = False
    obstacle: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether the run fails: by a target that is not met, unless that is expected."""
        return not self.met and (self.measured is None or not self.obstacle)

    def row(self) -> tuple[str, str, str, str]:
        """As a row of a table."""
        if self.measured is None:
            return self.what, self.wanted, "-", "not measured"
        missed = f"no: {self.obstacle}" if self.obstacle else "NO"
        return self.what, self.wanted, self.measured, "yes" if self.met else missed


def fastest(figures: Figures, names: Iterable[str]) -> Figure:
    """
    Of several subjects the one with the most events per second.

    :raises KeyError: One was not measured: it may have been the fastest.
    """
    return max((figures[name] for name in names), key=lambda figure: figure.rate)


SDK_TRIGGERS = ("requests-1", "requests-8", "requests-32", "aiohttp")
SDK_BATCHES = ("requests-batch", "aiohttp-batch")


def over_tls(names: Iterable[str]) -> tuple[str, ...]:
    """The same subjects over TLS."""
    return tuple(f"{name}/tls" for name in names)


@attrs.frozen
class Pair:
    """
    What is compared.

    :ivar name: What it is called, in reStructuredText.
    :ivar theirs: Of these the fastest.
    """

    name: str
    ours: str
    theirs: tuple[str, ...]

    def is_measured(self, figures: Figures) -> bool:
        """Whether all that it takes is there."""
        return all(name in figures for name in (self.ours, *self.theirs))


PAIRS = (
    Pair(
        "``trigger``, to the Python SDK's ``trigger`` on its fastest backend",
        "trigger",
        SDK_TRIGGERS,
    ),
    Pair(
        "``trigger`` over TLS, to the Python SDK's on its fastest backend",
        "trigger/tls",
        over_tls(SDK_TRIGGERS),
    ),
    Pair(
        "``trigger`` over TLS, to the Python SDK's on aiohttp", "trigger/tls", ("aiohttp/tls",)
    ),
    Pair("``trigger``, to the Node.js SDK's ``trigger``", "trigger", ("node",)),
    Pair("``trigger`` over TLS, to the Node.js SDK's", "trigger/tls", ("node/tls",)),
    Pair("``trigger``, to plain treq with the same requests", "trigger", ("treq",)),
    Pair(
        "``trigger_batch`` of ten, to the Python SDK's ``trigger_batch`` of ten",
        "batch",
        SDK_BATCHES,
    ),
    Pair("``BatchPublisher``, to the Python SDK's ``trigger``", "publisher", SDK_TRIGGERS),
    Pair(
        "``BatchPublisher``, to the Python SDK's ``trigger_batch`` of ten",
        "publisher",
        SDK_BATCHES,
    ),
    Pair(
        "``BatchPublisher`` over TLS, to the Python SDK's ``trigger_batch`` of ten",
        "publisher/tls",
        over_tls(SDK_BATCHES),
    ),
    Pair("``BatchPublisher``, to the Node.js SDK's ``trigger``", "publisher", ("node",)),
    Pair("``publish``, to the Python SDK's ``trigger_batch`` of ten", "publish", SDK_BATCHES),
    Pair(
        "``publish``, to the Node.js SDK's ``triggerBatch`` of ten", "publish", ("node-batch",)
    ),
    Pair(
        "``publish`` over TLS, to the Node.js SDK's ``triggerBatch`` of ten",
        "publish/tls",
        ("node-batch/tls",),
    ),
    Pair(
        "``BatchPublisher``, to the Node.js SDK's ``triggerBatch`` of ten",
        "publisher",
        ("node-batch",),
    ),
    Pair(
        "``trigger_batch`` of ten, to the Node.js SDK's ``triggerBatch`` of ten",
        "batch",
        ("node-batch",),
    ),
    Pair(
        "``BlockingPusher``, one thread, to the Python SDK on requests",
        "blocking-1",
        ("requests-1",),
    ),
    Pair(
        "``BlockingPusher``, eight threads, to the Python SDK on requests",
        "blocking-8",
        ("requests-8",),
    ),
)

#: So many times.
TIMES = "\N{MULTIPLICATION SIGN}"

#: What stands above what :func:`ratio_rows` gives.
RATIO_HEADER = ("Compared in the same run", "Events/s", "CPU per event")


def ratio_rows(figures: Figures) -> Iterator[tuple[str, str, str]]:
    """Each pair that was measured: events per second, CPU per event."""
    for pair in PAIRS:
        if pair.is_measured(figures):
            one, other = figures[pair.ours], fastest(figures, pair.theirs)
            rate, cpu = one.rate_over(other), one.cpu_over(other)
            yield pair.name, f"{rate:.1f} {TIMES}", f"{cpu:.2f} {TIMES}"


def judged(
    what: str, sign: Literal["<=", ">="], limit: float, value: float | None = None
) -> Target:
    """Whether *value* keeps to the limit; None where it could not be measured."""
    wanted = f"{sign} {limit:,g}"
    if value is None:
        return Target(what, wanted)
    digits = 0 if isinstance(value, int) or limit >= 100 else 2
    measured = f"{value:,.{digits}f}"
    return Target(what, wanted, measured, value <= limit if sign == "<=" else value >= limit)


@attrs.frozen
class Aim:
    """
    What is aimed at.

    :ivar needs: The subjects that it is about.
    :ivar value: What counts, where all of these were measured.
    :ivar obstacle: What stands in the way, where the aim is known to be out of reach.
    """

    what: str
    sign: Literal["<=", ">="]
    limit: float
    needs: tuple[str, ...]
    value: Callable[[Figures], float]
    obstacle: str = ""

    def judge(self, figures: Figures) -> Target:
        """Whether it was met."""
        known = all(name in figures for name in self.needs)
        value = self.value(figures) if known else None
        target = judged(self.what, self.sign, self.limit, value)
        return attrs.evolve(target, obstacle=self.obstacle)


def _faster(what: str, limit: float, ours: str, *theirs: str, obstacle: str = "") -> Aim:
    def value(figures: Figures) -> float:
        return figures[ours].rate_over(fastest(figures, theirs))

    return Aim(what, ">=", limit, (ours, *theirs), value, obstacle)


def _cheaper(what: str, limit: float, ours: str, theirs: str, obstacle: str = "") -> Aim:
    def value(figures: Figures) -> float:
        return figures[ours].cpu_over(figures[theirs])

    return Aim(what, "<=", limit, (ours, theirs), value, obstacle)


def _trigger_cpu(figures: Figures) -> float:
    return figures["trigger"].cpu_over(fastest(figures, SDK_TRIGGERS))


#: V8 compiles what CPython interprets.  In the profile of a trigger, treq and the agents that
#: it wraps take 30 % (14 % to take apart the URL for a cookie jar that keeps nothing), signing
#: 9 %, checking and encoding 5 %, the line in the log 4 %; the rest is small steps of Twisted's
#: reactor and the client.
_INTERPRETED = "each step of a request is interpreted"
#: Of the 110 000 instructions of an event of publish(), its tenth of a request takes nearly a
#: half; checking and encoding takes a quarter, queueing and counting another.  Encoding by
#: orjson would take off less than a tenth, and write null for NaN, which is refused here.
_EACH_EVENT = "each event is encoded and counted by interpreted code"

AIMS = (
    _faster("trigger / Python SDK's fastest", 1.6, "trigger", *SDK_TRIGGERS),
    Aim(
        "trigger: CPU per event / Python SDK's fastest",
        "<=",
        0.7,
        ("trigger", *SDK_TRIGGERS),
        _trigger_cpu,
    ),
    # That backend opens a session for each request, which TLS makes dear: beside the
    # others, the same is asked as without TLS.
    _faster("trigger / Python SDK on aiohttp, TLS", 3, "trigger/tls", "aiohttp/tls"),
    _faster("trigger / Python SDK's fastest, TLS", 1.6, "trigger/tls", *over_tls(SDK_TRIGGERS)),
    _faster("BatchPublisher / Python SDK's trigger", 10, "publisher", *SDK_TRIGGERS),
    _faster("BatchPublisher / Python SDK's trigger_batch", 1.3, "publisher", *SDK_BATCHES),
    _faster("BatchPublisher / Node.js SDK's trigger", 3, "publisher", "node"),
    # These two are absolute: they were set on a machine with two cores.
    Aim(
        "BatchPublisher: CPU us per event",
        "<=",
        25,
        ("publisher",),
        lambda figures: figures["publisher"].cpu,
    ),
    Aim(
        "BatchPublisher: events per second",
        ">=",
        35_000,
        ("publisher",),
        lambda figures: figures["publisher"].rate,
    ),
    _faster("trigger / Node.js SDK's trigger", 1, "trigger", "node", obstacle=_INTERPRETED),
    _faster(
        "publish() / Node.js SDK's triggerBatch",
        1.2,
        "publish",
        "node-batch",
        obstacle=_EACH_EVENT,
    ),
    _cheaper(
        "publish(): CPU per event / Node.js SDK's triggerBatch",
        1,
        "publish",
        "node-batch",
        _EACH_EVENT,
    ),
    _faster(
        "BatchPublisher / Node.js SDK's triggerBatch",
        0.9,
        "publisher",
        "node-batch",
        obstacle=_EACH_EVENT,
    ),
    _faster("BlockingPusher / SDK on requests, 1 thread", 1.2, "blocking-1", "requests-1"),
    _faster("BlockingPusher / SDK on requests, 8 threads", 2, "blocking-8", "requests-8"),
)


def of_throughput(figures: Figures, wanted: Iterable[str]) -> Iterator[Target]:
    """
    Those that are about nothing but the subjects that were to be measured.

    :param wanted: Their names, without and with ``"/tls"``.
    """
    subjects = set(wanted)
    for aim in AIMS:
        if subjects.issuperset(aim.needs):
            yield aim.judge(figures)


def of_pending(name: str, pending: Pending | None) -> Iterator[Target]:
    """What is asked of many events offered at once; None where they did not settle."""
    what = f"{name}, {EVENTS:,} events at once"
    if pending is None:
        yield Target(what, "all settle")
        return
    yield judged(f"{what}: bytes each", "<=", 3000, pending.bytes_each)
    yield judged(f"{what}: sockets", "<=", pending.limit, pending.sockets)
    yield judged(f"{what}: accepted", ">=", pending.count, pending.accepted)


def of_start(ratio: float | None) -> Target:
    """What is asked of ``import txpusher``; None where it could not be measured."""
    return judged("import txpusher / import treq", "<=", 1.15, ratio)
