"""
Publish a thousand events in few requests, each with its own outcome.

::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python many_events.py
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import react
from twisted.python.failure import Failure

from txpusher import BatchPublisher, Pusher

EVENTS = 1000


async def main(reactor: Any) -> None:
    pusher = Pusher.from_env()
    publisher = BatchPublisher(pusher)
    failures: list[Failure] = []
    try:
        for number in range(EVENTS):
            d = publisher.trigger(f"sensor-{number % 50}", "reading", {"number": number})
            d.addErrback(failures.append)
        await publisher.flush()
    finally:
        await publisher.close()
        await pusher.close()
    print(f"{EVENTS} events in {pusher.stats.sent} requests, {len(failures)} failed")


if __name__ == "__main__":
    react(main)
