"""
Test code of one's own that publishes, with pytest and pytest-twisted.

    pip install 'txpusher[server]' pytest pytest-twisted
    pytest testing_with_pytest_twisted.py

The fixture ``channels_server`` comes with txpusher.
"""

# Much of Twisted has no annotations yet.
# mypy: allow-untyped-calls, disallow-untyped-decorators=False

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txpusher import Pusher, PusherError, ServerError
from txpusher.testing import FakePusher, RunningServer

missed: list[int] = []


def announce_order(pusher: Pusher, number: int) -> Deferred[object]:
    """The code under test: announce an order, and keep its number where that fails."""

    def keep(failure: Failure) -> None:
        failure.trap(PusherError)
        missed.append(number)

    return pusher.trigger("orders", "created", {"number": number}).addErrback(keep)


# Without a server: what was published, and what is done where that fails.


def test_order_is_announced_with_its_number() -> None:
    pusher = FakePusher()
    announce_order(pusher, 7)
    pusher.assert_sent("orders", "created", data={"number": 7})


def test_order_that_cannot_be_announced_is_kept() -> None:
    pusher = FakePusher()
    pusher.fail_next(ServerError("out of order", status=500, maybe_delivered=True))
    announce_order(pusher, 8)
    assert pusher.sent == []
    assert missed == [8]


# With a server that speaks the protocol, in this process.


@pytest_twisted.ensureDeferred
async def test_order_is_accepted_by_a_server(channels_server: RunningServer) -> None:
    await announce_order(channels_server.pusher(), 7)
    event = await channels_server.wait_for_event("orders", "created")
    assert event.data == {"number": 7}


@pytest_twisted.ensureDeferred
async def test_wait_says_what_did_come(channels_server: RunningServer) -> None:
    await announce_order(channels_server.pusher(), 7)
    with pytest.raises(AssertionError, match="accepted so far: 'created' on 'orders'"):
        await channels_server.wait_for_event("invoices", timeout=0.1)
