"""
The JSON that the library writes: compact, UTF-8 kept as it is, NaN refused.

The functions are pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder as _encoder
from typing import Any


class _Encoder(json.JSONEncoder):
    """Names the type of a value itself, where a proxy claims to be of another class."""

    def default(self, o: Any) -> Any:
        raise TypeError(f"Object of type {type(o).__name__} is not JSON serializable")


_ENCODER = _Encoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

#: The most names that a :class:`KnownNames` remembers.
MOST_NAMES = 1024


def _one_encoder() -> Callable[[Any], str]:
    """
    Make the function that is :func:`json_dumps`.

    ``JSONEncoder.encode`` builds an encoder in C for each value; one that is built once takes
    2.7 instead of 4.3 µs for a small mapping.  It looks for no circles, so that threads may
    share it: where nesting has no end, ``JSONEncoder.encode`` says why.

    The encoder in C is not documented: CPython 3.10 to 3.14 has it, PyPy has none.
    """
    make: Any = getattr(_encoder, "c_make_encoder", None)
    if make is None:
        return _ENCODER.encode
    iterate = make(None, _ENCODER.default, encode_text, None, ":", ",", False, False, False)
    join = "".join

    def encode(value: Any) -> str:
        try:
            return join(iterate(value, 0))
        except RecursionError:
            return _ENCODER.encode(value)

    return encode


#: Encodes a str as JSON, as :func:`json_dumps` does, without a look at the type.
encode_text: Callable[[str], str] = getattr(_encoder, "encode_basestring", _ENCODER.encode)

#: The default ``json_dumps``: it is compact, keeps UTF-8 as it is and refuses NaN.
json_dumps: Callable[[Any], str] = _one_encoder()


class KnownNames(dict[str, str]):
    """
    Names that were checked, each with its JSON; not more than so many.

    Most events go to a few channels under a few names: to check and to encode both names
    takes 1.9 µs, to look them up 0.2 µs.

    :param check: Returns a name as a plain str, or raises what refuses it.
    """

    def __init__(self, check: Callable[[object], str]) -> None:
        super().__init__()
        self._check = check

    def encoded(self, name: object) -> str:
        """
        Return *name* as JSON.

        :raises InvalidRequestError: *name* is refused.
        """
        # Other types may have an equality or a hash of their own, or none.
        if type(name) is str:
            return self[name]
        return encode_text(self._check(name))

    def __missing__(self, name: str) -> str:
        """Check and encode a name, and remember it."""
        text = encode_text(self._check(name))
        if len(self) >= MOST_NAMES:
            self.clear()
        self[name] = text
        return text
