# -*- test-case-name: tests.integration.test_console -*-
"""
What became of the newest requests to webhooks, each of which can be sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


@attrs.frozen
class Attempt:
    """
    One attempt to send a request.

    :ivar time: When it ended, in seconds since the epoch.
    :ivar result: The status of the reply, or why there was none, in words.
    """

    time: float
    accepted: bool
    result: str
    milliseconds: float


@attrs.define
class Delivery:
    """
    A request to a webhook, and its attempts so far.

    :ivar place: The URL without credentials and query.
    :ivar what: The names and the channels of the events, in words.
    :ivar send_again: Sends the same request once more.
    :ivar given_up: Whether the request is not repeated any more, although it failed.
    """

    number: int
    app_id: str
    place: str
    what: str
    body: bytes
    send_again: Callable[[], None]
    attempts: list[Attempt] = attrs.field(factory=list)
    given_up: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the request as it is shown."""
        last = self.attempts[-1] if self.attempts else None
        return {
            "id": self.number,
            "app": self.app_id,
            "url": self.place,
            "events": self.what,
            "body": self.body.decode("utf-8", "replace"),
            "state": self._state(last),
            "result": None if last is None else last.result,
            "attempts": [attrs.asdict(attempt) for attempt in self.attempts],
        }

    def _state(self, last: Attempt | None) -> str:
        if last is None:
            return "sending"
        if last.accepted:
            return "accepted"
        return "failed" if self.given_up else "repeating"


class Deliveries:
    """
    Keeps the newest deliveries.

    :param most: How many are kept; 0 keeps none, where nobody looks.
    :param clock: Returns the time in seconds since the epoch.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._last = 0
        self._kept: dict[int, Delivery] = {}

    def add(
        self, app_id: str, place: str, what: str, body: bytes, send_again: Callable[[], None]
    ) -> int:
        """Add a request that is about to be sent; return its number."""
        self._last += 1
        delivery = Delivery(self._last, app_id, place, what, body, send_again)
        self._kept[self._last] = delivery
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]
        return self._last

    def attempted(self, number: int, accepted: bool, result: str, milliseconds: float) -> None:
        """Note an attempt to send a request."""
        if number in self._kept:
            self._kept[number].attempts.append(
                Attempt(self._clock(), accepted, result, round(milliseconds))
            )

    def given_up(self, number: int) -> None:
        """Note that a request is not repeated any more."""
        if number in self._kept:
            self._kept[number].given_up = True

    def overview(self) -> list[dict[str, Any]]:
        """Return the requests as they are shown, the newest first."""
        return [delivery.fields() for delivery in reversed(self._kept.values())]

    def repeat(self, number: int) -> bool:
        """Send a request again; return whether it is still kept."""
        delivery = self._kept.get(number)
        if delivery is None:
            return False
        delivery.send_again()
        return True
