"""FakePusher, held against a Pusher that talks to a real server."""

from __future__ import annotations

import base64
import inspect
from collections.abc import AsyncIterator, Callable
from datetime import date
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from tests.support.observing import Log, in_reactor
from txpusher import (
    APIError,
    Attempt,
    BatchPublisher,
    BlockingPusher,
    ClosedError,
    Event,
    HTTPError,
    InvalidRequestError,
    Pusher,
    PusherError,
    RateLimitedError,
)
from txpusher.errors import ConfigurationError
from txpusher.testing import ANYTHING, FakePusher, RunningServer, SentEvent

MASTER_KEY = base64.b64encode(bytes(range(32))).decode()


@pytest_twisted.async_yield_fixture
async def pushers(log: Log, clean_reactor: None) -> AsyncIterator[list[Pusher]]:
    """A Pusher of a running server, and a FakePusher with the same settings."""
    server = await RunningServer.start()
    settings: dict[str, Any] = {"encryption_master_key_base64": MASTER_KEY, "max_batch_size": 3}
    yield [server.pusher(**settings), FakePusher(**settings)]
    await server.stop()


def public_names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_public_method_has_the_signature_of_pushers() -> None:
    for name in public_names(Pusher):
        real, fake = (inspect.getattr_static(kind, name) for kind in (Pusher, FakePusher))
        assert type(real) is type(fake)
        if callable(real):
            assert inspect.signature(real) == inspect.signature(fake)
    for name in ("__aenter__", "__aexit__", "__getitem__"):
        assert getattr(Pusher, name) is getattr(FakePusher, name)
    assert public_names(FakePusher) - public_names(Pusher) == {"assert_sent", "fail_next"}


ENCRYPTED, USER = "private-encrypted-a", "#server-to-user-7"
LONG = "x" * 10_241

#: Calls of operations, each of a client.
CALLS: list[Callable[[Any], Any]] = [
    lambda p: p.trigger("a", "e", {"n": 1}),
    lambda p: p.trigger("a", "e", "text", socket_id="1.2"),
    lambda p: p.trigger(("a", "b"), "e", b"bytes".decode()),
    lambda p: p.trigger(iter(["a", "b"]), "e", [1, 2], info="subscription_count"),
    lambda p: p.trigger("presence-a", "e", 1, info=["user_count", "subscription_count"]),
    lambda p: p.trigger("a", "e", 1, info="user_count"),
    lambda p: p.trigger("a", "e", 1, info="nonsense"),
    lambda p: p.trigger("a", "e", 1, info=""),
    lambda p: p.trigger(ENCRYPTED, "e", {"n": 1}),
    lambda p: p.trigger([ENCRYPTED, "a"], "e", {"n": 1}),
    lambda p: p.trigger(USER, "e", {"n": 1}),
    lambda p: p.trigger([], "e", 1),
    lambda p: p.trigger(["a"] * 101, "e", 1),
    lambda p: p.trigger("a b", "e", 1),
    lambda p: p.trigger(3, "e", 1),
    lambda p: p.trigger("a", "", 1),
    lambda p: p.trigger("a", "e", object()),
    lambda p: p.trigger("a", "e", float("nan")),
    lambda p: p.trigger("a", "e", LONG),
    lambda p: p.trigger("a", "e", 1, socket_id="nonsense"),
    lambda p: p.trigger_batch([Event("a", "e", 1), {"channel": "b", "name": "e", "data": 2}]),
    lambda p: p.trigger_batch([Event("a", "e", 1, info="subscription_count")]),
    lambda p: p.trigger_batch([]),
    lambda p: p.trigger_batch([Event("a", "e", 1)] * 4),
    lambda p: p.trigger_batch([Event("a b", "e", 1)]),
    lambda p: p.trigger_batch([Event(ENCRYPTED, "e", {"n": 1}), Event(USER, "e", 1)]),
    lambda p: p.send_to_user("7", "e", {"n": 1}),
    lambda p: p.send_to_user("", "e", {"n": 1}),
    lambda p: p.channels(),
    lambda p: p.channels("presence-", "user_count"),
    lambda p: p.channels("private-", "user_count"),
    lambda p: p.channels(info="subscription_count"),
    lambda p: p.channels(info="nonsense"),
    lambda p: p.channel_info("a"),
    lambda p: p.channel_info("a", "subscription_count"),
    lambda p: p.channel_info("presence-a", ["subscription_count", "user_count"]),
    lambda p: p.channel_info("a", "user_count"),
    lambda p: p.channel_info("a", "cache"),
    lambda p: p.channel_info("cache-a", "cache"),
    lambda p: p.trigger("cache-a", "e", {"n": 1}),
    lambda p: p.channel_info("cache-a", ["cache", "subscription_count"]),
    lambda p: p.channel_info("a b"),
    lambda p: p.channel_users("presence-a"),
    lambda p: p.channel_users("a"),
    lambda p: p.terminate_user_connections("a/b"),
    lambda p: p.terminate_user_connections(""),
    lambda p: p.get("/channels"),
    lambda p: p.get("/channels/a", {"info": "subscription_count"}),
    lambda p: p.get("/channels/%61/users"),
    lambda p: p.get("/nonsense"),
    lambda p: p.get("nonsense"),
    lambda p: p.get("/channels", {"auth_key": "x"}),
    lambda p: p.post("/events", {"name": "e", "channels": ["a", "b"], "data": "1"}),
    lambda p: p.post("/events", {"name": "e", "channel": "a", "data": "1", "socket_id": "1.2"}),
    lambda p: p.post("/events", {"name": "e", "channels": [], "data": "1"}),
    lambda p: p.post("/events", {"name": "e", "channels": ["a b"], "data": "1"}),
    lambda p: p.post("/events", {"name": "e", "channels": ["a"], "data": 1}),
    lambda p: p.post("/events"),
    lambda p: p.post("/batch_events", {"batch": [{"name": "e", "channel": "a", "data": "1"}]}),
    lambda p: p.post("/batch_events", {"batch": [{"name": "e", "data": "1"}]}),
    lambda p: p.post("/batch_events", {"batch": "nonsense"}),
    lambda p: p.post("/users/7/terminate_connections"),
    lambda p: p.authenticate("private-a", "1.2"),
    lambda p: p.authenticate("presence-a", "1.2", {"user_id": "7"}),
    lambda p: p.authenticate("a b", "1.2"),
    lambda p: p.authenticate_user("1.2", {"id": "7"}),
    lambda p: p.webhook(key="app-key", signature="x", body="{}").is_valid,
    lambda p: p["a"].trigger("e", {"n": 1}),
    lambda p: p["a"].trigger_quietly("e", {"n": 1}),
    lambda p: p["a"].info("subscription_count"),
    lambda p: p["presence-a"].users(),
    lambda p: p.channel("a b"),
    lambda p: p.close(timeout=-1),
    lambda p: p.close(timeout=1.0),
    lambda p: p.close(),
    lambda p: p.trigger("a", "e", 1),
    lambda p: p.channels(),
]


