"""Asserting how an operation ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from tests.support.credentials import KEY, PROXY_PASSWORD, SECRET
from tests.support.misbehaving import Server

from .waiting import within

E = TypeVar("E", bound=BaseException)


async def error_of(operation: Deferred[Any], kind: type[E], server: Server | None = None) -> E:
    """
    The error of exactly the class *kind* that *operation* fails with.

    :param server: One whose requests' signatures must not be in the message.
    """
    outcome = await within(operation.addCallbacks(lambda value: (value,), lambda f: f.value))
    if isinstance(outcome, tuple):
        raise AssertionError(f"it did not fail but gave {outcome[0]!r}")
    assert type(outcome) is kind, repr(outcome)
    cause = getattr(outcome, "original_error", None)
    text = f"{outcome} {outcome!r} {outcome.__cause__!r} {cause!r} {cause}"
    secrets = [SECRET, KEY, PROXY_PASSWORD]
    if server is not None:
        secrets += [request.signature for request in server.requests]
    for secret in filter(None, secrets):
        assert secret not in text
    return outcome


def outcomes_of(operations: Sequence[Deferred[Any]]) -> list[list[Any]]:
    """A list of lists: what each of *operations* fires with, its error where it fails."""
    outcomes: list[list[Any]] = [[] for _ in operations]
    for operation, ends in zip(operations, outcomes, strict=True):
        operation.addCallbacks(
            ends.append, lambda failure, ends=ends: ends.append(failure.value)
        )
    return outcomes


def kinds(outcomes: Iterable[Iterable[Any]]) -> list[list[type]]:
    """The same, with the class of each in its place."""
    return [[type(outcome) for outcome in ends] for ends in outcomes]
