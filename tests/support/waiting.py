"""Waiting for something, and never for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

T = TypeVar("T")

#: Seconds that anything may take which takes an instant when all is well.
PATIENCE = 10.0


def within(deferred: Deferred[T], seconds: float = PATIENCE) -> Deferred[T]:
    """The same Deferred, which fails after so many seconds."""
    from twisted.internet import reactor

    return deferred.addTimeout(seconds, reactor)


async def pause(seconds: float) -> None:
    """Let the reactor run for so many seconds."""
    from twisted.internet import reactor

    await deferLater(reactor, seconds)


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for a condition that must come true, and fail where it does not."""
    from twisted.internet import reactor

    deadline = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < deadline, "it did not come true in time"
        await deferLater(reactor, 0.002)
