"""
Client events: what clients send to each other.

Source: "Client events" in the Pusher Channels documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from txpusher._protocol.names import check_event_name
from txpusher._text import short_repr
from txpusher.errors import InvalidRequestError
from txpusher.server._core import messages
from txpusher.server._core.json import dumps
from txpusher.server._core.messages import MessageError
from txpusher.server._core.outputs import Activity, Output, Send
from txpusher.server._core.refusals import Refusal
from txpusher.server._core.state import Channel, Connection, needs_auth
from txpusher.server._core.subscriptions import queue_webhook


@attrs.frozen
class _ClientEvent:
    """A client event that may be delivered."""

    channel: Channel
    name: str
    data: str
    user_id: str | None


def client_event(
    connection: Connection, message: Mapping[str, Any], now: float, out: list[Output]
) -> None:
    """
    Pass a ``client-`` event on to the other subscribers of its channel.

    :raises MessageError: The event is refused; the connection goes on.
    """
    given = message.get("channel")
    channel = connection.channels.get(given) if isinstance(given, str) else None
    try:
        event = _checked(connection, channel, message, now)
    except _RejectedError as rejected:
        raise MessageError(
            rejected.refusal,
            f"Client event rejected - {rejected}",
            None if channel is None else channel.name,
        ) from None
    _deliver(connection, event, now, out)


class _RejectedError(Exception):
    def __init__(self, refusal: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal


def _checked(
    connection: Connection, channel: Channel | None, message: Mapping[str, Any], now: float
) -> _ClientEvent:
    """
    Return the client event in a message.

    :raises _RejectedError: The connection may not send the event.
    """
    state = connection.state
    limits = state.app.limits
    if not state.app.client_events:
        raise _RejectedError(
            Refusal.CLIENT_EVENTS_OFF, "client events are switched off for this app"
        )
    if channel is None:
        given = message.get("channel")
        text = f"channel {short_repr(given)}" if isinstance(given, str) else "a channel"
        raise _RejectedError(
            Refusal.NOT_SUBSCRIBED, f"the connection is not subscribed to {text}"
        )
    if not needs_auth(channel.name):
        raise _RejectedError(
            Refusal.PUBLIC_CHANNEL, "only private and presence channels take them"
        )
    try:
        name = check_event_name(message["event"])
    except InvalidRequestError as error:
        raise _RejectedError(Refusal.CLIENT_EVENT_NAME, str(error)) from None
    if not connection.may_send_client_event(now):
        raise _RejectedError(
            Refusal.CLIENT_EVENT_RATE, f"over {limits.client_events_per_second} in a second"
        )
    problem = state.usage.problem_today(now)
    if problem is not None:
        raise _RejectedError(Refusal.CLIENT_EVENT_QUOTA, problem)
    value = message.get("data")
    data = value if isinstance(value, str) else dumps(value)
    size = len(data.encode("utf-8", "surrogatepass"))
    if limits.payload_bytes is not None and size > limits.payload_bytes:
        raise _RejectedError(
            Refusal.LARGE_CLIENT_EVENT,
            f"data must be at most {limits.payload_bytes} bytes of UTF-8, not {size}",
        )
    member = channel.subscribers[connection]
    return _ClientEvent(channel, name, data, member.user_id if member else None)


def _deliver(
    connection: Connection, event: _ClientEvent, now: float, out: list[Output]
) -> None:
    state, channel = connection.state, event.channel
    message = messages.channel_event(channel.name, event.name, event.data, event.user_id)
    audience = channel.audience(but=connection)
    out.append(Send(audience, message))
    state.usage.count(1 + len(audience), now)
    out.append(
        Activity(
            "client_event",
            state.app.id,
            connection.socket_id,
            channel.name,
            event.name,
            event.data,
            event.user_id,
        )
    )
    fields = {"event": event.name, "data": event.data, "socket_id": connection.socket_id}
    if event.user_id is not None:
        fields["user_id"] = event.user_id
    queue_webhook(state, channel.name, now, out, "client_event", **fields)
