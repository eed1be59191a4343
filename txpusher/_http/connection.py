"""
One connection to the server, and the endpoint that opens connections and counts their sockets.

Twisted's ``HTTPConnectionPool`` keeps idle connections but bounds neither the sockets in use
nor the sockets that are closing; the endpoint here does.  The endpoint gives a connection only
once TLS has shaken hands, so that until then nothing of a request can have been sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.interfaces import (
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from txpusher._http.phase import Phase, Report
from txpusher._http.wire import Wire

#: Seconds that a connection may take to close before it is aborted.
CLOSE_GRACE = 1.0

#: The largest head of a reply, interim replies included, in bytes.
MAX_HEAD_BYTES = 2**16

#: The most bytes that come in before the head of the reply must have ended: a connection
#: hands over up to 2**16 at once.
MOST_BEFORE_BODY = MAX_HEAD_BYTES + 2**16

#: The first bytes of a TLS alert, which is the answer of a TLS port to plain HTTP.
_TLS_ALERT = b"\x15\x03"


class ConnectionState(Enum):
    """The state of one connection."""

    #: TCP is connected; TLS may be shaking hands.
    OPENING = auto()
    #: One request has the connection.
    IN_USE = auto()
    #: The connection waits for its next request.
    KEPT = auto()
    #: The connection was aborted; its socket closes in the reactor's next turn.
    ABORTED = auto()
    #: The socket is closed.
    LOST = auto()


@implementer(IHandshakeListener)
class PooledConnection(ProtocolWrapper):
    """
    One connection to the server, and the HTTP protocol on it.

    :ivar ready: Fires when the TLS handshake is done; fails with the reason
        why it never will be.
    :ivar byte_limit: How many bytes may come in for one request.
    :ivar on_too_much: Called when more bytes than that come in.
    """

    factory: _ConnectionFactory
    _wire: Wire
    _seconds: Callable[[], float]

    def __init__(self, factory: _ConnectionFactory, wrappedProtocol: IProtocol) -> None:
        super().__init__(factory, wrappedProtocol)
        self.ready: Deferred[None] = Deferred(lambda _: self.abortConnection())
        self.byte_limit = 0
        self.on_too_much: Callable[[], None] | None = None
        self._state = ConnectionState.OPENING
        self._requests = 0
        self._received = 0
        self._answered_in_tls = False
        self._is_receiving = False
        self._is_paused = False
        self._went_stale = False
        self._leased_at = 0.0
        self._leased_on_the_wall = 0.0
        self._abort_call: Any = None

    def connectionMade(self) -> None:
        """Find the wire at the bottom."""
        layer: Any = self.transport
        while not isinstance(layer, Wire):
            layer = layer.transport
        self._wire = layer
        self._seconds = self.factory.reactor.seconds
        # Nothing is done with what is written, on the way to the layer below.
        self.write = cast(Any, self.transport).write  # type: ignore[method-assign]

    def handshakeCompleted(self) -> None:
        """
        Note that TLS has verified the server.

        Before Twisted 25 this is called where the verification has failed, too; the
        connection is closing then.
        """
        if not cast(Any, self.transport).disconnecting:
            self.ready.callback(None)

    # For the link that leases connections

    def lease(self) -> None:
        """
        Begin a request; until its first bytes have left, the connection may turn out closed.

        From here on the head of the reply may come in, and what of the body comes with it.
        """
        self._state = ConnectionState.IN_USE
        self._requests += 1
        self._received = 0
        self.byte_limit = MOST_BEFORE_BODY
        self._went_stale = False
        self._leased_at = self._seconds()
        self._leased_on_the_wall = time.time()
        self._wire.hold(self._is_fresh_enough)

    @property
    def has_sent(self) -> bool:
        """Whether a byte of the request has been handed to the kernel."""
        return self._wire.sent > 0

    @property
    def died_unused(self) -> bool:
        """Whether the connection was kept, and ended before a byte of the request left."""
        return (
            self._state is ConnectionState.LOST
            and (self._requests > 1 or self._went_stale)
            and not self._wire.sent
        )

    @property
    def hint(self) -> str:
        """Words about a setting that the bytes on the connection show to be wrong, or empty."""
        if self._answered_in_tls:
            return "; the server answered in TLS: is it a port for HTTPS?"
        silent = self._requests == 1 and not self._received
        if silent and self._state is ConnectionState.LOST and not self.factory.tls:
            return "; not a byte came back: is it a port for HTTPS?"
        return ""

    def keep(self) -> bool:
        """
        Wait for the next request; return whether that is possible.

        A reply that came before all of the request had left is about something else, or the
        server may not want to read the rest: the next request would wait behind it.  Nor is a
        connection kept that the last bytes of its reply had aborted: they were too many.
        """
        if not self._wire.has_all_left or self._state is ConnectionState.ABORTED:
            return False
        self._state = ConnectionState.KEPT
        return True

    def _is_young(self, grace: float = 0.0) -> bool:
        """
        Return whether the connection has not been idle for longer than it may, and *grace*.

        Idle since it was leased: nobody knows when the reply came, it may have lain in the
        socket while the process stood still.  The wall clock counts, too: the reactor's
        clock can stop while a computer sleeps.
        """
        on_the_wall = time.time() - self._leased_on_the_wall - grace
        return self.seconds_left > -grace and on_the_wall < self.factory.keep_alive_timeout

    def _is_fresh_enough(self) -> bool:
        """
        Return whether the request that is held may go out.

        The process may have stood still since the connection was leased.  A new one has a
        second for the reactor's turn, where it may be idle for less.
        """
        self._went_stale = not self._is_young(1.0 if self._requests == 1 else 0.0)
        return not self._went_stale

    def may_be_used(self) -> bool:
        """Return whether the next request may use the connection, which was kept."""
        is_kept = self._state is ConnectionState.KEPT and not self.disconnecting
        return is_kept and self._is_young()

    @property
    def seconds_left(self) -> float:
        """For how many seconds more the connection may be idle, by the reactor's clock."""
        return self.factory.keep_alive_timeout - (self._seconds() - self._leased_at)

    def give_up(self) -> None:
        """
        Close a kept connection that is too old, in the reactor's next turn.

        TLS has no say in it: to wait for the other end's close_notify would keep the socket's
        place for a while, and the other end may have forgotten the connection.
        """
        self._wire.loseConnection()

    # What the layers call

    def dataReceived(self, data: bytes) -> None:
        """
        Pass on what has come in, up to the limit: Twisted's client would take any head.

        What comes on a kept connection before a request has left is no reply: some servers
        say 408 before they close.
        """
        wire = self._wire
        too_early = self._requests > 1 and not wire.sent
        if too_early or self._state is not ConnectionState.IN_USE:
            self.abortConnection()
            return
        if not self._received:
            self._answered_in_tls = data.startswith(_TLS_ALERT)
        self._received += len(data)
        if self._received > self.byte_limit and self.on_too_much is not None:
            self.on_too_much()
            return
        self._is_receiving = True
        self.wrappedProtocol.dataReceived(data)
        self._is_receiving = False
        if self._is_paused:
            wire.pauseProducing()

    def pauseProducing(self) -> None:
        """
        Stop reading.

        Between head and body Twisted pauses and resumes, most often within one call of
        :meth:`dataReceived`.  That would be two system calls that come to nothing, and 1.7 %
        more instructions for each event.
        """
        self._is_paused = True
        if not self._is_receiving:
            self._wire.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            if not self._is_receiving:
                self._wire.resumeProducing()

    def loseConnection(self) -> None:
        """Close in the orderly way; abort if the peer does not play along."""
        if self._state is ConnectionState.LOST:
            return
        super().loseConnection()
        if self._abort_call is None:
            self._abort_call = self.factory.reactor.callLater(CLOSE_GRACE, self.abortConnection)

    def abortConnection(self) -> None:
        """Close at once."""
        self._state = ConnectionState.ABORTED
        cast(Any, self.transport).abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Note that the socket is closed."""
        self._state = ConnectionState.LOST
        if self._abort_call is not None and self._abort_call.active():
            self._abort_call.cancel()
        super().connectionLost(reason)
        if not self.ready.called:
            self.ready.errback(reason)
        self.factory.release()


if TYPE_CHECKING:
    _Factory = WrappingFactory[PooledConnection]
else:
    # Generic only in newer versions of Twisted.
    _Factory = WrappingFactory


class _ConnectionFactory(_Factory):
    """Makes one connection, and says once when its socket is gone."""

    protocol = PooledConnection
    noisy = False

    def __init__(
        self,
        reactor: Any,
        wrapped: IProtocolFactory,
        on_closed: Callable[[_ConnectionFactory], None],
        *,
        tls: bool,
        keep_alive_timeout: float,
    ) -> None:
        super().__init__(wrapped)
        self.reactor = reactor
        self.tls = tls
        self.keep_alive_timeout = keep_alive_timeout
        self._on_closed: Callable[[_ConnectionFactory], None] | None = on_closed

    def abort(self) -> None:
        """Close the connection at once, where there is one yet."""
        for connection in list(self.protocols):
            connection.abortConnection()

    def release(self) -> None:
        """Say that the one socket of this factory is gone, or never came to be."""
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed(self)


class BoundedEndpoint:
    """
    Opens connections, and never has more than *limit* sockets at a time.

    A socket counts from before it is opened until it is closed, and whoever wants one more
    waits.  The users of the connections must themselves be bounded by the same limit: then
    a wait is for a socket that is being closed.

    :param way: Makes the endpoint of one connection, which reports its phases.
    :param tls: Whether a connection is ready only after a TLS handshake.
    :param keep_alive_timeout: Seconds for which a connection may be idle before a request.
    """

    def __init__(
        self,
        reactor: Any,
        way: Callable[[Report], IStreamClientEndpoint],
        limit: int,
        *,
        tls: bool,
        keep_alive_timeout: float,
    ) -> None:
        self._reactor = reactor
        self._way = way
        self._limit = limit
        self._tls = tls
        self._keep_alive_timeout = keep_alive_timeout
        self._sockets = DeferredSemaphore(limit)
        self._on_empty: list[Deferred[None]] = []
        self._factories: set[_ConnectionFactory] = set()

    @property
    def open(self) -> int:
        """How many sockets there are."""
        return self._limit - self._sockets.tokens

    async def connect(self, factory: IProtocolFactory, report: Report) -> IProtocol:
        """
        Return the protocol of *factory*, connected and with TLS shaken hands.

        :param report: Told of each phase when it begins.
        """
        report(Phase.WAITING_FOR_SOCKET)
        await self._sockets.acquire()
        wrapping = _ConnectionFactory(
            self._reactor,
            factory,
            self._closed,
            tls=self._tls,
            keep_alive_timeout=self._keep_alive_timeout,
        )
        self._factories.add(wrapping)
        report(Phase.LOOKING_UP)
        try:
            connection = cast(
                PooledConnection,
                await self._way(report).connect(cast(IProtocolFactory, wrapping)),
            )
        except BaseException:
            wrapping.release()
            raise
        protocol = connection.wrappedProtocol
        if self._tls:
            await connection.ready
        else:
            connection.ready.callback(None)
        return protocol

    def _closed(self, factory: _ConnectionFactory) -> None:
        self._factories.discard(factory)
        self._sockets.release()
        if not self.open:
            waiting, self._on_empty = self._on_empty, []
            for waiter in waiting:
                waiter.callback(None)

    def abort(self) -> None:
        """Close every connection at once."""
        for factory in list(self._factories):
            factory.abort()

    def all_closed(self) -> Deferred[None]:
        """Return a Deferred that fires with None when there is no socket left."""
        if not self.open:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._on_empty.append(waiter)
        return waiter
