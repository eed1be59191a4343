"""
Close codes: the end of a connection, and whether a client comes back.

Source: "Pusher Channels Protocol", "Connection closure".
"""

from __future__ import annotations

import enum

#: The code of a ``pusher:error`` that refuses a client event; the connection goes on.
CLIENT_EVENT_REJECTED = 4301

#: Seconds to wait at least after a close code of 4100 to 4199.
OVER_CAPACITY_DELAY = 1.0


class Return(enum.Enum):
    """The moment at which a client connects again after its connection has ended."""

    #: 4000 to 4099: the same connection would be refused again.
    NEVER = "never"
    #: 4100 to 4199: the server is over its capacity, or restarts.
    LATER = "later"
    #: Any other code, and a connection that was lost without one.
    AT_ONCE = "at once"


def return_after(code: int) -> Return:
    """
    Return what a client does after the close code *code*, 0 for a lost connection.

    pusher-js gives up from 4300 on.  A program without a person before it does not: the
    protocol gives no meaning to these codes, and a worker that stays away for ever costs
    more than an attempt now and then.
    """
    if 4000 <= code < 4100:
        return Return.NEVER
    if 4100 <= code < 4200:
        return Return.LATER
    return Return.AT_ONCE
