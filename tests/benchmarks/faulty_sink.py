"""
A server that misbehaves now and then, by a plan drawn from a seed: a child of
:mod:`tests.benchmarks.soak` and :mod:`tests.benchmarks.publication_soak`.

It counts, for each numbered event, how often it acted on it, and how often it acted on
an event of a channel after a later one.  ``POST /report`` has it write the counts to a
file, one byte for each event.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

#: Seconds that a slow reply takes, and that a connection is left open which will be closed.
SLOW = 0.05
IDLE = 0.002

#: Length of the plan, which begins anew after its end.
PLAN_LENGTH = 100_003

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def reply(status: str, body: bytes = b"", *headers: str) -> bytes:
    """A whole reply."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@attrs.frozen
class Fault:
    """
    What is done to a request instead of a plain answer.

    :ivar often: How often, per 10 000 requests.
    :ivar answer: What is written.
    :ivar acted: Whether the request is acted on.
    :ivar after: Seconds until it is written.
    :ivar pieces: Whether it is written in small pieces.
    :ivar closed: Seconds after which the connection is closed, None to leave it open.
    :ivar announced: Whether the answer says so.
    """

    often: int
    answer: bytes = b""
    acted: bool = True
    after: float = 0.0
    pieces: bool = False
    closed: float | None = None
    announced: bool = False


FAULTS = {
    "close-after-reading": Fault(20, closed=0),
    "close-when-idle": Fault(20, OK, closed=IDLE),
    "close-announced-oddly": Fault(
        20, reply("200 OK", b"{}", "CONNECTION: x-odd ,ClOsE"), closed=IDLE, announced=True
    ),
    "http-1.0": Fault(20, OK.replace(b"HTTP/1.1", b"HTTP/1.0"), closed=IDLE, announced=True),
    "http-1.0-until-closed": Fault(20, b"HTTP/1.0 200 OK\r\n\r\n{}", closed=0),
    "500": Fault(20, reply("500 Internal Server Error", b"<h1>Oops</h1>")),
    "503": Fault(
        10, reply("503 Service Unavailable", b"", "Connection: close"), acted=False, closed=0
    ),
    "429": Fault(
        40, reply("429 Too Many Requests", b"slow down", "Retry-After: 0"), acted=False
    ),
    "slow": Fault(20, OK, after=SLOW),
    "silent": Fault(1),
    "garbage": Fault(10, b"\x00\xffnothing of HTTP\r\n\r\n" * 3, closed=0),
    "truncated": Fault(10, OK.replace(b"Length: 2", b"Length: 200"), closed=0),
    "not-json": Fault(10, reply("200 OK", b"<html>welcome</html>")),
    "broken-gzip": Fault(10, reply("200 OK", b"\x1f\x8bnot so", "Content-Encoding: gzip")),
    "in-pieces": Fault(50, OK, pieces=True),
}


def fault_plan(seed: int | None) -> list[str]:
    """A fault, or an empty text, for one request after the other; no seed, no fault."""
    if seed is None:
        return [""] * PLAN_LENGTH
    chance = random.Random(seed)
    often = [fault.often for fault in FAULTS.values()]
    return chance.choices(["", *FAULTS], [10_000 - sum(often), *often], k=PLAN_LENGTH)


@attrs.define
class State:
    """
    What the server has done; shared by its connections.

    :ivar late: Requests on connections whose end had been announced; none is
        acted on.
    :ivar latest: The number of the event that was acted on last, for each channel.
    :ivar disorder: How often that was a later one.
    """

    plan: list[str]
    acted: bytearray
    report: Path
    requests: int = 0
    late: int = 0
    disorder: int = 0
    latest: dict[str, int] = attrs.field(factory=dict)
    done: Counter[str] = attrs.field(factory=Counter)

    def write_report(self) -> bytes:
        """Write the counts, and return the sums as JSON."""
        self.report.write_bytes(self.acted)
        sums = {
            "requests": self.requests,
            "late": self.late,
            "disorder": self.disorder,
            "faults": dict(self.done),
        }
        return json.dumps(sums).encode()

    def act(self, sent: dict[str, Any]) -> None:
        """Act on the event, or the events, of a request."""
        for event in sent.get("batch", [sent]):
            # The name of an event is its number.
            number = int(event["name"])
            self.acted[number] += 1
            if "channel" in event:
                channel = event["channel"]
                self.disorder += number < self.latest.get(channel, 0)
                self.latest[channel] = number


class Connection(asyncio.Protocol):
    """One connection; answers one request after the other."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._received = b""
        self._ending = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._received + data
        head, found, rest = received.partition(b"\r\n\r\n")
        length = 0
        if found:
            lower = head.lower()
            place = lower.index(b"content-length:") + 15
            length = int(lower[place : place + 12].split(b"\r\n", 1)[0])
        if not found or len(rest) < length:
            self._received = received
            return
        self._received = rest[length:]
        if head.startswith(b"POST /report "):
            self._transport.write(reply("200 OK", self._state.write_report()))
        elif self._ending:
            self._state.late += 1
        else:
            self._answer(rest[:length])

    def _answer(self, body: bytes) -> None:
        state = self._state
        name = state.plan[state.requests % PLAN_LENGTH]
        state.requests += 1
        fault = FAULTS.get(name)
        if fault is None or fault.acted:
            state.act(json.loads(body))
        if fault is None:
            self._transport.write(OK)
            return
        state.done[name] += 1
        self._misbehave(fault)

    def _misbehave(self, fault: Fault) -> None:
        transport, loop = self._transport, asyncio.get_running_loop()
        self._ending = fault.announced
        answer = fault.answer
        if fault.pieces:
            for place in range(0, len(answer), 7):
                loop.call_later(place / 1e5, self._write, answer[place : place + 7])
        elif fault.after:
            loop.call_later(fault.after, self._write, answer)
        else:
            transport.write(answer)
        if fault.closed:
            loop.call_later(fault.closed, transport.close)
        elif fault.closed is not None and answer:
            transport.close()
        elif fault.closed is not None:
            transport.abort()

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


async def serve(port: int, seed: int | None, count: int, report: str) -> None:
    """Listen until the process is killed."""
    state = State(fault_plan(seed), bytearray(count), Path(report))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(**json.loads(sys.argv[1])))
