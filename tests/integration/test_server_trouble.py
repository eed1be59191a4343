"""Bad days on demand: what a client of the server meets, over sockets."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from tests.support.credentials import KEY, SECRET
from tests.support.raw_client import close, connect_raw, end, open_socket, signed
from tests.support.waiting import until
from txpusher import Pusher, RateLimitedError, RetryPolicy, ServerError
from txpusher._protocol import signing
from txpusher.errors import HTTPError, RequestTimeoutError, SubscriptionError
from txpusher.server import Activity, App, ChannelsServer
from txpusher.subscriber import Subscriber

pytest.importorskip("wsproto")

ONCE = RetryPolicy(max_retries=0)


def watch(server: ChannelsServer, *kinds: str) -> list[Activity]:
    """What happens on the server from now on, of these kinds."""
    seen: list[Activity] = []
    server.add_observer(lambda a: seen.append(a) if a.kind in kinds else None)
    return seen


@pytest_twisted.ensureDeferred
async def test_delayed_reply_is_a_timeout_that_may_have_been_delivered(
    server: ChannelsServer,
) -> None:
    events, wrong = watch(server, "event"), watch(server, "trouble")
    server.trouble.delay = 60.0
    pusher = Pusher.from_url(server.url("3"), timeout=0.2, retry=ONCE)
    with pytest.raises(RequestTimeoutError) as caught:
        await pusher.trigger("a", "e", "")
    assert caught.value.maybe_delivered
    assert [event.channel for event in events] == ["a"]
    assert [(one.app_id, one.detail) for one in wrong] == [
        ("3", "POST /apps/3/events: after 60 seconds")
    ]
    await pusher.close()


@pytest_twisted.ensureDeferred
async def test_delayed_reply_arrives_whole_after_the_delay(server: ChannelsServer) -> None:
    from twisted.internet import reactor

    server.trouble.delay = 0.1
    pusher = Pusher.from_url(server.url("3"))
    began = reactor.seconds()
    assert await pusher.channels() == {"channels": {}}
    assert reactor.seconds() - began >= 0.1
    server.trouble.delay = 0.0
    assert await pusher.channel_info("a") == {"occupied": False}
    assert pusher.stats.open_connections == 1
    await pusher.close()


@pytest_twisted.ensureDeferred
async def test_delayed_replies_of_pipelined_requests_keep_their_order(
    server: ChannelsServer,
) -> None:
    server.trouble.delay = 0.05
    raw = await connect_raw(server.port)
    raw.write(signed("GET", "/apps/3/channels") + signed("GET", "/apps/3/channels/a"))
    assert (await raw.response())[2] == b'{"channels":{}}'
    assert (await raw.response())[2] == b'{"occupied":false}'
    await end(raw)


@pytest_twisted.ensureDeferred
async def test_server_stops_though_replies_are_delayed(clean_reactor: None) -> None:
    server = ChannelsServer([App("3", KEY, SECRET)])
    await server.listen()
    server.trouble.delay = 60.0
    wrong = watch(server, "trouble")
    raw = await connect_raw(server.port)
    raw.write(signed("GET", "/apps/3/channels"))
    await until(lambda: bool(wrong))
    await server.stop()
    await raw.lost
    assert raw.received == b""


@pytest_twisted.ensureDeferred
async def test_dropped_reply_may_have_been_delivered_and_the_event_is_published(
    server: ChannelsServer,
) -> None:
    socket = await open_socket(server.port)
    socket.subscribe("a")
    await socket.wait("pusher_internal:subscription_succeeded")
    server.trouble.drop_reply_rate = 1.0
    pusher = Pusher.from_url(server.url("3"))
    with pytest.raises(HTTPError) as caught:
        await pusher.trigger("a", "e", "")
    assert caught.value.maybe_delivered
    assert len(await socket.wait("e")) == 1
    await pusher.close()
    await close(socket)


@pytest_twisted.ensureDeferred
async def test_dropped_reply_is_made_up_for_by_an_idempotency_key(
    server: ChannelsServer,
) -> None:
    events, wrong = watch(server, "event"), watch(server, "trouble")

    def relent(activity: Activity) -> None:
        if activity.kind == "trouble":
            server.trouble.drop_reply_rate = 0.0

    server.add_observer(relent)
    server.trouble.drop_reply_rate = 1.0
    retry = RetryPolicy(initial_delay=0.01, unsafe=True)
    pusher = Pusher.from_url(server.url("3"), retry=retry, idempotency_keys=True)
    assert await pusher.trigger("a", "e", "") == {}
    assert (len(events), len(wrong)) == (1, 1)
    await pusher.close()


@pytest_twisted.ensureDeferred
async def test_errors_429_are_retried_and_publish_nothing(server: ChannelsServer) -> None:
    events, wrong = watch(server, "event"), watch(server, "trouble")
    server.trouble.error_rate, server.trouble.error_status = 1.0, 429
    pusher = Pusher.from_url(server.url("3"), retry=RetryPolicy(2, initial_delay=0.01))
    with pytest.raises(RateLimitedError):
        await pusher.trigger("a", "e", "")
    assert (len(events), len(wrong)) == (0, 3)
    assert wrong[0].detail == "POST /apps/3/events: answered with 429, not acted on"
    server.trouble.error_rate = 0.0
    await pusher.trigger("a", "e", "")
    await pusher.close()


@pytest.mark.parametrize("status", [430, 499, 520, 599])
@pytest_twisted.ensureDeferred
async def test_status_that_has_no_phrase_is_answered(
    server: ChannelsServer, status: int
) -> None:
    server.trouble.error_rate, server.trouble.error_status = 1.0, status
    server.trouble.delay = 0.01
    wrong = watch(server, "trouble")
    raw = await connect_raw(server.port)
    raw.write(signed("GET", "/apps/3/channels"))
    assert (await raw.response())[::2] == (status, b"trouble on request\n")
    assert [one.detail for one in wrong] == [
        f"GET /apps/3/channels: answered with {status}, not acted on, after 0.01 seconds"
    ]
    await end(raw)


@pytest_twisted.ensureDeferred
async def test_error_500_to_a_trigger_is_not_retried(server: ChannelsServer) -> None:
    wrong = watch(server, "trouble")
    server.trouble.error_rate = 1.0
    pusher = Pusher.from_url(server.url("3"))
    with pytest.raises(ServerError) as caught:
        await pusher.trigger("a", "e", "")
    assert (caught.value.status, caught.value.maybe_delivered) == (500, True)
    assert len(wrong) == 1
    await pusher.close()


@pytest_twisted.ensureDeferred
async def test_troubled_server_tells_its_health_all_the_same(server: ChannelsServer) -> None:
    server.trouble.error_rate = server.trouble.drop_reply_rate = 1.0
    raw = await connect_raw(server.port)
    for method in ("GET", "HEAD"):
        raw.write(f"{method} /up HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert (await raw.until_has(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        raw.received = b""
    await end(raw)


@pytest_twisted.ensureDeferred
async def test_refused_auth_refuses_subscriptions_that_need_one(
    server: ChannelsServer,
) -> None:
    refused = watch(server, "error")
    server.trouble.refuse_auth = True
    socket = await open_socket(server.port)
    socket.subscribe("private-a")
    [error] = await socket.wait("pusher:error")
    assert error["channel"] == "private-a"
    assert "trouble.refuse_auth" in error["data"]["message"]
    socket.subscribe("public")
    await socket.wait("pusher_internal:subscription_succeeded")
    server.trouble.refuse_auth = False
    socket.subscribe("private-a")
    await socket.wait("pusher_internal:subscription_succeeded", 2)
    assert len(refused) == 1
    await close(socket)


@pytest_twisted.ensureDeferred
async def test_refused_auth_refuses_sign_ins(server: ChannelsServer) -> None:
    server.trouble.refuse_auth = True
    socket = await open_socket(server.port)
    user = '{"id":"u"}'
    signature = signing.user_signature(SECRET, socket.socket_id, user)
    data = {"user_data": user, "auth": f"{KEY}:{signature}"}
    socket.send({"event": "pusher:signin", "data": data})
    assert await socket.end() == 4009


@pytest_twisted.ensureDeferred
async def test_subscriber_hears_of_refused_auth_and_comes_back_after_a_close(
    server: ChannelsServer,
) -> None:
    pusher = Pusher.from_url(server.url("3"))
    subscriber = Subscriber.for_pusher(pusher)
    first = await subscriber.connect()
    subscription = await subscriber.subscribe("private-a")
    server.trouble.refuse_auth = True
    with pytest.raises(SubscriptionError, match="refuse_auth"):
        await subscriber.subscribe("private-b")
    server.trouble.refuse_auth = False
    arrived: list[str] = []
    subscription.bind("e", lambda message: arrived.append(message.data))
    subscribed = watch(server, "subscribed")
    assert server.trouble.close_all(4200) == 1
    await until(lambda: bool(subscribed))
    assert subscriber.socket_id != first
    await pusher.trigger("private-a", "e", "again")
    await until(lambda: arrived == ["again"])
    await subscriber.close()
    await pusher.close()


@pytest.mark.parametrize(("code", "told"), [(4200, True), (4009, True), (1012, False)])
@pytest_twisted.ensureDeferred
async def test_every_connection_is_closed_with_the_code(
    server: ChannelsServer, code: int, told: bool
) -> None:
    sockets: list[Any] = [await open_socket(server.port) for _ in range(3)]
    for socket in sockets:
        socket.subscribe("presence-a", {"user_id": socket.socket_id})
        await socket.wait("pusher_internal:subscription_succeeded")
    wrong = watch(server, "trouble")
    assert server.trouble.close_all(code) == 3
    assert server.trouble.close_all(code) == 0
    assert {one.socket_id for one in wrong} == {socket.socket_id for socket in sockets}
    assert {(one.app_id, one.detail) for one in wrong} == {
        ("3", f"{code}: the server closes all connections on request")
    }
    assert [await socket.end() for socket in sockets] == [code] * 3
    for socket in sockets:
        assert [e["data"]["code"] for e in socket.got("pusher:error")] == [code] * told
        assert socket.got("pusher_internal:member_removed") == []
    await close(await open_socket(server.port))


@pytest_twisted.ensureDeferred
async def test_channels_of_closed_connections_are_vacated_for_the_webhooks(
    clean_reactor: None,
) -> None:
    hooks = ["http://127.0.0.1:9/"]
    server = ChannelsServer([App("3", KEY, SECRET, webhooks=hooks, webhook_grace=0)])
    await server.listen()
    tried = watch(server, "webhook_failed")
    socket = await open_socket(server.port)
    socket.subscribe("a")
    await socket.wait("pusher_internal:subscription_succeeded")
    server.trouble.close_all(4200)
    await until(lambda: any("channel_vacated" in (one.detail or "") for one in tried))
    await socket.end()
    await server.stop()
