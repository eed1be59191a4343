"""Deadlines under a reactor that stands still."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import Clock
from zope.interface import directlyProvides

from txpusher._http.deadline import Deadline, PatientClock


class Reactor:
    """A reactor's clock that a test moves, and that can stand still."""

    def __init__(self) -> None:
        directlyProvides(self, IReactorCore)
        self._clock = Clock()
        self.seconds: Callable[[], float] = self._clock.seconds
        self.callLater: Any = self._clock.callLater

    def run(self, seconds: float) -> None:
        """Run for a while, as a reactor does."""
        for _ in range(round(seconds * 100)):
            self._clock.advance(0.01)

    def stand_still(self, seconds: float) -> None:
        """Let time pass without a turn, then have one."""
        self._clock.advance(seconds)

    @property
    def timers(self) -> int:
        return len(self._clock.getDelayedCalls())


def deadline(reactor: Any, seconds: float) -> tuple[Deadline, list[float]]:
    expired: list[float] = []
    made = Deadline(PatientClock(reactor), seconds, lambda: expired.append(reactor.seconds()))
    return made, expired


def test_running_reactor_expires_a_deadline_in_time() -> None:
    reactor = Reactor()
    _, expired = deadline(reactor, 4.0)
    reactor.run(3.95)
    assert expired == []
    reactor.run(0.2)
    assert len(expired) == 1
    assert reactor.timers == 0


def test_standstill_does_not_count() -> None:
    reactor = Reactor()
    _, expired = deadline(reactor, 4.0)
    reactor.run(1.5)
    reactor.stand_still(100)
    assert expired == []
    # The slice in which the reactor stood still runs again.
    reactor.run(2.9)
    assert expired == []
    reactor.run(0.2)
    assert len(expired) == 1


def test_standstill_at_the_end_leaves_time_to_read() -> None:
    reactor = Reactor()
    _, expired = deadline(reactor, 4.0)
    reactor.run(3.5)
    reactor.stand_still(0.9)
    assert expired == []
    reactor.run(0.45)
    assert len(expired) == 1


def test_reactor_that_is_always_late_expires_a_deadline() -> None:
    reactor = Reactor()
    _, expired = deadline(reactor, 4.0)
    for _ in range(9):
        reactor.stand_still(3)
    assert len(expired) == 1


def test_cancelled_deadline_never_expires() -> None:
    reactor = Reactor()
    made, expired = deadline(reactor, 4.0)
    reactor.run(1.5)
    made.cancel()
    made.cancel()
    reactor.run(10)
    assert expired == []
    assert reactor.timers == 0


def test_clock_jumps_and_expires_a_deadline() -> None:
    clock = Clock()
    _, expired = deadline(clock, 4.0)
    clock.advance(3.9)
    assert expired == []
    clock.advance(50)
    assert expired == [53.9]
