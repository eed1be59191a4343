# -*- test-case-name: tests.integration.test_cli_lines -*-
"""
``txpusher trigger --lines``: the lines of the standard input as events, many in one request.

A thread reads and encodes the lines, because reading may block; the events go through a
:class:`~txpusher.BatchPublisher` in the reactor's thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any, cast

import attrs
from twisted.internet.defer import CancelledError

from txpusher._cli.codes import DONE, FAILED, INTERRUPTED, UNKNOWN, fail, hint_for
from txpusher._cli.output import Paint, grouped, ndjson, one_line, wants_colours, wants_json
from txpusher._cli.program import Program, Show
from txpusher._cli.publish import attributes
from txpusher._cli.reading import raw_lines
from txpusher._cli.settings import settings_of
from txpusher._event import Event, as_event, event_arguments
from txpusher._pipe import Pipe
from txpusher._publication import Encoded, Publication
from txpusher.client import Pusher
from txpusher.errors import InvalidRequestError, PusherError
from txpusher.publisher import BatchPublisher

#: Seconds that events in flight have to be answered, after Ctrl-C.
GRACE = 1.0
#: Seconds that the reading thread waits for a place before it looks whether to end.
_PATIENCE = 0.2

#: Makes an event of a line without its line break; None where the line stands for none.
Parse = Callable[[bytes], Event | None]


def publish_lines(arguments: argparse.Namespace) -> int:
    """Publish the events of the standard input, and return the exit code."""
    parse: Parse = parse_object
    if arguments.words:
        channel, event = arguments.words
        info = attributes(arguments.info)
        parse = data_parser(channel, event, arguments.socket_id, info)
    settings = settings_of(arguments)

    async def run(reactor: Any, show: Show) -> int:
        async with Pusher(reactor=reactor, **settings) as pusher:
            run = LinesRun(pusher, reactor, parse)
            ending = await run.publish()
            # At once: Ctrl-C may come while the client closes.
            if wants_json(arguments.json):
                show(ndjson(ending.as_mapping()))
            else:
                show(ending.in_words(Paint(wants_colours(sys.stdout))))
        return ending.code

    return Program(run, stopped=INTERRUPTED, logs=False).run()


def parse_object(line: bytes) -> Event | None:
    """
    Return the event of a line of NDJSON; an empty line has none.

    ``event`` may stand for ``name``, so that what ``txpusher subscribe`` prints can be
    published again.

    :raises InvalidRequestError: The line is no JSON object, or no event.
    """
    if not line.strip():
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"it is not JSON: {error}") from None
    if isinstance(value, dict) and "event" in value and "name" not in value:
        value["name"] = value.pop("event")
    return as_event(value)


def data_parser(
    channel: str, event: str, socket_id: str | None, info: list[str] | None
) -> Parse:
    """Return what makes an event of a line that is the event's data."""
    return lambda line: Event(channel, event, line, socket_id, info)


@attrs.frozen
class Ending:
    """
    How a run has ended.

    :ivar sent: How many events the server has accepted.
    :ivar failed: How many it has not, bad lines among them.
    :ivar unknown: How many of *failed* may have been delivered all the same.
    :ivar seconds: How long it took.
    """

    sent: int
    failed: int
    unknown: int
    seconds: float

    @property
    def code(self) -> int:
        """The exit code."""
        if self.unknown:
            return UNKNOWN
        return FAILED if self.failed else DONE

    def as_mapping(self) -> dict[str, Any]:
        """Return the ending for programs."""
        return {**attrs.asdict(self), "seconds": round(self.seconds, 3)}

    def in_words(self, paint: Paint) -> str:
        """Return the ending for people."""
        rate = grouped(round(self.sent / self.seconds)) if self.seconds else "0"
        text = f"{grouped(self.sent)} events sent in {self.seconds:.1f} s, {rate} per second"
        if self.failed:
            text += f"; {paint('red', f'{grouped(self.failed)} failed')}"
        return text


