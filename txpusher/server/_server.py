"""
The server: the hub, its two faces and its webhooks, on a port.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from txpusher._validators import check_optional_whole_number
from txpusher.errors import ConfigurationError
from txpusher.server._app import App, checked_apps
from txpusher.server._core.connection import Connection
from txpusher.server._core.endpoints import Call, Endpoints, Reply
from txpusher.server._core.hub import Hub
from txpusher.server._core.outputs import Activity, Close, Notify, Output, Send
from txpusher.server._net.frames import text_frame
from txpusher.server._net.http import Root
from txpusher.server._net.outbox import Outbox
from txpusher.server._net.site import ChannelsSite
from txpusher.server._net.webhooks import WebHookSender

if TYPE_CHECKING:
    from txpusher._interfaces import AnyReactor, Clock

#: Seconds that clients have, once the server stops, to end their connections.
STOP_GRACE = 1.0

log = Logger()


class Observer(Protocol):
    """A function that is told of everything that happens in a server."""

    def __call__(self, activity: Activity, /) -> object:
        """
        Take note of *activity*.

        The return value is ignored.  An exception is logged, because an observer must not
        change what the server does.
        """


class ChannelsServer:
    """
    A Channels server for development and tests: one process, in memory.

    ::

        server = ChannelsServer(apps=[App("3", "key", "secret")])
        await server.listen(6001)
        pusher = Pusher.from_url(server.url("3"))

    :param apps: The apps, each with an id and a key of its own.
    :param max_connections: The most WebSocket connections of all apps
        together, None for any number.
    :param clock: The time in seconds since the epoch, against which the
        timestamps of requests are checked.
    :raises ConfigurationError: A setting is missing or malformed.
    """

    def __init__(
        self,
        apps: Iterable[App],
        *,
        max_connections: int | None = None,
        clock: Clock = time.time,
    ) -> None:
        self._apps = checked_apps(apps)
        check_optional_whole_number("max_connections", max_connections, 1)
        self._hub = Hub(self._apps, max_connections)
        self._endpoints = Endpoints(self._hub)
        self._observers: list[Observer] = []
        self.wall = clock
        self._reactor: Any = None
        self._listening: Any = None
        self._site: ChannelsSite | None = None
        self._webhooks: WebHookSender | None = None
        self._outbox: Outbox | None = None
        self._ticks = LoopingCall(self._tick)
        # One starts or stops at a time, and who comes meanwhile waits.
        self._turn = DeferredLock()
        self._interface = ""

    # For whoever runs the server

    def listen(
        self,
        port: int = 0,
        interface: str = "127.0.0.1",
        reactor: AnyReactor | None = None,
    ) -> Deferred[ChannelsServer]:
        """
        Start.

        :param port: A TCP port, 0 for any that is free.
        :param interface: An IP address of this machine; ``"0.0.0.0"`` for all.
        :param reactor: The reactor, by default the one that is installed.
        :return: Fires with the server itself once it accepts connections; fails
            with Twisted's ``CannotListenError`` where the port is taken, and with
            a ConfigurationError where what WebSockets need is not installed, or
            the server is listening already.  One that is stopping stops first.
        """
        return self._turn.run(self._listen, port, interface, reactor)

    async def _listen(self, port: int, interface: str, reactor: Any) -> ChannelsServer:
        if self._listening is not None:
            raise ConfigurationError("the server is listening already")
        try:
            from txpusher.server._net.websocket import WebSocketFace
        except ImportError as error:
            raise ConfigurationError(
                f"the server needs WebSockets ({error}): pip install 'txpusher[server]'"
            ) from None
        if reactor is None:
            from twisted.internet import reactor
        site = ChannelsSite(Root(self, WebSocketFace(self)), reactor)
        self._listening = reactor.listenTCP(port, site, interface=interface)
        self._reactor, self._site, self._interface = reactor, site, interface
        self._outbox = Outbox(reactor)
        self._webhooks = WebHookSender(self._apps, reactor, self.wall, self.report)
        self._ticks.clock = reactor
        self._ticks.start(1.0, now=False).addErrback(
            lambda failure: log.failure("The server's clock has stopped", failure=failure)
        )
        return self

    @property
    def port(self) -> int:
        """
        The TCP port.

        :raises RuntimeError: The server is not listening.
        """
        if self._listening is None:
            raise RuntimeError("the server is not listening")
        return int(self._listening.getHost().port)

    @property
    def host(self) -> str:
        """An address at which clients on this machine reach the server."""
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(  # noqa: S104
            self._interface, self._interface
        )

    def url(self, app_id: str) -> str:
        """
        The PUSHER_URL of an app: ``http://KEY:SECRET@HOST:PORT/apps/ID``.

        :raises KeyError: There is no such app.
        :raises RuntimeError: The server is not listening.
        """
        app = {app.id: app for app in self._apps}[app_id]
        key, secret, name = (quote(text, safe="") for text in (app.key, app.secret, app.id))
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{key}:{secret}@{host}:{self.port}/apps/{name}"

    def stop(self) -> Deferred[None]:
        """
        End every connection, request and retry.

        WebSocket clients are told that the server goes away (close code 1001),
        and try to come back; who is not gone after a second is cut off.  Where
        nothing listens there is nothing to do.

        :return: Fires with None when the reactor has nothing left of the server;
            to cancel it cuts off at once who is left.
        """
        return self._turn.run(self._stop)

    async def _stop(self) -> None:
        listening, self._listening = self._listening, None
        site, webhooks, outbox = self._site, self._webhooks, self._outbox
        if listening is None or site is None or webhooks is None or outbox is None:
            return
        webhooks.stop()
        grace = self._reactor.callLater(STOP_GRACE, site.abort)
        released = maybeDeferred(listening.stopListening)
        try:
            await _waiting_for(released)
            site.stopping = True
            self._carry_out(self._hub.shutdown())
            for wire in list(site.wires):
                wire.close_idle()
            await site.emptied()
        except CancelledError:
            # Whoever comes next is to find the port free all the same.
            site.abort()
            await _waiting_for(released)
            await site.emptied()
            raise
        finally:
            if grace.active():
                grace.cancel()
            outbox.stop()
            self._ticks.stop()

    def add_observer(self, observer: Observer) -> None:
        """
        Have everything that happens told to *observer*.

        :param observer: Called with an :class:`Activity`, in the reactor thread;
            what it raises is logged.
        """
        self._observers.append(observer)

    def remove_observer(self, observer: Observer) -> None:
        """Have *observer* told nothing more."""
        self._observers.remove(observer)

    # For the faces

    def now(self) -> float:
        """The hub's clock."""
        return float(self._reactor.seconds())

    def connected(self, peer: Any, key: str, protocol: str | None) -> Connection | None:
        """A WebSocket is open; None where it is to be closed at once."""
        connection, outputs = self._hub.connect(peer, key, protocol, self.now())
        self._carry_out(outputs)
        return connection

    def refuse(self, peer: Any, code: int, reason: str) -> None:
        """A WebSocket is open that leads nowhere."""
        self._carry_out(self._hub.refuse(peer, code, reason))

    def seen(self, connection: Connection) -> None:
        """A client has sent something."""
        connection.seen(self._reactor.seconds())

    def received(self, connection: Connection, message: str) -> None:
        """A client has sent a message."""
        self._carry_out(self._hub.receive(connection, message, self.now()))

    def disconnected(self, connection: Connection) -> None:
        """A client is gone."""
        self._carry_out(self._hub.disconnect(connection))

    def too_slow(self, connection: Connection | None) -> None:
        """A client does not read what it is sent; its connection is being ended."""
        if connection is not None:
            self.report(
                Activity(
                    "error",
                    connection.state.app.id,
                    connection.socket_id,
                    detail="the client does not read: its connection is aborted",
                )
            )

    def answer(self, call: Call) -> Reply:
        """A request of the HTTP API."""
        reply, outputs = self._endpoints.answer(call)
        self._carry_out(outputs)
        return reply

    def report(self, activity: Activity) -> None:
        """Tell the observers."""
        for observer in list(self._observers):
            try:
                observer(activity)
            except Exception:
                log.failure("An observer failed on {activity}", activity=activity)

    def _tick(self) -> None:
        self._carry_out(self._hub.tick(self.now()))
        if self._site is not None:
            self._site.sweep()

    def _carry_out(self, outputs: list[Output]) -> None:
        outbox = self._outbox
        if outbox is None:
            return
        for output in outputs:
            if isinstance(output, Send):
                outbox.send(output.to, text_frame(output.message))
            elif isinstance(output, Close):
                outbox.flush()
                output.peer.close(output.code, output.reason)
            elif isinstance(output, Notify):
                if self._webhooks is not None:
                    self._webhooks.notify(output)
            else:
                self.report(output)


def _waiting_for(deferred: Deferred[Any]) -> Deferred[Any]:
    """
    What fires when *deferred* does, and may be cancelled without it.

    A port whose own Deferred is cancelled is never released.
    """
    waiting: Deferred[Any] = Deferred()
    deferred.addBoth(waiting.callback)
    return waiting
