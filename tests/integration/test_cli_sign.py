"""``txpusher auth``, ``user-auth``, ``sign`` and ``webhook verify``, as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.integration.command_server import dead_url, running
from tests.support.command_line import TXPUSHER, environment, run, run_on_terminal
from tests.support.credentials import APP_ID, KEY, MASTER_KEY_BASE64, SECRET
from txpusher import Pusher
from txpusher._protocol.signing import hmac_hex
from txpusher.testing import BlockingRunningServer

__all__ = ["dead_url", "running"]

URL = f"http://{KEY}:{SECRET}@127.0.0.1:1/apps/{APP_ID}"
PUSHER = Pusher(APP_ID, KEY, SECRET, encryption_master_key_base64=MASTER_KEY_BASE64)


class TestAuth:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("private-x", "1.2"), PUSHER.authenticate("private-x", "1.2")),
            (
                ("presence-x", "1.2", '{"user_id": "ü"}'),
                PUSHER.authenticate("presence-x", "1.2", {"user_id": "ü"}),
            ),
            (
                ("private-encrypted-x", "1.2"),
                PUSHER.authenticate("private-encrypted-x", "1.2"),
            ),
        ],
    )
    def test_answer_is_what_authenticate_returns(
        self, arguments: tuple[str, ...], expected: dict[str, str]
    ) -> None:
        env = {"PUSHER_ENCRYPTION_MASTER_KEY": MASTER_KEY_BASE64}
        done = run("auth", *arguments, url=URL, env=env)
        assert (done.code, done.objects, done.err) == (0, [expected], "")

    def test_sign_in_is_what_authenticate_user_returns(self) -> None:
        done = run("user-auth", "1.2", '{"id": "alice"}', url=URL)
        assert done.objects == [PUSHER.authenticate_user("1.2", {"id": "alice"})]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("auth", "news", "1.2"), "news"),
            (("auth", "private-x", "x"), "socket_id"),
            (("auth", "presence-x", "1.2", "{}x"), "DATA is not JSON"),
            (("auth", "presence-x", "1.2", "[]"), "DATA must be a JSON object"),
            (("auth", "presence-x", "1.2", '{"user_id": ""}'), "user_id"),
            (("user-auth", "1.2", "x"), "USER_DATA is not JSON"),
            (("user-auth", "1.2", '{"id": ""}'), "id"),
        ],
    )
    def test_refused_argument_is_a_failure_on_this_side(
        self, arguments: tuple[str, ...], said: str
    ) -> None:
        done = run(*arguments, url=URL)
        assert (done.code, done.out) == (1, "")
        assert said in done.error


class TestSign:
    def test_signed_url_is_accepted(self, running: BlockingRunningServer) -> None:
        done = run("sign", "GET", "/channels?filter_by_prefix=presence-", url=running.url)
        assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
        with urllib.request.urlopen(done.out.strip()) as reply:
            assert json.load(reply) == {"channels": {}}

    def test_body_is_signed(self, running: BlockingRunningServer) -> None:
        body = '{"name":"e","channels":["signed"],"data":"x"}'
        done = run("sign", "POST", "/events", "--body", body, "--json", url=running.url)
        request = urllib.request.Request(done.objects[0]["url"], body.encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as reply:
            assert reply.status == 200
        assert running.wait_for_event("signed").data == "x"

    @pytest.mark.parametrize("path", ["channels", "/channels?a=1&a=2", "/channels?auth_key=1"])
    def test_refused_path_is_a_failure_on_this_side(self, path: str) -> None:
        done = run("sign", "GET", path, url=URL)
        assert (done.code, done.out) == (1, "")
        assert done.error


class TestOutputThatGoesAway:
    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
    @pytest.mark.parametrize("arguments", [("sign", "GET", "/x"), ("completion", "bash")])
    def test_output_that_cannot_be_written_is_one_line(
        self, arguments: tuple[str, ...]
    ) -> None:
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [*TXPUSHER, *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                env=environment(URL),
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 1
        assert done.stderr == "txpusher: cannot write: No space left on device\n"

    def test_reader_that_has_seen_enough_is_no_error(self) -> None:
        program = f"{sys.executable} -m txpusher sign GET /x | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", program],
            env=environment(URL),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == b""


class TestWebhook:
    def setup_method(self) -> None:
        """Make a body of this moment: the whole suite takes longer than its age may be."""
        fields = {"time_ms": int(time.time() * 1000), "events": [{"name": "channel_occupied"}]}
        self.body = json.dumps(fields).encode()

    def message(self, body: bytes | None = None, secret: str = SECRET) -> bytes:
        body = self.body if body is None else body
        headers = [
            "POST /webhooks HTTP/1.1",
            "content-type: application/json",
            f"X-Pusher-Key: {KEY}",
            f"x-pusher-SIGNATURE: {hmac_hex(secret, body)}",
        ]
        return "\r\n".join([*headers, "", ""]).encode() + body

    def test_valid_webhook_is_shown(self) -> None:
        done = run("webhook", "verify", "--max-age", "60", url=URL, given=self.message())
        assert (done.code, done.err) == (0, "")
        (shown,) = done.objects
        assert (shown["valid"], shown["reason"]) == (True, None)
        assert shown["events"] == [{"name": "channel_occupied"}]

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            (b"", "it has no X-Pusher-Key"),
            (f"X-Pusher-Key: {KEY}\n\n{{}}".encode(), "it has no X-Pusher-Signature"),
            (b"X-Pusher-Key: k\nX-Pusher-Signature: s\n\n{}", "its key is not"),
        ],
    )
    def test_invalid_webhook_says_why(self, given: bytes, reason: str) -> None:
        done = run("webhook", "verify", url=URL, given=given)
        assert done.code == 1
        assert reason in done.error
        assert done.objects[0]["valid"] is False
        assert reason in done.objects[0]["reason"]

    def test_forged_webhook_tells_no_signature(self) -> None:
        done = run("webhook", "verify", url=URL, given=self.message(secret="other"))
        assert done.code == 1
        assert "its signature is wrong" in done.error
        assert hmac_hex(SECRET, self.body) not in done.out + done.err

    def test_line_break_that_an_editor_has_added_is_named(self) -> None:
        done = run("webhook", "verify", url=URL, given=self.message() + b"\n")
        assert done.code == 1
        assert "without the line break at the end of its body it is valid" in done.error

    def test_old_webhook_is_refused(self) -> None:
        old = json.dumps({"time_ms": 1000, "events": []}).encode()
        message = self.message(old)
        assert run("webhook", "verify", url=URL, given=message).code == 0
        done = run("webhook", "verify", "--max-age", "60", url=URL, given=message)
        assert done.code == 1
        assert "max_age is 60" in done.error

    def test_body_that_cannot_be_read_is_not_valid(self) -> None:
        done = run("webhook", "verify", url=URL, given=self.message(b"nonsense"))
        assert done.code == 1
        assert "not JSON" in done.error

    def test_headers_and_body_come_from_files_or_one_of_them(self, tmp_path: Path) -> None:
        headers, body = tmp_path / "headers", tmp_path / "body"
        headers.write_bytes(self.message().partition(b"\r\n\r\n")[0])
        body.write_bytes(self.body)
        files = ("--headers", str(headers), "--body", str(body))
        assert run("webhook", "verify", *files, url=URL).code == 0
        assert run("webhook", "verify", *files[:2], url=URL, given=self.body).code == 0
        given = headers.read_bytes()
        assert run("webhook", "verify", *files[2:], url=URL, given=given).code == 0
        done = run("webhook", "verify", "--body", str(tmp_path / "none"), url=URL)
        assert done.code == 1
        assert "No such file" in done.error

    def test_line_without_a_colon_is_not_quoted(self) -> None:
        done = run("webhook", "verify", url=URL, given=b"a: b\nsecret words\n\n{}")
        assert done.code == 1
        assert "line 2 of the headers has no colon" in done.error
        assert "words" not in done.err

    def test_people_see_the_events(self, tmp_path: Path) -> None:
        headers, body = tmp_path / "headers", tmp_path / "body"
        headers.write_bytes(self.message().partition(b"\r\n\r\n")[0])
        body.write_bytes(self.body)
        files = ("--headers", str(headers), "--body", str(body))
        code, shown = run_on_terminal("webhook", "verify", *files, url=URL)
        assert code == 0
        assert shown.startswith("\x1b[32mvalid\x1b[0m  sent 20")
        assert "channel_occupied" in shown
