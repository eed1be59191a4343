"""The server as a service, in a program and under Twisted's own runner."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_twisted
from twisted.application.service import Application, IService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from tests.support.credentials import KEY, SECRET
from tests.support.observing import collect_sockets
from tests.support.process import Process
from tests.support.raw_client import check_that_it_serves, connect_raw, end
from tests.support.waiting import until
from txpusher._protocol import signing
from txpusher.server import App, ChannelsServer, ChannelsService

pytest.importorskip("wsproto")

ROOT = Path(__file__).parents[2]
LOCAL = "tcp:0:interface=127.0.0.1"


@pytest_twisted.ensureDeferred
async def test_server_listens_and_stops_with_its_application(
    log: Any, clean_reactor: None
) -> None:
    server = ChannelsServer([App("3", KEY, SECRET)])
    application = Application("channels")
    ChannelsService(server, LOCAL).setServiceParent(application)
    whole: Any = IService(application)
    for _ in range(2):
        whole.privilegedStartService()
        whole.startService()
        await check_that_it_serves(server)
        assert f"listens on 127.0.0.1:{server.port}" in log.text
        await whole.stopService()
        with pytest.raises(RuntimeError, match="not listening"):
            _ = server.port


@pytest_twisted.ensureDeferred
async def test_log_of_the_service_tells_what_the_server_refuses(
    log: Any, clean_reactor: None
) -> None:
    service = ChannelsService(ChannelsServer([App("3", KEY, SECRET)]), LOCAL)
    service.startService()
    raw = await connect_raw(service.server.port)
    raw.write(b"GET /apps/3/channels HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await raw.response())[0] == 401
    params = signing.signed_params(KEY, "x", "GET", "/apps/3/channels", {}, None, 1)
    params["auth_timestamp"] = str(int(time.time()))
    query = urlencode(params).encode()
    raw.write(b"GET /apps/3/channels?%b HTTP/1.1\r\nHost: a\r\n\r\n" % query)
    assert (await raw.response())[0] == 401
    await end(raw)
    await service.stopService()
    assert "refused 3 GET /apps/3/channels: 401 auth_key is missing" in log.text
    # The text that had to be signed.
    assert f"/apps/3/channels\nauth_key={KEY}&auth_timestamp=" in log.text
    assert params["auth_signature"] not in log.text
    assert SECRET not in log.text


@pytest_twisted.ensureDeferred
async def test_stopped_service_tells_nothing_more_of_its_server(
    log: Any, clean_reactor: None
) -> None:
    service = ChannelsService(ChannelsServer([App("3", KEY, SECRET)]), LOCAL)
    service.startService()
    await service.stopService()
    await service.server.listen()
    raw = await connect_raw(service.server.port)
    raw.write(b"GET /apps/3/channels HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await raw.response())[0] == 401
    await end(raw)
    await service.server.stop()
    assert "auth_key is missing" not in log.text


@pytest_twisted.ensureDeferred
async def test_port_in_use_fails_the_start_of_the_service(
    server: ChannelsServer,
) -> None:
    other = ChannelsService(
        ChannelsServer([App("3", KEY, SECRET)]), f"tcp:{server.port}:interface=127.0.0.1"
    )
    with pytest.raises(CannotListenError):
        other.startService()
    collect_sockets()
    await other.stopService()


@pytest_twisted.ensureDeferred
async def test_service_that_was_not_started_stops(clean_reactor: None) -> None:
    await ChannelsService(ChannelsServer([App("3", KEY, SECRET)]), LOCAL).stopService()


@pytest_twisted.ensureDeferred
async def test_service_that_waits_for_its_port_stops(clean_reactor: None) -> None:
    from twisted.internet.interfaces import IStreamServerEndpoint
    from zope.interface import implementer

    cancelled: list[object] = []

    @implementer(IStreamServerEndpoint)
    class Waiting:
        def listen(self, factory: Any) -> Any:
            return Deferred(cancelled.append)

    service = ChannelsService(ChannelsServer([App("3", KEY, SECRET)]), Waiting())
    service.startService()
    await service.stopService()
    assert len(cancelled) == 1


# twist


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A directory for PYTHONPATH, which has the plug-in where an installed wheel has it."""
    directory = tmp_path / "twisted" / "plugins"
    directory.mkdir(parents=True)
    shutil.copy(ROOT / "txpusher" / "_twisted_plugins" / "txpusher_channels.py", directory)
    return tmp_path


RUNNERS = {
    "twist": ["-m", "twisted"],
    "twistd": ["-c", "from twisted.scripts.twistd import run; run()", "-no"],
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_runner_of_twisted_says_in_words_what_setting_is_wrong(
    runner: str, plugins: Path, tmp_path: Path
) -> None:
    command = [sys.executable, *RUNNERS[runner], "channels", "--activity-timeout", "0"]
    path = os.pathsep.join([str(plugins), str(ROOT)])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    said = done.stdout + done.stderr
    # The twistd of Twisted 24.7 ends with 0 after an error of usage.
    assert done.returncode != 0 or runner == "twistd"
    assert "activity_timeout must be" in said
    assert "listens on" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("runner", RUNNERS)
def test_runner_of_twisted_serves_until_it_is_told_to_stop(
    runner: str, plugins: Path, tmp_path: Path
) -> None:
    path = tmp_path / "channels.sock"
    program = RUNNERS[runner]
    process = Process(
        [sys.executable, *program, "channels", "--listen", f"unix:{path}", "--app", "1:k:s"],
        tmp_path,
        {"PYTHONPATH": os.pathsep.join([str(plugins), str(ROOT)])},
    )
    try:
        deadline = time.monotonic() + 30
        # The socket is there a little before the log says so.
        while f"unix:{path}" not in process.output and process.exit_code is None:
            assert time.monotonic() < deadline, process.output
            time.sleep(0.05)
        # twistd listens before its reactor takes signals; whoever answers takes them.
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        process.terminate()
        out = process.output
    finally:
        process.stop()
    assert f"unix:{path}" in out
    assert "Traceback" not in out
    assert not path.exists()


def test_options_of_twist_import_no_reactor(plugins: Path) -> None:
    # twist installs the reactor that --reactor names.
    code = (
        "import sys\nfrom txpusher.server._plugin import Options\nOptions().parseOptions([])\n"
        "print('twisted.internet.reactor' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest_twisted.ensureDeferred
async def test_late_failure_to_listen_is_logged(clean_reactor: None) -> None:
    from twisted.internet.interfaces import IStreamServerEndpoint
    from zope.interface import implementer

    from tests.support.observing import Log

    waiting: Deferred[Any] = Deferred()

    @implementer(IStreamServerEndpoint)
    class Failing:
        def listen(self, factory: Any) -> Any:
            return waiting

    log = Log()
    log.start()
    service = ChannelsService(ChannelsServer([App("3", KEY, SECRET)]), Failing())
    service.startService()
    waiting.errback(OSError("no luck"))
    await until(lambda: bool(log.failures))
    log.stop()
    assert "cannot listen" in log.text
    await service.stopService()
