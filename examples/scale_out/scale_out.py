"""
Two soketi processes, joined by Redis: which events arrive while one is killed and comes back.

From this folder, once, and then for the three scenes themselves::

    apt-get install redis-server nginx nodejs npm
    npm install
    pip install 'txpusher[subscriber]'
    python scale_out.py

It starts all servers on free ports of 127.0.0.1, prints what becomes of each event, and ends
with all that it has started.
"""

# Much of Twisted has no annotations yet.
# mypy: allow-untyped-calls

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import programs
from programs import HERE, HOST, Program
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from txpusher import Pusher, PusherError, RetryPolicy, Subscriber
from txpusher.subscriber import Message

CHANNEL = "numbers"

#: Seconds that all of it may take.
PATIENCE = 120

#: The app that soketi has without settings.
APP_ID, KEY, SECRET = "app-id", "app-key", "app-secret"

ONCE = RetryPolicy(max_retries=0)
PATIENT = RetryPolicy(max_retries=100, max_delay=0.5, max_duration=30.0)


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as people write them: 1-5, 9."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in found) or "none"


class Scene:
    """A publisher, a subscriber, and an account of their events, which have numbers."""

    def __init__(self, reactor: Any, publish_to: Program, subscribe_at: Program) -> None:
        self._reactor = reactor
        self._port = publish_to.port
        self.subscriber = Subscriber(
            KEY, host=HOST, port=subscribe_at.port, use_tls=False, retry=PATIENT
        )
        self.returns = 0
        self._published = 0
        self.accepted: list[int] = []
        self._failed: dict[int, PusherError] = {}
        self._arrived: list[int] = []

    def say(self, what: str) -> None:
        """Print what happens."""
        print(f"    {what}", flush=True)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition to come true."""
        while not condition():
            await deferLater(self._reactor, 0.02)

    def pusher(self, retry: RetryPolicy = ONCE) -> Pusher:
        """Return a client of the server to which the events go."""
        return Pusher(
            APP_ID, KEY, SECRET, host=HOST, port=self._port, use_tls=False, retry=retry
        )

    async def begin(self, title: str) -> None:
        """Subscribe, and wait until the publisher's server knows of the subscriber."""
        print(f"\n{title}")
        await self.subscriber.connect()
        channel = await self.subscriber.subscribe(CHANNEL)
        channel.bind("number", lambda message: self._arrived.append(message.data))
        channel.bind("pusher:subscription_succeeded", self._is_back)
        self.subscriber.on_state_change(self._state_changed)
        async with self.pusher() as pusher:
            await self.is_known(pusher)

    def _state_changed(self, old: str, new: str) -> None:
        if old == "connected" and new != "disconnected":
            self.say("the subscriber has lost its connection")

    def _is_back(self, message: Message) -> None:
        self.returns += 1
        self.say("the subscriber is back")

    async def subscribers(self, pusher: Pusher) -> int:
        """Return how many subscribers there are: a server asks all others."""
        answer = await pusher.channel_info(CHANNEL, info="subscription_count")
        return answer["subscription_count"]

    async def is_known(self, pusher: Pusher) -> None:
        """Wait until the publisher's server knows of the subscriber."""
        while not await self.subscribers(pusher):
            await deferLater(self._reactor, 0.05)

    async def publish(self, pusher: Pusher, count: int = 1) -> None:
        """Publish events one after another, whatever becomes of them."""
        numbers = range(self._published + 1, self._published + 1 + count)
        self._published += count
        for number in numbers:
            try:
                await pusher.trigger(CHANNEL, "number", number)
            except PusherError as error:
                self._failed[number] = error
            else:
                self.accepted.append(number)
        self.say(f"published: {ranges(numbers)}")

    async def arrival(self) -> None:
        """Wait until the last event that was accepted has arrived: that takes its time, too."""
        await self.until(lambda: self.accepted[-1] in self._arrived)

    async def end(self) -> None:
        """Wait for the last event, and print the account."""
        await self.arrival()
        missed = {*self.accepted} - {*self._arrived}
        twice = {number for number in self._arrived if self._arrived.count(number) > 1}
        print(f"  accepted: {ranges(self.accepted)}")
        for number, error in self._failed.items():
            kind = type(error).__name__
            print(f"  failed: {number}, {kind}, maybe_delivered={error.maybe_delivered}")
        print(f"  arrived: {ranges(self._arrived)}")
        print(f"  missed: {ranges(missed)}; twice: {ranges(twice)}", flush=True)
        await self.subscriber.close()


