"""FakePusher, held against a Pusher that talks to a real server."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread

from tests.support.credentials import MASTER_KEY_BASE64
from tests.support.observing import Log, in_reactor
from txpusher import (
    APIError,
    BlockingPusher,
    Event,
    Pusher,
    PusherError,
)
from txpusher.testing import FakePusher, RunningServer


@pytest_twisted.async_yield_fixture
async def pushers(log: Log, clean_reactor: None) -> AsyncIterator[list[Pusher]]:
    """A Pusher of a running server, and a FakePusher with the same settings."""
    server = await RunningServer.start()
    settings: dict[str, Any] = {
        "encryption_master_key_base64": MASTER_KEY_BASE64,
        "max_batch_size": 3,
    }
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
    lambda p: p.request("GET", "/channels", {"filter_by_prefix": "a"}),
    lambda p: p.request("POST", "/events", body={"name": "e", "channel": "a", "data": "1"}),
    lambda p: p.request("POST", "/events", body='{"name": "e", "channel": "a", "data": "1"}'),
    lambda p: p.request("DELETE", "/events"),
    lambda p: p.request("POST", "/channels"),
    lambda p: p.request("GET", "/events"),
    lambda p: p.request("BAD METHOD", "/events"),
    lambda p: p.trigger("a", "e", "once", idempotency_key="k 1"),
    lambda p: p.trigger("a", "e", "twice", idempotency_key="k 1"),
    lambda p: p.trigger("a", "e", 1, idempotency_key=""),
    lambda p: p.send_to_user("7", "e", 1, idempotency_key="k 2"),
    lambda p: p.send_to_user("7", "e", 1, idempotency_key="k 1"),
    lambda p: p.trigger(["a", "b"], "e", 1, idempotency_key="k 1"),
    lambda p: p.trigger(["b", "a"], "e", 1, idempotency_key="k 1"),
    lambda p: p.trigger("a", "f", 1, info="subscription_count", idempotency_key="k 1"),
    lambda p: p.trigger_batch([Event("a", "e", 1, idempotency_key="k 3")]),
    lambda p: p.trigger_batch(
        [Event("b", "e", 1), Event("a", "e", 2, idempotency_key="k 3"), Event("a", "e", 3)]
    ),
    lambda p: p.trigger_batch(
        [Event("a", "f", 2, info="subscription_count", idempotency_key="k 4")] * 2
    ),
    lambda p: p.trigger("a", "f", 3, idempotency_key="k 4"),
    lambda p: p.trigger_batch([Event("a", "e", 4, idempotency_key="k 1")]),
    lambda p: p.post(
        "/batch_events",
        {"batch": [{"name": "e", "channel": "a", "data": "1", "idempotency_key": 7}]},
    ),
    lambda p: urlsplit(p.sign("GET", "/channels")).path,
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
    server = await RunningServer.start(encryption_master_key_base64=MASTER_KEY_BASE64)
    fake = FakePusher(encryption_master_key_base64=MASTER_KEY_BASE64, max_batch_size=3)
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


@pytest_twisted.ensureDeferred
async def test_blocking_pusher_wraps_a_fake() -> None:
    fake = FakePusher()
    blocking = BlockingPusher.wrap(fake)
    assert await deferToThread(blocking.trigger, "a", "e", {"n": 1}) == {}
    fake.assert_sent("a", "e", {"n": 1})


@pytest_twisted.ensureDeferred
async def test_fake_leaves_nothing_in_the_reactor() -> None:
    before = set(in_reactor())
    async with FakePusher() as fake:
        await fake.trigger("a", "e", 1)
    assert set(in_reactor()) - before == set()
