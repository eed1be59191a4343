"""
Every block of Python in the README, run against a server on this machine.

The first one is run by ``test_examples``.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_twisted
import treq
import trustme
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.web.client import Agent
from twisted.web.resource import Resource

import txpusher
from tests.support.serving import serving
from tests.support.suites import PLUGIN
from tests.support.waiting import until, within
from txpusher._protocol.signing import hmac_hex

pytest.importorskip("wsproto")
pytest.importorskip("wsproto")

from txpusher.server import App
from txpusher.testing import RunningServer

README = Path(__file__).parents[2] / "README.rst"

#: The app of the README, cut short there.
APP = App("3", "278d425bdf160c739803", "...")

#: Seconds that a block which is a program may take.
PATIENCE = 30

MASTER_KEY = base64.b64encode(bytes(32)).decode("ascii")
EVENT = {"name": "channel_occupied", "channel": "news"}
BODY = json.dumps({"time_ms": 1327078148132, "events": [EVENT]}).encode()

#: As a coroutine's body is compiled.
AWAITING = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class Block(NamedTuple):
    """A block of Python, and the title of the section that it stands in."""

    section: str
    source: str

    @property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return compile(self.source, README, "exec", AWAITING | ast.PyCF_ONLY_AST)


def blocks() -> Iterator[Block]:
    """All of them, in order."""
    section = ""
    lines = README.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.fullmatch(r"[-~]{3,}", line):
            section = lines[number - 1]
        if line.lstrip() == ".. code-block:: python":
            depth = len(line) - len(line.lstrip())
            inside = []
            for one in lines[number + 1 :]:
                if one and len(one) - len(one.lstrip()) <= depth:
                    break
                inside.append(one)
            yield Block(section, textwrap.dedent("\n".join(inside)).strip() + "\n")


_, *BLOCKS = blocks()


def holding(text: str) -> Block:
    """The one block that has *text* in it."""
    [block] = [block for block in BLOCKS if text in block.source]
    return block


PROGRAM = holding("with BlockingPusher.from_env()")
IN_A_THREAD = holding("with BlockingBatchPublisher(")
IN_ASYNCIO = holding("asyncio.to_thread(")
AS_A_FUTURE = holding(".asFuture(")
ENDPOINTS = holding("ChannelAuthResource(")
RESOURCE = holding("WebHookResource(")
SUITES = [block for block in BLOCKS if block.section == "Testing your code"]
RECEIVING = [block for block in BLOCKS if block.section == "Receive events"]
ASYNCIO = (IN_ASYNCIO, AS_A_FUTURE)
NOT_IN_A_COROUTINE = (
    *(PROGRAM, IN_A_THREAD, ENDPOINTS, RESOURCE),
    *(*ASYNCIO, *RECEIVING, *SUITES),
)
IN_A_COROUTINE = [block for block in BLOCKS if block not in NOT_IN_A_COROUTINE]


@pytest_twisted.async_yield_fixture
async def server(log: Any, clean_reactor: None, monkeypatch: Any) -> AsyncIterator[Any]:
    """A server with the app of the README, whose URL is in the environment."""
    server = await RunningServer.start(APP, encryption_master_key_base64=MASTER_KEY)
    for name in ("PUSHER_URL", "STAGING_PUSHER_URL"):
        monkeypatch.setenv(name, server.url)
    yield server
    await server.stop()


def on(server: Any, block: Block) -> str:
    """The source of *block* with *server* in the place of what it cannot reach."""
    settings = f'host="{server.host}", port={server.port}, use_tls=False'
    source = block.source.replace('cluster="eu"', settings)
    return source.replace("listen(6001)", "listen(0)")


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
        "key": MASTER_KEY,
    }
    if block.section == "Webhooks":
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


def _id(block: Block) -> str:
    same = [one for one in IN_A_COROUTINE if one.section == block.section]
    return f"{block.section} {same.index(block) + 1}"


@pytest.mark.parametrize("block", IN_A_COROUTINE, ids=_id)
@pytest_twisted.ensureDeferred
async def test_a_block_runs_in_a_coroutine(server, block):
    if "prometheus_client" in block.source:
        pytest.importorskip("prometheus_client")
    defined = names(server, block)
    coroutine = eval(compile(on(server, block), README, "exec", AWAITING), defined)
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
    handler, loop, authorizer = RECEIVING
    defined = names(server, handler)

    def begin(block: Block) -> Deferred[Any]:
        coroutine = eval(compile(on(server, block), README, "exec", AWAITING), defined)
        return Deferred.fromCoroutine(coroutine) if coroutine else succeed(None)

    await within(begin(handler))
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


@pytest_twisted.ensureDeferred
async def test_the_program_runs(server):
    command = [sys.executable, "-c", PROGRAM.source]
    ended = await deferToThread(
        subprocess.run, command, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert [event.data for event in server.events] == [{"report": 12}]


@pytest_twisted.ensureDeferred
async def test_a_block_for_threads_runs(server):
    defined = names(server, IN_A_THREAD)
    await deferToThread(exec, IN_A_THREAD.source, defined)
    assert defined["replies"] == [{}, {}]
    assert [event.data for event in server.events] == [41, 42]


@pytest_twisted.ensureDeferred
async def test_block_for_asyncio_publishes_from_a_loop_without_a_reactor(server):
    defined = names(server, IN_ASYNCIO) | {"asyncio": asyncio}
    exec(IN_ASYNCIO.source, defined)
    await deferToThread(lambda: asyncio.run(defined["announce"]({"n": 1})))
    assert [event.data for event in server.events] == [{"n": 1}]


ON_ASYNCIO_REACTOR = """
import asyncio
from twisted.internet import asyncioreactor
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
asyncioreactor.install(loop)
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from txpusher import Pusher

pusher = Pusher.from_env()
{block}
async def main(reactor):
    await Deferred.fromFuture(asyncio.ensure_future(announce_too({{"n": 2}})))
    await pusher.close()

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


@pytest_twisted.ensureDeferred
async def test_block_for_the_asyncio_reactor_awaits_a_future(server):
    program = ON_ASYNCIO_REACTOR.format(block=AS_A_FUTURE.source)
    command = [sys.executable, "-c", program]
    done = await deferToThread(
        lambda: subprocess.run(command, capture_output=True, timeout=60, check=False)
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert [event.data for event in server.events] == [{"n": 2}]


@pytest_twisted.ensureDeferred
async def test_endpoints_authorise_the_user_of_the_request(server):
    from twisted.internet import reactor

    defined = names(server, ENDPOINTS)
    exec(ENDPOINTS.source, defined)
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
async def test_the_resource_takes_webhooks(server, capsys):
    from twisted.internet import reactor

    root = Resource()
    exec(RESOURCE.source, names(server, RESOURCE) | {"root": root})

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


@pytest.mark.parametrize("block", SUITES, ids=["fake", "reactor", "process"])
@pytest_twisted.ensureDeferred
async def test_suite_of_readme_passes(tmp_path, block):
    announce = """\
def announce_order(pusher, number):
    return pusher.trigger("orders", "created", {"number": number})
"""
    (tmp_path / "test_orders.py").write_text(f"{block.source}\n\n{announce}", "utf-8")
    # In the reactor's thread, where pytest-twisted runs tests, no client can block.
    options = ["-p", "no:twisted"] if "blocking_" in block.source else []
    own = ["-q", "-p", "no:cacheprovider", *PLUGIN]
    command = [sys.executable, "-m", "pytest", *own, *options, "."]
    ended = await deferToThread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 0, ended.stdout
