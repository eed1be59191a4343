"""
A WebSocket client that subscribes to channels, for the demo and for tests.

It does what a browser's library would, and no more: no reconnection, no state
but what has come in.  Needs ``wsproto``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.websocket import WebSocketClientEndpoint, WebSocketTransport

from txpusher.errors import HTTPError


@attrs.frozen
class Message:
    """A message from the server; ``data`` is decoded where it is JSON in a string."""

    event: str
    channel: str | None
    data: Any


class Subscriber:
    """
    One connection, made by :meth:`connect`.

    :ivar messages: All that came in.
    :ivar on_message: Called with each.
    :ivar lost: Fires with None once the connection is gone.
    """

    def __init__(self, on_message: Callable[[Message], None] | None = None) -> None:
        self.messages: list[Message] = []
        self.on_message = on_message
        self.lost: Deferred[None] = Deferred()
        self._open = True
        self._text = ""
        self._transport: WebSocketTransport | None = None
        self._waiting: list[tuple[str, str | None, Deferred[Message]]] = []

    @classmethod
    async def connect(
        cls,
        reactor: Any,
        host: str,
        port: int,
        key: str,
        on_message: Callable[[Message], None] | None = None,
    ) -> Subscriber:
        """A connection to the app with *key*, once the server has greeted it."""
        subscriber = cls(on_message)
        netloc = f"[{host}]" if ":" in host else host
        url = f"ws://{netloc}:{port}/app/{key}?protocol=7&client=txpusher&version=1"
        await WebSocketClientEndpoint.new(reactor, url).connect(_Factory(subscriber))
        await subscriber.wait("pusher:connection_established")
        return subscriber

    @property
    def socket_id(self) -> str:
        """Who this connection is to the server."""
        socket_id: str = self.messages[0].data["socket_id"]
        return socket_id

    def send(self, event: str, data: Any, channel: str | None = None) -> None:
        """Send a message."""
        fields = {"event": event, "data": data}
        if channel is not None:
            fields["channel"] = channel
        if self._transport is not None and self._open:
            self._transport.sendTextMessage(json.dumps(fields))

    def subscribe(
        self, channel: str, auth: Mapping[str, str] | None = None
    ) -> Deferred[Message]:
        """
        Subscribe to a channel.

        :param auth: What ``Pusher.authenticate`` gives for it.
        :return: Fires once the server has confirmed it.
        """
        self.send("pusher:subscribe", {"channel": channel, **(auth or {})})
        return self.wait("pusher_internal:subscription_succeeded", channel)

    def wait(self, event: str, channel: str | None = None) -> Deferred[Message]:
        """
        The first message with this event, which may have come already.

        :return: Fires with the :class:`Message`; fails with an HTTPError where
            the connection is lost before.
        """
        result: Deferred[Message] = Deferred()
        self._waiting.append((event, channel, result))
        for message in self.messages:
            if message.event == event and channel in (None, message.channel):
                self._waiting.pop()
                result.callback(message)
                break
        else:
            if not self._open:
                self._fail_waiting()
        return result

    def close(self) -> Deferred[None]:
        """End the connection; fires with None once it is gone."""
        if self._transport is not None and self._open:
            self._transport.loseConnection()
        return self.lost

    # Twisted's WebSocketProtocol

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        self._transport = transport

    def negotiationFinished(self) -> None:
        """Nothing to do: the server speaks first."""

    def textMessageReceived(self, message: str) -> None:
        # Before version 26.10 Twisted hands a message over in the pieces in which
        # it came; no beginning of an object is JSON.
        self._text += message
        try:
            fields = json.loads(self._text)
        except ValueError:
            return
        self._text = ""
        data = fields.get("data")
        if isinstance(data, str):
            with suppress(ValueError):
                data = json.loads(data)
        got = Message(fields["event"], fields.get("channel"), data)
        self.messages.append(got)
        for waiting in list(self._waiting):
            event, channel, result = waiting
            if got.event == event and channel in (None, got.channel):
                self._waiting.remove(waiting)
                result.callback(got)
        if self.on_message is not None:
            self.on_message(got)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """The protocol has none."""

    def pongReceived(self, payload: bytes) -> None:
        """Never asked for."""

    def connectionLost(self, reason: Failure) -> None:
        self._open = False
        self._fail_waiting()
        self.lost.callback(None)

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for event, _, result in waiting:
            result.errback(HTTPError(f"the connection was lost before {event} came"))


class _Factory:
    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber

    def buildProtocol(self, url: str) -> Subscriber:
        return self._subscriber
