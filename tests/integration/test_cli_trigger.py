"""``txpusher trigger``: one event, as real processes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import pytest_twisted

from tests.integration.command_server import dead_url, running, url_of
from tests.integration.conftest import Serve
from tests.support.command_line import Command, environment, run, run_aside, run_on_terminal
from tests.support.credentials import KEY, MASTER_KEY_BASE64, SECRET
from tests.support.misbehaving import Server, answering, never_answer, read_and_close, reply
from txpusher.testing import BlockingRunningServer

__all__ = ["dead_url", "running"]


class TestDelivery:
    @pytest.mark.parametrize(
        ("text", "data"),
        [
            ('{"text": "hello"}', {"text": "hello"}),
            ("plain text", "plain text"),
            ('"5"', "5"),
            ("-5", -5),
            ("[1, 1e400]", "[1, 1e400]"),
            ("ünïcode", "ünïcode"),
        ],
    )
    def test_data_goes_out_as_it_stands(
        self, running: BlockingRunningServer, text: str, data: object
    ) -> None:
        done = run("trigger", "as-it-stands", "event", text, url=running.url)
        assert (done.code, done.out, done.err) == (0, "{}\n", "")
        event = running.wait_for_event("as-it-stands", "event")
        assert data in (event.data, text)
        assert event.data == data or data == text

    def test_event_without_data_has_an_empty_object(
        self, running: BlockingRunningServer
    ) -> None:
        assert run("trigger", "no-data", "event", url=running.url).code == 0
        assert running.wait_for_event("no-data").data == {}

    def test_standard_input_is_the_data_without_its_last_line_break(
        self, running: BlockingRunningServer
    ) -> None:
        assert run("trigger", "input", "event", "-", url=running.url, given="a\nb\n").code == 0
        assert running.wait_for_event("input").data == "a\nb"

    def test_input_that_is_not_utf_8_is_refused(self, running: BlockingRunningServer) -> None:
        done = run("trigger", "input", "event", "-", url=running.url, given=b"ab\xff")
        assert (done.code, done.out) == (1, "")
        assert "not UTF-8, at byte 2" in done.error

    def test_several_channels_and_options_in_any_place(
        self, running: BlockingRunningServer
    ) -> None:
        done = run(
            "trigger", "--retries", "0", "one,two", "--socket-id", "1.2", "event",
            "--info", "subscription_count", "x", url=running.url,
        )  # fmt: skip
        assert done.code == 0
        counts = {name: {"subscription_count": 0} for name in ("one", "two")}
        assert done.objects == [{"channels": counts}]
        assert running.wait_for_event("one").socket_id == "1.2"
        assert running.wait_for_event("two").data == "x"

    def test_user_is_reached_by_id(self, running: BlockingRunningServer) -> None:
        done = run("trigger", "--to-user", "alice", "event", '{"a":1}', url=running.url)
        assert (done.code, done.objects) == (0, [{}])
        assert running.wait_for_event("#server-to-user-alice").data == {"a": 1}

    def test_key_of_encrypted_channels_is_in_the_environment(
        self, running: BlockingRunningServer
    ) -> None:
        arguments = ("trigger", "private-encrypted-x", "event", "sealed")
        done = run(*arguments, url=running.url)
        assert done.code == 1
        assert "encryption_master_key_base64 is missing" in done.error
        env = {"PUSHER_ENCRYPTION_MASTER_KEY": MASTER_KEY_BASE64}
        assert run(*arguments, url=running.url, env=env).code == 0
        assert running.wait_for_event("private-encrypted-x").data == "sealed"

    def test_url_may_stand_in_a_file(
        self, running: BlockingRunningServer, tmp_path: Path
    ) -> None:
        file = tmp_path / "env"
        file.write_text(f"# settings\nOTHER=1\nexport PUSHER_URL='{running.url}'\n")
        for arguments, env in (
            (("--url-file", str(file)), {"PUSHER_URL": "http://nonsense"}),
            ((), {"PUSHER_URL_FILE": str(file)}),
        ):
            assert run("trigger", "file", "event", *arguments, env=env).code == 0
            running.wait_for_event("file")

    def test_people_are_told_in_words_and_colours(self, running: BlockingRunningServer) -> None:
        arguments = ("trigger", "news", "event", "x", "--info", "subscription_count")
        code, shown = run_on_terminal(*arguments, url=running.url)
        assert code == 0
        assert shown == (
            "\x1b[32maccepted\x1b[0m  event to news\n"
            "\x1b[1mCHANNEL  SUBSCRIPTION COUNT\x1b[0m\nnews     0\n"
        )
        code, shown = run_on_terminal(*arguments, url=running.url, env={"NO_COLOR": "1"})
        assert "\x1b" not in shown
        code, shown = run_on_terminal(*arguments, "--json", url=running.url)
        assert json.loads(shown) == {"channels": {"news": {"subscription_count": 0}}}


class TestExitCodes:
    def test_missing_url_is_a_failure_on_this_side(self) -> None:
        done = run("trigger", "a", "b")
        assert (done.code, done.out) == (1, "")
        assert "PUSHER_URL is missing" in done.error

    def test_malformed_url_is_not_quoted(self) -> None:
        done = run("trigger", "a", "b", url=f"http://{KEY}:{SECRET}@host:80")
        assert done.code == 1
        assert "must end in /apps/APP_ID" in done.error
        assert SECRET not in done.err

    def test_refused_argument_is_a_failure_on_this_side(
        self, running: BlockingRunningServer
    ) -> None:
        done = run("trigger", "bad name", "b", url=running.url)
        assert (done.code, done.out) == (1, "")
        assert "'bad name'" in done.error

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("a",),
            ("a", "b", "c", "d"),
            ("--to-user", "u"),
            ("--to-user", "u", "e", "d", "more"),
            ("--to-user", "u", "e", "--info", "x"),
            ("a", "b", "--retries", "-1"),
            ("a", "b", "--timeout", "0"),
            ("--lines", "a"),
            ("--lines", "--dry-run"),
            ("--lines", "--to-user", "u"),
            ("--lines", "--info", "x"),
            ("a", "b", "--nonsense"),
        ],
    )
    def test_wrong_usage_is_one_line(self, arguments: tuple[str, ...]) -> None:
        done = run("trigger", *arguments, url="http://k:s@127.0.0.1:1/apps/1")
        assert (done.code, done.out) == (2, "")
        assert "--help'" in done.error

    def test_refusal_by_the_server(self, running: BlockingRunningServer) -> None:
        done = run("trigger", "a", "b", url=url_of(running.port, secret="wrong"))
        assert (done.code, done.out) == (3, "")
        assert "status 401" in done.error
        assert "txpusher doctor" in done.error
        done = run("trigger", "a", "b", url=url_of(running.port, app_id="99"))
        assert done.code == 3
        assert "status 404" in done.error

    def test_dead_server(self, dead_url: str) -> None:
        done = run("trigger", "a", "b", "--retries", "1", url=dead_url)
        assert (done.code, done.out) == (4, "")
        assert "Connection refused" in done.error
        assert SECRET not in done.err

    @pytest_twisted.ensureDeferred
    async def test_lost_reply_is_an_unknown_outcome(self, serve: Serve) -> None:
        url = url_of(serve(read_and_close).port)
        done = await run_aside("trigger", "a", "b", url=url)
        assert (done.code, done.out) == (5, "")
        assert "may have been delivered" in done.error

    @pytest_twisted.ensureDeferred
    async def test_late_reply_is_an_unknown_outcome(self, serve: Serve) -> None:
        url = url_of(serve(never_answer).port)
        done = await run_aside("trigger", "a", "b", "--timeout", "0.2", url=url)
        assert (done.code, done.out) == (5, "")
        assert "within 0.2 seconds" in done.error

    @pytest_twisted.ensureDeferred
    async def test_failure_of_the_server_is_no_usable_answer_and_names_what_may_be(
        self, serve: Serve
    ) -> None:
        url = url_of(serve(answering(reply(503, "down\nfor now"))).port)
        done = await run_aside("trigger", "a", "b", url=url)
        assert (done.code, done.out) == (4, "")
        assert "may have been delivered" in done.error
        assert "status 503" in done.error

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest_twisted.ensureDeferred
    async def test_interrupt_ends_it_in_words(self, serve: Serve, number: int) -> None:
        from twisted.internet.threads import deferToThread

        server = serve(never_answer)
        command = Command("trigger", "a", "b", "--timeout", "60", url=url_of(server.port))
        try:
            await _until_asked(server)
            done = await deferToThread(command.end, number)
        finally:
            command.kill()
        assert (done.code, done.out) == (130, "")
        assert "the event may have been delivered" in done.error

    def test_interrupt_before_the_reactor_runs_is_quiet(self) -> None:
        program = (
            "import sys\n"
            "from txpusher import _cli\n"
            "from txpusher._cli import settings\n"
            "def interrupted(arguments): raise KeyboardInterrupt\n"
            "settings.settings_of = interrupted\n"
            "sys.exit(_cli.main(['trigger', 'a', 'b']))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment(None),
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


async def _until_asked(server: Server) -> None:
    from tests.support.waiting import until

    await until(lambda: server.requests)


class TestDryRun:
    def test_request_and_text_to_sign_are_shown_and_no_signature(self, dead_url: str) -> None:
        done = run("trigger", "news", "it's", '{"a":"b c"}', "--dry-run", url=dead_url)
        assert (done.code, done.err) == (0, "")
        (shown,) = done.objects
        body = {"name": "it's", "channels": ["news"], "data": '{"a":"b c"}'}
        assert json.loads(shown["body"]) == body
        assert shown["url"] == dead_url.replace(f"{KEY}:{SECRET}@", "") + "/events"
        method, path, query = shown["string_to_sign"].split("\n")
        assert (method, path) == ("POST", "/apps/3/events")
        assert re.fullmatch(
            rf"auth_key={KEY}&auth_timestamp={int(time.time()) // 1000}\d{{3}}"
            "&auth_version=1.0&body_md5=[0-9a-f]{32}",
            query,
        )
        assert SECRET not in done.out
        assert "auth_signature" not in done.out
        assert not re.search("[0-9a-f]{64}", done.out)

    def test_curl_line_publishes(self, running: BlockingRunningServer, tmp_path: Path) -> None:
        done = run("trigger", "curled", "it's", "a 'b' $c", "--dry-run", url=running.url)
        script = tmp_path / "txpusher"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m txpusher "$@"\n')
        script.chmod(0o755)
        env = environment(running.url)
        env["PATH"] = f"{tmp_path}:{env['PATH']}"
        shown = subprocess.run(
            ["bash", "-c", done.objects[0]["curl"]],
            env=env,
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert shown.stdout == b"{}"
        event = running.wait_for_event("curled")
        assert (event.name, event.data) == ("it's", "a 'b' $c")

    def test_people_see_it_in_pieces(self, dead_url: str) -> None:
        code, shown = run_on_terminal("trigger", "n", "e", "x", "--dry-run", url=dead_url)
        assert code == 0
        assert shown.startswith("POST http://127.0.0.1:")
        assert "\nThe string to sign:\n\nPOST\n/apps/3/events\nauth_key=" in shown
        assert SECRET not in shown
