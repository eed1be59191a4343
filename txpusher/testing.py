"""
For the tests of programs that use txpusher: a Channels server, or a client without one.

:class:`RunningServer` runs a server in the process of the test, for suites with Twisted;
:class:`BlockingRunningServer` runs it in a process of its own, for suites without;
:class:`FakePusher` is a client that sends nothing and remembers what it was given.

With pytest-twisted, the fixture ``channels_server`` is a :class:`RunningServer`::

    @pytest_twisted.ensureDeferred
    async def test_order_is_announced(channels_server):
        await announce_order(channels_server.pusher(), number=7)
        event = await channels_server.wait_for_event("orders", "created")
        assert event.data == {"number": 7}

With trial::

    class OrderTests(TestCase):
        async def test_order_is_announced(self):
            server = await RunningServer.start()
            self.addCleanup(server.stop)
            ...

With pytest alone, the fixture ``blocking_channels_server`` is a
:class:`BlockingRunningServer`; with anything else::

    with BlockingRunningServer.start() as server:
        announce_order(server.pusher(), number=7)
        assert server.wait_for_event("orders", "created").data == {"number": 7}

The servers listen on a free port of 127.0.0.1; nothing leaves the machine.  They need the
extra ``txpusher[server]``, :class:`FakePusher` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from txpusher._testing_blocking import BlockingRunningServer
from txpusher._testing_fake import ANYTHING, FakePusher
from txpusher._testing_memory import (
    DEFAULT_APP,
    AcceptedEvent,
    ClientEvent,
    Memory,
    SignedInClient,
    SubscribedClient,
    Wish,
)
from txpusher._testing_transport import SentEvent
from txpusher._validators import check_timeout
from txpusher.errors import ClosedError, InvalidRequestError
from txpusher.server import App, ChannelsServer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from txpusher.client import ClientOptions, Pusher

__all__ = [
    "ANYTHING",
    "AcceptedEvent",
    "BlockingRunningServer",
    "ClientEvent",
    "FakePusher",
    "RunningServer",
    "SentEvent",
    "SignedInClient",
    "SubscribedClient",
]

T = TypeVar("T")


class RunningServer:
    """
    A server with one app in a test, and a memory of what happened on it.

    :meth:`start` makes one.

    :ivar server: The :class:`~txpusher.server.ChannelsServer` itself.
    :ivar app: The :class:`~txpusher.server.App`.
    """

    def __init__(self, app: App, master_key_base64: str | None, reactor: Any) -> None:
        self.app = app
        self.server = ChannelsServer([app])
        self._memory = Memory(master_key_base64)
        self._clients: list[Pusher] = []
        self._reactor = reactor
        self._key_text = master_key_base64
        self.server.add_observer(self._memory.observe)

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

        :param app: The app, by default ``App("1", "app-key", "app-secret")``, the app of
            ``txpusher serve`` too.
        :param encryption_master_key_base64: The key of encrypted channels, with which
            :attr:`events` shows their data decrypted; :meth:`pusher` gets the key too.
        :param reactor: The reactor, by default the one that is installed.
        :return: A Deferred that fires with the running server.  The Deferred fails with a
            ConfigurationError where a setting is wrong or the extra is not installed.
        """
        return Deferred.fromCoroutine(cls._start(app, encryption_master_key_base64, reactor))

    @classmethod
    async def _start(cls, app: App | None, key: str | None, reactor: Any) -> RunningServer:
        running = cls(App(*DEFAULT_APP) if app is None else app, key, reactor)
        await running.server.listen(reactor=reactor)
        return running

    @property
    def events(self) -> list[AcceptedEvent]:
        """Every event that the HTTP API has accepted so far, in order."""
        return self._memory.events

    @property
    def client_events(self) -> list[ClientEvent]:
        """Every ``client-`` event that subscribers have sent so far, in order."""
        return self._memory.client_events

    @property
    def url(self) -> str:
        """The PUSHER_URL of the app, for a program's own settings."""
        return self.server.url(self.app.id)

    @property
    def host(self) -> str:
        """The address that the server listens on, for WebSocket clients too."""
        return self.server.host

    @property
    def port(self) -> int:
        """The TCP port that the server listens on, for WebSocket clients too."""
        return self.server.port

    def pusher(self, **options: Unpack[ClientOptions]) -> Pusher:
        """
        Return a new client of this server; :meth:`stop` closes the client.

        :param options: Any setting of a :class:`~txpusher.Pusher`, which wins over the
            server's own.
        """
        from txpusher.client import Pusher

        settings: Any = {
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
        Wait for an event that the program under test publishes.

        Each event is handed out once, the oldest that fits first, so that a test may act
        first and wait afterwards and still misses nothing.  Waiting twice needs two events;
        :attr:`events` keeps them all.

        :param channel: The channel's name, None for any.
        :param name: The event's name, None for any.
        :param timeout: Seconds.
        :return: A Deferred that fires with an :class:`AcceptedEvent`.  Where no event fits
            in time, the Deferred fails with an AssertionError that lists the events that
            did come.  The Deferred may be cancelled.
        """
        return self._wait(self._memory.event(channel, name), timeout)

    def wait_for_client_event(
        self, channel: str | None = None, name: str | None = None, timeout: float = 5.0
    ) -> Deferred[ClientEvent]:
        """
        Wait for a ``client-`` event that a subscriber sends to the others.

        The arguments, the order and the errors are those of :meth:`wait_for_event`.

        :return: A Deferred that fires with a :class:`ClientEvent`.
        """
        return self._wait(self._memory.client_event(channel, name), timeout)

    def wait_for_subscription(
        self, channel: str, timeout: float = 5.0, *, count: int = 1
    ) -> Deferred[tuple[SubscribedClient, ...]]:
        """
        Wait until a channel has subscribers, so that an event published now reaches them.

        The subscribers of this moment count: a connection that came and left again does not,
        and one that came before the call does.

        :param channel: The channel's name.
        :param timeout: Seconds.
        :param count: The least number of connections; 0 waits until nobody is subscribed.
        :return: A Deferred that fires with the :class:`SubscribedClient` of each
            subscription, the oldest first.  The Deferred fails with an AssertionError that
            says who is subscribed where they are too few in time, and with an
            InvalidRequestError for a *count* that is none.  The Deferred may be cancelled.
        """
        try:
            wish = self._memory.subscription(channel, count)
        except ValueError:
            return fail()
        return self._wait(wish, timeout)

    def wait_for_sign_in(
        self, user_id: str | None = None, timeout: float = 5.0
    ) -> Deferred[SignedInClient]:
        """
        Wait until a connection is signed in, so that ``send_to_user`` reaches the user.

        :param user_id: The user's id, None for any.
        :param timeout: Seconds.
        :return: A Deferred that fires with the oldest :class:`SignedInClient` that fits and
            is still connected, and fails with an AssertionError as in :meth:`wait_for_event`.
        """
        return self._wait(self._memory.sign_in(user_id), timeout)

    def forget_events(self) -> None:
        """Empty :attr:`events` and :attr:`client_events`; nobody waits for what they held."""
        self._memory.forget()

    def stop(self) -> Deferred[None]:
        """
        Close the clients that :meth:`pusher` made, then the server.

        Whatever waits is cancelled.

        :return: A Deferred that fires with None when the reactor has nothing left of either.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._memory.close()
        clients, self._clients = self._clients, []
        try:
            for client in clients:
                await client.close()
        finally:
            await self.server.stop()

    def _wait(self, wish: Wish[T], timeout: float) -> Deferred[T]:
        result: Deferred[T] = Deferred(lambda _: self._memory.give_up(wish))
        try:
            check_timeout("timeout", timeout, optional=False)
            self._memory.wait(wish, result.callback, result.cancel)
        except (ClosedError, InvalidRequestError):
            return fail()
        if result.called:
            return result

        def say_what_came(_: T | Failure, seconds: float) -> T:
            raise wish.failure(seconds)

        return result.addTimeout(timeout, self._clock(), say_what_came)

    def _clock(self) -> Any:
        if self._reactor is None:
            from twisted.internet import reactor

            return reactor
        return self._reactor
