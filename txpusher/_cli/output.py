# -*- test-case-name: tests.unit.test_cli -*-
"""
What commands print: tables and colours for people, a JSON object in each line for programs.

The functions compute, but for :func:`wants_colours` and :func:`wants_json`, which look at the
terminal and the environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: The colours of a terminal, by what they are for.
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def wants_colours(stream: Any) -> bool:
    """Return whether *stream* is a terminal whose user has not asked for no colours."""
    return (
        stream is not None
        and bool(stream.isatty())
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def wants_json(asked: bool) -> bool:
    """
    Return whether a program reads the standard output.

    :param asked: Whether ``--json`` was given.
    """
    return asked or not sys.stdout.isatty()


def printable(text: str) -> str:
    """Return *text* without what steers a terminal: names and data come from anyone."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(char: str) -> str:
    return char if char.isprintable() else repr(char)[1:-1]


def one_line(text: str) -> str:
    """Return *text* in one line, its line breaks and other white space as single spaces."""
    return printable(" ".join(text.split()))


def ndjson(value: Any, *, strict: bool = False) -> str:
    """
    Return *value* as JSON in one line.

    A lone surrogate, which no output can encode, is escaped.

    :param strict: Whether a number that JSON cannot express is a ValueError.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=not strict)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def shortened(text: str, most: int) -> str:
    """Return *text*, cut after *most* characters."""
    return text if len(text) <= most else f"{text[:most]}..."


class Paint:
    """
    Paints text for a terminal.

    :param colours: Whether there are colours; without them, text stays as it is.
    """

    def __init__(self, colours: bool) -> None:
        self.colours = colours

    def __call__(self, colour: str, text: str) -> str:
        """Paint *text*: bold, dim, red, green, yellow or cyan."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.colours else text


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], paint: Paint) -> list[str]:
    """
    Return the lines of a table for people.

    :param columns: The keys of the rows, which are the headings too.
    :param rows: What stands below; a key that a row lacks is an empty cell.
    """
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    headings = [column.replace("_", " ").upper() for column in columns]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    return [
        paint("bold", _aligned(headings, widths)),
        *(_aligned(row, widths) for row in cells),
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(value) if isinstance(value, str) else ndjson(value)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    pairs = zip(cells, widths, strict=True)
    return "  ".join(cell.ljust(width) for cell, width in pairs).rstrip()


def columns_of(first: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys of all *rows*, *first* before the others, in the order found."""
    found = dict.fromkeys(first)
    for row in rows:
        found.update(dict.fromkeys(row))
    return list(found)


def grouped(number: int) -> str:
    """Return *number* with its digits in groups of three."""
    return f"{number:,}".replace(",", "\N{NO-BREAK SPACE}")
