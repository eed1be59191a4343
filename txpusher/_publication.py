"""
:class:`Publication`: any number of events, read no faster than they can be sent.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from typing import TYPE_CHECKING, Any, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import Logger

from txpusher._batch_sender import BatchSender
from txpusher._event import Event, event_arguments
from txpusher._iterables import next_of, problem_with, started
from txpusher._request import unreadable_argument
from txpusher._text import as_plain_str, short_repr, with_type
from txpusher._unsettled import Reply, SentEvent
from txpusher._waiters import without_frames
from txpusher.errors import ClosedError, InvalidRequestError, PusherError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from txpusher._pipe import Pipe

#: Seconds between two calls of ``on_progress``: ten in a second, the last one included.
PROGRESS_INTERVAL = 0.125
#: Events that are read, as a multiple of what the connections carry.  While as many are in
#: flight, as many gather: with less, batches of many channels were two thirds full.
HELD = 2
#: Seconds for which an iterable is read before the reactor gets its turn.
READING_TIME = 0.01

Given = Event | Mapping[str, Any]

_log = Logger(namespace="txpusher")


@attrs.frozen
class Published:
    """
    The outcome of the events that :meth:`BatchPublisher.publish` was given.

    :ivar accepted: How many events the server has accepted.
    :ivar failed: The other events, in the order in which they were given: each a tuple of
        its place (0 is the first), the event as it was given, and its error.
    """

    accepted: int
    failed: list[tuple[int, Given, Exception]]


@attrs.frozen
class Encoded:
    """
    One event that was read in a thread.

    :ivar given: The event as it was given.
    :ivar channel: Its channel.
    :ivar encoded: The event as JSON, or the error that refuses it.
    """

    given: Given
    channel: str
    encoded: bytes | PusherError


@attrs.define(eq=False, weakref_slot=False)
class _PublishedEvent(SentEvent):
    """One event of a publication."""

    publication: Publication
    place: int
    given: Given

    def accept(self, reply: Reply) -> None:
        """Count the event as accepted."""
        self.count.value -= 1
        publication = self.publication
        del publication.held[self.place]
        publication.accepted += 1

    def fail(self, error: BaseException) -> None:
        """Count the event as failed, or as dropped where it was cancelled."""
        self.count.value -= 1
        publication = self.publication
        del publication.held[self.place]
        if isinstance(error, CancelledError):
            publication.dropped.append(self.given)
        else:
            bare = cast(Exception, without_frames(error))
            publication.failed.append((self.place, self.given, bare))


class Publication:
    """
    One run of :meth:`BatchPublisher.publish`: reads events, and counts their outcomes.

    :param sender: Sends the events.
    :param encode: Makes the JSON of an event; what it raises refuses the event.
    :param on_progress: As for :meth:`BatchPublisher.publish`.
    :ivar held: The events that were read whose outcome is not known yet, by their places.
    :ivar accepted: How many events the server has accepted so far.
    :ivar failed: The events that have failed so far.
    :ivar dropped: The events that were read and not sent, because it was cancelled.
    """

    def __init__(
        self,
        sender: BatchSender,
        encode: Callable[..., bytes],
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self._sender = sender
        self._encode = encode
        self._on_progress = on_progress
        self._next_report = self._end_of_turn = 0.0
        self._turn_call: IDelayedCall | None = None
        self._is_reading = self._is_over = False
        self._seconds: Callable[[], float]
        self._place = 0
        self._most_unsettled = HELD * sender.capacity
        self.held: dict[int, Given] = {}
        self._waiter: tuple[Callable[[], bool], Deferred[None]] | None = None
        self.accepted = 0
        self.failed: list[tuple[int, Given, Exception]] = []
        self.dropped: list[Given] = []

    @property
    def unsettled(self) -> list[Given]:
        """The events that were read and have neither been accepted nor failed, in order."""
        return list(self.held.values())

    def publish(self, events: Iterable[Given] | AsyncIterable[Given]) -> Deferred[Published]:
        """Publish *events*: :meth:`BatchPublisher.publish`."""
        if self._on_progress is not None and not callable(self._on_progress):
            return fail(
                InvalidRequestError(
                    f"on_progress must be callable, not {with_type(self._on_progress)}"
                )
            )
        if isinstance(events, AsyncIterable):
            return self._run(self._read_async(events))
        problem = problem_with(events)
        if problem is not None:
            return fail(problem)
        return self._run(self._read(events))

    def publish_piped(self, pipe: Pipe[Encoded]) -> Deferred[Published]:
        """Publish the events that a thread puts into *pipe*."""
        return self._run(self._read_pipe(pipe))

    def _run(self, reading: Coroutine[Deferred[Any], Any, None]) -> Deferred[Published]:
        running = Deferred.fromCoroutine(self._read_and_settle(reading))
        published: Deferred[Published] = Deferred(lambda _: self._cancel(running))
        running.addBoth(self._tell, published)
        return published

    @staticmethod
    def _tell(outcome: Any, published: Deferred[Published]) -> None:
        if not published.called:
            published.callback(outcome)

    def _cancel(self, running: Deferred[Published]) -> None:
        # An async generator that is running cannot be stopped: its next event is not taken.
        self._is_over = True
        running.cancel()

    async def _read_and_settle(self, reading: Coroutine[Deferred[Any], Any, None]) -> Published:
        problem: PusherError | None = None
        self._sender.listen(self._look)
        try:
            self._seconds = self._sender.reactor.seconds
            now = self._seconds()
            self._next_report, self._end_of_turn = now + PROGRESS_INTERVAL, now + READING_TIME
            try:
                await reading
            except PusherError as error:
                problem = error
            await self._until(lambda: not self.held)
        except CancelledError:
            self._sender.drop_waiting(lambda event: getattr(event, "publication", None) is self)
            raise
        finally:
            # Without a reactor it has not begun.
            reading.close()
            self._is_over = True
            self._sender.stop_listening(self._look)
            if self._turn_call is not None:
                self._turn_call.cancel()
        self._report()
        if problem is not None:
            raise problem
        return Published(self.accepted, sorted(self.failed, key=lambda entry: entry[0]))

    # Reading

    async def _read(self, events: Iterable[Given]) -> None:
        iterator = started(iter, events)
        try:
            await self._until(lambda: self._read_some(iterator))
        finally:
            self._close(iterator)

    def _read_some(self, iterator: Iterator[Given]) -> bool:
        """
        Read until there is no room, or until it is the reactor's turn.

        :return: Whether that was the end.
        """
        # What has been read is sent from within, and whoever is told of that looks again.
        if self._is_reading or self._turn_call is not None:
            return False
        self._is_reading = True
        try:
            return self._read_while_room(iterator)
        finally:
            self._is_reading = False
            if self._is_over:
                self._close(iterator)

    def _close(self, iterator: Iterator[Given]) -> None:
        # A generator may be what cancels its publication: it cannot be closed from within.
        if inspect.isgenerator(iterator) and not self._is_reading:
            iterator.close()

    def _read_while_room(self, iterator: Iterator[Given]) -> bool:
        seconds, sender = self._seconds, self._sender
        end = seconds() + READING_TIME
        # Events that are refused, or fail as soon as they are sent, leave room for others.
        while (room := self._room()) > 0:
            with sender.gathering:
                for _ in range(room):
                    try:
                        given = next(iterator)
                    except StopIteration:
                        return True
                    except Exception as error:
                        raise self._unreadable(error) from error
                    self._offer(given)
                    if seconds() >= end:
                        reactor = cast(Any, sender.reactor)
                        self._turn_call = reactor.callLater(0, self._turn_came)
                        return False
        return False

    def _turn_came(self) -> None:
        self._turn_call = None
        self._look()

    async def _read_async(self, events: AsyncIterable[Given]) -> None:
        iterator: AsyncIterator[Given] = started(aiter, events)
        try:
            while True:
                coming = Deferred.fromCoroutine(next_of(iterator))
                if not coming.called:
                    # As long as events come at once, they gather.
                    self._sender.send_due()
                try:
                    given = await coming
                except CancelledError:
                    raise
                except Exception as error:
                    raise self._unreadable(error) from error
                if given is None:
                    return
                self._offer(given[0])
                if self._must_pause():
                    self._sender.send_due()
                    await self._pause()
        finally:
            self._sender.send_due()
            if inspect.isasyncgen(iterator):
                await iterator.aclose()

    async def _read_pipe(self, pipe: Pipe[Encoded]) -> None:
        try:
            while entries := await pipe.get():
                with self._sender.gathering:
                    for entry in entries:
                        self._enter(entry.given, entry.channel, entry.encoded)
                await self._until(lambda: not self._is_full())
        finally:
            pipe.close()

    def _must_pause(self) -> bool:
        """Whether there is no room, or it is the reactor's turn."""
        return self._is_full() or self._seconds() >= self._end_of_turn

    async def _pause(self) -> None:
        """Wait for room; where there is room and time is up, give the reactor its turn."""
        reactor = self._sender.reactor
        if self._is_full():
            await self._until(lambda: not self._is_full())
        elif reactor.seconds() >= self._end_of_turn:
            await deferLater(cast(Any, reactor), 0)
        else:
            return
        self._end_of_turn = reactor.seconds() + READING_TIME

    def _offer(self, given: Given) -> None:
        try:
            arguments = event_arguments(given)
            encoded = self._encode(*arguments)
        except PusherError as error:
            self._enter(given, "", error)
        except Exception as error:
            refusal = unreadable_argument(error)
            refusal.__cause__ = error
            self._enter(given, "", refusal)
        else:
            self._enter(given, arguments[0], encoded)

    def _enter(self, given: Given, channel: str, encoded: bytes | PusherError) -> None:
        """
        Take one event that was read.

        :raises ClosedError: The publisher is closed.
        :raises CancelledError: The iterable has cancelled its publication.
        """
        place, sender = self._place, self._sender
        if self._is_over:
            raise CancelledError
        if sender.closed:
            raise ClosedError(f"the publisher was closed before events[{place}] was sent")
        self._place = place + 1
        if isinstance(encoded, PusherError):
            self.failed.append((place, given, encoded))
            return
        self.held[place] = given
        name = channel if type(channel) is str else as_plain_str(channel)
        sender.add(name, _PublishedEvent(encoded, self, place, given))

    def _unreadable(self, error: Exception) -> InvalidRequestError:
        return InvalidRequestError(
            f"events[{self._place}] could not be read: "
            f"{type(error).__name__}: {short_repr(str(error), 200)}"
        )

    def _room(self) -> int:
        """Return how many more events can be sent."""
        return min(self._most_unsettled - len(self.held), self._sender.vacant)

    def _is_full(self) -> bool:
        return self._room() <= 0

    # Outcomes

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* is met, which is asked whenever events are sent or settled."""
        if self._is_over:
            # It was cancelled while it ran, which stops no coroutine.
            raise CancelledError
        if condition():
            return
        waiter: Deferred[None] = Deferred()
        self._waiter = condition, waiter
        try:
            await waiter
        finally:
            self._waiter = None

    def _look(self) -> None:
        """Go on where there is what was waited for; events have been sent or settled."""
        if self._on_progress and not self._is_over and self._seconds() >= self._next_report:
            self._next_report = self._seconds() + PROGRESS_INTERVAL
            self._report()
        if self._waiter is None:
            return
        condition, waiter = self._waiter
        try:
            is_met = condition()
        except BaseException:
            # Whatever the iterable raises belongs to whoever publishes it.
            if not waiter.called:
                waiter.errback()
            return
        if is_met and not waiter.called:
            waiter.callback(None)

    def _report(self) -> None:
        if self._on_progress is None:
            return
        failed = len(self.failed)
        try:
            self._on_progress(self.accepted + failed, failed)
        except Exception:
            _log.failure("on_progress failed")
