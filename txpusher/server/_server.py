"""
The server as its users see it: started, stopped, addressed and watched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from txpusher._text import is_str, short_repr, with_type
from txpusher._validators import (
    check_callable,
    check_optional_whole_number,
    check_port_to_listen_on,
    clean_path_prefix,
)
from txpusher.errors import ConfigurationError
from txpusher.server._app import App, checked_apps
from txpusher.server._console.guard import checked_hosts
from txpusher.server._core.outputs import Activity
from txpusher.server._core.trouble import Trouble

if TYPE_CHECKING:
    from txpusher._interfaces import AnyReactor, Clock
    from txpusher.server._address import ServerAddress
    from txpusher.server._running import Running

log = Logger(namespace="txpusher")

#: The first segments of the server's own paths.
_OWN_PATHS = ("app", "apps", "console", "up")


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
    :param console: True for a page at ``/`` that shows what happens, to browsers and programs
        of this machine alone; hosts, such as ``["dev.example:6001"]``, for whoever reaches the
        server under one of them too.
    :param max_connections: The most WebSocket connections of all apps together, None for
        any number; one more is refused with 4100.
    :param path_prefix: The path at which clients find the server, such as ``"/channels"``
        where a reverse proxy has the server below that path.  The prefix stands in
        :meth:`url`, and is no part of what is signed.  The server answers with the prefix
        and without it, because a proxy may strip it or leave it; so the prefix must not begin
        like a path of the server's own, such as ``/app``.
    :param clock: Returns the time in seconds since the epoch, against which the
        timestamps of requests are checked.
    :raises ConfigurationError: A setting is missing or malformed.
    """

    def __init__(
        self,
        apps: Iterable[App],
        *,
        console: bool | Iterable[str] = False,
        max_connections: int | None = None,
        path_prefix: str = "",
        clock: Clock = time.time,
    ) -> None:
        self._apps = checked_apps(apps)
        check_optional_whole_number("max_connections", max_connections, 1)
        self._console = checked_hosts(console)
        self._max_connections = max_connections
        self._path_prefix = _checked_prefix(path_prefix)
        check_callable("clock", clock)
        self._clock = clock
        self._observers: list[Observer] = []
        self._running: Running | None = None
        self._trouble = Trouble(close=self._close_all)
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
            a ConfigurationError where *port* is no port or *interface* no str, wsproto is not
            installed, or the server is listening already.
        """

        def listen(reactor: Any, site: Any) -> Any:
            check_port_to_listen_on(port)
            if not is_str(interface):
                raise ConfigurationError(
                    f"interface must be a str such as '127.0.0.1', not {with_type(interface)}"
                )
            return reactor.listenTCP(port, site, interface=interface)

        return self._turn.run(self._listen, listen, reactor)

    def listen_on(
        self, endpoint: Any, reactor: AnyReactor | None = None
    ) -> Deferred[ChannelsServer]:
        """
        Listen on an endpoint: with TLS, on a Unix socket, on a socket of systemd's.

        ::

            await server.listen_on("ssl:6001:interface=127.0.0.1:privateKey=key.pem")
            await server.listen_on("unix:/run/channels.sock:mode=660")
            await server.listen_on("systemd:domain=INET:index=0")

        What :meth:`listen` says of earlier runs holds here too.

        :param endpoint: A stream server endpoint of Twisted's, or its description ("strports"
            in Twisted's documentation of endpoints).
        :param reactor: The reactor, by default the one that is installed.  An endpoint that
            is no description listens with the reactor that the endpoint was made with, which
            must be the same.
        :return: Fires with the server itself once it accepts connections; fails with
            whatever the endpoint fails with, as a rule Twisted's ``CannotListenError``, and
            with a ConfigurationError where *endpoint* is no endpoint and describes none, or
            has no port that can be stopped (``stdio:``), wsproto is not installed, or the
            server is listening already.
        """

        def listen(reactor: Any, site: Any) -> Any:
            return _endpoint_of(endpoint, reactor).listen(site)

        return self._turn.run(self._listen, listen, reactor)

    async def _listen(
        self, listen: Callable[[Any, Any], Any], reactor: AnyReactor | None
    ) -> ChannelsServer:
        """
        Listen.

        :param listen: Takes the reactor and the site, and returns a port, or a Deferred of it.
        """
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
        running = Running(
            self._apps,
            self._max_connections,
            self._path_prefix,
            self._trouble,
            reactor,
            self._clock,
            self._report,
            self._console,
        )
        try:
            listening = await maybeDeferred(listen, reactor, running.site)
            _check_that_it_stops(listening)
        except BaseException:
            running.site.close_unless_websockets()
            # A port on a Unix socket starts the site before it tries to bind the socket.
            running.site.doStop()
            raise
        running.start(listening)
        self._running = running
        return self

    @property
    def port(self) -> int:
        """
        The TCP port.

        :raises RuntimeError: The server is not listening, or listens on no TCP port, as with
            a Unix socket; the message says on what.
        """
        address = self._address
        if address.port is None:
            raise RuntimeError(f"the server listens on {address.in_words}, not on a TCP port")
        return address.port

    @property
    def host(self) -> str:
        """
        An address at which clients on this machine reach the server.

        Where the server listens on no TCP port, that is ``"localhost"``, for the ``Host``
        header.

        :raises RuntimeError: The server is not listening.
        """
        return self._address.host

    def url(self, app_id: str) -> str:
        """
        Return the PUSHER_URL of an app: ``http://KEY:SECRET@HOST:PORT/apps/ID``.

        With TLS it begins with ``https``; a path prefix stands before ``/apps``.  On a Unix
        socket it is ``http://KEY:SECRET@localhost/apps/ID``, for a client that connects
        through the socket: ``Pusher.from_url(url, endpoint=UNIXClientEndpoint(...))``.

        :raises KeyError: There is no such app.
        :raises RuntimeError: The server is not listening.
        """
        app = {app.id: app for app in self._apps}[app_id]
        return self._address.url(app, self._path_prefix)

    @property
    def _address(self) -> ServerAddress:
        if self._running is None:
            raise RuntimeError("the server is not listening")
        return self._running.address

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

    @property
    def trouble(self) -> Trouble:
        """
        The faults that the server shows on request, so that programs can test their bad days.

        ::

            server.trouble.error_rate, server.trouble.error_status = 1.0, 429
            server.trouble.close_all(4200)

        It has the attributes ``delay``, ``error_rate``, ``error_status``,
        ``drop_reply_rate`` and ``refuse_auth``, to be set at any time, and the method
        ``close_all(code)``.  Nothing is wrong at first; to stop and to listen again changes
        none of them.
        """
        return self._trouble

    def _close_all(self, code: int) -> int:
        return 0 if self._running is None else self._running.close_all(code)

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


def _checked_prefix(path_prefix: object) -> str:
    """
    Return the setting ``path_prefix`` with one slash before it and none behind it.

    :raises ConfigurationError: It is not the path of a URL, or nobody could tell whether a path
        has the prefix or is the server's own.
    """
    prefix = clean_path_prefix(path_prefix)
    first = prefix.split("/")[1:2]
    if first and first[0] in _OWN_PATHS:
        raise ConfigurationError(
            f"path_prefix must not begin with /{first[0]}, a path of the server's own, "
            f"not {short_repr(prefix)}"
        )
    return prefix


def _endpoint_of(endpoint: Any, reactor: Any) -> Any:
    """
    Return *endpoint* itself, or the endpoint that it describes.

    :raises ConfigurationError: It is no endpoint, and describes none.
    """
    if isinstance(endpoint, str):
        from twisted.internet.endpoints import serverFromString

        try:
            return serverFromString(reactor, endpoint)
        except Exception as error:
            # Each kind of endpoint, those of plug-ins too, fails in a way of its own: an
            # unknown kind, a missing argument, a key file that cannot be read.
            raise ConfigurationError(
                f"cannot make an endpoint of {short_repr(endpoint)}: {_reason(error)}"
            ) from error
    if not IStreamServerEndpoint.providedBy(endpoint):
        raise ConfigurationError(
            "endpoint must be a server endpoint of Twisted's or its description, such as "
            f"'unix:/run/channels.sock', not {with_type(endpoint)}"
        )
    return endpoint


def _check_that_it_stops(listening: Any) -> None:
    """
    Refuse a port that cannot be stopped, such as standard input and output.

    :raises ConfigurationError: *listening* has no such method.
    """
    if not callable(getattr(listening, "stopListening", None)):
        raise ConfigurationError(
            f"endpoint must listen on a port that can be stopped, not on {with_type(listening)}"
        )


def _reason(error: Exception) -> str:
    """Return why no endpoint could be made; a message may hold no sentence but the kind."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
