"""
``txpusher demo``: a server, a subscriber and three ways to publish, in one process.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThread

from txpusher._cli.output import Paint
from txpusher._cli.output import wants_colours as wants_colours
from txpusher._cli.program import Program
from txpusher.blocking import BlockingPusher
from txpusher.client import Pusher
from txpusher.subscriber import Message, Subscriber
from txpusher.testing import RunningServer

PUBLIC, PRESENCE, ENCRYPTED = "news", "presence-room", "private-encrypted-vault"
#: The channels that the demo subscribes to, and the ways in which it publishes to each.
CHANNELS = (PUBLIC, PRESENCE, ENCRYPTED)
WAYS = ("await", "callback", "blocking")

#: Seconds after which an event that has not arrived counts as lost.
TIMEOUT = 4.0


def demo() -> int:
    """Run the demo, and return the exit code."""
    colours = wants_colours(sys.stdout)
    return Program(
        lambda reactor, show: Demo(reactor, show, colours).run(),
        stopped=1,
        message="interrupted before every event had arrived",
    ).run()


class Demo:
    """
    Publishes to a server in this process, and shows each event as it arrives.

    :param reactor: The reactor.
    :param show: Prints a line.
    :param colours: Whether the output is a terminal that shows colours.
    """

    def __init__(self, reactor: Any, show: Callable[[str], None], colours: bool) -> None:
        self._reactor = reactor
        self._show = show
        self._paint = Paint(colours)
        self._master_key = secrets.token_bytes(32)
        self._expected = {(channel, way) for channel in CHANNELS for way in WAYS}
        self._all_arrived: Deferred[None] = Deferred()

    async def run(self) -> int:
        """Run the demo, and return the exit code: 0 where every event arrived, else 1."""
        started = self._reactor.seconds()
        server = await RunningServer.start(
            encryption_master_key_base64=base64.b64encode(self._master_key).decode("ascii"),
            reactor=self._reactor,
        )
        try:
            publishing = Deferred.fromCoroutine(self._run(server))
            await publishing.addTimeout(TIMEOUT, self._reactor)
        except defer.TimeoutError:
            for channel, way in sorted(self._expected):
                self._show(self._red(f"✗ {channel}: the event sent with {way} never came"))
            return 1
        finally:
            await server.stop()
        seconds = self._reactor.seconds() - started
        count = len(CHANNELS) * len(WAYS)
        self._show(f"\n{self._green(f'All {count} events arrived.')}  {seconds:.2f} seconds.")
        return 0

    async def _run(self, server: RunningServer) -> None:
        pusher = server.pusher()
        self._show(f"A Channels server listens on {server.host}:{server.port}.\n")
        subscriber = Subscriber.for_pusher(pusher, reactor=self._reactor)
        subscriber.bind("greeting", self._arrived)
        try:
            await subscriber.connect()
            await self._subscribe(subscriber)
            await self._publish(pusher)
            await self._all_arrived
        finally:
            await subscriber.close()

    async def _subscribe(self, subscriber: Subscriber) -> None:
        member = {"user_id": "alice", "user_info": {"name": "Alice"}}
        for channel in CHANNELS:
            custom_data = member if channel == PRESENCE else None
            await subscriber.subscribe(channel, custom_data=custom_data)
            self._show(f"  subscribed to {self._bold(channel)}")
        self._show("")

    async def _publish(self, pusher: Pusher) -> None:
        # In a coroutine:
        for channel in CHANNELS:
            await pusher.trigger(channel, "greeting", {"sent": "await"})
        # With callbacks:
        sent = [
            pusher.trigger(channel, "greeting", {"sent": "callback"}).addErrback(
                lambda failure: self._show(self._red(f"✗ {failure.getErrorMessage()}"))
            )
            for channel in CHANNELS
        ]
        await DeferredList(sent)
        # Blocking, in a thread:
        await deferToThread(self._publish_blocking, BlockingPusher.wrap(pusher))

    def _publish_blocking(self, pusher: BlockingPusher) -> None:
        for channel in CHANNELS:
            pusher.trigger(channel, "greeting", {"sent": "blocking"})

    def _arrived(self, message: Message) -> None:
        channel = message.channel or ""
        data = message.data
        note = "  (decrypted by the subscriber)" if channel == ENCRYPTED else ""
        self._show(
            f"{self._green('✓')} {self._bold(channel.ljust(25))} {message.event}  "
            f"{json.dumps(data)}{self._dim(note)}"
        )
        self._expected.discard((channel, data["sent"]))
        if not self._expected and not self._all_arrived.called:
            self._all_arrived.callback(None)

    def _bold(self, text: str) -> str:
        return self._paint("bold", text)

    def _dim(self, text: str) -> str:
        return self._paint("dim", text)

    def _green(self, text: str) -> str:
        return self._paint("green", text)

    def _red(self, text: str) -> str:
        return self._paint("red", text)
