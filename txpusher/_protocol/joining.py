"""
One channel as its subscriber knows it: how far the subscription is, who is there.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from txpusher._protocol.incoming import Message, decode_data, encode_again
from txpusher._protocol.names import is_presence
from txpusher._protocol.sealed import ChannelKey, MalformedError, WrongKeyError

#: The most events that wait for a new key of their channel.
MAX_HELD = 1000


class Stage(enum.Enum):
    """How far a subscription is on the present connection."""

    #: Nothing was asked: there is no connection, or the server still leaves the channel.
    OUTSIDE = "outside"
    #: The authorizer has been asked.
    AUTHORIZING = "authorizing"
    #: The authorizer has signed without data: the sign-in must come first.
    BEHIND_SIGN_IN = "behind sign-in"
    #: ``pusher:subscribe`` has been sent.
    ASKED = "asked"
    #: The server has confirmed the subscription.
    JOINED = "joined"
    #: The subscription was refused; the next connection tries it again.
    REFUSED = "refused"


class Standing(enum.Enum):
    """Whether the program has its subscription."""

    #: It waits for the first confirmation; a refusal ends the subscription.
    NEW = "new"
    #: It was confirmed once; a refusal is told, and the subscription stays.
    KEPT = "kept"


class Channel:
    """
    A channel that the program is subscribed to, or wants to be.

    :ivar custom_data: What the authorizer of :meth:`Subscriber.for_pusher` signs.
    :ivar members: The info of each member by id, empty but for presence channels; while
        there is no connection, the members that were there last.
    :ivar me: The ``id`` and ``info`` of this subscriber on a presence channel, else None.
    :ivar subscription_count: How many connections are subscribed, None until it was told.
    :ivar auth: What ``pusher:subscribe`` sends, once the authorizer has answered.
    :ivar key: The key of an encrypted channel.
    :ivar ticket: The question to the authorizer that is open, 0 for none.
    :ivar held: The events that wait for a new key.
    """

    def __init__(self, name: str, custom_data: Mapping[str, Any] | None) -> None:
        self.name = name
        self.custom_data = custom_data
        self.stage = Stage.OUTSIDE
        self.standing = Standing.NEW
        self.members: dict[str, Any] = {}
        self.me: dict[str, Any] | None = None
        self.subscription_count: int | None = None
        self.auth: dict[str, str] = {}
        self.key: ChannelKey | None = None
        self.ticket = 0
        self.held: deque[Message] = deque()

    @property
    def listening(self) -> bool:
        """
        Whether events of the channel are for this subscription.

        Some servers send an event before the confirmation.
        """
        return self.stage in (Stage.ASKED, Stage.JOINED)

    # Presence

    def identify(self, user_id: object, info: Any) -> None:
        """Note under which id this subscriber joins a presence channel."""
        self.me = {"id": str(user_id), "info": info}

    def joined(self, confirmation: Message) -> list[Message]:
        """
        Take note of the confirmation and return its messages to the handlers.

        On the way back these are also the members that came and went in between.
        """
        changes = self._present(confirmation.data) if is_presence(self.name) else []
        self.stage, self.standing = Stage.JOINED, Standing.KEPT
        return [_renamed(confirmation, "pusher:subscription_succeeded"), *changes]

    def _present(self, data: Any) -> list[Message]:
        before, self.members = self.members, dict(_members(data))
        if self.me is not None:
            self.me["info"] = self.members.get(self.me["id"], self.me["info"])
        if self.standing is Standing.NEW:
            return []
        gone = [
            _member(self.name, "removed", i, before[i]) for i in before.keys() - self.members
        ]
        come = [
            _member(self.name, "added", i, self.members[i])
            for i in self.members.keys() - before
        ]
        return gone + come

    def member_added(self, data: Any) -> list[Message]:
        """Take note of a new member; return the message to the handlers."""
        if not isinstance(data, dict) or "user_id" not in data:
            return []
        user_id = str(data["user_id"])
        self.members[user_id] = data.get("user_info")
        return [_member(self.name, "added", user_id, self.members[user_id])]

    def member_removed(self, data: Any) -> list[Message]:
        """Take note of a member that has left; return the message to the handlers."""
        user_id = str(data.get("user_id")) if isinstance(data, dict) else ""
        if user_id not in self.members:
            return []
        return [_member(self.name, "removed", user_id, self.members.pop(user_id))]

    def counted(self, told: Message) -> list[Message]:
        """Take note of the number of subscriptions; return the message to the handlers."""
        data = told.data
        count = data.get("subscription_count") if isinstance(data, dict) else None
        if not isinstance(count, int):
            return []
        self.subscription_count = count
        return [_renamed(told, "pusher:subscription_count")]

    # Encryption

    def opened(self, message: Message) -> Message:
        """
        Return an event of an encrypted channel as it was before.

        :raises WrongKeyError: It needs another key.
        :raises MalformedError: No key opens it.
        """
        if self.key is None:
            raise WrongKeyError
        text = self.key.open(message.data)
        return Message(self.name, message.event, decode_data(text), text, message.user_id)

    def release_held(self) -> Iterator[Message | str]:
        """Return each held event with the present key, the reason in words where it fails."""
        held, self.held = self.held, deque()
        for message in held:
            try:
                yield self.opened(message)
            except WrongKeyError:
                yield f"{message.event!r} was encrypted with another key than ours"
            except MalformedError as error:
                yield f"{message.event!r} cannot be decrypted: {error}"


def _members(data: Any) -> Iterator[tuple[str, Any]]:
    presence = data.get("presence") if isinstance(data, dict) else None
    if not isinstance(presence, dict):
        return
    infos = presence.get("hash")
    infos = infos if isinstance(infos, dict) else {}
    ids = presence.get("ids")
    for user_id in ids if isinstance(ids, list) else []:
        yield str(user_id), infos.get(str(user_id))
    yield from infos.items()


def _renamed(message: Message, event: str) -> Message:
    return Message(message.channel, event, message.data, message.raw_data)


def _member(channel: str, change: str, user_id: str, info: Any) -> Message:
    data = {"id": user_id, "info": info}
    return Message(channel, f"pusher:member_{change}", data, encode_again(data))
