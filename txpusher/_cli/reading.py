"""
What commands read: the standard input and files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from txpusher.errors import InvalidRequestError


def read_bytes() -> bytes:
    """
    Read the standard input to its end.

    :raises InvalidRequestError: There is none, or it cannot be read.
    """
    if sys.stdin is None:
        raise InvalidRequestError("there is no standard input")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise InvalidRequestError(
            f"cannot read the standard input: {error.strerror or error}"
        ) from None


def raw_lines() -> Iterator[bytes]:
    """
    Yield the lines of the standard input as they come, without their line breaks.

    It is for threads: one that waits in a buffered reader holds the reader's lock, for which
    the interpreter waits at its end.

    :raises OSError: There is none, or it cannot be read.
    """
    if sys.stdin is None:
        raise OSError("there is none")
    descriptor = sys.stdin.fileno()
    begun: list[bytes] = []
    while piece := os.read(descriptor, 65536):
        *lines, rest = piece.split(b"\n")
        if lines:
            lines[0] = b"".join([*begun, lines[0]])
            begun = []
            yield from lines
        if rest:
            begun.append(rest)
    if begun:
        yield b"".join(begun)


def read_text() -> str:
    """
    Read the standard input as UTF-8, without the line break at its end.

    :raises InvalidRequestError: It cannot be read, or is not UTF-8.
    """
    try:
        text = read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"the standard input is not UTF-8, at byte {error.start}"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")


def read_file(name: str) -> bytes:
    """
    Read a file.

    :raises InvalidRequestError: It cannot be read.
    """
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise InvalidRequestError(f"cannot read {name}: {error.strerror or error}") from None
