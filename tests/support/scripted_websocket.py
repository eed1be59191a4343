"""The server's end of a WebSocket, for the scripts of :mod:`tests.support.misbehaving`."""

from __future__ import annotations

import json
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)

from tests.support.misbehaving import Gone, Peer


class WebSocketPeer:
    """
    One connection that has been accepted.

    :ivar target: The path and the query of the handshake.
    :ivar headers: Its headers, names in lower case.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.target = ""
        self.headers: dict[bytes, bytes] = {}
        self._wsproto = WSConnection(ConnectionType.SERVER)
        self._events: list[Event] = []

    @classmethod
    async def accept(cls, peer: Peer) -> WebSocketPeer:
        """Read the handshake and accept it."""
        self = cls(peer)
        request = await self.event()
        assert isinstance(request, Request)
        self.target = request.target
        self.headers = dict(request.extra_headers)
        self.write(AcceptConnection())
        return self

    @classmethod
    async def greet(
        cls, peer: Peer, socket_id: str = "1.1", activity_timeout: float = 120
    ) -> WebSocketPeer:
        """Accept, and send the first message of the protocol."""
        self = await cls.accept(peer)
        data = {"socket_id": socket_id, "activity_timeout": activity_timeout}
        self.send("pusher:connection_established", json.dumps(data))
        return self

    async def event(self) -> Event:
        """The next event of wsproto."""
        while not self._events:
            self._wsproto.receive_data(await self.peer.some())
            self._events += self._wsproto.events()
        return self._events.pop(0)

    async def message(self) -> dict[str, Any]:
        """The next message, decoded; a close frame is as if the client were gone."""
        while True:
            event = await self.event()
            if isinstance(event, TextMessage):
                message: dict[str, Any] = json.loads(event.data)
                return message
            if isinstance(event, CloseConnection):
                # None where it answers the script's own.
                if self._wsproto.state is ConnectionState.REMOTE_CLOSING:
                    self.write(event.response())
                raise Gone

    def write(self, event: Event) -> None:
        """Send an event of wsproto."""
        self.peer.send(self._wsproto.send(event))

    def send(self, event: str, data: Any = None, channel: str | None = None) -> None:
        """Send a message."""
        message = {"event": event, "data": data, "channel": channel}
        self.text(json.dumps({k: v for k, v in message.items() if v is not None}))

    def text(self, text: str) -> None:
        """Send any text."""
        self.write(TextMessage(data=text))

    def ping(self) -> None:
        """Send a ping frame."""
        self.write(Ping(payload=b"hello"))

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame."""
        self.write(CloseConnection(code=code, reason=reason))

    async def serve(self) -> None:
        """Confirm every subscription and answer every ping, until the client goes."""
        while True:
            message = await self.message()
            if message["event"] == "pusher:subscribe":
                channel = message["data"]["channel"]
                self.send("pusher_internal:subscription_succeeded", "{}", channel)
            elif message["event"] == "pusher:ping":
                self.send("pusher:pong", {})
