"""
Receive events in a program of asyncio, on Twisted's reactor for asyncio's loop.

``async for`` runs in a coroutine of Twisted; what each event starts are coroutines of asyncio.
Runs until Ctrl-C, or until so many events came::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python receive_in_asyncio.py news 10
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from twisted.internet import asyncioreactor

# Before anything imports another reactor.  Much of Twisted has no annotations yet.
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
asyncioreactor.install(loop)  # type: ignore[no-untyped-call]

from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.task import react  # noqa: E402

from txpusher import Pusher, Subscriber  # noqa: E402
from txpusher.subscriber import Message  # noqa: E402


async def act_on(message: Message) -> str:
    """Any coroutine of asyncio: a database, an HTTP client, a subprocess."""
    await asyncio.sleep(0.01)
    return f"{message.event}: {message.data}"


async def main(reactor: Any, channel: str, most: str = "0") -> None:
    received = 0
    async with Subscriber.for_pusher(Pusher.from_env()) as subscriber:
        await subscriber.connect()
        async for message in await subscriber.subscribe(channel):
            # Events that come meanwhile wait, up to max_buffered of them.
            print(await Deferred.fromFuture(asyncio.ensure_future(act_on(message))), flush=True)
            received += 1
            if received == int(most):
                break
    print(f"{received} events received")


if __name__ == "__main__":
    react(main, sys.argv[1:])
