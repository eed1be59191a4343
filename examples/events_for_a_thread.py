"""
Hand events to a thread through a queue: the thread may block, the reactor may not.

Runs until Ctrl-C, or until the thread has dealt with so many events::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python events_for_a_thread.py jobs 10
"""

from __future__ import annotations

import sys
import time
from queue import SimpleQueue
from typing import Any

from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from txpusher import Pusher, Subscriber
from txpusher.subscriber import Message

#: Ends the thread.
END = None


def work(events: SimpleQueue[Message | None], most: int) -> int:
    """Runs in the thread: blocks until the next event, and as long as the work takes."""
    done = 0
    while (message := events.get()) is not END:
        time.sleep(0.01)
        print(f"{message.event}: {message.data}", flush=True)
        done += 1
        if done == most:
            break
    return done


async def main(reactor: Any, channel: str, most: str = "0") -> None:
    events: SimpleQueue[Message | None] = SimpleQueue()
    # However slow the thread is, the queue takes what comes.
    reactor.addSystemEventTrigger("before", "shutdown", events.put, END)
    subscriber = Subscriber.for_pusher(Pusher.from_env())
    try:
        await subscriber.connect()
        subscription = await subscriber.subscribe(channel)
        subscription.bind("job", events.put)
        done = await deferToThread(work, events, int(most))
    finally:
        await subscriber.close()
    print(f"{done} jobs done")


if __name__ == "__main__":
    react(main, sys.argv[1:])
