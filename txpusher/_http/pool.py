"""
The connections of one client: kept between requests, given up when they are old.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web.client import HTTPConnectionPool, _HTTP11ClientFactory
from zope.interface import implementer

from txpusher._http.agents import WireRequest
from txpusher._http.connection import BoundedEndpoint, PooledConnection
from txpusher._http.phase import Report
from txpusher._http.replies import WholeReply, read_plain


@implementer(IStreamClientEndpoint)
class _Opening:
    """Stands for the one connection that is opened where none is kept."""

    def __init__(self, endpoint: BoundedEndpoint, report: Report) -> None:
        self._endpoint = endpoint
        self._report = report

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See ``IStreamClientEndpoint.connect``."""
        return Deferred.fromCoroutine(self._endpoint.connect(protocolFactory, self._report))


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
        self._handed_over.addBoth(self._end_with, answered)

    def _end_with(self, result: Any, answered: Deferred[Any]) -> None:
        self._handed_over = None
        answered.callback(result)

    def is_last_reply(self) -> bool:
        """
        Return whether the server closes the connection after the reply that was parsed.

        Source: RFC 9112, section 9.3.
        """
        parser: Any = self._parser
        if parser is None:
            # A plain reply is not.
            return False
        values = parser.connHeaders.getRawHeaders(b"connection")
        current = parser.response.version >= (b"HTTP", 1, 1)
        if values is None:
            return not current
        options = {option.strip().lower() for option in b",".join(values).split(b",")}
        return b"close" in options or not (current or b"keep-alive" in options)


class _HTTPFactory(_HTTP11ClientFactory):
    """
    Makes the HTTP protocol of one connection, without a line in the log.

    The factory of Twisted's pool, and the callback that it keeps, are private.  Seen in Twisted
    24.7 to 26.10.
    """

    noisy = False

    def buildProtocol(self, addr: Any) -> _HTTPProtocol:
        return _HTTPProtocol(self._quiescentCallback)


class ConnectionPool(HTTPConnectionPool):
    """
    The connections of one client to its one server.

    A connection is first leased, then used: between the two nothing can have been sent, and
    the time to connect is told from the time to answer.

    Twisted has no public place to choose the protocol, nor to say that a connection must not
    be used again: ``_factory`` and ``_putConnection`` are private.  Seen in Twisted 24.7 to
    26.10.
    """

    _factory = _HTTPFactory

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

    def lease(self, report: Report) -> Any:
        """
        Return the protocol of a connection that is kept, else a Deferred of that of a new one.

        The age of a kept connection is looked at here, because a timer that gives up old
        connections does not run while the process stands still.

        :param report: Told of the phases of connecting, where no connection is kept.
        """
        while True:
            leased: Deferred[Any] = self.getConnection("", _Opening(self._endpoint, report))
            protocol = cast(Any, leased.result) if leased.called else None
            if not isinstance(protocol, _HTTPProtocol):
                return leased
            connection = cast(PooledConnection, protocol.transport)
            if connection.may_be_used():
                return protocol
            connection.give_up()

    def _putConnection(self, key: Any, connection: Any) -> None:
        transport = connection.transport
        if not connection.is_last_reply() and transport.keep():
            super()._putConnection(key, connection)
        else:
            transport.loseConnection()

    async def close(self) -> None:
        """Close what is idle, and wait until no socket is left."""
        await self.closeCachedConnections()
        await self._endpoint.all_closed()
