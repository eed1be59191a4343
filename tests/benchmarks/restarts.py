"""
Subscribers that live through restarts of their server, under load.

    python -m tests.benchmarks.restarts [--restarts N] [--only embedded|soketi]

A publisher triggers without a pause, on public, private, presence and encrypted channels, while
the server is stopped and started again; soketi is killed.  After each restart every subscriber
must have every channel again.  None may have one twice, get an event twice or out of order, or
tell a change of state that does not follow the one before.  Exit code 1 where one does.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import Any, Protocol

import attrs
from twisted.internet import reactor as running_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from tests.interop import servers
from tests.interop.requirements import node_command
from tests.interop.servers import APP_ID, KEY, SECRET, free_ports
from tests.support.credentials import MASTER_KEY_BASE64
from txpusher import Pusher, PusherError, RetryPolicy, Subscriber
from txpusher.server import App, ChannelsServer
from txpusher.subscriber import Message

from .harness import note, show_table

CHANNELS = ("room", "private-room", "presence-room", "private-encrypted-room")
SUBSCRIBERS = 3
#: Seconds until everyone must have every channel again.
PATIENCE = 30.0
SOON = RetryPolicy(max_retries=0, initial_delay=0.02, max_delay=0.2)


class Restartable(Protocol):
    """A server that is stopped and started on one port."""

    name: str
    port: int

    async def start(self) -> None:
        """Listen."""

    async def stop(self) -> None:
        """Be gone."""


class EmbeddedServer:
    """txpusher's server, in this process; its clients are told to go away."""

    name = "txpusher.server"

    def __init__(self) -> None:
        [self.port] = free_ports(1)
        self._server: ChannelsServer | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = ChannelsServer([App(APP_ID, KEY, SECRET)])
        await self._server.listen(port=self.port)

    async def stop(self) -> None:
        """Be gone."""
        if self._server is not None:
            await self._server.stop()


class SoketiServer:
    """soketi, a process that is killed."""

    name = "soketi"

    def __init__(self) -> None:
        [self.port] = free_ports(1)
        self._running = contextlib.ExitStack()

    async def start(self) -> None:
        """Listen."""
        soketi = servers.soketi(node_command(), port=self.port)
        await deferToThread(self._running.enter_context, soketi)

    async def stop(self) -> None:
        """Be gone."""
        await deferToThread(self._running.close)


@attrs.define
class Report:
    """
    What has become of the subscribers.

    :ivar faults: What must not happen, in words.
    :ivar received: Events that handlers were told of.
    :ivar slowest: Seconds of the restart after which it took longest to be whole again.
    """

    faults: list[str] = attrs.field(factory=list)
    restarts: int = 0
    published: int = 0
    received: int = 0
    slowest: float = 0.0


class Witness:
    """One subscriber, and what is wrong with what it was told."""

    def __init__(self, pusher: Pusher, number: int, report: Report) -> None:
        self.subscriber = Subscriber.for_pusher(pusher, retry=SOON)
        self.marks: dict[str, int] = dict.fromkeys(CHANNELS, -1)
        self._number = number
        self._report = report
        self._last: dict[str, int] = dict.fromkeys(CHANNELS, -1)
        self._state = "initialized"
        self._connections = 0
        self._joined: dict[str, int] = dict.fromkeys(CHANNELS, 0)
        self.subscriber.on_state_change(self._state_changed)
        self.subscriber.bind_all(self._told)

    def begin(self) -> Deferred[Any]:
        """Connect, subscribe and sign in."""
        member = {"user_id": f"user-{self._number}"}
        subscriptions = [
            self.subscriber.subscribe(
                name, custom_data=member if name.startswith("presence-") else None
            )
            for name in CHANNELS
        ]
        signing_in = self.subscriber.sign_in({"id": f"user-{self._number}"})
        return gatherResults([self.subscriber.connect(), signing_in, *subscriptions])

    def _fault(self, text: str) -> None:
        self._report.faults.append(f"subscriber {self._number}: {text}")

    def _state_changed(self, old: str, new: str) -> None:
        if old != self._state or new == old:
            self._fault(f"told {old} -> {new} in the state {self._state}")
        self._state = new
        self._connections += new == "connected"

    def _told(self, message: Message) -> None:
        name = message.channel or ""
        if message.event == "pusher:subscription_error":
            self._fault(f"{name} was refused: {message.data}")
        elif message.event == "pusher:error":
            self._fault(f"the server reports {message.data}")
        elif message.event == "pusher:subscription_succeeded":
            self._joined[name] += 1
            if self._joined[name] > self._connections:
                self._fault(f"{name} was joined twice on one connection")
        elif message.event == "mark":
            number, restart = message.data
            if number <= self._last[name]:
                self._fault(f"{name}: event {number} after {self._last[name]}")
            self._last[name] = number
            self.marks[name] = restart
            self._report.received += 1


