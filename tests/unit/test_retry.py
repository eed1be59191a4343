"""What is tried again, and when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txpusher.errors import (
    AuthenticationError,
    ClosedError,
    HTTPError,
    ProxyAuthenticationError,
    RateLimitedError,
    ServerError,
)
from txpusher.retry import RetryPolicy, may_have_been_delivered

from .helpers import misconfiguration, named

LOST = HTTPError("lost", transient=True, maybe_delivered=True)
REFUSED = HTTPError("refused", transient=True)


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("status", [None, 200, 302, 404, 429, 500])
def test_failed_query_was_not_delivered(sent, status):
    assert may_have_been_delivered("GET", sent=sent, status=status) is False


@pytest.mark.parametrize(
    ("sent", "status", "maybe"),
    [
        (False, None, False),
        (False, 502, False),
        (True, None, True),
        (True, 199, True),
        (True, 200, True),
        (True, 299, True),
        (True, 300, False),
        (True, 307, False),
        (True, 400, False),
        (True, 429, False),
        (True, 499, False),
        (True, 500, True),
        (True, 503, True),
        (True, 600, True),
    ],
)
def test_post_may_be_delivered_unless_it_was_not_sent_or_was_refused(sent, status, maybe):
    assert may_have_been_delivered("POST", sent=sent, status=status) is maybe


def test_status_is_unknown_unless_given():
    assert may_have_been_delivered("POST", sent=True) is True


def test_policy_has_the_documented_defaults():
    assert RetryPolicy() == RetryPolicy(
        max_retries=3, initial_delay=0.1, max_delay=5.0, max_duration=None, unsafe=False
    )


@pytest.mark.parametrize("error", [REFUSED, RateLimitedError("slow down"), ServerError("GET")])
def test_transient_failure_without_delivery_is_retried(error):
    assert RetryPolicy().delay(0, error) is not None


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("wrong"),
        ProxyAuthenticationError("wrong"),
        ClosedError("closed"),
        HTTPError("certificate"),
    ],
)
@pytest.mark.parametrize("unsafe", [True, False])
def test_lasting_failure_is_not_retried(error, unsafe):
    assert RetryPolicy(unsafe=unsafe).delay(0, error) is None


def test_post_that_may_have_been_delivered_is_retried_only_with_unsafe():
    assert RetryPolicy().delay(0, LOST) is None
    assert RetryPolicy(unsafe=True).delay(0, LOST) is not None


@pytest.mark.parametrize("most", [0, 1, 3])
def test_retries_end_at_the_limit(most):
    policy = RetryPolicy(max_retries=most)
    delays = [policy.delay(retries, REFUSED) for retries in range(most + 2)]
    assert [delay is None for delay in delays] == [False] * most + [True, True]


@pytest.mark.parametrize(
    ("retries", "longest"), [(0, 0.1), (1, 0.2), (2, 0.4), (5, 3.2), (6, 5.0), (5000, 5.0)]
)
def test_delay_doubles_up_to_the_longest(retries, longest):
    policy = RetryPolicy(max_retries=10_000)
    delays: list[Any] = [policy.delay(retries, REFUSED) for _ in range(300)]
    assert longest * 0.5 <= min(delays) < longest * 0.6
    assert longest * 0.9 < max(delays) <= longest


def test_initial_delay_of_zero_gives_no_delay():
    assert RetryPolicy(initial_delay=0).delay(2, REFUSED) == 0


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(1.0, 1.0), (7.5, 7.5), (30.0, 30.0), (30.1, None), (1e9, None)]
)
def test_server_is_obeyed_up_to_half_a_minute(retry_after, delay):
    error = RateLimitedError("slow down", retry_after=retry_after)
    assert RetryPolicy().delay(0, error) == delay


def test_server_cannot_shorten_the_delay():
    error = RateLimitedError("slow down", retry_after=0.0)
    assert RetryPolicy(initial_delay=4.0).delay(0, error) >= 2.0


@given(st.integers(0, 2), st.floats(0, 10), st.floats(0, 10))
def test_delay_stays_within_the_limits(retries, initial, longest):
    delay = RetryPolicy(initial_delay=initial, max_delay=longest).delay(retries, REFUSED)
    assert 0 <= delay <= longest


@pytest.mark.parametrize("value", [-1, 1.5, True, "3", None])
def test_number_of_retries_must_be_whole(value):
    message = misconfiguration(RetryPolicy, max_retries=value)
    assert (
        message
        == f"RetryPolicy.max_retries must be a whole number >= 0, not {named(value, int)}"
    )


@pytest.mark.parametrize("setting", ["initial_delay", "max_delay"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), True, "1", None])
def test_delay_must_be_a_number_of_seconds(setting, value):
    message = misconfiguration(RetryPolicy, **{setting: value})
    assert message == (
        f"RetryPolicy.{setting} must be a number of seconds >= 0, "
        f"not {named(value, int, float)}"
    )


@pytest.mark.parametrize("value", ["no", "false", 0, None])
def test_unsafe_must_be_a_bool(value):
    assert "RetryPolicy.unsafe" in misconfiguration(RetryPolicy, unsafe=value)
