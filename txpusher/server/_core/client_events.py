"""
What a client may send besides its subscriptions: sign-ins and client events.

The functions change the state and add to *out* what is to be done.
Sources: "User authentication" and "Client events" in the Pusher Channels documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from txpusher._protocol import signing
from txpusher._protocol.names import check_event_name, check_user_id
from txpusher._text import short_repr
from txpusher.errors import InvalidRequestError
from txpusher.server import _limits as limits
from txpusher.server._core import messages
from txpusher.server._core.json import dumps, load_object
from txpusher.server._core.messages import (
    CLIENT_EVENT_REJECTED,
    CloseCode,
    CloseWithError,
    MessageError,
)
from txpusher.server._core.outputs import Activity, Audience, Notify, Output, Send
from txpusher.server._core.state import Channel, Connection, Member, needs_auth
from txpusher.server._core.subscriptions import AuthError, check_auth

# Sign-ins


def sign_in(connection: Connection, data: Mapping[str, Any], out: list[Output]) -> None:
    """
    Act on ``pusher:signin``.

    :raises CloseWithError: The connection ends with 4009.
    """
    app = connection.state.app
    user_data = data.get("user_data")
    if not app.user_authentication:
        raise _unauthorized("user authentication is switched off for this app")
    if not isinstance(user_data, str):
        raise _unauthorized(
            f"user_data of pusher:signin must be a string, not {short_repr(user_data)}"
        )
    try:
        check_auth(
            data.get("auth"),
            app,
            f"{connection.socket_id}::user::{user_data}",
            lambda: signing.user_signature(app.secret, connection.socket_id, user_data),
        )
    except AuthError as error:
        raise _unauthorized(f"pusher:signin: {error}") from None
    try:
        fields = load_object(user_data)
        user = Member(check_user_id(fields.get("id")), fields.get("user_info"))
    except ValueError as error:
        raise _unauthorized(f"user_data of pusher:signin: {error}") from None
    if connection.user is not None and connection.user.user_id != user.user_id:
        raise _unauthorized("the connection is signed in as another user already")
    connection.user = user
    connection.state.users.setdefault(user.user_id, set()).add(connection)
    out.append(Send(Audience([connection.peer]), messages.signin_success(user_data)))
    out.append(Activity("signed_in", app.id, connection.socket_id, user_id=user.user_id))


def _unauthorized(message: str) -> CloseWithError:
    return CloseWithError(CloseCode.UNAUTHORIZED, message)


# Client events


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
