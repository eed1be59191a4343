"""
What the benchmarks share: child processes, what they cost, a web server to
send to, tables.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

APP_ID = "3"
KEY = "benchmark-key"
SECRET = "benchmark-secret"

#: Where the packages from npm may be, the first one that is there counts.
NODE_MODULES = (HERE / "node_modules", HERE.parent / "interop" / "node_modules")

#: Seconds within which a server listens.
START_TIMEOUT = 30.0

#: Starts a program, says its process id, kills it when standard input ends:
#: however this process comes to its end, nothing is left behind.
GUARD = '"$@" </dev/null >&2 & echo $!; read -r _; kill -9 $!; wait 2>/dev/null'


class BenchmarkError(Exception):
    """A benchmark cannot be made, or what it measures did not work."""


class NotInstalledError(BenchmarkError):
    """A peer is not there to be measured."""


def stop_on_signals() -> None:
    """Have SIGTERM unwind the stack, as Ctrl-C does."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def note(text: str) -> None:
    """Tell whoever waits how far it is; not part of the result."""
    print(text, file=sys.stderr, flush=True)


# Child processes


def run_child(
    module: str,
    argument: Mapping[str, Any],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    place: Path = ROOT,
) -> dict[str, Any]:
    """
    Run ``python -m tests.benchmarks.<module>`` in a fresh interpreter.

    :param argument: Its one argument, given as JSON.
    :param place: The directory from which the child imports ``txpusher``.
    :return: What it printed, a JSON object.
    """
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", json.dumps(argument)]
    return run_program(command, timeout=timeout, env=env, place=place)


def run_program(
    command: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    place: Path = ROOT,
) -> dict[str, Any]:
    """
    Run a program that prints one JSON object, and return that.

    :param place: Its working directory.
    :raises BenchmarkError: It failed, or took longer than *timeout* seconds.
    """
    # A client that obeys a proxy's settings would do so even for 127.0.0.1.
    ours = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    try:
        done = subprocess.run(
            command,
            cwd=place,
            env={**ours, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"not done within {timeout:g} seconds: {command}") from None
    if done.returncode:
        raise BenchmarkError(f"{command} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@attrs.frozen
class Server:
    """A child process that listens on a port of 127.0.0.1."""

    pid: int
    port: int

    def usage(self) -> Usage:
        """What the process has used so far."""
        return Usage.of(self.pid)


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    port: int,
    *,
    env: Mapping[str, str] | None = None,
    place: Path = ROOT,
) -> Iterator[Server]:
    """
    Start a program that will listen on *port*, and kill it at the end.

    :param place: Its working directory.
    """
    with tempfile.TemporaryFile() as output:
        guard = subprocess.Popen(
            ["sh", "-c", GUARD, "guard", *command],
            cwd=place,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        )
        assert guard.stdin is not None
        assert guard.stdout is not None
        try:
            server = Server(int(guard.stdout.readline()), port)
            if not _listens(server):
                output.seek(0)
                printed = output.read()[-4000:].decode("utf-8", "replace")
                raise BenchmarkError(f"{command} does not listen:\n{printed}")
            yield server
        finally:
            guard.stdin.close()
            guard.wait()
            guard.stdout.close()


def _listens(server: Server) -> bool:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and is_alive(server.pid):
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def is_alive(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# What a process uses


def _stat(pid: int) -> list[str]:
    # The name, in parentheses, may hold anything.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@attrs.frozen
class Usage:
    """CPU time so far, in seconds, and resident memory now, in bytes."""

    cpu: float
    resident: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """As the kernel counts it for another process."""
        fields = _stat(pid)
        ticks = int(fields[11]) + int(fields[12])
        resident = int(fields[21]) * resource.getpagesize()
        return cls(ticks / os.sysconf("SC_CLK_TCK"), resident)


def own_cpu() -> float:
    """CPU seconds that this process has used, all of its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def own_memory() -> int:
    """Resident bytes of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def own_descriptors() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def own_sockets() -> int:
    """Those of them that are sockets."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


# The sink


@attrs.frozen
class Sink:
    """Where requests go: a server that answers ``{}`` to everything."""

    port: int
    tls_port: int
    ca: str


@contextlib.contextmanager
def nginx_sink() -> Iterator[Sink]:
    """
    An nginx of our own, one process, plain HTTP and TLS.

    :raises NotInstalledError: There is no nginx.
    """
    program = nginx_program()
    with tempfile.TemporaryDirectory(prefix="txpusher-benchmark-") as name:
        place = Path(name)
        certify(place)
        sink = Sink(free_port(), free_port(), str(place / "ca.pem"))
        (place / "nginx.conf").write_text(_nginx_config(place, sink))
        command = [program, "-p", name, "-c", str(place / "nginx.conf"), "-e", "error.log"]
        with serving(command, sink.port):
            yield sink


def nginx_program() -> str:
    """
    The path of nginx.

    :raises NotInstalledError: There is none.
    """
    # Debian has it where only root looks for programs.
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not os.access(program, os.X_OK):
        raise NotInstalledError("nginx is not installed: apt-get install nginx")
    return program


def certify(place: Path) -> None:
    """Write a certificate for 127.0.0.1, its key, and the authority that signed it."""
    import trustme

    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(place / "ca.pem"))
    server.private_key_and_cert_chain_pem.write_to_path(str(place / "server.pem"))


def _nginx_config(place: Path, sink: Sink) -> str:
    paths = "\n".join(
        f"  {kind}_temp_path {place};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off;
master_process off;
worker_processes 1;
pid {place}/nginx.pid;
error_log {place}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
{paths}
  server {{
    listen 127.0.0.1:{sink.port};
    listen 127.0.0.1:{sink.tls_port} ssl;
    ssl_certificate {place}/server.pem;
    ssl_certificate_key {place}/server.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{ return 200 '{{}}'; }}
  }}
}}
"""


# Node.js


def node_modules(package: str) -> Path:
    """
    The ``node_modules`` directory that has *package*.

    :raises NotInstalledError: None has it, or there is no Node.js.
    """
    if shutil.which("node") is None:
        raise NotInstalledError("Node.js is not installed")
    for place in NODE_MODULES:
        if (place / package).is_dir():
            return place
    raise NotInstalledError(f"{package} is not installed: npm install --prefix tests/interop")


# Results


def median(values: Iterable[float]) -> float:
    """The middle one, the mean of the two in the middle."""
    return statistics.median(values)


def show_table(
    title: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, rst: bool
) -> None:
    """
    Print a table.

    :param rows: In reStructuredText.
    :param rst: Whether it is to be pasted into such; else numbers are to the right.
    """
    cells = [[cell if rst else cell.replace("``", "") for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in [header, *cells]) for place in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        aligned = [text.ljust(size) if rst else text.rjust(size) for text, size in others]
        return "  ".join([first[0].ljust(first[1]), *aligned]).rstrip()

    rule = "  ".join(("=" if rst else "-") * width for width in widths)
    print(f"\n{title}\n")
    if rst:
        print(rule)
    print(line(header), rule, sep="\n")
    for row in cells:
        print(line(row))
    if rst:
        print(rule)
    sys.stdout.flush()
