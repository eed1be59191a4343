"""
Channels and connections as they are shown to people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from txpusher.server import _limits as limits
from txpusher.server._core.state import AppState, Channel, Connection, Member


def channels(states: Iterable[AppState], text: str) -> dict[str, Any]:
    """
    Return the channels whose name has *text* in it.

    :return: ``total``, how many there are; and ``rows``, the first of them, each with its
        app, subscribers and, for a presence channel, members.
    """
    found = [
        (state, channel)
        for state in states
        for channel in state.channels.values()
        if text.lower() in channel.name.lower()
    ]
    rows = [_channel(state, channel) for state, channel in found[: limits.CONSOLE_ROWS]]
    return {"total": len(found), "rows": rows}


def _channel(state: AppState, channel: Channel) -> dict[str, Any]:
    members = None
    if channel.members is not None:
        members = [_member(one) for one in islice(channel.members, limits.CONSOLE_MEMBERS)]
    first = islice(channel.subscribers, limits.CONSOLE_MEMBERS)
    return {
        "app": state.app.id,
        "name": channel.name,
        "subscriptions": len(channel.subscribers),
        "users": None if channel.members is None else len(channel.members),
        "members": members,
        "connections": [connection.socket_id for connection in first],
    }


def _member(member: Member) -> dict[str, Any]:
    return {"id": member.user_id, "info": member.user_info}


def connections(states: Iterable[AppState], text: str) -> dict[str, Any]:
    """
    Return the connections that have *text* in their id, their user's or a channel's name.

    :return: ``total``, how many there are; and ``rows``, the first of them, each with its
        app, user and channels.
    """
    found = [
        (state, connection)
        for state in states
        for connection in state.connections.values()
        if not text or any(text.lower() in word.lower() for word in _words(connection))
    ]
    rows = [_connection(state, one) for state, one in found[: limits.CONSOLE_ROWS]]
    return {"total": len(found), "rows": rows}


def _words(connection: Connection) -> Iterator[str]:
    yield connection.socket_id
    yield from connection.channels
    yield from _user_ids(connection)


def _user_ids(connection: Connection) -> list[str]:
    """Return whom a connection is signed in as, and as whom it is present, without repeats."""
    members = [channel.subscribers[connection] for channel in connection.channels.values()]
    known = [connection.user, *members]
    return list(dict.fromkeys(one.user_id for one in known if one is not None))


def _connection(state: AppState, connection: Connection) -> dict[str, Any]:
    return {
        "app": state.app.id,
        "socket_id": connection.socket_id,
        "user": None if connection.user is None else _member(connection.user),
        "users": _user_ids(connection),
        "channels": list(islice(connection.channels, limits.CONSOLE_MEMBERS)),
        "channel_count": len(connection.channels),
    }
