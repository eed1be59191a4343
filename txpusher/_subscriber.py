"""
A WebSocket client that subscribes to channels, for the demo and for tests.

The client does what a browser's library would, and no more: it does not reconnect, and its
only state is what has come in.  Needs ``wsproto``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from txpusher.errors import HTTPError


@attrs.frozen
class Message:
    """A message from the server; ``data`` is decoded where it is JSON in a string."""

    event: str
    channel: str | None
    data: Any


class Subscriber(Protocol):
    """
    One WebSocket connection, made by :meth:`connect`.

    :ivar messages: Every :class:`Message` that has come in.
    :ivar on_message: Called with each message.
    :ivar lost: Fires with None once the connection is gone.
    """

    def __init__(
        self, host: str, target: str, on_message: Callable[[Message], None] | None = None
    ) -> None:
        self.messages: list[Message] = []
        self.on_message = on_message
        self.lost: Deferred[None] = Deferred()
        self._websocket = WSConnection(ConnectionType.CLIENT)
        self._request = Request(host=host, target=target)
        self._accepted: Deferred[None] = Deferred()
        self._open = True
        self._text = ""
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
        """
        Connect to the app with *key*, and return once the server has greeted.

        :raises HTTPError: The server accepts no WebSocket.
        """
        netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        target = f"/app/{key}?protocol=7&client=txpusher&version=1"
        subscriber = cls(netloc, target, on_message)
        factory = Factory.forProtocol(lambda: subscriber)
        factory.noisy = False
        await HostnameEndpoint(reactor, host, port).connect(factory)
        await subscriber._accepted
        await subscriber.wait("pusher:connection_established")
        return subscriber

    @property
    def socket_id(self) -> str:
        """The id that the server gave to this connection."""
        socket_id: str = self.messages[0].data["socket_id"]
        return socket_id

    def send(self, event: str, data: Any, channel: str | None = None) -> None:
        """Send a message."""
        fields = {"event": event, "data": data}
        if channel is not None:
            fields["channel"] = channel
        self._write(TextMessage(json.dumps(fields)))

    def subscribe(
        self, channel: str, auth: Mapping[str, str] | None = None
    ) -> Deferred[Message]:
        """
        Subscribe to a channel.

        :param auth: What ``Pusher.authenticate`` gives for it.
        :return: Fires with the :class:`Message` by which the server confirms the subscription.
        """
        self.send("pusher:subscribe", {"channel": channel, **(auth or {})})
        return self.wait("pusher_internal:subscription_succeeded", channel)

    def wait(self, event: str, channel: str | None = None) -> Deferred[Message]:
        """
        Wait for the first message with this event, which may have come already.

        :return: Fires with the :class:`Message`; fails with an HTTPError where
            the connection is lost first.
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
        """End the connection; the Deferred fires with None once the connection is gone."""
        self._write(CloseConnection(1000))
        return self.lost

    def _write(self, event: Event) -> None:
        """Send *event*, unless the connection is ending."""
        if self._open and self.transport is not None:
            with suppress(LocalProtocolError):
                self.transport.write(self._websocket.send(event))

    # Twisted's Protocol

    def connectionMade(self) -> None:
        self._write(self._request)

    def dataReceived(self, data: bytes) -> None:
        with suppress(LocalProtocolError):
            try:
                self._websocket.receive_data(data)
            except RemoteProtocolError:
                self._refused()
            for event in self._websocket.events():
                self._handle(event)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open = False
        if not self._accepted.called:
            self._accepted.errback(HTTPError("the connection was lost in the handshake"))
        self._fail_waiting()
        self.lost.callback(None)

    def _handle(self, event: Event) -> None:
        if isinstance(event, AcceptConnection):
            self._accepted.callback(None)
        elif isinstance(event, RejectConnection):
            self._refused()
        elif isinstance(event, TextMessage):
            self._text += event.data
            if event.message_finished:
                text, self._text = self._text, ""
                self._received(text)
        elif isinstance(event, Ping):
            self._write(event.response())
        elif isinstance(event, CloseConnection):
            self._write(event.response())
            self._close()

    def _refused(self) -> None:
        if not self._accepted.called:
            self._accepted.errback(HTTPError("the server accepts no WebSocket here"))
        self._close()

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def _received(self, text: str) -> None:
        fields = json.loads(text)
        data = fields.get("data")
        if isinstance(data, str):
            with suppress(ValueError):
                data = json.loads(data)
        message = Message(fields["event"], fields.get("channel"), data)
        self.messages.append(message)
        for waiting in list(self._waiting):
            event, channel, result = waiting
            if message.event == event and channel in (None, message.channel):
                self._waiting.remove(waiting)
                result.callback(message)
        if self.on_message is not None:
            self.on_message(message)

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for event, _, result in waiting:
            result.errback(HTTPError(f"the connection was lost before {event} came"))
