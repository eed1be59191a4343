"""Authorization, presence, client events and users: through soketi and our own server."""

from __future__ import annotations

import pytest
import pytest_twisted

from txpusher import Pusher


@pytest.fixture(params=["pusher-js", "txpusher"])
def client(request):
    """The official client and our own, side by side."""
    return request.param


class TestAuthorization:
    @pytest.mark.parametrize("prefix", ["private-room", "presence-room"])
    @pytest_twisted.ensureDeferred
    async def test_a_signature_of_another_secret_is_refused(
        self, server, connect, name, prefix
    ):
        channel = name(prefix)
        subscriber = await connect(member={"user_id": "1"})
        subscriber.pusher = Pusher(**{**server.settings, "secret": "wrong"})
        await subscriber.ask_to_subscribe(channel)
        error = await subscriber.event(channel, "pusher:subscription_error")
        assert error["type"] == "AuthError"
        assert error["status"] == 401

    @pytest_twisted.ensureDeferred
    async def test_a_presence_channel_knows_its_members(self, connect, name):
        channel = name("presence-room")
        zoe = {"user_id": "zoë-☃", "user_info": {"name": "Zoë 🐍"}}
        first = await connect(member={"user_id": "1", "user_info": {}})
        assert (await first.subscribe(channel))["count"] == 1
        second = await connect(member=zoe)
        members = await second.subscribe(channel)
        assert members["count"] == 2
        assert set(members["members"]) == {"1", "zoë-☃"}
        assert members["me"] == {"id": "zoë-☃", "info": {"name": "Zoë 🐍"}}
        added = await first.event(channel, "pusher:member_added")
        assert added == {"id": "zoë-☃", "info": {"name": "Zoë 🐍"}}

    @pytest_twisted.ensureDeferred
    async def test_a_user_id_may_be_a_number(self, connect, name):
        channel = name("presence-room")
        first = await connect(member={"user_id": 7, "user_info": {}})
        await first.subscribe(channel)
        second = await connect(member={"user_id": 8, "user_info": {}})
        assert set((await second.subscribe(channel))["members"]) == {"7", "8"}


class TestPresence:
    @pytest_twisted.ensureDeferred
    async def test_two_connections_of_one_user_are_one_member(self, pusher, connect, name):
        channel = name("presence-room")
        observer = await connect(member={"user_id": "observer"})
        await observer.subscribe(channel)
        first = await connect(member={"user_id": "twice", "user_info": {"n": 1}})
        second = await connect(member={"user_id": "twice", "user_info": {"n": 1}})
        await first.subscribe(channel)
        assert (await second.subscribe(channel))["count"] == 2
        await first.unsubscribe(channel)
        await first.subscribe(name("room"))
        users = (await pusher.channel_users(channel))["users"]
        assert sorted(user["id"] for user in users) == ["observer", "twice"]
        await second.disconnect()
        removed = await observer.event(channel, "pusher:member_removed")
        assert removed["id"] == "twice"
        await pusher.trigger(channel, "last", None)
        await observer.event(channel, "last")
        # As sent: pusher-js is silent about a member who has left already.
        changes = [
            message["event"]
            for message in observer.inbox.received
            if message["type"] == "message" and ":member_" in message["event"]
        ]
        assert changes == ["pusher_internal:member_added", "pusher_internal:member_removed"]
        assert (await observer.members(channel))["count"] == 1


class TestClientEvents:
    @pytest_twisted.ensureDeferred
    async def test_client_event_reaches_every_subscriber_but_its_sender(
        self, pusher, connect, name
    ):
        channel = name("private-room")
        sender, other = await connect(), await connect()
        await sender.subscribe(channel)
        await other.subscribe(channel)
        await sender.trigger(channel, "client-typing", {"who": "☃"})
        assert await other.event(channel, "client-typing") == {"who": "☃"}
        await pusher.trigger(channel, "last", None)
        await sender.event(channel, "last")
        assert sender.events(channel) == [("last", None)]

    @pytest_twisted.ensureDeferred
    async def test_client_event_on_a_presence_channel_has_the_user_id(self, connect, name):
        channel = name("presence-room")
        sender = await connect(member={"user_id": "zoë"})
        other = await connect(member={"user_id": "other"})
        await sender.subscribe(channel)
        await other.subscribe(channel)
        await sender.trigger(channel, "client-typing", 1)
        message = await other.report("event", channel=channel, event="client-typing")
        assert message["data"] == 1
        assert message["metadata"] == {"user_id": "zoë"}


class TestUsers:
    @pytest_twisted.ensureDeferred
    async def test_an_event_to_a_user_reaches_every_connection_of_that_user(
        self, pusher, connect, name
    ):
        user_id = name("user")
        mine = [await connect(user={"id": user_id}) for _ in range(2)]
        other = await connect(user={"id": name("user")})
        for subscriber in (*mine, other):
            await subscriber.sign_in()
        await pusher.send_to_user(user_id, "event", {"to": "you"})
        for subscriber in mine:
            assert await subscriber.user_event("event") == {"to": "you"}
        await pusher.send_to_user(other.user["id"], "last", None)
        await other.user_event("last")
        arrived = [m["event"] for m in other.inbox.received if m["type"] == "user_event"]
        assert "event" not in arrived

    @pytest_twisted.ensureDeferred
    async def test_sign_in_is_confirmed_with_the_user_data(self, connect, name):
        user = {"id": name("user"), "user_info": {"name": "Zoë ☃"}}
        subscriber = await connect(user=user)
        await subscriber.sign_in()
        assert await subscriber.call("user_data") == user

    @pytest_twisted.ensureDeferred
    async def test_terminating_closes_all_connections_of_the_user_with_4009(
        self, pusher, connect, name
    ):
        user_id, channel = name("user"), name("room")
        mine = [await connect(user={"id": user_id}) for _ in range(2)]
        other = await connect(user={"id": name("user")})
        for subscriber in (*mine, other):
            await subscriber.sign_in()
        await other.subscribe(channel)
        await pusher.terminate_user_connections(user_id)
        for subscriber in mine:
            await subscriber.error(4009)
            await subscriber.state("disconnected")
        await pusher.trigger(channel, "event", 1)
        assert await other.event(channel, "event") == 1

    @pytest_twisted.ensureDeferred
    async def test_a_signature_of_another_secret_is_refused_with_4009(
        self, server, connect, name
    ):
        subscriber = await connect(user={"id": name("user")})
        subscriber.pusher = Pusher(**{**server.settings, "secret": "wrong"})
        await subscriber.call("signin")
        await subscriber.error(4009)


class TestKeepAlive:
    @pytest_twisted.ensureDeferred
    async def test_a_silent_client_gets_a_pong_for_its_ping(self, pusher, connect, name):
        channel = name("room")
        subscriber = await connect(activityTimeout=200)
        await subscriber.subscribe(channel)
        await subscriber.report("message", event="pusher:pong")
        await pusher.trigger(channel, "event", 1)
        assert await subscriber.event(channel, "event") == 1
