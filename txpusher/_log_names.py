"""
The names of log lines in Python's own logging, where crochet has brought them there.

Crochet gives all that is logged in Twisted to the one logger ``twisted``, so that an
application could not turn the lines of one library down by name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

#: The logger that Twisted's observer for Python's logging uses, unless told otherwise.
TWISTED = "twisted"

#: The namespace of all that this package logs.
NAMESPACE = "txpusher"


class OwnNameFilter(logging.Filter):
    """
    Hands the records of txpusher from the logger ``twisted`` to the logger ``txpusher``.

    A filter works whichever way the records have come, and in the thread that logs; an
    observer of our own would write each line a second time.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether *record* stays with the logger ``twisted``."""
        # Twisted's observer logs an object that knows the event and renders it when needed.
        event = getattr(record.msg, "event", None)
        namespace = event.get("log_namespace") if isinstance(event, Mapping) else None
        if namespace != NAMESPACE and not str(namespace).startswith(f"{NAMESPACE}."):
            return True
        own = logging.getLogger(namespace)
        if own.isEnabledFor(record.levelno):
            record.name = own.name
            own.handle(record)
        return False


def name_own_records() -> None:
    """Have the records of txpusher named so from now on; a second call changes nothing."""
    twisted = logging.getLogger(TWISTED)
    if not any(isinstance(one, OwnNameFilter) for one in twisted.filters):
        twisted.addFilter(OwnNameFilter())