async def subscribers_server_dies(reactor: Any, a: Program, b: Program) -> None:
    scene = Scene(reactor, publish_to=a, subscribe_at=b)
    await scene.begin("1. Published at A, subscribed at B: B is killed")
    async with scene.pusher() as pusher:
        await scene.publish(pusher, 5)
        await scene.arrival()
        scene.say("B is killed")
        await b.kill()
        await scene.until(lambda: scene.subscriber.state != "connected")
        scene.say(f"subscribers that A knows of: {await scene.subscribers(pusher)}")
        # A accepts these, and nobody is there to get them.
        await scene.publish(pusher, 5)
        scene.say("B is started again")
        await b.start()
        await scene.until(lambda: scene.returns)
        await scene.is_known(pusher)
        await scene.publish(pusher, 5)
    await scene.end()


async def publishers_server_dies(reactor: Any, a: Program, b: Program) -> None:
    scene = Scene(reactor, publish_to=a, subscribe_at=b)
    await scene.begin("2. Published at A, subscribed at B: A is killed")
    async with scene.pusher() as pusher, scene.pusher(PATIENT) as patient:
        await scene.publish(pusher, 5)
        await scene.arrival()
        # The request has left when A dies: nobody can know whether A has acted on it.
        a.hang()
        sending = Deferred.fromCoroutine(scene.publish(pusher))
        await scene.until(lambda: pusher.stats.open_connections)
        await deferLater(reactor, 0.2)
        scene.say("A is killed")
        await a.kill()
        await sending
        # Nothing of the request has left: to publish the event again is safe.
        await scene.publish(pusher)
        # That is what the patient client does by itself.
        waiting = Deferred.fromCoroutine(scene.publish(patient))
        scene.say("A is started again")
        await a.start()
        await waiting
        await scene.publish(pusher, 2)
    await scene.end()


async def one_name(reactor: Any, balancer: Program, a: Program) -> None:
    scene = Scene(reactor, publish_to=balancer, subscribe_at=balancer)
    await scene.begin("3. Published and subscribed at a balancer before both: A is killed")
    # The subscriber was the first to come, and is at A.
    async with scene.pusher() as pusher:
        publishing = Deferred.fromCoroutine(scene.publish(pusher, 200))
        await scene.until(lambda: len(scene.accepted) > 50)
        scene.say("A is killed")
        await a.kill()
        await publishing
        await scene.until(lambda: scene.returns)
        await scene.publish(pusher, 5)
    await scene.end()


async def play(reactor: Any, folder: Path, modules: Path) -> None:
    redis = programs.redis(reactor, folder)
    await redis.start()
    a, b = (programs.soketi(reactor, modules, redis.port) for _ in range(2))
    balancer = programs.balancer(reactor, folder, a.port, b.port)
    for program in (a, b, balancer):
        await program.start()
    await subscribers_server_dies(reactor, a, b)
    await publishers_server_dies(reactor, a, b)
    await one_name(reactor, balancer, a)


async def main(reactor: Any, folder: str, modules: str = str(HERE / "node_modules")) -> None:
    missing = programs.missing(Path(modules))
    if missing:
        sys.exit(missing)
    playing = Deferred.fromCoroutine(play(reactor, Path(folder), Path(modules)))
    await playing.addTimeout(PATIENCE, reactor)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        react(main, [temporary, *sys.argv[1:]])