async def outcome(call: Callable[[Any], Any], pusher: Pusher) -> Any:
    """What a call returns, or the error with all that it says."""
    try:
        return await maybeDeferred(call, pusher)
    except PusherError as raised:
        error = raised
    told = (type(error), getattr(error, "maybe_delivered", None))
    if isinstance(error, APIError):
        # The server's own words differ.
        return (*told, error.status, error.path)
    return (*told, str(error))


@pytest_twisted.ensureDeferred
async def test_every_call_has_the_outcome_of_a_pusher_and_a_server(
    pushers: list[Pusher],
) -> None:
    for place, call in enumerate(CALLS):
        real, fake = [await outcome(call, pusher) for pusher in pushers]
        if isinstance(real, dict) and "cache" in real:
            assert 0 < real["cache"].pop("ttl") <= fake["cache"].pop("ttl")
        assert real == fake, f"CALLS[{place}]"


@pytest_twisted.ensureDeferred
async def test_calls_leave_out_no_public_operation(pushers: list[Pusher]) -> None:
    called = {name for call in CALLS for name in call.__code__.co_names}
    settings = {"config", "stats", "api", "transport", "from_env", "from_url"}
    assert public_names(Pusher) - settings - called == set()


@pytest_twisted.ensureDeferred
async def test_same_events_are_sent_as_a_server_accepts(log: Log, clean_reactor: None) -> None:
    server = await RunningServer.start(encryption_master_key_base64=MASTER_KEY)
    fake = FakePusher(encryption_master_key_base64=MASTER_KEY, max_batch_size=3)
    for pusher in (server.pusher(max_batch_size=3), fake):
        for call in CALLS:
            await outcome(call, pusher)
    accepted = [
        (event.channel, event.name, event.data, event.socket_id) for event in server.events
    ]
    sent = [
        # What post() is given is text already.
        (event.channel, event.name, 1 if event.data == "1" else event.data, event.socket_id)
        for event in fake.sent
    ]
    assert sent == accepted
    assert len(sent) > 20
    await server.stop()


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
        json_dumps=lambda data: '"encoded"', encryption_master_key_base64=MASTER_KEY
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


@pytest_twisted.ensureDeferred
async def test_blocking_pusher_wraps_a_fake() -> None:
    fake = FakePusher()
    blocking = BlockingPusher.wrap(fake)
    assert await deferToThread(blocking.trigger, "a", "e", {"n": 1}) == {}
    fake.assert_sent("a", "e", {"n": 1})


def test_assert_sent_returns_the_first_event_that_fits() -> None:
    fake = FakePusher()
    for number in (1, 2):
        value_of(fake.trigger("a", "e", {"n": number}))
    assert fake.assert_sent("a", "e").data == {"n": 1}
    assert fake.assert_sent("a", "e", data={"n": 2}) is fake.sent[1]
    assert fake.assert_sent("a", "e", ANYTHING) is fake.sent[0]


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


def test_hook_that_raises_fails_no_operation(log: Log) -> None:
    def hook(attempt: Attempt) -> None:
        raise ZeroDivisionError

    fake = FakePusher(on_attempt=hook)
    assert value_of(fake.trigger("a", "e", 1)) == {}
    [failure] = log.failures
    assert failure["log_failure"].check(ZeroDivisionError)
    log.failures.clear()


def test_closed_fake_refuses_operations_without_using_up_a_failure() -> None:
    fake = FakePusher()
    fake.fail_next(HTTPError("lost"))
    value_of(fake.close())
    value_of(fake.close())
    with pytest.raises(ClosedError, match="the client is closed"):
        value_of(fake.trigger("a", "e", 1))
    assert (fake.sent, fake.stats.failed) == ([], 1)


@pytest_twisted.ensureDeferred
async def test_fake_leaves_nothing_in_the_reactor() -> None:
    before = set(in_reactor())
    async with FakePusher() as fake:
        await fake.trigger("a", "e", 1)
    assert set(in_reactor()) - before == set()


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
