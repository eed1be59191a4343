"""
Everything that lives from listen to stop: the hub, its faces, the outbox and the webhooks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from txpusher.server import _limits as limits
from txpusher.server._address import ServerAddress
from txpusher.server._app import App
from txpusher.server._console.desk import Desk
from txpusher.server._console.feed import Feed
from txpusher.server._console.guard import Guard
from txpusher.server._console.resource import Console
from txpusher.server._core.endpoints import ApiCall, Endpoints, Response, below
from txpusher.server._core.hub import Hub
from txpusher.server._core.outputs import Activity, Close, Notify, Output, Peer, Send, Wake
from txpusher.server._core.refusals import Refusal
from txpusher.server._core.state import Connection
from txpusher.server._core.trouble import NO_MISHAP, Trouble, mishap_of
from txpusher.server._net.http import ChannelsResource, ChannelsSite, ShownHeaders
from txpusher.server._net.outbox import Outbox, text_frame
from txpusher.server._net.webhooks import WebHookSender
from txpusher.server._net.websocket import WebSocketResource

log = Logger(namespace="txpusher")


class Running:
    """
    A server that runs: passes inputs to the hub, and carries the hub's outputs out.

    :param apps: The apps that clients may connect to.
    :param max_connections: The most WebSocket connections, None for any number.
    :param path_prefix: The path that may stand before every path, empty or ``"/..."``.
    :param trouble: What the server does wrong on request.
    :param reactor: Listens, connects and keeps the time of the hub.
    :param clock: Returns the time in seconds since the epoch.
    :param report: Told of every :class:`Activity`.
    :param console: The hosts under which others than this machine may use the console, None
        for no console.
    :ivar site: Twisted's site, to be listened with.
    """

    def __init__(
        self,
        apps: Iterable[App],
        max_connections: int | None,
        path_prefix: str,
        trouble: Trouble,
        reactor: Any,
        clock: Callable[[], float],
        report: Callable[[Activity], None],
        console: frozenset[str] | None = None,
    ) -> None:
        apps = tuple(apps)
        epoch = clock() - reactor.seconds()
        self._hub = Hub(apps, max_connections, trouble, epoch=epoch)
        self._endpoints = Endpoints(self._hub)
        self._path_prefix = path_prefix
        self._trouble = trouble
        self._reactor = reactor
        self._clock = clock
        self._observers = [report]
        self._outbox = Outbox(reactor)
        kept = 0 if console is None else limits.CONSOLE_DELIVERIES
        self._webhooks = WebHookSender(apps, reactor, clock, self.report, kept)
        self._console = None if console is None else self._make_console(apps, console)
        websocket = WebSocketResource(self, path_prefix.encode("ascii"))
        resource = ChannelsResource(self, websocket, reactor, self._console)
        self.site = ChannelsSite(resource, reactor, self.refused)
        self._listening: Any = None
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = reactor
        self._alarm: Any = None

    def _make_console(self, apps: tuple[App, ...], hosts: frozenset[str]) -> Console:
        desk = Desk(apps, self._hub, self, self._webhooks.deliveries, self._clock)
        feed = Feed(self._clock, desk.open_sealed)
        self._observers.append(feed)
        guard, prefix = Guard(hosts), self._path_prefix
        refused = partial(self.refused, Refusal.CONSOLE)
        return Console(feed, desk, guard, self._reactor, refused, prefix)

    def report(self, activity: Activity) -> None:
        """Tell whoever watches the server of *activity*."""
        for observer in self._observers:
            observer(activity)

    def start(self, listening: Any) -> None:
        """
        Begin to keep time.

        :param listening: The port on which the site listens.
        """
        self._listening = listening
        self._ticks.start(1.0, now=False).addErrback(
            lambda failure: log.failure("The server's clock has stopped", failure=failure)
        )

    @property
    def address(self) -> ServerAddress:
        """The address of the port."""
        return ServerAddress.of(self._listening)

    async def stop(self) -> None:
        """
        End every connection, request and retry, within ``limits.STOP_GRACE`` seconds.

        To cancel it ends at once what is left; the port is released all the same.
        """
        grace = self._reactor.callLater(limits.STOP_GRACE, self.site.abort)
        released = maybeDeferred(lambda: self._listening.stopListening())
        try:
            self._webhooks.stop()
            if self._console is not None:
                self._console.stop()
            await _shielded(released)
            self.site.stopping = True
            self.carry_out(self._hub.shutdown(self.now()))
            self.site.close_unless_websockets()
            await self.site.emptied()
        except Exception:
            # The stop was cancelled, or the port fails to stop.  Whoever listens next must find
            # the port free.
            self.site.abort()
            await _shielded(released)
            await self.site.emptied()
            raise
        finally:
            if grace.active():
                grace.cancel()
            self._outbox.stop()
            if self._ticks.running:
                self._ticks.stop()
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None

    # Inputs from WebSocket connections

    def connected(self, peer: Peer, key: str, protocol: str | None) -> Connection | None:
        """Accept a WebSocket, and return its connection; None where the hub refuses it."""
        connection, outputs = self._hub.connect(peer, key, protocol, self.now())
        self.carry_out(outputs)
        return connection

    def refuse(self, peer: Peer, refusal: Refusal, reason: str) -> None:
        """Refuse a WebSocket that has just been opened."""
        self.carry_out(self._hub.refuse(peer, refusal, reason))

    def refused_handshake(self, problem: str, headers: ShownHeaders) -> None:
        """Report that a request for a WebSocket is no handshake."""
        self.refused(Refusal.NO_HANDSHAKE, f"no WebSocket handshake: {problem}", headers)

    def refused(
        self, refusal: Refusal, detail: str, headers: ShownHeaders | None = None
    ) -> None:
        """Report that a request was refused that names no app."""
        self.report(
            Activity("refused", "", detail=detail, refusal=refusal.label, headers=headers)
        )

    def seen(self, connection: Connection) -> None:
        """Note that a client has sent something."""
        connection.seen(self.now())

    def received(self, connection: Connection, message: str) -> None:
        """Act on a message of a client."""
        self.carry_out(self._hub.receive(connection, message, self.now()))

    def disconnected(self, connection: Connection) -> None:
        """Forget a client that is gone."""
        self.carry_out(self._hub.disconnect(connection, self.now()))

    def broke_off(
        self, connection: Connection, refusal: Refusal, reason: str, code: int | None
    ) -> None:
        """Report that the server ends a connection, because of what its client has done."""
        self.report(self._hub.broke_off(connection, refusal, reason, code))

    def close_all(self, code: int) -> int:
        """Close every WebSocket with *code*, and return how many there were."""
        count, outputs = self._hub.close_all(code, self.now())
        self.carry_out(outputs)
        return count

    # Inputs from HTTP

    def answer(
        self,
        method: str,
        path: str,
        query: str,
        body: bytes,
        idempotency_key: str | None,
        headers: Callable[[], ShownHeaders] | None = None,
    ) -> Response:
        """
        Answer a request of the HTTP API.

        :param path: The path as it was sent, escapes included.
        :param query: The query as it was sent.
        :param headers: Returns the headers as they may be shown.
        """
        path = below(self._path_prefix, path)
        mishap = mishap_of(self._trouble, path, random.random)
        if mishap is NO_MISHAP:
            return self.respond(method, path, query, body, idempotency_key, headers)
        app_id, detail = self._endpoints.app_id_in(path), mishap.in_words()
        self.report(Activity("trouble", app_id, detail=f"{method} {path}: {detail}"))
        if mishap.status is not None:
            return Response(mishap.status, b"trouble on request\n", delay=mishap.delay)
        response = self.respond(method, path, query, body, idempotency_key, headers)
        dropped = mishap.is_reply_dropped
        return attrs.evolve(response, delay=mishap.delay, is_dropped=dropped)

    def respond(
        self,
        method: str,
        path: str,
        query: str,
        body: bytes,
        idempotency_key: str | None = None,
        headers: Callable[[], ShownHeaders] | None = None,
    ) -> Response:
        """Answer a request, whose path has no prefix, and do nothing wrong on request."""
        now, unix_time = self.now(), self._clock()
        call = ApiCall(method, path, query, body, now, unix_time, idempotency_key, headers)
        response, outputs = self._endpoints.answer(call)
        self.carry_out(outputs)
        return response

    # Time and outputs

    def now(self) -> float:
        """Return the time of the hub's clock, in seconds."""
        return float(self._reactor.seconds())

    def _tick(self) -> None:
        if self._console is not None:
            self._console.tick()
        self.carry_out(self._hub.tick(self.now()))
        self.site.sweep()

    def _wake(self, at: float) -> None:
        """Have the hub do at a moment what is due then; an earlier moment is kept."""
        if self._alarm is not None:
            if self._alarm.getTime() <= at:
                return
            self._alarm.cancel()
        self._alarm = self._reactor.callLater(max(0.0, at - self.now()), self._due)

    def _due(self) -> None:
        self._alarm = None
        self.carry_out(self._hub.due(self.now()))

    def carry_out(self, outputs: list[Output]) -> None:
        """Do what the hub wants done, in order."""
        for output in outputs:
            if isinstance(output, Send):
                self._outbox.send(output.to, text_frame(output.message))
            elif isinstance(output, Close):
                self._outbox.flush()
                output.peer.close(output.code, output.reason)
            elif isinstance(output, Notify):
                self._webhooks.queue(output)
            elif isinstance(output, Wake):
                self._wake(output.at)
            else:
                self.report(output)


def _shielded(deferred: Deferred[Any]) -> Deferred[Any]:
    """
    Return a Deferred that fires when *deferred* does, and whose cancelling leaves it alone.

    A port whose own Deferred is cancelled is never released.
    """
    waiting: Deferred[Any] = Deferred()
    deferred.addBoth(waiting.callback)
    return waiting
