"""
The connections of one client: kept between requests, given up when they are old.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web.client import HTTPConnectionPool, _HTTP11ClientFactory
from zope.interface import implementer

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

    A reply that comes in one piece and is plain (:mod:`txpusher._http.replies`) goes past
    Twisted's parser, which takes a fifth of the instructions of a trigger.  Any other reply is
    the parser's.

    Twisted has no public place for that, and knows no announcement of a connection's end but a
    lone, lower-case ``close``: the attributes with a ``_`` here are private.  Seen in Twisted
    24.7 to 26.10.
    """

    #: Whether nothing of the reply has come yet.
    _is_expecting = False

    def request(self, request: Any) -> Deferred[Any]:
        """Send a request, and expect the beginning of its reply."""
        self._is_expecting = True
        return super().request(request)

    def dataReceived(self, data: bytes) -> None:
        """Take a part of a reply, or all of it."""
        if self._is_expecting:
            self._is_expecting = False
            request: Any = self._currentRequest
            if self._state == "WAITING" and request.persistent and request.method != b"HEAD":
                plain = read_plain(data)
                if plain is not None:
                    self._end_with(WholeReply(*plain, request, self.transport))
                    return
        super().dataReceived(data)

    def _end_with(self, reply: WholeReply) -> None:
        """
        Give the connection back, then the reply to whoever waits for it.

        In place of the parser, which is told nothing any more, and of ``_finishResponse``.
        """
        answered = cast("Deferred[Any]", self._responseDeferred)
        proxy: Any = self._transportProxy
        self._state = "QUIESCENT"
        self._parser = self._transportProxy = None
        self._currentRequest = self._finishedRequest = self._responseDeferred = None
        proxy.stopProxying()
        self._quiescentCallback(self)
        answered.callback(reply)

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
