# -*- test-case-name: tests.integration.test_server_webhooks -*-
"""
One POST to a URL behind which there may be anything; of the reply the status counts.

Twisted's Agent follows no redirect and keeps no cookie, and there is no more to
it here than that: a connection for each request, and an end to the reply's head.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IConsumer,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

#: The most bytes of the head of a reply, roughly.
MAX_HEAD = 65536


class Poster:
    """
    :param reactor: Connects.
    :param connect_timeout: Seconds until there must be a connection.
    """

    def __init__(self, reactor: Any, connect_timeout: float) -> None:
        self._agent = Agent(reactor, connectTimeout=connect_timeout, pool=_Pool(reactor))

    def post(self, url: str, body: bytes, headers: Mapping[bytes, bytes]) -> Deferred[int]:
        """
        Send it.

        :return: Fires with the status of the reply, once all of it has come; to
            cancel it closes the connection.
        """
        return Deferred.fromCoroutine(self._post(url, body, headers))

    async def _post(self, url: str, body: bytes, headers: Mapping[bytes, bytes]) -> int:
        response: Any = await self._agent.request(
            b"POST",
            url.encode("ascii"),
            Headers({name: [value] for name, value in headers.items()}),
            _Body(body),
        )
        ignored = _Ignored()
        response.deliverBody(ignored)
        await ignored.ended
        return int(response.code)


class _Pool(HTTPConnectionPool):
    """No pool: a connection for each request."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, persistent=False)

    def getConnection(self, key: Any, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        return super().getConnection(key, _Endpoint(endpoint))


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """Connects by way of another endpoint, and wraps what is connected."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: Any) -> IProtocol:
        wrapping: Any = WrappingFactory(factory)
        wrapping.protocol = _Connection
        # Each would be logged as it starts and as it stops.
        factory.noisy = wrapping.noisy = False
        connection: Any = await self._endpoint.connect(wrapping)
        protocol: IProtocol = connection.wrappedProtocol
        return protocol


class _Connection(ProtocolWrapper):
    """Ends where the head of the reply does not: Twisted would take in any size."""

    transport: Any
    _left: float = MAX_HEAD

    def dataReceived(self, data: bytes) -> None:
        # What has come in one piece with the end of the head is no part of it.
        if self._left <= 0:
            self.abortConnection()
            return
        self._left -= len(data)
        super().dataReceived(data)

    def pauseProducing(self) -> None:
        """The head has come: Twisted waits until someone wants the body."""
        self._left = inf
        self.transport.pauseProducing()


@implementer(IBodyProducer)
class _Body:
    """A body that is written in one go."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


class _Ignored(Protocol):
    """
    Takes the body of a reply, in which nothing matters but that it ends.

    :ivar ended: Fires with None when it has; to cancel it closes the connection.
    """

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred(lambda _: self._close())

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended.called:
            self.ended.callback(None)
