"""
The servers of ``scale_out.py``, Redis, soketi and nginx, which end with the program itself.

Each listens on a free port of 127.0.0.1.  What is not installed is told by::

    python programs.py
"""

# Much of Twisted has no annotations yet.
# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.internet.task import deferLater

HERE = Path(__file__).parent
HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens."""
    with contextlib.ExitStack() as sockets:
        probes = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def find(name: str) -> str:
    """Return the path of a program, empty where it is not installed."""
    # Not everybody has the programs of root on the PATH.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""


class Program(ProcessProtocol):
    """A program that listens on one port; it can be killed, and started again."""

    def __init__(self, reactor: Any, port: int, command: list[str], **env: str) -> None:
        self.port = port
        self._reactor = reactor
        self._command = command
        self._env = {**os.environ, **env}
        self._output = b""
        self._process: Any = None
        self._is_killed = False
        self._ended: Deferred[None] = succeed(None)
        # However this program ends: Ctrl-C is a shutdown, too.
        reactor.addSystemEventTrigger("before", "shutdown", self.kill)

    async def start(self) -> None:
        """Start the program, and wait until it accepts connections."""
        self._output = b""
        self._is_killed = False
        self._ended = Deferred()
        spawn = self._reactor.spawnProcess
        self._process = spawn(self, self._command[0], self._command, env=self._env)
        endpoint = TCP4ClientEndpoint(self._reactor, HOST, self.port)
        while True:
            try:
                connected: Any = await connectProtocol(endpoint, Protocol())
            except ConnectError:
                if self._ended.called and not self._is_killed:
                    printed = self._output.decode("utf-8", "replace")
                    sys.exit(f"{' '.join(self._command)} has ended:\n{printed}")
                await deferLater(self._reactor, 0.05)
            else:
                connected.transport.abortConnection()
                return

    def hang(self) -> None:
        """Have the program do nothing, while the kernel still accepts connections for it."""
        self._process.signalProcess("STOP")

    def kill(self) -> Deferred[None]:
        """Kill the program; the Deferred fires once it is gone."""
        self._is_killed = True
        if not self._ended.called:
            with contextlib.suppress(ProcessExitedAlready):
                self._process.signalProcess("KILL")
        gone: Deferred[None] = Deferred()
        self._ended.chainDeferred(gone)
        return gone

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep the end of what the program prints."""
        self._output = (self._output + data)[-2000:]

    def processEnded(self, reason: Any) -> None:
        """Remember that the program is gone."""
        self._ended.callback(None)


def redis(reactor: Any, folder: Path) -> Program:
    """Return a Redis that keeps nothing on the disk."""
    port = free_ports(1)[0]
    options = ["--port", str(port), "--bind", HOST, "--save", "", "--dir", str(folder)]
    return Program(reactor, port, [find("redis-server"), *options])


def soketi(reactor: Any, modules: Path, redis_port: int) -> Program:
    """Return a soketi that is joined by Redis to all others with the same Redis."""
    port, metrics_port = free_ports(2)
    return Program(
        reactor,
        port,
        [find("node"), str(modules / "@soketi" / "soketi" / "bin" / "server.js"), "start"],
        SOKETI_HOST=HOST,
        SOKETI_PORT=str(port),
        SOKETI_METRICS_HOST=HOST,
        SOKETI_METRICS_SERVER_PORT=str(metrics_port),
        SOKETI_ADAPTER_DRIVER="redis",
        SOKETI_DB_REDIS_HOST=HOST,
        SOKETI_DB_REDIS_PORT=str(redis_port),
    )


def balancer(reactor: Any, folder: Path, *ports: int) -> Program:
    """Return an nginx with ``balancer.conf``, whose ports are replaced."""
    port = free_ports(1)[0]
    text = (HERE / "balancer.conf").read_text("utf-8")
    for written, used in zip((8080, 6001, 6002), (port, *ports), strict=True):
        text = text.replace(f":{written};", f":{used};")
    (folder / "balancer.conf").write_text(text, "utf-8")
    kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    paths = " ".join(f"{kind}_temp_path {folder};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; events {{}}\n"
        f"http {{ access_log off; {paths} include balancer.conf; }}\n",
        "utf-8",
    )
    options = ["-e", "stderr", "-p", str(folder), "-c", "nginx.conf"]
    return Program(reactor, port, [find("nginx"), *options])


def missing(modules: Path = HERE / "node_modules") -> str:
    """Return in words what is not installed, empty where all is."""
    for name in ("redis-server", "node", "nginx"):
        if not find(name):
            return f"{name} is not installed"
    if not (modules / "@soketi" / "soketi").exists():
        return f"soketi is not in {modules}: run npm install in {HERE}"
    return ""


if __name__ == "__main__":
    sys.exit(missing() or 0)
