"""
What events cost that wait: memory for each of many offered at once, and the
sockets meanwhile.  A child of :mod:`tests.benchmarks.throughput`.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

import attrs

from .harness import own_memory, own_sockets
from .measuring import Events, Plan, check, in_reactor
from .subjects import settings

#: Events offered at once.
EVENTS = 100_000
#: Seconds between two looks at memory and sockets.
LOOK_EVERY = 0.02


@attrs.frozen
class Pending:
    """
    What came of the events.

    :ivar bytes_each: The most resident memory that they took, for each.
    :ivar sockets: The most open at a time.
    :ivar limit: How many there may be.
    :ivar accepted: Events that the sink has accepted.
    """

    count: int
    bytes_each: float
    sockets: int
    limit: int
    accepted: int
    seconds: float


def offer(kind: str, port: int, count: int) -> Pending:
    """
    Offer *count* events at once to a Pusher or a BatchPublisher.

    :param kind: ``"trigger"`` or ``"publisher"``.
    """
    from twisted.internet.defer import Deferred
    from twisted.internet.task import LoopingCall

    from txpusher import BatchPublisher, Pusher

    plan = Plan(subject=kind, port=port, ca=None, seconds=0)

    async def body(reactor: Any) -> Pending:
        pusher = Pusher(**settings(plan))
        publisher = BatchPublisher(pusher, max_pending=count)
        trigger = (pusher if kind == "trigger" else publisher).trigger
        events = Events()
        check(await trigger(*events.next()))
        await publisher.flush()
        # The connection of the first event is open already.
        others = own_sockets() - 1
        memory = sockets = 0
        accepted = 0
        left = count
        settled: Deferred[None] = Deferred()

        def look() -> None:
            nonlocal memory, sockets
            memory = max(memory, own_memory() - before)
            sockets = max(sockets, own_sockets() - others)

        def one(reply: object) -> None:
            nonlocal accepted, left
            accepted += reply == {}
            left -= 1
            if not left:
                settled.callback(None)

        gc.collect()
        before, began = own_memory(), time.perf_counter()
        for _ in range(count):
            trigger(*events.next()).addBoth(one)
        looking = LoopingCall(look)
        looking.start(LOOK_EVERY)
        await settled
        seconds = time.perf_counter() - began
        looking.stop()
        await pusher.close()
        limit = pusher.config.max_connections
        return Pending(count, memory / count, sockets, limit, accepted, seconds)

    return in_reactor(body)


def main() -> None:
    print(json.dumps(attrs.asdict(offer(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
