"""Webhooks: signed, in order, repeated until they are taken."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import deferLater
from twisted.web.server import Site

from tests.support.credentials import KEY, SECRET
from tests.support.misbehaving import Peer
from tests.support.observing import Log
from tests.support.raw_client import Timed
from tests.support.waiting import until
from txpusher import Pusher
from txpusher.server import App, WebHookTarget
from txpusher.server import _limits as limits
from txpusher.server._core.outputs import Notify
from txpusher.server._net import webhooks as webhooks_module
from txpusher.server._net.webhooks import WebHookSender

from .conftest import Serve
from .webhook_receiver import ENDLESS, Receiver, Told

Receive = dict[str, Any]


class World:
    def __init__(
        self, url: str, receiver: Receiver, port: Any, *, batches: bool = True, **settings: Any
    ) -> None:
        self.url = url
        self.receiver = receiver
        self.port = port
        self.told = Told()
        self.reactor = Timed()
        target = WebHookTarget(url, **settings)
        app = App("3", KEY, SECRET, webhooks=[target], webhook_batches=batches)
        self.sender = WebHookSender((app,), self.reactor, lambda: 1234.5, self.told)

    def notify(self, name: str, **fields: Any) -> None:
        self.sender.queue(Notify("3", {"name": name, "channel": "a", **fields}))

    def gather(self) -> None:
        self.reactor.clock.advance(limits.WEBHOOK_GATHERING)


@pytest_twisted.async_yield_fixture
async def world(log: Log, clean_reactor: None) -> AsyncIterator[World]:
    from twisted.internet import reactor

    receiver = Receiver()
    port: Any = reactor.listenTCP(0, Site(receiver), interface="127.0.0.1")
    url = f"http://user:password@127.0.0.1:{port.getHost().port}/hook?token=t"
    world = World(url, receiver, port)
    yield world
    world.sender.stop()
    await maybeDeferred(port.stopListening)


@pytest_twisted.ensureDeferred
async def test_webhook_can_be_verified_by_its_receiver(world: World, log: Log) -> None:
    world.notify("channel_occupied")
    world.notify("client_event", event="client-x", data="ü", socket_id="1.1")
    world.gather()
    await world.receiver.wait(1)
    (body,) = world.receiver.bodies
    (request,) = world.receiver.requests
    header = request.requestHeaders.getRawHeaders
    webhook = Pusher("3", KEY, SECRET).webhook(
        key=header("X-Pusher-Key")[0],
        signature=header("X-Pusher-Signature")[0],
        body=body,
        content_type=header("Content-Type")[0],
    )
    assert webhook.is_valid
    assert request.getUser() == b"user"
    assert request.getPassword() == b"password"
    assert webhook.time.timestamp() == 1234.5
    assert webhook.events == [
        {"name": "channel_occupied", "channel": "a"},
        {
            "name": "client_event",
            "channel": "a",
            "event": "client-x",
            "data": "ü",
            "socket_id": "1.1",
        },
    ]
    await world.told.wait(1)
    (activity,) = world.told.activities
    assert activity.kind == "webhook"
    assert "password" not in (activity.detail or "")
    assert "token" not in (activity.detail or "")
    # Twisted would log each connection's factory.
    assert "ClientFactory" not in log.text


@pytest_twisted.ensureDeferred
async def test_user_and_password_of_a_webhook_are_sent_without_their_escapes(
    world: World,
) -> None:
    url = world.url.replace("user:password", "us%40er:p%3Ass%25")
    escaped = World(url, world.receiver, None, batches=False)
    escaped.notify("channel_occupied")
    await world.receiver.wait(1)
    (request,) = world.receiver.requests
    assert (request.getUser(), request.getPassword()) == (b"us@er", b"p:ss%")
    await escaped.told.wait(1)
    escaped.sender.stop()


@pytest_twisted.ensureDeferred
async def test_later_events_are_sent_in_a_later_webhook(world: World) -> None:
    for number in range(3):
        world.notify(str(number))
        world.gather()
        await world.told.wait(number + 1)
    world.gather()
    assert [event["name"] for event in world.receiver.events()] == ["0", "1", "2"]
    assert len(world.receiver.bodies) == 3


@pytest_twisted.ensureDeferred
async def test_a_request_holds_a_most_of_events(world: World) -> None:
    for number in range(250):
        world.notify(str(number))
    for count in (1, 2, 3):
        world.gather()
        await world.told.wait(count)
    sizes = [len(json.loads(body)["events"]) for body in world.receiver.bodies]
    assert sizes == [100, 100, 50]
    assert [event["name"] for event in world.receiver.events()] == [
        str(number) for number in range(250)
    ]


@pytest.mark.parametrize("status", [500, 404, 300, 301, 302, 303, 304, 307, 308])
@pytest_twisted.ensureDeferred
async def test_refused_webhook_is_sent_again_unchanged(world: World, status: int) -> None:
    world.receiver.statuses = [status, status]
    world.receiver.headers = {b"location": b"/elsewhere"}
    world.notify("first")
    world.gather()
    await world.told.wait(1)
    for count in (2, 3):
        world.reactor.clock.advance(60)
        await world.told.wait(count)
    assert world.told.kinds() == ["webhook_failed", "webhook_failed", "webhook"]
    first, *again = world.receiver.bodies
    assert again == [first] * 2
    (signature,) = {
        request.getHeader("X-Pusher-Signature") for request in world.receiver.requests
    }
    assert signature


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({b"set-cookie": b"\xff;;;==="}, b"thanks"),
        ({b"content-encoding": b"gzip"}, b"no gzip"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_status_of_a_webhooks_reply_alone_counts(
    world: World, headers: dict[bytes, bytes], answer: bytes
) -> None:
    world.receiver.headers, world.receiver.answer = headers, answer
    world.notify("a")
    world.gather()
    await world.told.wait(1)
    assert world.told.kinds() == ["webhook"]


@pytest_twisted.ensureDeferred
async def test_a_large_reply_is_taken_in_to_its_end(serve: Serve) -> None:
    whole: list[int] = []

    async def large(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n")
        for _ in range(100):
            peer.send(b"x" * 50_000)
            await peer.pause(0)
        whole.append(peer.number)

    world = World(f"http://127.0.0.1:{serve(large).port}/", Receiver(), None)
    world.notify("a")
    world.gather()
    await world.told.wait(1)
    assert world.told.kinds() == ["webhook"]
    assert whole == [1]
    world.sender.stop()


@pytest_twisted.ensureDeferred
async def test_a_reply_whose_head_does_not_end_is_given_up(serve: Serve) -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            peer.send(b"X: y\r\n" * 1000)
            await peer.pause(0)

    server = serve(endless)
    world = World(f"http://127.0.0.1:{server.port}/", Receiver(), None)
    world.notify("a")
    world.gather()
    await until(lambda: bool(server.requests))
    world.reactor.clock.advance(10)
    await world.told.wait(1)
    assert "no reply within 10 seconds" in (world.told.activities[0].detail or "")
    await until(lambda: not server.peers)
    world.sender.stop()


class Refusing:
    """In place of a client: nobody listens."""

    def post(self, *arguments: Any, **options: Any) -> Deferred[None]:
        return fail(ConnectionRefusedError())


@pytest_twisted.ensureDeferred
async def test_the_waits_grow_and_end_after_five_minutes(world: World) -> None:
    clock, told = world.reactor.clock, world.told
    client, world.sender._client = world.sender._client, Refusing()  # type: ignore[assignment]
    world.notify("lost")
    world.gather()
    times = [clock.seconds()]
    while "given up" not in (told.activities[-1].detail or ""):
        (call,) = clock.getDelayedCalls()
        clock.advance(call.getTime() - clock.seconds())
        times.append(clock.seconds())
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert waits[0] < 2
    assert waits[-1] > 20
    assert 250 < times[-1] <= 301
    assert set(told.kinds()) == {"webhook_failed"}
    assert "ConnectionRefused" in (told.activities[0].detail or "")
    world.sender._client = client
    world.notify("next")
    world.gather()
    world.gather()
    await world.receiver.wait(1)
    assert [event["name"] for event in world.receiver.events()] == ["next"]


@pytest_twisted.ensureDeferred
async def test_a_url_where_nobody_listens_is_tried_again(world: World) -> None:
    from twisted.internet import reactor

    await world.port.stopListening()
    world.notify("a")
    world.gather()
    while not world.told.activities:
        # Twisted asks for the address in a thread, and tries one after the other.
        world.reactor.clock.advance(0.1)
        await deferLater(reactor, 0)
    (activity,) = world.told.activities
    assert activity.kind == "webhook_failed"
    assert "trying again" in (activity.detail or "")


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("http", "Connection was closed cleanly after "),
        ("https", "TLS failed: wrong version number (is it a port for HTTP?) after "),
    ],
)
@pytest_twisted.ensureDeferred
async def test_connection_that_fails_is_told_in_words(
    serve: Serve, scheme: str, words: str
) -> None:
    async def unfit(peer: Peer) -> None:
        if scheme == "http":
            await peer.request()
        else:
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    world = World(f"{scheme}://127.0.0.1:{serve(unfit).port}/", Receiver(), None)
    world.notify("a")
    world.gather()
    await world.told.wait(1)
    assert words in (world.told.activities[0].detail or "")
    world.sender.stop()


@pytest.mark.parametrize("answer", [None, ENDLESS])
@pytest_twisted.ensureDeferred
async def test_a_receiver_that_does_not_answer_has_ten_seconds(
    world: World, answer: int | None
) -> None:
    world.receiver.statuses = [answer]
    world.notify("a")
    world.gather()
    await world.receiver.wait(1)
    world.reactor.clock.advance(10)
    await world.told.wait(1)
    assert "no reply within 10 seconds" in (world.told.activities[0].detail or "")
    world.reactor.clock.advance(60)
    await world.told.wait(2)
    assert world.told.kinds() == ["webhook_failed", "webhook"]


@pytest.mark.parametrize("when", ["gathering", "sending", "reading", "waiting"])
@pytest_twisted.ensureDeferred
async def test_a_stopped_sender_sends_no_more_and_leaves_nothing(
    world: World, when: str
) -> None:
    world.receiver.statuses = [{"sending": None, "reading": ENDLESS}.get(when, 500)]
    world.notify("a")
    if when != "gathering":
        world.gather()
        await world.receiver.wait(1)
    if when == "waiting":
        await world.told.wait(1)
    if when == "reading":
        from twisted.internet import reactor

        await deferLater(reactor, 0.05)
    world.sender.stop()
    world.notify("b")
    assert world.reactor.clock.getDelayedCalls() == []
    assert len(world.receiver.bodies) == (0 if when == "gathering" else 1)


@pytest_twisted.ensureDeferred
async def test_waiting_webhooks_are_bounded_and_dropped_ones_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WEBHOOKS_WAITING", 3)
    for number in range(5):
        world.notify(str(number))
    assert [(one.kind, one.app_id) for one in world.told.activities] == [
        ("webhook_failed", "3")
    ] * 2
    details = [one.detail or "" for one in world.told.activities]
    assert [detail.partition("/hook: ")[2] for detail in details] == [
        "0 a: dropped: 3 events wait already",
        "1 a: dropped: 3 events wait already",
    ]
    assert "password" not in repr(details)
    world.gather()
    await world.told.wait(3)
    assert [event["name"] for event in world.receiver.events()] == ["2", "3", "4"]
    # Those that were sent wait no more.
    for number in range(5, 8):
        world.notify(str(number))
    world.gather()
    await world.told.wait(4)
    assert [event["name"] for event in world.receiver.events()][3:] == ["5", "6", "7"]
    assert world.told.kinds()[2:] == ["webhook", "webhook"]


@pytest_twisted.ensureDeferred
async def test_a_defect_is_logged_and_not_the_end(
    world: World, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks_module, "dump_bytes", lambda value: 1 / 0)
    world.notify("a")
    world.gather()
    assert len(log.failures) == 1
    log.failures.clear()
    monkeypatch.undo()
    world.notify("b")
    world.gather()
    await world.receiver.wait(1)


@pytest_twisted.ensureDeferred
async def test_server_sends_webhooks_of_its_channels(log: Log, clean_reactor: None) -> None:
    from twisted.internet import reactor

    from txpusher.server import ChannelsServer

    pytest.importorskip("wsproto")
    from tests.support.raw_client import open_socket

    receiver = Receiver()
    port: Any = reactor.listenTCP(0, Site(receiver), interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}/"
    server = ChannelsServer([App("3", KEY, SECRET, webhooks=[url], webhook_grace=0)])
    await server.listen()
    socket = await open_socket(server.port)
    socket.subscribe("presence-a", {"user_id": "1"})
    await socket.wait("pusher_internal:subscription_succeeded")
    await receiver.wait(2)
    assert receiver.events() == [
        {"name": "channel_occupied", "channel": "presence-a"},
        {"name": "member_added", "channel": "presence-a", "user_id": "1"},
    ]
    socket.raw.transport.loseConnection()
    await receiver.wait(4)
    assert [event["name"] for event in receiver.events()[2:]] == [
        "member_removed",
        "channel_vacated",
    ]
    await server.stop()
    await port.stopListening()


# One request for each event, and one way for each channel


@pytest_twisted.async_yield_fixture
async def single(world: World) -> AsyncIterator[World]:
    """A receiver that is sent each event by itself, as is the default."""
    single = World(world.url, world.receiver, None, batches=False)
    yield single
    single.sender.stop()


@pytest_twisted.ensureDeferred
async def test_each_event_is_a_request_of_its_own_in_the_order_of_its_channel(
    single: World,
) -> None:
    for number in range(20):
        single.notify(str(number))
    await single.told.wait(20)
    assert [event["name"] for event in single.receiver.events()] == list(map(str, range(20)))
    assert len(single.receiver.bodies) == 20


@pytest_twisted.ensureDeferred
async def test_failing_request_holds_up_neither_its_channel_nor_another(single: World) -> None:
    single.receiver.statuses = [500]
    single.notify("poison")
    await single.told.wait(1)
    single.notify("same channel")
    single.notify("other channel", channel="b")
    await single.told.wait(3)
    # The time of the repetition has not come.
    assert single.told.kinds() == ["webhook_failed", "webhook", "webhook"]
    assert "status 500" in (single.told.activities[0].detail or "")
    single.reactor.clock.advance(60)
    await single.told.wait(4)
    assert single.receiver.bodies[0] == single.receiver.bodies[3]
    assert single.told.kinds()[3] == "webhook"


@pytest_twisted.ensureDeferred
async def test_receiver_that_is_silent_for_one_channel_gets_the_events_of_others(
    single: World,
) -> None:
    single.receiver.statuses = [None]
    single.notify("unanswered")
    await single.receiver.wait(1)
    single.notify("after it")
    single.notify("other channel", channel="b")
    await single.told.wait(1)
    assert [event["name"] for event in single.receiver.events()] == [
        "unanswered",
        "other channel",
    ]


@pytest_twisted.ensureDeferred
async def test_failed_batch_is_repeated_beside_the_next_batch(world: World) -> None:
    world.receiver.statuses = [500]
    world.notify("first")
    world.gather()
    await world.told.wait(1)
    world.notify("second")
    world.gather()
    await world.told.wait(2)
    assert world.told.kinds() == ["webhook_failed", "webhook"]


@pytest_twisted.ensureDeferred
async def test_repetitions_are_bounded(single: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEBHOOKS_REPEATED", 1)
    single.receiver.statuses = [500, 500]
    single.notify("repeated")
    await single.told.wait(1)
    single.notify("given up")
    await single.told.wait(3)
    assert "given up: 1 requests" in (single.told.activities[2].detail or "")


@pytest_twisted.ensureDeferred
async def test_target_is_sent_the_events_that_it_asked_for_with_its_headers(
    world: World,
) -> None:
    settings: Any = {
        "events": ["channel_occupied"],
        "channel_prefix": "presence-",
        "headers": {"X-Tunnel": "yes"},
    }
    target = World(world.url, world.receiver, None, batches=False, **settings)
    target.notify("channel_occupied", channel="private-a")
    target.notify("member_added", channel="presence-a")
    target.notify("channel_occupied", channel="presence-a")
    await target.told.wait(1)
    assert world.receiver.events() == [{"name": "channel_occupied", "channel": "presence-a"}]
    (request,) = world.receiver.requests
    assert request.requestHeaders.getRawHeaders("X-Tunnel") == ["yes"]
    target.sender.stop()


@pytest_twisted.ensureDeferred
async def test_report_of_an_attempt_tells_status_and_time(single: World) -> None:
    single.notify("channel_occupied")
    await single.told.wait(1)
    detail = single.told.activities[0].detail or ""
    assert detail.endswith("/hook: channel_occupied a: status 200 after 0 ms")
