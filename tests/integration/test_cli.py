"""The command line, in processes of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlencode

import pytest
import pytest_twisted

from tests.support.command_line import Command, Done
from tests.support.command_line import run as run_command
from tests.support.observing import Log
from txpusher import _cli as cli
from txpusher._protocol import signing
from txpusher._version import __version__
from txpusher.config import Config
from txpusher.errors import PusherError
from txpusher.server import Activity
from txpusher.server._core.hub import Hub

pytest.importorskip("wsproto")
pytest.importorskip("nacl")

from txpusher._cli import demo, demo_command
from txpusher._cli.serve import line_of, pusher_js
from txpusher._server_options import DEFAULT_APP

TXPUSHER = [sys.executable, "-m", "txpusher"]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TXPUSHER, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        **options,
    )


class Serving:
    """A ``txpusher serve`` that is ready."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*TXPUSHER, "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.urls: list[str] = []
        while (line := self.line()).startswith("Ready: PUSHER_URL="):
            self.urls.append(line.removeprefix("Ready: PUSHER_URL="))
        self.hints = [line, *(self.line() for _ in self.urls[1:])]
        self.console = self.line().removeprefix("Console: ")

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def trigger(self, url: str, data: str) -> None:
        config = Config.from_url(url)
        body = json.dumps({"name": "hello", "channel": "news", "data": data}).encode()
        path = f"{config.app_path}/events"
        params = signing.signed_params(
            config.key, config.secret, "POST", path, {}, body, int(time.time())
        )
        target = f"http://{config.netloc}{path}?{urlencode(params)}"
        with urllib.request.urlopen(target, body, timeout=10) as response:
            assert response.status == 200

    def stop(self, signal_number: int) -> tuple[int, str, str]:
        self.process.send_signal(signal_number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture
def serving() -> Iterator[Serving]:
    serving = Serving("--app", "1:k1:s1:with:colons", "--app", "2:k2:s2")
    yield serving
    if serving.process.poll() is None:
        serving.process.kill()
        serving.process.communicate()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"txpusher {__version__}\n"


def test_serve_is_ready_and_logs_what_happens(serving: Serving) -> None:
    first, second = serving.urls
    assert re.fullmatch(r"http://k1:s1%3Awith%3Acolons@127\.0\.0\.1:\d+/apps/1", first)
    port = Config.from_url(first).port
    assert serving.hints == [
        f'In pusher-js: new Pusher("{key}", {{wsHost: "127.0.0.1", wsPort: {port}, '
        'forceTLS: false, enabledTransports: ["ws"], cluster: ""})'
        for key in ("k1", "k2")
    ]
    serving.trigger(second, "a\x1b[31mb")
    line = serving.line()
    assert re.fullmatch(r"\d\d:\d\d:\d\d  event +app 2  news  hello  a\\x1b\[31mb", line)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(first.replace("k1:s1%3Awith%3Acolons@", "") + "/channels")
    assert re.search(r" refused +app 1  GET /apps/1/channels: 401 ", serving.line())
    code, out, err = serving.stop(signal.SIGTERM)
    assert (code, out, err) == (0, "", "")


def test_serve_prints_objects_for_programs() -> None:
    command = Command("serve", "--port", "0", "--json", "--app", "7:k:s")
    try:
        ready = json.loads(command.line())
        assert (ready["kind"], ready["app_id"]) == ("ready", "7")
        assert run_command("trigger", "c", "e", "x\x1b", url=ready["url"]).code == 0
        told = json.loads(command.line())
        assert abs(told.pop("time") - time.time()) < 60
        assert told == {
            "kind": "event", "app_id": "7", "channel": "c", "event": "e", "data": "x\x1b"
        }  # fmt: skip
        assert command.end() == Done(130, "", "")
    finally:
        command.kill()


def test_interrupted_serve_ends_cleanly_with_the_code_of_an_interrupt(serving: Serving) -> None:
    assert serving.stop(signal.SIGINT) == (130, "", "")


def test_line_for_pusher_js_brackets_an_ipv6_address() -> None:
    assert 'wsHost: "[::1]", wsPort: 6001,' in pusher_js("k", "::1", 6001)


def test_default_app_has_an_id_that_every_sdk_accepts() -> None:
    app_id, key, secret = DEFAULT_APP.split(":")
    # Of the official SDKs only the Python SDK insists: an id is digits.
    pusher = pytest.importorskip("pusher")
    pusher.Pusher.from_url(f"http://{key}:{secret}@127.0.0.1:6001/apps/{app_id}")
    pusher.Pusher(app_id=app_id, key=key, secret=secret, host="127.0.0.1", ssl=False)


def test_a_port_in_use_is_one_line(serving: Serving) -> None:
    port = str(Config.from_url(serving.urls[0]).port)
    done = run("serve", "--port", port)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ((), 2, "COMMAND"),
        (("nonsense",), 2, "nonsense"),
        (("serve", "--port", "x"), 2, "port"),
        (("serve", "--port", "65536"), 2, "port"),
        (("serve", "--app", "id:key"), 2, "ID:KEY:SECRET"),
        (("serve", "--app", "id::secret"), 2, "ID:KEY:SECRET"),
        (("serve", "--app", "id:key:my secret"), 1, "secret must not contain spaces"),
        (("serve", "--app", "1:k:s", "--app", "1:l:t"), 1, "same id"),
        (("serve", "--webhook", "nonsense"), 1, "webhooks"),
    ],
)
def test_bad_arguments_are_told_in_one_line(
    arguments: tuple[str, ...], code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        returned: object = cli.main(arguments)
    except SystemExit as error:
        returned = error.code
    assert returned == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert word in shown.err
    assert "my secret" not in shown.err


def test_the_demo_shows_every_event_arriving() -> None:
    started = time.monotonic()
    done = run("demo")
    assert time.monotonic() - started < 20
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for channel in ("news", "presence-room", "private-encrypted-vault"):
        for way in ("await", "callback", "blocking"):
            lines = [x for x in done.stdout.splitlines() if channel in x and way in x]
            assert len(lines) == 1
            assert lines[0].startswith("✓")
    assert "All 9 events arrived." in done.stdout
    assert "\x1b" not in done.stdout


def test_the_demo_has_colours_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen([*TXPUSHER, "demo"], stdout=theirs, env=environment)
    os.close(theirs)
    shown = b""
    # A terminal whose other side is closed is an error on Linux.
    with suppress(OSError):
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    assert process.wait(timeout=20) == 0
    assert b"\x1b[32m" in shown


@pytest.mark.parametrize(("sent", "code"), [("SIGINT", 130), ("SIGTERM", 1)])
def test_interrupted_demo_fails(sent: str, code: int) -> None:
    program = (
        "import os, signal, sys\n"
        "from twisted.internet.defer import Deferred\n"
        "from txpusher._cli import demo\n"
        "from txpusher._cli import main\n"
        "async def interrupted(self, pusher):\n"
        f"    os.kill(os.getpid(), signal.{sent})\n"
        "    await Deferred()\n"
        "demo.Demo._publish = interrupted\n"
        "sys.exit(main(['demo']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == code
    assert done.stderr == "txpusher: interrupted before every event had arrived\n"


# An output that goes away


def test_a_demo_that_nobody_reads_to_its_end_ends_quietly() -> None:
    code = (
        "import os, sys\n"
        "from txpusher._cli import demo\n"
        "from txpusher._cli import main\n"
        "reading, writing = os.pipe()\n"
        "os.dup2(writing, 1)\n"
        "publish = demo.Demo._publish\n"
        "async def unread(self, pusher):\n"
        "    os.close(reading)\n"
        "    await publish(self, pusher)\n"
        "demo.Demo._publish = unread\n"
        "sys.exit(main(['demo']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr == ""


def test_serve_ends_quietly_once_nobody_reads_what_it_prints(serving: Serving) -> None:
    process = serving.process
    assert process.stdout is not None
    process.stdout.close()
    # The server may be gone before it has answered.
    with suppress(OSError):
        serving.trigger(serving.urls[0], "unread")
    assert process.wait(timeout=20) == 1
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [("serve", "--port", "0"), ("demo",)])
def test_output_that_cannot_be_written_is_one_line(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*TXPUSHER, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "txpusher: cannot write: No space left on device\n"


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_command_without_an_output_begins_nothing(command: str) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *TXPUSHER, command],
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "txpusher: cannot write: there is no standard output\n"


@pytest.mark.parametrize(
    ("terminal", "environment", "wanted"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours_are_wanted_on_a_terminal_alone(
    terminal: bool, environment: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = Mock(isatty=lambda: terminal)
    assert demo.wants_colours(stream) is wanted


@pytest_twisted.ensureDeferred
async def test_the_demo_leaves_nothing_behind(log: Log, clean_reactor: None) -> None:
    from twisted.internet import reactor

    lines: list[str] = []
    assert await demo.Demo(reactor, lines.append, colours=True).run() == 0
    assert sum("✓" in line for line in lines) == 9
    assert lines[-1].startswith("\n\x1b[32mAll 9 events arrived.")


@pytest_twisted.ensureDeferred
async def test_a_demo_whose_events_are_lost_fails(
    log: Log, clean_reactor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twisted.internet import reactor

    publish = Hub.publish

    def lossy(self: Hub, state: Any, publications: Any, now: float) -> Any:
        kept = [one for one in publications if one.channels != ["news"]]
        return publish(self, state, kept, now)

    monkeypatch.setattr(Hub, "publish", lossy)
    monkeypatch.setattr(demo, "TIMEOUT", 0.3)
    lines: list[str] = []
    assert await demo.Demo(reactor, lines.append, colours=False).run() == 1
    assert sum("✗ news" in line for line in lines) == 3
    assert "arrived" not in lines[-1]


@pytest_twisted.ensureDeferred
async def test_a_demo_that_cannot_publish_fails(
    log: Log, clean_reactor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twisted.internet import reactor

    monkeypatch.setattr("txpusher.server._limits.REQUEST_BODY", 10)
    lines: list[str] = []
    with pytest.raises(PusherError, match="413"):
        await demo.Demo(reactor, lines.append, colours=False).run()


@pytest.mark.parametrize("module", ["wsproto", "nacl"])
def test_missing_package_is_named(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        demo_command, "find_spec", lambda name: None if name == module else object()
    )
    assert cli.main(["demo"]) == 1
    error = capsys.readouterr().err
    assert module in error
    assert "pip install 'txpusher[server]'" in error


def test_a_server_that_cannot_start_is_one_line() -> None:
    code = (
        "import sys\n"
        "sys.modules['wsproto'] = None\n"
        "from txpusher._cli import main\n"
        "sys.exit(main(['serve', '--port', '0']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "pip install 'txpusher[server]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_line_of_the_log_tells_all_there_is() -> None:
    activity = Activity(
        "client_event", "3", "1.2", "private-a", "client-x", "x" * 200, "u", "why\nnot"
    )
    assert line_of(activity) == (
        f"client event    app 3  private-a  client-x  {'x' * 120}...  user u  by 1.2  why\\nnot"
    )
    assert line_of(Activity("refused", "")).strip() == "refused"
