"""
Memories with an end: the last event of each cache channel, the replies to
requests that may come again.

Both forget what is too old, and the oldest where there is too much.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Generic, TypeVar

import attrs

V = TypeVar("V", bound=Sized)

#: How long the event of a cache channel is kept, in seconds.
EVENT_LIFETIME = 30 * 60.0
#: How long the reply to a request with an idempotency key is kept, in seconds.
REPLY_LIFETIME = 120.0
#: The most bytes of one memory, roughly.
MAX_BYTES = 32 * 1024 * 1024


@attrs.frozen
class CachedEvent:
    """The last event of a cache channel: its data, and the message that carried it."""

    data: str
    message: bytes

    def __len__(self) -> int:
        return len(self.data) + len(self.message)


#: What an entry takes besides what it holds, in bytes.
_OVERHEAD = 300


class Expiring(Generic[V]):
    """
    Values that live for a while.

    :param lifetime: Seconds.
    :param most: The most bytes of them all; what is new drives out the oldest.
    """

    def __init__(self, lifetime: float, most: int = MAX_BYTES) -> None:
        self._lifetime = lifetime
        self._most = most
        self._size = 0
        # In order of age: a key that is set again moves to the end.
        self._entries: dict[str, tuple[float, V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, key: str, value: V, now: float) -> None:
        """Keep *value*, from *now* on."""
        if key in self._entries:
            self._drop(key)
        self.forget(now)
        self._entries[key] = (now + self._lifetime, value)
        self._size += len(key) + len(value) + _OVERHEAD
        while self._size > self._most:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        _, value = self._entries.pop(key)
        self._size -= len(key) + len(value) + _OVERHEAD

    def get(self, key: str, now: float) -> V | None:
        """The value, where it is not too old."""
        entry = self._entries.get(key)
        return None if entry is None or entry[0] <= now else entry[1]

    def remaining(self, key: str, now: float) -> float:
        """Seconds until the value of *key* is too old."""
        entry = self._entries.get(key)
        return 0.0 if entry is None else max(0.0, entry[0] - now)

    def forget(self, now: float) -> None:
        """Drop whatever is too old."""
        while self._entries:
            oldest = next(iter(self._entries))
            if self._entries[oldest][0] > now:
                return
            self._drop(oldest)
