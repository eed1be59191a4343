"""In a program without a reactor of its own, log lines have the name of their library."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults
from twisted.logger import LogLevel

from tests.support.misbehaving import OK, answering, never_answer, reply
from tests.support.programs import Program
from tests.support.waiting import within
from txpusher import BatchPublisher, RetryPolicy

SET_UP_BY_OURSELVES = """
import logging
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(levelname)s", stream=sys.stdout)
blocking = client()
"""

SET_UP_BY_THE_APPLICATION = "import crochet; crochet.setup()" + SET_UP_BY_OURSELVES


@pytest.mark.parametrize(
    "set_up",
    [
        pytest.param(SET_UP_BY_OURSELVES, id="ours"),
        pytest.param(SET_UP_BY_THE_APPLICATION, id="the application's"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_lines_of_blocking_calls_are_named_txpusher(set_up, serve):
    server = serve(answering(OK))
    program = Program(set_up + "trigger(blocking)", server.port)
    lines = (await within(program.end(), 40)).said()
    assert lines.count("txpusher DEBUG") == 1


@pytest_twisted.ensureDeferred
async def test_lines_of_blocking_calls_are_turned_down_by_name(serve):
    server = serve(answering(OK))
    program = Program(
        SET_UP_BY_OURSELVES
        + "logging.getLogger('txpusher').setLevel(logging.INFO); trigger(blocking)",
        server.port,
    )
    lines = (await within(program.end(), 40)).said()
    assert [line for line in lines if line.startswith("txpusher")] == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "proxied"])
@pytest_twisted.ensureDeferred
async def test_client_that_fares_well_in_the_end_logs_at_debug_alone(
    proxied, serve, connect, log
):
    server = serve(answering(reply(429), OK))
    options = {"http_proxy": f"http://127.0.0.1:{server.port}"} if proxied else {}
    pusher = connect(server, retry=RetryPolicy(initial_delay=0.001), **options)
    publisher = BatchPublisher(pusher)
    before = len(log.events)
    await within(pusher.trigger("c", "e", "d"))
    await within(gatherResults([publisher.trigger("c", "e", number) for number in range(30)]))
    await within(pusher.close())
    events = log.events[before:]
    assert {event["log_level"] for event in events} == {LogLevel.debug}
    assert {event["log_namespace"] for event in events} == {"txpusher"}
    assert pusher.stats.retried == 1


@pytest_twisted.ensureDeferred
async def test_interim_replies_write_no_line(serve, connect, log):
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    pusher = connect(serve(answering(interim + OK)))
    before = len(log.events)
    await within(pusher.trigger("c", "e", "d"))
    await within(pusher.close())
    events = log.events[before:]
    assert {(event["log_namespace"], event["log_level"]) for event in events} == {
        ("txpusher", LogLevel.debug)
    }


@pytest_twisted.ensureDeferred
async def test_operations_of_daemon_threads_are_told_at_the_end_of_the_program(serve):
    server = serve(never_answer)
    program = Program(
        """
        import logging, time
        form = "%(name)s %(message)s"
        logging.basicConfig(level=logging.ERROR, format=form, stream=sys.stdout)
        blocking = client()
        threading.Thread(target=attempt, args=(trigger, blocking), daemon=True).start()
        while not blocking.stats.in_flight:
            time.sleep(0.01)
        """,
        server.port,
    )
    said = (await within(program.end(), 40)).said()
    assert said == ["txpusher 1 operations were unsettled when the reactor stopped"]
