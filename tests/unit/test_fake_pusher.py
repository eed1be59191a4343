"""FakePusher by itself: what it remembers, how it fails, what it says of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from tests.support.credentials import MASTER_KEY_BASE64
from txpusher import (
    APIError,
    Attempt,
    BatchPublisher,
    ClosedError,
    Event,
    HTTPError,
    InvalidRequestError,
    Pusher,
    RateLimitedError,
)
from txpusher.errors import ConfigurationError
from txpusher.testing import ANYTHING, FakePusher, SentEvent

ENCRYPTED, USER = "private-encrypted-a", "#server-to-user-7"


def value_of(deferred: Deferred[Any]) -> Any:
    """The result of a Deferred that must have fired."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    [result] = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


def test_sent_has_the_data_as_given_then_and_one_entry_per_channel() -> None:
    fake = FakePusher(
        json_dumps=lambda data: '"encoded"', encryption_master_key_base64=MASTER_KEY_BASE64
    )
    data = {"day": date(2026, 1, 2), "tuple": (1, 2)}
    value_of(fake.trigger(iter(["a", "b"]), "e", data, socket_id="1.2"))
    value_of(fake.trigger(ENCRYPTED, "e", data))
    value_of(fake.trigger_batch([Event("c", "f", data), Event("d", "g", "text")]))
    value_of(fake.send_to_user("7", "e", data))
    as_given = {"day": date(2026, 1, 2), "tuple": (1, 2)}
    data.clear()
    assert fake.sent == [
        SentEvent("a", "e", as_given, "1.2"),
        SentEvent("b", "e", as_given, "1.2"),
        SentEvent(ENCRYPTED, "e", as_given),
        SentEvent("c", "f", as_given),
        SentEvent("d", "g", "text"),
        SentEvent(USER, "e", as_given),
    ]
    assert repr(fake) == "<FakePusher app 1, 6 events sent>"


def test_data_that_cannot_be_copied_is_kept_itself() -> None:
    class Single:
        def __deepcopy__(self, memo: object) -> None:
            raise TypeError

    fake, data = FakePusher(json_dumps=lambda data: "{}"), Single()
    value_of(fake.trigger("a", "e", data))
    assert fake.sent[0].data is data


@pytest.mark.parametrize("ordered", [True, False])
def test_batch_publisher_takes_a_fake(ordered: bool) -> None:
    fake = FakePusher()
    publisher = BatchPublisher(fake, ordered=ordered)
    results = [publisher.trigger("a", "e", (number,)) for number in range(25)]
    assert [value_of(result) for result in results] == [{}] * 25
    assert [event.data for event in fake.sent] == [(number,) for number in range(25)]
    with pytest.raises(InvalidRequestError):
        value_of(publisher.trigger("a b", "e", 1))
    fake.fail_next(HTTPError("lost", maybe_delivered=True))
    with pytest.raises(HTTPError, match="lost"):
        value_of(publisher.trigger("a", "e", 1))
    assert len(fake.sent) == 25
    value_of(publisher.close())


def test_assert_sent_returns_the_first_event_that_fits() -> None:
    fake = FakePusher()
    for number in (1, 2):
        value_of(fake.trigger("a", "e", {"n": number}))
    assert fake.assert_sent("a", "e").data == {"n": 1}
    assert fake.assert_sent("a", "e", data={"n": 2}) is fake.sent[1]
    assert fake.assert_sent("a", "e", ANYTHING) is fake.sent[0]


def test_repeated_idempotency_key_is_answered_and_sends_nothing() -> None:
    fake = FakePusher()
    for number in (1, 2):
        reply = fake.trigger("a", "e", number, info="subscription_count", idempotency_key="k")
        assert value_of(reply) == {"channels": {"a": {"subscription_count": 0}}}
    assert [event.data for event in fake.sent] == [1]


def test_repeated_idempotency_key_in_batches_sends_each_event_once() -> None:
    fake = FakePusher()
    for number in (1, 2):
        keyed = Event("a", "e", number, info="subscription_count", idempotency_key="k")
        reply = fake.trigger_batch([keyed, Event("b", "e", number)])
        assert value_of(reply) == {"batch": [{"subscription_count": 0}, {}]}
    value_of(fake.send_to_user("7", "e", 3, idempotency_key="k"))
    assert [event.data for event in fake.sent] == [1, 1, 2, 3]


