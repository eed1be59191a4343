"""
:class:`BatchPublisher`: many triggers, few requests.

When events travel, and with which others, is :mod:`txpusher._batching`'s to decide;
:mod:`txpusher._batch_sender` sends the batches.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from txpusher._batch_sender import BatchSender
from txpusher._event import Event
from txpusher._publication import Publication, Published
from txpusher._request import build_request
from txpusher._text import as_plain_str, with_type
from txpusher._unsettled import SentEvent
from txpusher._validators import (
    check_bool,
    check_optional_whole_number,
    check_seconds,
    check_timeout,
    check_whole_number,
)
from txpusher.client import Pusher
from txpusher.errors import ConfigurationError, InvalidRequestError, PusherError

if TYPE_CHECKING:
    from typing_extensions import Self

Reply = dict[str, Any]


class BatchPublisher:
    """
    Publishes events in batches that form by themselves.

    An idle publisher sends an event at once, or after *linger* seconds unless a batch is
    full before.  While requests are in flight, events gather and go out up to
    ``max_batch_size`` in one request, over up to ``max_connections`` requests at a time.
    Retries and ``maybe_delivered`` are as for :meth:`Pusher.trigger`.

    A batch that the server refuses for its content (400, 413, 422, or the 403 or 406 of a
    firewall: nothing of it was published) is split until only the event at fault fails.
    Any other failure fails every event of the batch.  A batch that waits to be retried
    counts as in flight.

    When the reactor stops while events are unsettled and nobody waits for them, the
    publisher logs how many there are.

    ::

        publisher = BatchPublisher(pusher)
        for price in prices:
            publisher.trigger("prices", "tick", price).addErrback(log_failure)
        await publisher.flush()

    Source: "Batch events" in the HTTP API reference of the Pusher Channels documentation.

    :param pusher: The client to send with; it stays open when the publisher is closed.
    :param max_pending: The most events that wait; events in flight do not count.  Events
        that callbacks of other events trigger may exceed it by what free connections
        carry, ``max_connections * max_batch_size`` at most: they gather until the
        callbacks are done.
    :param ordered: Whether the server acts on the events of a channel in the order of
        their triggers.  A channel then has one request in flight at a time; when an event
        fails, the next goes on.
    :param linger: Seconds for which an event may wait for others while no request is in
        flight; 0 sends it at once.
    :param max_batch_bytes: The most bytes of the body of a request, for servers that take
        no more (Reverb: 10 000 by default); None sets no limit.  A larger event is sent
        alone.
    :raises ConfigurationError: An argument is not what it must be.
    """

    def __init__(
        self,
        pusher: Pusher,
        *,
        max_pending: int = 100_000,
        ordered: bool = True,
        linger: float = 0.0,
        max_batch_bytes: int | None = None,
    ) -> None:
        if not isinstance(pusher, Pusher):
            raise ConfigurationError(
                f"pusher must be a Pusher, not {with_type(pusher)}; "
                "for threads there is BlockingBatchPublisher"
            )
        check_whole_number("max_pending", max_pending, 0)
        check_bool("ordered", ordered)
        check_seconds("linger", linger, zero=True)
        check_optional_whole_number("max_batch_bytes", max_batch_bytes, 1)
        self._api = pusher.api
        self._sender = BatchSender(
            pusher,
            max_pending=max_pending,
            ordered=ordered,
            linger=linger,
            max_batch_bytes=max_batch_bytes,
        )

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
        idempotency_key: str | None = None,
    ) -> Deferred[Reply]:
        """
        Publish one event to one channel.

        The arguments are the arguments of :meth:`Pusher.trigger`.

        :return: A Deferred that fires once the server has accepted the event, with ``{}``
            or the attributes that *info* asked for.  Cancelled in flight, the event
            travels on with its batch.  The Deferred fails as the Deferred of
            :meth:`Pusher.trigger` does; with a :class:`~txpusher.QueueFullError` where
            *max_pending* events wait already; with a :class:`~txpusher.ClosedError` after
            :meth:`close`.
        """
        try:
            encoded = self.encode(channel, event, data, socket_id, info, idempotency_key)
        except PusherError:
            return fail()
        return self.offer(channel, encoded)

    def encode(self, *arguments: Any) -> bytes:
        """
        Make the JSON of an event, for :meth:`offer`; part of the package, not of its API.

        :raises PusherError: An argument is refused.
        """
        return build_request(self._api.batch_item, *arguments)

    def offer(self, channel: str, encoded: bytes) -> Deferred[Reply]:
        """Publish what :meth:`encode` made; part of the package, not of its API."""
        event = _TriggeredEvent(encoded, self._sender)
        refusal = self._sender.offer(as_plain_str(channel), event)
        return event.deferred if refusal is None else fail(refusal)

    def publish(
        self,
        events: Iterable[Event | Mapping[str, Any]] | AsyncIterable[Event | Mapping[str, Any]],
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> Deferred[Published]:
        """
        Publish any number of events, without a Deferred for each of them.

        The publisher reads an event when it can send it: it holds as many events as its
        connections carry (``max_connections * max_batch_size``) and as many again, which
        fill the next batches.  Order, splits, retries and
        ``maybe_delivered`` are as for :meth:`trigger`.  Reading goes on in the reactor's
        thread, for a few milliseconds at a time; an iterable that blocks there belongs
        into an async iterable or a thread.

        ::

            published = await publisher.publish(
                Event("prices", "tick", price) for price in prices
            )
            for place, event, error in published.failed:
                print(place, event, error)

        :param events: Each an :class:`~txpusher.Event` or a mapping with ``channel``,
            ``name``, ``data`` and, if wanted, ``socket_id``, ``info``, ``idempotency_key``.
        :param on_progress: Called with (done, failed), how many events are accepted or
            have failed, and how many of them have failed: at most ten times a second, and
            at the end.  What it raises is logged.
        :return: A Deferred that fires with a :class:`~txpusher.Published` when every event
            is accepted or has failed.  It fails with an
            :class:`~txpusher.InvalidRequestError` where *events* cannot be read, and with a
            :class:`~txpusher.ClosedError` where the publisher is closed before the end of
            *events*; in both cases after the events that had been read are settled.
            Cancelling it reads no further, and takes back the events that wait.
        """
        return self.publication(on_progress).publish(events)

    def publication(
        self, on_progress: Callable[[int, int], object] | None = None
    ) -> Publication:
        """Make what :meth:`publish` runs; part of the package, not of its API."""
        return Publication(self._sender, self._api.batch_item, on_progress)

    def room(self) -> Deferred[None]:
        """
        Wait until another event can be taken.

        ::

            async for price in prices:
                await publisher.room()
                publisher.trigger("prices", "tick", price).addErrback(log_failure)

        :return: A Deferred that fires with None when less than *max_pending* events wait
            (with ``max_pending=0``: when a connection is free), first come, first served.
            It fails with a :class:`~txpusher.ClosedError` once the publisher is closed.
        """
        return self._sender.room()

    def flush(self, timeout: float | None = None) -> Deferred[int]:
        """
        Wait for every event that has been triggered so far, and end its *linger*.

        :param timeout: The most seconds to wait, 0 or more; None waits as long as it takes.
        :return: A Deferred that fires with how many of the events are unsettled: 0 when
            every event before this call has been accepted or has failed, more when the
            time is up.  They are sent all the same.  The Deferred fails with an
            :class:`~txpusher.InvalidRequestError` where *timeout* is something else.
        """
        try:
            check_timeout("timeout", timeout)
        except InvalidRequestError:
            return fail()
        return self._sender.flush(timeout)

    def close(self, timeout: float | None = None) -> Deferred[int]:
        """
        Take no more events, and wait for the events that there are.

        Every later event fails with a :class:`~txpusher.ClosedError`, and so does whoever
        waits for :meth:`room`.  The client stays open.

        :param timeout: As for :meth:`flush`.
        :return: As :meth:`flush`.
        """
        try:
            check_timeout("timeout", timeout)
        except InvalidRequestError:
            return fail()
        self._sender.close()
        return self._sender.flush(timeout)


@attrs.define(eq=False, weakref_slot=False)
class _TriggeredEvent(SentEvent):
    """
    An event with a Deferred of its own.

    The event knows its Deferred, which knows the event until it fires: no cycle outlives
    that.
    """

    _sender: BatchSender
    deferred: Deferred[Reply] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.deferred = Deferred(self._cancelled)

    def _cancelled(self, deferred: object) -> None:
        self._sender.cancel(self)

    # A companion's callback may have cancelled the Deferred meanwhile.

    def accept(self, reply: Reply) -> None:
        """Fire the Deferred with the event's part of the reply."""
        if not self.deferred.called:
            self.count.value -= 1
            self.deferred.callback(reply)

    def fail(self, error: BaseException) -> None:
        """Fire the Deferred with the error."""
        if not self.deferred.called:
            self.count.value -= 1
            self.deferred.errback(Failure(error))
