"""
Events per second and CPU time per event: txpusher and its peers, in one run.

    python -m tests.benchmarks.throughput [--quick] [--rst] [--only NAME ...]
    python -m tests.benchmarks.throughput --against PATH [--only NAME ...]

Each measurement is made in a process of its own, once that is warm, one after
the other in rounds; the tables show the medians of the rounds, and of the
ratios within a round.  What they send to is an nginx that answers ``{}``, over
plain HTTP and over TLS.  Then: what many events that wait cost, and what the
import costs.  Exit code 1 where a target is not met that is not known to be out of reach,
or anything that was asked for could not be measured.

With ``--against``, another checkout's package is measured beside this one's instead
(:mod:`tests.benchmarks.against`): only txpusher's own rows, plain HTTP, no targets.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from . import against, targets
from .harness import (
    APP_ID,
    HERE,
    KEY,
    ROOT,
    SECRET,
    BenchmarkError,
    Sink,
    median,
    nginx_sink,
    node_modules,
    note,
    run_child,
    run_program,
    show_table,
    stop_on_signals,
)
from .measuring import (
    BATCH,
    CHANNELS,
    IN_FLIGHT,
    IN_FLIGHT_EVENTS,
    TEXT,
    THREADS,
    WARM_UP,
    Measured,
)
from .pending import EVENTS, Pending
from .targets import Figure
from .versions import tools

_EVENTS = f"{IN_FLIGHT_EVENTS} events waiting"
LABELS = {
    "trigger": f"txpusher Pusher.trigger, {IN_FLIGHT} in flight",
    "publisher": f"txpusher BatchPublisher.trigger, {_EVENTS}",
    "publisher-one-channel": "txpusher BatchPublisher.trigger, all on one channel",
    "publish": "txpusher BatchPublisher.publish, a generator",
    "batch": f"txpusher Pusher.trigger_batch of 10, {IN_FLIGHT} in flight",
    "blocking-1": "txpusher BlockingPusher.trigger, 1 thread",
    "blocking-8": f"txpusher BlockingPusher.trigger, {THREADS} threads",
    "blocking-publisher": f"txpusher BlockingBatchPublisher.trigger, {THREADS} threads",
    "blocking-publisher-submit": f"txpusher BlockingBatchPublisher.submit, {THREADS} threads",
    "requests-1": "Python SDK, requests, trigger, 1 thread",
    "requests-8": f"Python SDK, requests, trigger, {THREADS} threads",
    "requests-32": f"Python SDK, requests, trigger, {IN_FLIGHT} threads",
    "requests-batch": "Python SDK, requests, trigger_batch of 10, 1 thread",
    "aiohttp": f"Python SDK, aiohttp, trigger, {IN_FLIGHT} in flight",
    "aiohttp-batch": f"Python SDK, aiohttp, trigger_batch of 10, {IN_FLIGHT} in flight",
    "node": f"Node SDK, keep-alive agent, trigger, {IN_FLIGHT} in flight",
    "node-batch": f"Node SDK, keep-alive agent, triggerBatch of 10, {IN_FLIGHT} in flight",
    "treq": f"plain treq, same requests, {IN_FLIGHT} in flight",
}

#: In which order they are measured: next to each other what is compared, so that
#: whatever else the machine does meanwhile is the same for both.
ORDER = (
    "trigger",
    "aiohttp",
    "node",
    "treq",
    "batch",
    "aiohttp-batch",
    "node-batch",
    "publish",
    "publisher",
    "publisher-one-channel",
    "requests-batch",
    "blocking-1",
    "requests-1",
    "blocking-8",
    "requests-8",
    "requests-32",
    "blocking-publisher",
    "blocking-publisher-submit",
)

#: To what many events are offered at once.
OFFERED_TO = {"trigger": "Pusher", "publisher": "BatchPublisher"}

#: How often each import is timed.
IMPORTS = 15


@attrs.frozen
class Effort:
    """How long to measure, and how often."""

    rounds: int
    seconds: float

    @property
    def timeout(self) -> float:
        """Seconds within which any child is done."""
        return 60 + 20 * (WARM_UP.slice * WARM_UP.most + self.seconds)


THOROUGH = Effort(rounds=9, seconds=1.0)
QUICK = Effort(rounds=1, seconds=0.7)


#: Events per request of the rows that Node.js measures.
NODE = {"node": 1, "node-batch": BATCH}

#: The rows that measure txpusher itself.
OWN = tuple(name for name, label in LABELS.items() if label.startswith("txpusher "))


def run_subject(
    name: str, sink: Sink, effort: Effort, *, tls: bool, place: Path = ROOT
) -> Measured:
    """
    Measure one subject once.

    :param place: The directory from which ``txpusher`` is imported.
    """
    port = sink.tls_port if tls else sink.port
    plan: dict[str, Any] = {"port": port, "seconds": effort.seconds}
    if name in NODE:
        plan |= {"tls": tls, "batch": NODE[name]}
        return Measured(**_run_node(plan, sink, effort))
    plan |= {"subject": name, "ca": sink.ca if tls else None}
    env = {"SSL_CERT_FILE": sink.ca} if tls else {}
    child = run_child("subjects", plan, timeout=effort.timeout, env=env, place=place)
    return Measured(**child)


def _run_node(plan: dict[str, Any], sink: Sink, effort: Effort) -> dict[str, Any]:
    env = {"NODE_PATH": str(node_modules("pusher")), "NODE_EXTRA_CA_CERTS": sink.ca}
    plan |= {
        "app_id": APP_ID,
        "key": KEY,
        "secret": SECRET,
        "warm_up": attrs.asdict(WARM_UP),
        "in_flight": IN_FLIGHT,
        "channels": CHANNELS,
        "text": TEXT,
    }
    command = [shutil.which("node") or "node", str(HERE / "node_sdk.js"), json.dumps(plan)]
    return run_program(command, timeout=effort.timeout, env=env)


def measure_all(names: Iterable[str], sink: Sink, effort: Effort) -> dict[str, Figure]:
    """
    What interleaved rounds measure, plain and TLS.

    A subject that does not work is left out, and why is said.
    """
    ordered = sorted(names, key=ORDER.index)
    pairs = [(name, tls) for tls in (False, True) for name in ordered]
    rounds: dict[tuple[str, bool], list[Measured]] = {pair: [] for pair in pairs}
    for number in range(1, effort.rounds + 1):
        note(f"round {number} of {effort.rounds}")
        for name, tls in pairs:
            if (name, tls) not in rounds:
                continue
            called = f"{LABELS[name]}{', TLS' if tls else ''}"
            try:
                measured = run_subject(name, sink, effort, tls=tls)
            except BenchmarkError as error:
                note(f"left out: {called}: {error}")
                del rounds[name, tls]
                continue
            if not measured.level:
                note(f"not level after the warm-up: {called}")
            rounds[name, tls].append(measured)
    return {
        f"{name}/tls" if tls else name: Figure(
            tuple(one.rate for one in measured), tuple(one.cost for one in measured)
        )
        for (name, tls), measured in rounds.items()
    }


def throughput_rows(
    names: Iterable[str], figures: dict[str, Figure]
) -> Iterator[tuple[str, str, str, str, str]]:
    """The table: a line for each subject, plain and TLS side by side."""
    for name in names:
        cells = []
        for key in (name, f"{name}/tls"):
            figure = figures.get(key)
            cells += (
                ["-", "-"] if figure is None else [f"{figure.rate:,.0f}", f"{figure.cpu:.0f}"]
            )
        yield LABELS[name], cells[0], cells[1], cells[2], cells[3]


def import_ratio() -> tuple[float, float]:
    """CPU seconds of ``import txpusher`` and of ``import treq``, medians."""
    program = (
        "import json, sys, time; began = time.process_time(); __import__(sys.argv[1]);"
        "print(json.dumps({'seconds': time.process_time() - began}))"
    )
    taken: dict[str, list[float]] = {"txpusher": [], "treq": []}
    # Both compiled, as installed packages are, whatever the environment says.
    with tempfile.TemporaryDirectory() as cache:
        env = {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        for number in range(IMPORTS + 1):
            for module, times in taken.items():
                got = run_program([sys.executable, "-c", program, module], timeout=60, env=env)
                # The first compiles.
                if number:
                    times.append(got["seconds"])
    return median(taken["txpusher"]), median(taken["treq"])


def pending_of(kind: str, sink: Sink) -> Pending | None:
    """Offer many events at once, in a process of its own; None where they do not settle."""
    plan = {"kind": kind, "port": sink.port, "count": EVENTS}
    try:
        return Pending(**run_child("pending", plan, timeout=300))
    except BenchmarkError as error:
        note(f"left out: {EVENTS:,} events at once, {kind}: {error}")
        return None


#: What can be measured besides :data:`LABELS`.
PENDING, IMPORT = "pending", "import"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    stop_on_signals()
    effort = QUICK if options.quick else THOROUGH
    if options.rounds is not None:
        effort = attrs.evolve(effort, rounds=max(1, options.rounds))
    wanted = options.only or [*LABELS, PENDING, IMPORT]
    names = [name for name in LABELS if name in wanted]
    show = functools.partial(show_table, rst=options.rst)
    print(tools("pusher"))
    if options.against is not None:
        return _against(options.against, options.only or OWN, effort, show)

    subjects = [*names, *targets.over_tls(names)]
    figures: dict[str, Figure] = {}
    pending: dict[str, Pending | None] = {}
    if PENDING in wanted:
        pending = dict.fromkeys(OFFERED_TO)
    if names or pending:
        try:
            with nginx_sink() as sink:
                if names:
                    figures = _throughput(names, sink, effort, show)
                if pending:
                    pending = _pending(sink, show)
        except BenchmarkError as error:
            note(f"left out: what needs the sink: {error}")
    reached = [*targets.of_throughput(figures, subjects)]
    for kind, result in pending.items():
        reached += targets.of_pending(OFFERED_TO[kind], result)
    if IMPORT in wanted:
        reached.append(targets.of_start(_import()))
    show(
        "Targets",
        ("Target", "wanted", "measured", "met"),
        [target.row() for target in reached],
    )
    missing = set(subjects) - set(figures)
    return 1 if missing or any(target.is_failure for target in reached) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.throughput",
        description="Events per second and CPU per event, txpusher beside its peers.",
    )
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument("--rst", action="store_true", help="tables in reStructuredText")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="PATH",
        help="measure the package of another checkout beside this one's",
    )
    choices = [*LABELS, PENDING, IMPORT]
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=choices,
        help=f"measure only these of: {', '.join(choices)}",
    )
    options = parser.parse_args(arguments)
    if options.against is not None and not set(options.only or ()).issubset(OWN):
        parser.error(f"--against measures only: {', '.join(OWN)}")
    return options


def _against(
    checkout: Path, names: Sequence[str], effort: Effort, show: Callable[..., None]
) -> int:
    """Measure rows in both checkouts; 1 where one of them could not be measured."""
    try:
        with nginx_sink() as sink, against.places(checkout) as where:

            def measure(name: str, place: Path) -> tuple[float, float]:
                measured = run_subject(name, sink, effort, tls=False, place=place)
                return measured.rate, measured.cost

            compared = against.compare(names, effort.rounds, where, measure)
    except BenchmarkError as error:
        note(f"left out: {error}")
        return 1
    show(
        f"Against {checkout}: medians, rounds of {effort.seconds:g} s: {effort.rounds}",
        against.HEADER,
        against.compared_rows(LABELS, compared),
    )
    return 0 if len(compared) == len(names) else 1


def _throughput(
    names: list[str], sink: Sink, effort: Effort, show: Callable[..., None]
) -> dict[str, Figure]:
    figures = measure_all(names, sink, effort)
    show(
        f"Throughput: medians, rounds of {effort.seconds:g} s: {effort.rounds}",
        ("One way to publish", "events/s", "CPU us/event", "TLS events/s", "TLS CPU us/event"),
        throughput_rows(names, figures),
    )
    show("Ratios", targets.RATIO_HEADER, targets.ratio_rows(figures))
    return figures


def _pending(sink: Sink, show: Callable[..., None]) -> dict[str, Pending | None]:
    results = {kind: pending_of(kind, sink) for kind in OFFERED_TO}
    show(
        f"{EVENTS:,} events offered at once",
        ("Offered to", "bytes each", "sockets", "accepted", "seconds"),
        [
            (
                OFFERED_TO[kind],
                f"{result.bytes_each:.0f}",
                str(result.sockets),
                str(result.accepted),
                f"{result.seconds:.1f}",
            )
            for kind, result in results.items()
            if result is not None
        ],
    )
    return results


def _import() -> float | None:
    try:
        ours, treq = import_ratio()
    except BenchmarkError as error:
        note(f"left out: the import: {error}")
        return None
    note(f"import txpusher {ours * 1000:.0f} ms, import treq {treq * 1000:.0f} ms of CPU")
    return ours / treq


if __name__ == "__main__":
    sys.exit(main())
