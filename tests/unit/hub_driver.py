"""Drives a hub as a server would, with lists in place of sockets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.support.credentials import KEY, SECRET
from txpusher._protocol import signing
from txpusher.server import App
from txpusher.server._core.hub import Hub, Publication
from txpusher.server._core.outputs import Activity, Close, Notify, Output, Send, Wake
from txpusher.server._core.state import Connection

#: Seconds since the epoch at which each hub begins.
WALL = 1_700_000_000.0


class Browser:
    """One client: what it was sent, and how it was ended."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.messages: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.connection: Connection | None = None

    @property
    def socket_id(self) -> str:
        assert self.connection is not None
        return self.connection.socket_id

    def got(self, event: str) -> list[dict[str, Any]]:
        """The messages with this event, their data decoded where it is JSON in a string."""
        return [_decoded(m) for m in self.messages if m["event"] == event]

    def send(self, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        hub = self.driver.hub
        self.driver.carry_out(hub.receive(self.connection, text, self.driver.now))

    def subscribe(self, channel: str, member: dict[str, Any] | None = None) -> None:
        data: dict[str, Any] = {"channel": channel}
        channel_data = None if member is None else json.dumps(member)
        if channel_data is not None:
            data["channel_data"] = channel_data
        if channel.startswith(("private-", "presence-")):
            signature = signing.channel_signature(SECRET, self.socket_id, channel, channel_data)
            data["auth"] = f"{KEY}:{signature}"
        self.send({"event": "pusher:subscribe", "data": data})

    def unsubscribe(self, channel: str) -> None:
        self.send({"event": "pusher:unsubscribe", "data": {"channel": channel}})

    def sign_in(self, user_id: Any, **fields: Any) -> None:
        user_data = json.dumps({"id": user_id, **fields})
        auth = f"{KEY}:{signing.user_signature(SECRET, self.socket_id, user_data)}"
        self.send({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}})

    def leave(self) -> None:
        self.driver.carry_out(self.driver.hub.disconnect(self.connection, self.driver.now))


class Driver:
    """A hub with one app, and what became of its outputs."""

    def __init__(self, max_connections: int | None = None, **app: Any) -> None:
        self.app = App(
            "3", KEY, SECRET, **{"webhooks": ["http://localhost/"], "webhook_grace": 0, **app}
        )
        self.now = 1000.0
        self.hub = Hub([self.app], max_connections, epoch=WALL - self.now)
        self.browsers: list[Browser] = []
        self.notified: list[dict[str, Any]] = []
        self.activities: list[Activity] = []
        self.wakes: list[float] = []

    def browser(self, key: str = KEY, protocol: str | None = "7") -> Browser:
        browser = Browser(self)
        self.browsers.append(browser)
        browser.connection, outputs = self.hub.connect(browser, key, protocol, self.now)
        self.carry_out(outputs)
        return browser

    def publish(self, channel: str, name: str = "e", data: str = "d", **options: Any) -> None:
        publication = Publication(name, [channel], data, **options)
        self.carry_out(self.hub.publish(self.state, [publication], self.now))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out(self.hub.tick(self.now))

    @property
    def state(self) -> Any:
        return self.hub.app("3")

    def webhooks(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.notified if event["name"] == name]

    def carry_out(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                browsers: Iterable[Any] = output.to
                for browser in browsers:
                    assert browser.closed is None, "sent to a connection that has ended"
                    browser.messages.append(json.loads(output.message))
            elif isinstance(output, Close):
                peer: Any = output.peer
                assert peer.closed is None
                peer.closed = (output.code, output.reason)
            elif isinstance(output, Notify):
                self.notified.append(dict(output.event))
            elif isinstance(output, Wake):
                self.wakes.append(output.at)
            else:
                self.activities.append(output)


def _decoded(message: dict[str, Any]) -> dict[str, Any]:
    data = message.get("data")
    if isinstance(data, str):
        try:
            return {**message, "data": json.loads(data)}
        except ValueError:
            pass
    return message
