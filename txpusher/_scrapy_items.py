# -*- test-case-name: tests.unit.test_scrapy_items -*-
"""
From an item to the JSON of its event: fields chosen, bytes as text, length bounded.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from itemadapter import ItemAdapter

from txpusher.errors import InvalidRequestError

Serialize = Callable[[Any], str]


class OversizeError(InvalidRequestError):
    """The JSON of an item is longer than an event may be."""

    def __init__(self, item: Any, size: int, limit: int) -> None:
        super().__init__(
            f"an item of class {type(item).__name__} has {size} bytes as an event, "
            f"{limit} are allowed"
        )


def encode_item(
    item: Any,
    serialize: Serialize,
    fields: Mapping[str, str] | None,
    limit: int,
    *,
    trim: bool,
) -> str:
    """
    Return the JSON of *item* as an event.

    :param item: Whatever ItemAdapter adapts: a dict, an Item, a dataclass, attrs, pydantic.
    :param serialize: Makes JSON of dicts, lists and values.
    :param fields: The fields to take, each with its name in the event; None for all.
    :param limit: The most bytes of UTF-8.
    :param trim: Whether the longest texts are shortened until the item fits.
    :raises OversizeError: The JSON is longer than *limit*.
    :raises InvalidRequestError: A field cannot be encoded; the message names the field and
        the class of the item.
    """
    values = _chosen(item, fields)
    text = _encoded(item, values, serialize)
    size = len(text.encode("utf-8", "replace"))
    if size <= limit:
        return text
    fitting = _trimmed(values, serialize, limit) if trim else None
    if fitting is None:
        raise OversizeError(item, size, limit)
    return fitting


def _chosen(item: Any, fields: Mapping[str, str] | None) -> dict[str, Any]:
    values = ItemAdapter(item).asdict()
    if fields is not None:
        values = {name: values[field] for field, name in fields.items() if field in values}
    return {name: _with_text(value) for name, value in values.items()}


def _with_text(value: Any) -> Any:
    """
    Return *value* with its bytes as text, and its sets as lists.

    Bytes are decoded as UTF-8 where they are UTF-8, else encoded in base64.
    """
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            return b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {_with_text(key): _with_text(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_text(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return _in_order([_with_text(inner) for inner in value])
    return value


def _in_order(values: list[Any]) -> list[Any]:
    """Sort what a set holds, so that equal items make equal events."""
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=repr)


def _encoded(item: Any, values: dict[str, Any], serialize: Serialize) -> str:
    try:
        text = serialize(values)
    except Exception as error:
        field = _culprit(values, serialize)
        raise InvalidRequestError(
            f"field {field!r} of an item of class {type(item).__name__} cannot be encoded: "
            f"{type(error).__name__}: {error}"
        ) from error
    if isinstance(text, bytes):
        return text.decode("utf-8")
    if not isinstance(text, str):
        raise InvalidRequestError(
            f"PUSHER_SERIALIZER must return a str, not {type(text).__name__}"
        )
    return text


def _culprit(values: dict[str, Any], serialize: Serialize) -> str | None:
    for name, value in values.items():
        try:
            serialize({name: value})
        except Exception:
            return name
    return None


def _trimmed(values: dict[str, Any], serialize: Serialize, limit: int) -> str | None:
    """
    Return the JSON of *values* with every text cut to the longest length that fits.

    Short texts stay whole: only the longest ones are cut.  None where the item does not fit
    even without its texts.
    """
    shortest, longest = 0, _longest_text(values)
    best: str | None = None
    while shortest <= longest:
        length = (shortest + longest) // 2
        text = _encoded(None, _cut(values, length), serialize)
        if len(text.encode("utf-8", "replace")) <= limit:
            best, shortest = text, length + 1
        else:
            longest = length - 1
    return best


def _longest_text(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return max(map(_longest_text, value.values()), default=0)
    if isinstance(value, list):
        return max(map(_longest_text, value), default=0)
    return 0


def _cut(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return value[:length]
    if isinstance(value, Mapping):
        return {key: _cut(inner, length) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cut(inner, length) for inner in value]
    return value
