"""A program that takes webhooks, and what the server tells of them."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from txpusher.server import Activity

#: In place of a status: 200, and a body that never ends.
ENDLESS = 0


class Receiver(Resource):
    """
    A program that takes webhooks.

    :ivar statuses: What it answers, 200 after that.
    :ivar headers: What it answers with each.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[int | None] = []
        self.headers: dict[bytes, bytes] = {}
        self.answer = b"thanks"
        self.bodies: list[bytes] = []
        self.requests: list[Any] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def render_GET(self, request: Any) -> bytes:
        """Where a redirect would lead to."""
        return b"a page"

    def render_POST(self, request: Any) -> Any:
        self.bodies.append(request.content.read())
        self.requests.append(request)
        for waiting in list(self._waiting):
            if waiting[0] <= len(self.bodies):
                self._waiting.remove(waiting)
                waiting[1].callback(None)
        status = self.statuses.pop(0) if self.statuses else 200
        if status is None:
            return NOT_DONE_YET
        if status == ENDLESS:
            request.write(b"the beginning of it")
            return NOT_DONE_YET
        request.setResponseCode(status)
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return self.answer

    async def wait(self, count: int) -> None:
        """Until so many requests have come."""
        from twisted.internet import reactor

        if len(self.bodies) < count:
            deferred: Deferred[None] = Deferred()
            self._waiting.append((count, deferred))
            await deferred.addTimeout(10, reactor)

    def events(self) -> list[dict[str, Any]]:
        return [event for body in self.bodies for event in json.loads(body)["events"]]


class Told:
    """What the sender reported, and a way to wait for more."""

    def __init__(self) -> None:
        self.activities: list[Activity] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def __call__(self, activity: Activity) -> None:
        self.activities.append(activity)
        for waiting in list(self._waiting):
            if waiting[0] <= len(self.activities):
                self._waiting.remove(waiting)
                waiting[1].callback(None)

    async def wait(self, count: int) -> None:
        from twisted.internet import reactor

        if len(self.activities) < count:
            deferred: Deferred[None] = Deferred()
            self._waiting.append((count, deferred))
            await deferred.addTimeout(10, reactor)
        # Who told it goes on with what it does next.
        await deferLater(reactor, 0)

    def kinds(self) -> list[str]:
        return [activity.kind for activity in self.activities]
