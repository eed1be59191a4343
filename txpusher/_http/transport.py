"""
From a request to its value: the queue, the limits, the retries, the end.

What a request says is :mod:`txpusher._api`'s; how one attempt goes over the
wire is :mod:`txpusher._http.attempt`'s.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpusher._api import Api, ApiRequest
from txpusher._http.attempt import Exchange
from txpusher._http.links import Sender
from txpusher._http.stats import Attempt, Stats
from txpusher._reply import ApiReply
from txpusher._text import short_repr
from txpusher._validators import is_number
from txpusher.config import Config
from txpusher.errors import (
    ClosedError,
    ConfigurationError,
    HTTPError,
    InvalidRequestError,
    PusherError,
    QueueFullError,
)
from txpusher.retry import may_have_been_delivered

if TYPE_CHECKING:
    from txpusher._interfaces import AnyHTTPClient, AnyReactor, Clock, OnAttempt

_log = Logger(namespace="txpusher")


class Transport:
    """
    Sends requests: at most ``max_connections`` at a time, the rest in order.

    :param on_attempt: Told of each attempt when it is over.
    """

    def __init__(
        self,
        config: Config,
        api: Api,
        *,
        reactor: AnyReactor | None,
        http_client: AnyHTTPClient | None,
        clock: Clock,
        on_attempt: OnAttempt | None,
    ) -> None:
        self.config = config
        self.api = api
        self.on_attempt = on_attempt
        self._reactor = reactor
        self._http_client = http_client
        self._clock = clock
        self._sender: Sender | None = None
        self._queue: OrderedDict[_Operation, None] = OrderedDict()
        self._flying: dict[_Operation, None] = {}
        self._delayed: dict[_Operation, None] = {}
        self._pumping = False
        self._closing: list[Deferred[None]] | None = None
        self._disconnecting = self._closed = False
        self.sent = self.succeeded = self.failed = self.retried = 0

    @property
    def sender(self) -> Sender:
        """Made for the first request: until then no reactor is looked up."""
        if self._sender is None:
            self._sender = Sender(self.config, self.reactor, self._http_client, self._clock)
        return self._sender

    @property
    def reactor(self) -> Any:
        """The reactor that was given, else the running one, which is imported now."""
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return self._reactor

    def stats(self) -> Stats:
        """A snapshot."""
        endpoint = None if self._sender is None else self._sender.endpoint
        return Stats(
            pending=len(self._queue) + len(self._delayed),
            in_flight=len(self._flying),
            open_connections=0 if endpoint is None else endpoint.open,
            sent=self.sent,
            succeeded=self.succeeded,
            failed=self.failed,
            retried=self.retried,
        )

    def send(self, request: ApiRequest) -> Deferred[dict[str, Any]]:
        """
        Send *request*, unless ``max_pending`` operations wait already.

        :return: A Deferred that fires with the decoded reply, or fails with a
            PusherError, or with CancelledError when it is cancelled.
        """
        return self._accept(request, bounded=True)

    def send_unbounded(self, request: ApiRequest) -> Deferred[dict[str, Any]]:
        """
        Send *request*, however many operations wait.

        BatchPublisher bounds its events itself, and has at most ``max_connections``
        requests under way.

        :return: As :meth:`send`.
        """
        return self._accept(request, bounded=False)

    def _accept(self, request: ApiRequest, *, bounded: bool) -> Deferred[dict[str, Any]]:
        if self._closing is not None:
            self.failed += 1
            return fail(ClosedError("the client is closed"))
        try:
            sender = self.sender
        except Exception as error:
            # A host that TLS cannot verify, a tls_policy that raises.
            self.failed += 1
            return fail(ConfigurationError(f"host or tls_policy cannot be used: {error}"))
        config = self.config
        room = config.max_connections - len(self._flying)
        idle = room > 0 and not self._queue
        if bounded and not idle and config.max_pending is not None:
            # Some of the queue is about to go out where a callback has just been told
            # how an operation ended.
            waiting = max(0, len(self._queue) - max(0, room)) + len(self._delayed)
            if waiting >= config.max_pending:
                self.failed += 1
                return fail(
                    QueueFullError(
                        f"{waiting} operations are waiting already, "
                        f"max_pending is {config.max_pending}"
                    )
                )
        operation = _Operation(self, request)
        if idle:
            self._begin(operation, sender)
        else:
            self._queue[operation] = None
        return operation.deferred

    def close(self, timeout: float | None = None) -> Deferred[None]:
        """Fires when nothing is in flight and no socket is open any more."""
        if timeout is not None and not (is_number(timeout) and timeout >= 0):
            return fail(
                InvalidRequestError(f"timeout must be >= 0 seconds, not {short_repr(timeout)}")
            )
        closed: Deferred[None] = Deferred()
        if self._closed:
            closed.callback(None)
            return closed
        if self._closing is not None:
            self._closing.append(closed)
        else:
            self._closing = [closed]
            waiting = [*self._queue, *self._delayed]
            self._queue.clear()
            for operation in waiting:
                again = " again" if operation.attempts else ""
                operation.fail(
                    ClosedError(f"the client was closed before this was sent{again}")
                )
        self._pump()
        if timeout is not None and not closed.called:
            call = self.sender.reactor.callLater(timeout, self._abort)
            closed.addBoth(self._cancel_call, call)
        return closed

    @staticmethod
    def _cancel_call(result: Any, call: Any) -> Any:
        if call.active():
            call.cancel()
        return result

    def _abort(self) -> None:
        for operation in list(self._flying):
            operation.fail(ClosedError("the client was closed before the reply came"))
        if self.sender.endpoint is not None:
            self.sender.endpoint.abort()

    def _close_connections(self) -> None:
        if self._disconnecting:
            return
        self._disconnecting = True
        pool = None if self._sender is None else self._sender.pool
        if pool is None:
            self._all_closed(None)
        else:
            Deferred.fromCoroutine(pool.close()).addBoth(self._all_closed)

    def _all_closed(self, result: object) -> None:
        self._closed = True
        waiting, self._closing = self._closing or [], []
        for waiter in waiting:
            waiter.callback(None)

    # What operations call

    def _begin(self, operation: _Operation, sender: Sender) -> None:
        self._flying[operation] = None
        self.sent += 1
        self.retried += operation.attempts > 0
        operation.begin(sender)

    def _landed(self, operation: _Operation) -> None:
        del self._flying[operation]

    def _delay(self, operation: _Operation, seconds: float) -> Any:
        self._delayed[operation] = None
        return self.sender.reactor.callLater(seconds, self._again, operation)

    def _again(self, operation: _Operation) -> None:
        del self._delayed[operation]
        self._queue[operation] = None
        self._queue.move_to_end(operation, last=False)
        self._pump()

    def _forget(self, operation: _Operation) -> None:
        for place in (self._flying, self._queue, self._delayed):
            place.pop(operation, None)

    def _pump(self) -> None:
        """Begin what can begin."""
        if self._pumping:
            return
        self._pumping = True
        try:
            limit = self.config.max_connections
            while self._queue and len(self._flying) < limit:
                operation, _ = self._queue.popitem(last=False)
                self._begin(operation, self.sender)
        finally:
            self._pumping = False
        if self._closing is not None and not self._flying:
            self._close_connections()

    def _report(
        self,
        request: ApiRequest,
        number: int,
        status: int | None,
        failure: PusherError | None,
        seconds: float,
    ) -> None:
        _log.debug(
            "{method} {path}: {status} in {milliseconds:.1f} ms",
            method=request.method,
            path=request.path,
            status=type(failure).__name__ if status is None else status,
            milliseconds=seconds * 1000,
        )
        if self.on_attempt is None:
            return
        # The operation has not ended yet: should the hook close the client, that has
        # to wait for it.
        pumping, self._pumping = self._pumping, True
        try:
            self.on_attempt(
                Attempt(request.method, request.path, number, status, failure, seconds)
            )
        except Exception:
            _log.failure("on_attempt failed")
        finally:
            self._pumping = pumping


class _Operation:
    """One request until its Deferred fires: queued, in flight, waiting to retry."""

    __slots__ = (
        "_began",
        "_exchange",
        "_idempotency_key",
        "_maybe_delivered",
        "_request",
        "_retry_call",
        "_transport",
        "attempts",
        "deferred",
    )

    def __init__(self, transport: Transport, request: ApiRequest) -> None:
        self._transport = transport
        self._request = request
        self.attempts = 0
        self._began = 0.0
        self._idempotency_key: str | None = None
        self._maybe_delivered = False
        self._retry_call: Any = None
        self._exchange: Exchange | None = None
        self.deferred: Deferred[dict[str, Any]] = Deferred(self._cancelled)

    def begin(self, sender: Sender) -> None:
        """Make one attempt."""
        request = self._request
        if (
            not self.attempts
            and request.method == "POST"
            and self._transport.config.idempotency_keys
        ):
            self._idempotency_key = uuid4().hex
        self.attempts += 1
        self._began = sender.reactor.seconds()
        self._exchange = Exchange(sender, request, self._idempotency_key, self._ended)
        self._exchange.start()

    def fail(self, error: PusherError) -> None:
        """End with *error*, wherever the operation is."""
        if self.deferred.called:
            # The errback of another one that fails has cancelled it.
            return
        self._stop()
        self._settle(error)

    def _cancelled(self, deferred: object) -> None:
        self._stop()
        self._transport.failed += 1
        self._transport._pump()

    def _stop(self) -> None:
        if self._exchange is not None:
            self._maybe_delivered |= self._exchange.maybe_delivered
            self._exchange.abort()
        if self._retry_call is not None and self._retry_call.active():
            self._retry_call.cancel()
        self._transport._forget(self)

    def _ended(self, outcome: ApiReply | PusherError) -> None:
        """The attempt is over."""
        transport = self._transport
        self._exchange = None
        transport._landed(self)
        status: int | None = None
        result: dict[str, Any] | PusherError
        if isinstance(outcome, ApiReply):
            status = outcome.status
            try:
                result = transport.api.decode(self._request, outcome)
            except PusherError as error:
                result = error
            except Exception as error:
                # What json_loads gave has a way of its own.
                result = HTTPError(
                    f"{self._request.method} {self._request.path}: "
                    f"the reply cannot be read ({type(error).__name__})",
                    maybe_delivered=may_have_been_delivered(
                        self._request.method, sent=True, status=status
                    ),
                    original_error=error,
                )
        else:
            result = outcome
        failure = result if isinstance(result, PusherError) else None
        transport._report(
            self._request,
            self.attempts,
            status,
            failure,
            transport.sender.reactor.seconds() - self._began,
        )
        if self.deferred.called:
            # Cancelled by on_attempt.
            transport._pump()
            return
        delay = None if failure is None else self._delay_after(failure)
        if delay is not None:
            self._retry_call = transport._delay(self, delay)
            transport._pump()
        else:
            self._settle(result)

    def _delay_after(self, error: PusherError) -> float | None:
        self._maybe_delivered |= error.maybe_delivered
        transport = self._transport
        if transport._closing is not None:
            return None
        return transport.config.retry.delay(self.attempts - 1, error)

    def _settle(self, result: dict[str, Any] | PusherError) -> None:
        transport = self._transport
        if isinstance(result, PusherError):
            # One attempt that may have been acted on is enough.
            result.maybe_delivered |= self._maybe_delivered
            transport.failed += 1
            self.deferred.errback(Failure(result))
        else:
            transport.succeeded += 1
            self.deferred.callback(result)
        transport._pump()
