"""
txpusher's server beside soketi: one channel, many subscribers.

    python -m tests.benchmarks.server_load [--quick] [--rst] [--only NAME ...]

Each event must reach every subscriber once, in order.  Reported are deliveries
per second of the server's CPU time and its resident memory, the medians of
rounds in which the servers take turns, each started anew.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import attrs

from txpusher import BlockingPusher

from .harness import (
    APP_ID,
    KEY,
    ROOT,
    SECRET,
    BenchmarkError,
    NotInstalledError,
    Server,
    free_port,
    median,
    node_modules,
    note,
    serving,
    show_table,
    stop_on_signals,
)
from .subscribers import DIGITS, MARK, PATIENCE, Load

CHANNEL = "load"
FILLING = "The quick brown fox jumps over the lazy dog. " * 2
MIB = 2**20


@attrs.frozen
class Round:
    """
    What one round cost the server.

    :ivar cpu: Seconds of CPU time, from the first event to the last delivery.
    :ivar resident: Bytes after the last delivery.
    """

    deliveries: int
    cpu: float
    seconds: float
    resident: int


@contextlib.contextmanager
def txpusher_server() -> Iterator[Server]:
    """``txpusher serve``."""
    port = free_port()
    app = f"{APP_ID}:{KEY}:{SECRET}"
    command = [sys.executable, "-m", "txpusher", "serve", "--port", str(port), "--app", app]
    with serving(command, port) as server:
        yield server


@contextlib.contextmanager
def soketi() -> Iterator[Server]:
    """soketi, from npm."""
    port = free_port()
    modules = node_modules("@soketi/soketi")
    command = [
        shutil.which("node") or "node",
        str(modules / "@soketi/soketi/bin/server.js"),
        "start",
    ]
    env = {
        "SOKETI_HOST": "127.0.0.1",
        "SOKETI_PORT": str(port),
        "SOKETI_METRICS_HOST": "127.0.0.1",
        "SOKETI_METRICS_SERVER_PORT": str(free_port()),
        "SOKETI_CLUSTER_UNICAST_ADDRESSES": "127.0.0.1",
        "SOKETI_DEFAULT_APP_ID": APP_ID,
        "SOKETI_DEFAULT_APP_KEY": KEY,
        "SOKETI_DEFAULT_APP_SECRET": SECRET,
    }
    with serving(command, port, env=env) as server:
        yield server


SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "txpusher": txpusher_server,
    "soketi": soketi,
}


def one_round(server: Server, subscribers: int, events: int) -> Round:
    """
    Publish to all subscribers, one event after the other has been accepted.

    :raises BenchmarkError: One of them did not get all events once and in order.
    """
    load = Load(server.port, KEY, CHANNEL, subscribers, events)
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.subscribers",
        json.dumps(attrs.asdict(load)),
    ]
    crowd = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert crowd.stdout is not None
    try:
        if not crowd.stdout.readline():
            raise BenchmarkError("the subscribers could not subscribe")
        before, began = server.usage(), time.perf_counter()
        publish(server, events)
        crowd.stdout.readline()
        after, seconds = server.usage(), time.perf_counter() - began
        line = crowd.stdout.readline()
    finally:
        crowd.kill()
        crowd.wait()
        crowd.stdout.close()
    wanted = {
        "subscribed": subscribers,
        "complete": subscribers,
        "events": subscribers * events,
        "wrong": 0,
    }
    got = json.loads(line or "{}")
    if got != wanted:
        raise BenchmarkError(f"not each subscriber got each event once and in order: {got}")
    return Round(subscribers * events, after.cpu - before.cpu, seconds, after.resident)


def publish(server: Server, events: int) -> None:
    """Trigger the events, one after the other."""
    with BlockingPusher(
        APP_ID,
        KEY,
        SECRET,
        host="127.0.0.1",
        port=server.port,
        use_tls=False,
        timeout=PATIENCE,
    ) as pusher:
        for number in range(events):
            pusher.trigger(CHANNEL, "tick", f"{MARK.decode()}{number:0{DIGITS}} {FILLING}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.server_load",
        description="txpusher's server beside soketi: one channel, many subscribers.",
    )
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rst", action="store_true", help="the table in reStructuredText")
    parser.add_argument("--only", nargs="+", choices=SERVERS, default=list(SERVERS))
    options = parser.parse_args(arguments)
    stop_on_signals()
    count = 1 if options.quick else max(1, options.rounds)
    rounds: dict[str, list[Round]] = {name: [] for name in SERVERS if name in options.only}
    failed = False
    for number in range(1, count + 1):
        note(f"round {number} of {count}")
        for name, results in list(rounds.items()):
            try:
                with SERVERS[name]() as server:
                    results.append(one_round(server, options.subscribers, options.events))
            except BenchmarkError as error:
                note(f"{name}: {error}")
                failed |= not isinstance(error, NotInstalledError)
                del rounds[name]
    show_table(
        f"{options.subscribers} subscribers, {options.events} events, "
        f"medians of {count} rounds; each got all, once, in order",
        ("Server", "deliveries/CPU s", "deliveries/s", "resident MiB"),
        [
            (
                name,
                f"{median(one.deliveries / one.cpu for one in results):,.0f}",
                f"{median(one.deliveries / one.seconds for one in results):,.0f}",
                f"{median(one.resident / MIB for one in results):.0f}",
            )
            for name, results in rounds.items()
        ],
        rst=options.rst,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
