"""
Client events on their way: each is followed by a ping, whose pong says that it passed.

The protocol has no answer to a client event but the ``pusher:error`` of one that is refused.
A server deals with the messages of a connection in order; so a pong without an error before
it means that the client event before the ping was not refused.
"""

from __future__ import annotations

from collections import deque

import attrs

from txpusher._protocol.names import check_event_name, takes_client_events
from txpusher._text import short_repr
from txpusher.errors import InvalidRequestError

#: What the name of a client event begins with.
PREFIX = "client-"


def check_client_event(channel: str, event: object) -> str:
    """
    Return *event* where it can be the name of a client event on *channel*.

    :raises InvalidRequestError: The name is not one, or the channel takes no client events.
    """
    name = check_event_name(event)
    if not name.startswith(PREFIX):
        raise InvalidRequestError(
            f"the name of a client event must begin with {PREFIX!r}, not be {short_repr(name)}"
        )
    if not takes_client_events(channel):
        raise InvalidRequestError(
            "client events are for private and presence channels without encryption, "
            f"not for {short_repr(channel)}"
        )
    return name


@attrs.frozen
class _Pending:
    """A client event that no pong has settled yet."""

    number: int
    channel: str


class PendingPings:
    """The pings that have no pong yet, each with the client event before it, if any."""

    def __init__(self) -> None:
        self._pings: deque[_Pending | None] = deque()

    def sent(self) -> None:
        """Note a ping that only asks whether the server lives."""
        self._pings.append(None)

    def sent_after(self, number: int, channel: str) -> None:
        """Note a ping that follows the client event *number*."""
        self._pings.append(_Pending(number, channel))

    def ponged(self) -> int | None:
        """Return the client event that a pong settles, None where there is none."""
        pending = self._pings.popleft() if self._pings else None
        return None if pending is None else pending.number

    def refused(self, channel: str | None) -> int | None:
        """
        Return the client event that an error is about, and forget it; None without one.

        :param channel: The channel that the error names, None where it names none.
        """
        for place, pending in enumerate(self._pings):
            if pending is not None and channel in (None, pending.channel):
                self._pings[place] = None
                return pending.number
        return None

    def forget(self, number: int) -> None:
        """Settle nothing for the client event *number*: its Deferred was cancelled."""
        for place, pending in enumerate(self._pings):
            if pending is not None and pending.number == number:
                self._pings[place] = None

    def clear(self) -> list[int]:
        """Forget every ping, and return the client events that are still open."""
        numbers = [pending.number for pending in self._pings if pending is not None]
        self._pings.clear()
        return numbers
