"""
Aims triggers at the moment when a server closes idle connections, and judges what came of them.

    python -m tests.support.sweep [--count N]

Many clients at once, each with one connection, each triggering as often as the server's
keep-alive ends: by Deferreds, by blocking calls in threads, in batches of ten; over plain HTTP
and TLS; to a scripted server and to nginx.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import uniform
from typing import Any

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.ssl import Certificate
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread
from twisted.web.client import BrowserLikePolicyForHTTPS

from txpusher import BlockingPusher, Event, Pusher, PusherError

#: Seconds after which the servers close an idle connection.
IDLE = 0.2

#: Seconds between two triggers of one client, at least and at most.
BETWEEN = (0.19, 0.21)

_BATCH = 10

ROOT = Path(__file__).resolve().parents[2]


@attrs.define
class Outcome:
    """
    How the triggers of one server ended.

    :ivar succeeded: The numbers of the events whose trigger succeeded.
    :ivar failed: The error of each trigger that failed, with the numbers of its events.
    :ivar record: What reached the server: see :class:`tests.support.idle_closer.Record`.
    """

    succeeded: list[int] = attrs.field(factory=list)
    failed: list[tuple[list[int], PusherError]] = attrs.field(factory=list)
    record: dict[str, Any] = attrs.field(factory=dict)

    def problems(self) -> list[str]:
        """Say what must not be: an event lost, doubled, or failed without having left."""
        arrived = Counter(self.record["arrived"])
        found = [
            f"event {n} arrived {times} times" for n, times in arrived.items() if times > 1
        ]
        found += [f"event {n} never arrived" for n in self.succeeded if n not in arrived]
        found += [
            f"{error!r} says that nothing left"
            for _, error in self.failed
            if not error.maybe_delivered
        ]
        if len(self.failed) != self.record["unanswered"]:
            found.append(
                f"{len(self.failed)} triggers failed, {self.record['unanswered']} had left "
                "and got no reply"
            )
        return found


class Servers:
    """The servers, in a process of their own."""

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="txpusher-sweep-")
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.support.idle_closer",
                self._place.name,
                str(IDLE),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.ports: dict[str, int] = json.loads(self._process.stdout.readline())
        root = Certificate.loadPEM((Path(self._place.name) / "ca.pem").read_bytes())
        self._policy = BrowserLikePolicyForHTTPS(trustRoot=root)

    def pusher(self, server: str) -> Pusher:
        """Make a client with one connection to *server*."""
        tls = server.endswith("TLS")
        return Pusher(
            "3",
            "key",
            "secret",
            host="127.0.0.1",
            port=self.ports[server],
            use_tls=tls,
            tls_policy=self._policy if tls else None,
            max_connections=1,
            timeout=30,
            connect_timeout=30,
        )

    def record(self) -> dict[str, Any]:
        """Stop the servers, and return their records."""
        recorded = json.loads(self._process.communicate("")[0])
        self._place.cleanup()
        return dict(recorded)


def _events(numbers: list[int]) -> list[Event]:
    return [Event("orders", "created", f"number-{number}") for number in numbers]


async def _trigger(pusher: Pusher, numbers: list[int], outcome: Outcome, kind: str) -> None:
    try:
        if kind == "batch":
            await pusher.trigger_batch(_events(numbers))
        elif kind == "blocking":
            blocking = BlockingPusher.wrap(pusher)
            await deferToThread(blocking.trigger, "orders", "created", f"number-{numbers[0]}")
        else:
            await pusher.trigger("orders", "created", f"number-{numbers[0]}")
    except PusherError as error:
        outcome.failed.append((numbers, error))
    else:
        outcome.succeeded.extend(numbers)


async def _client(
    reactor: Any, pusher: Pusher, kind: str, times: int, numbers: Iterator[int], out: Outcome
) -> None:
    await deferLater(reactor, uniform(0, BETWEEN[1]))
    for _ in range(times):
        batch = [next(numbers) for _ in range(_BATCH if kind == "batch" else 1)]
        await _trigger(pusher, batch, out, kind)
        await deferLater(reactor, uniform(*BETWEEN))
    await pusher.close()


async def sweep(reactor: Any, triggers: int, times: int = 15) -> dict[str, Outcome]:
    """
    Send about *triggers* triggers, *times* by each client, and return how they ended.

    :return: The outcome of each server, by its name.
    """
    servers = await deferToThread(Servers)
    numbers = count()
    outcomes = {server: Outcome() for server in servers.ports}
    kinds = ("deferred", "blocking", "batch")
    clients = max(1, round(triggers / times / len(outcomes) / len(kinds)))
    reactor.suggestThreadPoolSize(max(20, clients * len(outcomes)))
    await gatherResults(
        [
            Deferred.fromCoroutine(
                _client(reactor, servers.pusher(server), kind, times, numbers, outcomes[server])
            )
            for server in outcomes
            for kind in kinds
            for _ in range(clients)
        ]
    )
    for server, record in (await deferToThread(servers.record)).items():
        outcomes[server].record = record
    return outcomes


async def main(reactor: Any) -> None:
    """Run a sweep, print its figures, and exit with 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.sweep")
    parser.add_argument("--count", type=int, default=2000, help="how many triggers")
    outcomes = await sweep(reactor, parser.parse_args().count)
    problems = []
    for server, outcome in outcomes.items():
        print(
            f"{server}: {len(outcome.succeeded)} events succeeded, "
            f"{len(outcome.record['arrived'])} arrived, {len(outcome.failed)} triggers failed "
            f"with maybe_delivered, {outcome.record['unanswered']} of which bytes had left"
        )
        problems += [f"{server}: {problem}" for problem in outcome.problems()]
    print("\n".join(problems) or "nothing is wrong")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    react(main)
