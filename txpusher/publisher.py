"""
:class:`BatchPublisher`: many triggers, few requests.

When events travel, and with which others, is :mod:`txpusher._batching`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from copy import copy
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from txpusher._batching import Batch, Scheduler, Ticket
from txpusher._threads import call_in_reactor, wait_for, wait_for_query
from txpusher.blocking import BlockingPusher
from txpusher.client import Pusher
from txpusher.errors import (
    BadRequestError,
    ClosedError,
    ConfigurationError,
    PayloadTooLargeError,
    QueueFullError,
)

if TYPE_CHECKING:
    from typing_extensions import Self

Reply = dict[str, Any]


class BatchPublisher:
    """
    Publishes events in batches that form by themselves.

    An idle publisher sends an event at once.  While requests are in flight,
    events gather and go out up to ``max_batch_size`` in one, over up to
    ``max_connections`` requests at a time.  Each event has a Deferred of its
    own; retries and ``maybe_delivered`` are as for :meth:`Pusher.trigger`.

    A batch that the server rejects (400, 413: nothing of it was published) is
    split until only the event at fault fails.  Any other failure is that of
    every event of the batch.  A request that waits to be retried counts as in
    flight.

    ::

        publisher = BatchPublisher(pusher)
        for price in prices:
            publisher.trigger("prices", "tick", price).addErrback(log_failure)
        await publisher.flush()

    :param pusher: The client to send with; it stays open when the publisher
        is closed.
    :param max_pending: The most events that wait; what is in flight does not
        count.
    :param ordered: Whether the server acts on the events of a channel in the
        order of their triggers.  A channel then has one request in flight at
        a time; when an event fails, the next goes on.
    :raises ConfigurationError: An argument is not what it must be.
    """

    def __init__(
        self, pusher: Pusher, *, max_pending: int = 100_000, ordered: bool = True
    ) -> None:
        if not isinstance(pusher, Pusher):
            raise ConfigurationError(
                f"pusher must be a Pusher, not a {type(pusher).__name__}; "
                "for threads there is BlockingBatchPublisher"
            )
        if isinstance(max_pending, bool) or not isinstance(max_pending, int) or max_pending < 0:
            raise ConfigurationError(
                f"max_pending must be a whole number >= 0, not {max_pending!r}"
            )
        if not isinstance(ordered, bool):
            raise ConfigurationError(f"ordered must be a bool, not {ordered!r}")
        self._api = pusher._api
        self._transport = pusher._transport
        self._max_pending = max_pending
        self._scheduler: Scheduler[_Event] = Scheduler(
            batch_size=pusher.config.max_batch_size,
            max_in_flight=pusher.config.max_connections,
            ordered=ordered,
        )
        self._busy = False
        self._closed = False
        # Unsettled events, one count for those since the last flush and one
        # for those before each flush that has not fired.
        self._unsettled = _Count()
        self._flushes: deque[tuple[_Count, Deferred[None]]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def trigger(
        self,
        channel: str,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Deferred[Reply]:
        """
        Publish one event to one channel.

        The arguments are those of :meth:`Pusher.trigger`.

        :return: A Deferred that fires once the server has accepted the event,
            with ``{}`` or the attributes that *info* asked for.  Cancelled in
            flight, the event travels on with its batch.
        """
        if self._closed:
            return fail(ClosedError("the publisher is closed"))
        try:
            item = self._api.batch_item(channel, event, data, socket_id, info)
        except Exception:
            return fail()
        scheduler = self._scheduler
        offered = _Event(self, item, self._unsettled)
        scheduler.add(channel, offered)
        self._unsettled.value += 1
        self._send_due()
        waiting = scheduler.pending - offered.waiting
        # What a callback triggers goes out when all callbacks have been called.
        room = scheduler.room if self._busy else 0
        if offered.waiting and waiting >= self._max_pending + room:
            scheduler.cancel(offered)
            offered.settle(
                QueueFullError(
                    f"{waiting} events are waiting already, max_pending is {self._max_pending}"
                )
            )
        return offered.deferred

    def flush(self) -> Deferred[None]:
        """
        Wait for what has been triggered so far; it is on its way without.

        :return: A Deferred that fires with None when every event before this
            call has been accepted or has failed.
        """
        if not self._unsettled.value and not self._flushes:
            return succeed(None)
        flushed: Deferred[None] = Deferred()
        self._flushes.append((self._unsettled, flushed))
        self._unsettled = _Count()
        return flushed

    def close(self) -> Deferred[None]:
        """
        Take no more events.

        :return: A Deferred that fires with None when every event has been
            accepted or has failed.
        """
        self._closed = True
        return self.flush()

    def _send_due(self) -> None:
        if self._busy:
            return
        self._busy = True
        # A request may fail at once, and its events' callbacks trigger more.
        while batches := self._scheduler.due():
            for batch in batches:
                request = self._api.batch([ticket.item for ticket in batch.tickets])
                self._transport.send(request, bounded=False).addCallbacks(
                    self._accepted, self._failed, callbackArgs=(batch,), errbackArgs=(batch,)
                )
        self._busy = False

    def _accepted(self, reply: Reply, batch: Batch[_Event]) -> None:
        parts = reply.get("batch")
        if not isinstance(parts, list) or len(parts) != len(batch.tickets):
            parts = [{} for _ in batch.tickets]
        self._settle((event, parts[place]) for place, event in self._scheduler.accepted(batch))

    def _failed(self, failure: Failure, batch: Batch[_Event]) -> None:
        error = cast(BaseException, failure.value)
        if isinstance(error, (BadRequestError, PayloadTooLargeError)):
            failed = self._scheduler.rejected(batch)
        else:
            failed = self._scheduler.failed(batch)
        # An exception that is raised is changed: each event has its own.
        self._settle((event, copy(error)) for event in failed)

    def _settle(self, outcomes: Iterable[tuple[_Event, Reply | BaseException]]) -> None:
        # Events that the callbacks trigger gather, and go out together.
        busy, self._busy = self._busy, True
        for event, outcome in outcomes:
            event.settle(outcome)
        self._busy = busy
        self._send_due()
        self._fire_flushes()

    def _fire_flushes(self) -> None:
        while self._flushes and not self._flushes[0][0].value:
            self._flushes.popleft()[1].callback(None)

    def _cancel(self, event: _Event) -> None:
        self._scheduler.cancel(event)
        event.count.value -= 1
        self._fire_flushes()


class _Count:
    """A number that events share."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class _Event(Ticket):
    """
    One event, its Deferred, and what has to be told when that fires.

    It knows its Deferred, which knows it until it fires: no cycle outlives that.
    """

    __slots__ = ("_publisher", "count", "deferred")

    def __init__(self, publisher: BatchPublisher, item: bytes, count: _Count) -> None:
        super().__init__(item)
        self._publisher = publisher
        self.count = count
        self.deferred: Deferred[Reply] = Deferred(self._cancelled)

    def _cancelled(self, deferred: object) -> None:
        self._publisher._cancel(self)

    def settle(self, result: Reply | BaseException) -> None:
        """Fire the Deferred, unless a companion's callback has cancelled it."""
        if self.deferred.called:
            return
        self.count.value -= 1
        if isinstance(result, BaseException):
            self.deferred.errback(Failure(result))
        else:
            self.deferred.callback(result)


