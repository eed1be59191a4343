"""
What goes to many subscribers at once, gathered until the reactor's round ends.

A write to a connection is a system call, which costs many times what it costs
to frame an event.  So the events of one round for the same large audience go
out in one write per subscriber: under load there are several, for requests
that came in while the last events were written.  Nothing waits any longer than
the round in which it came, and the order of everything stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: From this many subscribers on, gathering is worth its while.
LARGE_AUDIENCE = 50
#: The most bytes that gather for one audience.
MAX_BYTES = 65536


class Outbox:
    """
    :param reactor: Has rounds.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._to: Sequence[Any] = ()
        self._frames: list[bytes] = []
        self._size = 0
        self._call: Any = None

    def send(self, to: Sequence[Any], frame: bytes) -> None:
        """
        Send *frame* to each of *to*, now or soon.

        :param to: The same object as long as it stands for the same audience.
        """
        if len(to) < LARGE_AUDIENCE:
            self.flush()
            for peer in to:
                peer.send(frame)
            return
        if to is not self._to or self._size + len(frame) > MAX_BYTES:
            self.flush()
            self._to = to
        self._frames.append(frame)
        self._size += len(frame)
        if self._call is None:
            self._call = self._reactor.callLater(0, self._round_ends)

    def flush(self) -> None:
        """Send what has gathered; whatever is sent otherwise must come after it."""
        if self._frames:
            frames = b"".join(self._frames)
            to, self._to, self._frames, self._size = self._to, (), [], 0
            for peer in to:
                peer.send(frames)

    def _round_ends(self) -> None:
        self._call = None
        self.flush()

    def stop(self) -> None:
        """Send what has gathered, and leave nothing behind in the reactor."""
        self.flush()
        if self._call is not None:
            self._call.cancel()
            self._call = None
