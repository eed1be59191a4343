"""
Publish to one channel, to several, in a batch and to a user, with ``await``.

::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python publish_with_await.py
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import react

from txpusher import Event, Pusher


async def publish(pusher: Pusher) -> None:
    await pusher.trigger("news", "headline", {"text": "Twisted turns a page"})
    print("one channel")

    # A str goes out as it is; the connection that caused the event is left out.
    await pusher.trigger(["room-1", "room-2"], "notice", "back in 5 min", socket_id="123.456")
    print("two channels")

    await pusher.trigger_batch(
        [
            Event("prices", "tick", {"symbol": "TX", "price": 41}),
            {"channel": "prices", "name": "tick", "data": {"symbol": "PY", "price": 42}},
        ]
    )
    print("a batch")

    await pusher.send_to_user("alice", "reminder", {"at": "17:00"})
    print("a user")


async def main(reactor: Any) -> None:
    pusher = Pusher.from_env()
    try:
        await publish(pusher)
    finally:
        await pusher.close()


if __name__ == "__main__":
    react(main)
