"""Real proxies, each a process of its own that ends with the test."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.credentials import PROXY_PASSWORD, PROXY_USER
from tests.support.waiting import PATIENCE

TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Timeout 60
MaxClients 50
LogLevel Critical
LogFile "{directory}/log"
BasicAuth {user} {password}
"""

SQUID = """\
http_port 127.0.0.1:{port}
visible_hostname localhost
pid_filename {directory}/pid
cache_log {directory}/log
access_log none
cache deny all
pinger_enable off
max_filedescriptors 1024
shutdown_lifetime 0 seconds
auth_param basic program {helper} {directory}/passwords
auth_param basic children 1 startup=1 idle=1
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
"""


def missing(reason: str) -> NoReturn:
    """Skip what needs it, or fail where everything has to run."""
    if os.environ.get("TXPUSHER_REQUIRE_INTEROP") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _program(name: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which(name, path=path) or missing(f"{name} is not installed")


class Proxy:
    """
    A running proxy that wants a password.

    :param name: ``"tinyproxy"`` or ``"squid"``.
    """

    def __init__(self, name: str) -> None:
        program = _program(name)
        self.name = name
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        # Started by root, a proxy takes another user's rights, and must get at its files.
        self._directory = Path(tempfile.mkdtemp(prefix="txpusher-"))
        self._directory.chmod(0o777)
        start = self._tinyproxy if name == "tinyproxy" else self._squid
        self._process = subprocess.Popen(
            start(program),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise

    def url(self, user: str = PROXY_USER, password: str = PROXY_PASSWORD) -> str:
        """What ``http_proxy`` needs."""
        return f"http://{user}:{password}@127.0.0.1:{self.port}"

    @property
    def bare_url(self) -> str:
        """The same, without user and password."""
        return f"http://127.0.0.1:{self.port}"

    def _write(self, name: str, template: str, **values: str) -> Path:
        path = self._directory / name
        text = template.format(
            port=self.port,
            directory=self._directory,
            user=PROXY_USER,
            password=PROXY_PASSWORD,
            **values,
        )
        path.write_text(text, "ascii")
        path.chmod(0o644)
        return path

    def _tinyproxy(self, program: str) -> list[str]:
        return [program, "-d", "-c", str(self._write("conf", TINYPROXY))]

    def _squid(self, program: str) -> list[str]:
        helpers = glob.glob("/usr/lib*/squid/basic_ncsa_auth")
        if not helpers:
            missing("squid's basic_ncsa_auth is not installed")
        digest = hashlib.md5(PROXY_PASSWORD.encode()).hexdigest()
        self._write("passwords", "{user}:{digest}\n", digest=digest)
        conf = self._write("conf", SQUID, helper=helpers[0])
        return [program, "-N", "-f", str(conf)]

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                assert self._process.poll() is None, f"{self.name} has ended"
                assert time.monotonic() < deadline, f"{self.name} does not listen"
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End it and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)
