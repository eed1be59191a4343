"""
The iterables that users give: which ones are refused, and how their items are had.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, TypeVar

from txpusher._event import Event
from txpusher._text import short_repr, with_type
from txpusher.errors import InvalidRequestError

T = TypeVar("T")


def problem_with(events: object) -> InvalidRequestError | None:
    """Say why *events* is no iterable of events; None where it is one."""
    single = isinstance(events, (str, bytes, Mapping, Event))
    if isinstance(events, Iterable) and not single:
        return None
    return InvalidRequestError(
        f"events must be an iterable of several events, not {with_type(events)}"
    )


def started(start: Callable[[Any], T], events: object) -> T:
    """
    Call ``iter`` or ``aiter``.

    :raises InvalidRequestError: The class of the user's raises something.
    """
    try:
        return start(events)
    except Exception as error:
        raise InvalidRequestError(
            f"events could not be read: {type(error).__name__}: {short_repr(str(error), 200)}"
        ) from error


async def next_of(iterator: AsyncIterator[T]) -> tuple[T] | None:
    """Wait for the next item; None after the last one."""
    try:
        return (await anext(iterator),)
    except StopAsyncIteration:
        return None
