"""
Who is subscribed to what: apps, connections, channels and their members.

The classes hold state and keep its parts consistent; what clients are told of a change is
decided in :mod:`~txpusher.server._core.subscriptions` and its neighbours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs

from txpusher._protocol.names import USER_CHANNEL_PREFIX
from txpusher.server._app import App
from txpusher.server._core.cache import CachedEvent, ExpiringCache
from txpusher.server._core.json import load_object
from txpusher.server._core.outputs import Audience, Peer
from txpusher.server._core.trouble import Trouble
from txpusher.server._core.usage import Usage

_CACHE_PREFIXES = ("cache-", "private-cache-", "private-encrypted-cache-", "presence-cache-")


# What the name of a channel implies


def is_presence(name: str) -> bool:
    """Return whether the subscribers of the channel know of each other."""
    return name.startswith("presence-")


def needs_auth(name: str) -> bool:
    """Return whether a subscription to the channel needs a signature."""
    return name.startswith(("private-", "presence-"))


def is_cache(name: str) -> bool:
    """Return whether the channel's last event is kept for later subscribers."""
    return name.startswith(_CACHE_PREFIXES)


def is_user_channel(name: str) -> bool:
    """Return whether the channel carries the events of one signed-in user."""
    return name.startswith(USER_CHANNEL_PREFIX)


# Members


@attrs.frozen
class Member:
    """A user of a presence channel: an id, and whatever else others may know."""

    user_id: str
    user_info: Any = None

    @classmethod
    def parse(cls, channel_data: str) -> Member:
        """
        Return the member that a subscription's ``channel_data`` describes.

        :raises ValueError: *channel_data* is not a JSON object with a ``user_id`` that
            is a non-empty str or an int.
        """
        fields = load_object(channel_data)
        user_id = fields.get("user_id")
        if isinstance(user_id, int) and not isinstance(user_id, bool):
            user_id = str(user_id)
        if not isinstance(user_id, str) or not user_id:
            raise ValueError("it has no user_id that is a non-empty string or an integer")
        return cls(user_id, fields.get("user_info"))

    def fields(self) -> dict[str, Any]:
        """Return the member as the data of ``member_added``."""
        fields = {"user_id": self.user_id}
        if self.user_info is not None:
            fields["user_info"] = self.user_info
        return fields


class Members:
    """
    The users of one presence channel, in the order in which they came.

    A user with several connections is one member, until the last of them leaves.
    """

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._connections: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def join(self, member: Member) -> bool:
        """Count one more connection of a user; return whether it is the user's first."""
        user_id = member.user_id
        self._connections[user_id] = self._connections.get(user_id, 0) + 1
        if user_id in self._members:
            return False
        self._members[user_id] = member
        return True

    def leave(self, user_id: str) -> bool:
        """Count one connection less; return whether it was the user's last."""
        self._connections[user_id] -= 1
        if self._connections[user_id]:
            return False
        del self._connections[user_id], self._members[user_id]
        return True

    def is_full(self, most: int, member: Member) -> bool:
        """Return whether there are *most* members already, *member* being none of them."""
        return len(self) >= most and member.user_id not in self._members

    def ids(self) -> list[str]:
        """Return the ids of the users."""
        return list(self._members)

    def summary(self) -> dict[str, Any]:
        """Return the data of a new subscriber's ``subscription_succeeded``."""
        return {
            "presence": {
                "ids": self.ids(),
                "hash": {user_id: m.user_info for user_id, m in self._members.items()},
                "count": len(self),
            }
        }


# Channels


