"""``txpusher serve`` on other places than a TCP port, and with wishes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.credentials import MASTER_KEY_BASE64
from txpusher._cli.certificate import Certificate

pytest.importorskip("wsproto")

Start = Callable[..., Any]
TXPUSHER = [sys.executable, "-m", "txpusher", "serve"]


class Serving:
    """A running server, and the lines that it has printed at first."""

    def __init__(self, arguments: tuple[str, ...], lines: int, environment: dict[str, str]):
        self.process = subprocess.Popen(
            [*TXPUSHER, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout is not None
        self.lines = [self.process.stdout.readline().rstrip("\n") for _ in range(lines)]

    @property
    def url(self) -> str:
        return self.lines[0].removeprefix("Ready: PUSHER_URL=")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)
        return self.process.returncode


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers; they are stopped after the test."""
    servers: list[Serving] = []

    def begin(*arguments: str, lines: int = 2, **environment: str) -> Serving:
        servers.append(Serving(arguments, lines, environment))
        return servers[-1]

    yield begin
    for serving in servers:
        if serving.process.poll() is None:
            serving.stop()


def publish(url: str, **environment: str) -> str:
    """Publish with a client in a process of its own, and return what the client says."""
    code = (
        "from txpusher import BlockingPusher, RetryPolicy\n"
        "p = BlockingPusher.from_env(retry=RetryPolicy(max_retries=0))\n"
        "try: print(p.trigger('a', 'e', 'd'))\n"
        "except Exception as error: print(error)\n"
        "p.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "PUSHER_URL": url, **environment},
    )
    return done.stdout.strip()


def test_certificate_is_made_trusted_and_gone_at_the_end(start: Start) -> None:
    serving = start("--tls", "--port", "0", lines=8)
    assert re.fullmatch(r"https://app-key:app-secret@127\.0\.0\.1:\d+/apps/1", serving.url)
    assert "wssPort: " in serving.lines[1]
    assert "forceTLS: true" in serving.lines[1]
    path = serving.lines[3].partition("SSL_CERT_FILE=")[2]
    assert publish(serving.url, SSL_CERT_FILE=path) == "{}"
    assert "certificate" in publish(serving.url)
    assert serving.lines[6].partition("NODE_EXTRA_CA_CERTS=")[2] == path
    up = serving.lines[7].partition("open ")[2].partition(" ")[0]
    context = ssl.create_default_context(cafile=path)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    for host in ("127.0.0.1", "localhost"):
        where = up.replace("127.0.0.1", host)
        with urllib.request.urlopen(where, context=context, timeout=10) as response:
            assert json.load(response) == {"ok": True}
    key = Path(path).with_name("txpusher-key.pem")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert serving.stop() == 0
    assert not key.parent.exists()


@pytest.mark.parametrize(
    ("line", "program"),
    [
        (4, ("curl", "-s")),
        (
            5,
            (
                sys.executable,
                "-c",
                "import requests, sys; print(requests.get(sys.argv[1]).text)",
            ),
        ),
        (6, ("node", "-e", "fetch(process.argv[1]).then(r => r.text()).then(console.log)")),
    ],
    ids=["curl", "requests", "node"],
)
def test_other_programs_trust_the_certificate(
    start: Start, line: int, program: tuple[str, ...]
) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    if "requests" in program[-1]:
        pytest.importorskip("requests")
    serving = start("--tls", "--port", "0", lines=8)
    name, _, path = serving.lines[line].split()[-1].partition("=")
    up = serving.lines[7].partition("open ")[2].partition(" ")[0]
    done = subprocess.run(
        [*program, up],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, name: path},
    )
    assert done.stdout.strip() == '{"ok":true}', done.stderr


