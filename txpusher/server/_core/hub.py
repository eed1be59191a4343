"""
The heart of the server: connections, channels, users and events.

Every input is a method call that returns a list of outputs (see
:mod:`txpusher.server._core.outputs`), to be carried out in order.  ``now`` is a time in
seconds, of the same clock in every call, which must not go backwards.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

import attrs

from txpusher._text import short_repr
from txpusher.server import _limits as limits
from txpusher.server._app import App
from txpusher.server._core import messages
from txpusher.server._core.cache import CachedEvent, ExpiringCache
from txpusher.server._core.client_events import client_event
from txpusher.server._core.json import load_object
from txpusher.server._core.messages import CloseWithError, MessageError
from txpusher.server._core.outputs import Activity, Audience, Close, Output, Peer, Send, Wake
from txpusher.server._core.refusals import Refusal
from txpusher.server._core.state import AppState, Connection, is_cache
from txpusher.server._core.subscriptions import (
    leave,
    send_due_counts,
    send_due_departures,
    subscribe,
    unsubscribe,
)
from txpusher.server._core.trouble import Trouble
from txpusher.server._core.users import sign_in, sign_out


@attrs.frozen
class Publication:
    """An event for some channels, all of it checked."""

    name: str
    channels: Sequence[str]
    data: str
    socket_id: str | None = None


class Hub:
    """
    The state of all apps of a server, and the rules that change it.

    :param apps: The apps that clients may connect to.
    :param max_connections: The most connections of all apps together, None for
        any number; one more is refused with 4100.
    :param trouble: What the server does wrong on request, None for nothing.
    :param epoch: What to add to ``now`` for the seconds since the epoch: messages are counted
        by the day.
    """

    def __init__(
        self,
        apps: Iterable[App],
        max_connections: int | None = None,
        trouble: Trouble | None = None,
        *,
        epoch: float = 0.0,
    ) -> None:
        trouble = Trouble() if trouble is None else trouble
        self._apps = {
            app.id: AppState(
                app, ExpiringCache[CachedEvent](limits.CACHED_EVENT_LIFETIME), trouble, epoch
            )
            for app in apps
        }
        self._by_key = {state.app.key: state for state in self._apps.values()}
        self._max_connections = max_connections
        self._connections: set[Connection] = set()
        self._last_socket = 0

    def app(self, app_id: str) -> AppState | None:
        """Return the state of an app, to be read; None where there is no such app."""
        return self._apps.get(app_id)

    # Connections

    def connect(
        self, peer: Peer, key: str, protocol: str | None, now: float
    ) -> tuple[Connection | None, list[Output]]:
        """
        Accept or refuse a client that has connected.

        :param peer: The server's end of the connection, for the outputs.
        :param key: The app's key, from the path.
        :param protocol: The protocol's version, from the query.
        :return: The connection, for the calls to come, None where the client is refused;
            and the outputs.
        """
        state = self._by_key.get(key)
        refusal = self._refusal(state, protocol)
        if refusal is not None or state is None or protocol is None:
            why, reason = refusal or (Refusal.UNKNOWN_APP, "")
            return None, self.refuse(peer, why, reason, state.app.id if state else "")
        self._last_socket += 1
        socket_id = f"{secrets.randbelow(10**9)}.{self._last_socket}"
        connection = Connection(peer, state, socket_id, int(protocol), now)
        state.connections[socket_id] = connection
        self._connections.add(connection)
        hello = messages.connection_established(socket_id, state.app.activity_timeout)
        out: list[Output] = [
            Send(Audience([peer]), hello),
            Activity("connected", state.app.id, socket_id),
        ]
        if state.app.authorization_timeout is not None:
            state.unauthorized[connection] = now + state.app.authorization_timeout
            out.append(Wake(state.unauthorized[connection]))
        return connection, out

    def refuse(
        self, peer: Peer, refusal: Refusal, reason: str, app_id: str = ""
    ) -> list[Output]:
        """Refuse a client that has connected: send a ``pusher:error``, then close."""
        code = refusal.code or 0
        return [
            Send(Audience([peer]), messages.error(code, reason)),
            Close(peer, code, reason),
            Activity("refused", app_id, detail=f"{code}: {reason}", refusal=refusal.label),
        ]

    def _refusal(
        self, state: AppState | None, protocol: str | None
    ) -> tuple[Refusal, str] | None:
        if state is None:
            return Refusal.UNKNOWN_APP, "there is no app with this key on this server"
        if not state.app.enabled:
            return Refusal.APP_DISABLED, "the app is disabled"
        if protocol is None:
            return Refusal.NO_PROTOCOL, "the query must have protocol=7"
        if not (protocol.isascii() and protocol.isdigit()):
            problem = f"protocol must be a number, such as 7, not {short_repr(protocol)}"
            return Refusal.INVALID_PROTOCOL, problem
        if protocol not in ("4", "5", "6", "7"):
            problem = f"protocol must be 4, 5, 6 or 7, not {short_repr(protocol)}"
            return Refusal.UNSUPPORTED_PROTOCOL, problem
        most = state.app.max_connections
        if most is not None and len(state.connections) >= most:
            return Refusal.APP_FULL, f"the app has {most} connections already"
        most = self._max_connections
        if most is not None and len(self._connections) >= most:
            return Refusal.SERVER_FULL, f"the server has {most} connections already"
        return None

    def disconnect(self, connection: Connection, now: float) -> list[Output]:
        """Forget a connection that has ended, once or again, and tell those who are left."""
        out: list[Output] = []
        if not connection.open:
            return out
        connection.open = False
        state = connection.state
        self._connections.discard(connection)
        del state.connections[connection.socket_id]
        state.unauthorized.pop(connection, None)
        sign_out(connection, out)
        for name in list(connection.channels):
            leave(connection, name, now, out)
        out.append(Activity("disconnected", state.app.id, connection.socket_id))
        return out

    def _end(
        self,
        connection: Connection,
        refusal: Refusal,
        reason: str,
        now: float,
        *,
        tell: bool = True,
    ) -> list[Output]:
        """
        End a connection.

        :param tell: Whether to send a ``pusher:error`` first.
        """
        code = refusal.code or 0
        out: list[Output] = [self.broke_off(connection, refusal, reason)]
        if tell:
            me = Audience([connection.peer])
            out.append(Send(me, messages.error(code, reason)))
        return [*out, Close(connection.peer, code, reason), *self.disconnect(connection, now)]

    def broke_off(
        self, connection: Connection, refusal: Refusal, reason: str, code: int | None = None
    ) -> Activity:
        """
        Return what to report where the server ends a connection of its own accord.

        :param code: The close code, where that is another than the refusal's.
        """
        code = refusal.code if code is None else code
        detail = reason if code is None else f"{code}: {reason}"
        return self._error_activity(connection, refusal, detail)

    def shutdown(self, now: float) -> list[Output]:
        """End every connection with 1001, which makes clients come back after a while."""
        everyone = list(self._connections)
        reason = "the server is shutting down"
        out: list[Output] = [Close(c.peer, messages.GOING_AWAY, reason) for c in everyone]
        for connection in everyone:
            # Nobody is left to be told who went.
            out += [o for o in self.disconnect(connection, now) if isinstance(o, Activity)]
        return out

    def close_all(self, code: int, now: float) -> tuple[int, list[Output]]:
        """
        End every connection with a code.

        :return: How many connections that are, and the outputs.
        """
        everyone = list(self._connections)
        reason = "the server closes all connections on request"
        out: list[Output] = []
        for connection in everyone:
            app_id, detail = connection.state.app.id, f"{code}: {reason}"
            out.append(Activity("trouble", app_id, connection.socket_id, detail=detail))
            if 4000 <= code <= 4299 or connection.is_told_first:
                out.append(Send(Audience([connection.peer]), messages.error(code, reason)))
            out.append(Close(connection.peer, code, reason))
        for connection in everyone:
            # Nobody is left to be told who went, but the webhooks.
            out += [o for o in self.disconnect(connection, now) if not isinstance(o, Send)]
        return len(everyone), out

    # Time

    def tick(self, now: float) -> list[Output]:
        """
        Do what is due as time passes: pings, closes, counts.

        Call this once a second; what is due at a moment of its own, :meth:`due` does.
        """
        out = self.due(now)
        for connection in list(self._connections):
            if connection.silent_for_too_long(now):
                reason = f"no pong within {connection.state.app.pong_timeout:g} seconds"
                out += self._end(
                    connection, Refusal.NO_PONG, reason, now, tell=connection.is_told_first
                )
            elif connection.ping_due(now):
                out.append(Send(Audience([connection.peer]), messages.PING))
        for state in self._apps.values():
            state.cache.forget(now)
            send_due_counts(state, now, out)
        return out

    def due(self, now: float) -> list[Output]:
        """Do what is due by *now*, and say when to call this again."""
        out: list[Output] = []
        for state in self._apps.values():
            send_due_departures(state, now, out)
            self._end_unauthorized(state, now, out)
            moments = (state.departures.next(), next(iter(state.unauthorized.values()), None))
            out += [Wake(moment) for moment in moments if moment is not None]
        return out

    def _end_unauthorized(self, state: AppState, now: float, out: list[Output]) -> None:
        """End the connections that have not been authorised in time."""
        late = [one for one, moment in state.unauthorized.items() if moment <= now]
        for connection in late:
            reason = "Connection not authorized within timeout"
            out += self._end(connection, Refusal.NOT_AUTHORIZED, reason, now)

    # Messages

    def receive(self, connection: Connection, text: str, now: float) -> list[Output]:
        """Act on a message of a client, or answer with what is wrong with the message."""
        out: list[Output] = []
        if not connection.open:
            return out
        try:
            self._handle(connection, text, now, out)
        except MessageError as error:
            me = Audience([connection.peer])
            out += [Send(me, answer) for answer in error.answers]
            out.append(
                self._error_activity(connection, error.refusal, str(error), error.channel)
            )
        except CloseWithError as error:
            out += self._end(connection, error.refusal, str(error), now)
        return out

    def _error_activity(
        self,
        connection: Connection,
        refusal: Refusal,
        detail: str,
        channel: str | None = None,
    ) -> Activity:
        return Activity(
            "error",
            connection.state.app.id,
            connection.socket_id,
            channel,
            detail=detail,
            refusal=refusal.label,
        )

    def _handle(self, connection: Connection, text: str, now: float, out: list[Output]) -> None:
        try:
            message = load_object(text)
        except ValueError as error:
            raise MessageError(
                Refusal.MESSAGE, f"a message must be a JSON object: {error}"
            ) from None
        event = message.get("event")
        if not isinstance(event, str):
            raise MessageError(
                Refusal.MESSAGE,
                'a message must have the name of an event in its field "event"',
            )
        if event.startswith("client-"):
            client_event(connection, message, now, out)
        elif event == "pusher:ping":
            out.append(Send(Audience([connection.peer]), messages.PONG))
        elif event == "pusher:pong":
            pass
        elif event == "pusher:subscribe":
            subscribe(connection, messages.data_of(message), now, out)
        elif event == "pusher:unsubscribe":
            unsubscribe(connection, messages.data_of(message), now, out)
        elif event == "pusher:signin":
            sign_in(connection, messages.data_of(message), out)
        else:
            raise MessageError(
                Refusal.UNKNOWN_EVENT,
                "a client may send pusher: events of the protocol and client- events, "
                f"not {short_repr(event)}",
            )

    # The HTTP API

    def publish(
        self, state: AppState, publications: Iterable[Publication], now: float
    ) -> list[Output]:
        """Send events from the HTTP API to the subscribers of their channels."""
        out: list[Output] = []
        for publication in publications:
            left_out = (
                None
                if publication.socket_id is None
                else state.connections.get(publication.socket_id)
            )
            for name in publication.channels:
                channel = state.channels.get(name)
                if channel is not None or is_cache(name):
                    message = messages.channel_event(name, publication.name, publication.data)
                    if is_cache(name):
                        cached = CachedEvent(publication.data, message)
                        state.cache.set(name, cached, cached.size, now)
                    if channel is not None:
                        audience = channel.audience(left_out)
                        out.append(Send(audience, message))
                        state.usage.count(len(audience), now)
                out.append(
                    Activity(
                        "event",
                        state.app.id,
                        publication.socket_id,
                        name,
                        publication.name,
                        publication.data,
                    )
                )
        return out

    def terminate(self, state: AppState, user_id: str, now: float) -> list[Output]:
        """End every connection that is signed in as a user."""
        out: list[Output] = []
        reason = "the app has ended the connections of this user"
        for connection in list(state.users.get(user_id, ())):
            out += self._end(connection, Refusal.TERMINATED, reason, now)
        return out

    def end_connection(self, app_id: str, socket_id: str, now: float) -> list[Output]:
        """End one connection, whose client does not come back; no output where it is gone."""
        state = self._apps.get(app_id)
        connection = None if state is None else state.connections.get(socket_id)
        if connection is None:
            return []
        reason = "the app has ended the connection"
        return self._end(connection, Refusal.TERMINATED, reason, now)
