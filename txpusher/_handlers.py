"""
Handlers of messages, and the iterators that read the same messages one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from inspect import iscoroutine
from typing import Any
from weakref import WeakSet

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from txpusher._protocol.incoming import Message
from txpusher._text import with_type
from txpusher._waiters import own_error
from txpusher.errors import InvalidRequestError, PusherError, QueueFullError

_log = Logger(namespace="txpusher")

#: Called with a message; what it returns may be a Deferred or a coroutine.
Handler = Callable[[Message], object]


def call_handler(handler: Callable[..., object], *arguments: Any) -> None:
    """Call *handler*; an exception is logged, from a Deferred or a coroutine too."""
    try:
        result = handler(*arguments)
        if result is None:
            return
        if iscoroutine(result):
            result = Deferred.fromCoroutine(result)
    except Exception:
        _log.failure("a handler has raised")
        return
    if isinstance(result, Deferred):
        result.addErrback(lambda failure: _log.failure("a handler has failed", failure))


class Handlers:
    """
    Handlers by the names of events, and for every event.

    :ivar open: Whether handlers are called.
    """

    def __init__(self) -> None:
        self.open = True
        # Tuples: a handler may bind or unbind while the handlers are called.
        self._by_event: dict[str, tuple[Handler, ...]] = {}
        self._of_all: tuple[Handler, ...] = ()

    def bind(self, event: str, handler: Handler) -> None:
        """Call *handler* with each message of *event*."""
        if not isinstance(event, str):
            raise InvalidRequestError(f"event must be a str, not {with_type(event)}")
        _check(handler)
        self._by_event[event] = (*self._by_event.get(event, ()), handler)

    def bind_all(self, handler: Handler) -> None:
        """Call *handler* with each message."""
        _check(handler)
        self._of_all = (*self._of_all, handler)

    def unbind(self, event: str | None = None, handler: Handler | None = None) -> None:
        """
        Forget handlers; one that is not bound is no error.

        :param event: The event whose handlers are meant, None for all of them, those of
            every event too.
        :param handler: The handler that is meant, None for all of them.
        """
        if event is None:
            self._of_all = _without(self._of_all, handler)
        for name in list(self._by_event) if event is None else [event]:
            left = _without(self._by_event.pop(name, ()), handler)
            if left:
                self._by_event[name] = left

    def tell(self, message: Message) -> None:
        """
        Call the handlers of the event, then those of every event, in the order bound.

        Where one of them leaves the channel, those after it are not called.
        """
        for handler in self._by_event.get(message.event, ()):
            if self.open:
                call_handler(handler, message)
        for handler in self._of_all:
            if self.open:
                call_handler(handler, message)


def _check(handler: object) -> None:
    if not callable(handler):
        raise InvalidRequestError(f"handler must be callable, not {with_type(handler)}")


def _without(handlers: tuple[Handler, ...], handler: Handler | None) -> tuple[Handler, ...]:
    # A bound method is another object each time, and equal.
    return () if handler is None else tuple(h for h in handlers if h != handler)


class Inbox(Handlers):
    """
    The handlers of one subscription, and its iterators.

    :param limit: The most messages that wait in one iterator.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        # An iterator lives as long as its loop does.
        self._iterators: WeakSet[Messages] = WeakSet()
        # A loop that waits is held by nobody but its iterator.
        self.awaited: set[Messages] = set()
        self._end: PusherError | None = None

    def iterate(self) -> Messages:
        """Return an iterator over the events from now on."""
        messages = Messages(self, self._limit)
        if self.open:
            self._iterators.add(messages)
        else:
            messages.end(self._end)
        return messages

    def tell(self, message: Message) -> None:
        """Tell the handlers and, of an event itself, the iterators."""
        super().tell(message)
        if self._iterators and not message.event.startswith("pusher:"):
            for messages in list(self._iterators):
                messages.put(message)

    def forget(self, messages: Messages) -> None:
        """Put nothing more into an iterator that has ended."""
        self._iterators.discard(messages)

    def end(self, reason: PusherError | None) -> None:
        """Call no handler more, end every iterator: with *reason*, None for no error."""
        if self.open:
            self.open = False
            self._end = reason
            for messages in list(self._iterators):
                messages.end(reason)


class Messages(AsyncIterator[Message]):
    """
    The events of a subscription, from the moment when iteration began.

    At most *limit* events wait.  One that does not fit ends the iteration with a
    QueueFullError after those that wait, so that no event is left out unnoticed.
    """

    def __init__(self, inbox: Inbox, limit: int) -> None:
        self._inbox = inbox
        self._limit = limit
        self._buffer: deque[Message] = deque()
        self._waiters: deque[Deferred[Message]] = deque()
        self._over: Exception | None = None

    def __aiter__(self) -> Messages:
        return self

    def __anext__(self) -> Deferred[Message]:
        """Return a Deferred of the next event."""
        if self._buffer:
            return succeed(self._buffer.popleft())
        if self._over is not None:
            return fail(own_error(self._over))
        waiter: Deferred[Message] = Deferred(self._forget)
        self._waiters.append(waiter)
        self._inbox.awaited.add(self)
        return waiter

    def put(self, message: Message) -> None:
        """Hand out an event, or keep it for later."""
        if self._waiters:
            waiter = self._waiters.popleft()
            self._rest()
            waiter.callback(message)
        elif self._over is not None:
            # The callback of another iterator has ended this one.
            return
        elif len(self._buffer) < self._limit:
            self._buffer.append(message)
        else:
            self.end(
                QueueFullError(
                    f"the iteration is too slow: {self._limit} events wait already "
                    "(max_buffered), and the next one is lost"
                )
            )

    def end(self, reason: PusherError | None) -> None:
        """End after the events that wait: with *reason*, None for no error."""
        self._inbox.forget(self)
        self._over = reason or StopAsyncIteration()
        while self._waiters:
            # Its callback may cancel another waiter.
            self._waiters.popleft().errback(own_error(self._over))
        self._rest()

    def _forget(self, waiter: Deferred[Message]) -> None:
        self._waiters.remove(waiter)
        self._rest()

    def _rest(self) -> None:
        if not self._waiters:
            self._inbox.awaited.discard(self)
