"""
Servers that close connections after a short idle time, and a record of what reached them.

    python -m tests.support.idle_closer DIRECTORY IDLE

One process: a scripted server and, where it is installed, nginx, each over plain HTTP and over
TLS, each behind a relay.  Prints one line of JSON with the ports; when standard input ends, one
line with the record.  The relay sees each byte that has left the client, those included
that come after the server has closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import trustme

#: Bytes that a client may send after a server's last word that are no request: a close_notify.
NO_REQUEST = 100

#: A server's last word where it is no reply: the same.
NO_REPLY = 31

_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.I)
_NUMBER = re.compile(rb"number-([0-9]+)")


@attrs.define
class Record:
    """
    The record of one server.

    :ivar arrived: The numbers of all events that were read whole, in order.
    :ivar unanswered: How many connections ended with a request of which bytes had come and
        to which no byte was answered.
    """

    arrived: list[int] = attrs.field(factory=list)
    unanswered: int = 0


class Scripted:
    """Answers requests, and closes a connection that was idle for a while."""

    def __init__(self, record: Record, idle: float | None) -> None:
        self._record = record
        self._idle = idle

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            while True:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self._idle)
                found = _LENGTH.search(head)
                body = await reader.readexactly(int(found[1]) if found else 0)
                self._record.arrived.extend(map(int, _NUMBER.findall(body)))
                writer.write(_REPLY)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


class Relay:
    """
    Passes bytes on, both ways, and goes on reading where the server has closed.

    :param port: The port of the server.
    """

    def __init__(self, record: Record, port: int) -> None:
        self._record = record
        self._port = port
        # The event loop keeps no task alive by itself.
        self._tasks: set[asyncio.Task[Any] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        self._tasks.add(asyncio.current_task())
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        unanswered = 0

        async def upstream() -> None:
            nonlocal unanswered
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    unanswered += len(data)
                    with contextlib.suppress(OSError):
                        forth.write(data)
            forth.close()

        async def downstream() -> None:
            nonlocal unanswered
            with contextlib.suppress(OSError):
                while data := await back.read(65536):
                    if len(data) > NO_REPLY:
                        unanswered = 0
                    writer.write(data)
            with contextlib.suppress(OSError):
                writer.write_eof()

        sending = asyncio.ensure_future(upstream())
        await downstream()
        await asyncio.wait([sending], timeout=1)
        sending.cancel()
        writer.close()
        self._record.unanswered += unanswered > NO_REQUEST


async def listen(serve: Any, context: ssl.SSLContext | None = None) -> int:
    """Listen on a free port, and return the port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, backlog=1000)
    return int(server.sockets[0].getsockname()[1])


def free_ports(number: int) -> list[int]:
    """Return ports on which nothing listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def nginx_config(place: Path, ports: list[int], recorders: tuple[int, int], idle: float) -> str:
    """
    Return the settings of an nginx that listens on two *ports*, on the second with TLS.

    :param recorders: The ports that it passes requests on to, which record them.
    """
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"  {kind}_temp_path {place};" for kind in kinds)
    return f"""
daemon off;
master_process off;
pid {place}/nginx.pid;
error_log {place}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_timeout {idle * 1000:.0f}ms;
{paths}
  server {{
    listen 127.0.0.1:{ports[0]};
    location / {{ proxy_pass http://127.0.0.1:{recorders[0]}; }}
  }}
  server {{
    listen 127.0.0.1:{ports[1]} ssl;
    ssl_certificate {place}/server.pem;
    ssl_certificate_key {place}/server.pem;
    location / {{ proxy_pass http://127.0.0.1:{recorders[1]}; }}
  }}
}}
"""


async def main(place: Path, idle: float) -> None:
    """Run the servers until standard input ends."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(place / "ca.pem"))
    issued.private_key_and_cert_chain_pem.write_to_path(str(place / "server.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    records = {name: Record() for name in ("scripted", "scripted TLS", "nginx", "nginx TLS")}
    behind = {
        "scripted": await listen(Scripted(records["scripted"], idle).serve),
        "scripted TLS": await listen(Scripted(records["scripted TLS"], idle).serve, context),
    }
    nginx = None
    # Debian has nginx where only root looks for programs.
    program = Path("/usr/sbin/nginx")
    if program.exists():
        recorders = (
            await listen(Scripted(records["nginx"], None).serve),
            await listen(Scripted(records["nginx TLS"], None).serve),
        )
        ports = free_ports(2)
        (place / "nginx.conf").write_text(nginx_config(place, ports, recorders, idle))
        nginx = subprocess.Popen(
            [program, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", "error.log"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        behind |= {"nginx": ports[0], "nginx TLS": ports[1]}
        for _ in range(500):
            with contextlib.suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", ports[1]))[1].close()
                break
            await asyncio.sleep(0.01)
    relays = {
        name: await listen(Relay(records[name], port).serve) for name, port in behind.items()
    }
    print(json.dumps(relays), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    # Connections that are ending are still being recorded.
    await asyncio.sleep(1.2)
    if nginx is not None:
        nginx.kill()
        nginx.wait()
    print(json.dumps({name: attrs.asdict(records[name]) for name in behind}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
