"""
Actions: what the pure subscriber asks its shell to do, in the order of a list.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from txpusher._protocol.incoming import Message
from txpusher.errors import PusherError


class State(enum.Enum):
    """The states of a subscriber, by the names that pusher-js has for them."""

    #: Nobody has called connect() yet.
    INITIALIZED = "initialized"
    #: The first attempt runs, or the connection has just been lost and comes back.
    CONNECTING = "connecting"
    #: The server has given a socket id.
    CONNECTED = "connected"
    #: At least one attempt has failed since; others follow.
    UNAVAILABLE = "unavailable"
    #: The program has closed the subscriber, or cancelled its connect().
    DISCONNECTED = "disconnected"
    #: The server has said not to come back.
    FAILED = "failed"


@attrs.frozen
class Open:
    """
    Connect.

    :ivar failures: How many attempts have failed in a row: 0 connects at once.
    :ivar at_least: Seconds to wait in any case.
    """

    failures: int = 0
    at_least: float = 0.0


@attrs.frozen
class Drop:
    """End the connection or the attempt without a word, and report that it is lost."""

    reason: str


@attrs.frozen
class Abandon:
    """End the attempt, or the wait for one; nothing is to be reported."""


@attrs.frozen
class HangUp:
    """End the connection or the attempt in the orderly way; nothing is to be reported."""


@attrs.frozen
class Send:
    """Send a text message."""

    text: str


@attrs.frozen
class Authorize:
    """
    Ask the authorizer; report its answer with *ticket*.

    :ivar channel: The channel, None for a sign-in.
    :ivar data: The custom_data of the channel, or the user_data of the sign-in.
    """

    ticket: int
    channel: str | None
    data: Mapping[str, Any] | None


@attrs.frozen
class Forget:
    """The answer to an :class:`Authorize` is not wanted any more."""

    ticket: int


@attrs.frozen
class Tell:
    """Hand a message to the handlers."""

    message: Message


@attrs.frozen
class StateChange:
    """Tell the handlers of states."""

    old: State
    new: State


@attrs.frozen
class Connected:
    """
    The server has given *socket_id*.

    :ivar activity_timeout: Seconds of silence after which the server wants a ping, None
        where it did not say.
    """

    socket_id: str
    activity_timeout: float | None


@attrs.frozen
class Joined:
    """The server has confirmed the subscription to *channel*."""

    channel: str


@attrs.frozen
class Refused:
    """
    The subscription to *channel* was refused.

    :ivar gone: True where it never was confirmed, so that nothing is left of it; False
        where it is tried again at the next connection.
    """

    channel: str
    error: PusherError
    gone: bool


@attrs.frozen
class SignedIn:
    """The server has confirmed the sign-in, and that events to the user arrive."""

    user_data: Mapping[str, Any]


@attrs.frozen
class SignInRefused:
    """The sign-in was refused."""

    error: PusherError


@attrs.frozen
class Settled:
    """The client event *number* was accepted, or failed with *error*."""

    number: int
    error: PusherError | None


@attrs.frozen
class Ended:
    """The subscriber has ended for good: whatever waits fails with *error*."""

    error: PusherError


class Level(enum.Enum):
    """How much a note matters."""

    DEBUG = "debug"
    WARN = "warn"
    ERROR = "error"


@attrs.frozen
class Note:
    """Log *text*."""

    level: Level
    text: str


Action = (
    Open
    | Drop
    | Abandon
    | HangUp
    | Send
    | Authorize
    | Forget
    | Tell
    | StateChange
    | Connected
    | Joined
    | Refused
    | SignedIn
    | SignInRefused
    | Settled
    | Ended
    | Note
)
