"""``txpusher trigger --lines``: many events from the standard input."""

from __future__ import annotations

import json
import re
import signal

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.integration.command_server import dead_url, running, url_of
from tests.integration.conftest import Serve
from tests.support.command_line import Command, run, run_aside
from tests.support.credentials import SECRET
from tests.support.misbehaving import Peer, answering, never_answer, read_and_close, reply
from tests.support.waiting import until
from txpusher.testing import BlockingRunningServer

__all__ = ["dead_url", "running"]


def ndjson(*events: object) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def test_lines_arrive_whole_and_in_order_per_channel(running: BlockingRunningServer) -> None:
    running.forget_events()
    count, channels = 5000, 7
    lines = ndjson(
        *({"channel": f"c{n % channels}", "name": "tick", "data": n} for n in range(count))
    )
    done = run("trigger", "--lines", url=running.url, given=lines)
    assert (done.code, done.err) == (0, "")
    (told,) = done.objects
    assert told.pop("seconds") > 0
    assert told == {"sent": count, "failed": 0, "unknown": 0}
    for number in range(channels):
        arrived = [e.data for e in running.events if e.channel == f"c{number}"]
        assert arrived == list(range(number, count, channels))


def test_line_is_the_data_where_channel_and_event_are_given(
    running: BlockingRunningServer,
) -> None:
    running.forget_events()
    given = b'1\n\n{"a": 1}\r\nplain \xc3\xbc\r\nlast without a line break'
    done = run("trigger", "--lines", "data", "event", url=running.url, given=given)
    assert (done.code, done.err) == (0, "")
    data = [event.data for event in running.events]
    assert data == [1, "", {"a": 1}, "plain ü", "last without a line break"]


def test_bad_line_is_told_by_number_and_stops_nothing(running: BlockingRunningServer) -> None:
    running.forget_events()
    good = {"channel": "good", "name": "e", "data": 1}
    lines = [
        json.dumps(good).encode(),
        b"{",
        b"",
        b"5",
        json.dumps({**good, "channel": "a b"}).encode(),
        json.dumps({**good, "more": 1}).encode(),
        b'"\xff"',
        json.dumps({"channel": "good", "event": "named", "data": None}).encode(),
    ]
    done = run("trigger", "--lines", url=running.url, given=b"\n".join(lines))
    assert done.code == 1
    assert done.objects[0]["sent"] == 2
    assert done.objects[0]["failed"] == 5
    told = re.findall(r"^txpusher: line (\d+): (.*)$", done.err, re.MULTILINE)
    assert len(told) == done.err.count("\n")
    assert [int(number) for number, _ in told] == [2, 4, 5, 6, 7]
    assert "not JSON" in told[0][1]
    assert "'a b'" in told[2][1]
    assert [event.name for event in running.events] == ["e", "named"]


def test_options_of_an_event_are_those_of_event(running: BlockingRunningServer) -> None:
    event = {
        "channel": "options",
        "name": "e",
        "data": "x",
        "socket_id": "1.2",
        "info": "cache",
    }
    done = run("trigger", "--lines", url=running.url, given=ndjson(event))
    assert done.objects[0]["sent"] + done.objects[0]["failed"] == 1
    arguments = ("--lines", "options", "e", "--socket-id", "3.4")
    assert run("trigger", *arguments, url=running.url, given="y\n").code == 0
    assert running.wait_for_event("options").socket_id in ("1.2", "3.4")


def test_empty_input_is_no_failure(running: BlockingRunningServer) -> None:
    done = run("trigger", "--lines", url=running.url)
    assert (done.code, done.err) == (0, "")
    assert done.objects[0]["sent"] == 0


def test_lines_that_fail_alike_are_told_together(dead_url: str) -> None:
    given = "".join(f"{number}\n" for number in range(25))
    arguments = ("--lines", "c", "e", "--retries", "0")
    done = run("trigger", *arguments, url=dead_url, given=given)
    assert done.code == 1
    assert done.objects[0]["failed"] == 25
    told = done.err.splitlines()
    assert len(told) < 10
    assert all("Connection refused" in line for line in told)
    assert SECRET not in done.err


@pytest_twisted.ensureDeferred
async def test_lost_reply_is_an_unknown_outcome(serve: Serve) -> None:
    url = url_of(serve(read_and_close).port)
    done = await run_aside("trigger", "--lines", "c", "e", url=url, given="1\n")
    assert done.code == 5
    assert done.objects[0]["unknown"] == 1
    assert "line 1: " in done.error
    assert "may have been delivered" in done.error


@pytest_twisted.ensureDeferred
async def test_refused_event_fails_alone(serve: Serve) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            bad = b'"data":"3"' in request.body
            peer.send(reply(413, "too large") if bad else reply())

    url = url_of(serve(script).port)
    given = "".join(f"{number}\n" for number in range(10))
    done = await run_aside("trigger", "--lines", "c", "e", url=url, given=given)
    assert done.code == 1
    assert done.objects[0]["sent"] == 9
    assert "line 4: " in done.error
    assert "status 413" in done.error


class TestInterrupt:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupt_tells_how_far_it_came(
        self, running: BlockingRunningServer, number: int
    ) -> None:
        running.forget_events()
        command = Command("trigger", "--lines", "halfway", "e", url=running.url)
        try:
            command.stdin.write("".join(f"{number}\n" for number in range(100)))
            command.stdin.flush()
            for _ in range(100):
                running.wait_for_event("halfway", timeout=30.0)
            done = command.end(number)
        finally:
            command.kill()
        assert (done.code, done.out) == (130, "")
        assert done.error == (
            "interrupted: 100 sent, 0 failed, 0 unsettled; every line that was read is settled"
        )

    @pytest_twisted.ensureDeferred
    async def test_interrupt_tells_what_is_unsettled(self, serve: Serve) -> None:
        first = answering(reply())

        async def script(peer: Peer) -> None:
            await (first if peer.number == 1 else never_answer)(peer)

        server = serve(script)
        command = Command("trigger", "--lines", "--timeout", "60", url=url_of(server.port))
        try:
            events = ({"channel": f"c{n}", "name": "e", "data": n} for n in range(2000))
            writing = deferToThread(command.stdin.write, ndjson(*events))
            await until(lambda: len(server.requests) >= 3)
            done = await deferToThread(command.end)
            writing.addErrback(lambda failure: failure.trap(OSError))
            await writing
        finally:
            command.kill()
        assert (done.code, done.out) == (130, "")
        found = re.fullmatch(
            r"interrupted: (\d+) sent, 0 failed, (\d+) unsettled, which may have been "
            r"delivered; the first line that is not settled is (\d+)",
            done.error,
        )
        assert found, done.error
        assert int(found[2]) >= 2
        assert 1 <= int(found[3]) <= int(found[1]) + 1

    @pytest_twisted.ensureDeferred
    async def test_answer_that_comes_soon_after_the_interrupt_counts(
        self, serve: Serve
    ) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.pause(0.3)
            peer.send(reply())
            await peer.stall()

        server = serve(script)
        command = Command("trigger", "--lines", "c", "e", url=url_of(server.port))
        try:
            command.stdin.write("1\n")
            command.stdin.flush()
            await until(lambda: server.requests)
            done = await deferToThread(command.end)
        finally:
            command.kill()
        assert done.code == 130
        assert done.error.startswith("interrupted: 1 sent, 0 failed, 0 unsettled; ")
