"""
Test code of one's own that publishes: with a fake, with a stub, and with a real server.

Runs with trial, or by itself::

    python testing_your_code.py
"""

# Much of Twisted has no annotations yet.
# mypy: allow-untyped-calls

from __future__ import annotations

import json
from typing import Any
from unittest import main

from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txpusher import ConfigurationError, Pusher, RateLimitedError, RetryPolicy, TriggerReply
from txpusher.testing import FakePusher, RunningServer


def announce_order(pusher: Pusher, number: int) -> Deferred[TriggerReply]:
    """The code under test."""
    return pusher.trigger("orders", "created", {"number": number})


class FakeTests(SynchronousTestCase):
    """No socket, no waiting and no requests: what was published is all that matters."""

    def test_an_order_is_announced(self) -> None:
        pusher = FakePusher()
        self.successResultOf(announce_order(pusher, 7))
        pusher.assert_sent("orders", "created", data={"number": 7})

    def test_a_failure_is_handed_on(self) -> None:
        pusher = FakePusher()
        pusher.fail_next(RateLimitedError("slow down", status=429))
        self.failureResultOf(announce_order(pusher, 7), RateLimitedError)


class StubbedTests(SynchronousTestCase):
    """The requests and the retries too: ``treq.testing`` answers, and time is a Clock."""

    def setUp(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.status = 200
        self.clock = Clock()
        self.pusher = Pusher(
            "3",
            "key",
            "secret",
            http_client=StubTreq(StringStubbingResource(self.answer)),
            reactor=self.clock,
            retry=RetryPolicy(max_retries=1),
        )

    def answer(
        self, method: bytes, url: str, params: Any, headers: Any, data: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        self.requests.append(json.loads(data))
        return self.status, {}, b"{}"

    def test_an_order_is_announced(self) -> None:
        self.successResultOf(announce_order(self.pusher, 7))
        [request] = self.requests
        assert request["channels"] == ["orders"]
        assert json.loads(request["data"]) == {"number": 7}

    def test_it_gives_up_after_one_retry(self) -> None:
        self.status = 429
        announced = announce_order(self.pusher, 7)
        self.assertNoResult(announced)
        self.clock.advance(1.0)
        self.failureResultOf(announced, RateLimitedError)
        assert len(self.requests) == 2


class ServerTests(TestCase):
    """A server in this process that speaks the protocol; needs ``txpusher[server]``."""

    async def start(self) -> RunningServer:
        try:
            server = await RunningServer.start()
        except ConfigurationError as error:
            self.skipTest(str(error))
        self.addCleanup(server.stop)
        return server

    async def test_an_order_is_announced(self) -> None:
        server = await self.start()
        await announce_order(server.pusher(), 7)
        event = await server.wait_for_event("orders", "created")
        assert event.data == {"number": 7}


if __name__ == "__main__":
    main()
