"""
Connections to one server: looked up, opened, counted, kept and given up.

Twisted's ``HTTPConnectionPool`` keeps idle connections but bounds neither the
sockets in use nor those on their way out; the endpoint here does.  It gives a
connection only once TLS has shaken hands, so that until then nothing of a
request can have been sent.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
)
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import HTTPConnectionPool
from zope.interface import implementer

#: Seconds that a connection may take to close before it is aborted.
CLOSE_GRACE = 1.0

Address = tuple[type[TCP4ClientEndpoint] | type[TCP6ClientEndpoint], str]


class Resolver:
    """
    Looks up one host name, in a thread of its own.

    The reactor's thread pool, where Twisted looks names up, may be full of
    blocking calls that wait for this very answer.  Whoever asks while a
    lookup runs shares its result, so there is one thread at the most; it is a
    daemon: a name server that does not answer must not keep the process alive.
    """

    def __init__(self, reactor: Any, host: str) -> None:
        self._reactor = reactor
        self._host = host
        self._waiting: list[Deferred[list[Address]]] = []

    def resolve(self) -> Deferred[list[Address]]:
        """
        The addresses of the host, in the order of the system's preference.

        Fails with a DNSLookupError.
        """
        if isIPAddress(self._host):
            return succeed([(TCP4ClientEndpoint, self._host)])
        if isIPv6Address(self._host):
            return succeed([(TCP6ClientEndpoint, self._host)])
        if not self._waiting:
            Thread(target=self._look_up, name="txpusher-resolver", daemon=True).start()
        waiter: Deferred[list[Address]] = Deferred()
        self._waiting.append(waiter)
        return waiter

    def _look_up(self) -> None:
        result: list[Address] | Failure
        try:
            found = socket.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            result = Failure(DNSLookupError(f"no address found for {self._host}: {error}"))
        else:
            kinds: dict[int, type[TCP4ClientEndpoint] | type[TCP6ClientEndpoint]] = {
                socket.AF_INET: TCP4ClientEndpoint,
                socket.AF_INET6: TCP6ClientEndpoint,
            }
            result = [
                (kinds[family], str(address[0]))
                for family, _, _, _, address in found
                if family in kinds
            ]
        self._reactor.callFromThread(self._resolved, result)

    def _resolved(self, result: list[Address] | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            # One that was cancelled meanwhile has been called.
            if not waiter.called:
                waiter.callback(result)


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """
    Connects over TCP to one address of a host after the other.

    Never to two at once, as Twisted's HostnameEndpoint does: a client that was
    given one socket must not open two.  The address that worked last is tried
    first, and none may use up the time of those after it.
    """

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:
        self._reactor = reactor
        self._port = port
        self._timeout = timeout
        self._resolver = Resolver(reactor, host)
        self._last_good: Address | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """A protocol that is connected, or a ConnectError or DNSLookupError."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        deadline = self._reactor.seconds() + self._timeout
        addresses = list(dict.fromkeys(await self._resolver.resolve()))
        addresses.sort(key=lambda address: address != self._last_good)
        error: Exception = DNSLookupError("the name has no address")
        for tried, address in enumerate(addresses):
            kind, host = address
            share = (deadline - self._reactor.seconds()) / (len(addresses) - tried)
            try:
                protocol = await kind(
                    self._reactor, host, self._port, timeout=max(share, 0.001)
                ).connect(factory)
            except ConnectError as refused:
                error = refused
            else:
                self._last_good = address
                return protocol
        raise error


