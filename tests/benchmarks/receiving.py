"""
Events through one subscription: txpusher's Subscriber beside other clients.

    python -m tests.benchmarks.receiving [--events N] [--rounds N] [--rst]

Each client is a process of its own, on a connection to which the same frames are written as
fast as it reads.  Reported are events per second of the client's CPU time, and the resident
memory between a fifth of the events and the last, medians of rounds in which the clients take
turns.  Every event must come once, in order.  Exit code 1 where one does not, or where a client
could not be measured.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import shutil
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .harness import (
    BenchmarkError,
    NotInstalledError,
    median,
    node_modules,
    note,
    run_child,
    run_program,
    show_table,
)
from .receivers import CHANNEL, EVENT

HERE = Path(__file__).parent
CLIENTS = ("txpusher handler", "txpusher async for", "pusher-js", "websocket-client")
TIMEOUT = 300.0
#: Events that are written at once.
PIECE = 100
MIB = 2**20
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(message: dict[str, Any]) -> bytes:
    """A text frame of the server's, of less than 64 KiB."""
    payload = json.dumps(message).encode()
    if len(payload) < 126:
        return bytes([0x81, len(payload)]) + payload
    return struct.pack("!BBH", 0x81, 126, len(payload)) + payload


def event(number: int) -> bytes:
    """The frame of one event, of about 130 bytes."""
    data = json.dumps(
        {"number": number, "text": "The quick brown fox jumps over the lazy dog."}
    )
    return frame({"event": EVENT, "channel": CHANNEL, "data": data})


def serve(listening: socket.socket, events: int) -> None:
    """Greet one client, confirm its subscription, and write all events."""
    connection, _ = listening.accept()
    with connection, contextlib.suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        [key] = [
            line.partition(b":")[2].strip()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key")
        ]
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        greeting = json.dumps({"socket_id": "1.1", "activity_timeout": 120})
        connection.sendall(frame({"event": "pusher:connection_established", "data": greeting}))
        # Whatever it sends first is the request to subscribe.
        connection.recv(65536)
        confirmed = "pusher_internal:subscription_succeeded"
        connection.sendall(frame({"event": confirmed, "channel": CHANNEL, "data": "{}"}))
        for start in range(0, events, PIECE):
            last = min(start + PIECE, events)
            connection.sendall(b"".join(map(event, range(start, last))))
        while connection.recv(65536):
            pass


@contextlib.contextmanager
def serving(events: int) -> Iterator[int]:
    """Serve one client on the port that is the value."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening, events), daemon=True).start()
        yield listening.getsockname()[1]


def measure(client: str, events: int) -> dict[str, Any]:
    """Have one client take the events."""
    with serving(events) as port:
        options = {"client": client, "port": port, "events": events}
        if client == "pusher-js":
            package = node_modules("pusher-js") / "pusher-js"
            command = [shutil.which("node") or "node", str(HERE / "receiving.js")]
            return run_program(
                [*command, json.dumps(options)],
                timeout=TIMEOUT,
                env={"PUSHER_JS": str(package)},
            )
        if client == "websocket-client" and find_spec("websocket") is None:
            raise NotInstalledError("websocket-client is not installed")
        return run_child("receivers", options, timeout=TIMEOUT)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.receiving")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rst", action="store_true")
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {client: [] for client in CLIENTS}
    complete = True
    for number in range(options.rounds):
        for client in CLIENTS:
            note(f"round {number + 1}: {client}")
            try:
                result = measure(client, options.events)
            except (BenchmarkError, NotInstalledError) as error:
                note(str(error))
                complete = False
                continue
            if result["events"] != options.events or result["wrong"]:
                note(f"{client} got {result}")
                complete = False
            results[client].append(result)
    rows = [_row(client, result) for client, result in results.items() if result]
    header = ["Client", "Events per CPU s", "Events per s", "MiB at 1/5", "MiB at the end"]
    show_table(f"{options.events} events", header, rows, rst=options.rst)
    return 0 if complete else 1


def _row(client: str, results: list[dict[str, Any]]) -> list[str]:
    per_cpu = median(result["events"] / result["cpu"] for result in results)
    rate = median(result["events"] / result["seconds"] for result in results)
    early, late = (
        median(result[name] / MIB for result in results) for name in ("early", "late")
    )
    return [client, f"{per_cpu:,.0f}", f"{rate:,.0f}", f"{early:.1f}", f"{late:.1f}"]


if __name__ == "__main__":
    sys.exit(main())
