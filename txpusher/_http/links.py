"""
Two ways to get a request to the server and its reply back, behind one interface.

:class:`PooledLink` sends over our own connections, :class:`TreqLink` with the treq client that
the user has given.  treq sends on both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers

from txpusher._http.agents import (
    BytesProducer,
    CleanHeaders,
    ConnectionAgent,
    NoCookies,
    RememberingURL,
    SigningAgent,
    SigningError,
)
from txpusher._http.connection import BoundedEndpoint, PooledConnection
from txpusher._http.deadline import PatientClock
from txpusher._http.host import HostEndpoint
from txpusher._http.phase import Phase, Report
from txpusher._http.pool import ConnectionPool
from txpusher._http.proxy import TunnelEndpoint, authorization
from txpusher._http.wire import NextTurn, WireEndpoint
from txpusher._request import ApiRequest, escaped_query, signed_query
from txpusher._version import __version__
from txpusher.config import Config

if TYPE_CHECKING:
    from txpusher._interfaces import AnyHTTPClient

#: The names that the library tells the server.
_NAMES = {
    b"User-Agent": b"txpusher/%b" % __version__.encode("ascii"),
    b"X-Pusher-Library": b"txpusher %b" % __version__.encode("ascii"),
}
_IDEMPOTENCY_KEY = b"X-Idempotency-Key"
_CONTENT_TYPE = {b"Content-Type": b"application/json"}

#: How many URLs a link remembers: events go to two, queries to as many as there are channels.
_REMEMBERED_URLS = 64


class Progress(Protocol):
    """An attempt, as far as the link tells it how far it has come."""

    def connecting(self) -> None:
        """Note that a connection has to be opened first."""

    def report(self, phase: Phase, /) -> None:
        """Note that a phase of connecting has begun."""

    def sending(self, connection: PooledConnection | None, /) -> None:
        """
        Note that the request is about to be sent.

        :param connection: The connection that was leased.  None where an HTTP client of the
            user's connects and sends in one: then any byte may have left from here on.
        """

    @property
    def is_over(self) -> bool:
        """Whether the attempt has ended."""


class Link(Protocol):
    """
    One way to get a request to the server and its reply back.

    :ivar config: The settings of the client.
    :ivar reactor: The reactor, or the clock that stands for one.
    :ivar patient: The same for deadlines.
    :ivar clock: The seconds since the epoch, for the timestamps of signatures.
    """

    config: Config
    reactor: Any
    patient: PatientClock
    clock: Callable[[], float]

    @property
    def open_connections(self) -> int:
        """How many sockets of our own there are."""

    async def send(
        self, request: ApiRequest, idempotency_key: str | None, attempt: Progress
    ) -> Any:
        """
        Sign *request* as of now, send it, and return the response once its head has come.

        Whatever is raised is the attempt's failure; an attempt that is aborted cancels the
        Deferred that is waited for.

        :param attempt: Told when connecting and sending begin.
        """

    def abort(self) -> None:
        """Close every connection at once."""

    async def close(self) -> None:
        """Close what is idle, and return when there is no socket left."""


class PooledLink:
    """Sends over our own connections."""

    def __init__(self, config: Config, reactor: Any, clock: Callable[[], float]) -> None:
        self.config = config
        self.reactor = reactor
        self.patient = PatientClock(reactor)
        self.clock = clock
        self._next_turn = NextTurn(reactor)
        self._proxied = config.proxy is not None and not config.use_tls
        self._base = f"{config.scheme}://{config.netloc}{config.path_prefix}"
        self._urls: dict[str, EncodedURL] = {}
        self._cookies = NoCookies()
        self._get_headers = CleanHeaders({name: [value] for name, value in _NAMES.items()})
        self._post_headers = CleanHeaders(
            {name: [value] for name, value in {**_NAMES, **_CONTENT_TYPE}.items()}
        )
        self._hop = self._hop_lines()
        self._tcp = self._tcp_endpoint()
        self._tls_creator: Any = None
        if config.use_tls:
            policy: Any = config.tls_policy or BrowserLikePolicyForHTTPS()
            self._tls_creator = policy.creatorForNetloc(
                config.host.encode("ascii"), config.port
            )
        self._endpoint = BoundedEndpoint(
            reactor,
            self._way,
            config.max_connections,
            tls=config.use_tls,
            keep_alive_timeout=config.keep_alive_timeout,
        )
        self._pool = ConnectionPool(
            reactor,
            self._endpoint,
            keep_alive_timeout=config.keep_alive_timeout,
        )

    def _hop_lines(self) -> bytes:
        config = self.config
        lines = [b"Host: " + config.netloc.encode("ascii")]
        if self._proxied and config.proxy is not None:
            value = authorization(config.proxy)
            if value is not None:
                lines.append(b"Proxy-Authorization: " + value)
            lines.append(b"Connection: close")
        return b"\r\n".join(lines)

    def _tcp_endpoint(self) -> IStreamClientEndpoint:
        config, proxy = self.config, self.config.proxy
        if config.endpoint is not None:
            return config.endpoint
        return HostEndpoint(
            self.reactor,
            config.host if proxy is None else proxy.host,
            config.port if proxy is None else proxy.port,
            config.connect_timeout,
        )

    def _way(self, report: Report) -> IStreamClientEndpoint:
        """Return the endpoint of one connection: TCP, perhaps a tunnel, perhaps TLS."""
        config = self.config
        after_tcp = Phase.CONNECTING
        if config.use_tls:
            after_tcp = Phase.TLS_HANDSHAKE if config.proxy is None else Phase.PROXY
        is_fresh = config.endpoint is None
        to: IStreamClientEndpoint = WireEndpoint(
            self._tcp, self._next_turn, report, after_tcp, is_fresh=is_fresh
        )
        if not config.use_tls:
            return to
        if config.proxy is not None:
            to = TunnelEndpoint(to, config.host, config.port, config.proxy, report)
        return wrapClientTLS(self._tls_creator, to)

    @property
    def open_connections(self) -> int:
        """See :class:`Link`."""
        return self._endpoint.open

    async def send(
        self, request: ApiRequest, idempotency_key: str | None, attempt: Progress
    ) -> Any:
        """
        Lease a connection and send *request* over it; see :class:`Link`.

        A kept connection that turns out closed before a byte of the request has left is no
        failure: the next connection gets the request at once.
        """
        url = self._url(request)
        headers: Headers = self._get_headers if request.body is None else self._post_headers
        if idempotency_key is not None:
            headers = headers.copy()
            headers.setRawHeaders(_IDEMPOTENCY_KEY, [idempotency_key.encode("ascii")])
        while True:
            protocol: Any = self._pool.take()
            if protocol is None:
                opening = self._pool.open(attempt.report)
                if not opening.called:
                    attempt.connecting()
                protocol = await opening
            connection = protocol.transport
            connection.lease()
            attempt.sending(connection)
            try:
                return await self._client_over(protocol).request(
                    request.method,
                    url,
                    headers=headers,
                    data=cast(Any, request.body),
                    cookies=self._cookies,
                    allow_redirects=False,
                    unbuffered=True,
                    reactor=self.reactor,
                )
            except SigningError:
                connection.abortConnection()
                raise
            except Exception:
                if attempt.is_over or not connection.died_unused:
                    raise

    def _client_over(self, protocol: Any) -> HTTPClient:
        """Make a treq client over one connection, for one request."""
        agent = ConnectionAgent(protocol, self._hop, proxied=self._proxied)
        return HTTPClient(
            SigningAgent(agent, self.config, self.clock),
            cookiejar=cast(Any, self._cookies),
            data_to_body_producer=cast(Any, BytesProducer),
        )

    def _url(self, request: ApiRequest) -> EncodedURL:
        text = f"{self._base}{request.path}"
        if request.params:
            text = f"{text}?{escaped_query(request.params)}"
        url = self._urls.get(text)
        if url is None:
            if len(self._urls) >= _REMEMBERED_URLS:
                self._urls.clear()
            url = self._urls[text] = RememberingURL.from_text(text)
        return url

    def abort(self) -> None:
        """See :class:`Link`."""
        self._endpoint.abort()

    async def close(self) -> None:
        """See :class:`Link`."""
        await self._pool.close()


class TreqLink:
    """
    Sends with the user's treq client, which sees to connections, proxies and TLS itself.

    :param client: Anything that has treq's interface.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        clock: Callable[[], float],
        client: AnyHTTPClient,
    ) -> None:
        self.config = config
        self.reactor = reactor
        self.patient = PatientClock(reactor)
        self.clock = clock
        self._client = client
        self._base = f"{config.scheme}://{config.netloc}{config.path_prefix}"

    @property
    def open_connections(self) -> int:
        """See :class:`Link`."""
        return 0

    async def send(
        self, request: ApiRequest, idempotency_key: str | None, attempt: Progress
    ) -> Any:
        """
        Give the signed request to the client; see :class:`Link`.

        The signature is part of the URL that the client gets: the client's own agent is out
        of reach.
        """
        try:
            query = signed_query(
                self.config,
                request.method,
                request.path,
                request.params,
                request.body,
                int(self.clock()),
            )
        except Exception as error:
            raise SigningError(error) from error
        headers: dict[str | bytes, str | bytes] = {}
        headers.update(_NAMES.items())
        if request.body is not None:
            headers["Content-Type"] = b"application/json"
        if idempotency_key is not None:
            headers["X-Idempotency-Key"] = idempotency_key
        attempt.sending(None)
        # The client need not return a Deferred: a coroutine does as well.
        return await maybeDeferred(
            cast(Any, self._client).request,
            request.method,
            f"{self._base}{request.path}?{query}",
            headers=headers,
            data=request.body,
            allow_redirects=False,
            unbuffered=True,
        )

    def abort(self) -> None:
        """Do nothing: the connections are the client's."""

    async def close(self) -> None:
        """Do nothing: the connections are the client's."""


def make_link(
    config: Config,
    reactor: Any,
    clock: Callable[[], float],
    http_client: AnyHTTPClient | None,
) -> Link:
    """Return the link of a client: over the user's HTTP client where there is one."""
    if http_client is None:
        return PooledLink(config, reactor, clock)
    return TreqLink(config, reactor, clock, http_client)
