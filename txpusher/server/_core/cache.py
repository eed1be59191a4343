"""
Values that live for a while: the last event of each cache channel, the replies to
requests that may come again.

A cache forgets what is too old, and the oldest where there is too much.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from txpusher.server import _limits as limits

V = TypeVar("V")


@attrs.frozen
class CachedEvent:
    """The last event of a cache channel: its data, and the message that carried it."""

    data: str
    message: bytes

    @property
    def size(self) -> int:
        """The bytes of the event, roughly."""
        return len(self.data) + len(self.message)


@attrs.frozen
class _Entry(Generic[V]):
    expires: float
    size: int
    value: V


class ExpiringCache(Generic[V]):
    """
    Keeps values for some time, up to some bytes.

    :param lifetime: Seconds for which a value is kept.
    :param max_bytes: The bytes of all values; a new value drives out the oldest.
    """

    def __init__(self, lifetime: float, max_bytes: int = limits.CACHE) -> None:
        self._lifetime = lifetime
        self._max_bytes = max_bytes
        self._size = 0
        # In order of age: a key that is set again moves to the end.
        self._entries: dict[str, _Entry[V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, key: str, value: V, size: int, now: float) -> None:
        """
        Keep *value* from *now* on.

        :param size: The bytes that *value* takes, roughly.
        """
        if key in self._entries:
            self._drop(key)
        self.forget(now)
        size += len(key) + limits.CACHE_ENTRY
        self._entries[key] = _Entry(now + self._lifetime, size, value)
        self._size += size
        while self._size > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: str) -> None:
        self._size -= self._entries.pop(key).size

    def get(self, key: str, now: float) -> V | None:
        """Return the value of *key*, None where there is none or it is too old."""
        entry = self._entries.get(key)
        return None if entry is None or entry.expires <= now else entry.value

    def remaining(self, key: str, now: float) -> float:
        """Return the seconds until the value of *key* is too old, 0 without a value."""
        entry = self._entries.get(key)
        return 0.0 if entry is None else max(0.0, entry.expires - now)

    def forget(self, now: float) -> None:
        """Drop all values that are too old."""
        while self._entries:
            oldest = next(iter(self._entries))
            if self._entries[oldest].expires > now:
                return
            self._drop(oldest)
