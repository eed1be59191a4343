"""
What a subscriber has sent and the server has not answered yet, in the order of sending.

A server deals with the messages of a connection in order.  So a pong tells that everything
before its ping has been dealt with, and a ``pusher:error`` that names no channel belongs to a
message that was sent before the first ping without a pong.  Laravel Reverb and sockudo refuse
messages with errors of this sort.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping

import attrs

from txpusher._protocol.incoming import Message
from txpusher._protocol.names import is_presence, is_user_channel, needs_auth


class Kind(enum.Enum):
    """What was sent."""

    #: A subscription that everybody may have.
    PUBLIC = "public"
    #: A subscription that needs a signature, or the sign-in.
    PRIVATE = "private"
    #: A subscription to a presence channel.
    PRESENCE = "presence"
    SIGN_IN = "sign-in"
    #: A client event, which is answered only where it is refused; a ping follows.
    CLIENT_EVENT = "client event"
    PING = "ping"


_SUBSCRIPTIONS = frozenset({Kind.PUBLIC, Kind.PRIVATE, Kind.PRESENCE})

#: What is refused with each code of an error that names no channel.  The codes below 4300 end
#: connections as well, and then they refuse none of this.  4009 is the one for whatever is not
#: authorised, of both servers; 4100 that of sockudo for a full presence channel and for too
#: many client events; 4200 that of Reverb for messages it cannot read, and it knows no sign-in;
#: 4300 that of sockudo for channels that cannot be called so and members that are too large.
REFUSED_WITH: Mapping[int, frozenset[Kind]] = {
    4009: frozenset({Kind.PRIVATE, Kind.PRESENCE, Kind.SIGN_IN, Kind.CLIENT_EVENT}),
    4100: frozenset({Kind.PRESENCE, Kind.CLIENT_EVENT}),
    4200: frozenset({Kind.SIGN_IN, Kind.CLIENT_EVENT}),
    4300: _SUBSCRIPTIONS,
}


@attrs.define(eq=False)
class Sent:
    """
    One message to the server.

    :ivar channel: The channel of a subscription or a client event.
    :ivar number: The number of a client event, 0 once nobody waits for it.
    :ivar doubt: The error that refuses it, if the connection goes on after the error.
    """

    kind: Kind
    channel: str | None = None
    number: int = 0
    doubt: Message | None = None

    def answered_for(self, channel: str | None) -> bool:
        """Tell whether an answer for *channel*, None for the sign-in, answers this."""
        if self.kind is Kind.SIGN_IN:
            return channel is None
        return self.kind in _SUBSCRIPTIONS and self.channel == channel


class Unanswered:
    """The messages of one connection that wait for their answers."""

    def __init__(self) -> None:
        self._sent: deque[Sent] = deque()

    @property
    def pong_awaited(self) -> bool:
        """Whether a ping has no pong yet."""
        return any(sent.kind is Kind.PING for sent in self._sent)

    def add_subscription(self, channel: str) -> None:
        """Note a subscription."""
        kind = Kind.PUBLIC
        if is_presence(channel):
            kind = Kind.PRESENCE
        elif needs_auth(channel) or is_user_channel(channel):
            kind = Kind.PRIVATE
        self._sent.append(Sent(kind, channel))

    def add_sign_in(self) -> None:
        """Note a sign-in."""
        self._sent.append(Sent(Kind.SIGN_IN))

    def add_client_event(self, number: int, channel: str) -> None:
        """Note the client event *number*, and the ping that follows it."""
        self._sent.append(Sent(Kind.CLIENT_EVENT, channel, number))
        self.add_ping()

    def add_ping(self) -> None:
        """Note a ping."""
        self._sent.append(Sent(Kind.PING))

    def answered(self, channel: str | None) -> Message | None:
        """
        Forget what the server has answered: a subscription, or the sign-in.

        :param channel: The channel of the subscription, None for the sign-in.
        :return: The error that seemed to refuse it, None without one.
        """
        for sent in self._sent:
            if sent.answered_for(channel):
                self._sent.remove(sent)
                return sent.doubt
        return None

    def refused_event(self, channel: str | None) -> int | None:
        """
        Return the number of the client event that an error about client events means.

        The message is answered then.  The number is 0 where nobody waits for it, None where
        there is no such event.

        :param channel: The channel that the error names, None where it names none.
        """
        for sent in self._sent:
            if sent.kind is Kind.CLIENT_EVENT and channel in (None, sent.channel):
                self._sent.remove(sent)
                return sent.number
        return None

    def doubted(self, code: int, error: Message) -> bool:
        """
        Find the message that an error without a channel refuses, and note the error there.

        :return: Whether there is one.  It is refused as soon as a pong shows that the error
            did not announce the end of the connection.
        """
        kinds = REFUSED_WITH.get(code, frozenset())
        for sent in self._sent:
            if sent.kind is Kind.PING:
                return False
            if sent.kind in kinds and sent.doubt is None:
                sent.doubt = error
                return True
        return False

    def ponged(self) -> list[Sent]:
        """Forget the oldest ping and everything before it, and return what was before it."""
        before: list[Sent] = []
        if self.pong_awaited:
            while (sent := self._sent.popleft()).kind is not Kind.PING:
                before.append(sent)
        return before

    def forget_event(self, number: int) -> None:
        """Take note that nobody waits for the client event *number*; its error may come."""
        for sent in self._sent:
            if sent.number == number:
                sent.number = 0

    def clear(self) -> list[Sent]:
        """Forget and return everything: the connection is gone."""
        sent = list(self._sent)
        self._sent.clear()
        return sent
