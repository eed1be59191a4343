"""
One operation of a client: a request until its Deferred fires.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from twisted.internet.defer import Deferred

from txpusher._http.attempt import OngoingAttempt
from txpusher._request import ApiRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall


class OperationState(Enum):
    """The state of one operation; :class:`~txpusher._http.transport.Transport` changes it."""

    #: The operation waits for a free connection.
    QUEUED = auto()
    #: An attempt is being made.
    IN_FLIGHT = auto()
    #: An attempt has failed; the next one is due later.
    WAITING_TO_RETRY = auto()
    #: The Deferred has fired, or is about to.
    DONE = auto()


class Operation:
    """
    One request until its Deferred fires.

    :param cancelled: Called when the Deferred is cancelled.
    :param of_publisher: Whether a BatchPublisher has made the request; it tells of its events
        itself.
    :ivar attempts: How many attempts have begun.
    :ivar maybe_delivered: Whether the server may have acted on an earlier attempt.
    :ivar attempt: The attempt that is being made, None between two.
    :ivar attempt_began: When that attempt began, by the reactor's clock.
    :ivar ends: When the time for all attempts is over, None where it never is.
    :ivar retry_call: The delayed call that ends the wait for the next attempt.
    """

    __slots__ = (
        "attempt",
        "attempt_began",
        "attempts",
        "deferred",
        "ends",
        "idempotency_key",
        "maybe_delivered",
        "of_publisher",
        "request",
        "retry_call",
        "state",
    )

    def __init__(
        self,
        request: ApiRequest,
        cancelled: Callable[[Operation], None],
        *,
        of_publisher: bool,
    ) -> None:
        self.request = request
        self.of_publisher = of_publisher
        self.state = OperationState.QUEUED
        self.attempts = 0
        self.attempt: OngoingAttempt | None = None
        self.attempt_began = 0.0
        self.ends: float | None = None
        self.idempotency_key = request.idempotency_key
        self.maybe_delivered = False
        self.retry_call: IDelayedCall | None = None
        self.deferred: Deferred[dict[str, Any]] = Deferred(lambda _: cancelled(self))

    def begin_attempt(
        self, now: float, max_duration: float | None, *, make_key: bool
    ) -> float | None:
        """
        Note that an attempt begins *now*; return how many seconds it may take, None for any.

        :param make_key: Whether a POST without an idempotency key gets one, the same one for
            each attempt.
        """
        if not self.attempts:
            if make_key and self.idempotency_key is None and self.request.method == "POST":
                self.idempotency_key = uuid4().hex
            if max_duration is not None:
                self.ends = now + max_duration
        self.attempts += 1
        self.attempt_began = now
        self.state = OperationState.IN_FLIGHT
        return None if self.ends is None else max(0.0, self.ends - now)

    def stop(self) -> None:
        """End the attempt or the wait that is under way, and keep what may be delivered."""
        self.state = OperationState.DONE
        attempt, self.attempt = self.attempt, None
        if attempt is not None:
            self.maybe_delivered |= attempt.maybe_delivered
            attempt.abort()
        if self.retry_call is not None and self.retry_call.active():
            self.retry_call.cancel()