def test_certificate_in_a_directory_is_used_again(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / "certificates"
    first = start("--tls-directory", str(directory), "--port", "0", lines=8)
    made = (directory / "txpusher-certificate.pem").read_bytes()
    assert first.stop() == 0
    second = start("--port", "0", lines=8, TXPUSHER_TLS_DIRECTORY=str(directory))
    assert (directory / "txpusher-certificate.pem").read_bytes() == made
    path = str(directory / "txpusher-certificate.pem")
    assert publish(second.url, SSL_CERT_FILE=path) == "{}"


def test_certificate_for_other_hosts_is_made_anew(tmp_path: Path) -> None:
    first = Certificate.in_directory(tmp_path, ["localhost"]).certificate.read_bytes()
    assert Certificate.in_directory(tmp_path, ["localhost"]).certificate.read_bytes() == first
    second = Certificate.in_directory(tmp_path, ["localhost", "10.0.0.1"])
    assert second.certificate.read_bytes() != first
    second.certificate.write_text("nonsense")
    again = Certificate.in_directory(tmp_path, ["localhost"]).certificate
    assert again.read_bytes().startswith(b"-----BEGIN CERTIFICATE")


def test_unix_socket_is_served(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "channels.sock"
    serving = start("--listen", f"unix:{path}")
    assert serving.url == "http://app-key:app-secret@localhost/apps/1"
    assert f"the Unix socket {path}" in serving.lines[1]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_prefix_stands_in_the_lines_for_clients(start: Start) -> None:
    serving = start("--port", "0", TXPUSHER_PATH_PREFIX="channels")
    assert serving.url.endswith("/channels/apps/1")
    assert 'wsPath: "/channels"' in serving.lines[1]
    assert publish(serving.url) == "{}"


def test_wish_for_trouble_is_granted_and_told(start: Start) -> None:
    serving = start("--port", "0", "--trouble", "error_rate=1,error_status=503", lines=3)
    assert "503" in publish(serving.url)
    line = serving.process.stdout.readline()
    assert " trouble " in line
    assert "answered with 503, not acted on" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--listen", "unix:/x", "--port", "1"), "--listen goes without --port"),
        (("--listen", "unix:/x", "--tls-directory", "/x"), "without --tls-directory"),
        (("--listen", "nonsense:"), "cannot make an endpoint of 'nonsense:'"),
        (("--listen", "unix:/nowhere/x:lockfile=0"), "cannot listen on unix:/nowhere/x"),
        (("--listen", "unix:/nowhere/x"), "unix:/nowhere/x: No such file or directory"),
        (("--listen", "tcp:65536"), "cannot listen on tcp:65536: "),
        (("--tls-directory", "/dev/null/x"), "cannot keep a certificate in /dev/null/x"),
        (("--trouble", "error_rate=2"), "error_rate must be a number from 0 to 1"),
        (("--path-prefix", "a b"), "path_prefix"),
        (("--pong-timeout", "0"), "pong_timeout must be a number of seconds"),
    ],
)
def test_option_that_makes_no_sense_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    done = subprocess.run(
        [*TXPUSHER, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def get(url: str, **headers: str) -> tuple[int, bytes]:
    """Ask for *url*, and return the status and the body."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=10
        ) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_console_is_at_the_address_that_is_printed(start: Start) -> None:
    serving = start("--port", "0", "--path-prefix", "/p", lines=3)
    where = serving.lines[2].removeprefix("Console: ")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/p/", where)
    status, page = get(where)
    assert (status, b"<title>txpusher console</title>" in page) == (200, True)
    state = json.loads(get(f"{where}console/state")[1])
    assert state["apps"] == [{"id": "1", "key": "app-key", "decrypts": False}]
    assert get(where, Host="dev.example")[0] == 403


def test_console_is_left_out_where_nobody_wants_it(start: Start) -> None:
    serving = start("--port", "0", "--no-console")
    where = serving.url.replace("app-key:app-secret@", "").removesuffix("/apps/1")
    assert get(f"{where}/") == (200, b'{"ok":true}')
    assert get(f"{where}/console/events")[0] == 404
    serving.process.send_signal(signal.SIGTERM)
    out, _ = serving.process.communicate(timeout=20)
    assert "Console" not in out


def test_console_answers_to_hosts_that_are_named(start: Start) -> None:
    arguments = ("--port", "0", "--host", "0.0.0.0", "--console-host", "dev.example:80")
    serving = start(*arguments, lines=3, TXPUSHER_CONSOLE_HOST="unused.example")
    where = serving.lines[2].removeprefix("Console: ")
    assert get(where, Host="dev.example:80")[0] == 200
    assert get(where, Host="unused.example")[0] == 403


def test_console_has_the_key_of_encrypted_channels_from_the_environment(start: Start) -> None:
    key = MASTER_KEY_BASE64
    serving = start("--port", "0", lines=3, PUSHER_ENCRYPTION_MASTER_KEY=key)
    where = serving.lines[2].removeprefix("Console: ")
    assert json.loads(get(f"{where}console/state")[1])["apps"][0]["decrypts"] is True


def test_key_of_encrypted_channels_that_is_malformed_is_told_and_not_shown() -> None:
    done = subprocess.run(
        [*TXPUSHER, "--port", "0"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PUSHER_ENCRYPTION_MASTER_KEY": "top secret"},
    )
    assert done.returncode == 1
    assert "encryption_master_key_base64 is not valid base64" in done.stderr
    assert "top secret" not in done.stderr
