"""Lines that are printed together."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from txpusher._cli.program import Gathered


@pytest.fixture
def shown() -> list[str]:
    return []


def test_lines_of_a_round_are_printed_in_one_write(shown: list[str]) -> None:
    clock = Clock()
    lines = Gathered(clock, shown.append)
    lines("one")
    lines("two")
    assert shown == []
    clock.advance(0)
    assert shown == ["one\ntwo"]
    lines("three")
    clock.advance(0)
    assert shown == ["one\ntwo", "three"]
    assert clock.getDelayedCalls() == []


def test_stop_prints_what_is_left_and_leaves_no_call(shown: list[str]) -> None:
    clock = Clock()
    lines = Gathered(clock, shown.append)
    lines("one")
    lines.stop()
    assert shown == ["one"]
    assert clock.getDelayedCalls() == []


def test_nothing_is_printed_where_nothing_was_said(shown: list[str]) -> None:
    Gathered(Clock(), shown.append).stop()
    assert shown == []
