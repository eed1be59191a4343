"""The blocks of the documentation that are a part of an application, as that runs them."""

from __future__ import annotations

import runpy
import subprocess
import sys
from typing import Any

import pytest
import pytest_twisted
import treq
from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent
from twisted.web.resource import Resource

from tests.support.pages import ROOT, Block, all_blocks
from tests.support.serving import serving
from tests.support.waiting import until, within

pytest.importorskip("wsproto")

from txpusher.testing import RunningServer

from .web_client import connect

#: Seconds that a suite may take.
PATIENCE = 30


def run_by(test: str) -> Block:
    """Return the one block that is run by a test."""
    [block] = [block for block in all_blocks("python") if block.how == f"by {test}"]
    return block


@pytest_twisted.async_yield_fixture
async def server(log: Any, clean_reactor: None, monkeypatch: Any) -> Any:
    """A server whose URL is in the environment."""
    server = await RunningServer.start()
    monkeypatch.setenv("PUSHER_URL", server.url)
    yield server
    await server.stop()


async def ask(url: str, body: bytes = b"") -> tuple[int, bytes]:
    """Post *body* as alice, and return the status and the body of the reply."""
    from twisted.internet import reactor

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    # Its default pool would keep the connection.
    agent = Agent(reactor)
    response = await within(
        treq.post(url, body, headers=headers, auth=("alice", "password"), agent=agent)
    )
    return response.code, await response.content()


@pytest_twisted.ensureDeferred
async def test_resource_of_the_page_publishes_and_answers(server, log):
    pusher = server.pusher()
    defined: dict[str, Any] = {"pusher": pusher}
    exec(run_by("test_resource_of_the_page_publishes_and_answers").source, defined)
    async with serving(defined["root"]) as port:
        accepted = await ask(f"http://127.0.0.1:{port}/orders")
        await pusher.close()
        refused = await ask(f"http://127.0.0.1:{port}/orders")
    assert (accepted, refused) == ((200, b""), (502, b""))
    assert [event.data for event in server.events] == [{"number": 7}]
    assert "order 7 was not announced" in log.text


class Slow:
    """Publishes when it is told to."""

    def __init__(self) -> None:
        self.sending: Deferred[Any] = Deferred()
        self.asked = False

    def trigger(self, *arguments: object) -> Deferred[Any]:
        self.asked = True
        return self.sending


class Watched(Resource):
    """Knows whether the visitor of a resource has left."""

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self._resource = resource
        self.left = False

    def getChild(self, name: bytes, request: Any) -> Resource:
        request.notifyFinish().addErrback(lambda _: setattr(self, "left", True))
        return self._resource


def of_the_page(slow: Slow) -> Resource:
    """Make the resource of the page about twisted.web."""
    defined: dict[str, Any] = {"pusher": slow}
    exec(run_by("test_resource_of_the_page_publishes_and_answers").source, defined)
    resource: Resource = defined["Orders"]()
    return resource


def of_the_chat(slow: Slow) -> Resource:
    """Make the resource of the chat in the examples."""
    defined = runpy.run_path(str(ROOT / "examples" / "chat" / "chat.py"))

    class Ada:
        def member(self, request: object) -> Any:
            return {"user_info": {"name": "Ada"}}

    resource: Resource = defined["Messages"](slow, Ada())
    return resource


# twisted.web.static, which the chat imports, makes pages that Twisted itself deprecates.
@pytest.mark.filterwarnings("ignore:twisted.web.resource._Unsafe")
@pytest.mark.parametrize("make", [of_the_page, of_the_chat])
@pytest_twisted.ensureDeferred
async def test_resource_does_not_answer_a_visitor_who_has_left(log, clean_reactor, make):
    slow = Slow()
    watched = Watched(make(slow))
    async with serving(watched) as port:
        visitor = await connect(f"http://127.0.0.1:{port}/")
        visitor.transport.write(
            b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
        )
        await until(lambda: slow.asked)
        visitor.transport.abortConnection()
        await until(lambda: watched.left)
        slow.sending.callback({})
    assert await slow.sending is None


@pytest_twisted.ensureDeferred
async def test_routes_of_the_page_publish_and_authorise(server):
    pytest.importorskip("klein")
    pusher = server.pusher()
    defined: dict[str, Any] = {"pusher": pusher}
    exec(run_by("test_routes_of_the_page_publish_and_authorise").source, defined)
    async with serving(defined["app"].resource()) as port:
        url = f"http://127.0.0.1:{port}"
        ordered = await ask(f"{url}/orders")
        own, other = [
            await ask(f"{url}/auth", b"socket_id=1.2&channel_name=private-%b" % who)
            for who in (b"alice", b"bob")
        ]
    assert ordered == (200, b"ok")
    assert (own[0], other[0]) == (200, 403)
    assert [event.data for event in server.events] == [{"number": 7}]


@pytest_twisted.ensureDeferred
async def test_application_of_the_page_sends_what_it_has_triggered(server):
    defined: dict[str, Any] = {}
    exec(run_by("test_application_of_the_page_sends_what_it_has_triggered").source, defined)
    application = IService(defined["application"])
    application.startService()
    defined["publisher"].trigger("orders", "created", {"number": 7})
    await within(application.stopService())
    assert [event.channel for event in server.events] == ["prices", "orders"]


@pytest_twisted.ensureDeferred
async def test_suite_of_the_page_passes_under_trial(tmp_path, clean_reactor):
    announce = """\
def announce_order(pusher, number):
    return pusher.trigger("orders", "created", {"number": number})
"""
    source = run_by("test_suite_of_the_page_passes_under_trial").source
    (tmp_path / "test_orders.py").write_text(f"{source}\n\n{announce}", "utf-8")
    command = [sys.executable, "-m", "twisted.trial", "test_orders"]
    ended = await deferToThread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 0, ended.stdout
    assert "PASSED (successes=1)" in ended.stdout
