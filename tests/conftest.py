"""What holds for every test."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """
    Leave what is there before the first test out of every garbage collection.

    Many tests collect garbage at their end, for failures that nobody has handled.  The
    modules that pytest has imported by now are most of what there is to look through: the
    suite would take twice as long.
    """
    gc.collect()
    gc.freeze()
