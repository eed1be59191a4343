"""A page in a browser, as far as a server notices: a WebSocket with blocking calls."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from typing import Any
from urllib.parse import urlencode

from tests.support.raw_client import TEXT, frame, handshake
from txpusher._protocol import signing
from txpusher.server import App


def publish(server: Any, channel: str, name: str, data: Any) -> None:
    """Publish an event with nothing but Python's own library, in any thread."""
    app: App = server.app
    path = f"/apps/{app.id}/events"
    body = json.dumps({"channels": [channel], "name": name, "data": json.dumps(data)}).encode()
    query = signing.signed_params(app.key, app.secret, "POST", path, {}, body, int(time.time()))
    url = f"http://{server.host}:{server.port}{path}?{urlencode(query)}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.read() == b"{}"


class Page:
    """
    One connection to a server in a test.

    :ivar messages: All that came in and was read.
    """

    def __init__(self, server: Any) -> None:
        self._app: App = server.app
        self.messages: list[dict[str, Any]] = []
        self._socket = socket.create_connection((server.host, server.port), timeout=10)
        self._socket.sendall(handshake(f"/app/{self._app.key}?protocol=7"))
        self._file = self._socket.makefile("rb")
        while self._file.readline().strip():
            pass
        hello = self.read("pusher:connection_established")
        self.socket_id: str = json.loads(hello["data"])["socket_id"]

    def read(self, event: str) -> dict[str, Any]:
        """Return the next message with this event."""
        while True:
            first, size = self._file.read(2)
            if size == 126:
                size = int.from_bytes(self._file.read(2), "big")
            payload = self._file.read(size)
            assert first == 0x80 | TEXT, payload
            self.messages.append(json.loads(payload))
            if self.messages[-1]["event"] == event:
                return self.messages[-1]

    def send(self, event: str, data: Any, **fields: str) -> None:
        message = {"event": event, "data": data, **fields}
        self._socket.sendall(frame(TEXT, json.dumps(message).encode()))

    def subscribe(self, channel: str) -> None:
        data = {"channel": channel}
        if channel.startswith("private-"):
            signature = signing.channel_signature(
                self._app.secret, self.socket_id, channel, None
            )
            data["auth"] = f"{self._app.key}:{signature}"
        self.send("pusher:subscribe", data)

    def sign_in(self, user_id: str) -> None:
        text = json.dumps({"id": user_id})
        signature = signing.user_signature(self._app.secret, self.socket_id, text)
        auth = f"{self._app.key}:{signature}"
        self.send("pusher:signin", {"auth": auth, "user_data": text})

    def close(self) -> None:
        self._file.close()
        self._socket.close()
