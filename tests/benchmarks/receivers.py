"""
One client in one process, which takes events until the last: a child of
:mod:`tests.benchmarks.receiving`.

Prints how many events came, in order or not, the CPU time from the first to the last, and the
resident memory at a fifth of the events and at the end.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from .harness import own_memory

CHANNEL = "load"
EVENT = "tick"
KEY = "app-key"


class Count:
    """The events so far, and what they cost."""

    def __init__(self, events: int) -> None:
        self.events = 0
        self._expected = events
        self._wrong = 0
        self._cpu = self._began = self._early = 0.0

    def take(self, data: Any) -> bool:
        """Count an event; True with the last one."""
        if not self.events:
            self._cpu, self._began = time.process_time(), time.monotonic()
        self._wrong += data["number"] != self.events
        self.events += 1
        if self.events == self._expected // 5:
            self._early = own_memory()
        return self.events == self._expected

    def report(self) -> None:
        """Print the result."""
        result = {
            "events": self.events,
            "wrong": self._wrong,
            "cpu": time.process_time() - self._cpu,
            "seconds": time.monotonic() - self._began,
            "early": self._early,
            "late": own_memory(),
        }
        print(json.dumps(result), flush=True)


def txpusher_client(port: int, count: Count, *, iterate: bool) -> None:
    """Take events with a handler, or with ``async for``."""
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    from txpusher import Subscriber
    from txpusher.subscriber import Message

    async def main(reactor: Any) -> None:
        subscriber = Subscriber(KEY, host="127.0.0.1", port=port, use_tls=False)
        await subscriber.connect()
        subscription = await subscriber.subscribe(CHANNEL)
        if iterate:
            async for message in subscription:
                if count.take(message.data):
                    break
        else:
            done: Deferred[None] = Deferred()

            def handle(message: Message) -> None:
                if count.take(message.data):
                    done.callback(None)

            subscription.bind(EVENT, handle)
            await done
        count.report()
        await subscriber.close()

    react(main)


def websocket_client(port: int, count: Count) -> None:
    """Take events with websocket-client, the protocol by hand."""
    import websocket  # type: ignore[import-not-found,unused-ignore]

    def on_message(app: Any, text: str) -> None:
        message = json.loads(text)
        if message["event"] == "pusher:connection_established":
            app.send(json.dumps({"event": "pusher:subscribe", "data": {"channel": CHANNEL}}))
        elif message["event"] == EVENT and count.take(json.loads(message["data"])):
            count.report()
            app.close()

    url = f"ws://127.0.0.1:{port}/app/{KEY}?protocol=7&client=benchmark&version=1"
    websocket.WebSocketApp(url, on_message=on_message).run_forever()


def main() -> None:
    options = json.loads(sys.argv[1])
    port, count = options["port"], Count(options["events"])
    if options["client"] == "websocket-client":
        websocket_client(port, count)
    else:
        txpusher_client(port, count, iterate=options["client"] == "txpusher async for")


if __name__ == "__main__":
    main()
