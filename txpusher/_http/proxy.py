"""
The tunnel through an HTTP proxy, for TLS; and what a proxy is told of who asks.
"""

from __future__ import annotations

import base64
import re
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txpusher._http.phase import Phase, Report
from txpusher._urls import Proxy

#: The most bytes that a proxy may answer a CONNECT with.
MAX_ANSWER = 65536

_STATUS_LINE = re.compile(rb"HTTP/[0-9]\.[0-9] ([0-9]{3})(?: |\r|$)").match


class TunnelError(Exception):
    """
    The proxy did not answer CONNECT with success.

    :ivar status: The HTTP status, 0 where there was none to be read.
    :ivar body: The start of the reply's body, as text.
    """

    def __init__(self, status: int, problem: str = "", body: str = "") -> None:
        # Not the proxy's own words: they may quote the password.
        super().__init__(f"the proxy refused to connect: {problem or f'status {status}'}")
        self.status = status
        self.body = body


def authorization(proxy: Proxy) -> bytes | None:
    """Return the value of Proxy-Authorization, None where the proxy asks for no user."""
    if not proxy.user:
        return None
    return b"Basic " + base64.b64encode(f"{proxy.user}:{proxy.password}".encode())


@implementer(IStreamClientEndpoint)
class TunnelEndpoint:
    """
    Connects to a host by way of a proxy's CONNECT.

    :param endpoint: Connects to the proxy.
    :param report: Told when TLS can begin.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        host: str,
        port: int,
        proxy: Proxy,
        report: Report,
    ) -> None:
        self._endpoint = endpoint
        self._report = report
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [b"CONNECT %b HTTP/1.1" % target.encode(), b"Host: %b" % target.encode()]
        value = authorization(proxy)
        if value is not None:
            lines.append(b"Proxy-Authorization: " + value)
        self._connect_request = b"\r\n".join([*lines, b"", b""])

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect; the Deferred fires with a protocol whose transport leads to the host.

        It fails with a TunnelError where the proxy refuses.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        tunnel = cast(
            _Tunnel,
            await self._endpoint.connect(
                _TunnelFactory(self._connect_request, factory, self._report)
            ),
        )
        try:
            return await tunnel.established
        except Exception:
            # Until the socket is closed, it counts.
            await tunnel.closed
            raise


class _TunnelFactory(Factory):
    """Makes the tunnel of one connection."""

    noisy = False

    def __init__(
        self, connect_request: bytes, wrapped: IProtocolFactory, report: Report
    ) -> None:
        self._connect_request = connect_request
        self._wrapped = wrapped
        self._report = report

    def buildProtocol(self, addr: Any) -> _Tunnel:
        return _Tunnel(self._connect_request, self._wrapped, self._report)

    def doStart(self) -> None:
        super().doStart()
        self._wrapped.doStart()

    def doStop(self) -> None:
        super().doStop()
        self._wrapped.doStop()


class _Tunnel(Protocol):
    """
    Speaks to the proxy, then hands the transport to the protocol that speaks to the host.

    :ivar established: Fires with that protocol, or fails with the reason why there is none.
    :ivar closed: Fires with None when the socket of a tunnel that failed is closed.
    """

    def __init__(
        self, connect_request: bytes, wrapped: IProtocolFactory, report: Report
    ) -> None:
        self._connect_request = connect_request
        self._report = report
        self._wrapped = wrapped
        self._received = b""
        self._refused: TunnelError | None = None
        self._beyond: IProtocol | None = None
        self.established: Deferred[IProtocol] = Deferred(lambda _: self._abort())
        self.closed: Deferred[None] = Deferred()

    def _abort(self) -> None:
        cast(Any, self.transport).abortConnection()

    def connectionMade(self) -> None:
        cast(Any, self.transport).write(self._connect_request)

    def dataReceived(self, data: bytes) -> None:
        if self._beyond is not None:
            self._beyond.dataReceived(data)
        elif self._refused is None:
            self._received += data
            self._answered()

    def _answered(self) -> None:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            if len(self._received) > MAX_ANSWER:
                self._refuse(0, "an endless reply")
            return
        status_line = _STATUS_LINE(head)
        status = int(status_line[1]) if status_line else 0
        if not status_line:
            self._refuse(0, "a reply that is not HTTP")
        elif not 200 <= status < 300:
            self._refuse(status, "", rest.decode("utf-8", "replace"))
        elif rest:
            self._refuse(0, "data before the handshake")
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        self._report(Phase.TLS_HANDSHAKE)
        beyond = self._wrapped.buildProtocol(cast(Any, self.transport).getPeer())
        if beyond is None:
            self._refuse(0, "no protocol was built")
            return
        beyond.makeConnection(cast(Any, self.transport))
        self._beyond = beyond
        self.established.callback(beyond)

    def _refuse(self, status: int, problem: str, body: str = "") -> None:
        self._refused = TunnelError(status, problem, body)
        self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._beyond is not None:
            self._beyond.connectionLost(reason)
            return
        if not self.established.called:
            lost = ConnectionLost("the proxy closed the connection before it answered")
            self.established.errback(Failure(self._refused or lost))
        self.closed.callback(None)
