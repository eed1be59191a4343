"""Waiting for messages that come in an order of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from tests.support.waiting import PATIENCE

Message = Mapping[str, Any]


class Inbox:
    """
    Messages, each taken once, by who waits for it or comes for it later.

    :ivar received: Everything that ever came, in order.
    """

    def __init__(self, owner: str, clock: IReactorTime) -> None:
        self.received: list[Message] = []
        self._owner = owner
        self._clock = clock
        self._unread: list[Message] = []
        self._waiting: list[tuple[Callable[[Message], bool], Deferred[Message]]] = []

    def put(self, message: Message) -> None:
        """Give *message* to the first who waits for one like it."""
        self.received.append(message)
        for entry in self._waiting:
            matches, waiter = entry
            if matches(message):
                self._waiting.remove(entry)
                waiter.callback(message)
                return
        self._unread.append(message)

    def take(self, what: str, matches: Callable[[Message], bool]) -> Deferred[Message]:
        """
        The first message that matches and that nobody has taken.

        :param what: What is waited for, in words.
        :raises AssertionError: It does not come in time; the error has all that
            came instead.
        """
        waiter: Deferred[Message] = Deferred()
        for message in self._unread:
            if matches(message):
                self._unread.remove(message)
                waiter.callback(message)
                return waiter
        entry = (matches, waiter)
        self._waiting.append(entry)
        waiter.addErrback(self._give_up, entry)
        waiter.addTimeout(PATIENCE, self._clock, lambda _, seconds: self._late(what, seconds))
        return waiter

    def _give_up(self, reason: Failure, entry: Any) -> Failure:
        reason.trap(CancelledError)
        self._waiting.remove(entry)
        return reason

    def _late(self, what: str, seconds: float) -> None:
        lines = [f"  {json.dumps(message, ensure_ascii=False)}" for message in self.received]
        raise AssertionError(
            f"{self._owner} did not receive {what} within {seconds:.0f} seconds; it received "
            + ("\n".join(["only:", *lines]) if lines else "nothing")
        )
