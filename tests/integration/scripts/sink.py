"""
A server in a process of its own: answers every request, fast.

Prints its port.  Arguments: what to do with a connection after a reply,
``keep``, ``close`` it, or ``announce`` that and close it; then the file that
the data of each event read is written to.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import Any

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\n{}"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
DATA = re.compile(rb'"data": *"(\d+)"')


class Sink(asyncio.Protocol):
    reply: bytes
    close: bool
    log: int

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while not self.transport.is_closing():
            head, end, rest = self.received.partition(b"\r\n\r\n")
            if not end:
                return
            length = int(LENGTH.findall(head)[0])
            if len(rest) < length:
                return
            os.write(self.log, DATA.findall(rest)[0] + b"\n")
            self.received = rest[length:]
            self.transport.write(self.reply)
            if self.close:
                self.transport.close()


async def main(what: str, path: str) -> None:
    Sink.reply = REPLY % (b"Connection: close\r\n" if what == "announce" else b"")
    Sink.close = what != "keep"
    Sink.log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main(*sys.argv[1:]))
