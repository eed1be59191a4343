"""
Connections to one server: opened, counted, kept and given up.

Twisted's ``HTTPConnectionPool`` keeps idle connections but bounds neither the
sockets in use nor those on their way out; the endpoint here does.  It gives a
connection only once TLS has shaken hands, so that until then nothing of a
request can have been sent.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, succeed
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

    def abort(self) -> None:
        """Close the connection at once, where there is one yet."""
        for connection in list(self.protocols):
            connection.abortConnection()

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
        self._factories: set[_ConnectionFactory] = set()
        self.open = 0

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The wrapped factory's protocol, connected and with TLS shaken hands."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        await self._place()
        wrapping = _ConnectionFactory(self._reactor, factory, lambda: self._closed(wrapping))
        self._factories.add(wrapping)
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

    def _closed(self, factory: _ConnectionFactory) -> None:
        self._factories.discard(factory)
        if self._waiting:
            self._waiting.popleft().callback(None)
            return
        self.open -= 1
        if not self.open:
            waiting, self._on_empty = self._on_empty, []
            for waiter in waiting:
                waiter.callback(None)

    def abort(self) -> None:
        """Close every connection at once."""
        for factory in list(self._factories):
            factory.abort()

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
        elif connection.disconnecting or not connection.is_quiet():
            # To close it in the orderly way would keep its place for a while.
            connection.abortConnection()
            return None
        return protocol

    def _putConnection(self, key: Any, connection: Any) -> None:
        # Twisted knows no announcement but a lone, lower-case "close".
        if _is_last_reply(connection._parser):
            connection.transport.loseConnection()
        else:
            super()._putConnection(key, connection)

    async def close(self) -> None:
        """Close what is idle, and wait until no socket is left."""
        await self.closeCachedConnections()
        await self._endpoint.all_closed()


def _is_last_reply(parser: Any) -> bool:
    """
    Whether the server closes the connection after the reply that was parsed.

    Source: RFC 9112, section 9.3.
    """
    values = parser.connHeaders.getRawHeaders(b"connection")
    current = parser.response.version >= (b"HTTP", 1, 1)
    if values is None:
        return not current
    options = {option.strip().lower() for option in b",".join(values).split(b",")}
    return b"close" in options or not (current or b"keep-alive" in options)
