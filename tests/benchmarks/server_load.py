"""
txpusher's server beside soketi: one channel, many subscribers.

    python -m tests.benchmarks.server_load [--quick] [--rst] [--only NAME ...]
        [--publishing {single,batches,concurrent} ...]
    python -m tests.benchmarks.server_load --against PATH

Events are published one after the other, in batches of ten, and by sixteen publishers
at the same time.  Each event must reach every subscriber once, and the events of one
publisher in order.  Reported are deliveries
per second of the server's CPU time and its resident memory, the medians of
rounds in which the servers take turns, each started anew and warmed up by as many
events again.  Exit code 1 where a server that was asked for could not be measured.

With ``--against``, the server of another checkout stands in soketi's place
(:mod:`tests.benchmarks.against`); the events are published by this one's client.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import attrs

from txpusher import BlockingPusher, PusherError

from . import against
from .harness import (
    APP_ID,
    KEY,
    ROOT,
    SECRET,
    BenchmarkError,
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
from .targets import TIMES
from .versions import tools

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

    @property
    def per_cpu(self) -> float:
        """Deliveries per second of CPU time."""
        return self.deliveries / self.cpu

    @property
    def rate(self) -> float:
        """Deliveries per second."""
        return self.deliveries / self.seconds


@contextlib.contextmanager
def txpusher_server(place: Path = ROOT) -> Iterator[Server]:
    """
    ``txpusher serve``.

    :param place: The directory from which ``txpusher`` is imported.
    """
    port = free_port()
    app = f"{APP_ID}:{KEY}:{SECRET}"
    command = [sys.executable, "-m", "txpusher", "serve", "--port", str(port), "--app", app]
    with serving(command, port, place=place) as server:
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


Servers = Mapping[str, Callable[[], AbstractContextManager[Server]]]

SERVERS: Servers = {
    "txpusher": txpusher_server,
    "soketi": soketi,
}


def one_round(server: Server, subscribers: int, events: int, publishing: str) -> Round:
    """
    Publish to all subscribers.

    :param publishing: The name of a way to publish, of :data:`PUBLISHING`.
    :raises BenchmarkError: One of them did not get all events once and in order.
    """
    way = PUBLISHING[publishing]
    events *= way.share
    # As many again, so that a compiler at run time has done its work.
    total = 2 * events
    load = Load(server.port, KEY, CHANNEL, subscribers, events, total, way.publishers)
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
        with publishing_to(server) as pusher:
            way.publish(pusher, range(events))
            crowd.stdout.readline()
            before, began = server.usage(), time.perf_counter()
            way.publish(pusher, range(events, total))
        crowd.stdout.readline()
        after, seconds = server.usage(), time.perf_counter() - began
        line = crowd.stdout.readline()
    except PusherError as error:
        raise BenchmarkError(f"an event was not accepted: {error}") from error
    finally:
        crowd.kill()
        crowd.wait()
        crowd.stdout.close()
    wanted = {
        "subscribed": subscribers,
        "warm": subscribers,
        "complete": subscribers,
        "events": subscribers * total,
        "wrong": 0,
    }
    got = json.loads(line or "{}")
    if got != wanted:
        raise BenchmarkError(f"not each subscriber got each event once and in order: {got}")
    return Round(subscribers * events, after.cpu - before.cpu, seconds, after.resident)


def publishing_to(server: Server) -> BlockingPusher:
    """A client of it; a context manager."""
    return BlockingPusher(
        APP_ID,
        KEY,
        SECRET,
        host="127.0.0.1",
        port=server.port,
        use_tls=False,
        timeout=PATIENCE,
    )


def text(number: int) -> str:
    """Return the data of the event with this number."""
    return f"{MARK.decode()}{number:0{DIGITS}} {FILLING}"


def one_by_one(pusher: BlockingPusher, numbers: Iterable[int]) -> None:
    """Trigger events with these numbers, one after the other."""
    for number in numbers:
        pusher.trigger(CHANNEL, "tick", text(number))


def in_batches(pusher: BlockingPusher, numbers: Iterable[int]) -> None:
    """Trigger events with these numbers, ten in a request."""
    left = list(numbers)
    while left:
        batch, left = left[:10], left[10:]
        pusher.trigger_batch(
            [{"channel": CHANNEL, "name": "tick", "data": text(number)} for number in batch]
        )


def at_once(pusher: BlockingPusher, numbers: Iterable[int]) -> None:
    """Trigger events with these numbers, in sixteen threads."""
    shares: dict[int, list[int]] = {}
    for number in numbers:
        shares.setdefault(number % PUBLISHERS, []).append(number)
    with ThreadPoolExecutor(PUBLISHERS) as threads:
        for done in [threads.submit(one_by_one, pusher, share) for share in shares.values()]:
            done.result()


PUBLISHERS = 16


@attrs.frozen
class Way:
    """
    A way to publish.

    :ivar share: How many times the events that are published one by one: several of them go
        out in one write, and the kernel counts CPU time in hundredths of a second.
    """

    publish: Callable[[BlockingPusher, Iterable[int]], None]
    caption: str
    publishers: int = 1
    share: int = 1


#: The server sends the events of one round of its reactor together, which the last two
#: alone have several of.
PUBLISHING = {
    "single": Way(one_by_one, "one event at a time"),
    "batches": Way(in_batches, "batches of ten", share=10),
    "concurrent": Way(at_once, f"{PUBLISHERS} publishers", PUBLISHERS, share=5),
}


def ratio(ours: Sequence[Round], theirs: Sequence[Round], of: Callable[[Round], float]) -> str:
    """The median of the ratios within a round."""
    ratios = [of(one) / of(other) for one, other in zip(ours, theirs, strict=True)]
    return f"{median(ratios):.2f} {TIMES}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.server_load",
        description="txpusher's server beside soketi: one channel, many subscribers.",
    )
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument(
        "--events", type=int, default=400, help="published one by one; other ways have more"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rst", action="store_true", help="the table in reStructuredText")
    parser.add_argument("--only", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--publishing", nargs="+", choices=PUBLISHING, default=list(PUBLISHING))
    parser.add_argument(
        "--against", type=Path, metavar="PATH", help="another checkout in soketi's place"
    )
    options = parser.parse_args(arguments)
    stop_on_signals()
    print(tools("@soketi/soketi"))
    complete = True
    try:
        with contextlib.ExitStack() as stack:
            servers = SERVERS
            if options.against is not None:
                where = stack.enter_context(against.places(options.against))
                there = functools.partial(txpusher_server, where.there)
                servers = {"txpusher": txpusher_server, str(options.against): there}
                options.only = list(servers)
            for publishing in options.publishing:
                rounds = measure(servers, options, publishing)
                show(rounds, options, publishing)
                complete = complete and len(rounds) == len(options.only)
    except BenchmarkError as error:
        note(f"left out: {error}")
        return 1
    return 0 if complete else 1


def measure(
    servers: Servers, options: argparse.Namespace, publishing: str
) -> dict[str, list[Round]]:
    """
    Measure servers in rounds; each round begins with the other end of the list.

    :return: Without the servers that could not be measured.
    """
    count = 1 if options.quick else max(1, options.rounds)
    rounds: dict[str, list[Round]] = {name: [] for name in servers if name in options.only}
    for number in range(1, count + 1):
        note(f"{publishing}: round {number} of {count}")
        for name in list(rounds)[:: 1 if number % 2 else -1]:
            try:
                with servers[name]() as server:
                    rounds[name].append(
                        one_round(server, options.subscribers, options.events, publishing)
                    )
            except BenchmarkError as error:
                note(f"left out: {name}: {error}")
                del rounds[name]
    return rounds


def show(
    rounds: Mapping[str, Sequence[Round]], options: argparse.Namespace, publishing: str
) -> None:
    """Print what was seen."""
    way = PUBLISHING[publishing]
    rows = [
        (
            name,
            f"{median(one.per_cpu for one in results):,.0f}",
            f"{median(one.rate for one in results):,.0f}",
            f"{median(one.resident / MIB for one in results):.0f}",
        )
        for name, results in rounds.items()
    ]
    if len(rounds) == 2:
        (name, ours), (other, theirs) = rounds.items()
        rows.append(
            (
                f"{name}, to {other}",
                ratio(ours, theirs, lambda one: one.per_cpu),
                ratio(ours, theirs, lambda one: one.rate),
                ratio(ours, theirs, lambda one: one.resident),
            )
        )
    show_table(
        f"{options.subscribers} subscribers, {options.events * way.share} events, "
        f"{way.caption}, medians; "
        "each got all, once, in order",
        ("Server", "deliveries/CPU s", "deliveries/s", "resident MiB"),
        rows,
        rst=options.rst,
    )


if __name__ == "__main__":
    sys.exit(main())
