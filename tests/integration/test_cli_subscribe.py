"""``txpusher subscribe``, as real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.integration.command_server import dead_url, running, url_of
from tests.integration.conftest import Serve
from tests.support.command_line import TXPUSHER, Command, environment, run, run_aside
from tests.support.credentials import KEY, MASTER_KEY_BASE64, SECRET
from tests.support.misbehaving import answering, never_answer, reply
from tests.support.raw_client import close, open_socket
from txpusher.server import App, ChannelsServer
from txpusher.testing import BlockingRunningServer

pytest.importorskip("wsproto")
__all__ = ["dead_url", "running"]

Start = Callable[..., Command]


@pytest.fixture
def start(running: BlockingRunningServer) -> Iterator[Start]:
    """Starts ``subscribe`` with these arguments; returns once a channel has its subscriber."""
    commands: list[Command] = []

    def begin(channel: str, *arguments: str, **options: Any) -> Command:
        command = Command("subscribe", channel, *arguments, url=running.url, **options)
        commands.append(command)
        running.wait_for_subscription(channel, timeout=30.0)
        return command

    yield begin
    for command in commands:
        command.kill()


def publish(running: BlockingRunningServer, channel: str, *data: str, event: str = "e") -> None:
    lines = [json.dumps({"channel": channel, "name": event, "data": text}) for text in data]
    done = run("trigger", "--lines", url=running.url, given="\n".join(lines))
    assert done.code == 0, done.err


def is_there(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TestEvents:
    def test_events_are_printed_and_counted(
        self, start: Start, running: BlockingRunningServer
    ) -> None:
        command = start("news", "--count", "3")
        publish(running, "news", '{"a": 1}', "text \x1b[31m ü", "5")
        done = command.ended()
        assert (done.code, done.err) == (0, "")
        assert done.objects == [
            {"channel": "news", "event": "e", "data": {"a": 1}},
            {"channel": "news", "event": "e", "data": "text \x1b[31m ü"},
            {"channel": "news", "event": "e", "data": 5},
        ]

    def test_only_events_of_a_name_are_printed_and_counted(
        self, start: Start, running: BlockingRunningServer
    ) -> None:
        command = start("names", "--event", "b", "--event", "c", "--count", "2")
        for event in "abac":
            publish(running, "names", event, event=event)
        done = command.ended()
        assert [shown["data"] for shown in done.objects] == ["b", "c"]

    def test_several_channels_are_signed_for(
        self, start: Start, running: BlockingRunningServer
    ) -> None:
        env = {"PUSHER_ENCRYPTION_MASTER_KEY": MASTER_KEY_BASE64}
        channels = ["private-a", "presence-b", "private-encrypted-c", "d"]
        command = start(*channels, "--presence", "watcher", "--count", "4", env=env)
        for channel in channels:
            running.wait_for_subscription(channel, timeout=30.0)
        pusher = {"PUSHER_ENCRYPTION_MASTER_KEY": MASTER_KEY_BASE64}
        for channel in channels:
            assert run("trigger", channel, "e", channel, url=running.url, env=pusher).code == 0
        done = command.ended()
        assert (done.code, done.err) == (0, "")
        assert [shown["data"] for shown in done.objects] == channels

    def test_what_is_internal_is_printed_when_asked_for_and_never_counted(
        self, start: Start, running: BlockingRunningServer
    ) -> None:
        watching = start("presence-i", "--presence", "one", "--internal", "--count", "1")
        with_name = start(
            "presence-i", "--presence", "two", "--event", "pusher:member_added", "--event", "e",
            "--count", "1",
        )  # fmt: skip
        running.wait_for_subscription("presence-i", timeout=30.0, count=2)
        other = start("presence-i", "--presence", "three", "--count", "1")
        running.wait_for_subscription("presence-i", timeout=30.0, count=3)
        publish(running, "presence-i", "x")
        added = "pusher:member_added"
        events = [shown["event"] for shown in watching.ended().objects]
        assert events.count(added) == 2
        assert events[-1] == "e"
        assert [shown["event"] for shown in with_name.ended().objects] == [added, "e"]
        assert [shown["event"] for shown in other.ended().objects] == ["e"]

    @pytest_twisted.ensureDeferred
    async def test_sender_of_client_event_is_printed(self, server: ChannelsServer) -> None:
        command = Command(
            "subscribe", "presence-s", "--presence", "w", "--count", "1", "--internal",
            url=server.url("3"),
        )  # fmt: skip
        try:
            socket = await open_socket(server.port)
            await deferToThread(command.line_with, "subscription_succeeded")
            socket.subscribe("presence-s", {"user_id": "sender"})
            await socket.wait("pusher_internal:subscription_succeeded")
            event = {"event": "client-x", "channel": "presence-s", "data": "y"}
            socket.send(event)
            done = await deferToThread(command.ended)
        finally:
            command.kill()
        assert done.objects[-1] == {
            "channel": "presence-s", "event": "client-x", "user_id": "sender", "data": "y"
        }  # fmt: skip
        await close(socket)

    def test_events_can_be_published_again(
        self, start: Start, running: BlockingRunningServer
    ) -> None:
        command = start("again", "--count", "1")
        publish(running, "again", '{"a":1}', event="created")
        printed = command.ended().out
        running.forget_events()
        assert run("trigger", "--lines", url=running.url, given=printed).code == 0
        event = running.wait_for_event("again")
        assert (event.name, event.data) == ("created", {"a": 1})

    @pytest_twisted.ensureDeferred
    async def test_lost_connection_is_made_again(self) -> None:
        server = ChannelsServer([App("3", KEY, SECRET)])
        await server.listen()
        port = server.port
        command = Command("subscribe", "c", "--internal", "--count", "1", url=url_of(port))
        try:
            await deferToThread(command.line_with, "subscription_succeeded")
            await server.stop()
            await server.listen(port)
            await deferToThread(command.line_with, "subscription_succeeded")
            assert (await run_aside("trigger", "c", "e", "x", url=url_of(port))).code == 0
            done = await deferToThread(command.ended)
        finally:
            command.kill()
            await server.stop()
        assert (done.code, done.err) == (0, "")
        assert done.objects[-1] == {"channel": "c", "event": "e", "data": "x"}


class TestExec:
    def test_command_gets_each_event_in_order(
        self, start: Start, running: BlockingRunningServer, tmp_path: Path
    ) -> None:
        file = tmp_path / "events"
        command = start("run", "--exec", f"cat >>{file}; sleep 0.05", "--count", "5", "--quiet")
        publish(running, "run", *"12345")
        done = command.ended()
        assert (done.code, done.out, done.err) == (0, "", "")
        shown = [json.loads(line) for line in file.read_text().splitlines()]
        assert [event["data"] for event in shown] == [1, 2, 3, 4, 5]
        assert shown[0] == {"channel": "run", "event": "e", "data": 1}

    def test_events_are_printed_beside_what_the_command_prints(
        self, start: Start, running: BlockingRunningServer
    ) -> None:
        command = start("both", "--exec", "wc -l", "--count", "1")
        publish(running, "both", "x")
        done = command.ended()
        assert done.out.splitlines() == ['{"channel":"both","event":"e","data":"x"}', "1"]

    def test_command_that_fails_is_told_and_the_next_event_has_its_own(
        self, start: Start, running: BlockingRunningServer
    ) -> None:
        command = start("fails", "--exec", "grep -q '\"data\":2'", "--count", "2", "--quiet")
        publish(running, "fails", "1", "2")
        done = command.ended()
        assert (done.code, done.out) == (1, "")
        assert done.error == "the command of --exec ended with code 1"

    def test_command_that_reads_nothing_is_no_failure(
        self, start: Start, running: BlockingRunningServer
    ) -> None:
        command = start("unread", "--exec", "true", "--count", "2", "--quiet")
        publish(running, "unread", "x" * 9000, "y" * 9000)
        assert command.ended().code == 0

    def test_interrupt_ends_the_command_too(
        self, start: Start, running: BlockingRunningServer, tmp_path: Path
    ) -> None:
        file = tmp_path / "pid"
        command = start("long", "--exec", f"echo $$ >{file}; exec sleep 100")
        publish(running, "long", "x")
        command.line_with("long")
        deadline = time.monotonic() + 20
        while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        done = command.end()
        assert (done.code, done.err) == (130, "")
        deadline = time.monotonic() + 20
        while is_there(int(file.read_text())):
            assert time.monotonic() < deadline
            time.sleep(0.01)


class TestEnd:
    def test_duration_ends_it_well(self, running: BlockingRunningServer) -> None:
        done = run("subscribe", "quiet", "--duration", "1.5", url=running.url)
        assert (done.code, done.out, done.err) == (0, "", "")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupt_is_quiet(self, start: Start, number: int) -> None:
        done = start("interrupted").end(number)
        assert (done.code, done.out, done.err) == (130, "", "")

    def test_interrupt_while_it_connects(self, dead_url: str) -> None:
        command = Command("subscribe", "c", "--retries", "100", url=dead_url)
        try:
            time.sleep(1.0)
            assert command.process.poll() is None
            done = command.end()
        finally:
            command.kill()
        assert (done.code, done.out, done.err) == (130, "", "")

    def test_dead_server_is_never_connected(self, dead_url: str) -> None:
        done = run("subscribe", "c", "--retries", "1", url=dead_url)
        assert (done.code, done.out) == (4, "")
        assert "Connection refused" in done.error
        assert SECRET not in done.err

    def test_duration_without_a_connection_is_never_connected(self, dead_url: str) -> None:
        done = run("subscribe", "c", "--duration", "0.5", "--retries", "100", url=dead_url)
        assert (done.code, done.out) == (4, "")
        assert "was not reached within 0.5 seconds" in done.error

    @pytest_twisted.ensureDeferred
    async def test_silent_server_is_never_connected(self, serve: Serve) -> None:
        url = url_of(serve(never_answer).port)
        arguments = ("subscribe", "c", "--timeout", "0.3", "--retries", "1")
        done = await run_aside(*arguments, url=url)
        assert (done.code, done.out) == (4, "")
        assert "no WebSocket was opened within 0.3 seconds" in done.error

    @pytest_twisted.ensureDeferred
    async def test_server_of_another_kind_is_never_connected(self, serve: Serve) -> None:
        url = url_of(serve(answering(reply(404, "what?"))).port)
        arguments = ("subscribe", "c", "--timeout", "0.5", "--retries", "0")
        assert (await run_aside(*arguments, url=url)).code == 4

    def test_unknown_key_is_refused(self, running: BlockingRunningServer) -> None:
        url = running.url.replace(KEY, "another-key")
        done = run("subscribe", "c", url=url)
        assert (done.code, done.out) == (3, "")
        assert "4001" in done.error

    def test_refused_subscription_is_refused(self, running: BlockingRunningServer) -> None:
        done = run("subscribe", "good", "private-c", url=url_of(running.port, secret="wrong"))
        assert (done.code, done.out) == (3, "")
        assert "private-c" in done.error

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (("presence-c",), 1, "--presence USER"),
            (("a b",), 1, "'a b'"),
            (("private-encrypted-c",), 1, "encryption_master_key_base64"),
            ((), 2, "CHANNEL"),
            ((",",), 2, "CHANNEL"),
            (("c", "--count", "0"), 2, "--count"),
            (("c", "--duration", "x"), 2, "--duration"),
        ],
    )
    def test_wrong_argument_is_one_line(
        self, running: BlockingRunningServer, arguments: tuple[str, ...], code: int, said: str
    ) -> None:
        done = run("subscribe", *arguments, url=running.url)
        assert (done.code, done.out) == (code, "")
        assert said in done.error

    def test_missing_package_is_named(self, running: BlockingRunningServer) -> None:
        program = (
            "import sys\nsys.modules['wsproto'] = None\n"
            "from txpusher._cli import main\nsys.exit(main(['subscribe', 'c']))\n"
        )
        done = subprocess.run(
            [TXPUSHER[0], "-c", program],
            env=environment(running.url),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(r"txpusher: .*wsproto.*pip install.*\n", done.stderr)


@pytest_twisted.ensureDeferred
async def test_people_see_a_line_for_each_event(server: ChannelsServer) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*TXPUSHER, "subscribe", "c", "--count", "1"],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(server.url("3")),
    )
    os.close(theirs)
    try:
        shown = b""
        while b"subscribed to c" not in shown:
            shown += await deferToThread(os.read, ours, 1000)
        await run_aside("trigger", "c", "e", "a\x1bb", url=server.url("3"))
        shown = await deferToThread(os.read, ours, 1000)
        assert await deferToThread(process.wait, 30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    text = shown.decode()
    assert re.search(r"\d\d:\d\d:\d\d\x1b\[0m  \x1b\[36mc\x1b\[0m  \x1b\[1me\x1b\[0m", text)
    assert text.endswith("  a\\x1bb\r\n")
