"""
The phases of one attempt, so that a timeout can say which of them took too long.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Phase(Enum):
    """
    A phase of one attempt; the value is the text of a timeout in that phase.

    The layers below an attempt report a phase when it begins; each layer knows its own.
    """

    #: ``max_connections`` sockets are open, and none of them can be used or has closed.
    WAITING_FOR_SOCKET = "no socket was free within {:g} seconds"
    #: The host name is being looked up.
    LOOKING_UP = "no address was found for the host name within {:g} seconds"
    #: TCP is connecting, to the server or to the proxy.
    CONNECTING = "no connection within {:g} seconds"
    #: The proxy has been asked to connect to the server.
    PROXY = "connected to the proxy, but no answer to CONNECT within {:g} seconds"
    #: TLS shakes hands with the server.
    TLS_HANDSHAKE = (
        "connected, but no TLS handshake within {:g} seconds: is it a port for HTTPS?"
    )
    #: The request is being sent, and the reply read.
    REPLY = "no complete reply within {:g} seconds"

    def timed_out(self, seconds: float) -> str:
        """Return the text of a timeout after *seconds* in this phase."""
        return self.value.format(seconds)


Report = Callable[[Phase], None]
