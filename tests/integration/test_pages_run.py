"""
Every block of Python in README and documentation, run against a server on this machine.

``tests/support/pages.py`` says how a block tells the way it is run.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
import treq
import trustme
from twisted.application.service import Application
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.web.client import Agent
from twisted.web.resource import Resource

import txpusher
from tests.support.credentials import MASTER_KEY_BASE64
from tests.support.pages import AWAITING, Block, all_blocks, environment
from tests.support.serving import serving
from tests.support.suites import PLUGIN
from tests.support.waiting import until, within
from txpusher._protocol.signing import hmac_hex

pytest.importorskip("wsproto")
pytest.importorskip("wsproto")

from txpusher.server import App, ChannelsServer
from txpusher.testing import RunningServer

#: The app of the pages, cut short there.
APP = App("3", "278d425bdf160c739803", "...")

#: Seconds that a block which is a program may take.
PATIENCE = 30

EVENT = {"name": "channel_occupied", "channel": "news"}
BODY = json.dumps({"time_ms": 1327078148132, "events": [EVENT]}).encode()

BLOCKS = all_blocks("python")
RUN = [block for block in BLOCKS if not block.why_not]


def run_as(how: str) -> list[Block]:
    """Return the blocks that are run in one way."""
    return [block for block in RUN if block.how == how]


IN_A_COROUTINE, PROGRAMS, SUITES = map(run_as, ("", "program", "suite"))


def holding(test: str, text: str = "") -> Block:
    """Return the one block that is run by a test, and has *text* in it."""
    [block] = [block for block in run_as(f"by {test}") if text in block.source]
    return block


@pytest_twisted.async_yield_fixture
async def server(log: Any, clean_reactor: None, monkeypatch: Any) -> AsyncIterator[Any]:
    """A server with the app of the pages, whose URL is in the environment."""
    server = await RunningServer.start(APP, encryption_master_key_base64=MASTER_KEY_BASE64)
    for name in ("PUSHER_URL", "STAGING_PUSHER_URL"):
        monkeypatch.setenv(name, server.url)
    yield server
    await server.stop()


def on(server: Any, block: Block) -> str:
    """The source of *block* with *server* in the place of what it cannot reach."""
    source = block.source_for(server.host, server.port)
    return source.replace("listen(6001)", "listen(0)")


def compiled(server: Any, block: Block) -> Any:
    """The code of *block* on *server*, of which ``eval`` makes a coroutine if it awaits."""
    return compile(on(server, block), block.name, "exec", AWAITING)


def names(server: Any, block: Block) -> dict[str, Any]:
    """What a block finds defined: by the ones before it, and by its reader."""
    pusher = server.pusher()
    defined = {name: getattr(txpusher, name) for name in txpusher.__all__}
    defined |= {
        "pusher": pusher,
        "blocking": txpusher.BlockingPusher.wrap(pusher),
        "log": Logger(),
        "prices": [41, 42],
        "queue_for_later": _not_to_be_called,
        "pem": trustme.CA().cert_pem.bytes(),
        "key": MASTER_KEY_BASE64,
    }
    if "application" in block.source:
        defined["application"] = Application("shop")
    if "server.trouble" in block.source:
        defined["server"] = ChannelsServer([APP])
    if "webhook" in block.page:
        defined |= {"key": APP.key, "signature": hmac_hex(APP.secret, BODY), "body": BODY}
        defined |= {"old_key": "old", "old_secret": "older"}
        defined["headers"] = {
            "HTTP_X_PUSHER_KEY": APP.key,
            "HTTP_X_PUSHER_SIGNATURE": hmac_hex(APP.secret, BODY),
        }
    return defined


def _not_to_be_called(*arguments: Any) -> None:
    raise AssertionError(f"not published: {arguments}")


def publishes(block: Block) -> bool:
    """Whether there is a call in it of what publishes."""
    publishing = {"trigger", "trigger_batch", "trigger_quietly", "send_to_user", "submit"}
    return any(
        isinstance(node, ast.Attribute) and node.attr in publishing
        for node in ast.walk(block.tree)
    )


def by_name(blocks: list[Block]) -> Any:
    """Run a test with each block."""
    return pytest.mark.parametrize("block", blocks, ids=[block.name for block in blocks])


@by_name(IN_A_COROUTINE)
@pytest_twisted.ensureDeferred
async def test_block_runs_in_a_coroutine(server, block):
    if "prometheus_client" in block.source:
        pytest.importorskip("prometheus_client")
    defined = names(server, block)
    coroutine = eval(compiled(server, block), defined)
    if coroutine is not None:
        await within(Deferred.fromCoroutine(coroutine))
    # What is not awaited there is waited for here.
    clients = [value for value in defined.values() if isinstance(value, txpusher.Pusher)]
    await until(lambda: not any(client.stats.in_flight for client in clients))
    for client in clients:
        assert client.stats.failed == 0
        await client.close()
    if publishes(block):
        assert server.events


@pytest_twisted.ensureDeferred
async def test_blocks_that_receive_print_what_is_published(server, capsys):
    parts = ("for_pusher(", "addTimeout(", "async for", "HTTPAuthorizer(")
    name = "test_blocks_that_receive_print_what_is_published"
    handler, limited, loop, authorizer = (holding(name, part) for part in parts)
    defined = names(server, handler)

    def begin(block: Block) -> Deferred[Any]:
        coroutine = eval(compiled(server, block), defined)
        return Deferred.fromCoroutine(coroutine) if coroutine else succeed(None)

    await within(begin(handler))
    await within(begin(limited))
    reading = begin(loop)
    await defined["pusher"].trigger("private-orders", "created", {"number": 7})
    await until(
        lambda: capsys.readouterr().out == "{'number': 7}\ncreated {'number': 7} None\n"
    )
    subscriber = defined["subscriber"]
    await subscriber.close()
    with pytest.raises(txpusher.ClosedError):
        await reading
    await begin(authorizer)
    assert defined["subscriber"] is not subscriber


@by_name(PROGRAMS)
@pytest_twisted.ensureDeferred
async def test_program_of_a_page_runs(server, block):
    if "import pusher\n" in block.source:
        pytest.importorskip("pusher")
    command = [sys.executable, "-c", on(server, block)]
    ended = await deferToThread(
        subprocess.run,
        command,
        env={**os.environ, **environment(APP.key, APP.secret, BODY.decode())},
        input=BODY.decode(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert server.events or not publishes(block)


@by_name(run_as("by test_program_that_receives_prints_the_event"))
@pytest_twisted.ensureDeferred
async def test_program_that_receives_prints_the_event(server, block):
    if "import pysher" in block.source:
        pytest.importorskip("pysher")
    command = [sys.executable, "-c", block.source]
    ended = deferToThread(
        subprocess.run, command, capture_output=True, text=True, timeout=PATIENCE
    )
    await server.wait_for_subscription("private-orders", timeout=PATIENCE)
    await server.pusher().trigger("private-orders", "created", {"number": 7})
    program = await ended
    assert (program.returncode, program.stderr) == (0, "")
    assert program.stdout in ("{'number': 7}\n", '{"number":7}\n')


@pytest_twisted.ensureDeferred
async def test_block_for_threads_runs(server):
    block = holding("test_block_for_threads_runs")
    defined = names(server, block)
    await deferToThread(exec, block.source, defined)
    assert defined["replies"] == [{}, {}]
    assert [event.data for event in server.events] == [41, 42]


@pytest_twisted.ensureDeferred
async def test_block_for_threads_logs_a_failure(server, caplog):
    block = holding("test_block_for_threads_logs_a_failure")
    wrong = txpusher.Pusher.from_url(server.url.replace("...", "wrong"))
    defined = names(server, block) | {"blocking": txpusher.BlockingPusher.wrap(wrong)}
    await deferToThread(exec, block.source, defined)
    await until(lambda: "not published: POST" in caplog.text)
    await deferToThread(defined["publisher"].close)
    await wrong.close()
    assert server.events == []


@pytest_twisted.ensureDeferred
async def test_encrypted_event_of_the_page_is_published(server, monkeypatch):
    monkeypatch.setenv("PUSHER_ENCRYPTION_MASTER_KEY", MASTER_KEY_BASE64)
    block = holding("test_encrypted_event_of_the_page_is_published")
    defined = names(server, block)
    await within(Deferred.fromCoroutine(eval(compiled(server, block), defined)))
    await defined["pusher"].close()
    assert [event.data for event in server.events] == [{"blood_type": "0+"}]


@pytest_twisted.ensureDeferred
async def test_observer_of_the_page_gets_the_fields(server, capsys):
    block = holding("test_observer_of_the_page_gets_the_fields")
    defined = names(server, block)
    exec(block.source, defined)
    await defined["pusher"].trigger("news", "headline", {})
    defined["globalLogPublisher"].removeObserver(defined["observe"])
    assert re.fullmatch(r"POST /apps/3/events 200 [\d.]+\n", capsys.readouterr().out)


@pytest_twisted.ensureDeferred
async def test_block_for_asyncio_publishes_from_a_loop_without_a_reactor(server):
    block = holding("test_block_for_asyncio_publishes_from_a_loop_without_a_reactor")
    defined = names(server, block)
    exec(block.source, defined)
    await deferToThread(lambda: asyncio.run(defined["announce"]({"n": 1})))
    await deferToThread(defined["blocking"].close)
    assert [event.data for event in server.events] == [{"n": 1}]


@pytest_twisted.ensureDeferred
async def test_endpoints_authorise_the_user_of_the_request(server):
    from twisted.internet import reactor

    block = holding("test_endpoints_authorise_the_user_of_the_request")
    defined = names(server, block)
    exec(block.source, defined)
    pusher = defined["pusher"]

    async def post(url: str, body: bytes) -> tuple[int, Any]:
        agent, user = Agent(reactor), ("alice", "password")
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        response = await within(treq.post(url, body, headers=headers, auth=user, agent=agent))
        return response.code, await response.json()

    async with serving(defined["root"]) as port:
        url = f"http://127.0.0.1:{port}"
        own = await post(f"{url}/auth", b"socket_id=1.2&channel_name=private-alice")
        other = await post(f"{url}/auth", b"socket_id=1.2&channel_name=private-bob")
        user = await post(f"{url}/user-auth", b"socket_id=1.2")
    assert own == (200, pusher.authenticate("private-alice", "1.2"))
    assert other[0] == 403
    assert user == (200, pusher.authenticate_user("1.2", {"id": "alice"}))


@pytest_twisted.ensureDeferred
async def test_resource_takes_webhooks(server, capsys):
    from twisted.internet import reactor

    root = Resource()
    block = holding("test_resource_takes_webhooks")
    exec(block.source, names(server, block) | {"root": root})

    async def post(port: int, body: bytes, secret: str, kind: str = "application/json") -> int:
        headers = {
            "Content-Type": kind,
            "X-Pusher-Key": APP.key,
            "X-Pusher-Signature": hmac_hex(secret, body),
        }
        url = f"http://127.0.0.1:{port}/webhooks"
        response = await within(treq.post(url, body, headers=headers, agent=Agent(reactor)))
        await response.content()
        return response.code

    async with serving(root) as port:
        assert await post(port, BODY, "wrong") == 401
        assert await post(port, BODY, APP.secret, "text/plain") == 400
        assert await post(port, b"not JSON", APP.secret) == 400
        assert await post(port, BODY, APP.secret) == 200
    printed = capsys.readouterr().out
    assert printed == "2012-01-20 16:49:08.132000+00:00 channel_occupied news\n"


@by_name(SUITES)
@pytest_twisted.ensureDeferred
async def test_suite_of_a_page_passes(tmp_path, block):
    announce = """\
def announce_order(pusher, number):
    return pusher.trigger("orders", "created", {"number": number})
"""
    (tmp_path / "test_orders.py").write_text(f"{block.source}\n\n{announce}", "utf-8")
    # In the reactor's thread, where pytest-twisted runs tests, no client can block.
    options = ["-p", "no:twisted"] if "blocking" in block.source.lower() else []
    own = ["-q", "-p", "no:cacheprovider", *PLUGIN]
    command = [sys.executable, "-m", "pytest", *own, *options, "."]
    ended = await deferToThread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 0, ended.stdout


@pytest_twisted.ensureDeferred
async def test_trouble_of_the_page_fails_the_event(clean_reactor):
    block = holding("test_trouble_of_the_page_fails_the_event")
    defined: dict[str, Any] = {}
    exec(block.source, defined)
    await within(Deferred.fromCoroutine(defined["test_an_outage"]()))
