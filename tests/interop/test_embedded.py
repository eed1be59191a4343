"""Our own server, for pusher-js and laravel-echo: what soketi does not do, or otherwise."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults

from txpusher import ForbiddenError
from txpusher.server import Limits

from . import servers
from .servers import APP_ID, KEY, SECRET, Address, free_ports


@pytest.fixture(scope="module")
def server(embedded):
    return embedded


@pytest.fixture(params=["pusher-js", "txpusher"])
def client(request):
    """The official client and our own, side by side."""
    return request.param


class TestChannels:
    @pytest_twisted.ensureDeferred
    async def test_empty_data_arrives(self, pusher, connect, name):
        channel = name("room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        await pusher.trigger(channel, "event", "")
        assert await subscriber.event(channel, "event") == ""

    @pytest_twisted.ensureDeferred
    async def test_a_name_that_ends_in_a_semicolon_works_in_a_path(self, pusher, connect, name):
        channel = name("presence-room") + ";"
        subscriber = await connect(member={"user_id": "1"})
        await subscriber.subscribe(channel)
        assert (await pusher.channel_info(channel))["occupied"] is True
        assert (await pusher.channel_users(channel))["users"] == [{"id": "1"}]


class TestSubscriptionCount:
    @pytest.mark.parametrize("kind", ["room", "private-room", "private-encrypted-room"])
    @pytest_twisted.ensureDeferred
    async def test_subscription_count_is_sent_at_each_change(self, connect, name, kind):
        channel = name(kind)
        first, second = await connect(), await connect()
        await first.subscribe(channel)
        assert await first.event(channel, "pusher:subscription_count") == count(1)
        await second.subscribe(channel)
        assert await first.event(channel, "pusher:subscription_count") == count(2)
        assert await second.event(channel, "pusher:subscription_count") == count(2)
        assert await first.call("subscription_count", channel=channel) == 2
        await second.disconnect()
        assert await first.event(channel, "pusher:subscription_count") == count(1)

    @pytest_twisted.ensureDeferred
    async def test_subscription_count_is_not_sent_on_presence_channels(
        self, pusher, connect, name
    ):
        channel = name("presence-room")
        subscriber = await connect(member={"user_id": "1"})
        await subscriber.subscribe(channel)
        await pusher.trigger(channel, "last", None)
        await subscriber.event(channel, "last")
        told = [m["event"] for m in subscriber.inbox.received if m["type"] == "message"]
        assert "pusher_internal:subscription_count" not in told


def count(number: int) -> dict[str, int]:
    return {"subscription_count": number}


class TestClientEvents:
    @pytest_twisted.ensureDeferred
    async def test_client_event_on_a_public_channel_is_not_delivered(
        self, pusher, connect, name
    ):
        channel = name("room")
        sender, other = await connect(), await connect()
        await sender.subscribe(channel)
        await other.subscribe(channel)
        await sender.trigger(channel, "client-typing", 1)
        # pusher-js sends in order, so the server has dealt with it by then.
        await sender.subscribe(name("room"))
        await pusher.trigger(channel, "last", None)
        await other.event(channel, "last")
        assert other.events(channel) == [("last", None)]

    @pytest_twisted.ensureDeferred
    async def test_client_events_above_the_rate_are_refused_with_4301(
        self, pusher, connect, name
    ):
        channel = name("private-room")
        sender, other = await connect(), await connect()
        await sender.subscribe(channel)
        await other.subscribe(channel)
        # Enough that no clock could spread them over seconds of ten each.
        await gatherResults(
            [
                sender.call("trigger", channel=channel, event="client-n", data=n)
                for n in range(50)
            ]
        )
        await sender.error(4301)
        await pusher.trigger(channel, "last", None)
        await sender.event(channel, "last")
        await other.event(channel, "last")
        arrived = [data for event, data in other.events(channel) if event == "client-n"]
        assert arrived[:10] == list(range(10))
        assert len(arrived) < 50


class TestPresenceBySignIn:
    @pytest_twisted.ensureDeferred
    async def test_signed_in_user_is_a_member_without_channel_data(self, pusher, connect, name):
        channel = name("presence-room")
        watcher = await connect(member={"user_id": "watcher"})
        await watcher.subscribe(channel)
        user = {"id": name("user"), "user_info": {"name": "Ann"}}
        subscriber = await connect(user=user)
        await subscriber.sign_in()
        await subscriber.subscribe(channel)
        member = {"id": user["id"], "info": {"name": "Ann"}}
        assert (await subscriber.members(channel))["me"] == member
        assert await watcher.event(channel, "pusher:member_added") == member
        users = (await pusher.channel_users(channel))["users"]
        assert users == [{"id": "watcher"}, {"id": user["id"]}]
        await subscriber.disconnect()
        assert await watcher.event(channel, "pusher:member_removed") == member

    @pytest_twisted.ensureDeferred
    async def test_channel_data_wins_over_the_sign_in(self, pusher, connect, name):
        channel = name("presence-room")
        subscriber = await connect(user={"id": name("user")}, member={"user_id": "other"})
        await subscriber.sign_in()
        await subscriber.subscribe(channel)
        assert (await pusher.channel_users(channel))["users"] == [{"id": "other"}]

    @pytest_twisted.ensureDeferred
    async def test_subscription_without_a_user_is_refused_in_words(self, connect, name):
        channel = name("presence-room")
        subscriber = await connect()
        # pusher-js itself would wait for a sign-in: whoever sends it, is refused.
        await subscriber.call("send_subscribe", channel=channel)
        refused = await subscriber.report(
            "message", event="pusher:subscription_error", channel=channel
        )
        assert "has not signed in" in refused["data"]["error"]
        assert (await subscriber.error(None))["message"].startswith("Subscription to")


class TestWatchlist:
    @pytest_twisted.ensureDeferred
    async def test_users_of_the_watchlist_come_and_go(self, pusher, connect, name):
        friend, other = name("friend"), name("friend")
        early = await connect(user={"id": other})
        await early.sign_in()
        watcher = await connect(user={"id": name("user"), "watchlist": [friend, other]})
        await watcher.sign_in()
        assert await watcher.watchlist_event("online") == [other]
        twice = [await connect(user={"id": friend}) for _ in range(2)]
        for subscriber in twice:
            await subscriber.sign_in()
        assert await watcher.watchlist_event("online") == [friend]
        await twice[0].disconnect()
        await early.disconnect()
        assert await watcher.watchlist_event("offline") == [other]
        await pusher.terminate_user_connections(friend)
        assert await watcher.watchlist_event("offline") == [friend]
        told = [m for m in watcher.inbox.received if m["type"] == "watchlist"]
        assert len(told) == 4

    @pytest_twisted.ensureDeferred
    async def test_watchlist_of_too_many_users_is_4302_and_the_sign_in_holds(
        self, pusher, connect, name
    ):
        user = {"id": name("user"), "watchlist": [str(number) for number in range(101)]}
        watcher = await connect(user=user)
        await watcher.sign_in()
        await watcher.error(4302)
        await (await connect(user={"id": "7"})).sign_in()
        await pusher.send_to_user(user["id"], "event", 1)
        assert await watcher.user_event("event") == 1
        assert "watchlist" not in [m["type"] for m in watcher.inbox.received]


class TestAuthorizedConnections:
    @pytest_twisted.ensureDeferred
    async def test_connection_that_is_not_authorized_in_time_ends(self, subscribers, server):
        idle = subscribers()
        await idle.open(server)
        error = await idle.error(4009)
        assert "Connection not authorized within timeout" in error["message"]
        await idle.state("disconnected")

    @pytest_twisted.ensureDeferred
    async def test_connection_that_signs_in_stays(self, pusher, connect, name):
        user = {"id": name("user")}
        subscriber = await connect(user=user)
        await subscriber.sign_in()
        idle = await connect()
        await idle.error(4009)
        await pusher.send_to_user(user["id"], "event", 1)
        assert await subscriber.user_event("event") == 1

    @pytest_twisted.async_yield_fixture
    async def server(self):
        async with servers.embedded(authorization_timeout=1.0) as address:
            yield address


class TestHostedLimits:
    @pytest_twisted.ensureDeferred
    async def test_member_too_many_is_refused_in_words(self, connect, name):
        channel = name("presence-room")
        for number in range(2):
            await (await connect(member={"user_id": str(number)})).subscribe(channel)
        late = await connect(member={"user_id": "late"})
        await late.ask_to_subscribe(channel)
        error = await late.event(channel, "pusher:subscription_error")
        assert "has 2 members already" in error["error"]

    @pytest_twisted.ensureDeferred
    async def test_event_beyond_the_day_is_a_forbidden_error(self, pusher):
        for _ in range(50):
            await pusher.trigger("room", "event", 1)
        with pytest.raises(ForbiddenError, match="over its quota of 50 messages"):
            await pusher.trigger("room", "event", 1)

    @pytest_twisted.async_yield_fixture
    async def server(self):
        limits = Limits(presence_members=2, messages_per_day=50)
        async with servers.embedded(limits=limits) as address:
            yield address


class TestQueries:
    @pytest_twisted.ensureDeferred
    async def test_trigger_returns_the_info_asked_for(self, pusher, connect, name):
        presence, private = name("presence-room"), name("private-room")
        for _ in range(2):
            subscriber = await connect(member={"user_id": "1"})
            await subscriber.subscribe(presence, private)
        both = await pusher.trigger([presence, private], "event", 1, info="subscription_count")
        assert both["channels"] == {
            presence: {"subscription_count": 2},
            private: {"subscription_count": 2},
        }
        one = await pusher.trigger(
            presence, "event", 1, info=["user_count", "subscription_count"]
        )
        assert one["channels"] == {presence: {"user_count": 1, "subscription_count": 2}}

    @pytest_twisted.ensureDeferred
    async def test_a_batch_returns_the_info_of_each_event(self, pusher, connect, name):
        occupied = name("room")
        subscriber = await connect()
        await subscriber.subscribe(occupied)
        event = {"name": "event", "data": 1}
        reply = await pusher.trigger_batch(
            [
                {**event, "channel": occupied, "info": "subscription_count"},
                {**event, "channel": name("room")},
                {**event, "channel": name("room"), "info": "subscription_count"},
            ]
        )
        assert reply["batch"] == [{"subscription_count": 1}, {}, {"subscription_count": 0}]

    @pytest_twisted.ensureDeferred
    async def test_channels_lists_user_counts(self, pusher, connect, name):
        channel = name("presence-listed")
        subscriber = await connect(member={"user_id": "1"})
        await subscriber.subscribe(channel, name("room"))
        listed = await pusher.channels(filter_by_prefix="presence-listed", info="user_count")
        assert listed == {"channels": {channel: {"user_count": 1}}}

    @pytest_twisted.ensureDeferred
    async def test_channel_info_has_the_stored_event(self, pusher, connect, name):
        channel = name("cache-room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        await pusher.trigger(channel, "event", {"a": 1})
        info = await pusher.channel_info(channel, info="cache")
        assert info["cache"]["data"] == '{"a":1}'


class TestKeepAlive:
    @pytest_twisted.ensureDeferred
    async def test_a_client_that_answers_pings_stays_connected(self, connect, pusher, name):
        channel = name("room")
        subscriber = await connect()
        await subscriber.call("leave_pings_to_the_server")
        await subscriber.subscribe(channel)
        for _ in range(2):
            await subscriber.report("message", event="pusher:ping")
        await pusher.trigger(channel, "event", 1)
        assert await subscriber.event(channel, "event") == 1

    @pytest_twisted.async_yield_fixture
    async def server(self):
        async with servers.embedded(activity_timeout=1, pong_timeout=1) as address:
            yield address


class TestRefused:
    @pytest_twisted.ensureDeferred
    async def test_a_disabled_app_closes_with_4003(self, subscribers, server):
        subscriber = subscribers()
        await subscriber.open(server)
        await subscriber.error(4003)
        await subscriber.state("disconnected")

    @pytest_twisted.ensureDeferred
    async def test_a_disabled_app_is_a_forbidden_error(self, pusher):
        with pytest.raises(ForbiddenError) as caught:
            await pusher.trigger("room", "event", 1)
        assert caught.value.status == 403

    @pytest_twisted.async_yield_fixture
    async def server(self):
        async with servers.embedded(enabled=False) as address:
            yield address


class TestQuota:
    @pytest_twisted.ensureDeferred
    async def test_connection_over_the_quota_is_closed_with_4004(
        self, connect, subscribers, server
    ):
        await connect()
        second = subscribers()
        await second.open(server)
        await second.error(4004)
        await second.state("disconnected")

    @pytest_twisted.async_yield_fixture
    async def server(self):
        async with servers.embedded(max_connections=1) as address:
            yield address


class TestRestart:
    @pytest_twisted.ensureDeferred
    async def test_subscribers_come_back_after_a_restart_on_the_same_port(
        self, restartable, connect, pusher, name
    ):
        private, presence = name("private-room"), name("presence-room")
        user = {"id": name("user")}
        subscriber = await connect(member={"user_id": "1"}, user=user)
        other = await connect(member={"user_id": "2"})
        await subscriber.sign_in()
        await subscriber.subscribe(private, presence)
        await other.subscribe(private, presence)
        before = subscriber.socket_id
        await restartable.restart()
        assert await subscriber.connected() != before
        await other.connected()
        for each in (subscriber, other):
            await each.event(private, "pusher:subscription_succeeded")
            await each.event(presence, "pusher:subscription_succeeded")
        await subscriber.signed_in()
        assert (await pusher.channel_info(presence, info="user_count"))["user_count"] == 2
        await pusher.trigger(private, "event", 1)
        assert await subscriber.event(private, "event") == 1
        await other.trigger(presence, "client-typing", 2)
        assert await subscriber.event(presence, "client-typing") == 2
        await pusher.send_to_user(user["id"], "event", 3)
        assert await subscriber.user_event("event") == 3

    @pytest_twisted.async_yield_fixture
    async def restartable(self):
        server = Restartable()
        await server.start()
        yield server
        await server.stop()

    @pytest.fixture
    def server(self, restartable):
        return restartable.address


class Restartable:
    """A server that can be stopped and started on one port."""

    def __init__(self):
        self.address = Address(free_ports(1)[0])

    async def start(self):
        from txpusher.server import App, ChannelsServer

        self._server = ChannelsServer(apps=[App(APP_ID, KEY, SECRET)])
        await self._server.listen(port=self.address.port)

    async def stop(self):
        await self._server.stop()

    async def restart(self):
        await self.stop()
        await self.start()
