"""
Work only while somebody is there: prices are published as long as the lobby has a visitor.

The worker is a member of the presence channel itself.  It runs until Ctrl-C, or until so many
prices are published::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python presence_worker.py 20
"""

from __future__ import annotations

import random
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from txpusher import Pusher, Subscriber
from txpusher.subscriber import Message, Subscription

LOBBY = "presence-lobby"
MYSELF = {"user_id": "price-worker", "user_info": {"role": "worker"}}


class Worker:
    """Publishes prices while a member other than itself is in the lobby."""

    def __init__(self, reactor: Any, pusher: Pusher, lobby: Subscription) -> None:
        self._reactor = reactor
        self._pusher = pusher
        self._lobby = lobby
        self._visitor: Deferred[None] | None = None
        lobby.bind("pusher:member_added", self._member_added)
        lobby.bind("pusher:member_removed", self._member_removed)

    def _member_added(self, message: Message) -> None:
        print(f"{message.data['id']} has come", flush=True)
        waiting, self._visitor = self._visitor, None
        if waiting is not None:
            waiting.callback(None)

    def _member_removed(self, message: Message) -> None:
        print(f"{message.data['id']} has gone", flush=True)

    async def work(self, most: int) -> int:
        """Publish, and return how many prices."""
        published = 0
        while published < most or not most:
            if self._lobby.members.keys() <= {MYSELF["user_id"]}:
                print("nobody is there", flush=True)
                self._visitor = Deferred()
                await self._visitor
            price = round(random.uniform(40, 44), 2)
            await self._pusher.trigger(LOBBY, "price", {"price": price})
            published += 1
            await deferLater(self._reactor, 0.1)
        return published


async def main(reactor: Any, most: str = "0") -> None:
    pusher = Pusher.from_env()
    subscriber = Subscriber.for_pusher(pusher)
    try:
        await subscriber.connect()
        lobby = await subscriber.subscribe(LOBBY, custom_data=MYSELF)
        published = await Worker(reactor, pusher, lobby).work(int(most))
    finally:
        await subscriber.close()
        await pusher.close()
    print(f"{published} prices published")


if __name__ == "__main__":
    react(main, sys.argv[1:])
