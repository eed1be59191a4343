"""
Every block of code in a public docstring, run against a server on this machine.

The reference shows these docstrings, as the pages show the blocks that
:mod:`tests.integration.test_pages_run` runs.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.application.service import Application
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

import txpusher
from tests.support.pages import AWAITING, ROOT, Block
from tests.support.waiting import until, within

pytest.importorskip("wsproto")

from txpusher import server as server_module
from txpusher import service, subscriber, testing
from txpusher.server import App, ChannelsServer

#: The app of the docstrings.
APP = App("3", "k", "s")

NOT_RUN = {
    # A key, an administrator's folder, a socket of systemd's: test_server_endpoints has them.
    "ChannelsServer.listen_on",
}
#: What blocks the thread that calls it.
BLOCKING = ("BlockingBatchPublisher", "BlockingPusher", "BlockingRunningServer", "with")


def described() -> Iterator[tuple[str, str, str]]:
    """Generate the file, the name and the docstring of all that is public."""
    for module in (txpusher, server_module, service, subscriber, testing):
        yield str(module.__file__), module.__name__, inspect.getdoc(module) or ""
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if not inspect.isclass(value):
                continue
            path = inspect.getfile(value)
            yield path, name, inspect.cleandoc(value.__doc__ or "")
            for member, inside in vars(value).items():
                if not member.startswith("_"):
                    yield path, f"{name}.{member}", inspect.getdoc(inside) or ""


def code_in(docstring: str) -> Iterator[str]:
    """Generate the literal blocks of a docstring."""
    lines = docstring.splitlines()
    for number, line in enumerate(lines):
        if line.endswith("::"):
            block = []
            for one in lines[number + 1 :]:
                if one and not one.startswith(" "):
                    break
                block.append(one)
            yield textwrap.dedent("\n".join(block)).strip() + "\n"


def found() -> dict[str, Block]:
    """Return the blocks, by the names of what they stand in."""
    blocks = {}
    for path, name, docstring in described():
        for number, source in enumerate(code_in(docstring)):
            key = f"{name}-{number}" if number else name
            blocks[key] = Block(path.removeprefix(f"{ROOT}/"), number, "python", source)
    return blocks


BLOCKS = found()


class Prices(list[int]):
    """An iterable for both kinds of loop."""

    async def __aiter__(self) -> AsyncIterator[int]:
        for price in self:
            yield price


def announce_order(pusher: Any, number: int) -> Any:
    """Publish what the docstrings wait for."""
    return pusher.trigger("orders", "created", {"number": number})


@pytest_twisted.async_yield_fixture
async def running(log: Any, clean_reactor: None, monkeypatch: Any) -> AsyncIterator[Any]:
    """A server whose URL is in the environment."""
    running = await testing.RunningServer.start(APP)
    monkeypatch.setenv("PUSHER_URL", running.url)
    yield running
    await running.stop()


def names(running: Any, log_failure: Callable[[Any], object]) -> dict[str, Any]:
    """Return what a block finds defined by its reader."""
    pusher = running.pusher()
    public = {
        name: getattr(module, name)
        for module in (txpusher, server_module, service, subscriber, testing)
        for name in getattr(module, "__all__", ("PusherService",))
    }
    return public | {
        "announce_order": announce_order,
        "application": Application("shop"),
        "Application": Application,
        "blocking_pusher": txpusher.BlockingPusher.wrap(pusher),
        "log_failure": log_failure,
        "prices": Prices([41, 42]),
        "publisher": txpusher.BatchPublisher(pusher),
        "pusher": pusher,
        "pytest_twisted": pytest_twisted,
        "server": ChannelsServer([APP]),
        "TestCase": TestCase,
    }


def on(running: Any, source: str) -> str:
    """Return a block with the server of the test in the place of what it cannot reach."""
    settings = f'host="{running.host}", port={running.port}, use_tls=False'
    return source.replace('cluster="eu"', settings).replace("listen(6001)", "listen(0)")


def publishes(source: str) -> bool:
    """Whether a call in a block publishes to the server of the test."""
    calls = [
        node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)
    ]
    return bool({"trigger", "submit", "publish"} & set(calls))


@pytest.mark.parametrize("name", sorted(set(BLOCKS) - NOT_RUN - {"Subscription"}))
@pytest_twisted.ensureDeferred
async def test_block_of_a_docstring_runs(running, name):
    failures: list[Any] = []
    source = on(running, BLOCKS[name].source)
    defined = names(running, failures.append)
    code = compile(source, name, "exec", AWAITING)
    if any(word in source for word in BLOCKING):
        await within(deferToThread(eval, code, defined), 30)
    else:
        coroutine = eval(code, defined)
        if coroutine is not None:
            await within(Deferred.fromCoroutine(coroutine))
    values = [getattr(value, "client", value) for value in defined.values()]
    clients = [value for value in values if isinstance(value, txpusher.Pusher)]
    await until(lambda: not any(client.stats.in_flight for client in clients))
    for client in clients:
        assert client.stats.failed == 0
        await client.close()
    assert failures == []
    if publishes(source):
        await running.wait_for_event()
    if isinstance(defined["server"], ChannelsServer):
        await defined["server"].stop()


@pytest_twisted.ensureDeferred
async def test_loop_over_a_subscription_prints_its_events(running, capsys):
    pusher = running.pusher()
    async with txpusher.Subscriber.for_pusher(pusher) as receiver:
        await receiver.connect()
        defined = {"subscription": await receiver.subscribe("orders")}
        code = compile(BLOCKS["Subscription"].source, "Subscription", "exec", AWAITING)
        reading = Deferred.fromCoroutine(eval(code, defined))
        await pusher.trigger("orders", "created", {"number": 7})
        await until(lambda: capsys.readouterr().out == "created {'number': 7}\n")
    with pytest.raises(txpusher.ClosedError):
        await reading


def test_blocks_of_docstrings_are_found():
    assert {"Pusher", "BatchPublisher.room", "Subscription", "PusherService"} <= set(BLOCKS)
    assert len(BLOCKS) > 15
    assert set(BLOCKS) >= NOT_RUN
