"""
Subscribing and unsubscribing: who may, and who hears of it.

The functions change the state and add to *out* what is to be done.
Source: "Pusher Channels Protocol" in the Pusher Channels documentation.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any

from txpusher._protocol import signing
from txpusher._protocol.names import USER_CHANNEL_PREFIX, check_target
from txpusher._text import short_repr
from txpusher.errors import InvalidRequestError
from txpusher.server import _limits as limits
from txpusher.server._app import App
from txpusher.server._core import messages
from txpusher.server._core.messages import MessageError, SubscriptionRefusedError
from txpusher.server._core.outputs import Activity, Audience, Notify, Output, Send, Wake
from txpusher.server._core.state import (
    AppState,
    Channel,
    Connection,
    Member,
    is_cache,
    is_presence,
    is_user_channel,
    needs_auth,
)
from txpusher.server._core.trouble import REFUSED_ON_REQUEST


def subscribe(
    connection: Connection, data: Mapping[str, Any], now: float, out: list[Output]
) -> None:
    """
    Act on ``pusher:subscribe``.

    :raises MessageError: The subscription is refused; the connection goes on.
    """
    name = _channel_name(data.get("channel"))
    _check_new(connection, name)
    member = _authorize(connection, name, data)
    state = connection.state
    channel = state.channels.get(name)
    if channel is None:
        channel = state.channels[name] = Channel(name)
        if not state.departures.cancel("channel_vacated", name):
            _queue_webhook(state, name, out, "channel_occupied")
    joined = channel.join(connection, member)
    connection.channels[name] = channel
    if needs_auth(name):
        state.unauthorized.pop(connection, None)
    me = Audience([connection.peer])
    summary = {} if channel.members is None else channel.members.summary()
    out.append(Send(me, messages.internal("subscription_succeeded", name, summary)))
    if joined and member is not None:
        _send_member_event(channel, "member_added", member.fields(), out, connection)
        if not state.departures.cancel("member_removed", name, member.user_id):
            _queue_webhook(state, name, out, "member_added", user_id=member.user_id)
    if is_cache(name):
        _send_cached(state, name, me, now, out)
    _count_changed(state, channel, out)
    out.append(
        Activity(
            "subscribed",
            state.app.id,
            connection.socket_id,
            name,
            user_id=member.user_id if member else None,
        )
    )


def unsubscribe(
    connection: Connection, data: Mapping[str, Any], now: float, out: list[Output]
) -> None:
    """
    Act on ``pusher:unsubscribe``; without such a subscription nothing changes.

    :raises MessageError: The message names no channel.
    """
    name = data.get("channel")
    if not isinstance(name, str):
        raise MessageError("pusher:unsubscribe needs the name of a channel")
    if name in connection.channels:
        leave(connection, name, now, out)


def leave(connection: Connection, name: str, now: float, out: list[Output]) -> None:
    """Remove *connection* from the subscribers of one of its channels."""
    state = connection.state
    channel = connection.channels.pop(name)
    member = channel.leave(connection)
    out.append(Activity("unsubscribed", state.app.id, connection.socket_id, name))
    if member is not None:
        fields = {"user_id": member.user_id}
        _send_member_event(channel, "member_removed", fields, out)
        _add_departure(state, "member_removed", name, member.user_id, now, out)
    if channel.subscribers:
        _count_changed(state, channel, out)
    else:
        del state.channels[name]
        state.counts_due.pop(name, None)
        _add_departure(state, "channel_vacated", name, None, now, out)


def _add_departure(
    state: AppState,
    event: str,
    channel: str,
    user_id: str | None,
    now: float,
    out: list[Output],
) -> None:
    """Let the webhook event of a departure wait for the app's time, or send it."""
    if not state.app.webhooks:
        return
    state.departures.add(event, channel, user_id, now)
    if state.app.webhook_grace:
        out.append(Wake(now + state.app.webhook_grace))
    else:
        send_due_departures(state, now, out)


def send_due_departures(state: AppState, now: float, out: list[Output]) -> None:
    """Send the webhook events of those who have left and not come back in time."""
    for event, channel, user_id in state.departures.take(now):
        fields = {} if user_id is None else {"user_id": user_id}
        _queue_webhook(state, channel, out, event, **fields)


def send_due_counts(state: AppState, out: list[Output]) -> None:
    """Send the subscribers of large channels their number, where it has changed."""
    for name in state.counts_due:
        _send_count(state, state.channels[name], out)
    state.counts_due.clear()


def _check_new(connection: Connection, name: str) -> None:
    """Refuse a channel that the connection has already, and one channel too many."""
    if name in connection.channels:
        raise MessageError(f"Existing subscription to channel {name}", channel=name)
    if len(connection.channels) >= limits.CHANNELS_PER_CONNECTION:
        raise SubscriptionRefusedError(
            name,
            "LimitReached",
            f"a connection may have {limits.CHANNELS_PER_CONNECTION} channels",
            400,
        )


def _channel_name(name: object) -> str:
    try:
        return check_target(name)
    except InvalidRequestError as error:
        if isinstance(name, str):
            raise SubscriptionRefusedError(
                name, "InvalidChannelName", str(error), 400
            ) from None
        raise MessageError(f"pusher:subscribe: {error}") from None


