"""Our Subscriber beside servers that are stopped and started again under load."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.benchmarks.restarts import EmbeddedServer, Report, SoketiServer, survive


@pytest.fixture(params=["embedded", "soketi"])
def restartable(request, node):
    return EmbeddedServer() if request.param == "embedded" else SoketiServer()


@pytest_twisted.ensureDeferred
async def test_subscribers_survive_restarts_under_load(restartable):
    report: Report = await survive(restartable, restarts=3, pause=0.2)
    assert report.faults == []
    assert report.received > 0
