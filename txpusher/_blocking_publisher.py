"""
:class:`BlockingBatchPublisher`: a :class:`~txpusher.BatchPublisher` for threads.

How a call gets to the reactor's thread and back is :mod:`txpusher._reactor_thread`'s.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import count
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from txpusher._blocking_pusher import BlockingPusher
from txpusher._channel import log_quietly
from txpusher._event import event_arguments
from txpusher._iterables import problem_with
from txpusher._pipe import Pipe
from txpusher._publication import (
    PROGRESS_INTERVAL,
    Encoded,
    Given,
    Publication,
    Published,
)
from txpusher._reactor_call import Call, may_run
from txpusher._reactor_thread import reactor_thread, wait_for, wait_for_query
from txpusher._request import unreadable_argument
from txpusher._text import short_repr, with_type
from txpusher._validators import check_seconds
from txpusher.errors import ConfigurationError, InvalidRequestError, PusherError
from txpusher.publisher import BatchPublisher

if TYPE_CHECKING:
    from typing_extensions import Self

    from txpusher.client import Pusher

Reply = dict[str, Any]

_log = Logger(namespace="txpusher")


class _AwaitedPublisher(BatchPublisher):
    """
    A publisher for whose events the reactor waits before it stops.

    :param exit_timeout: Seconds for which it waits at most.
    """

    def __init__(self, pusher: Pusher, exit_timeout: float, **options: Any) -> None:
        super().__init__(pusher, **options)
        self.capacity = self._sender.capacity
        self._sender.exit_timeout = exit_timeout
        reactor_thread.wait_before_stop(self._sender)


class Submission(Future[Reply]):
    """
    The Future of an event, whose failure is logged where nobody has asked for its outcome.

    :param channel: The channel of the event.
    """

    def __init__(self, channel: str) -> None:
        super().__init__()
        self._channel = channel
        self._asked = False

    def result(self, timeout: float | None = None) -> Reply:
        self._asked = True
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._asked = True
        return super().exception(timeout)

    def add_done_callback(self, fn: Callable[[Future[Reply]], object]) -> None:
        self._asked = True
        super().add_done_callback(fn)

    def __del__(self) -> None:
        error = super().exception() if self.done() and not self._asked else None
        if error is None or sys.is_finalizing() or not may_run():
            # What the end of the program loses is counted in a line of its own.
            return
        log_quietly(self._channel, error)


class BlockingBatchPublisher:
    """
    Publishes events in batches that form by themselves; many threads may share it.

    It is a :class:`~txpusher.BatchPublisher` whose operations wait, or return a
    ``concurrent.futures.Future``.  Making one starts nothing, so that a program may make it
    when it is imported, fork, and publish in each child.

    At the end of the program (of its main function, by ``sys.exit``, by an exception, by
    SIGTERM where the program turns it into ``SystemExit``), the publisher waits for the
    events that it has accepted.  The log then tells how many events are lost, events in
    flight included.  ``os._exit`` and a signal that kills the process leave no time for
    that: call :meth:`close` before.

    ::

        with BlockingBatchPublisher(blocking_pusher) as publisher:
            futures = [publisher.submit("prices", "tick", price) for price in prices]

    Each method but the constructor raises a :class:`~txpusher.BlockingCallError` at once in
    the reactor thread, and in a process that was forked after that thread began; and a
    :class:`~txpusher.ClosedError` once the reactor has stopped.

    :param pusher: The client to send with; it stays open.
    :param max_pending: See :class:`~txpusher.BatchPublisher`.
    :param ordered: See :class:`~txpusher.BatchPublisher`.
    :param linger: See :class:`~txpusher.BatchPublisher`.
    :param max_batch_bytes: See :class:`~txpusher.BatchPublisher`.
    :param exit_timeout: Seconds for which the end of the program waits, 0 or more.
    :raises ConfigurationError: An argument is not what it must be.
    """

    def __init__(
        self,
        pusher: BlockingPusher,
        *,
        max_pending: int = 100_000,
        ordered: bool = True,
        linger: float = 0.0,
        max_batch_bytes: int | None = None,
        exit_timeout: float = 5.0,
    ) -> None:
        if not isinstance(pusher, BlockingPusher):
            raise ConfigurationError(
                f"pusher must be a BlockingPusher, not {with_type(pusher)}"
            )
        check_seconds("exit_timeout", exit_timeout, zero=True)
        self._publisher = _AwaitedPublisher(
            pusher.client,
            exit_timeout,
            max_pending=max_pending,
            ordered=ordered,
            linger=linger,
            max_batch_bytes=max_batch_bytes,
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
        idempotency_key: str | None = None,
    ) -> Reply:
        """
        Publish one event to one channel, and wait until the server has accepted it.

        The arguments are the arguments of :meth:`Pusher.trigger`.

        :return: ``{}``, or the attributes that *info* asked for.
        :raises PusherError: As :meth:`BatchPublisher.trigger` fails.
        """
        reactor_thread.check()
        publisher = self._publisher
        # In the caller's thread, as for BlockingPusher.
        encoded = publisher.encode(channel, event, data, socket_id, info, idempotency_key)
        return wait_for(publisher.offer, channel, encoded)

    def submit(
        self,
        channel: str,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
        idempotency_key: str | None = None,
    ) -> Future[Reply]:
        """
        Publish one event to one channel, without waiting.

        The arguments are the arguments of :meth:`Pusher.trigger`.

        :return: A Future, which cannot be cancelled, of what :meth:`trigger` returns or
            raises; of a refused argument too.  Where nobody asks the Future, a failure is
            logged, as the failure of a Deferred is that nobody handles.
        """
        reactor_thread.check()
        publisher = self._publisher
        try:
            encoded = publisher.encode(channel, event, data, socket_id, info, idempotency_key)
        except PusherError as error:
            refused = Submission(channel)
            refused.set_running_or_notify_cancel()
            # Without the frames, which know the future: a cycle.
            refused.set_exception(error.with_traceback(None))
            return refused
        submission = Submission(channel)
        reactor_thread.start_for(submission, lambda: publisher.offer(channel, encoded))
        return submission

    def publish(
        self,
        events: Iterable[Given],
        *,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> Published:
        """
        Publish any number of events, and wait until all of them are settled.

        *events* are read and encoded in the caller's thread, while the reactor's thread
        sends: at most four times ``max_connections * max_batch_size`` of them are held at
        a time.  An event is sent as soon as it has been read.  Ctrl-C reads no further, and
        takes back the events that wait.

        :param events: Each an :class:`~txpusher.Event` or a mapping, as for
            :meth:`BatchPublisher.publish`.
        :param on_progress: Called in the caller's thread, as for
            :meth:`BatchPublisher.publish`.
        :return: How many events were accepted, and which failed.
        :raises InvalidRequestError: *events* is no iterable, or cannot be read.
        :raises ClosedError: The publisher is closed before the end of *events*.
        """
        reactor_thread.check()
        problem = problem_with(events)
        if problem is not None:
            raise problem
        if on_progress is not None and not callable(on_progress):
            raise InvalidRequestError(
                f"on_progress must be callable, not {with_type(on_progress)}"
            )
        publication = self._publisher.publication()
        pipe: Pipe[Encoded] = reactor_thread.pipe(self._publisher.capacity)
        progress = _Progress(publication, on_progress)
        call = reactor_thread.start(publication.publish_piped, pipe)
        try:
            unreadable = self._read(events, pipe, call, progress)
            pipe.end()
        except BaseException:
            call.cancel()
            raise
        published = call.wait(PROGRESS_INTERVAL, progress.look)
        progress.report()
        if unreadable is not None:
            raise unreadable from unreadable.__cause__
        return published

    def _read(
        self,
        events: Iterable[Given],
        pipe: Pipe[Encoded],
        call: Call[Published],
        progress: _Progress,
    ) -> InvalidRequestError | None:
        """
        Put *events* into *pipe*, one after another.

        :return: Why they cannot be read to the end, or None.
        """
        iterator: Iterator[Given] | None = None
        for place in count():
            try:
                iterator = iter(events) if iterator is None else iterator
                given = next(iterator)
            except StopIteration:
                return None
            except Exception as error:
                unreadable = InvalidRequestError(
                    f"events[{place}] could not be read: "
                    f"{type(error).__name__}: {short_repr(str(error), 200)}"
                )
                unreadable.__cause__ = error
                return unreadable
            if not self._put(self._encoded(given), pipe, call, progress):
                return None
        return None

    def _encoded(self, given: Given) -> Encoded:
        try:
            arguments = event_arguments(given)
            encoded = self._publisher.encode(*arguments)
        except PusherError as error:
            return Encoded(given, "", error)
        except Exception as error:
            refusal = unreadable_argument(error)
            refusal.__cause__ = error
            return Encoded(given, "", refusal)
        return Encoded(given, arguments[0], encoded)

    def _put(
        self,
        entry: Encoded,
        pipe: Pipe[Encoded],
        call: Call[Published],
        progress: _Progress,
    ) -> bool:
        """Put *entry* into *pipe*; return False where the publication takes no more."""
        while not pipe.put(entry, PROGRESS_INTERVAL):
            progress.look()
            if pipe.is_closed or call.is_over():
                return False
        progress.look()
        return True

    def room(self) -> None:
        """
        Wait until another event can be taken, as :meth:`BatchPublisher.room` does.

        :raises ClosedError: The publisher is closed.
        """
        wait_for_query(self._publisher.room)

    def flush(self, timeout: float | None = None) -> int:
        """
        Wait until every event so far has been accepted or has failed.

        :param timeout: The most seconds to wait, 0 or more; None waits as long as it takes.
        :return: How many of the events are unsettled: 0 without a timeout.
        :raises InvalidRequestError: *timeout* is something else.
        """
        return wait_for_query(self._publisher.flush, timeout)

    def close(self, timeout: float | None = None) -> int:
        """
        Take no more events, and wait as :meth:`flush` does.

        :param timeout: As for :meth:`flush`.
        :return: As :meth:`flush`.
        :raises InvalidRequestError: *timeout* is something else.
        """
        return wait_for_query(self._publisher.close, timeout)


class _Progress:
    """
    Calls ``on_progress`` in the caller's thread, at most ten times a second.

    :param publication: Counts the events in the reactor's thread.
    """

    def __init__(
        self, publication: Publication, on_progress: Callable[[int, int], object] | None
    ) -> None:
        self._publication = publication
        self._on_progress = on_progress
        self._next = time.monotonic() + PROGRESS_INTERVAL

    def look(self) -> None:
        """Report where it is time to."""
        if self._on_progress is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_INTERVAL
            self.report()

    def report(self) -> None:
        """Report; what the callable raises is logged."""
        if self._on_progress is None:
            return
        failed = len(self._publication.failed)
        try:
            self._on_progress(self._publication.accepted + failed, failed)
        except Exception:
            _log.failure("on_progress failed")
