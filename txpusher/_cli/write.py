"""
The standard output of commands without a reactor, and what to do where it takes no more.
"""

from __future__ import annotations

import os
import sys

from txpusher._cli.codes import FAILED, fail


def write_line(text: str) -> None:
    """
    Print a line.

    :raises OSError: The output takes no more; :func:`cannot_write` has the exit code.
    """
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def set_waiting(waits: bool) -> bool:
    """
    Have a write to the standard output wait for its reader, or raise BlockingIOError.

    What is set holds for every process that has the output.

    :return: Whether that has changed something.
    """
    try:
        number = sys.stdout.fileno()
        changes = os.get_blocking(number) is not waits
        os.set_blocking(number, waits)
    except (OSError, ValueError, AttributeError):
        # It is no file, or the system, as some versions of Windows, cannot set it.
        return False
    return changes


def discard_output() -> None:
    """Lead the standard output to nowhere: what is left in its buffer, too."""
    # That would fail, or wait, once more as the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def cannot_write(error: OSError) -> int:
    """Return the exit code where the standard output takes no more."""
    discard_output()
    if isinstance(error, BrokenPipeError):
        # Whoever read has seen enough, as ``head`` has.
        return FAILED
    return fail(f"cannot write: {error.strerror or error}")
