"""
The process of a :class:`~txpusher.testing.BlockingRunningServer`: a server at two pipes.

``python -m txpusher._testing_child`` reads lines from standard input and writes lines to
standard output, each a JSON object:

=========  ==============================================================================
in         the first line: ``{"app": the App, pickled, in base64}``; then any number of
           ``{"sync": number}``
out        ``{"listening": {"host": ..., "port": ..., "url": ...}}`` or ``{"failed": [type,
           text]}``; then ``{"activity": {field: value}}`` for each activity of the server,
           and ``{"synced": number}`` when everything before the ``sync`` has been written
=========  ==============================================================================

The end of standard input ends the process: the kernel closes the pipe however the process
at the other end has died.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
import sys
import threading
from typing import Any

import attrs

from txpusher.server import Activity, App, ChannelsServer

#: Seconds that the server has to end its connections, before the process ends without it.
STOP_TIMEOUT = 5.0


class Child:
    """The server, and the two pipes."""

    def __init__(self, output: int, reactor: Any) -> None:
        self._output = output
        self._reactor = reactor
        self._server: ChannelsServer | None = None

    async def start(self) -> None:
        """Listen on a free port, and say where or why not."""
        try:
            # The other end of the pipe is the process that made this one.
            settings = json.loads(sys.stdin.buffer.readline())
            app: App = pickle.loads(base64.b64decode(settings["app"]))  # noqa: S301
            server = ChannelsServer([app])
            server.add_observer(self._tell)
            await server.listen(reactor=self._reactor)
        except Exception as error:
            self._write({"failed": [type(error).__name__, str(error)]})
            self._reactor.stop()
            return
        self._server = server
        place = {"host": server.host, "port": server.port, "url": server.url(app.id)}
        self._write({"listening": place})
        threading.Thread(target=self._read, daemon=True).start()

    def _tell(self, activity: Activity) -> None:
        self._write({"activity": attrs.asdict(activity)})

    def _write(self, message: dict[str, Any]) -> None:
        """Write one line, the whole of it, unless nobody reads any more."""
        line = json.dumps(message).encode("ascii") + b"\n"
        try:
            while line:
                line = line[os.write(self._output, line) :]
        except OSError:
            self._stop()

    def _read(self) -> None:
        """Read lines to the end of standard input, in a thread of its own."""
        for line in sys.stdin.buffer:
            self._reactor.callFromThread(self._obey, json.loads(line))
        # Where the reactor is stuck, the process ends all the same.
        last = threading.Timer(STOP_TIMEOUT, os._exit, [1])
        last.daemon = True
        last.start()
        self._reactor.callFromThread(self._stop)

    def _obey(self, message: dict[str, Any]) -> None:
        if "sync" in message:
            self._write({"synced": message["sync"]})

    def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop().addBoth(lambda _: self._reactor.stop())


def main() -> None:
    """Serve until standard input ends."""
    # Ctrl-C in a terminal is meant for the suite, which stops the server when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The lines have a file of their own: nothing that prints gets between them.
    output = os.dup(1)
    os.dup2(2, 1)
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    running: Any = reactor
    child = Child(output, running)
    running.callWhenRunning(lambda: Deferred.fromCoroutine(child.start()))
    running.run(installSignalHandlers=False)


if __name__ == "__main__":
    main()
