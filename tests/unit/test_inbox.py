"""The handlers and the iterators of one subscription, and their end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from txpusher._handlers import Inbox
from txpusher._protocol.incoming import Message
from txpusher.errors import ClosedError

MESSAGE = Message("room", "e", 1, "1")


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(10)


def next_of(messages: AsyncIterator[Message]) -> Any:
    """What the next message of an iterator is, or the type of the error."""
    seen: list[Any] = []
    waiter: Any = anext(messages)
    assert isinstance(waiter, Deferred)
    waiter.addCallbacks(seen.append, lambda failure: seen.append(failure.type))
    return seen[0] if seen else None


def test_iterator_hands_out_what_came_before_the_end(inbox):
    messages = inbox.iterate()
    inbox.tell(MESSAGE)
    inbox.end(ClosedError("closed"))
    assert [next_of(messages) for _ in range(3)] == [MESSAGE, ClosedError, ClosedError]


def test_iterator_that_another_one_ends_while_a_message_is_handed_out_gets_none(inbox):
    messages = inbox.iterate()
    inbox.end(None)
    messages.put(MESSAGE)
    assert next_of(messages) is StopAsyncIteration


@pytest.mark.parametrize("bind", ["bind", "bind_all"])
def test_handler_that_ends_everything_is_the_last_one(inbox, bind):
    told = []
    messages = inbox.iterate()
    arguments = ["e"] if bind == "bind" else []
    for handler in (told.append, lambda message: inbox.end(None), told.append):
        getattr(inbox, bind)(*arguments, handler)
    inbox.tell(MESSAGE)
    inbox.tell(MESSAGE)
    assert told == [MESSAGE]
    assert next_of(messages) is StopAsyncIteration
