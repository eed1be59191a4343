"""
How values are read as text, and how they stand in error messages.

The functions are pure, and every other module may import them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from itertools import islice
from typing import TypeGuard, TypeVar, cast

from txpusher.errors import InvalidRequestError

T = TypeVar("T")

#: Types whose str() is never the text of their parts: no look at them is needed.
_COLLECTIONS = (list, tuple, set, frozenset)


def short_repr(value: object, most: int = 60) -> str:
    """
    Return the repr of *value* for an error message, shortened.

    :param most: The most characters that are quoted.
    """
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


def with_type(value: object) -> str:
    """Return *value* for an error message with its type: ``the str 'yes'``."""
    return "None" if value is None else f"the {type(value).__name__} {short_repr(value)}"


def with_wrong_type(kind: type | tuple[type, ...], value: object) -> str:
    """
    Return *value* for an error message, with its type unless the type is *kind*.

    The message then says what is wrong: the repr of lazy text looks like that of a str.
    """
    return short_repr(value) if is_really(kind, value) else with_type(value)


def is_really(kind: type | tuple[type, ...], value: object) -> bool:
    """
    Tell whether the type of *value* itself is *kind* or derives from it; a bool is no int.

    isinstance() believes an object that claims to be of a class, as the proxies of Django
    and werkzeug do; the methods of that class then raise a TypeError.
    """
    return issubclass(type(value), kind) and (type(value) is not bool or kind is bool)


def is_str(value: object) -> TypeGuard[str]:
    """Tell whether *value* is a str, and not only claims to be one."""
    return issubclass(type(value), str)


def as_plain_str(text: T) -> T:
    """
    Convert an instance of a subclass of str to a str; return any other value as it is.

    A member of an enum of strings is its value to JSON and to ``+``, but the name of the
    member to an f-string, from Python 3.11 on.
    """
    if type(text) is not str and is_str(text):
        return cast(T, str.__str__(text))
    return text


def take_at_most(limit: int, values: Iterable[T]) -> tuple[list[T], str]:
    """
    Return the first *limit* + 1 of *values*, and in words how many there are.

    No more is taken from *values*, which may have no end.
    """
    first = list(islice(values, limit + 1))
    if isinstance(values, Sized):
        return first, str(len(values))
    return first, f"more than {limit}" if len(first) > limit else str(len(first))


def take_parts(what: str, given: object, limit: int) -> tuple[list[object], str] | None:
    """
    Return the parts of what stands for several names, and in words how many there are.

    :param what: The name of the argument, for the message.
    :param given: The argument, which is not a str.
    :param limit: The most parts that are accepted; one more is taken.
    :return: None where *given* is no iterable, or one that cannot be of names.
    :raises InvalidRequestError: *given* is like a str and none: iterating over it gives
        the letters of its text, each of which would be taken for a name.
    """
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        return None
    try:
        iter(given)
    except TypeError:
        # A proxy claims to be iterable, and stands for an object that is not.
        return None
    parts, count = take_at_most(limit, given)
    if type(given) not in _COLLECTIONS and _is_text_of(given, parts, limit):
        raise InvalidRequestError(
            f"{what} must be a str or an iterable of str, not text that is no str, "
            f"{with_type(given)}: str() makes a str of it"
        )
    return parts, count


def _is_text_of(given: object, parts: list[object], limit: int) -> bool:
    """Tell whether str(*given*) is *parts*, joined: it is so of lazy text alone."""
    letters = [part for part in parts if is_str(part)]
    text, joined = str(given), "".join(letters)
    if len(letters) < len(parts) or (len(parts) == 1 and len(joined) > 1):
        # The str() of a collection may be its only name: the name is right.
        return False
    return text.startswith(joined) if len(parts) > limit else text == joined


def utf8(what: str, text: str) -> bytes:
    """
    Encode *text* as UTF-8.

    :param what: The name of the text, for the message.
    :raises InvalidRequestError: The text has a lone surrogate.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{what} has a lone surrogate at character {error.start}, "
            "which UTF-8 cannot express"
        ) from None
