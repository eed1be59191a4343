"""
All channels of a subscriber: asked for, confirmed, refused, left.

:class:`Channels` belongs to :class:`txpusher._protocol.subscribing.Subscribing`; its methods
return actions as that one's do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from txpusher._protocol.actions import (
    Action,
    Authorize,
    Forget,
    Joined,
    Level,
    Note,
    Refused,
    Send,
    Tell,
)
from txpusher._protocol.encryption import is_encrypted
from txpusher._protocol.incoming import Message, encode_again, write_message
from txpusher._protocol.joining import MAX_HELD, Channel, Stage, Standing
from txpusher._protocol.names import is_presence, needs_auth
from txpusher._protocol.sealed import ChannelKey, MalformedError, WrongKeyError
from txpusher._protocol.signing_in import SignIn
from txpusher._protocol.unanswered import Unanswered
from txpusher._text import utf8
from txpusher.errors import PusherError, SubscriptionError

#: The reason of a refusal that comes without one.
UNSAID = "the server did not say why"

_NAMES_IN = re.compile(r"[A-Za-z0-9_\-=@,.;]+").findall


class Channels:
    """
    The channels that the program wants, by name.

    :param user: Who has signed in; some presence channels wait for that.
    :param tickets: Gives the numbers of questions to the authorizer.
    :param redact: Replaces what must not be seen in the words of others.
    :param unanswered: Takes note of what the server has to answer.
    """

    def __init__(
        self,
        user: SignIn,
        tickets: Iterator[int],
        redact: Callable[[str], str],
        unanswered: Unanswered,
    ) -> None:
        self._user = user
        self._tickets = tickets
        self._redact = redact
        self._unanswered = unanswered
        self._channels: dict[str, Channel] = {}
        self._asked: dict[int, Channel] = {}
        #: Left by the program before the server's answer, which must come first.
        self._leaving: set[str] = set()

    def get(self, name: str | None) -> Channel | None:
        """Return the channel called *name*, None where the program does not want it."""
        return None if name is None else self._channels.get(name)

    # The program

    def subscribe(
        self, name: str, custom_data: Mapping[str, Any] | None, *, connected: bool
    ) -> list[Action]:
        """Subscribe to *name*, or try again where that was refused."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name, custom_data)
        elif channel.stage is Stage.JOINED:
            return [Joined(name)]
        if connected and channel.stage in (Stage.OUTSIDE, Stage.REFUSED):
            return self._begin(channel)
        return []

    def unsubscribe(self, name: str) -> list[Action]:
        """Leave *name*; its events are not for the program any more."""
        channel = self._channels.pop(name, None)
        if channel is None:
            return []
        actions = self._forget(channel)
        if channel.stage is Stage.ASKED:
            # Some servers would take a message that overtakes their answer for nothing.
            self._leaving.add(name)
        elif channel.stage is Stage.JOINED:
            actions.append(_leave(name))
        return actions

    # The connection

    def connected(self) -> list[Action]:
        """Subscribe to every channel."""
        return [
            action for channel in self._channels.values() for action in self._begin(channel)
        ]

    def disconnected(self) -> list[Action]:
        """Take note that the server has forgotten every subscription."""
        self._leaving.clear()
        actions: list[Action] = []
        for channel in self._channels.values():
            actions += self._forget(channel)
            channel.stage = Stage.OUTSIDE
        return actions

    def _begin(self, channel: Channel) -> list[Action]:
        if channel.name in self._leaving:
            channel.stage = Stage.OUTSIDE
            return []
        if not needs_auth(channel.name):
            return self._ask(channel)
        channel.stage = Stage.AUTHORIZING
        return self._authorize(channel)

    def _authorize(self, channel: Channel) -> list[Action]:
        channel.ticket = next(self._tickets)
        self._asked[channel.ticket] = channel
        return [Authorize(channel.ticket, channel.name, channel.custom_data)]

    def _forget(self, channel: Channel) -> list[Action]:
        ticket, channel.ticket = channel.ticket, 0
        return [] if self._asked.pop(ticket, None) is None else [Forget(ticket)]

    def _ask(self, channel: Channel) -> list[Action]:
        channel.stage = Stage.ASKED
        self._unanswered.add_subscription(channel.name)
        data = {"channel": channel.name, **channel.auth}
        return [Send(write_message("pusher:subscribe", data))]

    # The authorizer

    def authorized(self, ticket: int, answer: object) -> list[Action]:
        """Take the authorizer's answer, unless nobody waits for it any more."""
        channel = self._asked.pop(ticket, None)
        if channel is None:
            return []
        channel.ticket = 0
        try:
            channel.auth = _fields(channel.name, answer)
            if is_encrypted(channel.name):
                channel.key = _key(answer)
            _identify(channel)
        except (ValueError, PusherError) as error:
            return self._not_authorized(channel, self._as_refusal(channel.name, error))
        actions = self._released(channel)
        if channel.stage is Stage.AUTHORIZING:
            actions += self._enter(channel)
        return actions

    def not_authorized(self, ticket: int, error: PusherError) -> list[Action]:
        """Take the authorizer's refusal, unless nobody waits for it any more."""
        channel = self._asked.pop(ticket, None)
        if channel is None:
            return []
        channel.ticket = 0
        return self._not_authorized(channel, error)

    def _as_refusal(self, name: str, error: ValueError | PusherError) -> PusherError:
        return refusal(name, str(error)) if isinstance(error, ValueError) else error

    def _not_authorized(self, channel: Channel, error: PusherError) -> list[Action]:
        if channel.stage is Stage.AUTHORIZING:
            return self._refuse(channel, error)
        note = Note(Level.ERROR, f"no new key for {channel.name!r}: {error}")
        return [note, *self._released(channel)]

    def _enter(self, channel: Channel) -> list[Action]:
        """Ask the server, as soon as it knows who asks."""
        if is_presence(channel.name) and "channel_data" not in channel.auth:
            if self._user.awaited:
                channel.stage = Stage.BEHIND_SIGN_IN
                return []
            if not self._user.known:
                reason = (
                    "the authorizer gave no channel_data, and the subscriber has not signed in"
                )
                return self._refuse(channel, refusal(channel.name, reason))
            channel.identify(self._user.user_id, self._user.confirmed.get("user_info"))
        return self._ask(channel)

    def sign_in_settled(self) -> list[Action]:
        """Go on with the channels that wait for the sign-in, now that it is over."""
        return [
            action
            for channel in list(self._channels.values())
            if channel.stage is Stage.BEHIND_SIGN_IN
            for action in self._enter(channel)
        ]

    # The server

    def confirmed(self, message: Message) -> list[Action]:
        """Take ``pusher_internal:subscription_succeeded``."""
        name = message.channel or ""
        channel = self._channels.get(name)
        if name in self._leaving:
            self._leaving.discard(name)
            return [_leave(name), *(self._begin(channel) if channel else [])]
        if channel is None or channel.stage is not Stage.ASKED:
            return []
        return [*_tell(channel.joined(message)), Joined(name)]

    def rejected(self, name: str, reason: str, status: int | None, kind: str) -> list[Action]:
        """Take the server's refusal of a subscription."""
        channel = self._channels.get(name)
        if name in self._leaving:
            self._leaving.discard(name)
            return self._begin(channel) if channel else []
        if channel is None or channel.stage is not Stage.ASKED:
            return []
        return self._refuse(channel, refusal(name, self._redact(reason), status), kind)

    def waiting_in(self, text: str) -> str | None:
        """Return the channel that waits for the server's answer and is named in *text*."""
        words = {word for found in _NAMES_IN(text) for word in (found, found.rstrip(",.;"))}
        waiting = [
            name
            for name in (*self._channels, *self._leaving)
            if name in words and self._waits(name)
        ]
        return max(waiting, key=len, default=None)

    def _waits(self, name: str) -> bool:
        channel = self._channels.get(name)
        return name in self._leaving or (channel is not None and channel.stage is Stage.ASKED)

    def _refuse(
        self, channel: Channel, error: PusherError, kind: str = "AuthError"
    ) -> list[Action]:
        name = channel.name
        if channel.standing is Standing.NEW:
            del self._channels[name]
            return [Refused(name, error, gone=True)]
        channel.stage = Stage.REFUSED
        data = {"type": kind, "error": getattr(error, "reason", "") or str(error)}
        status = getattr(error, "status", None)
        if status is not None:
            data["status"] = status
        return [
            Note(Level.WARN, f"{error}; the next connection tries again"),
            Tell(Message(name, "pusher:subscription_error", data, encode_again(data))),
            Refused(name, error, gone=False),
        ]

    # Events

    def event(self, message: Message) -> list[Action]:
        """Take an event of a channel."""
        channel = self.get(message.channel)
        if channel is None or not channel.listening:
            return []
        if is_encrypted(channel.name) and not message.event.startswith("pusher:"):
            return self._sealed(channel, message)
        return [Tell(message)]

    def internal(self, message: Message) -> list[Action]:
        """Take one of the ``pusher_internal:`` messages of a channel that is joined."""
        channel = self.get(message.channel)
        if channel is None or channel.stage is not Stage.JOINED:
            return []
        if message.event == "pusher_internal:member_added":
            return _tell(channel.member_added(message.data))
        if message.event == "pusher_internal:member_removed":
            return _tell(channel.member_removed(message.data))
        return _tell(channel.counted(message))

    def _sealed(self, channel: Channel, message: Message) -> list[Action]:
        """
        Open an event of an encrypted channel, with a new key where the present one fails.

        Events that come while the new key is asked for wait, so that they stay in order.
        """
        if channel.ticket:
            if len(channel.held) < MAX_HELD:
                channel.held.append(message)
                return []
            return [_dropped(channel, f"{MAX_HELD} events wait for a new key already")]
        try:
            return [Tell(channel.opened(message))]
        except MalformedError as error:
            return [_dropped(channel, f"{message.event!r} cannot be decrypted: {error}")]
        except WrongKeyError:
            channel.held.append(message)
            return self._authorize(channel)

    def _released(self, channel: Channel) -> list[Action]:
        return [
            Tell(opened) if isinstance(opened, Message) else _dropped(channel, opened)
            for opened in channel.release_held()
        ]


