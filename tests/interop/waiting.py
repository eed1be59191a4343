"""Waiting for a program to say where it listens."""

from __future__ import annotations

import re
import time

from tests.support.process import Process

#: Seconds that a program may take to listen.
PATIENCE = 30


def address_of(program: Process, pattern: str = r"^ready: (http://\S+)$") -> str:
    """Wait until the program prints its address; return the address."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = re.search(pattern, program.output, re.MULTILINE)
        if found:
            return found[1]
        assert program.exit_code is None, program.output
        assert time.monotonic() < deadline, program.output
        time.sleep(0.05)
