"""
How many messages an app has used up, as the hosted service counts them.

Sources: "How is my message count calculated in Channels?" and "Over what time period are my
Channels limits counted?" in Pusher's support pages.
"""

from __future__ import annotations

from txpusher.server._limits import Limits

#: Seconds of a day.
_DAY = 86_400


class Usage:
    """
    The messages of one app on one day, in UTC, and in one second.

    Events that come in and calls of the HTTP API count, deliveries to each subscriber, the
    comings and goings of members, and webhooks.  Pings, subscriptions and errors do not.

    :param limits: The limits of the app.  Without a limit nothing is counted.
    :param epoch: What to add to the hub's time for the seconds since the epoch.
    :ivar is_limited: Whether anything is counted.
    """

    def __init__(self, limits: Limits, epoch: float) -> None:
        self._per_day = limits.messages_per_day
        self._per_second = limits.messages_per_second
        self.is_limited = self._per_day is not None or self._per_second is not None
        self._epoch = epoch
        self._day = 0
        self._today = 0
        self._second = 0
        self._published = 0

    def count(self, messages: int, now: float) -> None:
        """Count some messages of today."""
        if self._per_day is not None:
            self._turn_page(now)
            self._today += messages

    def problem_today(self, now: float) -> str | None:
        """Return in words that the app has used up its messages of today, else None."""
        if self._per_day is None:
            return None
        self._turn_page(now)
        if self._today < self._per_day:
            return None
        return f"the app is over its quota of {self._per_day} messages a day, until 00:00 UTC"

    def problem_this_second(self, messages: int, now: float) -> str | None:
        """Count events that come in; return in words that they are too many, else None."""
        if self._per_second is None:
            return None
        if int(now) != self._second:
            self._second, self._published = int(now), 0
        if self._published + messages > self._per_second:
            return (
                f"the app may publish {self._per_second} messages in a second, "
                f"not {self._published + messages}"
            )
        self._published += messages
        return None

    def _turn_page(self, now: float) -> None:
        day = int((now + self._epoch) // _DAY)
        if day != self._day:
            self._day, self._today = day, 0
