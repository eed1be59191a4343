"""
``txpusher trigger --lines`` beside BatchPublisher's own ``publish``, in one run.

    python -m tests.benchmarks.command_line [--lines 100000] [--rounds 3]

Both send the same events to the same sink, an nginx that answers ``{}``, each in a process of
its own, in turn.  The rates are those of the publishing itself; what the command takes from
its start to its end stands beside them.  Exit code 1 where the command's median rate is below
0.8 of the publisher's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from .harness import (
    APP_ID,
    KEY,
    ROOT,
    SECRET,
    BenchmarkError,
    Sink,
    median,
    nginx_sink,
    note,
    run_child,
    show_table,
    stop_on_signals,
)

TARGET = 0.8
CHANNELS = 16


@attrs.frozen
class Run:
    """One run: events per second, and the seconds of the whole process."""

    rate: float
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    stop_on_signals()
    found: dict[str, list[Run]] = {name: [] for name in WAYS}
    try:
        with nginx_sink() as sink:
            for number in range(arguments.rounds):
                for name, measure in WAYS.items():
                    note(f"round {number + 1}: {name}")
                    found[name].append(measure(sink, arguments.lines))
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    rates = {name: median([run.rate for run in runs]) for name, runs in found.items()}
    own = rates[OWN]
    rows = [
        [
            name,
            f"{rates[name]:.0f}",
            f"{rates[name] / own:.2f}",
            f"{median([run.seconds for run in runs]):.1f}",
        ]
        for name, runs in found.items()
    ]
    title = f"{arguments.lines} events"
    show_table(title, ["", "Events/s", "To publish", "Process, s"], rows, rst=False)
    worst = min(rates.values()) / own
    return 0 if worst >= TARGET else 1


def publish(sink: Sink, lines: int) -> Run:
    """``BatchPublisher.publish`` of events that are made as it reads them."""
    began = time.monotonic()
    result = run_child("command_line", {"port": sink.port, "lines": lines}, timeout=120)
    return Run(lines / result["seconds"], time.monotonic() - began)


def data_lines(sink: Sink, lines: int) -> Run:
    """A channel and an event, and one datum a line."""
    text = "".join(f"{datum(number)}\n" for number in range(lines))
    return _command(sink, ["channel-0", "tick"], text, lines)


def ndjson_lines(sink: Sink, lines: int) -> Run:
    """One event a line."""
    text = "".join(
        json.dumps({"channel": channel(number), "name": "tick", "data": datum(number)}) + "\n"
        for number in range(lines)
    )
    return _command(sink, [], text, lines)


def _command(sink: Sink, words: list[str], text: str, lines: int) -> Run:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "txpusher", "trigger", "--lines", "--json", *words],
        input=text,
        cwd=ROOT,
        env={"PUSHER_URL": f"http://{KEY}:{SECRET}@127.0.0.1:{sink.port}/apps/{APP_ID}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"txpusher trigger --lines failed: {done.stderr[-2000:]}")
    told = json.loads(done.stdout)
    if told["sent"] != lines:
        raise BenchmarkError(f"{told['sent']} of {lines} events were sent")
    return Run(lines / told["seconds"], time.monotonic() - began)


def channel(number: int) -> str:
    """The channel of an event."""
    return f"channel-{number % CHANNELS}"


def datum(number: int) -> str:
    """The data of an event."""
    return json.dumps({"number": number, "text": "x" * 40})


OWN = "BatchPublisher.publish"
WAYS: dict[str, Callable[[Sink, int], Run]] = {
    OWN: publish,
    "txpusher trigger --lines, NDJSON": ndjson_lines,
    "txpusher trigger --lines CHANNEL EVENT": data_lines,
}


def child(plan: dict[str, Any]) -> None:
    """Publish, and print how long it took."""
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    from txpusher import BatchPublisher, Event, Pusher

    async def body(reactor: Any) -> None:
        settings = {"host": "127.0.0.1", "port": plan["port"], "use_tls": False}
        async with Pusher(APP_ID, KEY, SECRET, **settings) as pusher:
            publisher = BatchPublisher(pusher)
            began = time.monotonic()
            published = await publisher.publish(
                Event(channel(number), "tick", datum(number)) for number in range(plan["lines"])
            )
            seconds = time.monotonic() - began
        assert published.accepted == plan["lines"]
        print(json.dumps({"seconds": seconds}))

    react(lambda reactor: Deferred.fromCoroutine(body(reactor)))


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        child(json.loads(sys.argv[1]))
    else:
        raise SystemExit(main())
