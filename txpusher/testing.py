"""
For the tests of programs that use txpusher: a Channels server in one line.

With pytest-twisted::

    @pytest_twisted.async_yield_fixture
    async def channels():
        server = await RunningServer.start()
        yield server
        await server.stop()

    @pytest_twisted.ensureDeferred
    async def test_order_is_announced(channels):
        await announce_order(channels.pusher(), number=7)
        event = await channels.wait_for_event("orders", "created")
        assert event.data == {"number": 7}

With trial::

    class OrderTests(TestCase):
        async def test_order_is_announced(self):
            channels = await RunningServer.start()
            self.addCleanup(channels.stop)
            ...

The server listens on a free port of 127.0.0.1; nothing leaves the machine.
Needs the extra ``txpusher[server]``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred

from txpusher._protocol.encryption import decode_master_key, decrypt, is_encrypted
from txpusher.server import Activity, App, ChannelsServer

if TYPE_CHECKING:
    from txpusher.client import Pusher

__all__ = ["AcceptedEvent", "RunningServer"]


@attrs.frozen
class AcceptedEvent:
    """
    An event that the server accepted over its HTTP API.

    :ivar channel: The channel's name; an event to several channels is several.
    :ivar name: The event's name.
    :ivar data: What was published: the value where it went out as JSON, else
        the text.  Of an encrypted channel, what it decrypts to, where the server
        was given the key, else what went over the wire.
    :ivar raw_data: The text that went over the wire.
    :ivar socket_id: The connection that was left out, None for none.
    """

    channel: str
    name: str
    data: Any
    raw_data: str
    socket_id: str | None = None


@attrs.frozen(eq=False)
class _Waiter:
    """A wait_for_event() that nothing has satisfied yet."""

    channel: str | None
    name: str | None
    deferred: Deferred[AcceptedEvent]

    def wants(self, event: AcceptedEvent) -> bool:
        return self.channel in (None, event.channel) and self.name in (None, event.name)


class RunningServer:
    """
    A server with one app, and a memory of what was published on it.

    Made by :meth:`start`.

    :ivar server: The :class:`~txpusher.server.ChannelsServer`.
    :ivar app: Its :class:`~txpusher.server.App`.
    :ivar events: Every :class:`AcceptedEvent` so far, in order.
    """

    def __init__(self, app: App, master_key_base64: str | None, reactor: Any) -> None:
        self.app = app
        self.server = ChannelsServer([app])
        self.events: list[AcceptedEvent] = []
        self._untaken: list[AcceptedEvent] = []
        self._waiters: list[_Waiter] = []
        self._clients: list[Pusher] = []
        self._reactor = reactor
        self._key_text = master_key_base64
        self._key = None if master_key_base64 is None else decode_master_key(master_key_base64)
        self.server.add_observer(self._observe)

    @classmethod
    def start(
        cls,
        app: App | None = None,
        *,
        encryption_master_key_base64: str | None = None,
        reactor: Any = None,
    ) -> Deferred[RunningServer]:
        """
        Start a server on a free port of 127.0.0.1.

        :param app: The app, by default one with the id ``"app-id"``, the key
            ``"app-key"`` and the secret ``"app-secret"``.
        :param encryption_master_key_base64: The key of encrypted channels: what
            is published there can then be read in :attr:`events`, and
            :meth:`pusher` has it too.
        :param reactor: The reactor, by default the one that is installed.
        :return: Fires with the running server; fails with a ConfigurationError
            where a setting is wrong or an extra is not installed.
        """
        return Deferred.fromCoroutine(cls._start(app, encryption_master_key_base64, reactor))

    @classmethod
    async def _start(cls, app: App | None, key: str | None, reactor: Any) -> RunningServer:
        if app is None:
            app = App("app-id", "app-key", "app-secret")
        running = cls(app, key, reactor)
        await running.server.listen(reactor=reactor)
        return running

    @property
    def url(self) -> str:
        """The PUSHER_URL of the app, for a program's own settings."""
        return self.server.url(self.app.id)

    @property
    def host(self) -> str:
        """Where the server listens, for WebSocket clients too."""
        return self.server.host

    @property
    def port(self) -> int:
        """The TCP port, for WebSocket clients too."""
        return self.server.port

    def pusher(self, **options: Any) -> Pusher:
        """
        A client of this server; :meth:`stop` closes it.

        :param options: Any setting of a :class:`~txpusher.Pusher`; one given
            here wins.
        """
        from txpusher.client import Pusher

        settings = {
            "encryption_master_key_base64": self._key_text,
            "reactor": self._reactor,
            **options,
        }
        client = Pusher.from_url(self.url, **settings)
        self._clients.append(client)
        return client

    def wait_for_event(
        self, channel: str | None = None, name: str | None = None, timeout: float = 5.0
    ) -> Deferred[AcceptedEvent]:
        """
        The next event on a channel, or of a name, or at all.

        Every event is handed out once.  The oldest that fits and was not handed
        out yet is, and only where there is none is one waited for: so a test may
        act first and wait afterwards, and misses nothing.  Waiting twice gives
        two events; :attr:`events` has them all the same.

        :param channel: The channel's name, None for any.
        :param name: The event's name, None for any.
        :param timeout: Seconds.
        :return: Fires with an :class:`AcceptedEvent`; fails with an
            AssertionError that lists what did come, where nothing fits in time.
            May be cancelled.
        """
        result: Deferred[AcceptedEvent] = Deferred(lambda _: self._waiters.remove(waiter))
        waiter = _Waiter(channel, name, result)
        for event in self._untaken:
            if waiter.wants(event):
                self._untaken.remove(event)
                result.callback(event)
                return result
        self._waiters.append(waiter)
        self._fail_after(timeout, waiter)
        return result

    def forget_events(self) -> None:
        """Begin anew: :attr:`events` is empty, and what came so far is not waited for."""
        self.events.clear()
        self._untaken.clear()

    def stop(self) -> Deferred[None]:
        """
        Close the clients that :meth:`pusher` made, then the server.

        :return: Fires with None when the reactor has nothing left of either.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for waiter in list(self._waiters):
            waiter.deferred.cancel()
        clients, self._clients = self._clients, []
        try:
            for client in clients:
                await client.close()
        finally:
            await self.server.stop()

    def _fail_after(self, seconds: float, waiter: _Waiter) -> None:
        reactor = self._reactor
        if reactor is None:
            from twisted.internet import reactor

        def fail() -> None:
            self._waiters.remove(waiter)
            waiter.deferred.errback(AssertionError(self._nothing_came(waiter, seconds)))

        call = reactor.callLater(seconds, fail)

        def cancel_timeout(result: Any) -> Any:
            if call.active():
                call.cancel()
            return result

        waiter.deferred.addBoth(cancel_timeout)

    def _nothing_came(self, waiter: _Waiter, seconds: float) -> str:
        what = "event" if waiter.name is None else f"event {waiter.name!r}"
        where = "" if waiter.channel is None else f" on channel {waiter.channel!r}"
        latest = [f"{event.name!r} on {event.channel!r}" for event in self.events[-10:]]
        came = ", ".join(["...", *latest] if len(self.events) > 10 else latest)
        came = came or "nothing"
        return f"no {what}{where} within {seconds:g} seconds; accepted so far: {came}"

    def _observe(self, activity: Activity) -> None:
        if activity.kind != "event":
            return
        event = self._accepted(
            activity.channel or "",
            activity.event or "",
            activity.data or "",
            activity.socket_id,
        )
        self.events.append(event)
        for waiter in self._waiters:
            if waiter.wants(event):
                self._waiters.remove(waiter)
                waiter.deferred.callback(event)
                return
        self._untaken.append(event)

    def _accepted(
        self, channel: str, name: str, raw: str, socket_id: str | None
    ) -> AcceptedEvent:
        text = raw
        if self._key is not None and is_encrypted(channel):
            try:
                text = decrypt(channel, raw, self._key)
            except Exception:
                # It was made with another key; what came is the best there is.
                text = raw
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = text
        return AcceptedEvent(channel, name, data, raw, socket_id)
