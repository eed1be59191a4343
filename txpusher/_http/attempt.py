"""
One request and its reply: connected, signed, sent, timed, read to the end.

Whether to try again is for :mod:`txpusher._http.transport` to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from OpenSSL.SSL import Error as TLSError
from service_identity.exceptions import VerificationError
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import GzipDecoder, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from txpusher._api import ApiRequest
from txpusher._http.links import Sender
from txpusher._http.proxy import TunnelRefusedError
from txpusher._reply import MAX_REPLY_BYTES, ApiReply, UnpackingError, unpack
from txpusher.errors import (
    HTTPError,
    ProxyAuthenticationError,
    PusherError,
    RequestTimeoutError,
)
from txpusher.retry import may_have_been_delivered

#: The largest head of a reply, interim replies included, in bytes.
MAX_HEAD_BYTES = 2**16

#: The most bytes that a connection hands over at once.
_READ_BYTES = 2**16

#: The most bytes on the wire for one of a body: a chunk of one byte has six.
_CHUNK_OVERHEAD = 8

#: Exceptions whose text says what went wrong, and nothing that is secret.
_EXPLAINED = (
    error.ConnectError,
    error.DNSLookupError,
    error.ConnectionDone,
    error.ConnectionLost,
    TunnelRefusedError,
)

_NOT_CONNECTED = "no connection within {:g} seconds"

_log = Logger(namespace="txpusher")

Done = Callable[["ApiReply | PusherError"], None]


class Exchange:
    """
    Sends a request once, and says once what came of it.

    :param done: Called with the reply, or with the error in its place.
    :ivar sent: Whether any of the request may have left.
    """

    __slots__ = (
        "_done",
        "_idempotency_key",
        "_over",
        "_protocol",
        "_reader",
        "_request",
        "_sender",
        "_status",
        "_timer",
        "_work",
        "sent",
    )

    def __init__(
        self, sender: Sender, request: ApiRequest, idempotency_key: str | None, done: Done
    ) -> None:
        self._sender = sender
        self._request = request
        self._idempotency_key = idempotency_key
        self._done = done
        self._over = False
        self._protocol: Any = None
        self._reader: Any = None
        self._status: int | None = None
        self._timer: Any = None
        self._work: Deferred[Any] | None = None
        self.sent = False

    def start(self) -> None:
        """Get a connection, send, read the reply."""
        sender = self._sender
        if sender.pool is None:
            self._send()
            return
        work = self._work = sender.pool.lease()
        work.addCallbacks(self._connected, self._failed)
        if not self.sent and not self._over:
            seconds = sender.config.connect_timeout
            self._timer = sender.reactor.callLater(
                seconds, self._timed_out, _NOT_CONNECTED.format(seconds)
            )

    def abort(self) -> None:
        """Stop; ``done`` is not called any more."""
        if self._over:
            return
        protocol, reader, work = self._protocol, self._reader, self._work
        self._finish()
        if protocol is not None:
            protocol.transport.abortConnection()
            return
        try:
            if reader is not None:
                reader.transport.stopProducing()
            elif work is not None:
                work.cancel()
        except Exception:
            # A client of the user's may do anything.
            _log.failure("the HTTP client could not be stopped")

    def _finish(self) -> None:
        self._over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        # What knows this exchange is let go: a cycle less to collect per request.
        if self._protocol is not None:
            self._protocol.transport.on_excess = None
        self._timer = self._protocol = self._reader = self._work = None

    def _end(self, outcome: ApiReply | PusherError) -> None:
        if not self._over:
            self._finish()
            self._done(outcome)

    def _timed_out(self, what: str) -> None:
        late = RequestTimeoutError(
            f"{self._request.method} {self._request.path}: {what}",
            maybe_delivered=self.maybe_delivered,
            transient=True,
        )
        self.abort()
        self._done(late)

    @property
    def maybe_delivered(self) -> bool:
        """Whether the server may have acted, as far as is known now."""
        return may_have_been_delivered(
            self._request.method, sent=self.sent, status=self._status
        )

    def _connected(self, protocol: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._protocol = protocol
        connection = protocol.transport
        # The head, and what of the body comes along with it.
        connection.allowance = MAX_HEAD_BYTES + _READ_BYTES
        connection.on_excess = self.too_large
        self._send()

    def _send(self) -> None:
        sender = self._sender
        seconds = sender.config.timeout
        self._timer = sender.reactor.callLater(
            seconds, self._timed_out, f"no complete reply within {seconds:g} seconds"
        )
        protocol = self._protocol
        # A client of the user's connects and sends in one.
        self.sent = protocol is None
        try:
            work = sender.send(self._request, self._idempotency_key, protocol)
        except Exception as error:
            # The user's clock, most likely: nothing has been written.
            request = self._request
            self._end(
                HTTPError(
                    f"{request.method} {request.path}: "
                    f"the request could not be signed ({type(error).__name__})",
                    maybe_delivered=False,
                    original_error=error,
                )
            )
            if protocol is not None:
                protocol.transport.abortConnection()
        else:
            self.sent = True
            self._work = work
            work.addCallbacks(self._answered, self._failed)

    def _answered(self, response: IResponse) -> None:
        if self._over:
            return
        if self._protocol is not None:
            # From here on the body is measured as it comes.
            self._protocol.transport.allowance += _CHUNK_OVERHEAD * MAX_REPLY_BYTES
        try:
            self._status = response.code
            as_sent, packed = _undecoded(response)
            self._reader = _BodyReader(self, as_sent, packed)
            as_sent.deliverBody(self._reader)
        except Exception:
            # A client of the user's may answer with anything.
            self._failed(Failure())

    def read(self, response: Any, body: bytes, packed: bool, failure: Failure | None) -> None:
        """The body has ended, well or not."""
        if self._over:
            return
        success = 200 <= response.code < 300
        if failure is not None and success:
            self._failed(failure)
            return
        if success and body == b"{}" and not packed:
            # Most replies are this one, and nothing else of them matters.
            self._end(ApiReply(response.code, body))
            return
        try:
            body = unpack(body) if packed or _says_gzip(response) else body
        except UnpackingError as error:
            if success:
                self._end(self._unusable(str(error)))
                return
            body = b""
        date, retry_after = _header(response, b"Date"), _header(response, b"Retry-After")
        self._end(ApiReply(response.code, body, date, retry_after, self._now()))

    def _now(self) -> float:
        try:
            return float(self._sender.clock())
        except Exception:
            _log.failure("the clock has failed")
            return 0.0

    def _unusable(self, why: str) -> HTTPError:
        return HTTPError(
            f"{self._request.method} {self._request.path}: {why}",
            maybe_delivered=self.maybe_delivered,
        )

    def too_large(self) -> None:
        """More has come in than is taken."""
        if self._over:
            return
        what, limit = ("the reply", MAX_REPLY_BYTES)
        if self._status is None:
            what, limit = ("the head of the reply", MAX_HEAD_BYTES)
        error = self._unusable(f"{what} is larger than {limit} bytes")
        self.abort()
        self._done(error)

    def _failed(self, failure: Failure) -> None:
        if self._over:
            return
        request, reason = self._request, _innermost(failure)
        never_sent = isinstance(reason, (error.ConnectError, error.DNSLookupError))
        if never_sent or _is_refused_certificate(reason):
            # A client of the user's connects and sends in one.
            self.sent = False
        if isinstance(reason, TunnelRefusedError) and reason.status in (401, 407):
            self._end(
                ProxyAuthenticationError(
                    f"{request.method} {request.path}: {reason}",
                    status=reason.status,
                    body=reason.body,
                    path=request.path,
                )
            )
            return
        kind, why = HTTPError, describe(reason)
        if isinstance(reason, error.TimeoutError):
            kind = RequestTimeoutError
            if self._sender.pool is not None:
                why = _NOT_CONNECTED.format(self._sender.config.connect_timeout)
        self._end(
            kind(
                f"{request.method} {request.path}: {why}",
                maybe_delivered=self.maybe_delivered,
                original_error=reason,
                transient=_may_pass(reason),
            )
        )


class _BodyReader(Protocol):
    """
    Collects the body of one reply, up to the limit.

    :param packed: Whether it is in gzip, as far as treq has found out.
    """

    def __init__(self, exchange: Exchange, response: Any, packed: bool) -> None:
        self._exchange = exchange
        self._of = response
        self._packed = packed
        self._chunks: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_REPLY_BYTES:
            self._chunks.append(data)
        else:
            self._chunks.clear()
            self._exchange.too_large()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        complete = isinstance(reason.value, (ResponseDone, PotentialDataLoss))
        body = b"".join(self._chunks)
        self._exchange.read(self._of, body, self._packed, None if complete else reason)


def _undecoded(response: Any) -> tuple[Any, bool]:
    """
    *response* without the decoder that treq puts around one in gzip; whether it had one.

    Twisted keeps to itself what that decoder stumbles over: a body that cannot be
    unpacked would look like an empty one, which is a success.
    """
    for layer in (response, getattr(response, "original", None)):
        if isinstance(layer, GzipDecoder):
            return layer.original, True
    return response, False


def _says_gzip(response: Any) -> bool:
    # treq knows no other spelling than "gzip".
    return (_header(response, b"Content-Encoding") or "").strip().lower() in ("gzip", "x-gzip")


def _header(response: Any, name: bytes) -> str | None:
    values = response.headers.getRawHeaders(name)
    return values[0].decode("latin-1") if values else None


def _innermost(failure: Failure) -> BaseException:
    """Twisted wraps why a request failed in lists of reasons; the first says most."""
    reason = failure.value
    while reasons := getattr(reason, "reasons", None):
        reason = reasons[0].value
    return cast(BaseException, reason)


def _may_pass(reason: BaseException) -> bool:
    """Whether another attempt may fare better: not where a certificate was refused."""
    if isinstance(reason, TunnelRefusedError):
        return reason.status >= 500 or reason.status in (408, 429)
    return not _is_refused_certificate(reason)


def _is_refused_certificate(reason: BaseException) -> bool:
    if isinstance(reason, TLSError):
        return "certificate verify failed" in _tls_texts(reason)
    return isinstance(reason, VerificationError)


def _tls_texts(error: TLSError) -> list[str]:
    queue = error.args[0] if error.args else ()
    return [str(entry[-1]) for entry in queue] if isinstance(queue, list) else []


def describe(reason: BaseException) -> str:
    """Why there is no usable answer, in one line."""
    if isinstance(reason, TLSError):
        texts = ", ".join(_tls_texts(reason))
        return f"TLS failed: {texts or 'the server ended the handshake'}"
    if isinstance(reason, VerificationError):
        return "TLS failed: the certificate is not valid for the host name"
    if isinstance(reason, _EXPLAINED):
        return str(reason) or type(reason).__name__
    # What else there is may quote the request or the reply.
    return f"no usable reply ({type(reason).__name__})"
