"""
The programs on the page for those who come from another library, before and after.

Each program for another library runs with that library, and its counterpart beside it: both
must publish the same and print the same.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.support.credentials import MASTER_KEY_BASE64
from tests.support.pages import DOCS, Block, blocks, environment
from txpusher.server import App
from txpusher.testing import RunningServer

from .requirements import import_or_skip

#: The app of the page.
APP = App("3", "278d425bdf160c739803", "...")

#: Seconds that a program may take.
PATIENCE = 60

Pair = tuple[Block, Block]


def pairs(of_other_library: Callable[[Block], bool]) -> Any:
    """Run a test with each program of another library, and the one that follows it."""
    programs = list(blocks(DOCS / "howto" / "migrate.rst"))
    found = [pair for pair in itertools.pairwise(programs) if of_other_library(pair[0])]
    assert found
    return pytest.mark.parametrize("pair", found, ids=[before.name for before, _ in found])


@attrs.frozen
class Outcome:
    """
    What a program has done.

    :ivar printed: The lines on its standard output, decoded where they are JSON.
    :ivar published: Channel, name, data and excluded connection of each event.
    """

    printed: list[Any]
    published: list[Any]


@pytest_twisted.async_yield_fixture
async def server() -> AsyncIterator[RunningServer]:
    """A server with the app of the page."""
    server = await RunningServer.start(APP, encryption_master_key_base64=MASTER_KEY_BASE64)
    yield server
    await server.stop()


async def outcome(
    server: RunningServer, command: list[str], block: Block, body: str
) -> Outcome:
    """Run the program of *block* to its end, with *body* on its standard input."""
    before = len(server.events)
    ended = await deferToThread(
        subprocess.run,
        [*command, block.source_for(server.host, server.port)],
        env={
            **os.environ,
            **environment(APP.key, APP.secret, body),
            "PUSHER_URL": server.url,
        },
        input=body,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stderr
    events = server.events[before:]
    return Outcome(
        [_decoded(line) for line in ended.stdout.splitlines()],
        [(event.channel, event.name, event.data, event.socket_id) for event in events],
    )


def _decoded(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


async def assert_same(server: RunningServer, command: list[str], pair: Pair) -> None:
    """Assert that a program, run by *command*, and its counterpart do the same."""
    # The Python library takes no webhook that is older than five minutes.
    event = {"name": "channel_occupied", "channel": "news"}
    body = json.dumps({"time_ms": int(time.time() * 1000), "events": [event]})
    theirs = await outcome(server, command, pair[0], body)
    ours = await outcome(server, [sys.executable, "-c"], pair[1], body)
    assert theirs == ours
    assert theirs.printed
    assert "refused" not in theirs.printed


@pairs(lambda block: "import pusher\n" in block.source)
@pytest_twisted.ensureDeferred
async def test_program_for_python_and_its_counterpart_do_the_same(server, pair):
    import_or_skip("pusher")
    await assert_same(server, [sys.executable, "-c"], pair)


def ruby_for(source: str) -> str:
    """
    Return the path of Ruby; skip the test where it, or a gem of *source*, is missing.

    This skips even where TXPUSHER_REQUIRE_INTEROP is 1.  The gem is in none of the package
    indexes that the project installs its tools from, so that it is run wherever somebody
    has it: installed, or in folders that RUBYLIB names.
    """
    ruby = shutil.which("ruby")
    if ruby is None:
        pytest.skip("Ruby is not installed")
    for gem in re.findall(r'^require "(.+)"$', source, re.MULTILINE):
        if not _loads(ruby, gem):
            pytest.skip(f"{ruby} cannot load {gem}; RUBYLIB may name folders that have it")
    return ruby


@functools.cache
def _loads(ruby: str, gem: str) -> bool:
    """Tell whether Ruby can load *gem*."""
    command = [ruby, "-e", f'require "{gem}"']
    tried = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
    )
    return tried.returncode == 0


@pairs(lambda block: block.language == "ruby")
@pytest_twisted.ensureDeferred
async def test_program_for_ruby_and_its_counterpart_do_the_same(server, pair):
    await assert_same(server, [ruby_for(pair[0].source), "-e"], pair)
