"""A Subscriber against servers that do not say what they refuse, over a real socket."""

from __future__ import annotations

import json

import pytest
import pytest_twisted

from tests.support.misbehaving import in_turn
from tests.support.scripted_websocket import WebSocketPeer
from tests.support.waiting import within
from txpusher import APIError, ConnectionClosedError, SubscriptionError

from .subscribers import Told

UNAUTHORIZED = (4009, "Connection is unauthorized")
UNREADABLE = (4200, "Invalid message format")


class Reverb:
    """
    A server with the manners of Laravel Reverb, for one connection.

    :param refuse: What it refuses: the names of channels and events.
    """

    def __init__(self, *refuse: str) -> None:
        self.refuse = refuse

    async def __call__(self, peer):
        self.there = there = await WebSocketPeer.greet(peer, f"1.{peer.number}")
        while True:
            message = await there.message()
            event, data = message["event"], message["data"]
            if event == "pusher:ping":
                there.send("pusher:pong")
            elif event == "pusher:signin":
                self.error(*UNREADABLE)
            elif event == "pusher:subscribe" and data["channel"] in self.refuse:
                self.error(*UNAUTHORIZED)
            elif event == "pusher:subscribe":
                there.send("pusher_internal:subscription_succeeded", "{}", data["channel"])
            elif event in self.refuse:
                self.error(*UNREADABLE)

    def error(self, code, message):
        self.there.send("pusher:error", json.dumps({"code": code, "message": message}))


async def refuse_and_close(peer):
    """Refuse the first message as the hosted service refuses a sign-in."""
    there = await WebSocketPeer.greet(peer)
    await there.message()
    there.send("pusher:error", {"code": 4009, "message": "Connection not authorized."})
    there.close(4009, "Connection not authorized.")
    await peer.stall()


class TestSubscribe:
    @pytest_twisted.ensureDeferred
    async def test_refused_subscription_fails_and_the_others_stand(
        self, serve, make_subscriber
    ):
        server = serve(Reverb("private-b"))
        subscriber = make_subscriber(server.port)
        told = Told(subscriber)
        await within(subscriber.connect())
        names = ("private-a", "private-b", "private-c", "room")
        waiting = {name: subscriber.subscribe(name) for name in names}
        with pytest.raises(SubscriptionError) as caught:
            await within(waiting.pop("private-b"))
        assert caught.value.channel == "private-b"
        assert caught.value.reason == "Connection is unauthorized"
        for name, subscribing in waiting.items():
            assert (await within(subscribing)).name == name
        assert told.named("pusher:error") == []
        assert server.connections == 1

    @pytest_twisted.ensureDeferred
    async def test_refused_channel_may_be_subscribed_to_again(self, serve, make_subscriber):
        script = Reverb("private-a")
        server = serve(script)
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        with pytest.raises(SubscriptionError):
            await within(subscriber.subscribe("private-a"))
        script.refuse = ()
        assert (await within(subscriber.subscribe("private-a"))).name == "private-a"

    @pytest_twisted.ensureDeferred
    async def test_refusal_when_coming_back_is_told_and_tried_again(
        self, serve, make_subscriber
    ):
        server = serve(in_turn(Reverb(), Reverb("private-a"), Reverb()))
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        subscription = await within(subscriber.subscribe("private-a"))
        told = Told(subscription)
        server.peers[0].reset()
        [data] = await told.wait_for("pusher:subscription_error")
        assert data == {"type": "AuthError", "error": "Connection is unauthorized"}
        server.peers[0].reset()
        await told.wait_for("pusher:subscription_succeeded")

    @pytest_twisted.ensureDeferred
    async def test_error_of_the_connection_refuses_nothing_and_is_told(
        self, serve, make_subscriber
    ):
        script = Reverb()
        server = serve(script)
        subscriber = make_subscriber(server.port)
        told = Told(subscriber)
        await within(subscriber.connect())
        subscription = await within(subscriber.subscribe("private-a"))
        script.error(*UNAUTHORIZED)
        [data] = await told.wait_for("pusher:error")
        assert data == {"code": 4009, "message": "Connection is unauthorized"}
        await within(subscription.trigger("client-e", {}))

    @pytest_twisted.ensureDeferred
    async def test_error_before_the_end_of_the_connection_is_told(self, serve, make_subscriber):
        server = serve(refuse_and_close)
        subscriber = make_subscriber(server.port)
        told = Told(subscriber)
        await within(subscriber.connect())
        with pytest.raises(ConnectionClosedError) as caught:
            await within(subscriber.subscribe("private-a"))
        assert caught.value.code == 4009
        assert [data["code"] for data in told.named("pusher:error")] == [4009]


class TestSignIn:
    @pytest_twisted.ensureDeferred
    async def test_sign_in_that_the_server_does_not_know_fails(self, serve, make_subscriber):
        server = serve(Reverb())
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        with pytest.raises(SubscriptionError, match="Invalid message format") as caught:
            await within(subscriber.sign_in({"id": "7"}))
        assert caught.value.channel is None
        assert (await within(subscriber.subscribe("private-a"))).name == "private-a"

    @pytest_twisted.ensureDeferred
    async def test_sign_in_that_ends_the_connection_fails_with_its_code(
        self, serve, make_subscriber
    ):
        server = serve(refuse_and_close)
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        with pytest.raises(ConnectionClosedError) as caught:
            await within(subscriber.sign_in({"id": "7"}))
        assert caught.value.code == 4009


class TestTrigger:
    @pytest_twisted.ensureDeferred
    async def test_client_event_that_the_server_cannot_read_fails(self, serve, make_subscriber):
        server = serve(Reverb("client-bad"))
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        subscription = await within(subscriber.subscribe("private-a"))
        bad, good = (
            subscription.trigger("client-bad", "text"),
            subscription.trigger("client-good", {}),
        )
        with pytest.raises(APIError) as caught:
            await within(bad)
        assert (caught.value.status, caught.value.body) == UNREADABLE
        await within(good)
