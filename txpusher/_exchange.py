"""
One request and its reply: connected, signed, sent, timed, read to the end.

Whether to try again is for :mod:`txpusher._transport` to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from OpenSSL.SSL import Error as TLSError
from service_identity.exceptions import VerificationError
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from txpusher._api import ApiRequest
from txpusher._proxy import TunnelRefusedError
from txpusher._reply import ApiReply
from txpusher._sender import Sender
from txpusher.errors import (
    HTTPError,
    ProxyAuthenticationError,
    PusherError,
    RequestTimeoutError,
)
from txpusher.retry import may_have_been_delivered

#: The largest reply that is read, in bytes.
MAX_REPLY_BYTES = 2**20

#: The largest head of a reply, interim replies included, in bytes.
MAX_HEAD_BYTES = 2**16

#: Exceptions whose text says what went wrong, and nothing that is secret.
_EXPLAINED = (
    error.ConnectError,
    error.DNSLookupError,
    error.ConnectionDone,
    error.ConnectionLost,
    TunnelRefusedError,
)

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
                seconds, self._timed_out, f"no connection within {seconds:g} seconds"
            )

    def abort(self) -> None:
        """Stop; ``done`` is not called any more."""
        if self._over:
            return
        protocol, reader, work = self._protocol, self._reader, self._work
        self._finish()
        if protocol is not None:
            protocol.transport.abortConnection()
        elif reader is not None:
            reader.transport.stopProducing()
        elif work is not None:
            work.cancel()

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
            maybe_delivered=self._maybe_delivered(),
            transient=True,
        )
        self.abort()
        self._done(late)

    def _maybe_delivered(self) -> bool:
        return may_have_been_delivered(
            self._request.method, sent=self.sent, status=self._status
        )

    def _connected(self, protocol: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._protocol = protocol
        connection = protocol.transport
        # Chunks have sizes of their own; the body alone is measured later.
        connection.allowance = 2 * MAX_REPLY_BYTES + MAX_HEAD_BYTES
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
        except Exception:
            # The user's clock, most likely: nothing has been written.
            self._failed(Failure())
            if protocol is not None:
                protocol.transport.abortConnection()
        else:
            self.sent = True
            self._work = work
            work.addCallbacks(self._answered, self._failed)

    def _answered(self, response: IResponse) -> None:
        if self._over:
            return
        self._status = response.code
        self._reader = _BodyReader(self, response)
        response.deliverBody(self._reader)

    def read(self, response: Any, body: bytes, failure: Failure | None) -> None:
        """The body has ended, well or not."""
        if failure is not None and 200 <= response.code < 300:
            self._failed(failure)
            return
        self._end(
            ApiReply(response.code, body)
            if response.code < 300
            else ApiReply(
                response.code,
                body,
                _header(response, b"Date"),
                _header(response, b"Retry-After"),
                self._sender.clock(),
            )
        )

    def too_large(self) -> None:
        """The body is over the limit."""
        if self._over:
            return
        large = HTTPError(
            f"{self._request.method} {self._request.path}: "
            f"the reply is larger than {MAX_REPLY_BYTES} bytes",
            maybe_delivered=self._maybe_delivered(),
        )
        self.abort()
        self._done(large)

    def _failed(self, failure: Failure) -> None:
        if self._over:
            return
        reason = _innermost(failure)
        if isinstance(reason, (error.ConnectError, error.DNSLookupError)):
            # A client of the user's connects and sends in one.
            self.sent = False
        request = self._request
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
        kind = RequestTimeoutError if isinstance(reason, error.TimeoutError) else HTTPError
        self._end(
            kind(
                f"{request.method} {request.path}: {describe(reason)}",
                maybe_delivered=self._maybe_delivered(),
                original_error=reason,
                transient=_may_pass(reason),
            )
        )


class _BodyReader(Protocol):
    """Collects the body of one reply, up to the limit."""

    def __init__(self, exchange: Exchange, response: Any) -> None:
        self._exchange = exchange
        self._of = response
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
        self._exchange.read(self._of, b"".join(self._chunks), None if complete else reason)


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
        return reason.status >= 500
    return not isinstance(reason, (TLSError, VerificationError))


def describe(reason: BaseException) -> str:
    """Why there is no usable answer, in one line."""
    if isinstance(reason, TLSError):
        queue = reason.args[0] if reason.args else ()
        texts = [str(entry[-1]) for entry in queue] if isinstance(queue, list) else []
        return f"TLS failed: {', '.join(texts) or 'the server ended the handshake'}"
    if isinstance(reason, VerificationError):
        return "TLS failed: the certificate is not valid for the host name"
    if isinstance(reason, _EXPLAINED):
        return str(reason) or type(reason).__name__
    # What else there is may quote the request or the reply.
    return f"no usable reply ({type(reason).__name__})"
