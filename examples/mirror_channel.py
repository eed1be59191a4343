"""
Mirror a channel to a file: one line of JSON for each event.

Runs until Ctrl-C, or until so many events are written::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python mirror_channel.py private-orders orders.ndjson 100
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from twisted.internet.task import react

from txpusher import Pusher, Subscriber
from txpusher.subscriber import Message


def as_line(message: Message) -> str:
    """One event as a line of the file."""
    fields = {
        "at": datetime.now(timezone.utc).isoformat(),
        "event": message.event,
        "data": message.data,
    }
    return json.dumps(fields, ensure_ascii=False) + "\n"


async def main(reactor: Any, channel: str, path: str, most: str = "0") -> None:
    # Signs for private channels with the secret in PUSHER_URL.
    subscriber = Subscriber.for_pusher(Pusher.from_env())
    subscriber.on_state_change(lambda old, new: print(f"{old} -> {new}", flush=True))
    written = 0
    try:
        await subscriber.connect()
        subscription = await subscriber.subscribe(channel)
        with Path(path).open("a", encoding="utf-8") as file:
            # The connection may be lost and come back meanwhile: the loop goes on.
            async for message in subscription:
                file.write(as_line(message))
                file.flush()
                written += 1
                if written == int(most):
                    break
    finally:
        await subscriber.close()
    print(f"{written} events written")


if __name__ == "__main__":
    react(main, sys.argv[1:])
