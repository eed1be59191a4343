"""
The connections of one client: kept between requests, given up when they are old.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol

from txpusher._http.agents import WireRequest
from txpusher._http.connection import MOST_BEFORE_BODY, BoundedEndpoint, PooledConnection
from txpusher._http.phase import Report
from txpusher._http.replies import WholeReply, read_plain

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

#: The fewest seconds between two looks at the age of the kept connections.
_SWEEP_INTERVAL = 0.01

#: For Twisted's parser, which tells of each interim reply: a proxy may send some every time.
_NO_LOG = Logger(namespace="txpusher", observer=cast(Any, lambda event: None))


class _HTTPProtocol(HTTP11ClientProtocol):
    """
    The HTTP protocol of one connection, which reads plain replies itself.

    A reply that comes in one piece and is plain (:mod:`txpusher._http.replies`) needs no
    parser: Twisted's, made for each request, takes a quarter of the instructions of a trigger.
    Where anything else comes, the end of the connection or a cancellation included, Twisted is
    given the request after the fact, and does the rest.

    Twisted has no public place for that, and knows no announcement of a connection's end but a
    lone, lower-case ``close``: the attributes with a ``_`` here are private.  Seen in Twisted
    24.7 to 26.10.
    """

    #: The request that has been sent and of whose reply nothing has come, and who waits for it.
    _expected: tuple[WireRequest, Deferred[Any]] | None = None
    #: The request as Twisted has it, where it had to be given one.
    _handed_over: Deferred[Any] | None = None
    #: Whether bytes have come behind a reply, which belong to no request.
    _has_surplus = False

    def request(self, request: Any) -> Deferred[Any]:
        """Send a :class:`WireRequest`, and expect its reply."""
        if self._state != "QUIESCENT":
            return super().request(request)
        self._state = "WAITING"
        request.write_once(self.transport)
        answered: Deferred[Any] = Deferred(self._cancel)
        self._expected = request, answered
        return answered

    def dataReceived(self, data: bytes) -> None:
        """Take a part of a reply, or all of it."""
        if self._expected is not None:
            request, answered = self._expected
            plain = None
            if request.persistent and request.method != b"HEAD":
                plain = read_plain(data)
            if plain is not None:
                self._expected = None
                self._state = "QUIESCENT"
                self._quiescentCallback(self)
                answered.callback(WholeReply(*plain, request, self.transport))
                return
            self._hand_over()
        super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the request that waits for a reply."""
        self._hand_over()
        super().connectionLost(reason)

    def _cancel(self, answered: object) -> None:
        self._hand_over()
        if self._handed_over is not None:
            self._handed_over.cancel()

    def _hand_over(self) -> None:
        """Have Twisted wait for the reply, where nothing of it has come."""
        if self._expected is None:
            return
        request, answered = self._expected
        self._expected = None
        self._state = "QUIESCENT"
        self._handed_over = super().request(cast(Any, request))
        parser: Any = self._parser
        # The connection counts, and says what was too much; the parser would only close.
        parser.MAX_LENGTH = MOST_BEFORE_BODY
        parser._log = _NO_LOG  # noqa: SLF001
        self._handed_over.addBoth(self._end_with, answered)

    def _end_with(self, result: Any, answered: Deferred[Any]) -> None:
        self._handed_over = None
        answered.callback(result)

    def _finishResponse(self, rest: bytes) -> None:
        self._has_surplus = bool(rest)
        super()._finishResponse(rest)

    def is_last_reply(self) -> bool:
        """
        Return whether the connection ends with the reply that was parsed.

        The server closes it, or what came behind the reply would be taken for the next one's.
        Source: RFC 9112, sections 6.3 and 9.3.
        """
        parser: Any = self._parser
        if parser is None:
            # A plain reply is not.
            return False
        if self._has_surplus:
            return True
        values = parser.connHeaders.getRawHeaders(b"connection")
        current = parser.response.version >= (b"HTTP", 1, 1)
        if values is None:
            return not current
        options = {option.strip().lower() for option in b",".join(values).split(b",")}
        return b"close" in options or not (current or b"keep-alive" in options)


class _HTTPFactory(Factory):
    """
    Makes the HTTP protocol of one connection, without a line in the log.

    :param keep: Called with the protocol whenever its connection may take another request.
    """

    noisy = False

    def __init__(self, keep: Callable[[_HTTPProtocol], None]) -> None:
        self._keep = keep

    def buildProtocol(self, addr: Any) -> _HTTPProtocol:
        """Make the protocol."""
        return _HTTPProtocol(self._keep)


class ConnectionPool:
    """
    The connections of one client to its one server.

    A connection is first taken or opened, then used: between the two nothing can have been
    sent, and the time to connect is told from the time to answer.

    In place of Twisted's ``HTTPConnectionPool``, which has no public place to choose the
    protocol, nor to say that a connection must not be used again, and which starts a timer
    whenever a connection is kept.

    :param keep_alive_timeout: Seconds for which a connection may be idle.
    """

    def __init__(
        self, reactor: Any, endpoint: BoundedEndpoint, *, keep_alive_timeout: float
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._keep_alive_timeout = keep_alive_timeout
        #: The longest kept first; some of them may have been closed by the server.
        self._kept: deque[_HTTPProtocol] = deque()
        self._sweep_call: IDelayedCall | None = None

    def take(self) -> _HTTPProtocol | None:
        """
        Return the protocol of a connection that was kept, None where none can be used.

        The age of a kept connection is looked at here, because a timer that gives up old
        connections does not run while the process stands still.
        """
        while self._kept:
            protocol = self._kept.popleft()
            connection = _connection_of(protocol)
            if connection.may_be_used():
                return protocol
            connection.give_up()
        return None

    def open(self, report: Report) -> Deferred[Any]:
        """
        Open a connection; the Deferred fires with its protocol.

        :param report: Told of the phases of connecting.
        """
        factory = cast(IProtocolFactory, _HTTPFactory(self._keep))
        return Deferred.fromCoroutine(self._endpoint.connect(factory, report))

    def _keep(self, protocol: _HTTPProtocol) -> None:
        """Keep a connection for the next request, where there can be one."""
        connection = _connection_of(protocol)
        if protocol.is_last_reply() or not connection.keep():
            connection.loseConnection()
            return
        self._kept.append(protocol)
        if self._sweep_call is None:
            self._sweep_in(self._keep_alive_timeout)

    def _sweep_in(self, seconds: float) -> None:
        self._sweep_call = self._reactor.callLater(seconds, self._sweep)

    def _sweep(self) -> None:
        """Close the connections that are too old, and come back for the next to be."""
        self._sweep_call = None
        kept, self._kept = self._kept, deque()
        soonest = self._keep_alive_timeout
        for protocol in kept:
            connection = _connection_of(protocol)
            if connection.may_be_used():
                self._kept.append(protocol)
                soonest = min(soonest, connection.seconds_left)
            else:
                connection.loseConnection()
        if self._kept:
            self._sweep_in(max(soonest, _SWEEP_INTERVAL))

    async def close(self) -> None:
        """Close what is idle, and wait until no socket is left."""
        if self._sweep_call is not None:
            self._sweep_call.cancel()
            self._sweep_call = None
        kept, self._kept = self._kept, deque()
        for protocol in kept:
            _connection_of(protocol).loseConnection()
        await self._endpoint.all_closed()


def _connection_of(protocol: _HTTPProtocol) -> PooledConnection:
    return cast(PooledConnection, protocol.transport)
