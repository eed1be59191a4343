"""
The server as its users see it: started, stopped, addressed and watched.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from txpusher._validators import check_optional_whole_number
from txpusher.errors import ConfigurationError
from txpusher.server._app import App, checked_apps
from txpusher.server._core.outputs import Activity

if TYPE_CHECKING:
    from txpusher._interfaces import AnyReactor, Clock
    from txpusher.server._running import Running

log = Logger()


class Observer(Protocol):
    """A function that is told of everything that happens in a server."""

    def __call__(self, activity: Activity, /) -> object:
        """
        Take note of *activity*.

        The return value is ignored.  An exception is logged, because an observer must not
        change what the server does.
        """


#: The addresses at which clients on this machine reach a server that listens on all.
_LOCAL = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class ChannelsServer:
    """
    A Channels server for development and tests: one process, in memory.

    ::

        server = ChannelsServer(apps=[App("3", "key", "secret")])
        await server.listen(6001)
        pusher = Pusher.from_url(server.url("3"))

    :param apps: The apps, each with an id and a key of its own.
    :param max_connections: The most WebSocket connections of all apps together, None for
        any number; one more is refused with 4100.
    :param clock: Returns the time in seconds since the epoch, against which the
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
        self._max_connections = max_connections
        self._clock = clock
        self._observers: list[Observer] = []
        self._running: Running | None = None
        self._interface = ""
        # One starts or stops at a time, and who comes meanwhile waits.
        self._turn = DeferredLock()

    def listen(
        self,
        port: int = 0,
        interface: str = "127.0.0.1",
        reactor: AnyReactor | None = None,
    ) -> Deferred[ChannelsServer]:
        """
        Listen on a TCP port.

        A server that is stopping stops first.  Nothing that an earlier run kept in memory
        is left: no cached event, no idempotency key.

        :param port: A TCP port, 0 for any free port.
        :param interface: An IP address of this machine; ``"0.0.0.0"`` for all addresses.
        :param reactor: The reactor, by default the one that is installed.
        :return: Fires with the server itself once it accepts connections; fails
            with Twisted's ``CannotListenError`` where the port is taken, and with
            a ConfigurationError where wsproto is not installed, or the server is
            listening already.
        """
        return self._turn.run(self._listen, port, interface, reactor)

    async def _listen(self, port: int, interface: str, reactor: Any) -> ChannelsServer:
        if self._running is not None:
            raise ConfigurationError("the server is listening already")
        try:
            from txpusher.server._running import Running
        except ImportError as error:
            raise ConfigurationError(
                f"the server needs WebSockets ({error}): pip install 'txpusher[server]'"
            ) from None
        if reactor is None:
            from twisted.internet import reactor
        running = Running(self._apps, self._max_connections, reactor, self._clock, self._report)
        running.start(reactor.listenTCP(port, running.site, interface=interface))
        self._running, self._interface = running, interface
        return self

    @property
    def port(self) -> int:
        """
        The TCP port.

        :raises RuntimeError: The server is not listening.
        """
        if self._running is None:
            raise RuntimeError("the server is not listening")
        return int(self._running.address.port)

    @property
    def host(self) -> str:
        """An address at which clients on this machine reach the server."""
        return _LOCAL.get(self._interface, self._interface)

    def url(self, app_id: str) -> str:
        """
        Return the PUSHER_URL of an app: ``http://KEY:SECRET@HOST:PORT/apps/ID``.

        :raises KeyError: There is no such app.
        :raises RuntimeError: The server is not listening.
        """
        app = {app.id: app for app in self._apps}[app_id]
        key, secret, name = (quote(text, safe="") for text in (app.key, app.secret, app.id))
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{key}:{secret}@{host}:{self.port}/apps/{name}"

    def stop(self) -> Deferred[None]:
        """
        End every connection, request and retry, and release the port.

        WebSocket clients are told that the server goes away (close code 1001), which makes
        them try to come back.  The server cuts off clients that are not gone after a
        second.  A server that does not listen does nothing.

        :return: Fires with None when the reactor has nothing left of the server; to cancel
            it cuts off at once the clients that are left, and fails with CancelledError.
        """
        return self._turn.run(self._stop)

    async def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.stop()

    def add_observer(self, observer: Observer) -> None:
        """
        Call *observer* with everything that happens on the server.

        :param observer: Called with an :class:`Activity`, in the reactor thread; an
            exception that it raises is logged.
        """
        self._observers.append(observer)

    def remove_observer(self, observer: Observer) -> None:
        """
        Call *observer* no more.

        :raises ValueError: *observer* was not added.
        """
        self._observers.remove(observer)

    def _report(self, activity: Activity) -> None:
        for observer in list(self._observers):
            try:
                observer(activity)
            except Exception:
                log.failure("An observer failed on {activity}", activity=activity)
