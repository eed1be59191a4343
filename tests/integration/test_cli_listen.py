"""``txpusher listen``, as a real process with a terminal, and a program that it forwards to."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
from collections.abc import Iterator

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.integration.conftest import Serve
from tests.support.command_line import Command, run
from tests.support.credentials import APP_ID, KEY, SECRET
from tests.support.misbehaving import Server, answering, in_turn, read_and_close, reply
from tests.support.raw_client import close, open_socket
from tests.support.waiting import until
from txpusher._protocol.signing import hmac_hex


class Listening:
    """A ``txpusher listen`` with a keyboard."""

    def __init__(self, url: str | None, *arguments: str) -> None:
        self._keyboard, theirs = pty.openpty()
        self.command = Command("listen", "--port", "0", *arguments, url=url, stdin=theirs)
        os.close(theirs)
        self.port = 0

    async def ready(self) -> None:
        """Wait until it listens."""
        line = await self.line_with("Ready: ")
        found = re.search(r":(\d+)/apps/", line)
        assert found, line
        self.url = line.partition("PUSHER_URL=")[2]
        self.port = int(found[1])

    async def line_with(self, text: str) -> str:
        return await deferToThread(self.command.line_with, text)

    def type(self, text: str) -> None:
        os.write(self._keyboard, text.encode())

    def stop(self) -> None:
        self.command.kill()
        os.close(self._keyboard)


@pytest.fixture
def listening() -> Iterator[list[Listening]]:
    started: list[Listening] = []
    yield started
    for one in started:
        one.stop()


URL = f"http://{KEY}:{SECRET}@elsewhere.example/apps/{APP_ID}"


@pytest_twisted.ensureDeferred
async def test_deliveries_are_forwarded_shown_and_repeated_by_number(
    serve: Serve, listening: list[Listening]
) -> None:
    program = serve(answering(reply(500), reply(204)))
    to = f"http://user:pa55word@127.0.0.1:{program.port}/hook?a=b"
    listen = Listening(URL, "--forward-to", to)
    listening.append(listen)
    await listen.ready()
    assert listen.url == f"http://{KEY}:{SECRET}@127.0.0.1:{listen.port}/apps/{APP_ID}"
    await listen.line_with("A number and Enter")
    socket = await open_socket(listen.port)
    socket.subscribe("news")
    first = await listen.line_with("#1 ")
    assert re.search(r"#1 +channel_occupied news.*  500 in \d+ ms$", first)
    second = await listen.line_with("#2 ")
    assert re.search(r"  204 in \d+ ms$", second)
    listen.type("1\n")
    again = await listen.line_with("again")
    assert re.search(r"#1 +channel_occupied news.*  204 in \d+ ms  again$", again)
    same = [request for request in program.requests if b"occupied" in request.body]
    # The server repeats it as well, because of the 500.
    assert len(same) >= 2
    assert len({request.body for request in same}) == 1
    for request in program.requests:
        assert request.target == "/hook?a=b"
        assert request.headers["x-pusher-key"] == KEY
        assert request.headers["x-pusher-signature"] == hmac_hex(SECRET, request.body)
        assert request.headers["content-type"] == "application/json"
        assert request.headers["authorization"] == "Basic dXNlcjpwYTU1d29yZA=="
        assert request.headers["host"] == f"127.0.0.1:{program.port}"
    listen.type("77\nx\n")
    told = [await deferToThread(listen.command.error_line) for _ in range(2)]
    await close(socket)
    done = await deferToThread(listen.command.end, signal.SIGINT)
    assert done.code == 130
    assert "there is no delivery 77" in told[0]
    assert "'x' is no number" in told[1]
    assert "pa55word" not in done.out + first + second + again


@pytest_twisted.ensureDeferred
async def test_program_that_does_not_answer_is_told(
    serve: Serve, listening: list[Listening]
) -> None:
    program = serve(in_turn(read_and_close, answering(reply(200))))
    listen = Listening(None, "--forward-to", f"http://127.0.0.1:{program.port}/")
    listening.append(listen)
    await listen.ready()
    assert listen.url.startswith("http://app-key:app-secret@")
    socket = await open_socket(listen.port, "/app/app-key?protocol=7")
    socket.send({"event": "pusher:subscribe", "data": {"channel": "news"}})
    line = await listen.line_with("#1 ")
    assert "200" not in line
    assert "200 in" in await listen.line_with("#2 ")
    await close(socket)
    assert (await deferToThread(listen.command.end, signal.SIGTERM)).code == 0


@pytest_twisted.ensureDeferred
async def test_end_with_a_delivery_under_way_is_clean(
    serve: Serve, listening: list[Listening]
) -> None:
    async def script(peer: object) -> None:
        await peer.request()  # type: ignore[attr-defined]
        await peer.stall()  # type: ignore[attr-defined]

    program: Server = serve(script)
    listen = Listening(URL, "--forward-to", f"http://127.0.0.1:{program.port}/")
    listening.append(listen)
    await listen.ready()
    socket = await open_socket(listen.port)
    socket.subscribe("news")
    await until(lambda: program.requests)
    events = json.loads(program.requests[0].body)["events"]
    assert events[0]["name"] == "channel_occupied"
    done = await deferToThread(listen.command.end, signal.SIGINT)
    assert (done.code, done.err) == (130, "")
    await close(socket)


@pytest_twisted.ensureDeferred
async def test_deliveries_are_objects_for_programs(
    serve: Serve, listening: list[Listening]
) -> None:
    program = serve(answering(reply(204)))
    listen = Listening(URL, "--json", "--forward-to", f"http://127.0.0.1:{program.port}/")
    listening.append(listen)
    ready = json.loads(await deferToThread(listen.command.line))
    assert ready["kind"] == "ready"
    socket = await open_socket(int(re.findall(r":(\d+)/apps", ready["url"])[0]))
    socket.subscribe("news")
    told = json.loads(await listen.line_with("delivery"))
    assert told.pop("seconds") >= 0
    assert told == {
        "kind": "delivery",
        "number": 1,
        "repeated": False,
        "events": [{"name": "channel_occupied", "channel": "news"}],
        "status": 204,
        "error": None,
    }
    await close(socket)
    assert (await deferToThread(listen.command.end)).code == 130


@pytest.mark.parametrize("url", ["nonsense", "ftp://h/", "http:///x", "http://h/ secret"])
def test_url_that_is_none_is_one_line_and_not_quoted(url: str) -> None:
    done = run("listen", "--port", "0", "--forward-to", url)
    assert (done.code, done.out) == (1, "")
    assert "--forward-to must be a URL" in done.error
    assert "secret" not in done.err


def test_missing_url_is_wrong_usage() -> None:
    done = run("listen")
    assert done.code == 2
    assert "--forward-to" in done.error
