"""
Clients of the default app that are programs of Python, on behalf of a test: they block, and
so run in a process of their own.

``python -m tests.interop.default_app pysher|websocket PORT``: subscribes to ``room`` and
``private-room``, prints ``ready``, then each event as JSON, and ends after the event ``last``.
"""

from __future__ import annotations

import json
import sys
import threading
from functools import partial
from typing import Any

from tests.interop.servers import DEFAULT
from txpusher import Pusher

CHANNELS = ("room", "private-room")


def tell(value: Any) -> None:
    """Print a line for the test."""
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


def with_pysher(port: int) -> None:
    """Pysher, set up as its documentation has it, for a host of one's own."""
    import pysher

    ended = threading.Event()
    client = pysher.Pusher(
        DEFAULT.key, secret=DEFAULT.secret, secure=False, custom_host="127.0.0.1", port=port
    )
    subscribed = []

    def succeeded(_: Any) -> None:
        subscribed.append(1)
        if len(subscribed) == len(CHANNELS):
            tell("ready")

    def arrived(name: str, data: str) -> None:
        tell([name, "event", json.loads(data)])

    def on_connect(_: Any) -> None:
        for name in CHANNELS:
            channel = client.subscribe(name)
            channel.bind("pusher_internal:subscription_succeeded", succeeded)
            channel.bind("event", partial(arrived, name))
            channel.bind("last", lambda data: ended.set())

    client.connection.bind("pusher:connection_established", on_connect)
    client.connect()
    assert ended.wait(30)
    # Its thread may sleep on for up to 100 seconds on a socket that this one has closed.
    client.disconnect(timeout=1)


def with_websocket(port: int) -> None:
    """websocket-client, and the protocol by hand."""
    import websocket

    url = f"ws://127.0.0.1:{port}/app/{DEFAULT.key}?protocol=7&client=test&version=1"
    socket = websocket.create_connection(url, timeout=30)
    socket_id = json.loads(json.loads(socket.recv())["data"])["socket_id"]
    signer = Pusher(DEFAULT.app_id, DEFAULT.key, DEFAULT.secret)
    subscribed = 0
    for name in CHANNELS:
        data: dict[str, Any] = {"channel": name}
        if name.startswith("private-"):
            data.update(signer.authenticate(name, socket_id))
        socket.send(json.dumps({"event": "pusher:subscribe", "data": data}))
    while True:
        message = json.loads(socket.recv())
        if message["event"] == "pusher_internal:subscription_succeeded":
            subscribed += 1
            if subscribed == len(CHANNELS):
                tell("ready")
        elif message["event"] == "event":
            tell([message["channel"], "event", json.loads(message["data"])])
        elif message["event"] == "last":
            break
    socket.close()


if __name__ == "__main__":
    {"pysher": with_pysher, "websocket": with_websocket}[sys.argv[1]](int(sys.argv[2]))
