"""
Many subscribers of one channel in one light process: a child of
:mod:`tests.benchmarks.server_load`.

Just enough of a WebSocket client to count: each event of a publisher must bring
the publisher's next number, to each subscriber.  Prints a line once all have
subscribed and all is quiet, a line when all have got the events of the warm-up, a
line when all have got everything, and the tally once all is quiet again.  Where the
time is up, it goes on as it is.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import attrs

#: What the data of an event begins with; a number of six digits follows.
MARK = b"sequence="
DIGITS = 6

#: Connections that are being set up at the same time.
AT_ONCE = 20
#: Seconds without a byte after which all is quiet.
QUIET = 1.0
#: Seconds for the connections, and for the events.
PATIENCE = 120.0

READ = 65536
TEXT, CLOSE = 0x1, 0x8


@attrs.frozen
class Load:
    """
    What to do: *count* subscribers of *channel*, each to get *events* events.

    :ivar warm_up: How many of these are there to warm up the server.
    :ivar publishers: How many publish at the same time; the first sends the numbers 0,
        *publishers*, 2 * *publishers* and so on, the second 1, *publishers* + 1 and so on.
    """

    port: int
    key: str
    channel: str
    count: int
    warm_up: int
    events: int
    publishers: int = 1


@attrs.define
class Tally:
    """
    How far they are.

    :ivar subscribed: Subscribers whose subscription is confirmed.
    :ivar warm: Subscribers that have got the events of the warm-up.
    :ivar complete: Subscribers that have got everything.
    :ivar wrong: Events that were not the next one, and connections that ended.
    """

    subscribed: int = 0
    warm: int = 0
    complete: int = 0
    events: int = 0
    wrong: int = 0


class Subscriber:
    """One connection."""

    def __init__(self, load: Load, tally: Tally) -> None:
        self._load = load
        self._tally = tally
        self._buffer = b""
        self._upgraded = False
        self._expected = list(range(load.publishers))
        self._count = 0
        self.socket = socket.create_connection(("127.0.0.1", load.port))
        self.socket.sendall(
            f"GET /app/{load.key}?protocol=7&client=benchmark&version=1 HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{load.port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        self.socket.setblocking(False)

    def read(self) -> bool:
        """Take what has come; False once the connection has ended."""
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._tally.wrong += 1
            return False
        buffer = self._buffer + data
        if not self._upgraded:
            head, found, rest = buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = buffer
                return True
            if not head.startswith(b"HTTP/1.1 101 "):
                raise SystemExit(f"no WebSocket: {head[:200]!r}")
            self._upgraded = True
            buffer = rest
        self._buffer = self._frames(buffer)
        return True

    def _frames(self, buffer: bytes) -> bytes:
        start, size = 0, len(buffer)
        while size - start >= 2:
            length, place = buffer[start + 1], start + 2
            if length == 126:
                length, place = int.from_bytes(buffer[place : place + 2], "big"), place + 2
            elif length == 127:
                length, place = int.from_bytes(buffer[place : place + 8], "big"), place + 8
            end = place + length
            if end > size or place > size:
                break
            self._frame(buffer[start] & 0x0F, buffer[place:end])
            start = end
        return buffer[start:]

    def _frame(self, kind: int, payload: bytes) -> None:
        if kind == CLOSE:
            raise SystemExit(f"closed by the server: {payload[:200]!r}")
        if kind != TEXT:
            return
        place = payload.find(MARK)
        if place >= 0:
            place += len(MARK)
            self._event(int(payload[place : place + DIGITS]))
        elif b"pusher:connection_established" in payload:
            self._subscribe()
        elif b"pusher_internal:subscription_succeeded" in payload:
            self._tally.subscribed += 1

    def _event(self, number: int) -> None:
        tally = self._tally
        tally.events += 1
        publishers = self._load.publishers
        if number != self._expected[number % publishers]:
            tally.wrong += 1
        self._expected[number % publishers] = number + publishers
        self._count += 1
        tally.warm += self._count == self._load.warm_up
        tally.complete += self._count == self._load.events

    def _subscribe(self) -> None:
        message = {"event": "pusher:subscribe", "data": {"channel": self._load.channel}}
        payload = json.dumps(message).encode()
        if len(payload) > 125:
            raise SystemExit("the channel has too long a name for a short frame")
        # Frames of clients are masked; with zeros that changes nothing.
        self.socket.sendall(bytes([0x80 | TEXT, 0x80 | len(payload)]) + bytes(4) + payload)


class Crowd:
    """All of the subscribers."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._selector = selectors.DefaultSelector()
        self._opened = 0
        self.tally = Tally()

    def turn(self) -> bool:
        """Read what there is; whether there was anything within a second of quiet."""
        ready = self._selector.select(QUIET)
        for key, _ in ready:
            if not key.data.read():
                self._selector.unregister(key.fileobj)
        return bool(ready)

    def gather(self) -> None:
        """Connect and subscribe, and return when all is quiet."""
        deadline = time.monotonic() + PATIENCE
        busy = True
        while busy or self.tally.subscribed < self._load.count:
            if time.monotonic() > deadline:
                raise SystemExit(f"only {self.tally.subscribed} have subscribed")
            while (
                self._opened < self._load.count
                and self._opened < self.tally.subscribed + AT_ONCE
            ):
                subscriber = Subscriber(self._load, self.tally)
                self._selector.register(subscriber.socket, selectors.EVENT_READ, subscriber)
                self._opened += 1
            busy = self.turn()

    def listen(self, subscribers: Callable[[Tally], int]) -> None:
        """Take events until all subscribers count, or the time is up."""
        deadline = time.monotonic() + PATIENCE
        while subscribers(self.tally) < self._load.count and time.monotonic() < deadline:
            self.turn()


def say(message: dict[str, Any]) -> None:
    """Tell the parent."""
    print(json.dumps(message), flush=True)


def main() -> None:
    crowd = Crowd(Load(**json.loads(sys.argv[1])))
    crowd.gather()
    say({"subscribed": crowd.tally.subscribed})
    crowd.listen(lambda tally: tally.warm)
    say({"warm": crowd.tally.warm})
    crowd.listen(lambda tally: tally.complete)
    say({"complete": crowd.tally.complete})
    # One event too many would come now.
    while crowd.turn():
        pass
    say(attrs.asdict(crowd.tally))


if __name__ == "__main__":
    main()
