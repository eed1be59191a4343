"""
The newest of what has happened on a server, numbered, for whoever looks on.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import attrs

from txpusher._protocol.encryption import is_encrypted
from txpusher.server import _limits as limits
from txpusher.server._core.outputs import Activity


@attrs.frozen
class Entry:
    """
    Something that has happened.

    :ivar id: One more than the entry's before.
    :ivar time: Seconds since the epoch.
    :ivar decrypted: The data of an event of an encrypted channel, in clear; None where the
        event is none, or the server cannot read it.
    """

    id: int
    time: float
    activity: Activity
    decrypted: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the entry as it is shown: each field in each entry, None for nothing."""
        activity = self.activity
        return {
            "id": self.id,
            "time": round(self.time, 3),
            "kind": activity.kind,
            "app": activity.app_id,
            "channel": activity.channel,
            "event": activity.event,
            "data": activity.data,
            "decrypted": self.decrypted,
            "socket_id": activity.socket_id,
            "user_id": activity.user_id,
            "detail": activity.detail,
            "refusal": activity.refusal,
            "explanation": activity.explanation,
            "headers": activity.headers,
        }


class Feed:
    """
    An observer that keeps the newest entries, and tells its watchers of each.

    :param clock: Returns the time in seconds since the epoch.
    :param open_sealed: Returns the data of an event of an encrypted channel in clear, None
        where it cannot be read; called with the app's id, the channel and the data.
    :ivar run: A name that no other feed has: ids are comparable within one feed alone.
    :ivar cleared: The id of the newest entry that was there when the feed was cleared.
    :ivar watchers: Called, each, when an entry was added and when the feed was cleared.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        open_sealed: Callable[[str, str, str], str | None] = lambda app, channel, data: None,
    ) -> None:
        self.run = secrets.token_hex(8)
        self.cleared = 0
        self.watchers: set[Callable[[], None]] = set()
        self._clock = clock
        self._open_sealed = open_sealed
        self._entries: deque[Entry] = deque(maxlen=limits.CONSOLE_ENTRIES)
        self._last_id = 0

    def __call__(self, activity: Activity) -> None:
        """Add an entry."""
        self._last_id += 1
        channel, data, decrypted = activity.channel, activity.data, None
        if channel is not None and data is not None and is_encrypted(channel):
            decrypted = self._open_sealed(activity.app_id, channel, data)
        self._entries.append(Entry(self._last_id, self._clock(), activity, decrypted))
        self._tell()

    @property
    def last_id(self) -> int:
        """The id of the newest entry, 0 where there was none yet."""
        return self._last_id

    def after(self, entry_id: int) -> Iterable[Entry]:
        """Return the entries that are newer than an id, the oldest first."""
        known = max(0, entry_id - (self._last_id - len(self._entries)))
        return islice(self._entries, known, None)

    def clear(self) -> None:
        """Forget every entry; the ids go on."""
        self._entries.clear()
        self.cleared = self._last_id
        self._tell()

    def _tell(self) -> None:
        for watcher in list(self.watchers):
            watcher()
