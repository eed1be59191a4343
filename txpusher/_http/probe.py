# -*- test-case-name: tests.integration.test_cli_doctor -*-
"""
The way to a server, step by step, for whoever wants to know where it ends.

Each step makes a connection of its own and goes one further than the step before: the name,
TCP, the proxy's tunnel, TLS, a reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IHandshakeListener, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import BrowserLikePolicyForHTTPS
from zope.interface import implementer

from txpusher._http.failures import innermost, meaning_of
from txpusher._http.host import HostEndpoint, HostResolver
from txpusher._http.proxy import TunnelEndpoint, TunnelError, authorization
from txpusher._version import __version__
from txpusher.config import Config
from txpusher.errors import HTTPError, ProxyAuthenticationError, PusherError

#: The most bytes of the head of a reply.
_MOST = 65536
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: |\r|$)").match


@attrs.frozen
class Answer:
    """
    The head of a reply.

    :ivar status: Its HTTP status.
    :ivar date: When the server says that it is, in seconds since the epoch; None where it
        does not say so.
    """

    status: int
    date: float | None


@implementer(IHandshakeListener)
class _Probing(Protocol):
    """
    One connection that is made to see whether it can be.

    :param request: What to send, empty for nothing.
    :ivar secured: Fires with None when TLS has shaken hands.
    :ivar answered: Fires with the head of the reply.
    """

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self.secured: Deferred[None] = Deferred(lambda _: self.abort())
        self.answered: Deferred[bytes] = Deferred(lambda _: self.abort())
        self.lost: Deferred[None] = Deferred()

    def abort(self) -> None:
        """End the connection at once."""
        cast(Any, self.transport).abortConnection()

    def connectionMade(self) -> None:
        if self._request:
            cast(Any, self.transport).write(self._request)

    def handshakeCompleted(self) -> None:
        """See ``IHandshakeListener``."""
        self._settle(self.secured, None)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if b"\r\n\r\n" in self._received or len(self._received) > _MOST:
            self._settle(self.answered, self._received)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._settle(self.secured, reason)
        self._settle(self.answered, reason)
        self.lost.callback(None)

    def _settle(self, waiting: Deferred[Any], result: object) -> None:
        if not waiting.called:
            # Most often nobody waits for both of them.
            waiting.addErrback(_kept)
            waiting.callback(result)


def _kept(failure: Failure) -> Failure:
    """Return *failure*; what nobody waits for is not to be logged."""
    failure.cleanFailure()
    return failure


class Probe:
    """
    The way to a server.

    Every method raises an HTTPError that says what is in the way, within ``connect_timeout``.
    Cancelled, it raises what Twisted does.

    :param config: Names the server, the proxy and TLS.
    """

    def __init__(self, config: Config, reactor: Any) -> None:
        self._config = config
        self._reactor = reactor
        proxy = config.proxy
        self.host = config.host if proxy is None else proxy.host
        self.port = config.port if proxy is None else proxy.port

    async def look_up(self) -> list[str]:
        """Return the addresses of the host to connect to: the proxy's where there is one."""
        resolver = HostResolver(self._reactor, self.host, self.port)
        resolving = Deferred.fromCoroutine(resolver.resolve())
        found = await self._in_time(resolving, f"no address for {self.host}")
        return [address.host for address in found]

    async def connect(self) -> None:
        """Connect over TCP."""
        await self._probe(self._tcp())

    async def tunnel(self) -> None:
        """Have the proxy connect to the server."""
        await self._probe(self._tunnel())

    async def shake_hands(self) -> None:
        """Shake hands over TLS, and verify the certificate."""
        await self._probe(self._whole(), lambda probing: probing.secured)

    async def ask(self) -> Answer:
        """Send a request without a signature, and return the head of the reply."""
        head = await self._probe(
            self._whole(), lambda probing: probing.answered, self._request()
        )
        found = _STATUS_LINE(head)
        if not found:
            raise HTTPError("the reply is not HTTP")
        dates = re.findall(rb"\r\nDate:[ \t]*([^\r]+)", head, re.IGNORECASE)
        try:
            date = parsedate_to_datetime(dates[0].decode("latin-1")).timestamp()
        except (IndexError, ValueError, TypeError):
            date = None
        return Answer(int(found[1]), date)

    def _tcp(self) -> IStreamClientEndpoint:
        config = self._config
        return config.endpoint or HostEndpoint(
            self._reactor, self.host, self.port, config.connect_timeout
        )

    def _tunnel(self) -> IStreamClientEndpoint:
        config = self._config
        if config.proxy is None:
            return self._tcp()
        return TunnelEndpoint(
            self._tcp(), config.host, config.port, config.proxy, lambda phase: None
        )

    def _whole(self) -> IStreamClientEndpoint:
        config = self._config
        if not config.use_tls:
            return self._tcp()
        policy: Any = config.tls_policy or BrowserLikePolicyForHTTPS()
        creator = policy.creatorForNetloc(config.host.encode("ascii"), config.port)
        return wrapClientTLS(creator, self._tunnel())

    def _request(self) -> bytes:
        config = self._config
        path = f"{config.path_prefix}{config.app_path}"
        lines = [f"Host: {config.netloc}", f"User-Agent: txpusher/{__version__}"]
        if config.proxy is not None and not config.use_tls:
            path = f"http://{config.netloc}{path}"
            value = authorization(config.proxy)
            if value is not None:
                lines.append(f"Proxy-Authorization: {value.decode('ascii')}")
        lines = [f"GET {path} HTTP/1.1", *lines, "Connection: close", "", ""]
        return "\r\n".join(lines).encode("ascii")

    async def _probe(
        self,
        endpoint: IStreamClientEndpoint,
        until: Callable[[_Probing], Deferred[Any]] | None = None,
        request: bytes = b"",
    ) -> Any:
        factory = Factory.forProtocol(lambda: _Probing(request))
        factory.noisy = False
        connecting = cast("Deferred[_Probing]", endpoint.connect(factory))
        probing = await self._in_time(connecting, "no connection")
        try:
            if until is not None:
                return await self._in_time(until(probing), "no answer")
            return None
        finally:
            probing.abort()
            await probing.lost

    async def _in_time(self, waiting: Deferred[Any], what: str) -> Any:
        timeout = self._config.connect_timeout

        def late(result: object, seconds: float) -> None:
            raise HTTPError(f"{what} within {seconds:g} seconds")

        try:
            return await waiting.addTimeout(timeout, self._reactor, late)
        except (PusherError, CancelledError, ConnectingCancelledError):
            raise
        except Exception as error:
            raise _error_of(error) from error


def _error_of(reason: BaseException) -> PusherError:
    reason = innermost(reason)
    text = meaning_of(reason).text(reason)
    if isinstance(reason, TunnelError) and reason.status in (401, 407):
        return ProxyAuthenticationError(text, status=reason.status)
    return HTTPError(text, original_error=reason)
