"""Questions after a silence, on a clock that the test turns."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from txpusher._liveness import Liveness


class Watched:
    """A connection that is watched: when it was asked, and whether it counts as dead."""

    def __init__(self, activity_timeout: float, pong_timeout: float) -> None:
        self.clock = Clock()
        self.heard_at = 0.0
        self.asked: list[float] = []
        self.died: list[float] = []
        self.liveness = Liveness(
            self.clock,
            lambda: self.heard_at,
            lambda: self.asked.append(self.clock.seconds()),
            lambda: self.died.append(self.clock.seconds()),
            activity_timeout=activity_timeout,
            pong_timeout=pong_timeout,
        )

    def until(self, seconds: float, *, hear: bool = False) -> None:
        """Turn the clock on in steps of half a second, hearing something at each or not."""
        while self.clock.seconds() < seconds:
            self.clock.advance(0.5)
            if hear:
                self.heard_at = self.clock.seconds()


@pytest.fixture
def watched() -> Watched:
    return Watched(activity_timeout=10.0, pong_timeout=3.0)


def test_silence_is_asked_about_and_ends_as_death(watched):
    watched.until(9.5)
    assert watched.asked == []
    watched.until(12.5)
    assert (watched.asked, watched.died) == ([10.0], [])
    watched.until(14.0)
    assert watched.died == [13.0]
    assert watched.clock.getDelayedCalls() == []


def test_connection_that_is_heard_is_never_asked(watched):
    watched.until(100.0, hear=True)
    assert watched.asked == []


def test_answer_puts_the_next_question_off(watched):
    watched.until(10.0)
    watched.heard_at = 11.0
    watched.until(20.5)
    assert watched.asked == [10.0]
    watched.until(21.0)
    assert watched.asked == [10.0, 21.0]


def test_next_question_does_not_wait_for_a_long_pong_timeout():
    watched = Watched(activity_timeout=2.0, pong_timeout=60.0)
    watched.until(2.0)
    watched.heard_at = 2.0
    watched.until(4.0)
    assert watched.asked == [2.0, 4.0]
    watched.until(63.5)
    assert watched.died == []
    watched.until(65.0)
    assert watched.died == [64.0]


def test_stopped_watch_leaves_no_timer(watched):
    watched.liveness.stop()
    watched.liveness.stop()
    assert watched.clock.getDelayedCalls() == []
