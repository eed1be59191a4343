"""
Metrics for Prometheus: attempts, how they ended and how long they took.

Publishes an event a second and serves ``/metrics`` on the port given, or 8000;
with ``--once`` it publishes three, prints the metrics and ends.  Needs
``prometheus_client``.

::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python metrics.py 8000
"""

# Much of Twisted has no annotations yet.
# mypy: allow-untyped-calls

from __future__ import annotations

import sys
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, generate_latest
from twisted.internet.task import LoopingCall, react
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from txpusher import Attempt, Pusher

# Channels and user ids stand in the path: as a label it would make a series of each.
ATTEMPTS = Counter("pusher_attempts", "Requests sent", ["method", "outcome"])
SECONDS = Histogram("pusher_attempt_seconds", "From sending to the reply", ["method"])
RETRIES = Counter("pusher_retries", "Attempts after the first")
PENDING = Gauge("pusher_pending", "Operations that wait")
CONNECTIONS = Gauge("pusher_connections", "Open sockets")


def count(attempt: Attempt) -> None:
    """Called by the client after each attempt: be quick, and do not block."""
    outcome = "ok" if attempt.failure is None else type(attempt.failure).__name__
    ATTEMPTS.labels(attempt.method, outcome).inc()
    SECONDS.labels(attempt.method).observe(attempt.seconds)
    if attempt.attempt > 1:
        RETRIES.inc()


class Metrics(Resource):
    """What Prometheus scrapes."""

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        return generate_latest()


async def main(reactor: Any, argument: str = "8000") -> None:
    pusher = Pusher.from_env(on_attempt=count)
    PENDING.set_function(lambda: pusher.stats.pending)
    CONNECTIONS.set_function(lambda: pusher.stats.open_connections)
    if argument == "--once":
        for number in range(3):
            await pusher["ticks"].trigger_quietly("tick", {"number": number})
        print(generate_latest().decode(), end="")
        await pusher.close()
        return
    root = Resource()
    root.putChild(b"metrics", Metrics())
    listening = reactor.listenTCP(int(argument), Site(root), interface="127.0.0.1")
    print(f"ready: http://127.0.0.1:{listening.getHost().port}/metrics", flush=True)
    publishing = LoopingCall(lambda: pusher["ticks"].trigger_quietly("tick", "tock"))
    publishing.clock = reactor
    await publishing.start(1.0)


if __name__ == "__main__":
    react(main, sys.argv[1:])
