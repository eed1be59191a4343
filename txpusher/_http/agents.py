"""
The agents that treq sends with, and the values that treq gets.

treq's ``HTTPClient`` asks an agent, as its own ``auth=`` does: the outer agent here signs, the
inner agent stands for the one connection that was leased.  But for the signature, the URL, the
headers and the body that treq gets are what goes out.

What rests on private parts of Twisted and treq: :class:`WireRequest` and :func:`undecoded`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from http.cookiejar import Cookie, CookieJar
from typing import Any, cast
from urllib.parse import parse_qsl

from hyperlink import EncodedURL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.web.client import GzipDecoder
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IClientRequest, IResponse
from zope.interface import implementer

from txpusher._request import signed_query
from txpusher.config import Config


class RememberingURL(EncodedURL):
    """
    A URL that remembers its wire form: converting costs a fifth of the CPU time of an event.

    treq converts the URL of each request to a URI and that to text; most requests of a client
    go to one URL, and a URL never changes.
    """

    __slots__ = ("_text", "_uri")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._text: str | None = None
        self._uri: EncodedURL | None = None

    def to_uri(self) -> EncodedURL:
        """
        Return the URL with what is not ASCII escaped: itself, where there is nothing to escape.

        hyperlink's own conversion also fails on every IPv6 address.
        """
        if self._uri is None:
            self._uri = self if self.to_text().isascii() else super().to_uri()
        return self._uri

    def to_text(self, with_password: bool = False) -> str:
        """Return the URL as text."""
        if with_password:
            return super().to_text(with_password=True)
        if self._text is None:
            self._text = super().to_text()
        return self._text


class CleanHeaders(Headers):
    """
    Headers that are copied as they are: no copy looks at each value again.

    treq copies the headers of each request, and a client sends the same headers each time.
    The dictionary inside is a private part of Twisted.  Seen in Twisted 24.7 to 26.10.
    """

    def copy(self) -> Headers:
        """Return headers of their own, with the same values."""
        copied = CleanHeaders()
        copied._rawHeaders.update(
            {name: list(values) for name, values in self._rawHeaders.items()}
        )
        return copied


class NoCookies(CookieJar):
    """
    A cookie jar that keeps nothing.

    The API has no cookies, and one set by a load balancer must not tie all requests of a
    client to one server.
    """

    def __bool__(self) -> bool:
        """Return True: older versions of treq replace a jar that is false."""
        return True

    def __iter__(self) -> Iterator[Cookie]:
        """Iterate over no cookies."""
        return iter(())

    def add_cookie_header(self, request: Any) -> None:
        """Add no header."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep no cookie."""


@implementer(IBodyProducer)
class BytesProducer:
    """
    A body whose bytes are all there.

    treq's own producer of bytes reads them like a file, piece by piece, in turns of the
    reactor.

    :ivar body: The bytes.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write the body at once."""
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Do nothing: nothing is left to resume."""

    def stopProducing(self) -> None:
        """Do nothing: nothing is left to stop."""


class SigningError(Exception):
    """
    A request could not be signed, most likely because the user's clock raised.

    :ivar original: The exception of the clock.
    """

    def __init__(self, original: Exception) -> None:
        super().__init__(f"the request could not be signed ({type(original).__name__})")
        self.original = original


@implementer(IAgent)
class SigningAgent:
    """
    Wraps an agent: signs each request at the moment of sending.

    :param agent: The agent that sends.
    :param clock: The seconds since the epoch, for the timestamp of the signature.
    """

    def __init__(self, agent: IAgent, config: Config, clock: Callable[[], float]) -> None:
        self._agent = agent
        self._config = config
        self._clock = clock

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        Send a request with the signature at the end of its query.

        :param bodyProducer: A :class:`BytesProducer`: the signature covers the body.
        :raises SigningError: The clock raised; nothing has been sent.
        """
        config, producer = self._config, cast("BytesProducer | None", bodyProducer)
        address, _, query = uri.partition(b"?")
        path = _path_below(address, config.path_prefix)
        params = dict(parse_qsl(query.decode("ascii"), keep_blank_values=True)) if query else {}
        body = None if producer is None else producer.body
        try:
            time = int(self._clock())
            signed = signed_query(config, method.decode("ascii"), path, params, body, time)
        except Exception as error:
            raise SigningError(error) from error
        uri = b"%b?%b" % (address, signed.encode("ascii"))
        return self._agent.request(method, uri, headers, bodyProducer)


