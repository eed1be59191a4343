"""
From a request to its value: the queue, the limits, the retries, the end.

The content of a request is the business of :mod:`txpusher._api`; one attempt to send it is
made by :mod:`txpusher._http.attempt`.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpusher._api import Api
from txpusher._http.attempt import OngoingAttempt
from txpusher._http.links import Link, make_link
from txpusher._http.operation import Operation, OperationState
from txpusher._http.reactor import import_reactor
from txpusher._http.shutdown import ShutdownWatch
from txpusher._http.stats import Attempt, Counters, Stats
from txpusher._reply import ApiReply
from txpusher._request import ApiRequest
from txpusher._validators import check_timeout
from txpusher.config import Config
from txpusher.errors import (
    ClosedError,
    ConfigurationError,
    InvalidRequestError,
    PusherError,
    QueueFullError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from txpusher._interfaces import AnyHTTPClient, AnyReactor, Clock, OnAttempt

_log = Logger(namespace="txpusher")


class TransportState(Enum):
    """The state of a client's transport."""

    #: Operations are accepted.
    OPEN = auto()
    #: No operation is accepted; the operations in flight end.
    CLOSING = auto()
    #: Nothing is in flight; the sockets close.
    DISCONNECTING = auto()
    #: There is no socket left.
    CLOSED = auto()


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
        self._api = api
        self._on_attempt = on_attempt
        self._reactor = reactor
        self._http_client = http_client
        self._clock = clock
        self._opened_link: Link | None = None
        self._seconds: Callable[[], float]
        self._watch: ShutdownWatch | None = None
        self._state = TransportState.OPEN
        self._closers: list[Deferred[None]] = []
        self._counters = Counters()
        # Each operation that is not DONE is in the one of these that its state says.
        self._queue: OrderedDict[Operation, None] = OrderedDict()
        self._in_flight: dict[Operation, None] = {}
        self._waiting_to_retry: dict[Operation, None] = {}
        #: Set while operations are started, against doing so from within.
        self._is_starting = False

    @property
    def reactor(self) -> Any:
        """The reactor that was given, else the global one, which is imported now."""
        if self._reactor is None:
            self._reactor = import_reactor()
        return self._reactor

    @property
    def _link(self) -> Link:
        """The way to the server, made for the first request: no reactor is used before."""
        if self._opened_link is None:
            link = make_link(self.config, self.reactor, self._clock, self._http_client)
            self._watch = ShutdownWatch(self.reactor, self._count_unsettled)
            self._opened_link = link
            self._seconds = self.reactor.seconds
        return self._opened_link

    def stats(self) -> Stats:
        """Return what the client does and has done, at this moment."""
        link, counters = self._opened_link, self._counters
        return Stats(
            pending=len(self._queue) + len(self._waiting_to_retry),
            in_flight=len(self._in_flight),
            open_connections=0 if link is None else link.open_connections,
            sent=counters.attempts,
            succeeded=counters.succeeded,
            failed=counters.failed,
            retried=counters.retried,
        )

    def _count_unsettled(self) -> int:
        """Return how many operations have not ended; a publisher tells of its own."""
        places = (self._queue, self._in_flight, self._waiting_to_retry)
        return sum(not operation.of_publisher for place in places for operation in place)

    # Accepting

    def send(self, request: ApiRequest) -> Deferred[dict[str, Any]]:
        """
        Send *request*, unless ``max_pending`` operations wait already.

        :return: A Deferred that fires with the decoded reply, or fails with a
            PusherError, or with CancelledError when it is cancelled.
        """
        max_pending = self.config.max_pending
        if max_pending is not None and self._state is TransportState.OPEN:
            room = self.config.max_connections - len(self._in_flight)
            # Some of the queue is about to start, where a callback has just been told how an
            # operation ended.
            waiting = max(0, len(self._queue) - max(0, room)) + len(self._waiting_to_retry)
            if waiting >= max_pending and (self._queue or room <= 0):
                return self._refuse(
                    QueueFullError(
                        f"{waiting} operations are waiting already, "
                        f"max_pending is {max_pending}"
                    )
                )
        return self._accept(request, of_publisher=False)

    def send_unbounded(self, request: ApiRequest) -> Deferred[dict[str, Any]]:
        """
        Send *request* of a BatchPublisher, however many operations wait.

        The publisher bounds its events itself, and has at most ``max_connections`` requests
        under way.

        :return: As :meth:`send`.
        """
        return self._accept(request, of_publisher=True)

    def _accept(self, request: ApiRequest, *, of_publisher: bool) -> Deferred[dict[str, Any]]:
        if self._state is not TransportState.OPEN:
            return self._refuse(ClosedError("the client is closed"))
        try:
            link = self._link
        except PusherError as error:
            return self._refuse(error)
        except Exception as error:
            # A host that TLS cannot verify, a tls_policy that raises.
            return self._refuse(
                ConfigurationError(f"host or tls_policy cannot be used: {error}")
            )
        operation = Operation(request, self._cancelled, of_publisher=of_publisher)
        if self._queue or len(self._in_flight) >= self.config.max_connections:
            self._queue[operation] = None
        else:
            self._begin(operation, link)
        return operation.deferred

    def _refuse(self, error: PusherError) -> Deferred[dict[str, Any]]:
        self._counters.failed += 1
        return fail(error)

    # Closing

    def close(self, timeout: float | None = None) -> Deferred[None]:
        """
        Accept no more operations; let what is in flight end, then close the sockets.

        :param timeout: Seconds after which what is in flight fails with a ClosedError.
        :return: A Deferred that fires with None when nothing is in flight and no socket open.
        """
        try:
            check_timeout("timeout", timeout)
        except InvalidRequestError:
            return fail()
        closed: Deferred[None] = Deferred()
        if self._state is TransportState.CLOSED:
            closed.callback(None)
            return closed
        self._closers.append(closed)
        if self._state is TransportState.OPEN:
            self._state = TransportState.CLOSING
            waiting = [*self._queue, *self._waiting_to_retry]
            self._queue.clear()
            for operation in waiting:
                again = " again" if operation.attempts else ""
                self._fail(
                    operation,
                    ClosedError(f"the client was closed before this was sent{again}"),
                )
        self._start_queued()
        if timeout is not None and not closed.called:
            call = self._link.reactor.callLater(timeout, self._abort)
            closed.addBoth(self._cancel_call, call)
        return closed

    @staticmethod
    def _cancel_call(result: Any, call: Any) -> Any:
        if call.active():
            call.cancel()
        return result

    def _abort(self) -> None:
        for operation in list(self._in_flight):
            self._fail(operation, ClosedError("the client was closed before the reply came"))
        self._link.abort()

    def _close_connections(self) -> None:
        self._state = TransportState.DISCONNECTING
        if self._opened_link is None:
            self._all_closed(None)
        else:
            Deferred.fromCoroutine(self._opened_link.close()).addBoth(self._all_closed)

    def _all_closed(self, result: object) -> None:
        self._state = TransportState.CLOSED
        if self._watch is not None:
            self._watch.end()
        closers, self._closers = self._closers, []
        for closer in closers:
            closer.callback(None)

    # Operations

    def _begin(self, operation: Operation, link: Link) -> None:
        """Make one attempt."""
        limit = operation.begin_attempt(
            self._seconds(),
            self.config.retry.max_duration,
            make_key=self.config.idempotency_keys,
        )
        self._in_flight[operation] = None
        self._counters.attempts += 1
        self._counters.retried += operation.attempts > 1
        attempt = operation.attempt = OngoingAttempt(
            link,
            operation.request,
            limit,
            lambda outcome: self._attempt_ended(operation, outcome),
        )
        attempt.start(operation.idempotency_key)

    def _attempt_ended(self, operation: Operation, outcome: ApiReply | PusherError) -> None:
        """Report the attempt; end the operation, or have it wait for the next attempt."""
        attempt, operation.attempt = operation.attempt, None
        del self._in_flight[operation]
        result: dict[str, Any] | PusherError
        status: int | None = None
        if isinstance(outcome, ApiReply):
            status = outcome.status
            try:
                result = self._api.decode(operation.request, outcome)
            except PusherError as error:
                result = error
                # A server may answer before it has been asked.
                error.maybe_delivered &= attempt is not None and attempt.has_sent
        else:
            result = outcome
        failure = result if isinstance(result, PusherError) else None
        self._report(operation, status, failure)
        if operation.state is OperationState.DONE:
            # Cancelled by on_attempt.
            self._start_queued()
            return
        delay = None if failure is None else self._delay_after(operation, failure)
        if delay is None:
            self._settle(operation, result)
        else:
            operation.state = OperationState.WAITING_TO_RETRY
            self._waiting_to_retry[operation] = None
            operation.retry_call = self.reactor.callLater(delay, self._requeue, operation)
            self._start_queued()

    def _delay_after(self, operation: Operation, error: PusherError) -> float | None:
        """Return the seconds until the next attempt, None where there is none."""
        operation.maybe_delivered |= error.maybe_delivered
        if self._state is not TransportState.OPEN:
            return None
        delay = self.config.retry.delay(operation.attempts - 1, error)
        if delay is None or operation.ends is None:
            return delay
        return delay if self._seconds() + delay < operation.ends else None

    def _requeue(self, operation: Operation) -> None:
        """Put an operation whose wait is over at the head of the queue."""
        del self._waiting_to_retry[operation]
        operation.state = OperationState.QUEUED
        self._queue[operation] = None
        self._queue.move_to_end(operation, last=False)
        self._start_queued()

    def _start_queued(self) -> None:
        """Begin what can begin; close the connections where nothing is left to do."""
        if self._is_starting:
            return
        self._is_starting = True
        try:
            limit = self.config.max_connections
            while self._queue and len(self._in_flight) < limit:
                operation, _ = self._queue.popitem(last=False)
                self._begin(operation, self._link)
        finally:
            self._is_starting = False
        if self._state is TransportState.CLOSING and not self._in_flight:
            self._close_connections()

    def _report(
        self, operation: Operation, status: int | None, failure: PusherError | None
    ) -> None:
        """Tell the log and ``on_attempt`` of an attempt that is over."""
        request = operation.request
        seconds = self._seconds() - operation.attempt_began
        _log.debug(
            "{method} {path}: {status} in {milliseconds:.1f} ms",
            method=request.method,
            path=request.path,
            status=type(failure).__name__ if status is None else status,
            milliseconds=seconds * 1000,
        )
        if self._on_attempt is None:
            return
        # The operation has not ended yet: should the hook close the client, that has
        # to wait for it.
        was_starting, self._is_starting = self._is_starting, True
        try:
            self._on_attempt(
                Attempt(
                    request.method, request.path, operation.attempts, status, failure, seconds
                )
            )
        except Exception:
            _log.failure("on_attempt failed")
        finally:
            self._is_starting = was_starting

    # The end of an operation

    def _fail(self, operation: Operation, error: PusherError) -> None:
        """End with *error*, wherever the operation is."""
        if operation.state is not OperationState.DONE:
            self._stop(operation)
            self._settle(operation, error)

    def _cancelled(self, operation: Operation) -> None:
        self._stop(operation)
        self._counters.failed += 1
        self._start_queued()

    def _stop(self, operation: Operation) -> None:
        """Take an operation out of its place, and end what it does."""
        place: dict[Operation, None] = {
            OperationState.QUEUED: self._queue,
            OperationState.IN_FLIGHT: self._in_flight,
            OperationState.WAITING_TO_RETRY: self._waiting_to_retry,
        }.get(operation.state, {})
        operation.stop()
        # An operation that on_attempt or close() stops has left its place already.
        place.pop(operation, None)

    def _settle(self, operation: Operation, result: dict[str, Any] | PusherError) -> None:
        """Fire the Deferred of an operation, and begin what can begin then."""
        operation.state = OperationState.DONE
        if isinstance(result, PusherError):
            # One attempt that may have been acted on is enough.
            result.maybe_delivered |= operation.maybe_delivered
            self._counters.failed += 1
            if self._watch is not None and not operation.of_publisher:
                self._watch.failed(result)
            operation.deferred.errback(Failure(result))
        else:
            self._counters.succeeded += 1
            operation.deferred.callback(result)
        self._start_queued()
