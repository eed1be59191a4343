"""
One request and its reply: sent once, timed, read to the end.

Whether to try again is for :mod:`txpusher._http.transport` to say; how a request gets to the
server is for :mod:`txpusher._http.links`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import Enum, auto
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as TwistedTimeoutError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from txpusher._http.agents import undecoded
from txpusher._http.connection import MAX_HEAD_BYTES, PooledConnection
from txpusher._http.deadline import Deadline
from txpusher._http.failures import error_for
from txpusher._http.links import Link
from txpusher._http.phase import Phase
from txpusher._http.replies import whole_body
from txpusher._reply import ApiReply, UnpackingError, too_large, unpack
from txpusher._request import ApiRequest
from txpusher.errors import HTTPError, PusherError, RequestTimeoutError
from txpusher.retry import may_have_been_delivered

#: The most bytes on the wire for one byte of a body: a chunk of one byte has six.
_CHUNK_OVERHEAD = 8

_log = Logger(namespace="txpusher")

Ended = Callable[["ApiReply | PusherError"], None]


class AttemptState(Enum):
    """The state of one attempt."""

    #: There is no connection yet: nothing of the request can have left.
    CONNECTING = auto()
    #: The link has a connection, and writes the request or waits for the reply.
    SENDING = auto()
    #: The status of the reply has come; the body is being read.
    READING = auto()
    #: The attempt has ended.
    OVER = auto()


class OngoingAttempt:
    """
    Sends a request once, and says once how that ended.

    :param limit: The most seconds for the whole attempt, None for no bound beside
        ``connect_timeout`` and ``timeout``.
    :param ended: Called with the reply or the error, unless :meth:`abort` is called before.
    :ivar phase: The phase in which a timeout would come now.
    """

    __slots__ = (
        "_awaited",
        "_connection",
        "_coroutine",
        "_deadline",
        "_ended",
        "_link",
        "_may_be_sent",
        "_overall",
        "_request",
        "_state",
        "_status",
        "phase",
    )

    def __init__(
        self, link: Link, request: ApiRequest, limit: float | None, ended: Ended
    ) -> None:
        self._link = link
        self._request = request
        self._ended = ended
        self._state = AttemptState.CONNECTING
        self._connection: PooledConnection | None = None
        self._may_be_sent = False
        self._status: int | None = None
        self._deadline: Deadline | None = None
        self._overall: Deadline | None = None
        self.phase = Phase.LOOKING_UP
        if limit is not None:
            self._overall = Deadline(link.patient, limit, self._out_of_time)
        self._awaited: Deferred[Any] | None = None
        self._coroutine: Coroutine[Deferred[Any], Any, None]

    def start(self, idempotency_key: str | None) -> None:
        """Begin; ``ended`` may be called before this returns."""
        self._coroutine = self._run(idempotency_key)
        self._resume(None)

    def _resume(self, result: object) -> None:
        """
        Run until the next Deferred has to be waited for.

        ``Deferred.fromCoroutine`` would do the same, with a context and a Deferred that nobody
        needs here: 2 % more instructions for each event.
        """
        try:
            if isinstance(result, Failure):
                awaited = result.throwExceptionIntoGenerator(cast(Any, self._coroutine))
            else:
                awaited = self._coroutine.send(None)
        except StopIteration:
            return
        if self._state is AttemptState.OVER:
            # What the link has called has aborted the attempt.
            self._cancel(awaited)
            awaited.addErrback(lambda failure: None)
            return
        self._awaited = awaited
        awaited.addBoth(self._resume)

    async def _run(self, idempotency_key: str | None) -> None:
        """Send the request, read the reply, and say how it ended."""
        request = self._request
        try:
            response = await self._link.send(request, idempotency_key, self)
            if self._state is AttemptState.OVER:
                return
            status: int = response.code
            if 200 <= status < 300 and not self.has_sent:
                # It is about something else, and the request must not go out any more.
                early = self._unusable("a reply came before the request had left")
                early.transient = True
                self._stop_with(early)
                return
            self._answered(status)
            limit = self._link.config.max_reply_bytes
            body, is_packed = whole_body(response, limit), False
            if body is None:
                reader = _BodyReader(response, limit, self._too_much)
                problem = await reader.read()
                if problem is not None and 200 <= status < 300:
                    raise problem
                body, is_packed = reader.body, reader.is_packed
            outcome: ApiReply | PusherError = self._reply(response, status, body, is_packed)
        except PusherError as error:
            outcome = error
        except Exception as error:
            if self._state is AttemptState.OVER:
                return
            outcome = error_for(
                error,
                request.method,
                request.path,
                sent=self.has_sent,
                status=self._status,
                timed_out=self.phase.timed_out(self._link.config.connect_timeout),
                hint="" if self._connection is None else self._connection.hint,
            )
        self._end(outcome)

    # What the link tells

    def connecting(self) -> None:
        """Note that a connection has to be opened first: ``connect_timeout`` begins."""
        self._state = AttemptState.CONNECTING
        self._connection = None
        self._time(self._link.config.connect_timeout)

    def report(self, phase: Phase) -> None:
        """Note that a phase of connecting has begun."""
        self.phase = phase

    def sending(self, connection: PooledConnection | None) -> None:
        """
        Note that the request is about to be sent: ``timeout`` begins.

        :param connection: The connection that was leased.  None where an HTTP client of the
            user's connects and sends in one: then any byte may have left from here on.
        """
        self._state = AttemptState.SENDING
        self._connection = connection
        self._may_be_sent = connection is None
        if connection is not None:
            connection.on_too_much = self._too_much
        self.phase = Phase.REPLY
        self._time(self._link.config.timeout)

    @property
    def is_over(self) -> bool:
        """Whether the attempt has ended."""
        return self._state is AttemptState.OVER

    # What the operation asks

    @property
    def has_sent(self) -> bool:
        """Whether a byte of the request may have left."""
        return self._may_be_sent or (self._connection is not None and self._connection.has_sent)

    @property
    def maybe_delivered(self) -> bool:
        """Whether the server may have acted, as far as is known now."""
        return may_have_been_delivered(
            self._request.method, sent=self.has_sent, status=self._status
        )

    def abort(self) -> None:
        """Stop; ``ended`` is not called any more."""
        if self._state is AttemptState.OVER:
            return
        connection, awaited = self._connection, self._awaited
        self._finish()
        if connection is not None:
            connection.abortConnection()
        if awaited is not None:
            self._cancel(awaited)

    @staticmethod
    def _cancel(awaited: Deferred[Any]) -> None:
        try:
            awaited.cancel()
        except Exception:
            # A client of the user's may do anything.
            _log.failure("the HTTP client could not be stopped")

    def _time(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = Deadline(self._link.patient, seconds, self._timed_out)

    def _timed_out(self) -> None:
        config = self._link.config
        is_reply = self.phase is Phase.REPLY
        seconds = config.timeout if is_reply else config.connect_timeout
        self._fail_for_time(self.phase.timed_out(seconds), transient=True)

    def _out_of_time(self) -> None:
        seconds = self._link.config.retry.max_duration or 0.0
        self._fail_for_time(
            f"{self.phase.timed_out(seconds)}, which is max_duration", transient=False
        )

    def _fail_for_time(self, text: str, *, transient: bool) -> None:
        self._stop_with(
            RequestTimeoutError(
                f"{self._request.method} {self._request.path}: {text}",
                maybe_delivered=self.maybe_delivered,
                original_error=None
                if self.phase is Phase.REPLY
                else TwistedTimeoutError(string=text),
                transient=transient,
            )
        )

    def _too_much(self) -> None:
        """More bytes have come in than are taken."""
        if self._status is None:
            why = f"the head of the reply is larger than {MAX_HEAD_BYTES} bytes"
        else:
            why = too_large(self._link.config.max_reply_bytes)
        self._stop_with(self._unusable(why))

    def _stop_with(self, error: PusherError) -> None:
        if self._state is not AttemptState.OVER:
            ended = self._ended
            self.abort()
            ended(error)

    def _finish(self) -> None:
        self._state = AttemptState.OVER
        if self._deadline is not None:
            self._deadline.cancel()
        if self._overall is not None:
            self._overall.cancel()
        # What knows this attempt is let go: a cycle less to collect per request.
        if self._connection is not None:
            self._connection.on_too_much = None
        self._deadline = self._overall = self._awaited = None

    def _end(self, outcome: ApiReply | PusherError) -> None:
        if self._state is not AttemptState.OVER:
            self._finish()
            self._ended(outcome)

    # The reply

    def _answered(self, status: int) -> None:
        self._state = AttemptState.READING
        self._status = status
        if self._connection is not None:
            # From here on the body is measured as it comes.
            self._connection.byte_limit += _CHUNK_OVERHEAD * self._link.config.max_reply_bytes

    def _reply(self, response: Any, status: int, body: bytes, is_packed: bool) -> ApiReply:
        success = 200 <= status < 300
        if success and body == b"{}" and not is_packed:
            # Most replies are this one, and nothing else of them matters.
            return ApiReply(status, body)
        try:
            if is_packed or _says_gzip(response):
                body = unpack(body, self._link.config.max_reply_bytes)
        except UnpackingError as error:
            if success:
                raise self._unusable(str(error)) from None
            body = b""
        return ApiReply(
            status,
            body,
            _header(response, b"Date"),
            _header(response, b"Retry-After"),
            self._now(),
            _header(response, b"Location"),
        )

    def _unusable(self, why: str) -> HTTPError:
        return HTTPError(
            f"{self._request.method} {self._request.path}: {why}",
            maybe_delivered=self.maybe_delivered,
        )

    def _now(self) -> float:
        try:
            return float(self._link.clock())
        except Exception:
            _log.failure("the clock has failed")
            return 0.0


class _BodyReader(Protocol):
    """
    Collects the body of one reply, up to a limit.

    :param too_much: Called when the body is larger than *limit* bytes.
    :ivar is_packed: Whether the body is in gzip, as far as treq has found out.
    """

    def __init__(self, response: Any, limit: int, too_much: Callable[[], None]) -> None:
        self._limit = limit
        self._too_much = too_much
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended: Deferred[BaseException | None] = Deferred(self._stop)
        self._response, self.is_packed = undecoded(response)

    def read(self) -> Deferred[BaseException | None]:
        """Return a Deferred that fires with None at the end, or with why it is not whole."""
        self._response.deliverBody(self)
        return self._ended

    @property
    def body(self) -> bytes:
        """The bytes of the body that have come so far."""
        return b"".join(self._chunks)

    def _stop(self, ended: object) -> None:
        # The attempt has aborted a connection of our own; a user's client has its own way.
        if self.transport is not None:
            cast(Any, self.transport).stopProducing()

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._limit:
            self._chunks.append(data)
        else:
            self._chunks.clear()
            self._too_much()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._ended.called:
            complete = isinstance(reason.value, (ResponseDone, PotentialDataLoss))
            self._ended.callback(None if complete else reason.value)


def _says_gzip(response: Any) -> bool:
    # treq knows no other spelling than "gzip".
    return (_header(response, b"Content-Encoding") or "").strip().lower() in ("gzip", "x-gzip")


def _header(response: Any, name: bytes) -> str | None:
    values = response.headers.getRawHeaders(name)
    return values[0].decode("latin-1") if values else None
