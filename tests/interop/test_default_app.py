"""Other people's libraries with the app that ``txpusher serve`` has, unchanged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import pytest_twisted

from tests.support.process import Process
from tests.support.waiting import until

from . import servers
from .requirements import import_or_skip
from .test_server_sdks import NodeSdk, PythonSdk

ROOT = Path(__file__).parents[2]


@pytest_twisted.async_yield_fixture(scope="module")
async def server():
    async with servers.default_app() as address:
        yield address


@pytest.mark.parametrize("library", ["pusher-js-4", "pusher-js-7", "pusher-js"])
class TestPusherJs:
    @pytest_twisted.ensureDeferred
    async def test_event_arrives_on_every_kind_of_channel(self, pusher, connect, name, library):
        subscriber = await connect(member={"user_id": "1", "user_info": {}}, library=library)
        for kind in ("room", "private-room", "presence-room"):
            channel = name(kind)
            await subscriber.subscribe(channel)
            await pusher.trigger(channel, "event", {"to": "☃"})
            assert await subscriber.event(channel, "event") == {"to": "☃"}

    @pytest_twisted.ensureDeferred
    async def test_client_event_and_members_arrive(self, connect, name, library):
        channel = name("presence-room")
        sender = await connect(member={"user_id": "1", "user_info": {}}, library=library)
        other = await connect(member={"user_id": "2", "user_info": {}}, library=library)
        await sender.subscribe(channel)
        assert (await other.subscribe(channel))["count"] == 2
        assert (await sender.event(channel, "pusher:member_added"))["id"] == "2"
        await sender.trigger(channel, "client-typing", {"who": "☃"})
        assert await other.event(channel, "client-typing") == {"who": "☃"}

    @pytest_twisted.ensureDeferred
    async def test_signed_in_user_is_sent_events(self, pusher, connect, name, library):
        if library == "pusher-js-4":
            pytest.skip("pusher-js 4 has no sign-in")
        user = {"id": name("user")}
        subscriber = await connect(user=user, library=library)
        await subscriber.sign_in()
        await pusher.send_to_user(user["id"], "event", 1)
        assert await subscriber.user_event("event") == 1


@pytest_twisted.ensureDeferred
async def test_laravel_echo_listens(pusher, connect, name):
    channel = name("orders")
    echo = await connect(echo=True)
    await echo.listen("private", channel, ".shipped")
    await pusher.trigger(f"private-{channel}", "shipped", {"id": 1})
    assert await echo.echo_event(channel, ".shipped") == {"id": 1}


@pytest.mark.parametrize("kind", ["python", "node"])
@pytest_twisted.ensureDeferred
async def test_official_sdk_publishes(server, connect, name, node_sdk, kind):
    sdk = PythonSdk(server) if kind == "python" else NodeSdk(node_sdk, server)
    channel = name("room")
    subscriber = await connect()
    await subscriber.subscribe(channel)
    assert await sdk.trigger([channel], "event", {"to": "☃"}) == {}
    assert await subscriber.event(channel, "event") == {"to": "☃"}


@pytest.mark.parametrize("library", ["pysher", "websocket"])
@pytest_twisted.ensureDeferred
async def test_client_of_python_receives(server, pusher, library):
    import_or_skip(library)
    command = [sys.executable, "-m", "tests.interop.default_app", library, str(server.port)]
    process = Process(command, ROOT)
    try:
        await until(lambda: "ready" in process.output or process.exit_code is not None, 40)
        assert '"ready"' in process.output, process.output
        for channel in ("room", "private-room"):
            await pusher.trigger(channel, "event", {"to": "☃"})
        await pusher.trigger("room", "last", None)
        await until(lambda: process.exit_code is not None, 40)
        assert process.exit_code == 0, process.output
        lines = [json.loads(line) for line in process.output.splitlines() if line[0] in '["']
        assert lines == [
            "ready",
            ["room", "event", {"to": "☃"}],
            ["private-room", "event", {"to": "☃"}],
        ]
    finally:
        process.stop()
