"""What txpusher.testing gives to the tests of other programs."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, fail
from twisted.internet.threads import deferToThread

from tests.support.credentials import MASTER_KEY_BASE64
from tests.support.observing import Log, in_reactor
from txpusher import BlockingPusher, Pusher, Subscriber
from txpusher.errors import ConfigurationError
from txpusher.server import App
from txpusher.testing import AcceptedEvent, RunningServer

pytest.importorskip("wsproto")


@pytest_twisted.async_yield_fixture
async def channels(log: Log, clean_reactor: None) -> AsyncIterator[RunningServer]:
    server = await RunningServer.start()
    yield server
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_accepted_events_are_remembered_in_order(channels: RunningServer) -> None:
    pusher = channels.pusher()
    await pusher.trigger(["a", "b"], "first", {"n": 1}, socket_id="1.2")
    await pusher.trigger("a", "second", "plain text")
    assert channels.events == [
        AcceptedEvent("a", "first", {"n": 1}, '{"n":1}', "1.2"),
        AcceptedEvent("b", "first", {"n": 1}, '{"n":1}', "1.2"),
        AcceptedEvent("a", "second", "plain text", "plain text", None),
    ]


@pytest_twisted.ensureDeferred
async def test_refused_event_is_not_remembered(channels: RunningServer) -> None:
    stranger = Pusher.from_url(channels.url, secret="wrong")
    with pytest.raises(Exception, match="401"):
        await stranger.trigger("a", "e", "")
    await stranger.close()
    assert channels.events == []


@pytest_twisted.ensureDeferred
async def test_event_is_found_before_and_after_the_wait(channels: RunningServer) -> None:
    pusher = channels.pusher()
    waiting = channels.wait_for_event("a")
    await pusher.trigger("b", "e", 1)
    assert not waiting.called
    await pusher.trigger("a", "e", 2)
    assert (await waiting).data == 2
    assert (await channels.wait_for_event("b")).data == 1


@pytest_twisted.ensureDeferred
async def test_each_event_is_handed_out_once(channels: RunningServer) -> None:
    pusher = channels.pusher()
    for number in range(4):
        await pusher.trigger("a", "odd" if number % 2 else "even", number)
    assert (await channels.wait_for_event("a", "odd")).data == 1
    assert (await channels.wait_for_event("a")).data == 0
    assert (await channels.wait_for_event(name="odd")).data == 3
    assert (await channels.wait_for_event()).data == 2
    assert len(channels.events) == 4
    both = [channels.wait_for_event("a"), channels.wait_for_event("a")]
    await pusher.trigger("a", "e", 4)
    assert [one.called for one in both] == [True, False]
    await pusher.trigger("a", "e", 5)
    assert [(await one).data for one in both] == [4, 5]


@pytest_twisted.ensureDeferred
async def test_missing_event_is_an_assertion_error_that_lists_what_came(
    channels: RunningServer,
) -> None:
    with pytest.raises(AssertionError, match=r"no event within 0\.001 seconds.*nothing"):
        await channels.wait_for_event(timeout=0.001)
    await channels.pusher().trigger("a", "e", "")
    with pytest.raises(AssertionError, match=r"no event 'x' on channel 'b' .*: 'e' on 'a'"):
        await channels.wait_for_event("b", "x", timeout=0.001)
    assert (await channels.wait_for_event()).channel == "a"


@pytest_twisted.ensureDeferred
async def test_cancelled_wait_takes_no_event(channels: RunningServer) -> None:
    waiting = channels.wait_for_event("a")
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    await channels.pusher().trigger("a", "e", 1)
    assert (await channels.wait_for_event("a")).data == 1


@pytest_twisted.ensureDeferred
async def test_forgotten_events_are_not_waited_for(channels: RunningServer) -> None:
    pusher = channels.pusher()
    await pusher.trigger("a", "e", 1)
    channels.forget_events()
    assert channels.events == []
    waiting = channels.wait_for_event()
    await pusher.trigger("a", "e", 2)
    assert (await waiting).data == 2


@pytest_twisted.ensureDeferred
async def test_client_event_is_not_an_event_of_the_program(
    channels: RunningServer,
) -> None:
    one, two = [Subscriber.for_pusher(channels.pusher()) for _ in range(2)]
    for each in (one, two):
        await each.connect()
    sender, receiver = [await each.subscribe("private-a") for each in (one, two)]
    messages = aiter(receiver)
    await sender.trigger("client-x", {})
    assert (await anext(messages)).event == "client-x"
    assert channels.events == []
    await one.close()
    await two.close()


@pytest_twisted.ensureDeferred
async def test_encrypted_events_are_read_with_the_key(log: Log, clean_reactor: None) -> None:
    server = await RunningServer.start(encryption_master_key_base64=MASTER_KEY_BASE64)
    pusher = server.pusher()
    await pusher.trigger("private-encrypted-a", "e", {"secret": 1})
    other_key = base64.b64encode(bytes(32)).decode()
    other = server.pusher(encryption_master_key_base64=other_key)
    await other.trigger("private-encrypted-a", "e", {"secret": 2})
    first, second = server.events
    assert first.data == {"secret": 1}
    assert set(second.data) == {"nonce", "ciphertext"}
    assert "secret" not in first.raw_data
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_app_of_the_users_own_is_served(log: Log, clean_reactor: None) -> None:
    server = await RunningServer.start(App("7", "my-key", "my-secret", client_events=False))
    assert server.url == f"http://my-key:my-secret@127.0.0.1:{server.port}/apps/7"
    pusher = Pusher.from_url(server.url)
    await pusher.trigger("a", "e", 1)
    await pusher.close()
    assert (await server.wait_for_event()).data == 1
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_malformed_encryption_key_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match="base64"):
        await RunningServer.start(encryption_master_key_base64="nonsense!")


@pytest_twisted.ensureDeferred
async def test_event_of_a_blocking_client_in_a_thread_is_seen(channels: RunningServer) -> None:
    pusher = BlockingPusher.wrap(channels.pusher())
    await deferToThread(pusher.trigger, "a", "e", {"from": "a thread"})
    event = await channels.wait_for_event("a")
    assert event.data == {"from": "a thread"}


@pytest_twisted.ensureDeferred
async def test_stop_cancels_waits_and_leaves_nothing_in_the_reactor() -> None:
    before = set(in_reactor())
    server = await RunningServer.start()
    await server.pusher().trigger("a", "e", "")
    waiting = server.wait_for_event("never")
    await server.stop()
    with pytest.raises(CancelledError):
        await waiting
    assert set(in_reactor()) - before == set()


@pytest_twisted.ensureDeferred
async def test_server_stops_though_a_client_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = set(in_reactor())
    server = await RunningServer.start()
    monkeypatch.setattr(server.pusher(), "close", lambda: fail(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        await server.stop()
    assert set(in_reactor()) - before == set()