@lru_cache(maxsize=64)
def _path_below(address: bytes, prefix: str) -> str:
    """Return the path of an absolute URI without a prefix; most requests have one path."""
    return _target(address).decode("ascii")[len(prefix) :]


def _target(uri: bytes) -> bytes:
    """Return path and query of an absolute URI."""
    return b"/" + uri.split(b"/", 3)[3]


@implementer(IAgent)
class ConnectionAgent:
    """
    Stands for one connection that was leased: sends its request over it.

    :param protocol: The HTTP protocol of the connection.
    :param hop: The header lines of this one hop, as every agent adds some: Host, and what a
        proxy wants.
    :param proxied: Whether the other end is a plain HTTP proxy: the proxy wants the whole URL,
        and the connection is not used again, because some proxies close it without a word.
    """

    def __init__(self, protocol: Any, hop: bytes, *, proxied: bool) -> None:
        self._protocol = protocol
        self._hop = hop
        self._proxied = proxied

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        Send a request; see ``IAgent.request``.

        :param bodyProducer: A :class:`BytesProducer`: head and body go out together.
        """
        headers = headers or Headers()
        target = uri if self._proxied else _target(uri)
        head = [method, b" ", target, b" HTTP/1.1\r\n", self._hop]
        for name, values in headers.getAllRawHeaders():
            for value in values:
                head += (b"\r\n", name, b": ", value)
        # A method that has a body says that there is none, too: some servers ask for that.
        if bodyProducer is not None or method in (b"POST", b"PUT", b"PATCH"):
            body = b"" if bodyProducer is None else cast(BytesProducer, bodyProducer).body
            head += (b"\r\nContent-Length: ", b"%d\r\n\r\n" % len(body), body)
        else:
            head.append(b"\r\n\r\n")
        request = WireRequest(method, uri, headers, b"".join(head), not self._proxied)
        response: Deferred[IResponse] = self._protocol.request(request)
        return response


@implementer(IClientRequest)
class WireRequest:
    """
    A request whose bytes are known, for ``HTTP11ClientProtocol.request``.

    In place of the request that ``twisted.web.client.Agent`` would build, which takes URL,
    headers and body apart and writes them piece by piece: a third of the CPU time of an event.

    Twisted does not say what that method needs of a request: these four attributes and two
    methods, from Twisted 24.7 to 26.10.
    """

    def __init__(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers,
        data: bytes,
        persistent: bool,
    ) -> None:
        self.method = method
        self.absoluteURI = uri
        self.headers = headers
        self.persistent = persistent
        self._data = data

    def write_once(self, transport: IConsumer) -> None:
        """Write the request, unless that was done before."""
        data, self._data = self._data, b""
        if data:
            transport.write(data)

    def writeTo(self, transport: IConsumer) -> Deferred[None]:
        """Write the request, unless that was done before; the Deferred has fired."""
        self.write_once(transport)
        return succeed(None)

    def stopWriting(self) -> None:
        """Do nothing: nothing is left to stop."""


def undecoded(response: Any) -> tuple[Any, bool]:
    """
    Return *response* without treq's gzip decoder around it, and whether there was one.

    Twisted keeps to itself what that decoder stumbles over: a body that cannot be unpacked
    would look like an empty one, which is a success.

    The layers are private parts of treq and Twisted: treq's response has the decoder as its
    ``original``, and the decoder has Twisted's response so.  Seen in treq 24.9 to 26.7.
    """
    for layer in (response, getattr(response, "original", None)):
        if isinstance(layer, GzipDecoder):
            return layer.original, True
    return response, False
