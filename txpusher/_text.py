"""
Values in messages: shortened, as plain str, as UTF-8.

Pure functions that every other module may import.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from itertools import islice
from typing import TypeVar, cast

from txpusher.errors import InvalidRequestError

T = TypeVar("T")


def short_repr(value: object, most: int = 60) -> str:
    """*value* for an error message: its repr, shortened."""
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


def with_type(value: object) -> str:
    """Return *value* for an error message with its type: ``the str 'yes'``."""
    return f"the {type(value).__name__} {short_repr(value)}"


def as_plain_str(text: T) -> T:
    """
    *text* as a plain str where it is one of another class; what is no str as it is.

    An enum of strings is its value to JSON and to ``+``, and in an f-string, from
    Python 3.11 on, the name of its member.
    """
    if type(text) is not str and isinstance(text, str):
        return cast(T, str.__str__(text))
    return text


def take_at_most(limit: int, values: Iterable[T]) -> tuple[list[T], str]:
    """
    *values*, one more than *limit* at the most, and how many they are, in words.

    There may be no end of them.
    """
    first = list(islice(values, limit + 1))
    if isinstance(values, Sized):
        return first, str(len(values))
    return first, f"more than {limit}" if len(first) > limit else str(len(first))


def utf8(what: str, text: str) -> bytes:
    """*text* as UTF-8; *what* names it where that cannot be."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{what} has a lone surrogate at character {error.start}, "
            "which UTF-8 cannot express"
        ) from None
