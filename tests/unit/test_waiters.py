"""Deferreds that wait for one outcome, and the error of each."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from txpusher._waiters import Waiters, own_error, without_frames
from txpusher.errors import ConnectionClosedError, HTTPError, SubscriptionError


class Waiting:
    """Waiters, and how often the last one was cancelled."""

    def __init__(self) -> None:
        self.waiters: Waiters[int] = Waiters()
        self.left = 0

    def wait(self) -> Deferred[int]:
        waiter: Deferred[int] = Deferred(self._cancelled)
        self.waiters.add(waiter)
        return waiter

    def _cancelled(self, waiter: Deferred[int]) -> None:
        self.left += self.waiters.forget(waiter)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def outcome(waiter: Deferred[Any]) -> list[Any]:
    """What *waiter* fires with, or the type that it fails with, in a list that is filled."""
    seen: list[Any] = []
    waiter.addCallbacks(seen.append, lambda failure: seen.append(failure.type))
    return seen


def test_waiters_fire_in_order(waiting):
    seen = []
    for name in "abc":
        waiting.wait().addCallback(lambda value, name=name: seen.append((name, value)))
    waiting.waiters.fire(7)
    assert seen == [("a", 7), ("b", 7), ("c", 7)]
    waiting.waiters.fire(8)
    assert len(seen) == 3


def test_last_waiter_that_is_cancelled_is_told_apart(waiting):
    first, second = waiting.wait(), waiting.wait()
    seen = [outcome(first), outcome(second)]
    first.cancel()
    assert waiting.left == 0
    second.cancel()
    assert waiting.left == 1
    assert seen == [[CancelledError]] * 2


def test_waiter_cancelled_by_another_one_that_fires_is_not_the_last_that_waits(waiting):
    first, second = waiting.wait(), waiting.wait()
    seen = outcome(second)
    first.addCallback(lambda _: second.cancel())
    waiting.waiters.fire(7)
    assert (seen, waiting.left) == ([CancelledError], 0)


def test_waiter_that_comes_while_others_fire_waits(waiting):
    later: list[Deferred[int]] = []
    waiting.wait().addCallback(lambda _: later.append(waiting.wait()))
    waiting.waiters.fire(7)
    assert outcome(later[0]) == []


def test_waiters_that_are_taken_get_no_later_outcome(waiting):
    seen = outcome(waiting.wait())
    taken = waiting.waiters.take()
    waiting.waiters.fire(7)
    assert seen == []
    taken.fire(8)
    assert seen == [8]


def test_error_of_each_waiter_is_its_own(waiting):
    errors: list[BaseException] = []
    for _ in range(2):
        waiting.wait().addErrback(lambda failure: errors.append(failure.value))
    error = SubscriptionError("no", channel="room", status=403, reason="why")
    error.__cause__ = KeyError("x")
    waiting.waiters.fail(error)
    assert errors[0] is not errors[1]
    for mine in errors:
        assert mine is not error
        assert vars(mine) == vars(error)
        assert mine.__cause__ is error.__cause__
        assert mine.args == error.args


def test_copied_error_keeps_no_frames_of_another_one():
    error = ConnectionClosedError("gone", code=4001)
    mine = own_error(error)
    with pytest.raises(ConnectionClosedError):
        raise mine
    assert mine.__traceback__ is not None
    assert error.__traceback__ is None


def test_error_that_composes_its_words_is_copied_with_them():
    class NotAMemberError(SubscriptionError):
        def __init__(self, user, until="for ever"):
            super().__init__(f"{user} is out {until}")
            self.until = until

    mine = own_error(NotAMemberError("bob", "till May"))
    assert (str(mine), mine.until) == ("bob is out till May", "till May")


def test_error_that_cannot_be_copied_is_itself():
    class WilfulError(Exception):
        def __init__(self, one, two):
            super().__init__(one)

    error = WilfulError(1, 2)
    assert own_error(error) is error


def test_error_without_frames_has_those_of_its_reason_neither() -> None:
    try:
        try:
            raise OSError("refused")
        except OSError as reason:
            raise HTTPError("no answer", original_error=reason) from None
    except HTTPError as error:
        bare = without_frames(error)
    assert isinstance(bare.original_error, OSError)
    assert (bare.__traceback__, bare.original_error.__traceback__) == (None, None)
