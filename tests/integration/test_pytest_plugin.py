"""The plug-in for pytest, found by its entry point, in suites of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: What a suite that does not use the fixtures must not have imported.
HEAVY = ["twisted", "treq", "crochet", "OpenSSL", "cryptography", "txpusher.testing"]


class Suite:
    """A suite in a directory of its own, run by a pytest that finds the entry point."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # The package under test need not be installed, or is so in an older version.
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg")
        metadata = directory / "txpusher_plugin-0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Name: txpusher-plugin\nVersion: 0\n")
        (metadata / "entry_points.txt").write_text(
            f"[pytest11]\n{setup['options.entry_points']['pytest11'].strip()}\n"
        )

    def run(self, source: str, *options: str) -> str:
        (self.directory / "test_it.py").write_text(textwrap.dedent(source))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": f"{self.directory}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


def test_suite_without_the_fixtures_imports_nothing_for_them(suite: Suite) -> None:
    source = f"""
    import sys

    def test_modules(pytestconfig):
        assert pytestconfig.pluginmanager.hasplugin("txpusher")
        assert "txpusher._testing_plugin" in sys.modules
        assert [name for name in {HEAVY} if name in sys.modules] == []
    """
    # pytest-twisted itself imports Twisted.
    assert "1 passed" in suite.run(source, "-p", "no:twisted", "-W", "error")


BLOCKING = """
    import threading

    def test_server(blocking_channels_server):
        with blocking_channels_server.pusher() as pusher:
            pusher.trigger("a", "e", 1)
        assert blocking_channels_server.wait_for_event("a").data == 1

    def test_next_test_has_a_server_of_its_own(blocking_channels_server):
        assert blocking_channels_server.events == []
"""


def test_blocking_fixture_needs_no_pytest_twisted(suite: Suite) -> None:
    assert "2 passed" in suite.run(BLOCKING, "-p", "no:twisted")


def test_blocking_fixture_is_of_use_in_the_reactor_thread(suite: Suite) -> None:
    source = """
    import pytest
    from twisted.python.threadable import isInIOThread
    from tests.integration.blocking_page import Page, publish
    from txpusher import BlockingCallError

    def test_server(blocking_channels_server):
        server = blocking_channels_server
        assert isInIOThread()
        with pytest.raises(BlockingCallError):
            server.pusher().trigger("a", "e", 1)
        page = Page(server)
        page.subscribe("a")
        server.wait_for_subscription("a")
        publish(server, "a", "e", 1)
        assert server.wait_for_event("a").data == 1
        page.close()
    """
    assert "1 passed" in suite.run(source)


TWISTED = """
    import pytest_twisted

    @pytest_twisted.ensureDeferred
    async def test_server(channels_server):
        await channels_server.pusher().trigger("a", "e", 1)
        assert (await channels_server.wait_for_event("a")).data == 1

    @pytest_twisted.async_yield_fixture
    async def pusher(channels_server):
        yield channels_server.pusher()

    @pytest_twisted.ensureDeferred
    async def test_fixture_of_a_fixture_has_a_server_of_its_own(pusher, channels_server):
        assert channels_server.events == []
        await pusher.trigger("a", "e", 1)
        assert len(channels_server.events) == 1
"""


@pytest.mark.parametrize("reactor", ["default", "asyncio"])
def test_fixture_runs_in_the_reactor_of_pytest_twisted(suite: Suite, reactor: str) -> None:
    assert "2 passed" in suite.run(TWISTED, f"--reactor={reactor}")


def test_fixture_without_pytest_twisted_says_what_is_missing(suite: Suite) -> None:
    source = "def test_server(channels_server): pass"
    printed = suite.run(source, "-p", "no:twisted")
    assert "1 error" in printed
    assert "channels_server needs a reactor, and so the plug-in pytest-twisted" in printed
