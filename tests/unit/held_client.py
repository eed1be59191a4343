"""A treq client whose replies a test gives, when and as it likes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers

from tests.support.credentials import KEY, SECRET
from txpusher import Pusher, RetryPolicy


class _Response:
    """The reply to one request."""

    headers = Headers()

    def __init__(self, code: int, body: bytes) -> None:
        self.code = code
        self._body = body

    def deliverBody(self, protocol: Protocol) -> None:
        protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))


class Held:
    """
    One batch on its way.

    :ivar events: The events as they are on the wire.
    :ivar size: The bytes of the body.
    """

    def __init__(self, client: HeldClient, body: bytes) -> None:
        self._client = client
        self.size = len(body)
        self.events: list[dict[str, Any]] = json.loads(body)["batch"]
        self.reply: Deferred[_Response] = Deferred()

    @property
    def names(self) -> list[str]:
        return [event["name"] for event in self.events]

    def answer(self, status: int = 200, value: Any = None) -> None:
        """Reply with *value* as JSON, ``{}`` without one."""
        self._client.held.remove(self)
        body = json.dumps({} if value is None else value).encode()
        self.reply.callback(_Response(status, body))

    def lose(self) -> None:
        """Lose the connection in place of a reply."""
        self._client.held.remove(self)
        self.reply.errback(ConnectionLost())


class HeldClient:
    """
    What has the interface of a treq client.

    :ivar held: The batches on their way, oldest first.
    :ivar sent: All there have been.
    :ivar at_once: Where it is set, called with each before :meth:`request` returns.
    """

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.sent: list[Held] = []
        self.at_once: Callable[[Held], None] | None = None

    def request(self, method: str, url: str, *, data: bytes, **options: Any) -> Deferred[Any]:
        batch = Held(self, data)
        self.held.append(batch)
        self.sent.append(batch)
        if self.at_once is not None:
            self.at_once(batch)
        return batch.reply

    @property
    def names(self) -> list[list[str]]:
        """The events of each batch."""
        return [batch.names for batch in self.sent]


def held_pusher(**options: Any) -> tuple[Pusher, HeldClient]:
    """A client that does no I/O and tries nothing twice, and what it sends with."""
    client = HeldClient()
    options = {"retry": RetryPolicy(max_retries=0), "reactor": Clock(), **options}
    return Pusher("3", KEY, SECRET, http_client=client, **options), client
