"""Waiting for subscribers, sign-ins and client events of a RunningServer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from tests.support.credentials import KEY, SECRET
from tests.support.observing import Log
from tests.support.raw_client import Socket, close, open_socket
from txpusher.errors import ClosedError, InvalidRequestError
from txpusher.server import App
from txpusher.testing import ClientEvent, RunningServer, SignedInClient, SubscribedClient

SUCCEEDED = "pusher_internal:subscription_succeeded"


@pytest_twisted.async_yield_fixture
async def running(log: Log, clean_reactor: None) -> AsyncIterator[RunningServer]:
    running = await RunningServer.start(App("3", KEY, SECRET))
    yield running
    await running.stop()


def sign_in(running: RunningServer, socket: Socket, user_id: str) -> None:
    data = running.pusher().authenticate_user(socket.socket_id, {"id": user_id})
    socket.send({"event": "pusher:signin", "data": data})


@pytest_twisted.ensureDeferred
async def test_event_published_after_the_wait_reaches_the_subscriber(
    running: RunningServer,
) -> None:
    waiting = running.wait_for_subscription("orders")
    page = await open_socket(running.port)
    assert not waiting.called
    page.subscribe("orders")
    assert await waiting == (SubscribedClient("orders", page.socket_id),)
    await running.pusher().trigger("orders", "created", {"n": 1})
    [message] = await page.wait("created")
    assert message["data"] == '{"n":1}'
    await close(page)


@pytest_twisted.ensureDeferred
async def test_subscription_that_has_come_already_is_found_each_time(
    running: RunningServer,
) -> None:
    page = await open_socket(running.port)
    page.subscribe("presence-lobby", {"user_id": "alice"})
    await page.wait(SUCCEEDED)
    expected = (SubscribedClient("presence-lobby", page.socket_id, "alice"),)
    for _ in range(2):
        assert await running.wait_for_subscription("presence-lobby", timeout=0.0) == expected
    await close(page)


@pytest_twisted.ensureDeferred
async def test_subscriber_that_left_again_is_not_waited_for(running: RunningServer) -> None:
    page = await open_socket(running.port)
    page.subscribe("a")
    await running.wait_for_subscription("a")
    page.send({"event": "pusher:unsubscribe", "data": {"channel": "a"}})
    assert await running.wait_for_subscription("a", count=0) == ()
    with pytest.raises(
        AssertionError,
        match=r"no subscription to 'a' within 0\.01 seconds; subscribed now: nobody",
    ):
        await running.wait_for_subscription("a", timeout=0.01)
    await close(page)


@pytest_twisted.ensureDeferred
async def test_wait_for_several_subscribers_ends_with_the_last_of_them(
    running: RunningServer,
) -> None:
    both = running.wait_for_subscription("a", count=2)
    pages = [await open_socket(running.port) for _ in range(2)]
    for page in pages:
        assert not both.called
        page.subscribe("a")
        await page.wait(SUCCEEDED)
    assert [client.socket_id for client in await both] == [page.socket_id for page in pages]
    pages[0].subscribe("b")
    await pages[0].wait(SUCCEEDED, 2)
    with pytest.raises(
        AssertionError,
        match="no 3 subscriptions to 'a' within 0 seconds; subscribed now: 2 to 'a', 1 to 'b'",
    ):
        await running.wait_for_subscription("a", timeout=0, count=3)
    for page in pages:
        await close(page)


@pytest_twisted.ensureDeferred
async def test_wait_for_nobody_ends_when_the_last_connection_is_gone(
    running: RunningServer,
) -> None:
    page = await open_socket(running.port)
    page.subscribe("a")
    await running.wait_for_subscription("a")
    with pytest.raises(AssertionError, match=r"no end of the subscriptions to 'a' .*1 to 'a'"):
        await running.wait_for_subscription("a", timeout=0, count=0)
    gone = running.wait_for_subscription("a", count=0)
    assert not gone.called
    await close(page)
    assert await gone == ()


@pytest.mark.parametrize(
    ("count", "shown"),
    [(-1, "-1"), (1.0, "the float 1.0"), (True, "the bool True"), (None, "None")],
)
@pytest_twisted.ensureDeferred
async def test_count_that_is_no_number_of_subscribers_is_refused(
    running: RunningServer, count: object, shown: str
) -> None:
    with pytest.raises(InvalidRequestError, match=f"count must be .*, not {shown}"):
        await running.wait_for_subscription("a", count=count)  # type: ignore[arg-type]


@pytest_twisted.ensureDeferred
async def test_sign_in_is_waited_for_and_ends_with_the_connection(
    running: RunningServer,
) -> None:
    from twisted.internet import reactor

    waiting = running.wait_for_sign_in("alice")
    pages = [await open_socket(running.port) for _ in range(2)]
    sign_in(running, pages[0], "bob")
    assert (await running.wait_for_sign_in()).user_id == "bob"
    assert not waiting.called
    sign_in(running, pages[1], "alice")
    assert await waiting == SignedInClient("alice", pages[1].socket_id)
    assert await running.wait_for_sign_in("alice") == SignedInClient(
        "alice", pages[1].socket_id
    )
    subscribed = running.wait_for_subscription("#server-to-user-alice")
    pages[1].send(
        {
            "event": "pusher:subscribe",
            "data": {"channel": "#server-to-user-alice", "auth": ""},
        }
    )
    await subscribed
    gone = running.wait_for_subscription("#server-to-user-alice", count=0)
    await close(pages[1])
    await gone
    # The server tells of the end of the connection after the end of its subscriptions.
    await deferLater(reactor, 0)
    with pytest.raises(
        AssertionError, match=r"no sign-in of user 'alice' .*; signed in now: 'bob'"
    ):
        await running.wait_for_sign_in("alice", timeout=0)
    await close(pages[0])


@pytest_twisted.ensureDeferred
async def test_client_events_are_recorded_apart_and_handed_out_once(
    running: RunningServer,
) -> None:
    page = await open_socket(running.port)
    page.subscribe("presence-a", {"user_id": "alice"})
    page.subscribe("private-b")
    await page.wait(SUCCEEDED, 2)
    waiting = running.wait_for_client_event("private-b")
    for channel, data in (("presence-a", {"n": 1}), ("private-b", '"text"')):
        page.send({"event": "client-x", "channel": channel, "data": data})
    second = await waiting
    assert (second.channel, second.user_id) == ("private-b", None)
    first = await running.wait_for_client_event(name="client-x")
    assert first == ClientEvent(
        "presence-a", "client-x", {"n": 1}, first.raw_data, page.socket_id, "alice"
    )
    assert running.client_events == [first, second]
    assert running.events == []
    with pytest.raises(AssertionError, match=r"no client event .*: 'client-x' on 'presence-a'"):
        await running.wait_for_client_event(timeout=0)
    running.forget_events()
    assert running.client_events == []
    await close(page)


@pytest_twisted.ensureDeferred
async def test_failure_message_lists_the_latest_ten_events(running: RunningServer) -> None:
    pusher = running.pusher()
    for number in range(11):
        await pusher.trigger("a", f"e{number}", "")
    listed = ", ".join(["...", *(f"'e{number}' on 'a'" for number in range(1, 11))])
    with pytest.raises(AssertionError, match=f"accepted so far: {listed}$"):
        await running.wait_for_event("b", timeout=0)


@pytest_twisted.ensureDeferred
async def test_callback_that_cancels_the_next_waiter_leaves_the_event_to_others(
    running: RunningServer,
) -> None:
    first, second = running.wait_for_event("a"), running.wait_for_event("a")
    second.addErrback(lambda failure: failure.trap(CancelledError))
    first.addCallback(lambda event: second.cancel())
    pusher = running.pusher()
    await pusher.trigger("a", "e", 1)
    await first
    await pusher.trigger("a", "e", 2)
    assert (await running.wait_for_event("a", timeout=0)).data == 2


@pytest.mark.parametrize(
    ("timeout", "shown"),
    [(-1, "-1"), ("1", "the str '1'"), (True, "the bool True"), (None, "None")],
)
@pytest.mark.parametrize("wait", ["event", "client_event", "subscription", "sign_in"])
@pytest_twisted.ensureDeferred
async def test_wait_for_no_number_of_seconds_fails_and_waits_for_nothing(
    running: RunningServer, wait: str, timeout: Any, shown: str
) -> None:
    options = {"channel": "a"} if wait == "subscription" else {}
    waiting = getattr(running, f"wait_for_{wait}")(timeout=timeout, **options)
    with pytest.raises(InvalidRequestError) as caught:
        await waiting
    assert str(caught.value) == f"timeout must be a number of seconds >= 0, not {shown}"


@pytest_twisted.ensureDeferred
async def test_wait_after_stop_fails_at_once_and_the_memory_stays(
    log: Log, clean_reactor: None
) -> None:
    running = await RunningServer.start()
    await running.pusher().trigger("a", "e", 1)
    await running.stop()
    assert (await running.wait_for_event("a")).data == 1
    with pytest.raises(ClosedError, match="stopped"):
        await running.wait_for_event("a")


@pytest_twisted.ensureDeferred
async def test_default_app_is_the_one_of_serve(log: Log, clean_reactor: None) -> None:
    running = await RunningServer.start()
    assert running.url == f"http://app-key:app-secret@127.0.0.1:{running.port}/apps/1"
    await running.stop()
