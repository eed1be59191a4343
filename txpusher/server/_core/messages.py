"""
The messages of the WebSocket protocol that the server sends, as bytes, and the exceptions
that end the handling of a client's message with one of them.

Source: "Pusher Channels Protocol" in the Pusher Channels documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from txpusher.server._core.json import dump_bytes, dumps, kind_of, load_object
from txpusher.server._core.refusals import Refusal

PING = dump_bytes({"event": "pusher:ping", "data": "{}"})
PONG = dump_bytes({"event": "pusher:pong", "data": "{}"})


#: WebSocket's own code for a server that stops.  pusher-js comes back after a second; with a
#: code that asks it to come back at once it may find the port still closed, and then waits for
#: 15 seconds.
GOING_AWAY = 1001


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


# What comes in


def data_of(message: dict[str, Any]) -> dict[str, Any]:
    """
    Return the ``data`` of a client's message, which some clients send as JSON in a string.

    :raises MessageError: The data is no JSON object.
    """
    data = message.get("data")
    if isinstance(data, str):
        try:
            return load_object(data)
        except ValueError as error:
            raise MessageError(
                Refusal.MESSAGE, f"data must be a JSON object: {error}"
            ) from None
    if not isinstance(data, dict):
        raise MessageError(Refusal.MESSAGE, f"data must be a JSON object, not {kind_of(data)}")
    return data


# Exceptions


class MessageError(Exception):
    """
    A client's message cannot be acted on; the connection goes on.

    :ivar refusal: What is refused.
    :ivar channel: The channel that the message is about, None for none or a malformed name.
    :ivar answers: The messages that tell the client so.
    """

    def __init__(self, refusal: Refusal, message: str, channel: str | None = None) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.channel = channel
        self.answers = [error(refusal.code, message, channel)]


class SubscriptionRefusedError(MessageError):
    """A subscription is refused; the connection goes on."""

    def __init__(
        self,
        refusal: Refusal,
        channel: str,
        message: str,
        kind: str = "AuthError",
        status: int = 401,
    ) -> None:
        super().__init__(refusal, message, channel)
        # soketi sends the first, which pusher-js passes on to the channel.  The hosted
        # service sends the second, which is an error of the connection for pusher-js.
        text = f"Subscription to channel {channel} refused: {message}"
        self.answers = [
            subscription_error(channel, kind, message, status),
            error(refusal.code, text, channel),
        ]


class CloseWithError(Exception):
    """
    A client's message ends its connection.

    :ivar refusal: What is refused; it has the close code.
    """

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal
