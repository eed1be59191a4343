"""
The bottom of each connection: what has been handed to the kernel, as a fact.

Twisted keeps what is written in a buffer until the reactor's next turn, and in that turn reads
before it writes.  Where the end of the connection comes first, a request has been written and
yet never left.  The layer here stands directly above the TCP connection, below TLS and a
proxy's tunnel, and writes to the socket itself.

What rests on private parts of Twisted: nothing.  ``getHandle()`` is public, and what must
hold of the transport's own buffer is asked with a pull producer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IPullProducer,
    IStreamClientEndpoint,
    IWriteDescriptor,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from txpusher._http.phase import Phase, Report

_log = Logger(namespace="txpusher")


class NextTurn:
    """
    Calls functions in the reactor's next turn.

    One delayed call serves all functions of a turn: requests begin in bursts.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._waiting: list[Callable[[], object]] = []

    def add(self, function: Callable[[], object]) -> None:
        """Call *function* in the next turn; an exception is logged."""
        if not self._waiting:
            self._reactor.callLater(0, self._run)
        self._waiting.append(function)

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        for function in waiting:
            try:
                function()
            except Exception:
                _log.failure("a request could not be written")


class WireState(Enum):
    """The way of the bytes that a wire is given."""

    #: Bytes go to the socket at once.
    PASSING = auto()
    #: A request begins: its bytes wait until it is known that the connection lives.
    HOLDING = auto()
    #: The connection is ending: bytes go nowhere.
    ENDED = auto()


class Wire(ProtocolWrapper):
    """
    One TCP connection, and the count of the bytes that have been handed to the kernel.

    A request's first bytes are not written in the turn in which they are given.  In the
    reactor's next turn the wire looks whether the socket has something to read.  If so, the
    reactor reads first: where the connection ends, nothing of the request has left.  If not,
    the bytes go to the kernel, past Twisted's buffer.

    A transport that has no non-blocking socket is written to as it is; what is written to it
    counts as handed over.

    :ivar sent: How many bytes have been handed over since :meth:`hold` was called last.  Where
        the kernel takes a part of what is given, the rest counts too: Twisted sends it when it
        can.
    """

    factory: _WireFactory

    def __init__(self, factory: _WireFactory, wrappedProtocol: IProtocol) -> None:
        super().__init__(factory, wrappedProtocol)
        self.sent = 0
        self._state = WireState.PASSING
        self._held: list[bytes] = []
        self._may_go: Callable[[], bool]
        self._socket: socket.socket | None = None
        #: Whether something may be in the transport's own buffer, which then goes first.
        self._is_buffered = False
        self._rest: _Rest | None = None
        self._broken: Failure | None = None

    def makeConnection(self, transport: Any) -> None:
        """Find the socket of the new connection."""
        handle = transport.getHandle() if hasattr(transport, "getHandle") else None
        # Where a socket blocks, as none of Twisted's own does, a look at it would wait.
        if (
            isinstance(handle, socket.socket)
            and handle.gettimeout() == 0
            and IWriteDescriptor.providedBy(transport)
        ):
            self._socket = handle
            self._is_buffered = not self.factory.is_fresh
        super().makeConnection(transport)

    def hold(self, may_go: Callable[[], bool]) -> None:
        """
        Begin a request: count from zero, and hold what is written until the next turn.

        :param may_go: Asked then whether the request may still go out over this connection.
        """
        self.sent = 0
        self._may_go = may_go
        if self._state is WireState.PASSING:
            self._state = WireState.HOLDING

    @property
    def has_all_left(self) -> bool:
        """Whether a request was written, and the kernel has taken all of it."""
        return self.sent > 0 and not self._is_buffered

    def write(self, data: bytes) -> None:
        """Hold *data*, or hand it to the kernel."""
        if self._state is WireState.HOLDING:
            if not self._held:
                self.factory.next_turn.add(self._release)
            self._held.append(data)
        elif self._state is WireState.PASSING:
            self._hand_over(data)

    def writeSequence(self, data: Any) -> None:
        """Write all of *data*."""
        self.write(b"".join(data))

    def _release(self) -> None:
        if self._state is not WireState.HOLDING:
            return
        if self._has_something_to_read():
            self.factory.next_turn.add(self._release)
            return
        if not self._may_go():
            self.abortConnection()
            return
        data, self._held = b"".join(self._held), []
        self._state = WireState.PASSING
        self._hand_over(data)

    def _has_something_to_read(self) -> bool:
        """Return whether data, an error or the end of the connection waits to be read."""
        if self._socket is None:
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def _hand_over(self, data: bytes) -> None:
        if self._socket is None:
            self.sent += len(data)
            cast(Any, self.transport).write(data)
            return
        taken = 0
        if not self._is_buffered:
            try:
                taken = self._socket.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                if not self.sent:
                    # Nothing has left, nor can anything have come that is worth reading.
                    self._broken = Failure(ConnectionLost(str(error)))
                    self.abortConnection()
                    return
                # Twisted meets the same error, and reads before what has come.
        self.sent += len(data)
        if taken < len(data):
            self._buffer(data[taken:])

    def _buffer(self, data: bytes) -> None:
        transport = cast(Any, self.transport)
        self._is_buffered = True
        if self._rest is None:
            self._rest = _Rest(transport, data, self._buffer_is_empty)
            transport.registerProducer(self._rest, False)
        else:
            transport.write(data)

    def _buffer_is_empty(self) -> None:
        self._is_buffered = False
        self._rest = None

    def pauseProducing(self) -> None:
        """Stop reading."""
        cast(Any, self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        cast(Any, self.transport).resumeProducing()

    def loseConnection(self) -> None:
        """
        Close the connection; bytes that are held are not written any more.

        TLS calls this where the server's close_notify has come while a request was held.
        """
        self._end()
        super().loseConnection()

    def abortConnection(self) -> None:
        """Close the connection at once."""
        self._end()
        cast(Any, self.transport).abortConnection()

    def _end(self) -> None:
        self._state = WireState.ENDED
        self._held.clear()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the layer above that the connection is closed, and why."""
        self._end()
        super().connectionLost(self._broken or reason)


@implementer(IPullProducer)
class _Rest:
    """
    The bytes that the kernel did not take at once.

    A transport asks a pull producer for more when its own buffer is empty: that is how the
    wire knows that it may write to the socket again.
    """

    def __init__(self, transport: Any, data: bytes, on_empty: Callable[[], None]) -> None:
        self._transport = transport
        self._data = data
        self._on_empty = on_empty

    def resumeProducing(self) -> None:
        """Write the rest, or, once it has gone, say so."""
        if self._data:
            data, self._data = self._data, b""
            self._transport.write(data)
        else:
            self._transport.unregisterProducer()
            self._on_empty()

    def stopProducing(self) -> None:
        """Do nothing: the connection is gone."""


if TYPE_CHECKING:
    _Factory = WrappingFactory[Wire]
else:
    # Generic only in newer versions of Twisted.
    _Factory = WrappingFactory


class _WireFactory(_Factory):
    """
    Makes the wire of one connection.

    :ivar is_fresh: Whether nobody can have written to the transport before.
    """

    protocol = Wire
    noisy = False

    def __init__(
        self,
        wrapped: IProtocolFactory,
        next_turn: NextTurn,
        report: Report,
        after_tcp: Phase,
        *,
        is_fresh: bool,
    ) -> None:
        super().__init__(wrapped)
        self.next_turn = next_turn
        self.is_fresh = is_fresh
        self._report = report
        self._after_tcp = after_tcp

    def doStart(self) -> None:
        """Note that TCP begins to connect: the name has been looked up."""
        self._report(Phase.CONNECTING)
        super().doStart()

    def buildProtocol(self, addr: Any) -> Any:
        """Note that TCP is connected, and make the wire."""
        self._report(self._after_tcp)
        return super().buildProtocol(addr)


@implementer(IStreamClientEndpoint)
class WireEndpoint:
    """
    An endpoint whose connections have a :class:`Wire` at the bottom.

    :param endpoint: The endpoint of the TCP connection.
    :param report: Told of the phases of connecting.
    :param after_tcp: The phase that follows once TCP is connected.
    :param is_fresh: Whether the endpoint gives connections that nobody has written to.  An
        endpoint of the user's may have.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        next_turn: NextTurn,
        report: Report,
        after_tcp: Phase,
        *,
        is_fresh: bool,
    ) -> None:
        self._endpoint = endpoint
        self._next_turn = next_turn
        self._report = report
        self._after_tcp = after_tcp
        self._is_fresh = is_fresh

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the Deferred fires with the factory's protocol, over a wire."""
        wires = _WireFactory(
            protocolFactory,
            self._next_turn,
            self._report,
            self._after_tcp,
            is_fresh=self._is_fresh,
        )
        connecting = self._endpoint.connect(cast(IProtocolFactory, wires))
        return connecting.addCallback(lambda wire: cast(Wire, wire).wrappedProtocol)