class Channel:
    """One occupied channel: its subscribers, and as whom each is subscribed."""

    __slots__ = ("_everyone", "members", "name", "subscribers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.subscribers: dict[Connection, Member | None] = {}
        self.members: Members | None = Members() if is_presence(name) else None
        self._everyone: Audience | None = None

    def join(self, connection: Connection, member: Member | None) -> bool:
        """Add a subscriber; return whether a new member of a presence channel came with it."""
        self.subscribers[connection] = member
        self._everyone = None
        if self.members is None or member is None:
            return False
        return self.members.join(member)

    def leave(self, connection: Connection) -> Member | None:
        """Remove a subscriber; return the member who left with it, None for nobody."""
        member = self.subscribers.pop(connection)
        self._everyone = None
        if self.members is None or member is None or not self.members.leave(member.user_id):
            return None
        return member

    def audience(self, but: Connection | None = None) -> Audience:
        """
        Return all subscribers as an audience, without *but*.

        Without *but* the same object is returned until someone subscribes or leaves.
        """
        if but is not None:
            return Audience([one.peer for one in self.subscribers if one is not but])
        if self._everyone is None:
            self._everyone = Audience([one.peer for one in self.subscribers])
        return self._everyone


# Departures


class Departures:
    """
    The webhook events ``channel_vacated`` and ``member_removed`` that wait.

    Whoever comes back before its event is due has never left, for the webhooks: a page that
    is reloaded would otherwise look like a user who leaves.

    :param grace: Seconds that an event waits.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        # In order of time.  By the name of the event, the channel and the user.
        self._due: dict[tuple[str, str, str | None], float] = {}

    def add(self, name: str, channel: str, user_id: str | None, now: float) -> None:
        """Let an event wait from *now* on."""
        self._due[name, channel, user_id] = now + self._grace

    def cancel(self, name: str, channel: str, user_id: str | None = None) -> bool:
        """Drop an event that waits; return whether there was one."""
        return self._due.pop((name, channel, user_id), None) is not None

    def next(self) -> float | None:
        """Return when the next event is due, None where no event waits."""
        return next(iter(self._due.values()), None)

    def take(self, now: float) -> list[tuple[str, str, str | None]]:
        """Return the events that are due, which wait no more."""
        due = [event for event, at in self._due.items() if at <= now]
        for event in due:
            del self._due[event]
        return due


# Apps and connections


class AppState:
    """
    The state of one app: its connections, channels and users.

    :param epoch: What to add to the hub's time for the seconds since the epoch.
    :ivar cache: The last event of each cache channel, by the channel's name.
    :ivar counts_due: Names of channels whose subscribers are yet to be told how many they
        are; a dict for its order.
    :ivar departures: Webhook events that wait, lest someone come back.
    :ivar usage: The messages that the app has used up.
    :ivar users: The connections of each user who has signed in, by the user's id.
    :ivar watchers: The connections whose watchlist names a user, by the user's id; dicts for
        their order.
    :ivar unauthorized: The connections that have yet to sign in or to subscribe to a private
        or presence channel, and when each is closed for it; in order of time.
    :ivar trouble: What the server does wrong on request.
    """

    def __init__(
        self, app: App, cache: ExpiringCache[CachedEvent], trouble: Trouble, epoch: float
    ) -> None:
        self.app = app
        self.trouble = trouble
        self.connections: dict[str, Connection] = {}
        self.channels: dict[str, Channel] = {}
        self.users: dict[str, set[Connection]] = {}
        self.watchers: dict[str, dict[Connection, None]] = {}
        self.unauthorized: dict[Connection, float] = {}
        self.cache = cache
        self.counts_due: dict[str, None] = {}
        self.departures = Departures(app.webhook_grace)
        self.usage = Usage(app.limits, epoch)


class Connection:
    """
    One open WebSocket connection.

    :ivar peer: The server's end of the connection, for outputs.
    :ivar channels: The channels that the connection is subscribed to, by name.
    :ivar user: The user who has signed in, None for nobody.
    :ivar watchlist: The ids of the users of whom the client is told when they come or go.
    :ivar open: Whether the hub still acts for the connection.
    """

    __slots__ = (
        "_client_events",
        "_pinged_at",
        "_seen_at",
        "channels",
        "open",
        "peer",
        "protocol",
        "socket_id",
        "state",
        "user",
        "watchlist",
    )

    def __init__(
        self, peer: Peer, state: AppState, socket_id: str, protocol: int, now: float
    ) -> None:
        self.peer = peer
        self.state = state
        self.socket_id = socket_id
        self.protocol = protocol
        self.channels: dict[str, Channel] = {}
        self.user: Member | None = None
        self.watchlist: tuple[str, ...] = ()
        self.open = True
        self._seen_at = now
        self._pinged_at: float | None = None
        self._client_events: deque[float] | None = None

    @property
    def is_told_first(self) -> bool:
        """Whether a ``pusher:error`` must come before a close, as before protocol 6."""
        return self.protocol < 6

    def seen(self, now: float) -> None:
        """Note that the client gave a sign of life, of whatever kind."""
        self._seen_at = now
        self._pinged_at = None

    def silent_for_too_long(self, now: float) -> bool:
        """Return whether the client has left a ping unanswered for the app's time."""
        pinged_at = self._pinged_at
        return pinged_at is not None and now - pinged_at >= self.state.app.pong_timeout

    def ping_due(self, now: float) -> bool:
        """Return whether to ping the client now; if so, the answer is waited for."""
        if self._pinged_at is not None or now - self._seen_at < self.state.app.activity_timeout:
            return False
        self._pinged_at = now
        return True

    def may_send_client_event(self, now: float) -> bool:
        """Count one client event; return whether the rate limit allows it."""
        most = self.state.app.limits.client_events_per_second
        if most is None:
            return True
        if self._client_events is None:
            self._client_events = deque(maxlen=most)
        recent = self._client_events
        if len(recent) == most and now - recent[0] < 1.0:
            return False
        recent.append(now)
        return True
