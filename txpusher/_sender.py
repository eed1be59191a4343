"""
How a client's requests are sent: its pool, its agent, its treq client, its headers.

What does not change between requests is worked out once, in :class:`Sender`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.cookiejar import Cookie, CookieJar
from typing import Any, cast
from urllib.parse import quote

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IConsumer
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, ProxyAgent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

from txpusher._api import ApiRequest
from txpusher._connection import BoundedEndpoint, ConnectionPool, HostEndpoint
from txpusher._proxy import TunnelEndpoint, authorization
from txpusher._signing import signed_params
from txpusher._version import __version__
from txpusher.config import Config


class _WireURL(EncodedURL):
    """A URL that is on the wire as it was written: nothing for treq to parse."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def to_uri(self) -> _WireURL:
        return self

    def to_text(self, with_password: bool = False) -> str:
        return self._text


class _NoCookies(CookieJar):
    """
    A jar that keeps nothing.

    The API has no cookies, and one set by a load balancer must not tie all
    requests of a client to one server.
    """

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Cookie]:
        return iter(())

    def add_cookie_header(self, request: Any) -> None:
        """Add none."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Take none."""


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


@implementer(IAgentEndpointFactory)
class _OneEndpoint:
    """Gives the agent an endpoint that it asks for and does not use: the pool has its own."""

    def __init__(self, endpoint: BoundedEndpoint) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: object) -> BoundedEndpoint:
        return self._endpoint


class Sender:
    """
    How requests of one client are sent.

    :param http_client: A treq client of the user's, used in place of our own
        pool; what it does about connections is then its affair.
    :param clock: Seconds since the epoch, for the timestamp of signatures.
    """

    def __init__(
        self, config: Config, reactor: Any, http_client: Any, clock: Callable[[], float]
    ) -> None:
        self.config = config
        self.reactor = reactor
        self.clock = clock
        self.pool: ConnectionPool | None = None
        self.endpoint: BoundedEndpoint | None = None
        self._url_base = f"{config.scheme}://{config.netloc}{config.path_prefix}"
        self._headers = self._fixed_headers()
        self._no_cookies = _NoCookies()
        if http_client is None:
            self.client = self._own_client()
        else:
            self.client = http_client

    def _fixed_headers(self) -> Headers:
        name = f"txpusher {__version__}"
        headers: dict[bytes, list[bytes]] = {
            b"Host": [self.config.netloc.encode()],
            b"User-Agent": [name.replace(" ", "/").encode()],
            b"X-Pusher-Library": [name.encode()],
            b"Content-Type": [b"application/json"],
        }
        proxy = self.config.proxy
        if proxy is not None and not self.config.use_tls:
            value = authorization(proxy)
            if value is not None:
                headers[b"Proxy-Authorization"] = [value]
        return Headers(headers)

    def _own_client(self) -> HTTPClient:
        config = self.config
        proxy = config.proxy
        plain_proxy = proxy is not None and not config.use_tls
        to: Any = HostEndpoint(
            self.reactor,
            config.host if proxy is None else proxy.host,
            config.port if proxy is None else proxy.port,
            config.connect_timeout,
        )
        if config.use_tls:
            if proxy is not None:
                to = TunnelEndpoint(to, config.host, config.port, proxy)
            policy: Any = config.tls_policy or BrowserLikePolicyForHTTPS()
            creator = policy.creatorForNetloc(config.host.encode("ascii"), config.port)
            to = wrapClientTLS(creator, to)
        self.endpoint = BoundedEndpoint(
            self.reactor, to, config.max_connections, tls=config.use_tls
        )
        self.pool = ConnectionPool(
            self.reactor,
            self.endpoint,
            max_connections=config.max_connections,
            keep_alive_timeout=config.keep_alive_timeout,
            # Some plain proxies close a connection after each reply unannounced.
            persistent=not plain_proxy,
        )
        agent: IAgent
        if plain_proxy:
            agent = ProxyAgent(self.endpoint, self.reactor, self.pool)
        else:
            agent = Agent.usingEndpointFactory(
                self.reactor, _OneEndpoint(self.endpoint), self.pool
            )
        return HTTPClient(
            agent,
            cookiejar=cast(Any, self._no_cookies),
            data_to_body_producer=lambda body: cast(IBodyProducer, body),
        )

    def use(self, protocol: Any) -> None:
        """Send the next request over *protocol*, which the pool has leased."""
        cast(ConnectionPool, self.pool).use(protocol)

    def headers_with(self, name: bytes, value: str) -> Headers:
        """The fixed headers and one more."""
        headers = self._headers.copy()
        headers.addRawHeader(name, value.encode("ascii"))
        return headers

    def send(self, request: ApiRequest, headers: Headers | None) -> Deferred[Any]:
        """Sign *request* as of now and hand it to treq."""
        config = self.config
        params = signed_params(
            config.key,
            config.secret,
            request.method,
            request.path,
            request.params,
            request.body,
            int(self.clock()),
        )
        query = "&".join([f"{name}={quote(value, '')}" for name, value in params.items()])
        url = f"{self._url_base}{request.path}?{query}"
        if headers is None:
            headers = self._headers
        body = request.body
        if self.pool is None:
            # A client of the user's may be anything that has treq's interface.
            sent: Deferred[Any] = self.client.request(
                request.method,
                url,
                headers=headers.copy(),
                data=body,
                allow_redirects=False,
                unbuffered=True,
            )
            return sent
        return self.client.request(
            request.method,
            _WireURL(url),
            headers=headers,
            data=None if body is None else cast(Any, _Body(body)),
            cookies=self._no_cookies,
            allow_redirects=False,
            unbuffered=True,
            reactor=self.reactor,
        )
