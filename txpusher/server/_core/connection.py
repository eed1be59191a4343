"""
One client's connection, as the hub sees it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txpusher.server._app import App
    from txpusher.server._core.cache import CachedEvent, Expiring
    from txpusher.server._core.channels import Channel

#: Client events that one connection may send in any second.
CLIENT_EVENTS_PER_SECOND = 10


class AppState:
    """What the hub knows of one app."""

    def __init__(self, app: App, cache: Expiring[CachedEvent]) -> None:
        self.app = app
        self.connections: dict[str, Connection] = {}
        self.channels: dict[str, Channel] = {}
        self.users: dict[str, set[Connection]] = {}
        #: The last event of each cache channel, as it was sent.
        self.cache = cache
        #: Channels whose subscribers are still to be told their number.
        self.counts_due: dict[str, None] = {}


class Connection:
    """
    One open WebSocket connection.

    :ivar peer: What the server knows it by.
    :ivar channels: The channels it is subscribed to.
    :ivar user_id: Who is signed in, None for nobody.
    """

    __slots__ = (
        "_client_events",
        "_pinged_at",
        "_seen_at",
        "channels",
        "open",
        "peer",
        "socket_id",
        "state",
        "user_id",
    )

    def __init__(self, peer: Any, state: AppState, socket_id: str, now: float) -> None:
        self.peer = peer
        self.state = state
        self.socket_id = socket_id
        self.channels: dict[str, Channel] = {}
        self.user_id: str | None = None
        self.open = True
        self._seen_at = now
        self._pinged_at: float | None = None
        self._client_events: deque[float] | None = None

    def seen(self, now: float) -> None:
        """The client gave a sign of life, of whatever kind."""
        self._seen_at = now
        self._pinged_at = None

    def silent_for_too_long(self, now: float) -> bool:
        """Whether a ping went unanswered."""
        pinged_at = self._pinged_at
        return pinged_at is not None and now - pinged_at >= self.state.app.pong_timeout

    def ping_due(self, now: float) -> bool:
        """Whether to ping now; the answer is then waited for."""
        if self._pinged_at is not None or now - self._seen_at < self.state.app.activity_timeout:
            return False
        self._pinged_at = now
        return True

    def may_send_client_event(self, now: float) -> bool:
        """Count one client event; False where it is one too many in a second."""
        if self._client_events is None:
            self._client_events = deque(maxlen=CLIENT_EVENTS_PER_SECOND)
        recent = self._client_events
        if len(recent) == CLIENT_EVENTS_PER_SECOND and now - recent[0] < 1.0:
            return False
        recent.append(now)
        return True