class Publisher:
    """Triggers one event after another on every channel, whatever becomes of it."""

    def __init__(self, pusher: Pusher, report: Report) -> None:
        self.restart = 0
        self._pusher = pusher
        self._report = report
        self._on = True

    async def run(self) -> None:
        """Publish until :meth:`end`."""
        number = 0
        while self._on:
            for name in CHANNELS:
                try:
                    await self._pusher.trigger(name, "mark", [number, self.restart])
                except PusherError:
                    await deferLater(running_reactor, 0.01)  # type: ignore[arg-type]
                else:
                    self._report.published += 1
                number += 1

    def end(self) -> None:
        """Publish no more."""
        self._on = False


async def survive(server: Restartable, *, restarts: int, pause: float) -> Report:
    """Restart *server* so many times, down and up for *pause* seconds each."""
    report = Report()
    await server.start()
    settings: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "use_tls": False}
    pusher = Pusher(
        APP_ID,
        KEY,
        SECRET,
        encryption_master_key_base64=MASTER_KEY_BASE64,
        retry=SOON,
        **settings,
    )
    witnesses = [Witness(pusher, number, report) for number in range(SUBSCRIBERS)]
    publisher = Publisher(pusher, report)
    publishing = Deferred.fromCoroutine(publisher.run())
    try:
        for witness in witnesses:
            await witness.begin()
        await _whole_again(witnesses, 0, report)
        for restart in range(1, restarts + 1):
            await server.stop()
            await deferLater(running_reactor, pause)  # type: ignore[arg-type]
            publisher.restart = restart
            await server.start()
            await _whole_again(witnesses, restart, report)
            report.restarts = restart
            await deferLater(running_reactor, pause)  # type: ignore[arg-type]
        for name in CHANNELS:
            info = await pusher.channel_info(name, info="subscription_count")
            count = info.get("subscription_count", SUBSCRIBERS)
            if count != SUBSCRIBERS:
                report.faults.append(f"{name} has {count} subscriptions in the end")
    finally:
        publisher.end()
        await publishing
        for witness in witnesses:
            await witness.subscriber.close()
        await pusher.close()
        await server.stop()
    return report


async def _whole_again(witnesses: list[Witness], restart: int, report: Report) -> None:
    began = time.monotonic()
    while True:
        missing = [
            f"subscriber {number} has not {name}"
            for number, witness in enumerate(witnesses)
            for name, mark in witness.marks.items()
            if mark < restart
        ]
        seconds = time.monotonic() - began
        if not missing:
            report.slowest = max(report.slowest, seconds)
            return
        if seconds > PATIENCE:
            report.faults += [f"{what} after restart {restart}" for what in missing]
            raise AssertionError(report.faults)
        await deferLater(running_reactor, 0.01)  # type: ignore[arg-type]


async def main(reactor: Any, *arguments: str) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.restarts")
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--only", choices=["embedded", "soketi"])
    options = parser.parse_args(arguments)
    rows, faults = [], []
    kinds: dict[str, Any] = {"embedded": EmbeddedServer, "soketi": SoketiServer}
    for name, kind in kinds.items():
        if options.only in (None, name):
            server = kind()
            note(f"{server.name}: {options.restarts} restarts")
            report = await survive(server, restarts=options.restarts, pause=0.1)
            rows.append(
                [
                    server.name,
                    str(report.restarts),
                    str(report.published),
                    str(report.received),
                    f"{report.slowest:.2f} s",
                    str(len(report.faults)),
                ]
            )
            faults += report.faults
    header = ["Server", "Restarts", "Published", "Received", "Slowest return", "Faults"]
    show_table("Restarts under load", header, rows, rst=False)
    for fault in faults:
        note(fault)
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    react(main, sys.argv[1:])
