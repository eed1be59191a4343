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


def cannot_write(error: OSError) -> int:
    """Return the exit code where the standard output takes no more."""
    # What is left in the buffer would fail once more as the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        # Whoever read has seen enough, as ``head`` has.
        return FAILED
    return fail(f"cannot write: {error.strerror or error}")
