"""The end of a program: BlockingBatchPublisher waits for what it has accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted

from tests.support.misbehaving import OK, Peer, answering, never_answer, reply
from tests.support.programs import Ended, Program

EVENTS = 50

SUBMIT = f"""
import signal
publisher = BlockingBatchPublisher(client({{options}}), {{publisher_options}})
def submit_all():
    for number in range({EVENTS}):
        publisher.submit("orders", "created", number)
"""


async def slowly(peer: Peer) -> None:
    """Answer each request after a while."""
    while True:
        await peer.request()
        await peer.pause(0.1)
        peer.send(OK)


@pytest.fixture
def run(serve: Any) -> Any:
    """Runs a program that submits events and ends; gives the server and how it ended."""
    programs: list[Program] = []

    async def run(
        end: str, script: Any = slowly, options: str = "", publisher_options: str = ""
    ) -> tuple[Any, Ended]:
        server = serve(script)
        source = SUBMIT.format(options=options, publisher_options=publisher_options) + end
        programs.append(Program(source, server.port))
        return server, await programs[-1].end()

    yield run
    for started in programs:
        started.kill()


def numbers(server: Any) -> list[int]:
    events = [event for body in server.bodies for event in json.loads(body)["batch"]]
    return [int(event["data"]) for event in events]


def lost(ended: Ended) -> list[str]:
    return [line for line in ended.errors.splitlines() if "are lost" in line]


ENDS = {
    "end of main": ("submit_all()", 0),
    "sys.exit": ("submit_all(); sys.exit(3)", 3),
    "exception": ("submit_all(); raise ValueError('why')", 1),
    "SIGTERM": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "submit_all(); os.kill(os.getpid(), signal.SIGTERM); signal.pause()",
        0,
    ),
    "daemon thread": (
        "thread = threading.Thread(target=submit_all, daemon=True)\n"
        "thread.start(); thread.join()",
        0,
    ),
    "publisher forgotten": ("submit_all(); del publisher; import gc; gc.collect()", 0),
}


@pytest.mark.parametrize("kind", ENDS)
@pytest_twisted.ensureDeferred
async def test_accepted_events_arrive_however_the_program_ends(run: Any, kind: str) -> None:
    end, code = ENDS[kind]
    server, ended = await run(end)
    assert (ended.code, lost(ended)) == (code, [])
    assert numbers(server) == list(range(EVENTS))


@pytest_twisted.ensureDeferred
async def test_accepted_events_arrive_from_a_process_of_a_pool(run: Any) -> None:
    """Workers of a pool end without atexit, and are replaced from a thread of the parent."""
    server, ended = await run(
        """
import multiprocessing
def work(number):
    publisher.submit("orders", "created", number)
    return os.getpid()
with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=2) as pool:
    workers = set(pool.map(work, range(12), chunksize=1))
    pool.close()
    pool.join()
say(len(workers) >= 6)
"""
    )
    assert ended.said() == ["True"]
    assert sorted(numbers(server)) == list(range(12))


@pytest.mark.parametrize("seconds", [0, 0.3])
@pytest_twisted.ensureDeferred
async def test_lost_events_are_logged_with_their_number(run: Any, seconds: float) -> None:
    """The events in flight count too."""
    _, ended = await run("submit_all()", never_answer, "timeout=60", f"exit_timeout={seconds}")
    assert ended.code == 0
    [line] = lost(ended)
    assert f"{EVENTS} events" in line
    assert f"exit_timeout={seconds} seconds" in line


@pytest_twisted.ensureDeferred
async def test_events_that_fail_at_the_end_are_logged_with_their_number(run: Any) -> None:
    async def refuse(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.pause(0.5)
            peer.send(reply(401, ""))

    _, ended = await run("submit_all()", refuse)
    [line] = lost(ended)
    assert f"{EVENTS} events" in line


@pytest_twisted.ensureDeferred
async def test_program_without_unsettled_events_does_not_wait(run: Any) -> None:
    _, ended = await run(
        "publisher.submit('c', 'e', 'd').result(10)", answering(OK), "", "exit_timeout=300"
    )
    assert ended.said() == []


@pytest_twisted.ensureDeferred
async def test_reactor_of_the_application_waits_too(run: Any) -> None:
    server, ended = await run(
        """
from twisted.internet import reactor
def work():
    submit_all()
    reactor.callFromThread(reactor.stop)
reactor.callWhenRunning(threading.Thread(target=work).start)
reactor.run()
"""
    )
    assert (ended.code, ended.errors) == (0, "")
    assert numbers(server) == list(range(EVENTS))


@pytest_twisted.ensureDeferred
async def test_events_of_a_thread_that_outlives_main_are_accepted(run: Any) -> None:
    """Python waits for such a thread, and the reactor does."""
    server, ended = await run(
        f"""
import time
submit_all()
def late():
    threading.main_thread().join()
    for number in range({EVENTS}, {EVENTS} + 5):
        # Long enough for a look at the threads between two of them.
        time.sleep(0.15)
        publisher.submit("orders", "created", number)
threading.Thread(target=late).start()
""",
    )
    assert (ended.code, ended.errors) == (0, "")
    assert sorted(numbers(server)) == list(range(EVENTS + 5))


@pytest_twisted.ensureDeferred
async def test_program_with_idle_threads_of_the_reactor_ends(run: Any) -> None:
    """The reactor's thread pool ends because the reactor does."""
    server, ended = await run(
        """
from twisted.internet import reactor, threads
submit_all()
ready = threading.Event()
reactor.callFromThread(threads.deferToThread, ready.set)
say(ready.wait(10))
"""
    )
    assert ended.said() == ["True"]
    assert numbers(server) == list(range(EVENTS))


@pytest_twisted.ensureDeferred
async def test_event_submitted_by_a_daemon_after_the_end_of_main_is_refused(run: Any) -> None:
    _, ended = await run(
        """
submit_all()
ended = threading.Event()
def late():
    while threading.main_thread().is_alive():
        ended.wait(0.01)
    ended.wait(1.0)
    say(attempt(publisher.submit, "orders", "created", "late"))
threading.Thread(target=late, daemon=True).start()
""",
        never_answer,
        "timeout=60",
        "exit_timeout=3",
    )
    assert ended.output == "ClosedError False\n"


@pytest_twisted.ensureDeferred
async def test_unsettled_events_of_a_deferred_publisher_are_logged(serve: Any) -> None:
    server = serve(never_answer)
    program = Program(
        """
        from twisted.internet import reactor
        from twisted.logger import globalLogBeginner, textFileLogObserver
        globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
        pusher = Pusher(**settings(timeout=60))
        publisher = BatchPublisher(pusher)
        def work():
            for number in range(7):
                publisher.trigger("c", "e", number).addErrback(lambda _: None)
            reactor.callLater(0.1, reactor.stop)
        reactor.callWhenRunning(work)
        reactor.run()
        """,
        server.port,
    )
    try:
        ended = await program.end()
    finally:
        program.kill()
    assert "the reactor stops while 7 events of a BatchPublisher are unsettled" in ended.output
