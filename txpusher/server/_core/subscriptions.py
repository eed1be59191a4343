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
from txpusher.errors import InvalidRequestError
from txpusher.server import _limits as limits
from txpusher.server._app import App
from txpusher.server._core import messages
from txpusher.server._core.json import dump_bytes, kind_of
from txpusher.server._core.messages import MessageError, SubscriptionRefusedError
from txpusher.server._core.outputs import Activity, Audience, Notify, Output, Send, Wake
from txpusher.server._core.refusals import Refusal
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
            queue_webhook(state, name, now, out, "channel_occupied")
    joined = channel.join(connection, member)
    connection.channels[name] = channel
    if needs_auth(name):
        state.unauthorized.pop(connection, None)
    me = Audience([connection.peer])
    summary = {} if channel.members is None else channel.members.summary()
    out.append(Send(me, messages.internal("subscription_succeeded", name, summary)))
    if joined and member is not None:
        added = channel.audience(connection)
        _send_member_event(state, channel, "member_added", member.fields(), added, now, out)
        if not state.departures.cancel("member_removed", name, member.user_id):
            queue_webhook(state, name, now, out, "member_added", user_id=member.user_id)
    if is_cache(name):
        _send_cached(state, name, me, now, out)
    _count_changed(state, channel, now, out)
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
        raise MessageError(Refusal.MESSAGE, "pusher:unsubscribe needs the name of a channel")
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
        audience = channel.audience()
        _send_member_event(state, channel, "member_removed", fields, audience, now, out)
        _add_departure(state, "member_removed", name, member.user_id, now, out)
    if channel.subscribers:
        _count_changed(state, channel, now, out)
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
        queue_webhook(state, channel, now, out, event, **fields)


def send_due_counts(state: AppState, now: float, out: list[Output]) -> None:
    """Send the subscribers of large channels their number, where it has changed."""
    for name in state.counts_due:
        _send_count(state, state.channels[name], now, out)
    state.counts_due.clear()


def _check_new(connection: Connection, name: str) -> None:
    """Refuse a channel that the connection has already, and one channel too many."""
    if name in connection.channels:
        raise MessageError(
            Refusal.SUBSCRIBED_ALREADY, f"Existing subscription to channel {name}", name
        )
    if len(connection.channels) >= limits.CHANNELS_PER_CONNECTION:
        raise _limit_error(
            Refusal.TOO_MANY_CHANNELS,
            name,
            f"a connection may have {limits.CHANNELS_PER_CONNECTION} channels",
        )
    most = connection.state.app.limits.channel_name_length
    if most is not None and len(name) > most and not is_user_channel(name):
        text = f"the name of a channel may have {most} characters, not {len(name)}"
        raise _name_error(name, text)


def _channel_name(name: object) -> str:
    if not isinstance(name, str):
        raise MessageError(
            Refusal.CHANNEL_NAME,
            f"the channel of pusher:subscribe must be a string, not {kind_of(name)}",
        )
    try:
        return check_target(name)
    except InvalidRequestError as error:
        refused = _name_error(name, str(error))
        # The name may be as long as a message; the text quotes its beginning.
        refused.channel = None
        raise refused from None


def _name_error(name: str, message: str) -> SubscriptionRefusedError:
    return SubscriptionRefusedError(
        Refusal.CHANNEL_NAME, name, message, "InvalidChannelName", 400
    )


def _limit_error(refusal: Refusal, channel: str, message: str) -> SubscriptionRefusedError:
    # soketi's name for it; the documentation has none.
    return SubscriptionRefusedError(refusal, channel, message, "LimitReached", 400)


