"""
At the reactor's shutdown: a word in the log about operations that will never end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

from txpusher.errors import ClosedError, PusherError

_log = Logger(namespace="txpusher")


class ShutdownWatch:
    """
    Tells a client when the reactor begins to stop, and counts at the end what is unsettled.

    The reactor closes all connections before it calls what others have asked for, so
    operations in flight fail in between; those failures count as unsettled.  What comes last
    is for logs to end, where crochet runs the reactor.  The reactor holds no client: a
    client that nobody uses any more may be collected.

    :param unsettled: A method that returns how many operations have not ended.
    """

    def __init__(self, reactor: Any, unsettled: Callable[[], int]) -> None:
        self._is_stopping = False
        self._lost = 0
        self._reactor = reactor
        self._triggers: list[Any] = []
        self._unsettled: WeakMethod[Callable[[], int]] | None = None
        if IReactorCore.providedBy(reactor):
            self._unsettled = WeakMethod(unsettled, lambda _: self.end())
            for phase, function in (("before", self._begin), ("during", self._tell)):
                trigger = reactor.addSystemEventTrigger(phase, "shutdown", function)
                self._triggers.append(trigger)

    def _begin(self) -> None:
        self._is_stopping = True

    def _tell(self) -> None:
        unsettled = None if self._unsettled is None else self._unsettled()
        count = self._lost + (0 if unsettled is None else unsettled())
        if count:
            _log.error(
                "{count} operations were unsettled when the reactor stopped", count=count
            )

    def failed(self, error: PusherError) -> None:
        """Note that an operation has failed; what close() ends has been ended on purpose."""
        if self._is_stopping and not isinstance(error, ClosedError):
            self._lost += 1

    def end(self) -> None:
        """Stop watching: the client is closed, or nobody has it any more."""
        self._unsettled = None
        triggers, self._triggers = self._triggers, []
        # A reactor that stops goes through its triggers itself, and tells what was lost.
        if not self._is_stopping:
            for trigger in triggers:
                self._reactor.removeSystemEventTrigger(trigger)
