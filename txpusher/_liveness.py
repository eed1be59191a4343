"""
Whether the other side still lives: a question after a silence, an end without an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Liveness:
    """
    Watches one connection; any byte is a sign of life.

    :param reactor: Its clock.
    :param heard_at: Returns when the last byte came, in the reactor's seconds.
    :param ask: Called after *activity_timeout* seconds of silence.
    :param dead: Called where nothing has come *pong_timeout* seconds later.
    """

    def __init__(
        self,
        reactor: Any,
        heard_at: Callable[[], float],
        ask: Callable[[], None],
        dead: Callable[[], None],
        *,
        activity_timeout: float,
        pong_timeout: float,
    ) -> None:
        self._reactor = reactor
        self._heard_at = heard_at
        self._ask = ask
        self._dead = dead
        self._activity_timeout = activity_timeout
        self._pong_timeout = pong_timeout
        self._asked_at = 0.0
        self._call: Any = reactor.callLater(activity_timeout, self._check)

    def stop(self) -> None:
        """Watch no more."""
        if self._call.active():
            self._call.cancel()

    def _check(self) -> None:
        now = self._reactor.seconds()
        left = self._heard_at() + self._activity_timeout - now
        if left > 0:
            # One timer for all messages: to move it at each of them would cost more.
            self._call = self._reactor.callLater(left, self._check)
            return
        self._asked_at = now
        self._wait_for_answer(now)
        self._ask()

    def _wait_for_answer(self, now: float) -> None:
        # Not all of pong_timeout, where the next question may be due before its end.
        left = self._asked_at + self._pong_timeout - now
        self._call = self._reactor.callLater(
            min(left, self._activity_timeout), self._look_for_answer
        )

    def _look_for_answer(self) -> None:
        now = self._reactor.seconds()
        if self._heard_at() >= self._asked_at:
            self._check()
        elif now < self._asked_at + self._pong_timeout:
            self._wait_for_answer(now)
        else:
            # Where the process stood still, the answer may wait in the socket: the reactor
            # reads it before it makes this call.
            self._call = self._reactor.callLater(0, self._give_up)

    def _give_up(self) -> None:
        if self._heard_at() >= self._asked_at:
            self._check()
        else:
            self._dead()
