"""
A server that misbehaves now and then, by a plan drawn from a seed: a child of
:mod:`tests.benchmarks.soak`.

It counts, for each numbered event, how often it acted on it.  ``POST /report``
has it write the counts to a file, one byte for each event.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from pathlib import Path

import attrs

#: What is done to a request instead of a plain answer, and how often, per 10 000.
FAULTS = {
    "close-after-reading": 20,
    "close-when-idle": 20,
    "500": 20,
    "503": 10,
    "429": 40,
    "slow": 20,
    "silent": 1,
    "garbage": 10,
    "truncated": 10,
    "not-json": 10,
    "in-pieces": 50,
}

#: Those in which the request was not acted on.
REFUSALS = frozenset({"429", "503"})

#: Seconds that a slow reply takes, and that an idle connection is left open.
SLOW = 0.05
IDLE = 0.002

#: Length of the plan, which begins anew after its end.
PLAN_LENGTH = 100_003

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def fault_plan(seed: int) -> list[str]:
    """A fault, or an empty text, for one request after the other."""
    chance = random.Random(seed)
    kinds = ["", *FAULTS]
    weights = [10_000 - sum(FAULTS.values()), *FAULTS.values()]
    return chance.choices(kinds, weights, k=PLAN_LENGTH)


def reply(status: str, body: bytes = b"", *headers: str) -> bytes:
    """A whole reply."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@attrs.define
class State:
    """What the server has done; shared by its connections."""

    plan: list[str]
    acted: bytearray
    report: Path
    requests: int = 0
    done: Counter[str] = attrs.field(factory=Counter)

    def write_report(self) -> bytes:
        """Write the counts, and return the sums as JSON."""
        self.report.write_bytes(self.acted)
        return json.dumps({"requests": self.requests, "faults": dict(self.done)}).encode()


class Connection(asyncio.Protocol):
    """One connection; answers one request after the other."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._received = b""
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
        else:
            self._answer(rest[:length])

    def _answer(self, body: bytes) -> None:
        state = self._state
        fault = state.plan[state.requests % PLAN_LENGTH]
        state.requests += 1
        if fault not in REFUSALS:
            # The name of the event is its number.
            state.acted[int(json.loads(body)["name"])] += 1
        if not fault:
            self._transport.write(OK)
            return
        state.done[fault] += 1
        self._misbehave(fault)

    def _misbehave(self, fault: str) -> None:
        transport, loop = self._transport, asyncio.get_running_loop()
        if fault == "close-after-reading":
            transport.abort()
        elif fault == "close-when-idle":
            transport.write(OK)
            loop.call_later(IDLE, transport.close)
        elif fault == "500":
            transport.write(reply("500 Internal Server Error", b"<h1>Oops</h1>"))
        elif fault == "503":
            transport.write(reply("503 Service Unavailable", b"", "Connection: close"))
            transport.close()
        elif fault == "429":
            transport.write(reply("429 Too Many Requests", b"slow down", "Retry-After: 0"))
        elif fault == "slow":
            loop.call_later(SLOW, self._write, OK)
        elif fault == "garbage":
            transport.write(b"\x00\xffnothing of HTTP\r\n\r\n" * 3)
            transport.close()
        elif fault == "truncated":
            transport.write(OK.replace(b"Length: 2", b"Length: 200"))
            transport.close()
        elif fault == "not-json":
            transport.write(reply("200 OK", b"<html>welcome</html>"))
        elif fault == "in-pieces":
            for place in range(0, len(OK), 7):
                loop.call_later(place / 1e5, self._write, OK[place : place + 7])

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


async def serve(port: int, seed: int, count: int, report: str) -> None:
    """Listen until the process is killed."""
    state = State(fault_plan(seed), bytearray(count), Path(report))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(**json.loads(sys.argv[1])))
