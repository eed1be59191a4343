"""
:class:`BatchPublisher`: many triggers, few requests.

When events travel, and with which others, is :mod:`txpusher._batching`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpusher._batching import Batch, Scheduler, Ticket
from txpusher._request import build_request
from txpusher._text import as_plain_str
from txpusher._validators import check_bool, check_whole_number
from txpusher.client import Pusher
from txpusher.errors import (
    BadRequestError,
    ClosedError,
    ConfigurationError,
    HTTPError,
    PayloadTooLargeError,
    PusherError,
    QueueFullError,
)

if TYPE_CHECKING:
    from typing_extensions import Self

Reply = dict[str, Any]

_log = Logger(namespace="txpusher")


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
        check_whole_number("max_pending", max_pending, 0)
        check_bool("ordered", ordered)
        self._api = pusher.api
        self._transport = pusher.transport
        self._max_pending = max_pending
        self._scheduler: Scheduler[_Event] = Scheduler(
            batch_size=pusher.config.max_batch_size,
            max_in_flight=pusher.config.max_connections,
            ordered=ordered,
        )
        self._busy = False
        self._closed = False
        # What goes out when all callbacks have been called.
        self._made_up: list[Batch[_Event]] = []
        # Those for which there was no place when they came, the newest last.
        self._surplus: list[_Event] = []
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
        try:
            item = self._item(channel, event, data, socket_id, info)
        except PusherError:
            return fail()
        return self._offer(channel, item)

    def _item(self, *arguments: Any) -> bytes:
        return build_request(self._api.batch_item, *arguments)

    def _offer(self, channel: str, item: bytes) -> Deferred[Reply]:
        if self._closed:
            return fail(ClosedError("the publisher is closed"))
        offered = _Event(self, item, self._unsettled)
        self._scheduler.add(as_plain_str(channel), offered)
        self._unsettled.value += 1
        if self._is_over_full():
            self._surplus.append(offered)
            self._bound_surplus()
        self._send_due()
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
        try:
            # A request may fail at once, and its events' callbacks trigger more.
            while self._send_batches() or self._turn_away_surplus():
                pass
            self._surplus.clear()
        finally:
            self._busy = False

    def _send_batches(self) -> bool:
        # Before an event is turned away, what has gathered goes out.
        batches = self._made_up + self._scheduler.due(hurry=self._is_over_full())
        self._made_up = []
        for batch in batches:
            self._send(batch)
        return bool(batches)

    def _turn_away_surplus(self) -> bool:
        over = self._is_over_full()
        if over:
            self._turn_away()
        return over

    def _send(self, batch: Batch[_Event]) -> None:
        request = self._api.batch([event.item for event in batch.tickets])
        try:
            sent = self._transport.send_unbounded(request)
        except Exception as error:
            # It is not meant to raise, and yet no event may wait for ever.
            sent = fail(
                HTTPError(
                    f"{request.method} {request.path}: "
                    f"it could not be sent ({type(error).__name__})",
                    maybe_delivered=True,
                    original_error=error,
                )
            )
        sent.addCallbacks(
            self._accepted, self._failed, callbackArgs=(batch,), errbackArgs=(batch,)
        )

    def _is_over_full(self, room: int = 0) -> bool:
        return self._scheduler.pending > self._max_pending + room

    def _bound_surplus(self) -> None:
        """Let no more events gather than could go out, when all callbacks have been called."""
        if self._is_over_full(self._scheduler.room):
            # Whatever waits then has no place, such as the many of one channel, which
            # must not stand in the way of another's.
            self._made_up += self._scheduler.due(hurry=True)
            while self._is_over_full():
                self._turn_away()

    def _turn_away(self) -> None:
        """Refuse the event that came last of those for which there is no place."""
        event = self._surplus.pop()
        if event.waiting:
            self._scheduler.cancel(event)
            limit = self._max_pending
            event.settle(
                QueueFullError(f"{limit} events are waiting already, max_pending is {limit}")
            )

    def _accepted(self, reply: Reply, batch: Batch[_Event]) -> None:
        parts = reply.get("batch")
        if not isinstance(parts, list) or len(parts) != len(batch.tickets):
            if parts is not None:
                _log.warn("a reply does not fit its batch: the events' own parts are lost")
            parts = [None] * len(batch.tickets)
        self._settle(
            (event, parts[place] if isinstance(parts[place], dict) else {})
            for place, event in self._scheduler.accepted(batch)
        )

    def _failed(self, failure: Failure, batch: Batch[_Event]) -> None:
        error = cast(BaseException, failure.value)
        if isinstance(error, (BadRequestError, PayloadTooLargeError)):
            for event in batch.tickets:
                event.maybe_delivered |= error.maybe_delivered
            failed = self._scheduler.rejected(batch)
        else:
            failed = self._scheduler.failed(batch)
        self._settle((event, event.own(error)) for event in failed)

    def _settle(self, outcomes: Iterable[tuple[_Event, Reply | BaseException]]) -> None:
        # Events that the callbacks trigger gather, and go out together.
        busy, self._busy = self._busy, True
        try:
            for event, outcome in outcomes:
                event.settle(outcome)
        finally:
            self._busy = busy
        self._send_due()
        self._fire_flushes()

    def _fire_flushes(self) -> None:
        while self._flushes and not self._flushes[0][0].value:
            self._flushes.popleft()[1].callback(None)

    def _cancel(self, event: _Event) -> None:
        self._scheduler.cancel(event)
        # Here, so that the event is settled before a flush is.
        event.settle(CancelledError())
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

    __slots__ = ("_publisher", "count", "deferred", "maybe_delivered")

    def __init__(self, publisher: BatchPublisher, item: bytes, count: _Count) -> None:
        super().__init__(item)
        self._publisher = publisher
        self.count = count
        #: Whether a batch that was split may have been acted on.
        self.maybe_delivered = False
        self.deferred: Deferred[Reply] = Deferred(self._cancelled)

    def _cancelled(self, deferred: object) -> None:
        self._publisher._cancel(self)

    def own(self, error: BaseException) -> BaseException:
        """
        The error of its batch, as that of this event alone.

        An exception that is raised is changed, so that none is shared.
        """
        mine = copy(error).with_traceback(error.__traceback__)
        mine.__cause__, mine.__context__ = error.__cause__, error.__context__
        mine.__suppress_context__ = error.__suppress_context__
        if isinstance(mine, PusherError):
            mine.maybe_delivered |= self.maybe_delivered
        return mine

    def settle(self, result: Reply | BaseException) -> None:
        """Fire the Deferred, unless a companion's callback has cancelled it."""
        if self.deferred.called:
            return
        self.count.value -= 1
        if isinstance(result, BaseException):
            self.deferred.errback(Failure(result))
        else:
            self.deferred.callback(result)