class LinesRun:
    """
    One run: reads, publishes, tells on the standard error what fails and how far it is.

    :param parse: Makes an event of a line.
    """

    def __init__(self, pusher: Pusher, reactor: Any, parse: Parse) -> None:
        self._pusher = pusher
        self._parse = parse
        self._publisher = BatchPublisher(pusher)
        self._publication: Publication = self._publisher.publication(self._progress)
        self._window = pusher.config.max_connections * pusher.config.max_batch_size
        self._pipe: Pipe[Encoded] = Pipe(4 * self._window, reactor)
        self._told = 0
        self._unknown = 0
        self._started = time.monotonic()
        self._shows_progress = wants_colours(sys.stderr)
        self._unreadable: str | None = None

    async def publish(self) -> Ending:
        """Publish everything; where it is cancelled, tell how far it came."""
        Thread(target=self._read, name="txpusher-lines", daemon=True).start()
        try:
            await self._publication.publish_piped(self._pipe)
        except CancelledError:
            await self._publisher.close(timeout=GRACE)
            self._tell_failures()
            self._clear_progress()
            fail(interrupted(self._publication))
            # Whoever closes the client must not wait for what is in flight.
            await self._pusher.close(timeout=0.0)
            raise
        self._tell_failures()
        self._clear_progress()
        failed = len(self._publication.failed)
        if self._unreadable is not None:
            fail(self._unreadable)
            failed += 1
        seconds = time.monotonic() - self._started
        return Ending(self._publication.accepted, failed, self._unknown, seconds)

    # In the thread

    def _read(self) -> None:
        try:
            for number, line in enumerate(raw_lines(), 1):
                entry = self._encoded(number, line)
                if entry is not None and not self._put(entry):
                    return
        except OSError as error:
            self._unreadable = f"cannot read the standard input: {error.strerror or error}"
        except Exception as error:
            self._unreadable = f"cannot read the standard input: {error}"
        self._pipe.end()

    def _encoded(self, number: int, line: bytes) -> Encoded | None:
        # Of an event that fails, its line is what matters.
        given = cast(Any, number)
        try:
            event = self._parse(line.removesuffix(b"\r"))
            if event is None:
                return None
            encoded = self._publisher.encode(*event_arguments(event))
        except PusherError as error:
            return Encoded(given, "", error)
        return Encoded(given, event.channel, encoded)

    def _put(self, entry: Encoded) -> bool:
        while not self._pipe.put(entry, _PATIENCE):
            if self._pipe.is_closed:
                return False
        return True

    # What is told

    def _progress(self, done: int, failed: int) -> None:
        self._tell_failures()
        if self._shows_progress:
            seconds = time.monotonic() - self._started
            rate = round((done - failed) / seconds) if seconds else 0
            print(
                f"\r\x1b[K{grouped(done - failed)} sent  {grouped(failed)} failed  "
                f"{grouped(rate)} per second",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def _clear_progress(self) -> None:
        if self._shows_progress:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _tell_failures(self) -> None:
        """Tell of the events that have failed since the last time."""
        new = self._publication.failed[self._told :]
        if not new:
            return
        self._told += len(new)
        self._unknown += sum(getattr(error, "maybe_delivered", False) for *_, error in new)
        self._clear_progress()
        for line in failures((cast(int, given), error) for _, given, error in new):
            fail(line)


def failures(failed: Iterable[tuple[int, Exception]]) -> list[str]:
    """
    Return what to tell of the lines that have failed.

    Lines that follow on one another and failed alike, as those of one request do, are told
    together.

    :param failed: The number of each line, and its error.
    """
    runs: list[list[Any]] = []
    for number, error in sorted(failed, key=lambda pair: pair[0]):
        text = str(error)
        if runs and runs[-1][1] == number - 1 and runs[-1][2] == text:
            runs[-1][1] = number
        else:
            hint = hint_for(error) if isinstance(error, PusherError) else ""
            runs.append([number, number, text, hint])
    return [
        f"{_lines(first, last)}: {one_line(text)}{f'; {hint}' if hint else ''}"
        for first, last, text, hint in runs
    ]


def _lines(first: int, last: int) -> str:
    return f"line {first}" if first == last else f"lines {first} to {last}"


def interrupted(publication: Publication) -> str:
    """Return how far a run came that was interrupted, in one line."""
    unsettled = [cast(int, given) for given in publication.unsettled]
    left = [*unsettled, *(cast(int, given) for given in publication.dropped)]
    text = (
        f"interrupted: {publication.accepted} sent, {len(publication.failed)} failed, "
        f"{len(unsettled)} unsettled"
    )
    if unsettled:
        text += ", which may have been delivered"
    if left:
        return f"{text}; the first line that is not settled is {min(left)}"
    return f"{text}; every line that was read is settled"
