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

from tests.benchmarks.harness import own_memory, own_sockets
from tests.benchmarks.measuring import Events, Plan, check, discard_log
from tests.benchmarks.subjects import settings

#: Seconds between two counts of the sockets.
COUNT_EVERY = 0.02


@attrs.frozen
class Pending:
    """
    What came of the events.

    :ivar bytes_each: Resident memory that offering them took, for each.
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
    from twisted.internet.task import LoopingCall, react

    from txpusher import BatchPublisher, Pusher

    discard_log()
    results: list[Pending] = []
    plan = Plan(subject=kind, port=port, ca=None, warm_up=0, seconds=0)

    async def main(reactor: Any) -> None:
        pusher = Pusher(**settings(plan))
        publisher = BatchPublisher(pusher, max_pending=count)
        trigger = (pusher if kind == "trigger" else publisher).trigger
        events = Events()
        check(await trigger(*events.next()))
        await publisher.flush()
        # The connection of the first event is open already.
        others = own_sockets() - 1
        most = 0
        accepted = 0
        left = count
        settled: Deferred[None] = Deferred()

        def count_sockets() -> None:
            nonlocal most
            most = max(most, own_sockets() - others)

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
        memory = own_memory() - before
        counting = LoopingCall(count_sockets)
        counting.start(COUNT_EVERY)
        await settled
        seconds = time.perf_counter() - began
        counting.stop()
        results.append(
            Pending(
                count, memory / count, most, pusher.config.max_connections, accepted, seconds
            )
        )
        await pusher.close()

    try:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    except SystemExit as leaving:
        if leaving.code:
            raise
    return results[0]


def main() -> None:
    print(json.dumps(attrs.asdict(offer(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
