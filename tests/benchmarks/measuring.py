"""
How one way to publish is measured: the events, the warm-up, the clock, the loops
that keep requests in flight or threads busy.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import attrs

from .harness import own_cpu

#: Requests that a client on an event loop keeps in flight.
IN_FLIGHT = 32
#: Events that are kept waiting for a publisher that makes batches of them.
IN_FLIGHT_EVENTS = 1000
THREADS = 8
BATCH = 10
CHANNELS = 100
EVENT = "benchmark-event"
TEXT = "The quick brown fox jumps over the lazy dog. " * 2

now = time.perf_counter

T = TypeVar("T")


@attrs.frozen
class WarmUp:
    """
    How long a subject is warmed up: until its CPU time per event has levelled off.

    The same for all: a compiler at run time, such as V8's, takes seconds; what has
    none is warm at once.  A rate would say less, as it follows whatever else the
    machine does.

    :ivar slice: Seconds after which it is asked again.
    :ivar alike: How many slices in a row have to be alike.
    :ivar spread: The most that the dearest of these may cost, to the cheapest.
    :ivar most: How many slices are enough in any case.
    """

    slice: float = 0.2
    alike: int = 3
    spread: float = 1.1
    most: int = 20

    def is_level(self, costs: Sequence[float]) -> bool:
        """Whether what an event costs, slice by slice, has levelled off."""
        last = costs[-self.alike :]
        return len(last) == self.alike and max(last) <= self.spread * min(last)

    def is_over(self, costs: Sequence[float]) -> bool:
        """Whether to begin with the measurement."""
        return self.is_level(costs) or len(costs) >= self.most


WARM_UP = WarmUp()


@attrs.frozen
class Plan:
    """
    What to measure.

    :ivar ca: A file with the certificate authority of the sink, None for plain HTTP.
    """

    subject: str
    port: int
    ca: str | None
    seconds: float


@attrs.frozen
class Measured:
    """
    Events accepted, in how many seconds, for how many seconds of CPU time.

    :ivar level: Whether the subject was warm.
    """

    events: int
    seconds: float
    cpu: float
    level: bool = True

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds

    @property
    def cost(self) -> float:
        """CPU microseconds per event."""
        return 1e6 * self.cpu / self.events


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._cpu, self._began = own_cpu(), now()

    def stop(self, events: int) -> Measured:
        """What has been measured."""
        return Measured(events, now() - self._began, own_cpu() - self._cpu)


class Events:
    """The events to send: numbered, spread over the channels."""

    def __init__(self, channels: int = CHANNELS) -> None:
        self.number = 0
        self._names = [f"channel-{number}" for number in range(channels)]

    def next(self) -> tuple[str, str, dict[str, Any]]:
        """Channel, name and data of the next one."""
        self.number += 1
        number = self.number
        return (
            self._names[number % len(self._names)],
            EVENT,
            {"number": number, "text": TEXT},
        )

    def mapping(self) -> dict[str, Any]:
        """The next one, as an event of a batch."""
        channel, name, data = self.next()
        return {"channel": channel, "name": name, "data": data}

    def batch(self) -> list[dict[str, Any]]:
        """The next ten, as a batch."""
        return [self.mapping() for _ in range(BATCH)]

    def until(self, deadline: float) -> Iterator[dict[str, Any]]:
        """One after another, as events of a batch, until the clock says so."""
        while now() < deadline:
            yield self.mapping()


def check(reply: object) -> None:
    """Fail if it is not what the sink answers."""
    if reply != {}:
        raise AssertionError(f"not the reply of the sink: {reply!r}")


def measure(plan: Plan, keep_for: Callable[[float], int]) -> Measured:
    """Warm up, then measure *keep_for*, which publishes for as many seconds."""
    costs: list[float] = []
    while not WARM_UP.is_over(costs):
        watch = Stopwatch()
        costs.append(watch.stop(keep_for(WARM_UP.slice)).cost)
    watch = Stopwatch()
    measured = watch.stop(keep_for(plan.seconds))
    return attrs.evolve(measured, level=WARM_UP.is_level(costs))


async def measure_async(plan: Plan, keep_for: Callable[[float], Awaitable[int]]) -> Measured:
    """:func:`measure` for what runs on an event loop."""
    costs: list[float] = []
    while not WARM_UP.is_over(costs):
        watch = Stopwatch()
        costs.append(watch.stop(await keep_for(WARM_UP.slice)).cost)
    watch = Stopwatch()
    measured = watch.stop(await keep_for(plan.seconds))
    return attrs.evolve(measured, level=WARM_UP.is_level(costs))


def tls_policy(ca: str) -> Any:
    """Twisted's own verification, trusting one authority."""
    from twisted.internet.ssl import Certificate, trustRootFromCertificates
    from twisted.web.client import BrowserLikePolicyForHTTPS

    with open(ca, "rb") as file:
        authority = Certificate.loadPEM(file.read())
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates([authority]))


def keep_in_flight(
    begin: Callable[[], Any], in_flight: int, seconds: float, worth: int = 1
) -> Any:
    """
    Have *begin* called anew whenever a Deferred of its fires, for so many seconds.

    :param worth: Events per call.
    :return: A Deferred of the number of events.
    """
    from twisted.internet.defer import Deferred

    over: Deferred[int] = Deferred()
    deadline = now() + seconds
    done = 0
    flying = in_flight

    def again(reply: object) -> None:
        nonlocal done, flying
        if reply != {}:
            failed(AssertionError(f"not the reply of the sink: {reply!r}"))
        done += worth
        if now() < deadline:
            begin().addCallbacks(again, failed)
        else:
            flying -= 1
            if not flying:
                over.callback(done)

    def failed(failure: Any) -> None:
        if not over.called:
            over.errback(failure)

    for _ in range(in_flight):
        begin().addCallbacks(again, failed)
    return over


def discard_log() -> None:
    """Begin logging, as a program does, to nowhere."""
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)


def in_reactor(body: Callable[[Any], Awaitable[T]]) -> T:
    """Run a coroutine function in the reactor; its result."""
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    discard_log()
    results: list[T] = []

    async def main(reactor: Any) -> None:
        results.append(await body(reactor))

    try:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    except SystemExit as leaving:
        if leaving.code:
            raise
    return results[0]


def in_threads(
    plan: Plan, publish: Callable[[Events], int], threads: int, channels: int = CHANNELS
) -> Measured:
    """Have *publish* called over and over; it returns how many events it was."""

    def until(deadline: float) -> int:
        events, done = Events(channels), 0
        while now() < deadline:
            done += publish(events)
        return done

    with ThreadPoolExecutor(threads) as pool:

        def keep_for(seconds: float) -> int:
            return sum(pool.map(until, [now() + seconds] * threads))

        return measure(plan, keep_for)
