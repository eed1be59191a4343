"""
The messages of the WebSocket protocol that the server sends, as bytes, and the exceptions
that end the handling of a client's message with one of them.

Source: "Pusher Channels Protocol" in the Pusher Channels documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from txpusher.server._core.json import dump_bytes, dumps

PING = dump_bytes({"event": "pusher:ping", "data": "{}"})
PONG = dump_bytes({"event": "pusher:pong", "data": "{}"})


class CloseCode:
    """
    The codes with which the server ends a connection.

    The range tells a client whether to come back: with 4000-4099 it does not, with
    4100-4199 after a while, with 4200-4299 at once.
    """

    #: WebSocket's own code for a server that stops.  pusher-js comes back after a
    #: second; with a code that asks it to come back at once it may find the port still
    #: closed, and then waits for 15 seconds.
    GOING_AWAY = 1001
    UNKNOWN_APP = 4001
    APP_DISABLED = 4003
    OVER_QUOTA = 4004
    NO_SUCH_PATH = 4005
    INVALID_VERSION = 4006
    UNSUPPORTED_PROTOCOL = 4007
    NO_PROTOCOL = 4008
    UNAUTHORIZED = 4009
    OVER_CAPACITY = 4100
    NO_PONG = 4201


#: The code of a ``pusher:error`` that rejects a client event.
CLIENT_EVENT_REJECTED = 4301
#: The code of a ``pusher:error`` that rejects a watchlist; the sign-in holds.
WATCHLIST_REJECTED = 4302


# Messages


def connection_established(socket_id: str, activity_timeout: float) -> bytes:
    """Make the first message: the client's socket id, and the seconds after which to ping."""
    seconds = int(activity_timeout) if activity_timeout == int(activity_timeout) else None
    data = {"socket_id": socket_id, "activity_timeout": seconds or activity_timeout}
    return dump_bytes({"event": "pusher:connection_established", "data": dumps(data)})


def error(code: int | None, message: str, channel: str | None = None) -> bytes:
    """Make a ``pusher:error``; *code* is None where the connection goes on all the same."""
    fields: dict[str, Any] = {
        "event": "pusher:error",
        "data": {"code": code, "message": message},
    }
    if channel is not None:
        fields["channel"] = channel
    return dump_bytes(fields)


def subscription_error(channel: str, kind: str, message: str, status: int) -> bytes:
    """Make a ``pusher:subscription_error``: a subscription failed, the connection goes on."""
    return dump_bytes(
        {
            "event": "pusher:subscription_error",
            "channel": channel,
            "data": {"type": kind, "error": message, "status": status},
        }
    )


def internal(event: str, channel: str, data: Any) -> bytes:
    """Make one of the ``pusher_internal:`` events of a channel."""
    return dump_bytes(
        {"event": f"pusher_internal:{event}", "channel": channel, "data": dumps(data)}
    )


def signin_success(user_data: str) -> bytes:
    """Make a ``pusher:signin_success``."""
    return dump_bytes({"event": "pusher:signin_success", "data": {"user_data": user_data}})


def watchlist_events(name: str, user_ids: Iterable[str]) -> bytes:
    """
    Make a ``pusher_internal:watchlist_events`` with one event ("Watchlist events").

    :param name: ``"online"`` or ``"offline"``.
    :param user_ids: The users who are, or are no more.
    """
    data = {"events": [{"name": name, "user_ids": list(user_ids)}]}
    return dump_bytes({"event": "pusher_internal:watchlist_events", "data": dumps(data)})


def cache_miss(channel: str) -> bytes:
    """Make a ``pusher:cache_miss``: the cache channel has no last event."""
    return dump_bytes({"event": "pusher:cache_miss", "channel": channel})


def channel_event(channel: str, name: str, data: str, user_id: str | None = None) -> bytes:
    """Make the message that carries an event to the subscribers of a channel."""
    fields = {"event": name, "channel": channel, "data": data}
    if user_id is not None:
        fields["user_id"] = user_id
    return dump_bytes(fields)


# Exceptions


class MessageError(Exception):
    """
    A client's message cannot be acted on; the connection goes on.

    :ivar answers: The messages that tell the client so.
    """

    def __init__(self, message: str, code: int | None = None, channel: str | None = None):
        super().__init__(message)
        self.answers = [error(code, message, channel)]


class SubscriptionRefusedError(MessageError):
    """A subscription is refused; the connection goes on."""

    def __init__(self, channel: str, kind: str, message: str, status: int):
        super().__init__(message)
        # soketi sends the first, which pusher-js passes on to the channel.  The hosted
        # service sends the second, which is an error of the connection for pusher-js.
        self.answers = [
            subscription_error(channel, kind, message, status),
            error(None, f"Subscription to channel {channel} refused: {message}", channel),
        ]


class CloseWithError(Exception):
    """
    A client's message ends its connection.

    :ivar code: The close code.
    """

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code
