"""
The figures that a client gives of its work: each attempt when it is over, totals at any time.
"""

from __future__ import annotations

import attrs

from txpusher.errors import PusherError


@attrs.frozen
class Attempt:
    """
    One attempt that is over, as ``on_attempt`` is told of it; not one cancelled.

    :ivar method: ``"GET"`` or ``"POST"``.
    :ivar path: The path of the request, without the query.
    :ivar attempt: 1 for the first, 2 for the first retry.
    :ivar status: The HTTP status of the reply, None where there was none.
    :ivar failure: The error that the attempt ended in, None where it succeeded.
    :ivar seconds: The seconds that it took, connecting included.
    """

    method: str
    path: str
    attempt: int
    status: int | None
    failure: PusherError | None
    seconds: float


@attrs.frozen
class Stats:
    """
    The numbers of a client's operations so far, and of those under way, at one moment.

    :ivar pending: Operations that wait, for a connection or for a retry.
    :ivar in_flight: Operations that are being sent or wait for the reply.
    :ivar open_connections: Sockets, in use, idle or on their way out; 0 with
        an ``http_client``, whose connections are its own.
    :ivar sent: Attempts begun.
    :ivar succeeded: Operations that ended in a value.
    :ivar failed: Operations that ended in an error, those that were cancelled
        or turned away included, those with a refused argument not.
    :ivar retried: Attempts beyond the first of their operation.
    """

    pending: int
    in_flight: int
    open_connections: int
    sent: int
    succeeded: int
    failed: int
    retried: int


@attrs.define
class Counters:
    """
    The totals of one client since it was made.

    :ivar attempts: Attempts begun.
    :ivar retried: Attempts beyond the first of their operation.
    :ivar succeeded: Operations that ended in a value.
    :ivar failed: Operations that ended in an error.
    """

    attempts: int = 0
    retried: int = 0
    succeeded: int = 0
    failed: int = 0
