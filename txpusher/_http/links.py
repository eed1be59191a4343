"""
How a client's requests are sent: its pool, its agent, its treq client, its headers.

What does not change between requests is worked out once, in :class:`Sender`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.cookiejar import Cookie, CookieJar
from typing import Any, cast

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IConsumer
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IClientRequest, IResponse
from zope.interface import implementer

from txpusher._api import ApiRequest, signed_query
from txpusher._http.host import HostEndpoint
from txpusher._http.pool import BoundedEndpoint, ConnectionPool
from txpusher._http.proxy import TunnelEndpoint, authorization
from txpusher._version import __version__
from txpusher.config import Config

#: What the library calls itself.
_NAMES = {
    b"User-Agent": b"txpusher/%b" % __version__.encode("ascii"),
    b"X-Pusher-Library": b"txpusher %b" % __version__.encode("ascii"),
}
_JSON = b"Content-Type: application/json"


class _WireURL(EncodedURL):
    """
    A URL that is on the wire as it was written: nothing for treq to parse.

    treq asks it for these two things only.  Nothing else of a URL works.
    """

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
        # Older versions of treq make a jar of their own in place of a false one.
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
        self.body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


@implementer(IClientRequest)
class _Request:
    """
    A request whose bytes are known, for ``HTTP11ClientProtocol.request``.

    In place of the one that ``twisted.web.client.Agent`` would build, which
    takes URL, headers and body apart and writes them piece by piece: a third
    of the CPU time of an event.  Twisted does not say what that method needs of
    a request; it has been these four since there is an Agent, and the tests
    run with the oldest and the newest Twisted.
    """

    def __init__(
        self, method: bytes, uri: bytes, headers: Headers, wire: bytes, *, persistent: bool
    ) -> None:
        self.method = method
        self.absoluteURI = uri
        self.headers = headers
        self.persistent = persistent
        self._wire = wire

    def writeTo(self, transport: IConsumer) -> Deferred[None]:
        """Write all of it at once."""
        transport.write(self._wire)
        return succeed(None)

    def stopWriting(self) -> None:
        """Nothing is left to write."""


@implementer(IAgent)
class _Agent:
    """
    What treq sends with: over the connection that was leased, to the one server.

    The URL that treq gets has no query: that is the signature's, different each
    time, and parsed by all that stands between for nothing.

    :param fixed: The header lines that every request has.
    :param proxied: Whether the other end is a plain HTTP proxy, which wants
        the whole URL and, for the sake of those that close unannounced, a new
        connection each time.
    """

    def __init__(self, fixed: list[bytes], *, proxied: bool) -> None:
        self._persistent = not proxied
        if proxied:
            fixed = [*fixed, b"Connection: close"]
        self._get_head = b"%b %b HTTP/1.1\r\n" + b"\r\n".join(fixed)
        self._post_head = self._get_head + b"\r\n" + _JSON
        self._next: tuple[Any, bytes] | None = None

    def prepare(self, protocol: Any, target: bytes) -> None:
        """
        The next request goes over *protocol*, to *target*: path and query, or a URL.

        treq calls :meth:`request` before its own ``request`` returns.
        """
        if self._next is not None:
            raise RuntimeError("treq has not sent the request before")
        self._next = protocol, target

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """See ``IAgent.request``."""
        headers = headers or Headers()
        body = None if bodyProducer is None else cast(_Body, bodyProducer).body
        head = self._get_head if body is None else self._post_head
        protocol, target = cast("tuple[Any, bytes]", self._next)
        self._next = None
        lines = [head % (method, target)]
        for name, values in headers.getAllRawHeaders():
            lines += [b"%b: %b" % (name, value) for value in values]
        if body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        wire = b"%b\r\n\r\n%b" % (b"\r\n".join(lines), body or b"")
        response: Deferred[IResponse] = protocol.request(
            _Request(method, uri, headers, wire, persistent=self._persistent)
        )
        return response


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
        self._proxied = config.proxy is not None and not config.use_tls
        self._url_base = f"{config.scheme}://{config.netloc}{config.path_prefix}"
        self._no_cookies = _NoCookies()
        if http_client is None:
            self.client = self._own_client()
        else:
            self.client = http_client

    def _fixed_lines(self) -> list[bytes]:
        config = self.config
        lines = [b"Host: " + config.netloc.encode("ascii")]
        lines += [b"%b: %b" % pair for pair in _NAMES.items()]
        if config.proxy is not None and not config.use_tls:
            value = authorization(config.proxy)
            if value is not None:
                lines.append(b"Proxy-Authorization: " + value)
        # Formatted with % later on.
        return [line.replace(b"%", b"%%") for line in lines]

    def _own_client(self) -> HTTPClient:
        config = self.config
        proxy = config.proxy
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
        )
        self._agent = _Agent(self._fixed_lines(), proxied=self._proxied)
        return HTTPClient(
            self._agent,
            cookiejar=cast(Any, self._no_cookies),
            data_to_body_producer=lambda body: cast(IBodyProducer, body),
        )

    def send(
        self, request: ApiRequest, idempotency_key: str | None, protocol: Any
    ) -> Deferred[Any]:
        """
        Sign *request* as of now and hand it to treq.

        :param protocol: The leased connection, None with a client of the user's.

        Raises what the user's clock raises, before anything is sent.
        """
        config = self.config
        query = signed_query(config, request, int(self.clock()))
        url = self._url(request.path)
        headers: dict[str | bytes, str | bytes] = {}
        if idempotency_key is not None:
            headers["X-Idempotency-Key"] = idempotency_key
        if protocol is None:
            return self._send_by_users_client(request, f"{url.to_text()}?{query}", headers)
        start = url.to_text() if self._proxied else f"{config.path_prefix}{request.path}"
        self._agent.prepare(protocol, f"{start}?{query}".encode("ascii"))
        body = request.body
        return self.client.request(
            request.method,
            url,
            headers=headers,
            data=None if body is None else cast(Any, _Body(body)),
            cookies=self._no_cookies,
            allow_redirects=False,
            unbuffered=True,
            reactor=self.reactor,
        )

    def _url(self, path: str) -> _WireURL:
        return _WireURL(f"{self._url_base}{path}")

    def _send_by_users_client(
        self, request: ApiRequest, url: str, headers: dict[str | bytes, str | bytes]
    ) -> Deferred[Any]:
        # It may be anything that has treq's interface, and adds a Host itself.
        headers.update(_NAMES.items())
        if request.body is not None:
            headers["Content-Type"] = b"application/json"
        # Nor need it be one that returns a Deferred: a coroutine does as well.
        return maybeDeferred(
            self.client.request,
            request.method,
            url,
            headers=headers,
            data=request.body,
            allow_redirects=False,
            unbuffered=True,
        )
