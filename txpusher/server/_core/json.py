"""
JSON as the server takes it and gives it.

What comes from outside is read strictly: nothing that could not be written
again, nor nested so deeply that writing it would fail.
"""

from __future__ import annotations

import json
import math
from typing import Any

#: How deep objects and arrays from outside may be nested.
MAX_DEPTH = 100


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
    The value of a JSON text.

    :raises ValueError: It is not JSON in UTF-8, holds NaN, an infinity or a number
        of some thousand digits, or is nested over :data:`MAX_DEPTH` deep.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value = _decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    # Counting is quick, and nearly every message ends here.
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise ValueError("it is nested too deeply")
    return value


def load_object(text: str | bytes) -> dict[str, Any]:
    """The same for a JSON object; any other value is a ValueError too."""
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


def dumps(value: Any) -> str:
    """*value* as compact JSON, UTF-8 kept as it is."""
    return _encode(value)


def dump_bytes(value: Any) -> bytes:
    """
    *value* as compact JSON in UTF-8.

    A lone surrogate, which JSON can escape and UTF-8 cannot express, goes out
    as it came in: escaped.
    """
    try:
        return _encode(value).encode("utf-8")
    except UnicodeEncodeError:
        return _encode_ascii(value).encode("ascii")
