"""
Stops a publishing process with SIGSTOP, goes on with SIGCONT, and looks whether it fails.

    python -m tests.support.standstill [--times N] [--seconds S] [--processes N]

The server forgets connections, as a firewall does: what comes over one that was idle for
longer than the client's ``keep_alive_timeout`` is ignored.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import uniform

ROOT = Path(__file__).resolve().parents[2]

#: Seconds, in the settings of the client.
KEEP_ALIVE = 0.5
TIMEOUT = 0.5

#: The client: triggers until standard input ends, and prints each outcome.
PROGRAM = f"""
import sys, threading
from twisted.internet.task import deferLater, react
from txpusher import Pusher, RetryPolicy

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()

async def main(reactor):
    pusher = Pusher.from_url(
        "http://key:secret@127.0.0.1:" + sys.argv[1] + "/apps/3",
        keep_alive_timeout={KEEP_ALIVE}, timeout={TIMEOUT}, connect_timeout={TIMEOUT},
        retry=RetryPolicy(max_retries=0))
    while not ended.is_set():
        try:
            await pusher.trigger("orders", "created", "x")
        except Exception as error:
            print("failed:", repr(error), flush=True)
        else:
            print("ok", flush=True)
        await deferLater(reactor, 0.01)
    await pusher.close()

react(main)
"""


class ForgetfulServer:
    """A server in threads, with a reply that takes a moment."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A new connection is remembered: it is the client that may be late.
        received, last = b"", float("inf")
        with connection:
            try:
                while data := connection.recv(65536):
                    if time.monotonic() - last > 2 * KEEP_ALIVE:
                        continue
                    received += data
                    if b"\r\n\r\n" in received and received.endswith(b"}"):
                        received, last = b"", time.monotonic()
                        time.sleep(0.01)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            except OSError:
                return

    def stop(self) -> None:
        """Take no more connections."""
        self._listener.close()


def stand_still(times: int, seconds: float, processes: int = 1) -> list[str]:
    """
    Stop a client for *seconds*, *times* in all, and return what it printed.

    :param processes: How many clients to spread the stops over, at the same time.
    """
    server = ForgetfulServer()
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(server.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(processes)
    ]
    lines: list[str] = []

    def stop_and_go(client: subprocess.Popen[str], stops: int) -> None:
        assert client.stdout is not None
        lines.append(client.stdout.readline().strip())
        for _ in range(stops):
            # Wherever the client is: connecting, waiting for the reply, between two requests.
            time.sleep(uniform(0.05, 0.1))
            client.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            client.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        lines.extend(client.communicate("")[0].splitlines())

    threads = [
        threading.Thread(target=stop_and_go, args=(client, -(-times // processes)))
        for client in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()
    return lines


def main() -> int:
    """Stop and go, print the figures, and return 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.standstill")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--processes", type=int, default=5)
    options = parser.parse_args()
    lines = stand_still(options.times, options.seconds, options.processes)
    failures = [line for line in lines if line != "ok"]
    print(f"{len(lines)} triggers, {len(failures)} failures", *failures, sep="\n")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
