"""
:class:`Gathering`: while callbacks run, events gather, to go out together afterwards.
"""

from __future__ import annotations

from collections.abc import Callable


class Gathering:
    """
    A context for callbacks of events, or for the reading of an iterable; contexts nest.

    :param ended: Called at the end of each context.
    :ivar depth: How many contexts have begun and not ended.
    """

    __slots__ = ("_ended", "depth")

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self.depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *exc_info: object) -> None:
        self.depth -= 1
        self._ended()
