"""
What a client may send besides its subscriptions: sign-ins and client events.

Functions over the hub's state; each adds to *out* what is to be done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from txpusher._protocol import signing
from txpusher._protocol.names import check_event_name, check_user_id
from txpusher.errors import InvalidRequestError
from txpusher.server._core import messages
from txpusher.server._core.channels import takes_client_events
from txpusher.server._core.connection import CLIENT_EVENTS_PER_SECOND, Connection
from txpusher.server._core.errors import RejectedError, UnauthorizedError
from txpusher.server._core.json import dumps, load_object
from txpusher.server._core.messages import CLIENT_EVENT_REJECTED
from txpusher.server._core.outputs import Activity, Notify, Output, Send
from txpusher.server._core.subscriptions import authentic

#: The most bytes of an event's data, as UTF-8.
MAX_DATA_BYTES = 10_240


def sign_in(connection: Connection, data: Mapping[str, Any], out: list[Output]) -> None:
    """
    Act on ``pusher:signin``.

    :raises UnauthorizedError: The connection ends with 4009.
    """
    app = connection.state.app
    user_data = data.get("user_data")
    if not app.user_authentication:
        raise UnauthorizedError("user authentication is switched off for this app")
    if not isinstance(user_data, str) or not authentic(
        data.get("auth"),
        app.key,
        lambda: signing.user_signature(app.secret, connection.socket_id, user_data),
    ):
        raise UnauthorizedError(
            "the auth of pusher:signin must be the app's key, a colon and the signature "
            "of the socket id and the user_data"
        )
    try:
        user_id = check_user_id(load_object(user_data).get("id"))
    except ValueError as error:
        raise UnauthorizedError(f"user_data of pusher:signin: {error}") from None
    if connection.user_id not in (None, user_id):
        raise UnauthorizedError("the connection is signed in as another user already")
    connection.user_id = user_id
    connection.state.users.setdefault(user_id, set()).add(connection)
    out.append(Send([connection.peer], messages.signin_success(user_data)))
    out.append(Activity("signed_in", app.id, connection.socket_id, user_id=user_id))


def client_event(
    connection: Connection, message: Mapping[str, Any], now: float, out: list[Output]
) -> None:
    """
    Pass a ``client-`` event on to the other subscribers of its channel.

    :raises RejectedError: The client is told why not, and goes on.
    """
    state = connection.state
    name = message["event"]
    given = message.get("channel")
    channel = connection.channels.get(given) if isinstance(given, str) else None

    def rejected(why: str, code: int | None = None) -> RejectedError:
        known = None if channel is None else channel.name
        return RejectedError(f"Client event rejected - {why}", code, known)

    if not state.app.client_events:
        raise rejected("client events are switched off for this app", CLIENT_EVENT_REJECTED)
    if channel is None:
        raise rejected("the connection is not subscribed to the channel")
    if not takes_client_events(channel.name):
        raise rejected("only private and presence channels take them, without encryption")
    try:
        check_event_name(name)
    except InvalidRequestError as error:
        raise rejected(str(error), CLIENT_EVENT_REJECTED) from None
    if not connection.may_send_client_event(now):
        raise rejected(f"over {CLIENT_EVENTS_PER_SECOND} in a second", CLIENT_EVENT_REJECTED)
    value = message.get("data")
    data = value if isinstance(value, str) else dumps(value)
    size = len(data.encode("utf-8", "surrogatepass"))
    if size > MAX_DATA_BYTES:
        raise rejected(
            f"data must be at most {MAX_DATA_BYTES} bytes of UTF-8, not {size}",
            CLIENT_EVENT_REJECTED,
        )
    member = channel.subscribers[connection]
    user_id = member.user_id if member else None
    out.append(
        Send(
            channel.peers(but=connection),
            messages.channel_event(channel.name, name, data, user_id),
        )
    )
    out.append(
        Activity(
            "client_event",
            state.app.id,
            connection.socket_id,
            channel.name,
            name,
            data,
            user_id,
        )
    )
    if state.app.webhooks:
        event = {
            "name": "client_event",
            "channel": channel.name,
            "event": name,
            "data": data,
            "socket_id": connection.socket_id,
        }
        if user_id is not None:
            event["user_id"] = user_id
        out.append(Notify(state.app.id, event))
