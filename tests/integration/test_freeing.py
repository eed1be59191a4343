"""What is over is freed at once: nothing waits for the garbage collector to find it."""

from __future__ import annotations

import gc
from collections import Counter

import pytest
import pytest_twisted
from twisted.internet.defer import DeferredList

from tests.support.misbehaving import OK, answering
from txpusher import BatchPublisher

EVENTS = 50


@pytest.fixture
def uncollected():
    """Counts the objects of the package's own classes, with the collector at rest."""

    def count():
        kinds = [type(thing) for thing in gc.get_objects()]
        return Counter(kind for kind in kinds if str(kind.__module__).startswith("txpusher."))

    gc.collect()
    gc.disable()
    yield count
    gc.enable()


@pytest.mark.parametrize("kind", ["Pusher", "BatchPublisher"])
@pytest_twisted.ensureDeferred
async def test_an_event_leaves_nothing_to_collect(serve, connect, uncollected, kind):
    pusher = connect(serve(answering(OK)))
    publisher = pusher if kind == "Pusher" else BatchPublisher(pusher)
    await _publish(publisher)
    before = uncollected()
    await _publish(publisher)
    left = uncollected() - before
    assert sum(left.values()) < EVENTS / 2, left


async def _publish(publisher):
    sent = [publisher.trigger(f"c{number}", "e", "x") for number in range(EVENTS)]
    await DeferredList(sent, consumeErrors=True)