def _authorize(connection: Connection, name: str, data: Mapping[str, Any]) -> Member | None:
    """
    Check that the subscription is authorised.

    :return: The member of a presence channel, None for any other channel.
    :raises SubscriptionRefusedError: The subscription is not authorised.
    """
    if is_user_channel(name):
        if connection.user is None or name != f"{USER_CHANNEL_PREFIX}{connection.user.user_id}":
            raise _auth_error(name, "the connection is not signed in as this user")
        return None
    if not needs_auth(name):
        return None
    if connection.state.trouble.refuse_auth:
        raise _auth_error(name, REFUSED_ON_REQUEST)
    channel_data = data.get("channel_data")
    if channel_data is not None and not isinstance(channel_data, str):
        raise _auth_error(
            name, f"channel_data must be a string, not {short_repr(channel_data)}"
        )
    app = connection.state.app
    try:
        check_auth(
            data.get("auth"),
            app,
            f"{connection.socket_id}:{name}"
            + ("" if channel_data is None else f":{channel_data}"),
            lambda: signing.channel_signature(
                app.secret, connection.socket_id, name, channel_data
            ),
        )
    except AuthError as error:
        raise _auth_error(name, str(error)) from None
    return _member(connection, name, channel_data) if is_presence(name) else None


def _member(connection: Connection, name: str, channel_data: str | None) -> Member:
    """
    Return the user as whom a connection subscribes to a presence channel.

    That is the user of *channel_data*, and without *channel_data* the user who has signed in.
    """
    if channel_data is None:
        if connection.user is None:
            raise _auth_error(
                name,
                "a presence channel needs a user: the auth came without channel_data, "
                "and the connection has not signed in",
            )
        return connection.user
    try:
        return Member.parse(channel_data)
    except ValueError as error:
        raise _auth_error(name, f"channel_data of a presence channel: {error}") from None


class AuthError(Exception):
    """A subscription or sign-in is not authentic; the message says what is wrong."""


def check_auth(auth: object, app: App, text: str, signature: Callable[[], str]) -> None:
    """
    Check that *auth* is ``<key>:<signature>``.

    :param text: The text that had to be signed, for the message.
    :param signature: Makes the right signature.  Where it raises UnicodeEncodeError, because
        UTF-8 cannot express the text to sign, no *auth* is right.
    :raises AuthError: *auth* is not right.
    """
    if auth is None:
        raise AuthError("there is no auth: it must be the app's key, a colon and a signature")
    if not isinstance(auth, str):
        raise AuthError(f"auth must be a string, not a JSON value such as {short_repr(auth)}")
    key, colon, given = auth.partition(":")
    if not colon:
        raise AuthError("auth has no colon: it must be the app's key, a colon and a signature")
    if not hmac.compare_digest(
        key.encode("utf-8", "replace"), app.key.encode("utf-8", "replace")
    ):
        raise AuthError(f"the key in auth is not that of the app with id {app.id}")
    try:
        right = signature()
    except UnicodeEncodeError:
        raise AuthError("the text to sign is not one that UTF-8 can express") from None
    if not signing.same_signature(given, right):
        raise AuthError(
            "invalid signature: it must be the HMAC-SHA256 in hex, with the secret of the app "
            f"with id {app.id}, of {text}"
        )


def _auth_error(channel: str, message: str) -> SubscriptionRefusedError:
    return SubscriptionRefusedError(channel, "AuthError", message, 401)


def _send_cached(
    state: AppState, name: str, me: Audience, now: float, out: list[Output]
) -> None:
    cached = state.cache.get(name, now)
    if cached is not None:
        out.append(Send(me, cached.message))
    else:
        out.append(Send(me, messages.cache_miss(name)))
        _queue_webhook(state, name, out, "cache_miss")


def _send_member_event(
    channel: Channel,
    event: str,
    fields: Mapping[str, Any],
    out: list[Output],
    but: Connection | None = None,
) -> None:
    out.append(Send(channel.audience(but), messages.internal(event, channel.name, fields)))


def _count_changed(state: AppState, channel: Channel, out: list[Output]) -> None:
    if (
        not state.app.subscription_counts
        or channel.members is not None
        or is_user_channel(channel.name)
    ):
        return
    if len(channel.subscribers) > limits.COUNTED_AT_ONCE:
        state.counts_due[channel.name] = None
    else:
        state.counts_due.pop(channel.name, None)
        _send_count(state, channel, out)


def _send_count(state: AppState, channel: Channel, out: list[Output]) -> None:
    count = {"subscription_count": len(channel.subscribers)}
    message = messages.internal("subscription_count", channel.name, count)
    out.append(Send(channel.audience(), message))
    _queue_webhook(state, channel.name, out, "subscription_count", **count)


def _queue_webhook(
    state: AppState, channel: str, out: list[Output], name: str, **fields: Any
) -> None:
    """Send the webhook event *name*; the channel of a user has none."""
    if state.app.webhooks and not is_user_channel(channel):
        out.append(Notify(state.app.id, {"name": name, "channel": channel, **fields}))
