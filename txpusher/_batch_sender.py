"""
:class:`BatchSender`: sends the batches that form, and settles their events.

Which events travel together is :mod:`txpusher._batching`'s to decide; what an event tells
to whom is the business of its class, which derives from :class:`SentEvent`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpusher._batching import (
    Batch,
    EventState,
    Scheduler,
    is_about_content,
    wants_attributes,
)
from txpusher._gathering import Gathering
from txpusher._unsettled import Reply, SentEvent, Unsettled
from txpusher.errors import ClosedError, HTTPError, QueueFullError

if TYPE_CHECKING:
    from txpusher._interfaces import AnyReactor
    from txpusher.client import Pusher

_log = Logger(namespace="txpusher")


class BatchSender:
    """
    Sends the events of one publisher over its client, in the order of a scheduler.

    Everything happens in the reactor's thread.  Callbacks of events may call any method:
    while they run, events gather, and go out together afterwards.

    :param pusher: The client to send with.
    :param max_pending: The most events that wait.
    :param ordered: Whether the events of a channel keep their order.
    :param linger: Seconds for which an idle sender waits for a batch to fill.
    :param max_batch_bytes: The most bytes of the body of a request, or None.
    :ivar gathering: Within a block ``with sender.gathering``, events gather; what is due is
        sent at its end.
    :ivar closed: Whether no event is taken any more.
    :ivar capacity: How many events all connections together can carry at a time.
    :ivar exit_timeout: Seconds for which :meth:`before_stop` waits, where somebody calls
        it; None where the log tells at the reactor's stop how many events are unsettled.
    """

    def __init__(
        self,
        pusher: Pusher,
        *,
        max_pending: int,
        ordered: bool,
        linger: float,
        max_batch_bytes: int | None,
    ) -> None:
        config = pusher.config
        self._api = pusher.api
        self._transport = pusher.transport
        self._max_pending = max_pending
        self._most_waiting = max(max_pending, 1)
        self._linger = linger
        self._linger_call: Any = None
        self._scheduler: Scheduler[SentEvent] = Scheduler(
            batch_size=config.max_batch_size,
            max_in_flight=config.max_connections,
            ordered=ordered,
            batch_bytes=max_batch_bytes,
            lingers=linger > 0,
        )
        self.gathering = Gathering(self.send_due)
        self.closed = False
        self._unsettled = Unsettled()
        self._waiting_for_room: deque[Deferred[None]] = deque()
        self._waking = self._wake_again = False
        self._listeners: list[Callable[[], None]] = []
        self.exit_timeout: float | None = None
        self._failed_events = 0
        self._stop_trigger: Any = None
        self.capacity = config.max_batch_size * config.max_connections

    @property
    def reactor(self) -> AnyReactor:
        """The reactor of the client; looked up on first use."""
        return cast("AnyReactor", self._transport.reactor)

    @property
    def pending(self) -> int:
        """How many events wait; events in flight do not count."""
        return self._scheduler.pending

    @property
    def unsettled(self) -> int:
        """How many events have neither been accepted nor failed."""
        return self._unsettled.total

    @property
    def has_room(self) -> bool:
        """Whether another event can be taken."""
        if self._max_pending:
            return self._scheduler.pending < self._max_pending
        return self._scheduler.room > 0

    @property
    def vacant(self) -> int:
        """How many more events may wait; 0 or less where as many wait as may."""
        return self._most_waiting - self._scheduler.pending

    # Events in

    def offer(self, channel: str, event: SentEvent) -> QueueFullError | ClosedError | None:
        """
        Take an event, to be sent as soon as may be.

        While callbacks run, as many events may wait as ``max_pending`` allows and as free
        connections can carry afterwards.

        :return: None, or why the event is not taken.
        """
        if self.closed:
            return ClosedError("the publisher is closed")
        scheduler, limit = self._scheduler, self._max_pending
        if self.gathering.depth and scheduler.pending >= limit + scheduler.room:
            return self._full()
        self.add(channel, event)
        if not self.gathering.depth:
            self.send_due()
            if scheduler.pending > limit and event.state is EventState.WAITING:
                self._drop(event)
                self._check_idle()
                return self._full()
        return None

    def add(self, channel: str, event: SentEvent) -> None:
        """Take an event without a look at ``max_pending``; :meth:`send_due` sends it."""
        self._scheduler.add(channel, event)
        count = event.count = self._unsettled.latest
        count.value += 1
        if self._stop_trigger is None:
            self._watch_reactor()

    def _full(self) -> QueueFullError:
        waiting, limit = self._scheduler.pending, self._max_pending
        return QueueFullError(f"{waiting} events are waiting already, max_pending is {limit}")

    def _drop(self, event: SentEvent) -> None:
        self._scheduler.cancel(event)
        event.count.value -= 1

    def cancel(self, event: SentEvent) -> None:
        """Settle an event with a CancelledError; in flight, it travels on."""
        self._scheduler.cancel(event)
        event.fail(CancelledError())
        self._after_settling()
        self._wake()

    def drop_waiting(self, is_meant: Callable[[SentEvent], bool]) -> None:
        """Cancel the waiting events that *is_meant* accepts."""
        with self.gathering:
            for event in self._scheduler.waiting():
                if is_meant(event):
                    self._scheduler.cancel(event)
                    event.fail(CancelledError())
        self._after_settling()

    # Batches out

    def send_due(self) -> None:
        """Send the batches that are due."""
        if self.gathering.depth:
            return
        scheduler = self._scheduler
        self.gathering.depth += 1
        try:
            while True:
                if scheduler.pending > self._max_pending:
                    # Before an event is turned away, free connections are used.
                    scheduler.hurry()
                batches = scheduler.due()
                if not batches:
                    break
                # A request may fail at once, and its events' callbacks offer more.
                for batch in batches:
                    self._send(batch)
        finally:
            self.gathering.depth -= 1
        if self._linger:
            self._time_lingering()
        self._wake()

    def _time_lingering(self) -> None:
        """Have a timer run exactly while events linger."""
        if self._scheduler.lingering:
            if self._linger_call is None:
                self._linger_call = self.reactor.callLater(self._linger, self._linger_no_more)
        elif self._linger_call is not None:
            call, self._linger_call = self._linger_call, None
            call.cancel()

    def _linger_no_more(self) -> None:
        self._linger_call = None
        self.hurry()

    def hurry(self) -> None:
        """Send what has gathered, and do not wait for more."""
        self._scheduler.hurry()
        self.send_due()

    def _send(self, batch: Batch[SentEvent]) -> None:
        request = self._api.batch([event.encoded for event in batch.events])
        try:
            sent = self._transport.send_unbounded(request)
        except Exception as error:
            # The transport is not meant to raise, and yet no event may wait for ever.
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

    # Outcomes in

    def _accepted(self, reply: Reply, batch: Batch[SentEvent]) -> None:
        attributes = self._attributes(reply, batch)
        with self.gathering:
            for event in self._scheduler.accepted(batch):
                event.accept({} if attributes is None else attributes[event])
        self._after_settling()

    @staticmethod
    def _attributes(reply: Reply, batch: Batch[SentEvent]) -> dict[SentEvent, Reply] | None:
        """Return each event's part of the reply, None where the reply has no parts."""
        parts = reply.get("batch")
        if parts is None:
            return None
        events = batch.events
        if not isinstance(parts, list) or len(parts) != len(events):
            if wants_attributes(events):
                _log.warn(
                    "a reply does not fit its batch: the attributes that its events "
                    "asked for are lost"
                )
            return None
        parted = zip(events, parts, strict=True)
        return {event: part if isinstance(part, dict) else {} for event, part in parted}

    def _failed(self, failure: Failure, batch: Batch[SentEvent]) -> None:
        error = cast(BaseException, failure.value)
        if is_about_content(error):
            for event in batch.events:
                event.maybe_delivered |= getattr(error, "maybe_delivered", False)
            failed = self._scheduler.rejected(batch)
        else:
            failed = self._scheduler.failed(batch)
        self._failed_events += len(failed)
        with self.gathering:
            for event in failed:
                event.fail(event.own(error))
        self._after_settling()

    def _after_settling(self) -> None:
        self._unsettled.fire_flushes()
        self._check_idle()

    # Whoever waits

    def listen(self, listener: Callable[[], None]) -> None:
        """Call *listener* whenever events have been sent or settled."""
        self._listeners.append(listener)

    def stop_listening(self, listener: Callable[[], None]) -> None:
        """Call *listener* no more."""
        self._listeners.remove(listener)

    def _wake(self) -> None:
        if self.gathering.depth:
            return
        self._wake_again = True
        if self._waking:
            # Whoever has just been woken up changed something that others wait for.
            return
        self._waking = True
        try:
            while self._wake_again:
                self._wake_again = False
                for listener in list(self._listeners):
                    listener()
                while self._waiting_for_room and self.has_room:
                    self._waiting_for_room.popleft().callback(None)
        finally:
            self._waking = False

    def room(self) -> Deferred[None]:
        """
        Wait until another event can be taken.

        :return: A Deferred that fires with None, first come, first served; it fails with
            a ClosedError once the publisher is closed.
        """
        if self.closed:
            return fail(ClosedError("the publisher is closed"))
        if self.has_room and not self._waiting_for_room:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting_for_room.remove)
        self._waiting_for_room.append(waiter)
        return waiter

    def flush(self, timeout: float | None) -> Deferred[int]:
        """
        Wait for the events so far, and hurry those that linger.

        :param timeout: The most seconds to wait, or None.
        :return: A Deferred that fires with how many of the events are unsettled.
        """
        if self._scheduler.lingering:
            self.hurry()
        return self._unsettled.flush(timeout, lambda: self.reactor)

    def close(self) -> None:
        """Take no more events; who waits for room is told."""
        self.closed = True
        while self._waiting_for_room:
            # Whoever is told may cancel another waiter.
            waiter = self._waiting_for_room.popleft()
            waiter.errback(ClosedError("the publisher was closed"))
        self._wake()

    # The end of the reactor

    def _watch_reactor(self) -> None:
        """Ask to be told when the reactor stops, as long as events are unsettled."""
        if self.exit_timeout is not None:
            return
        try:
            reactor = cast(Any, self.reactor)
        except Exception:
            # There is no reactor to linger with: the events are sent, fail and say so.
            self._scheduler.hurry()
            return
        if IReactorCore.providedBy(reactor):
            self._stop_trigger = reactor.addSystemEventTrigger(
                "before", "shutdown", self._reactor_stops
            )

    def _check_idle(self) -> None:
        if self._stop_trigger is not None and not self.unsettled:
            trigger, self._stop_trigger = self._stop_trigger, None
            cast(Any, self.reactor).removeSystemEventTrigger(trigger)

    def _reactor_stops(self) -> Deferred[None]:
        self._stop_trigger = None
        # A service that stops in the same turn of the reactor may yet begin to wait.
        return deferLater(cast(Any, self.reactor), 0, self._tell_unsettled)

    def _tell_unsettled(self) -> None:
        # Whoever waits for a flush is told how many are left.
        if self.unsettled and not self._unsettled.is_awaited:
            _log.warn(
                "the reactor stops while {count} events of a BatchPublisher are unsettled: "
                "wait for its close() before",
                count=self.unsettled,
            )

    async def before_stop(self) -> None:
        """Take no more events, wait for the unsettled ones, and log how many are lost."""
        if not self.unsettled:
            return
        failed_before = self._failed_events
        self.close()
        lost = await self.flush(self.exit_timeout) + self._failed_events - failed_before
        if lost:
            _log.error(
                "the program ends, and {count} events of a BlockingBatchPublisher are lost: "
                "they were not accepted within exit_timeout={seconds} seconds",
                count=lost,
                seconds=self.exit_timeout,
            )
