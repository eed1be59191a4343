"""
JSON as the server reads and writes it.

JSON from outside is read strictly: the server refuses a value that it could not write
again, and one that is nested so deeply that writing it would fail.
"""

from __future__ import annotations

import json
import math
from typing import Any

from txpusher.server import _limits as limits


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        more = "..." if len(text) > 20 else ""
        raise ValueError(f"{text[:20]}{more} is too large for a number")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        # Python's own words are about a setting of Python.
        raise ValueError(f"a number of {len(text)} characters is too long") from None


_decode = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, parse_int=_whole).decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def loads(text: str | bytes) -> Any:
    """
    Return the value of a JSON text.

    :raises ValueError: *text* is not JSON in UTF-8, holds NaN, an infinity or a number
        of some thousand digits, or is nested deeper than ``limits.JSON_DEPTH``.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value = _decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    # Counting is quick, and nearly every message ends here.
    if text.count("[") + text.count("{") > limits.JSON_DEPTH and _deeper_than(
        value, limits.JSON_DEPTH
    ):
        raise ValueError("it is nested too deeply")
    return value


def load_object(text: str | bytes) -> dict[str, Any]:
    """
    Return the JSON object of a text.

    :raises ValueError: *text* is not JSON, as :func:`loads` has it, or not an object.
    """
    value = loads(text)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(value, (dict, list)) for value in level)


def kind_of(value: object) -> str:
    """
    Return in words what kind of JSON value *value* is.

    A message says so in place of the value where the value may hold a signature: programs
    give the whole answer of an auth endpoint for a part of it.
    """
    if value is None:
        return "null"
    kind = next(kind for type_, kind in _KINDS if isinstance(value, type_))
    return f"a JSON {kind}"


#: A bool is an int too.
_KINDS = (
    (bool, "boolean"),
    ((int, float), "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)


def dumps(value: Any) -> str:
    """Return *value* as compact JSON, in which only control characters are escaped."""
    return _encode(value)


def dump_bytes(value: Any) -> bytes:
    """
    Return *value* as compact JSON in UTF-8.

    A lone surrogate, which JSON can escape and UTF-8 cannot express, is escaped, as it
    was when it came in.
    """
    try:
        return _encode(value).encode("utf-8")
    except UnicodeEncodeError:
        return _encode_ascii(value).encode("ascii")
