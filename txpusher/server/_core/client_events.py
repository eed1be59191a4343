"""
Client events: what clients send to each other.

Source: "Client events" in the Pusher Channels documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from txpusher._protocol.names import check_event_name
from txpusher.errors import InvalidRequestError
from txpusher.server import _limits as limits
from txpusher.server._core import messages
from txpusher.server._core.json import dumps
from txpusher.server._core.messages import CLIENT_EVENT_REJECTED, MessageError
from txpusher.server._core.outputs import Activity, Notify, Output, Send
from txpusher.server._core.state import Channel, Connection, needs_auth


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
            f"Client event rejected - {rejected}",
            rejected.code,
            None if channel is None else channel.name,
        ) from None
    _deliver(connection, event, out)


class _RejectedError(Exception):
    def __init__(self, reason: str, code: int | None = CLIENT_EVENT_REJECTED) -> None:
        super().__init__(reason)
        self.code = code


def _checked(
    connection: Connection, channel: Channel | None, message: Mapping[str, Any], now: float
) -> _ClientEvent:
    """
    Return the client event in a message.

    :raises _RejectedError: The connection may not send the event.
    """
    if not connection.state.app.client_events:
        raise _RejectedError("client events are switched off for this app")
    if channel is None:
        raise _RejectedError("the connection is not subscribed to the channel", None)
    if not needs_auth(channel.name):
        raise _RejectedError("only private and presence channels take them", None)
    try:
        name = check_event_name(message["event"])
    except InvalidRequestError as error:
        raise _RejectedError(str(error)) from None
    if not connection.may_send_client_event(now):
        raise _RejectedError(f"over {limits.CLIENT_EVENTS_PER_SECOND} in a second")
    value = message.get("data")
    data = value if isinstance(value, str) else dumps(value)
    size = len(data.encode("utf-8", "surrogatepass"))
    if size > limits.EVENT_DATA:
        raise _RejectedError(
            f"data must be at most {limits.EVENT_DATA} bytes of UTF-8, not {size}"
        )
    member = channel.subscribers[connection]
    return _ClientEvent(channel, name, data, member.user_id if member else None)


def _deliver(connection: Connection, event: _ClientEvent, out: list[Output]) -> None:
    app = connection.state.app
    channel = event.channel
    message = messages.channel_event(channel.name, event.name, event.data, event.user_id)
    out.append(Send(channel.audience(but=connection), message))
    out.append(
        Activity(
            "client_event",
            app.id,
            connection.socket_id,
            channel.name,
            event.name,
            event.data,
            event.user_id,
        )
    )
    if app.webhooks:
        webhook = {
            "name": "client_event",
            "channel": channel.name,
            "event": event.name,
            "data": event.data,
            "socket_id": connection.socket_id,
        }
        if event.user_id is not None:
            webhook["user_id"] = event.user_id
        out.append(Notify(app.id, webhook))
