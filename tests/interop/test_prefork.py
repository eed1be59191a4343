"""
Servers that fork their workers, recycle them and stop them: no accepted event is lost.

Every program makes its publisher when it is imported, in the master or in each worker.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

import txpusher
from tests.support.misbehaving import OK, Peer, Server
from tests.support.process import Process
from tests.support.waiting import pause, until

from .requirements import import_or_skip, missing

ROOT = Path(txpusher.__file__).parents[1]
PROGRAMS = Path(__file__).with_name("prefork")

#: How many requests there are at least, and after how many a worker is recycled.
REQUESTS = 40
RECYCLED_AFTER = 10
EVENTS_OF_A_REQUEST = 5

#: Seconds until a server kills a worker that does not end: one that has just been forked, or
#: that imports its program, misses the signal of gunicorn and uWSGI.  It has no event to lose.
PATIENCE_WITH_WORKERS = "10"


async def slowly(peer: Peer) -> None:
    """Answer each request after a while, so that events wait when a worker ends."""
    while True:
        await peer.request()
        await peer.pause(0.05)
        peer.send(OK)


@pytest_twisted.async_yield_fixture
async def channels() -> AsyncIterator[Server]:
    """A server that takes in events."""
    server = Server(slowly)
    server.listen()
    yield server
    await server.stop()


@pytest.fixture
def start(channels: Server, tmp_path: Path) -> Iterator[Any]:
    """Starts programs that publish to the server, and ends those that are left."""
    processes: list[Process] = []

    def start(*command: str, **env: str) -> Process:
        url = f"http://key:secret@127.0.0.1:{channels.port}/apps/1"
        path = os.pathsep.join([str(ROOT), str(PROGRAMS), *filter(None, sys.path)])
        env = {"PUSHER_URL": url, "PYTHONPATH": path, **env}
        processes.append(Process(command, tmp_path, env))
        return processes[-1]

    yield start
    for process in processes:
        process.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def ask(port: int, number: int) -> int:
    """Send one request; a worker that has just ended takes none. The worker's id."""
    for attempt in range(20):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{number}") as reply:
                return int(reply.read())
        except (OSError, urllib.error.URLError):
            sleep(0.05 * attempt)
    raise AssertionError(f"no reply to request {number}")


def ask_until_recycled(port: int) -> int:
    """Send requests, four at a time, until a third worker has answered; how many it took."""
    workers: set[int] = set()
    for requests in range(REQUESTS, 10 * REQUESTS, REQUESTS):
        numbers = range(requests - REQUESTS, requests)
        with ThreadPoolExecutor(4) as pool:
            workers |= set(pool.map(lambda number: ask(port, number), numbers))
        if len(workers) > 2:
            return requests
        # Workers of gunicorn look once a second whether they have had enough.
        sleep(1.0)
    raise AssertionError("no worker was recycled")


def lost(server: Server, requests: int) -> set[str]:
    """The events that have not arrived."""
    events = [event for body in server.bodies for event in json.loads(body)["batch"]]
    expected = {f"{n} {place}" for n in range(requests) for place in range(EVENTS_OF_A_REQUEST)}
    return expected - {event["data"] for event in events}


async def serve_and_stop(process: Process, port: int, channels: Server, *, wait: float) -> None:
    """Have a server work, end it as a process manager does, and see what has arrived."""
    requests = await deferToThread(ask_until_recycled, port)
    await pause(wait)
    process.send_signal(signal.SIGTERM)
    await until(lambda: process.exit_code is not None, 40)
    assert process.exit_code == 0, process.output
    assert lost(channels, requests) == set(), process.output


@pytest.mark.parametrize("preload", [False, True], ids=["lazy", "preload"])
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
@pytest_twisted.ensureDeferred
async def test_workers_of_gunicorn_lose_no_event(
    channels: Server, start: Any, kind: str, preload: bool
) -> None:
    import_or_skip("gunicorn")
    if kind == "gevent":
        import_or_skip("gevent")
    port = free_port()
    options = ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--worker-class", kind]
    options += ["--max-requests", str(RECYCLED_AFTER), "--threads", "2"]
    options += ["--graceful-timeout", PATIENCE_WITH_WORKERS]
    options += ["--log-level", "warning", *(["--preload"] if preload else [])]
    process = start(sys.executable, "-m", "gunicorn", *options, "web:application")
    await serve_and_stop(process, port, channels, wait=0)


@pytest.mark.parametrize("preload", [False, True], ids=["lazy", "preload"])
@pytest_twisted.ensureDeferred
async def test_workers_of_uwsgi_lose_no_event(
    channels: Server, start: Any, preload: bool
) -> None:
    uwsgi = shutil.which("uwsgi", path=str(Path(sys.executable).parent)) or shutil.which(
        "uwsgi"
    )
    if uwsgi is None:
        missing("uwsgi is not installed")
    port = free_port()
    options = ["--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2"]
    options += ["--enable-threads", "--die-on-term", "--disable-logging"]
    options += ["--max-requests", str(RECYCLED_AFTER), "--min-worker-lifetime", "0"]
    # The master starts a worker all the same, and waits for it for ever, if it is told to end
    # while it sleeps because workers end so fast.
    options += ["--forkbomb-delay", "0", "--worker-reload-mercy", PATIENCE_WITH_WORKERS]
    options += ["--pyhome", sys.prefix, "--module", "web", "--need-app"]
    process = start(uwsgi, *options, *([] if preload else ["--lazy-apps"]))
    # In a worker that is in the middle of a request uWSGI runs nothing at the end.
    await serve_and_stop(process, port, channels, wait=0.5)


@pytest_twisted.ensureDeferred
async def test_workers_of_celery_lose_no_event(
    channels: Server, start: Any, tmp_path: Path
) -> None:
    import_or_skip("celery")
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue-control").mkdir()
    queue = str(tmp_path / "queue")
    worker = ["worker", "--pool", "prefork", "--concurrency", "2", "--loglevel", "WARNING"]
    worker += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    tasks = 12
    delay = f"import tasks\nfor number in range({tasks}): tasks.create.delay(number)"
    sender = start(sys.executable, "-c", delay, QUEUE=queue)
    await until(lambda: sender.exit_code is not None)
    assert sender.exit_code == 0, sender.output
    process = start(sys.executable, "-m", "celery", "-A", "tasks", *worker, QUEUE=queue)
    await until(lambda: not any((tmp_path / "queue").iterdir()))
    process.send_signal(signal.SIGTERM)
    await until(lambda: process.exit_code is not None)
    assert lost(channels, tasks) == set(), process.output
