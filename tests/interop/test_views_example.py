"""The views of Django, Flask and FastAPI in examples/, under the servers they name."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import treq
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, HTTPConnectionPool

from tests.support.process import Process
from tests.support.waiting import until
from txpusher._protocol.signing import hmac_hex
from txpusher.testing import RunningServer

from .requirements import import_or_skip
from .waiting import address_of

EXAMPLES = Path(__file__).parents[2] / "examples"
GUNICORN = (
    *(sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", "127.0.0.1:0"),
    *("--chdir", str(EXAMPLES), "--graceful-timeout", "10"),
)
UVICORN = (
    *(sys.executable, "-m", "uvicorn", "--port", "0", "--app-dir", str(EXAMPLES)),
    *("--log-level", "info"),
)
COMMANDS = {
    "django_views": ("django", GUNICORN),
    "flask_views": ("flask", GUNICORN),
    "fastapi_views": ("fastapi", UVICORN),
}
LISTENING = r"(?:Listening at:|Uvicorn running on) (http://127\.0\.0\.1:\d+)"


@pytest_twisted.async_yield_fixture
async def running() -> AsyncIterator[RunningServer]:
    server = await RunningServer.start()
    yield server
    await server.stop()


@pytest.fixture(params=COMMANDS)
def views(request, running):
    """The address of a running program, the program, and the name of its example."""
    framework, command = COMMANDS[request.param]
    import_or_skip(framework)
    import_or_skip("uvicorn" if command is UVICORN else "gunicorn")
    environment = {"PUSHER_URL": running.url}
    program = Process([*command, f"{request.param}:application"], EXAMPLES, environment)
    yield address_of(program, LISTENING), program, request.param
    program.stop()


async def post(url: str, **options: Any) -> tuple[int, Any]:
    from twisted.internet import reactor

    agent = Agent(reactor, pool=HTTPConnectionPool(reactor, False))
    response = await treq.client.HTTPClient(agent).post(url, **options)
    body = await response.text()
    return response.code, body


@pytest_twisted.ensureDeferred
async def test_views_publish_authorise_and_verify(views, running):
    address, program, _ = views
    item = {"params": {"item": "book"}, "data": {"item": "book"}}
    assert (await post(f"{address}/orders", **item))[0] == 200
    event = await running.wait_for_event("orders", "created")
    assert event.data == {"item": "book"}

    subscribe = {"socket_id": "1.2", "channel_name": "private-a"}
    status, body = await post(f"{address}/pusher/auth", data=subscribe)
    assert status == 403
    cookies = {"cookies": {"user": "alice"}}
    status, body = await post(f"{address}/pusher/auth", data=subscribe, **cookies)
    expected = running.pusher().authenticate("private-a", "1.2")["auth"]
    assert status == 200
    assert expected in body
    malformed = {"socket_id": "x", "channel_name": "private-a"}
    assert (await post(f"{address}/pusher/auth", data=malformed, **cookies))[0] == 400

    webhook = b'{"time_ms": 1327078148132, "events": [{"name": "cache_miss", "channel": "c"}]}'
    headers = {"Content-Type": "application/json", "X-Pusher-Key": running.app.key}
    forged = {**headers, "X-Pusher-Signature": "0" * 64}
    assert (await post(f"{address}/webhooks", data=webhook, headers=forged))[0] == 401
    authentic = {**headers, "X-Pusher-Signature": hmac_hex(running.app.secret, webhook)}
    assert (await post(f"{address}/webhooks", data=webhook, headers=authentic))[0] == 200
    await until(lambda: "cache_miss c" in program.output)


@pytest_twisted.ensureDeferred
async def test_events_that_nobody_waits_for_arrive_although_the_workers_are_stopped(
    views, running
):
    address, program, _ = views
    for number in range(20):
        item = {"params": {"item": str(number)}, "data": {"item": str(number)}}
        assert (await post(f"{address}/seen", **item))[0] == 200
    await deferToThread(program.terminate)
    items = sorted(int(event.data["item"]) for event in running.events if event.name == "seen")
    assert items == list(range(20))
