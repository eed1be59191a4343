"""
The plug-in for pytest: the fixtures ``channels_server`` and ``blocking_channels_server``.

Every pytest that finds txpusher installed imports this module, in suites that have no use
for it too.  So the module imports nothing but pytest, and the fixtures import the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from txpusher.testing import BlockingRunningServer, RunningServer


@pytest.fixture
def channels_server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """Start a Channels server in pytest-twisted's reactor: txpusher.testing.RunningServer."""
    plugins = request.config.pluginmanager
    if not (plugins.hasplugin("twisted") or plugins.hasplugin("pytest_twisted")):
        pytest.fail(
            "channels_server needs a reactor, and so the plug-in pytest-twisted: install it, "
            "or use blocking_channels_server",
            pytrace=False,
        )
    from pytest_twisted import blockon

    from txpusher.testing import RunningServer

    server = blockon(RunningServer.start())
    yield server
    blockon(server.stop())


@pytest.fixture
def blocking_channels_server() -> Iterator[BlockingRunningServer]:
    """Start a Channels server in its own process: txpusher.testing.BlockingRunningServer."""
    from txpusher.testing import BlockingRunningServer

    with BlockingRunningServer.start() as server:
        yield server