def failure_of(check: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as raised:
        check()
    return str(raised.value)


def test_assert_sent_says_what_was_sent_instead() -> None:
    fake = FakePusher()
    assert (
        failure_of(lambda: fake.assert_sent("a", "e"))
        == "no event 'e' on channel 'a' was sent; nothing was sent"
    )
    value_of(fake.trigger("a", "e", {"n": 1}))
    value_of(fake.trigger("b", "f", "x" * 300))
    assert failure_of(lambda: fake.assert_sent("a", "f")) == (
        "no event 'f' on channel 'a' was sent; 2 events were sent:\n"
        "  'e' on 'a': {'n': 1}\n"
        f"  'f' on 'b': '{'x' * 199}..."
    )
    assert failure_of(lambda: fake.assert_sent("a", "e", data={"n": 2})) == (
        "no event 'e' on channel 'a' was sent with the data\n"
        "  {'n': 2}\n"
        "but it was sent with\n"
        "  {'n': 1}"
    )
    assert "\n  None\n" in failure_of(lambda: fake.assert_sent("a", "e", data=None))
    for number in range(9):
        value_of(fake.trigger("c", "g", number))
    message = failure_of(lambda: fake.assert_sent("a", "x"))
    assert "11 events were sent, the latest 10 of them:\n  'f' on 'b'" in message


def test_fail_next_fails_operations_in_order_and_sends_nothing_of_theirs() -> None:
    attempts: list[Attempt] = []
    fake = FakePusher(on_attempt=attempts.append)
    errors = [RateLimitedError("slow down", status=429), HTTPError("lost"), KeyError("mine")]
    for error in errors:
        fake.fail_next(error)
    with pytest.raises(InvalidRequestError):
        value_of(fake.trigger("a b", "e", 1))
    for error, operate in zip(
        errors, [lambda: fake.trigger("a", "e", 1), fake.channels, fake.channels], strict=True
    ):
        with pytest.raises(type(error)) as raised:
            value_of(operate())
        assert raised.value is error
    assert fake.sent == []
    value_of(fake.trigger("a", "e", 1))
    with pytest.raises(APIError):
        value_of(fake.channel_users("a"))
    told = [(attempt.status, type(attempt.failure).__name__) for attempt in attempts]
    assert told == [
        (None, "RateLimitedError"),
        (None, "HTTPError"),
        (None, "NoneType"),
        (200, "NoneType"),
        (400, "BadRequestError"),
    ]
    assert (fake.stats.sent, fake.stats.succeeded, fake.stats.failed) == (5, 1, 4)
    with pytest.raises(TypeError, match="must be an exception, not 'lost'"):
        fake.fail_next("lost")  # type: ignore[arg-type]


def test_hook_that_raises_fails_no_operation() -> None:
    logged: list[LogEvent] = []

    def hook(attempt: Attempt) -> None:
        raise ZeroDivisionError

    fake = FakePusher(on_attempt=hook)
    globalLogPublisher.addObserver(logged.append)
    try:
        assert value_of(fake.trigger("a", "e", 1)) == {}
    finally:
        globalLogPublisher.removeObserver(logged.append)
    [event] = logged
    assert event["log_failure"].check(ZeroDivisionError)


def test_closed_fake_refuses_operations_without_using_up_a_failure() -> None:
    fake = FakePusher()
    fake.fail_next(HTTPError("lost"))
    value_of(fake.close())
    value_of(fake.close())
    with pytest.raises(ClosedError, match="the client is closed"):
        value_of(fake.trigger("a", "e", 1))
    assert (fake.sent, fake.stats.failed) == ([], 1)


@pytest.mark.parametrize(
    "setting", [{"key": ""}, {"timeout": -1}, {"encryption_master_key_base64": "x"}]
)
def test_malformed_setting_is_refused_as_by_a_pusher(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as fake:
        FakePusher(**setting)
    with pytest.raises(ConfigurationError) as real:
        Pusher(**{"app_id": "1", "key": "k", "secret": "s", **setting})
    assert str(fake.value) == str(real.value)


def test_fake_is_made_from_a_url_too() -> None:
    fake = FakePusher.from_url("https://k:s@example.com/apps/7")
    value_of(fake.trigger("a", "e", 1))
    assert (fake.config.app_id, len(fake.sent)) == ("7", 1)
