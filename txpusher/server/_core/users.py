"""
Users: who signs in, and who is told of it.

The functions change the state and add to *out* what is to be done.
Sources: "User authentication" and "Watchlist events" in the Pusher Channels documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from txpusher._protocol import signing
from txpusher._protocol.names import check_user_id
from txpusher._text import short_repr
from txpusher.server import _limits as limits
from txpusher.server._core import messages
from txpusher.server._core.json import kind_of, load_object
from txpusher.server._core.messages import CloseWithError, MessageError
from txpusher.server._core.outputs import Activity, Audience, Output, Send
from txpusher.server._core.refusals import Refusal
from txpusher.server._core.state import AppState, Connection, Member
from txpusher.server._core.subscriptions import AuthError, check_auth
from txpusher.server._core.trouble import REFUSED_ON_REQUEST


def sign_in(connection: Connection, data: Mapping[str, Any], out: list[Output]) -> None:
    """
    Act on ``pusher:signin``.

    :raises CloseWithError: The connection ends with 4009.
    :raises MessageError: The sign-in holds, and its watchlist is refused.
    """
    user_data, fields = _authentic(connection, data)
    try:
        user = Member(check_user_id(fields.get("id")), fields.get("user_info"))
    except ValueError as error:
        raise CloseWithError(
            Refusal.SIGN_IN_DATA, f"user_data of pusher:signin must have an id: {error}"
        ) from None
    if connection.user is not None and connection.user.user_id != user.user_id:
        raise CloseWithError(
            Refusal.SIGNED_IN_ALREADY, "the connection is signed in as another user already"
        )
    state = connection.state
    connection.user = user
    state.unauthorized.pop(connection, None)
    _forget_watchlist(connection)
    mine = state.users.setdefault(user.user_id, set())
    if not mine:
        _tell_watchers(state, "online", user.user_id, out)
    mine.add(connection)
    out.append(Send(Audience([connection.peer]), messages.signin_success(user_data)))
    out.append(Activity("signed_in", state.app.id, connection.socket_id, user_id=user.user_id))
    _watch(connection, fields.get("watchlist"), out)


def _authentic(connection: Connection, data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """
    Return the text of a sign-in's user_data, and the object in it.

    :raises CloseWithError: The sign-in is not authentic.
    """
    app = connection.state.app
    user_data = data.get("user_data")
    if not app.user_authentication:
        raise CloseWithError(
            Refusal.SIGN_IN_OFF, "user authentication is switched off for this app"
        )
    if connection.state.trouble.refuse_auth:
        raise CloseWithError(Refusal.SIGN_IN_TROUBLE, f"pusher:signin: {REFUSED_ON_REQUEST}")
    if not isinstance(user_data, str):
        raise CloseWithError(
            Refusal.SIGN_IN_DATA,
            f"user_data of pusher:signin must be a string, not {kind_of(user_data)}",
        )
    try:
        check_auth(
            data.get("auth"),
            app,
            f"{connection.socket_id}::user::{user_data}",
            lambda: signing.user_signature(app.secret, connection.socket_id, user_data),
        )
    except AuthError as error:
        raise CloseWithError(Refusal.SIGN_IN_AUTH, f"pusher:signin: {error}") from None
    try:
        return user_data, load_object(user_data)
    except ValueError as error:
        raise CloseWithError(
            Refusal.SIGN_IN_DATA, f"user_data of pusher:signin: {error}"
        ) from None


def sign_out(connection: Connection, out: list[Output]) -> None:
    """Forget who has signed in on a connection that ends, and tell who watches the user."""
    state = connection.state
    _forget_watchlist(connection)
    if connection.user is None:
        return
    user_id = connection.user.user_id
    users = state.users[user_id]
    users.discard(connection)
    if not users:
        del state.users[user_id]
        _tell_watchers(state, "offline", user_id, out)


# Watchlists


def _watch(connection: Connection, watchlist: object, out: list[Output]) -> None:
    """
    Begin to tell a connection of the users on its watchlist: first, who is online.

    :raises MessageError: The connection is told of nobody.
    """
    if watchlist is None:
        return
    if not isinstance(watchlist, list) or not all(isinstance(one, str) for one in watchlist):
        raise MessageError(
            Refusal.WATCHLIST,
            "the watchlist of a user must be an array of user ids, "
            f"not {short_repr(watchlist)}",
        )
    if len(watchlist) > limits.WATCHLIST:
        raise MessageError(
            Refusal.LONG_WATCHLIST,
            f"the watchlist of a user may have {limits.WATCHLIST} user ids, "
            f"not {len(watchlist)}",
        )
    state = connection.state
    connection.watchlist = tuple(dict.fromkeys(watchlist))
    for user_id in connection.watchlist:
        state.watchers.setdefault(user_id, {})[connection] = None
    online = [user_id for user_id in connection.watchlist if user_id in state.users]
    if online:
        message = messages.watchlist_events("online", online)
        out.append(Send(Audience([connection.peer]), message))


def _forget_watchlist(connection: Connection) -> None:
    watchers = connection.state.watchers
    for user_id in connection.watchlist:
        del watchers[user_id][connection]
        if not watchers[user_id]:
            del watchers[user_id]
    connection.watchlist = ()


def _tell_watchers(state: AppState, event: str, user_id: str, out: list[Output]) -> None:
    watchers = state.watchers.get(user_id)
    if watchers:
        message = messages.watchlist_events(event, [user_id])
        out.append(Send(Audience([one.peer for one in watchers]), message))
