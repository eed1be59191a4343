"""
Publish from worker threads beside a running reactor, with the reactor's own client.

Both ends share the connections and the limits of one ``Pusher``.

::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python blocking_threads.py
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import gatherResults
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from txpusher import BlockingPusher, Pusher


def work(pusher: BlockingPusher, number: int) -> int:
    """Runs in a thread: it may block, as long as it takes."""
    result = number * number
    pusher.trigger("results", "computed", {"number": number, "square": result})
    return result


async def main(reactor: Any) -> None:
    pusher = Pusher.from_env()
    blocking = BlockingPusher.wrap(pusher)
    try:
        squares = await gatherResults(
            [deferToThread(work, blocking, number) for number in range(20)],
            consumeErrors=True,
        )
        # Here, in the reactor thread, a blocking call would raise BlockingCallError.
        await pusher.trigger("results", "finished", {"sum": sum(squares)})
    finally:
        await pusher.close()
    print(f"{len(squares)} threads have published")


if __name__ == "__main__":
    react(main)
