"""
The global reactor, which is imported when the first request is sent, and not before.
"""

from __future__ import annotations

from typing import Any

from txpusher.errors import ConfigurationError


def import_reactor() -> Any:
    """
    Import the global reactor, and install the default one where none is installed.

    :raises ConfigurationError: No reactor can be imported, as in a program that forbids it.
        The next call tries again.
    """
    try:
        from twisted.internet import reactor
    except Exception as error:
        # A dependency may raise anything, such as a warning where warnings are errors.
        raise ConfigurationError(
            f"reactor: twisted.internet.reactor cannot be imported: {error}"
        ) from error
    return reactor
