"""
What tests look at inside a server, in one place: no public name tells it.
"""

from __future__ import annotations

from typing import Any

from txpusher.server import ChannelsServer
from txpusher.server._net.connection import HTTPConnection


def connections(server: ChannelsServer) -> set[HTTPConnection]:
    """Return the TCP connections that a server has open now."""
    running = server._running
    assert running is not None, "the server does not listen"
    return set(running.site.connections)


def unsent(connection: HTTPConnection) -> int:
    """
    Return how many bytes wait in the transport of a connection.

    Twisted has no public name for it (seen in 24.7 and 26.10).
    """
    transport: Any = connection.transport
    return len(transport.dataBuffer) + int(transport._tempDataLen)
