"""
The messages of the WebSocket protocol that the server sends, as bytes.

Source: "Pusher Channels Protocol" in the Pusher Channels documentation.
"""

from __future__ import annotations

from typing import Any

from txpusher.server._core.json import dump_bytes, dumps

PING = dump_bytes({"event": "pusher:ping", "data": "{}"})
PONG = dump_bytes({"event": "pusher:pong", "data": "{}"})


class CloseCode:
    """
    Why the server ends a connection; the range says whether a client comes back.

    4000-4099 it does not, 4100-4199 after a while, 4200-4299 at once.
    """

    #: WebSocket's own for a server that stops.  pusher-js comes back after a
    #: second; at once, it may find the port still closed, and then wait for 15.
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


#: The code of an error that rejects a client event.
CLIENT_EVENT_REJECTED = 4301


def connection_established(socket_id: str, activity_timeout: float) -> bytes:
    """The first message: who the client is, and when to ping."""
    seconds = int(activity_timeout) if activity_timeout == int(activity_timeout) else None
    data = {"socket_id": socket_id, "activity_timeout": seconds or activity_timeout}
    return dump_bytes({"event": "pusher:connection_established", "data": dumps(data)})


def error(code: int | None, message: str, channel: str | None = None) -> bytes:
    """``pusher:error``; *code* is None where the connection goes on all the same."""
    fields: dict[str, Any] = {
        "event": "pusher:error",
        "data": {"code": code, "message": message},
    }
    if channel is not None:
        fields["channel"] = channel
    return dump_bytes(fields)


def subscription_error(channel: str, kind: str, message: str, status: int) -> bytes:
    """``pusher:subscription_error``: one subscription failed, the connection goes on."""
    return dump_bytes(
        {
            "event": "pusher:subscription_error",
            "channel": channel,
            "data": {"type": kind, "error": message, "status": status},
        }
    )


def internal(event: str, channel: str, data: Any) -> bytes:
    """One of the ``pusher_internal:`` events of a channel."""
    return dump_bytes(
        {"event": f"pusher_internal:{event}", "channel": channel, "data": dumps(data)}
    )


def signin_success(user_data: str) -> bytes:
    """``pusher:signin_success``."""
    return dump_bytes({"event": "pusher:signin_success", "data": {"user_data": user_data}})


def cache_miss(channel: str) -> bytes:
    """``pusher:cache_miss``: nothing is stored for the channel."""
    return dump_bytes({"event": "pusher:cache_miss", "channel": channel})


def channel_event(channel: str, name: str, data: str, user_id: str | None = None) -> bytes:
    """An event as its subscribers get it."""
    fields = {"event": name, "channel": channel, "data": data}
    if user_id is not None:
        fields["user_id"] = user_id
    return dump_bytes(fields)
