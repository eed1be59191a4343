"""
:class:`BlockingRunningServer`: a server for suites without Twisted.
"""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from typing import TYPE_CHECKING, Any, TypeVar

from txpusher._blocking_pusher import BlockingPusher
from txpusher._testing_memory import (
    DEFAULT_APP,
    AcceptedEvent,
    ClientEvent,
    Memory,
    SignedInClient,
    SubscribedClient,
    Wish,
)
from txpusher._testing_process import ServerProcess
from txpusher._validators import check_timeout
from txpusher.client import Pusher
from txpusher.errors import BlockingCallError, ClosedError
from txpusher.server import Activity, App

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from txpusher.client import ClientOptions

T = TypeVar("T")

#: Seconds that the clients have to end what is in flight, when the server stops.
_CLOSE_TIMEOUT = 1.0


class BlockingRunningServer:
    """
    A server in a process of its own, with blocking calls, for suites without Twisted.

    :meth:`start` makes one; a ``with`` block stops it at the end.  No call needs a reactor
    in the process of the test or minds one that runs, so that the server goes with every
    runner, in every thread.  The process ends with the test's, however that ends.

    ::

        with BlockingRunningServer.start() as server:
            announce_order(server.pusher(), number=7)
            assert server.wait_for_event("orders", "created").data == {"number": 7}

    In a process that is forked while the server runs, :attr:`url`, :attr:`host`,
    :attr:`port` and :meth:`pusher` are of use, and every other call raises a
    :class:`~txpusher.BlockingCallError`.

    :ivar app: The :class:`~txpusher.server.App`.
    """

    def __init__(self, app: App, master_key_base64: str | None, timeout: float) -> None:
        self.app = app
        self._key_text = master_key_base64
        self._clients: list[tuple[BlockingPusher, Pusher]] = []
        self._lock = lock = threading.Lock()
        self._memory = memory = Memory(master_key_base64)

        # These know the memory and not this object, which may so be collected.
        def observe(activity: Activity) -> None:
            with lock:
                memory.observe(activity)

        def close_memory() -> None:
            with lock:
                memory.close()

        self._process = ServerProcess(app, observe, close_memory, timeout)

    @classmethod
    def start(
        cls,
        app: App | None = None,
        *,
        encryption_master_key_base64: str | None = None,
        timeout: float = 30.0,
    ) -> Self:
        """
        Start a server on a free port of 127.0.0.1, and return it once it listens.

        :param app: As for :meth:`RunningServer.start`.
        :param encryption_master_key_base64: As for :meth:`RunningServer.start`.
        :param timeout: Seconds within which the server has to listen.
        :raises ConfigurationError: A setting is wrong or the extra is not installed.
        :raises InvalidRequestError: *timeout* is no number of seconds.
        :raises RuntimeError: The process ended before it listened; the message has the
            process's own words.
        :raises TimeoutError: The server did not listen in time.
        """
        check_timeout("timeout", timeout, optional=False)
        return cls(
            App(*DEFAULT_APP) if app is None else app, encryption_master_key_base64, timeout
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} app {self.app.id} on {self.host}:{self.port}>"

    @property
    def url(self) -> str:
        """The PUSHER_URL of the app, for a program's own settings."""
        return self._process.place.url

    @property
    def host(self) -> str:
        """The address that the server listens on, for WebSocket clients too."""
        return self._process.place.host

    @property
    def port(self) -> int:
        """The TCP port that the server listens on, for WebSocket clients too."""
        return self._process.place.port

    @property
    def events(self) -> list[AcceptedEvent]:
        """Every event that the HTTP API has accepted so far, in order, in a new list."""
        self._catch_up()
        with self._lock:
            return list(self._memory.events)

    @property
    def client_events(self) -> list[ClientEvent]:
        """Every ``client-`` event that subscribers have sent so far, in a new list."""
        self._catch_up()
        with self._lock:
            return list(self._memory.client_events)

    def pusher(self, **options: Unpack[ClientOptions]) -> BlockingPusher:
        """
        Return a new client of this server; :meth:`stop` closes the client.

        The calls of a BlockingPusher cannot be made in the thread of a reactor that runs,
        such as the main thread under pytest-twisted; the calls of the server can.

        :param options: Any setting of a :class:`~txpusher.BlockingPusher`, which wins over
            the server's own.
        """
        settings: Any = {"encryption_master_key_base64": self._key_text, **options}
        pusher = Pusher.from_url(self.url, **settings)
        blocking = BlockingPusher.wrap(pusher)
        self._clients.append((blocking, pusher))
        return blocking

    def wait_for_event(
        self, channel: str | None = None, name: str | None = None, timeout: float = 5.0
    ) -> AcceptedEvent:
        """
        Wait for an event that the program under test publishes, and return it.

        As :meth:`RunningServer.wait_for_event`: each event is handed out once, also one that
        came before the call.

        :raises AssertionError: No event fits in time; the message lists those that came.
        :raises ClosedError: The server has been stopped.
        """
        return self._wait(self._memory.event(channel, name), timeout)

    def wait_for_client_event(
        self, channel: str | None = None, name: str | None = None, timeout: float = 5.0
    ) -> ClientEvent:
        """
        Wait for a ``client-`` event that a subscriber sends to the others, and return it.

        The arguments, the order and the errors are those of :meth:`wait_for_event`.
        """
        return self._wait(self._memory.client_event(channel, name), timeout)

    def wait_for_subscription(
        self, channel: str, timeout: float = 5.0, *, count: int = 1
    ) -> tuple[SubscribedClient, ...]:
        """
        Wait until a channel has subscribers, so that an event published now reaches them.

        As :meth:`RunningServer.wait_for_subscription`; returns the subscriptions.

        :raises AssertionError: The subscribers are too few in time.
        :raises InvalidRequestError: *count* is no whole number >= 0.
        :raises ClosedError: The server has been stopped.
        """
        return self._wait(self._memory.subscription(channel, count), timeout)

    def wait_for_sign_in(
        self, user_id: str | None = None, timeout: float = 5.0
    ) -> SignedInClient:
        """
        Wait until a connection is signed in, so that ``send_to_user`` reaches the user.

        As :meth:`RunningServer.wait_for_sign_in`; returns the connection.

        :raises AssertionError: Nobody signs in, in time.
        :raises ClosedError: The server has been stopped.
        """
        return self._wait(self._memory.sign_in(user_id), timeout)

    def forget_events(self) -> None:
        """Empty :attr:`events` and :attr:`client_events`; nobody waits for what they held."""
        self._catch_up()
        with self._lock:
            self._memory.forget()

    def stop(self) -> None:
        """
        Close the clients that :meth:`pusher` made, then the server, and end its process.

        Whatever waits in other threads raises a ClosedError.  :attr:`events` stays as it is.
        What the process wrote to its standard error, such as a failure that the server has
        logged, is written to this one's.
        """
        if self._process.is_anothers:
            return
        try:
            clients, self._clients = self._clients, []
            for blocking, pusher in clients:
                _close(blocking, pusher)
            # A process that has died or hangs has failed a call before, or nobody minded.
            with contextlib.suppress(ClosedError, TimeoutError):
                self._catch_up()
        finally:
            self._process.stop()

    def _catch_up(self) -> None:
        """Let the memory have all that happened before; a stopped server has nothing new."""
        try:
            self._process.sync()
        except ClosedError:
            if not self._process.is_stopped:
                raise

    def _wait(self, wish: Wish[T], timeout: float) -> T:
        check_timeout("timeout", timeout, optional=False)
        end = time.monotonic() + timeout
        self._catch_up()
        future: Future[T] = Future()

        def lose() -> None:
            future.set_exception(ClosedError("the server has ended: nothing more will come"))

        with self._lock:
            self._memory.wait(wish, future.set_result, lose)
        try:
            return future.result(max(0.0, end - time.monotonic()))
        except NotYetError:
            with self._lock:
                self._memory.give_up(wish)
                if not future.done():
                    raise wish.failure(timeout) from None
            return future.result()
        except BaseException:
            # KeyboardInterrupt: the next test must not miss what this one no longer takes.
            with self._lock:
                self._memory.give_up(wish)
            raise


def _close(blocking: BlockingPusher, pusher: Pusher) -> None:
    """Close a client, in a way that starts no reactor and waits for no own thread."""
    stats = pusher.stats
    if not (stats.open_connections or stats.in_flight or stats.pending):
        return
    try:
        blocking.close(_CLOSE_TIMEOUT)
    except BlockingCallError:
        # This is the reactor's thread: the reactor closes the client when it turns again.
        pusher.close(timeout=0.0)
    except ClosedError:
        # The reactor has stopped, and the connections with it.
        return
