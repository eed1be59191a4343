"""What is left in the reactor, what was logged, which sockets there are."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer


def in_reactor() -> list[Any]:
    """Connections, ports and timers in the reactor, its own ones left out."""
    from twisted.internet import reactor as installed

    # A reactor has no public word for the readers that it adds for itself.
    reactor: Any = installed
    selectables = {*reactor.getReaders(), *reactor.getWriters()} - reactor._internalReaders
    waker = getattr(reactor, "waker", None)
    return [*(selectables - {waker}), *reactor.getDelayedCalls()]


def collect_sockets() -> None:
    """
    Collect sockets that nobody has closed, without a warning.

    Twisted 24.7 leaves a socket that it could not bind to the garbage collector.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def timers() -> list[Any]:
    """The delayed calls in the reactor."""
    from twisted.internet import reactor

    return list(reactor.getDelayedCalls())


def _lines(port: int) -> Iterator[tuple[int, int, str, str]]:
    wanted = f":{port:04X} "
    # The kernel lists a socket twice where others come or go between two reads.
    seen = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text("ascii").splitlines()[1:]:
            if wanted not in line:
                continue
            fields = line.split()
            if (ends := (fields[1], fields[2])) in seen:
                continue
            seen.add(ends)
            local, remote = (int(fields[n].rpartition(":")[2], 16) for n in (1, 2))
            if port in (local, remote):
                yield local, remote, fields[3], fields[9]


def client_sockets(port: int) -> int:
    """
    How many sockets there are whose other end is *port* of this machine.

    One that its process has closed has no inode any more; the kernel keeps it.
    """
    return sum(1 for _, remote, _, inode in _lines(port) if remote == port and inode != "0")


def established(port: int) -> int:
    """How many established connections *port* of this machine has."""
    return sum(1 for local, _, state, _ in _lines(port) if local == port and state == "01")


@implementer(ILogObserver)
class Log:
    """
    Every event that is logged, of any kind.

    :ivar events: All of them.
    :ivar failures: The failures among them that no test has asked for.
    """

    def __init__(self) -> None:
        self.events: list[LogEvent] = []
        self.failures: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)
        if "log_failure" in event or event.get("log_level") == LogLevel.critical:
            self.failures.append(event)

    def start(self) -> None:
        globalLogPublisher.addObserver(self)

    def stop(self) -> None:
        globalLogPublisher.removeObserver(self)

    def flush(self) -> list[LogEvent]:
        """The failures, which are expected then."""
        failures, self.failures = self.failures, []
        return failures

    @property
    def requests(self) -> list[LogEvent]:
        """The events of the client that tell of an attempt."""
        return [
            event
            for event in self.events
            if "milliseconds" in event and "log_failure" not in event
        ]

    @property
    def text(self) -> str:
        """All that any observer could write from any event."""
        return "\n".join(map(text_of, self.events))


def text_of(event: LogEvent) -> str:
    """All that an observer could write from one event."""
    parts = [formatEvent(event), repr(event)]
    if "log_failure" in event:
        parts.append(event["log_failure"].getTraceback())
    return "\n".join(parts)