def _authorize(connection: Connection, name: str, data: Mapping[str, Any]) -> Member | None:
    """
    Check that the subscription is authorised.

    :return: The member of a presence channel, None for any other channel.
    :raises SubscriptionRefusedError: The subscription is not authorised.
    """
    if is_user_channel(name):
        if connection.user is None or name != f"{USER_CHANNEL_PREFIX}{connection.user.user_id}":
            raise SubscriptionRefusedError(
                Refusal.OTHER_USER, name, "the connection is not signed in as this user"
            )
        return None
    if not needs_auth(name):
        return None
    if connection.state.trouble.refuse_auth:
        raise SubscriptionRefusedError(Refusal.SUBSCRIPTION_TROUBLE, name, REFUSED_ON_REQUEST)
    channel_data = data.get("channel_data")
    if channel_data is not None and not isinstance(channel_data, str):
        raise SubscriptionRefusedError(
            Refusal.MEMBER,
            name,
            f"channel_data must be a string, not {kind_of(channel_data)}",
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
        raise SubscriptionRefusedError(Refusal.SUBSCRIPTION_AUTH, name, str(error)) from None
    if not is_presence(name):
        return None
    member = _member(connection, name, channel_data)
    _check_limits(connection.state, name, member)
    return member


def _member(connection: Connection, name: str, channel_data: str | None) -> Member:
    """
    Return the user as whom a connection subscribes to a presence channel.

    That is the user of *channel_data*, and without *channel_data* the user who has signed in.
    """
    if channel_data is None:
        if connection.user is None:
            raise SubscriptionRefusedError(
                Refusal.NO_MEMBER,
                name,
                "a presence channel needs a user: the auth came without channel_data, "
                "and the connection has not signed in",
            )
        return connection.user
    try:
        return Member.parse(channel_data)
    except ValueError as error:
        raise SubscriptionRefusedError(
            Refusal.MEMBER,
            name,
            f"channel_data of a presence channel must be a JSON object with a user_id: {error}",
        ) from None


def _check_limits(state: AppState, name: str, member: Member) -> None:
    """
    Refuse a member beyond the limits of the app ("Presence channels").

    :raises SubscriptionRefusedError: The id or the information is too large, or the channel
        is full.
    """
    app_limits = state.app.limits
    most = app_limits.presence_user_id_length
    if most is not None and len(member.user_id) > most:
        raise _limit_error(
            Refusal.LONG_USER_ID,
            name,
            f"the user_id of a member may have {most} characters, not {len(member.user_id)}",
        )
    most = app_limits.user_info_bytes
    if most is not None and member.user_info is not None:
        size = len(dump_bytes(member.user_info))
        if size > most:
            raise _limit_error(
                Refusal.LARGE_USER_INFO,
                name,
                f"the user_info of a member may have {most} bytes of JSON, not {size}",
            )
    most = app_limits.presence_members
    channel = state.channels.get(name)
    members = None if channel is None else channel.members
    if most is not None and members is not None and members.is_full(most, member):
        raise _limit_error(
            Refusal.CHANNEL_FULL, name, f"the presence channel has {most} members already"
        )


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
        raise AuthError(f"auth must be a string, not {kind_of(auth)}")
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


def _send_cached(
    state: AppState, name: str, me: Audience, now: float, out: list[Output]
) -> None:
    cached = state.cache.get(name, now)
    if cached is not None:
        out.append(Send(me, cached.message))
    else:
        out.append(Send(me, messages.cache_miss(name)))
        queue_webhook(state, name, now, out, "cache_miss")


def _send_member_event(
    state: AppState,
    channel: Channel,
    event: str,
    fields: Mapping[str, Any],
    to: Audience,
    now: float,
    out: list[Output],
) -> None:
    out.append(Send(to, messages.internal(event, channel.name, fields)))
    state.usage.count(len(to), now)


def _count_changed(state: AppState, channel: Channel, now: float, out: list[Output]) -> None:
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
        _send_count(state, channel, now, out)


def _send_count(state: AppState, channel: Channel, now: float, out: list[Output]) -> None:
    count = {"subscription_count": len(channel.subscribers)}
    message = messages.internal("subscription_count", channel.name, count)
    out.append(Send(channel.audience(), message))
    queue_webhook(state, channel.name, now, out, "subscription_count", **count)


def queue_webhook(
    state: AppState, channel: str, now: float, out: list[Output], name: str, **fields: Any
) -> None:
    """Send the webhook event *name*; the channel of a user has none."""
    if state.app.webhooks and not is_user_channel(channel):
        event = {"name": name, "channel": channel, **fields}
        out.append(Notify(state.app.id, event))
        state.usage.count(sum(target.wants(event) for target in state.app.webhooks), now)