class BlockingBatchPublisher:
    """
    :class:`BatchPublisher` for threads, of which many may share one.

    ::

        with BlockingBatchPublisher(blocking_pusher) as publisher:
            futures = [publisher.submit("prices", "tick", price) for price in prices]

    :param pusher: The client to send with; it stays open.
    :param max_pending: See :class:`BatchPublisher`.
    :param ordered: See :class:`BatchPublisher`.
    """

    def __init__(
        self, pusher: BlockingPusher, *, max_pending: int = 100_000, ordered: bool = True
    ) -> None:
        if not isinstance(pusher, BlockingPusher):
            raise ConfigurationError(
                f"pusher must be a BlockingPusher, not a {type(pusher).__name__}"
            )
        self._publisher = BatchPublisher(
            pusher._pusher, max_pending=max_pending, ordered=ordered
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def trigger(
        self,
        channel: str,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Reply:
        """:meth:`BatchPublisher.trigger`, waiting until the event is accepted."""
        return wait_for(
            self._publisher.trigger, channel, event, data, socket_id=socket_id, info=info
        )

    def submit(
        self,
        channel: str,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Future[Reply]:
        """
        :meth:`BatchPublisher.trigger` without waiting.

        :return: A Future of the reply, or of the error.
        :raises BlockingCallError: Here the result could never arrive.
        :raises ClosedError: The reactor has stopped.
        """
        future: Future[Reply] = Future()
        future.set_running_or_notify_cancel()

        def begin() -> None:
            triggered = self._publisher.trigger(
                channel, event, data, socket_id=socket_id, info=info
            )
            triggered.addBoth(settle)

        def settle(outcome: Reply | Failure) -> None:
            if future.done():
                # The reactor is stopping, and has failed it.
                return
            if isinstance(outcome, Failure):
                future.set_exception(outcome.value)
            else:
                future.set_result(outcome)

        call_in_reactor(begin, future)
        return future

    def flush(self) -> None:
        """:meth:`BatchPublisher.flush`."""
        wait_for_query(self._publisher.flush)

    def close(self) -> None:
        """:meth:`BatchPublisher.close`."""
        wait_for_query(self._publisher.close)