@implementer(IHandshakeListener)
class Connection(ProtocolWrapper):
    """
    One socket and the HTTP protocol on it.

    :ivar ready: Fires when the TLS handshake is done; fails with the reason
        why it never will be.
    :ivar fresh: False once a request has been sent.
    :ivar allowance: How many more bytes may come in.
    :ivar on_excess: Called when more do.
    """

    factory: _ConnectionFactory

    def __init__(self, factory: _ConnectionFactory, wrappedProtocol: IProtocol) -> None:
        super().__init__(factory, wrappedProtocol)
        self.ready: Deferred[None] = Deferred(lambda _: self.abortConnection())
        self.fresh = True
        self.allowance = 0
        self.on_excess: Callable[[], None] | None = None
        self._receiving = False
        self._paused = False
        self._abort_call: Any = None

    def handshakeCompleted(self) -> None:
        """TLS has verified the server, or older versions of Twisted say so all the same."""
        if not cast(Any, self.transport).disconnecting:
            self.ready.callback(None)

    def is_quiet(self) -> bool:
        """
        Whether the socket has nothing to read.

        An idle connection that does has been closed by the server, or is about
        to be: the reactor has just not come round to it.
        """
        transport = self.transport
        while isinstance(transport, ProtocolWrapper):
            transport = transport.transport
        handle = cast(Any, transport).getHandle()
        if handle.gettimeout() != 0:
            # Where the reactor does not poll, a look would wait.
            return True
        try:
            handle.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def dataReceived(self, data: bytes) -> None:
        """Pass on what has come in; Twisted's HTTP client would take in a head of any size."""
        self.allowance -= len(data)
        if self.allowance < 0 and self.on_excess is not None:
            self.on_excess()
            return
        self._receiving = True
        self.wrappedProtocol.dataReceived(data)
        self._receiving = False
        if self._paused:
            cast(Any, self.transport).pauseProducing()

    def pauseProducing(self) -> None:
        """
        Stop reading.

        Between head and body Twisted pauses and resumes, most often within one
        call of :meth:`dataReceived`: two system calls that come to nothing.
        """
        self._paused = True
        if not self._receiving:
            cast(Any, self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            if not self._receiving:
                cast(Any, self.transport).resumeProducing()

    def loseConnection(self) -> None:
        """Close in the orderly way; abort if the peer does not play along."""
        super().loseConnection()
        if self._abort_call is None:
            self._abort_call = self.factory.reactor.callLater(CLOSE_GRACE, self.abortConnection)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The socket is closed."""
        if self._abort_call is not None and self._abort_call.active():
            self._abort_call.cancel()
        super().connectionLost(reason)
        if not self.ready.called:
            self.ready.errback(reason)
        self.factory.release()


if TYPE_CHECKING:
    _Factory = WrappingFactory[Connection]
else:
    # Generic only in newer versions of Twisted.
    _Factory = WrappingFactory


class _ConnectionFactory(_Factory):
    protocol = Connection
    noisy = False

    def __init__(
        self, reactor: Any, wrapped: IProtocolFactory, on_closed: Callable[[], None]
    ) -> None:
        super().__init__(wrapped)
        self.reactor = reactor
        self._on_closed = on_closed
        self._released = False

    def release(self) -> None:
        """The one socket that this factory is for is gone, or never came to be."""
        if not self._released:
            self._released = True
            self._on_closed()


@implementer(IStreamClientEndpoint)
class BoundedEndpoint:
    """
    An endpoint that never has more than *limit* sockets at a time.

    A socket counts from before it is opened until it is closed, and whoever
    wants one more waits.  What uses a connection must itself be bounded by the
    same limit: then a wait is for a socket that is being closed.

    :ivar open: How many sockets there are.
    """

    def __init__(
        self, reactor: Any, endpoint: IStreamClientEndpoint, limit: int, *, tls: bool
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._limit = limit
        self._tls = tls
        self._waiting: deque[Deferred[None]] = deque()
        self._on_empty: list[Deferred[None]] = []
        self.open = 0

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The wrapped factory's protocol, connected and with TLS shaken hands."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        await self._place()
        wrapping = _ConnectionFactory(self._reactor, factory, self._closed)
        try:
            connection = cast(Connection, await self._endpoint.connect(wrapping))
        except BaseException:
            wrapping.release()
            raise
        protocol = connection.wrappedProtocol
        if self._tls:
            await connection.ready
        else:
            connection.ready.callback(None)
        return protocol

    def _place(self) -> Deferred[None]:
        if self.open < self._limit:
            self.open += 1
            return succeed(None)
        place: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(place)
        return place

    def _closed(self) -> None:
        if self._waiting:
            self._waiting.popleft().callback(None)
            return
        self.open -= 1
        if not self.open:
            waiting, self._on_empty = self._on_empty, []
            for waiter in waiting:
                waiter.callback(None)

    def all_closed(self) -> Deferred[None]:
        """Fires when there is no socket left."""
        if not self.open:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._on_empty.append(waiter)
        return waiter


class ConnectionPool(HTTPConnectionPool):
    """
    The connections of one client to its one server.

    A connection is first leased, then used: between the two nothing can have
    been sent, and the time to connect is told from the time to answer.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: BoundedEndpoint,
        *,
        max_connections: int,
        keep_alive_timeout: float,
    ) -> None:
        super().__init__(reactor)
        self.retryAutomatically = False
        self.maxPersistentPerHost = max_connections
        self.cachedConnectionTimeout = cast(int, keep_alive_timeout)  # floats are fine
        self._endpoint = endpoint

    def lease(self) -> Deferred[Any]:
        """An idle connection that is still good, or a new one."""
        while True:
            leased: Deferred[Any] = self.getConnection("", self._endpoint)
            leased.addCallback(self._if_good)
            # One from the pool is there at once.
            if not leased.called or leased.result is not None:
                return leased

    def _if_good(self, protocol: Any) -> Any:
        connection = protocol.transport
        if connection.fresh:
            connection.fresh = False
        elif not connection.is_quiet():
            connection.loseConnection()
            return None
        return protocol

    async def close(self) -> None:
        """Close what is idle, and wait until no socket is left."""
        await self.closeCachedConnections()
        await self._endpoint.all_closed()
