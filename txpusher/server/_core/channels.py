"""
A channel, and what its name says about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from txpusher._protocol.encryption import is_encrypted
from txpusher._protocol.names import USER_CHANNEL_PREFIX
from txpusher.server._core.presence import Member, Members

if TYPE_CHECKING:
    from txpusher.server._core.connection import Connection

_CACHE_PREFIXES = ("cache-", "private-cache-", "private-encrypted-cache-", "presence-cache-")


def is_presence(name: str) -> bool:
    """Whether the subscribers of the channel know of each other."""
    return name.startswith("presence-")


def needs_auth(name: str) -> bool:
    """Whether a subscription needs a signature."""
    return name.startswith(("private-", "presence-"))


def is_cache(name: str) -> bool:
    """Whether the channel's last event is kept for those who come later."""
    return name.startswith(_CACHE_PREFIXES)


def is_user_channel(name: str) -> bool:
    """Whether the channel is that of one signed-in user."""
    return name.startswith(USER_CHANNEL_PREFIX)


def takes_client_events(name: str) -> bool:
    """Whether clients may send events to the channel."""
    return needs_auth(name) and not is_encrypted(name)


class Channel:
    """One occupied channel: who is subscribed, and as whom."""

    __slots__ = ("_everyone", "members", "name", "subscribers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.subscribers: dict[Connection, Member | None] = {}
        self._everyone: list[Any] | None = None
        self.members: Members | None = Members() if is_presence(name) else None

    def join(self, connection: Connection, member: Member | None) -> bool:
        """A new subscriber; True where a new member came with it."""
        self.subscribers[connection] = member
        self._everyone = None
        if self.members is None or member is None:
            return False
        return self.members.join(member)

    def leave(self, connection: Connection) -> Member | None:
        """A subscriber goes; the member who went with it, if any."""
        member = self.subscribers.pop(connection)
        self._everyone = None
        if self.members is None or member is None or not self.members.leave(member.user_id):
            return None
        return member

    def peers(self, but: Connection | None = None) -> list[Any]:
        """
        The peers of all subscribers, one excepted.

        Without an exception it is the same list until someone comes or goes.
        """
        if but is not None:
            return [one.peer for one in self.subscribers if one is not but]
        if self._everyone is None:
            self._everyone = [one.peer for one in self.subscribers]
        return self._everyone
