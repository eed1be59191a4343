"""Events that meet the server's close arrive once, or had left; a standstill fails none."""

from __future__ import annotations

from typing import Any

import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.support.standstill import stand_still
from tests.support.sweep import sweep


@pytest_twisted.ensureDeferred
async def test_events_that_meet_the_close_arrive_once_or_had_left(clean_reactor: Any) -> None:
    from twisted.internet import reactor

    # The long version: python -m tests.support.sweep --count 2000
    outcomes = await sweep(reactor, 240, times=10)
    assert {server: outcome.problems() for server, outcome in outcomes.items()} == {
        server: [] for server in outcomes
    }
    assert sum(len(outcome.succeeded) for outcome in outcomes.values()) > 480


@pytest_twisted.ensureDeferred
async def test_stopped_process_goes_on_without_a_failure(clean_reactor: Any) -> None:
    # The long version: python -m tests.support.standstill
    lines = await deferToThread(stand_still, 3, 1.2)
    assert set(lines) == {"ok"}
    assert len(lines) >= 4
