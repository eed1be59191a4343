"""
What the figures of one run show: ratios, and whether each is what it ought to be.

Pure functions over :mod:`tests.benchmarks.throughput`'s medians.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs

from tests.benchmarks.harness import median
from tests.benchmarks.pending import Pending


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
    """One figure that was aimed at, and what was measured."""

    what: str
    wanted: str
    measured: str
    met: bool

    def row(self) -> tuple[str, str, str, str]:
        """As a row of a table."""
        return self.what, self.wanted, self.measured, "yes" if self.met else "NO"


SDK_TRIGGERS = ("requests-1", "requests-8", "aiohttp")
SDK_BATCHES = ("requests-batch", "aiohttp-batch")


def fastest(figures: Figures, *names: str) -> Figure:
    """
    Of several subjects the one with the most events per second.

    :raises KeyError: One was not measured: it may have been the fastest.
    """
    return max((figures[name] for name in names), key=lambda figure: figure.rate)


#: Ours, theirs, and how the pair is called.
PAIRS = (
    ("trigger", "aiohttp", "trigger / Python SDK on aiohttp"),
    ("trigger", "node", "trigger / Node SDK"),
    ("trigger", "treq", "trigger / plain treq"),
    ("batch", "aiohttp-batch", "trigger_batch / Python SDK on aiohttp"),
    ("publisher", "aiohttp", "BatchPublisher / trigger of the Python SDK on aiohttp"),
    ("publisher", "aiohttp-batch", "BatchPublisher / its trigger_batch of 10"),
    ("publisher", "node", "BatchPublisher / trigger of the Node SDK"),
    ("blocking-1", "requests-1", "BlockingPusher / Python SDK on requests, 1 thread"),
    ("blocking-8", "requests-8", "BlockingPusher / Python SDK on requests, 8 threads"),
    ("trigger/tls", "aiohttp/tls", "trigger / Python SDK on aiohttp, TLS"),
    ("trigger/tls", "node/tls", "trigger / Node SDK, TLS"),
    ("publisher/tls", "aiohttp-batch/tls", "BatchPublisher / its trigger_batch of 10, TLS"),
)


def ratio_rows(figures: Figures) -> Iterator[tuple[str, str, str]]:
    """Each pair of which both were measured: events per second, CPU per event."""
    for ours, theirs, name in PAIRS:
        if ours in figures and theirs in figures:
            one, other = figures[ours], figures[theirs]
            yield name, f"{one.rate_over(other):.1f} x", f"{one.cpu_over(other):.2f} x"


def _at_least(what: str, wanted: float, ratio: float) -> Target:
    return Target(what, f">= {wanted:g}", f"{ratio:.2f}", ratio >= wanted)


def _at_most(what: str, wanted: float, value: float) -> Target:
    return Target(what, f"<= {wanted:g}", f"{value:.2f}", value <= wanted)


def _faster(what: str, wanted: float, ours: str, *theirs: str) -> Callable[[Figures], Target]:
    def target(figures: Figures) -> Target:
        return _at_least(what, wanted, figures[ours].rate_over(fastest(figures, *theirs)))

    return target


def _trigger_cpu(figures: Figures) -> Target:
    ratio = figures["trigger"].cpu_over(fastest(figures, *SDK_TRIGGERS))
    return _at_most("trigger: CPU, to the Python SDK's fastest", 0.7, ratio)


def _publisher_cpu(figures: Figures) -> Target:
    return _at_most("BatchPublisher: CPU us per event", 25, figures["publisher"].cpu)


def _publisher_rate(figures: Figures) -> Target:
    rate = figures["publisher"].rate
    return Target("BatchPublisher: events per second", ">= 35000", f"{rate:.0f}", rate >= 35000)


_TARGETS: tuple[Callable[[Figures], Target], ...] = (
    _faster("trigger / Python SDK's fastest", 1.6, "trigger", *SDK_TRIGGERS),
    _trigger_cpu,
    _faster("trigger / Python SDK on aiohttp, TLS", 3, "trigger/tls", "aiohttp/tls"),
    _faster("BatchPublisher / Python SDK's trigger", 10, "publisher", *SDK_TRIGGERS),
    _faster("BatchPublisher / Python SDK's trigger_batch", 1.3, "publisher", *SDK_BATCHES),
    _faster("BatchPublisher / Node SDK's trigger", 3, "publisher", "node"),
    _publisher_cpu,
    _publisher_rate,
    _faster("BlockingPusher / SDK on requests, 1 thread", 1.2, "blocking-1", "requests-1"),
    _faster("BlockingPusher / SDK on requests, 8 threads", 2, "blocking-8", "requests-8"),
)


def of_throughput(figures: Figures) -> Iterator[Target]:
    """Those of which both sides were measured."""
    for target in _TARGETS:
        try:
            yield target(figures)
        except KeyError:
            continue


def of_pending(name: str, pending: Pending) -> Iterator[Target]:
    """What is asked of many events offered at once."""
    count = f"{pending.count:,}"
    yield _at_most(f"{name}, {count} at once: bytes each", 3000, pending.bytes_each)
    yield Target(
        f"{name}, {count} at once: sockets",
        f"<= {pending.limit}",
        str(pending.sockets),
        0 < pending.sockets <= pending.limit,
    )
    yield Target(
        f"{name}, {count} at once: accepted",
        f"= {pending.count}",
        str(pending.accepted),
        pending.accepted == pending.count,
    )


def of_start(ratio: float) -> Target:
    """What is asked of ``import txpusher``."""
    return _at_most("import txpusher / import treq", 1.15, ratio)
