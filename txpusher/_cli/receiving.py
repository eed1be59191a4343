# -*- test-case-name: tests.integration.test_cli_subscribe -*-
"""
The run of ``txpusher subscribe``: from the connection to the last event.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from time import strftime
from typing import Any, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from txpusher._cli.codes import DONE, FAILED, INTERRUPTED, fail
from txpusher._cli.output import Paint, ndjson, printable, wants_colours, wants_json
from txpusher._cli.program import Program, Show
from txpusher._cli.settings import settings_of
from txpusher._http.probe import Probe
from txpusher._subscriber_settings import websocket_host
from txpusher.client import Pusher
from txpusher.errors import HTTPError, PusherError, QueueFullError, SubscriptionError
from txpusher.subscriber import Message, Subscriber

#: The most events that may wait for the command of ``--exec``.
MOST_WAITING = 1000


def receive(arguments: argparse.Namespace) -> int:
    """Print events until there have been enough, and return the exit code."""
    settings = settings_of(arguments)

    async def run(reactor: Any, show: Show) -> int:
        async with Pusher(reactor=reactor, **settings) as pusher:
            return await Reception(arguments, pusher, reactor, show).run()

    return Program(run, stopped=INTERRUPTED, logs=False).run()


class Reception:
    """
    One run.

    :param arguments: What is to be received, and until when.
    """

    def __init__(
        self, arguments: argparse.Namespace, pusher: Pusher, reactor: Any, show: Show
    ) -> None:
        self._arguments = arguments
        self._reactor = reactor
        self._show = show
        self._paint = Paint(wants_colours(sys.stdout))
        self._is_json = wants_json(arguments.json)
        config = pusher.config
        self._config = attrs.evolve(config, host=websocket_host(config.host))
        self._subscriber = Subscriber.for_pusher(pusher, reactor=reactor)
        self._commands: Commands | None = None
        if arguments.program is not None:
            self._commands = Commands(arguments.program, reactor, self._fail)
        self._left: int | None = arguments.count
        self._has_been_connected = False
        #: Fires when an attempt to connect has failed.
        self._unavailable: Deferred[None] = Deferred()
        #: Fires when it is over; fails where it cannot go on.
        self._over: Deferred[None] = Deferred()

    async def run(self) -> int:
        """Receive, and return the exit code."""
        subscriber, duration = self._subscriber, self._arguments.duration
        timer = None if duration is None else self._reactor.callLater(duration, self._end)
        subscriber.bind_all(self._take)
        subscriber.on_state_change(self._state_changed)
        working = Deferred.fromCoroutine(self._begin())
        working.addErrback(self._cannot_go_on)
        try:
            await self._over
            if not self._has_been_connected:
                raise HTTPError(f"{self._place} was not reached within {duration:g} seconds")
            if self._commands is not None:
                await self._commands.all_done()
                return FAILED if self._commands.failed else DONE
            return DONE
        finally:
            if timer is not None and timer.active():
                timer.cancel()
            working.cancel()
            if self._commands is not None:
                self._commands.stop()
            await subscriber.close()

    @property
    def _place(self) -> str:
        return f"{self._config.host}:{self._config.port}"

    # Connecting

    async def _begin(self) -> None:
        await self._connect()
        self._has_been_connected = True
        member = self._arguments.presence
        subscribing = [
            self._subscriber.subscribe(
                name,
                custom_data={"user_id": member} if name.startswith("presence-") else None,
            )
            for name in self._arguments.channels
        ]
        try:
            await gatherResults(subscribing, consumeErrors=True)
        except Exception as error:
            # Twisted wraps the first failure.
            reason = cast(Any, error).subFailure.value
            raise reason from None
        self._note(f"subscribed to {', '.join(self._arguments.channels)}")

    async def _connect(self) -> None:
        """
        Connect, or raise what is in the way.

        The subscriber itself tries for as long as it takes, and does not say why; once an
        attempt of it has failed, a probe finds out, as often as there may be retries.
        """
        done: Deferred[None] = Deferred()
        connecting = self._subscriber.connect()
        watching = Deferred.fromCoroutine(self._find_out())

        def ended(result: object) -> None:
            if not done.called:
                done.callback(result if isinstance(result, Failure) else None)

        connecting.addBoth(ended)
        watching.addErrback(ended)
        try:
            await done
        finally:
            watching.cancel()

    async def _find_out(self) -> None:
        await self._unavailable
        timeout = self._config.connect_timeout
        problem = HTTPError(
            f"{self._place} takes connections, but no WebSocket was opened within "
            f"{timeout:g} seconds"
        )
        for retries in range(self._config.retry.max_retries + 1):
            await deferLater(self._reactor, self._config.retry.backoff(retries))
            try:
                await Probe(self._config, self._reactor).connect()
            except CancelledError:
                raise
            except PusherError as error:
                reason: PusherError = error
            else:
                await deferLater(self._reactor, timeout)
                reason = problem
        raise reason

    def _state_changed(self, old: str, new: str) -> None:
        if new == "unavailable" and not self._unavailable.called:
            self._unavailable.callback(None)
        elif new == "failed":
            # The subscriber says why to whoever wants to connect.
            self._subscriber.connect().addErrback(self._cannot_go_on)
        elif self._has_been_connected and old == "connected" and new == "connecting":
            self._note("the connection was lost; connecting again")

    def _note(self, text: str) -> None:
        """Tell people how it goes; programs read errors alone."""
        if wants_colours(sys.stderr) and not self._arguments.quiet:
            print(Paint(True)("dim", printable(text)), file=sys.stderr, flush=True)

    def _cannot_go_on(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._fail(failure)

    def _fail(self, failure: Failure | PusherError) -> None:
        if not self._over.called:
            self._over.errback(failure)

    def _end(self) -> None:
        if not self._over.called:
            self._over.callback(None)

    # Events

    def _take(self, message: Message) -> None:
        if self._over.called:
            return
        if message.event == "pusher:subscription_error":
            self._refused(message)
            return
        wanted = self._arguments.events
        is_internal = message.channel is None or message.event.startswith("pusher:")
        if wanted is not None and message.event not in wanted:
            return
        if is_internal and wanted is None and not self._arguments.internal:
            return
        if not self._arguments.quiet:
            self._show(in_json(message) if self._is_json else in_words(message, self._paint))
        if self._commands is not None:
            self._commands.add(f"{in_json(message)}\n".encode())
        if self._left is not None and not is_internal:
            self._left -= 1
            if self._left == 0:
                self._end()

    def _refused(self, message: Message) -> None:
        # The first time, the Deferred of subscribe() says it too, with the server's words.
        data = message.data if isinstance(message.data, dict) else {}
        self._reactor.callLater(
            0,
            self._fail,
            SubscriptionError(
                f"{message.channel}: the subscription was refused: {data.get('error', '')}",
                channel=message.channel,
            ),
        )


def in_json(message: Message) -> str:
    """Return *message* for programs."""
    shown: dict[str, Any] = {"channel": message.channel, "event": message.event}
    if message.user_id is not None:
        shown["user_id"] = message.user_id
    try:
        return ndjson({**shown, "data": message.data}, strict=True)
    except ValueError:
        # A number that is too large for JSON, once it has been read.
        return ndjson({**shown, "data": message.raw_data})


def in_words(message: Message, paint: Paint) -> str:
    """Return *message* for people, in one line."""
    words = [
        paint("dim", strftime("%H:%M:%S")),
        paint("cyan", printable(message.channel or "")),
        paint("bold", printable(message.event)),
        printable(message.raw_data or ""),
    ]
    if message.user_id is not None:
        words.append(paint("dim", f"by {printable(message.user_id)}"))
    return "  ".join(words)


class Commands:
    """
    Runs a command for each event, one after another.

    :param program: What the shell runs.
    :param fail: Called with an error where too many events wait.
    :ivar failed: How many commands have ended with another code than 0.
    """

    def __init__(self, program: str, reactor: Any, fail: Any) -> None:
        self._program = program
        self._reactor = reactor
        self._fail = fail
        self._waiting: deque[bytes] = deque()
        self._running: _Command | None = None
        self._idle: Deferred[None] | None = None
        self.failed = 0

    def add(self, event: bytes) -> None:
        """Run the command with *event*, once those before it have ended."""
        if len(self._waiting) >= MOST_WAITING:
            self._fail(
                QueueFullError(
                    f"--exec is too slow: {MOST_WAITING} events wait for the command"
                )
            )
            return
        self._waiting.append(event)
        self._go_on()

    def all_done(self) -> Deferred[None]:
        """Return a Deferred that fires when every command has ended."""
        self._idle = Deferred()
        self._go_on()
        return self._idle

    def stop(self) -> None:
        """Run nothing more, and end what runs."""
        self._waiting.clear()
        if self._running is not None:
            self._running.terminate()

    def _go_on(self) -> None:
        if self._running is not None:
            return
        if self._waiting:
            self._running = _Command(self._waiting.popleft(), self._ended)
            self._reactor.spawnProcess(
                self._running,
                "/bin/sh",
                ["sh", "-c", self._program],
                env=os.environ,
                childFDs={0: "w", 1: 1, 2: 2},
            )
        elif self._idle is not None and not self._idle.called:
            self._idle.callback(None)

    def _ended(self, code: int | None) -> None:
        self._running = None
        if code != 0:
            self.failed += 1
            how = "was killed" if code is None else f"ended with code {code}"
            fail(f"the command of --exec {how}")
        self._go_on()


class _Command(ProcessProtocol):
    """One run of the command."""

    def __init__(self, event: bytes, ended: Any) -> None:
        self._event = event
        self._ended = ended

    def connectionMade(self) -> None:
        """Give it the event, and the end of its input."""
        process = cast(Any, self.transport)
        process.write(self._event)
        process.closeStdin()

    def terminate(self) -> None:
        """Ask it to end."""
        self._ended = lambda code: None
        process = cast(Any, self.transport)
        if process is not None and process.pid is not None:
            process.signalProcess("TERM")

    def processEnded(self, reason: Failure) -> None:
        """Say with which code it has ended."""
        self._ended(cast(Any, reason.value).exitCode)
