"""The examples that receive events, each run beside a server on this machine."""

from __future__ import annotations

import json

import pytest_twisted
from twisted.internet.defer import Deferred

from tests.support.waiting import pause, within
from txpusher import Subscriber

from .test_examples import PATIENCE, run
from .test_examples import server as server


def started(example, server, *arguments):
    """What an example will have printed."""
    return within(Deferred.fromCoroutine(run(example, server.url, *arguments)), PATIENCE)


@pytest_twisted.ensureDeferred
async def test_mirror_channel(server, tmp_path):
    path = tmp_path / "mirror"
    printed = started("mirror_channel.py", server, "private-orders", str(path), "3")
    await server.wait_for_subscription("private-orders", timeout=PATIENCE)
    pusher = server.pusher()
    for number in range(3):
        await pusher.trigger("private-orders", "created", {"number": number})
    assert "3 events written" in await printed
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(line["event"], line["data"]["number"]) for line in lines] == [
        ("created", 0),
        ("created", 1),
        ("created", 2),
    ]


@pytest_twisted.ensureDeferred
async def test_presence_worker(server):
    printed = started("presence_worker.py", server, "3")
    await server.wait_for_subscription("presence-lobby", timeout=PATIENCE)
    await pause(0.3)
    assert server.events == []
    visitor = Subscriber.for_pusher(server.pusher())
    await within(visitor.connect())
    lobby = await within(
        visitor.subscribe("presence-lobby", custom_data={"user_id": "visitor"})
    )
    messages = aiter(lobby)
    for _ in range(3):
        assert (await within(anext(messages))).event == "price"
    text = await printed
    await visitor.close()
    assert "nobody is there\nvisitor has come\n" in text
    assert text.endswith("3 prices published\n")


@pytest_twisted.ensureDeferred
async def test_receive_in_asyncio(server):
    printed = started("receive_in_asyncio.py", server, "news", "5")
    await server.wait_for_subscription("news", timeout=PATIENCE)
    await server.pusher().trigger_batch(
        [{"channel": "news", "name": "headline", "data": str(n)} for n in range(5)]
    )
    lines = (await printed).splitlines()
    assert lines == [*(f"headline: {n}" for n in range(5)), "5 events received"]


@pytest_twisted.ensureDeferred
async def test_events_for_a_thread(server):
    printed = started("events_for_a_thread.py", server, "jobs", "4")
    await server.wait_for_subscription("jobs", timeout=PATIENCE)
    await server.pusher().trigger_batch(
        [{"channel": "jobs", "name": "job", "data": n} for n in range(4)]
    )
    lines = (await printed).splitlines()
    assert lines == [*(f"job: {n}" for n in range(4)), "4 jobs done"]