def refusal(name: str, reason: str, status: int | None = None) -> SubscriptionError:
    """Return the error of a subscription to *name* that was refused for *reason*."""
    code = "" if status is None else f" with {status}"
    text = f"the subscription to {name!r} was refused{code}: {reason}"
    return SubscriptionError(text, channel=name, status=status, reason=reason)


def _dropped(channel: Channel, why: str) -> Note:
    return Note(Level.ERROR, f"an event on {channel.name!r} is lost: {why}")


def _leave(name: str) -> Send:
    return Send(write_message("pusher:unsubscribe", {"channel": name}))


def _tell(messages: Iterable[Message]) -> list[Action]:
    return [Tell(message) for message in messages]


def _fields(name: str, answer: object) -> dict[str, str]:
    """Return what an authorizer's answer has for the server; the key of events is not."""
    if not isinstance(answer, Mapping):
        raise ValueError(f"the authorizer must give a mapping, not a {type(answer).__name__}")
    fields = {"auth": answer.get("auth")}
    if answer.get("channel_data") is not None:
        fields["channel_data"] = answer["channel_data"]
    for field, value in fields.items():
        if not isinstance(value, str):
            raise ValueError(
                f"{field} of the authorizer must be a str, not a {type(value).__name__}"
            )
        utf8(f"{field} of the authorizer", value)
    return fields  # type: ignore[return-value]  # the loop has checked each value


def _key(answer: object) -> ChannelKey:
    secret = answer.get("shared_secret") if isinstance(answer, Mapping) else None
    if secret is None:
        raise ValueError("the authorizer gave no shared_secret for an encrypted channel")
    return ChannelKey(secret)


def _identify(channel: Channel) -> None:
    text = channel.auth.get("channel_data")
    if text is None or not is_presence(channel.name):
        return
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or "user_id" not in data:
        raise ValueError("channel_data of a presence channel must be JSON with a user_id")
    channel.identify(data["user_id"], data.get("user_info"))
