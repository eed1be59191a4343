"""
Who is on a presence channel: users, each of whom may have several connections.
"""

from __future__ import annotations

from typing import Any

import attrs

from txpusher.server._core.json import load_object


@attrs.frozen
class Member:
    """A user as ``channel_data`` describes them."""

    user_id: str
    user_info: Any = None

    @classmethod
    def parse(cls, channel_data: str) -> Member:
        """
        The member in a subscription's ``channel_data``.

        :raises ValueError: It is not a JSON object with a ``user_id`` that is a
            non-empty str or an int.
        """
        fields = load_object(channel_data)
        user_id = fields.get("user_id")
        if isinstance(user_id, int) and not isinstance(user_id, bool):
            user_id = str(user_id)
        if not isinstance(user_id, str) or not user_id:
            raise ValueError("it has no user_id that is a non-empty string or an integer")
        return cls(user_id, fields.get("user_info"))

    def fields(self) -> dict[str, Any]:
        """The member as ``member_added`` has it."""
        fields = {"user_id": self.user_id}
        if self.user_info is not None:
            fields["user_info"] = self.user_info
        return fields


class Members:
    """The users of one presence channel, in the order in which they came."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._connections: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._members)

    def join(self, member: Member) -> bool:
        """One more connection of a user; True for the user's first."""
        user_id = member.user_id
        self._connections[user_id] = self._connections.get(user_id, 0) + 1
        if user_id in self._members:
            return False
        self._members[user_id] = member
        return True

    def leave(self, user_id: str) -> bool:
        """One connection less; True for the user's last."""
        self._connections[user_id] -= 1
        if self._connections[user_id]:
            return False
        del self._connections[user_id], self._members[user_id]
        return True

    def ids(self) -> list[str]:
        """The ids of the users."""
        return list(self._members)

    def summary(self) -> dict[str, Any]:
        """What a new subscriber is told."""
        return {
            "presence": {
                "ids": self.ids(),
                "hash": {user_id: m.user_info for user_id, m in self._members.items()},
                "count": len(self),
            }
        }
