"""A Pusher publishes, pusher-js receives: through soketi and through our own server."""

from __future__ import annotations

import attrs
import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from txpusher import AuthenticationError, BlockingPusher, Event, NotFoundError

from .servers import pusher_for

DATA = [
    {"hello": "world"},
    {"a": {"nested": [1, 2.5, {"deep": None, "empty": {}}], "list": []}},
    {"Zoë": "Grüße ☃ 🐍", 'quote "': "back\\slash\n\u2028"},
    [1, "two", None, [True, False]],
    [],
    42,
    0,
    -2.5,
    True,
    None,
    "text",
    "Grüße ☃ 🐍 \x00 \u2028 <b>&amp;</b>",
    "x" * 10240,
]


KINDS = [
    "room",
    "private-room",
    "private-encrypted-room",
    "presence-room",
    "cache-room",
    "private-cache-room",
    "private-encrypted-cache-room",
    "presence-cache-room",
]
CACHE_KINDS = KINDS[4:]


def shortened(value: object) -> str:
    return ascii(value)[:30]


@pytest.fixture(params=["pusher-js", "txpusher"])
def client(request):
    """The official client and our own, side by side."""
    return request.param


class TestTrigger:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest_twisted.ensureDeferred
    async def test_trigger_delivers_on_every_kind_of_channel(self, pusher, connect, name, kind):
        channel = name(kind)
        subscriber = await connect(member={"user_id": "1"})
        await subscriber.subscribe(channel)
        await pusher.trigger(channel, "event", {"hello": "☃"})
        assert await subscriber.event(channel, "event") == {"hello": "☃"}

    @pytest.mark.parametrize("data", DATA, ids=shortened)
    @pytest_twisted.ensureDeferred
    async def test_data_arrives_unchanged(self, pusher, connect, name, data):
        channel = name("room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        await pusher.trigger(channel, "event", data)
        assert await subscriber.event(channel, "event") == data

    @pytest.mark.parametrize("data", DATA[:-1], ids=shortened)
    @pytest_twisted.ensureDeferred
    async def test_encrypted_data_arrives_unchanged(self, pusher, connect, name, data):
        channel = name("private-encrypted-room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        await pusher.trigger(channel, "event", data)
        assert await subscriber.event(channel, "event") == data

    @pytest_twisted.ensureDeferred
    async def test_the_server_sees_only_ciphertext_of_an_encrypted_channel(
        self, pusher, connect, name
    ):
        channel = name("private-encrypted-room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        await pusher.trigger(channel, "event", {"hello": "world"})
        message = await subscriber.report("message", channel=channel, event="event")
        assert set(message["data"]) == {"nonce", "ciphertext"}

    @pytest_twisted.ensureDeferred
    async def test_event_reaches_every_channel_of_its_list(self, pusher, connect, name):
        channels = [name("room"), name("private-room"), name("presence-room")]
        subscriber = await connect(member={"user_id": "1"})
        await subscriber.subscribe(*channels)
        await pusher.trigger(channels, "event", {"n": 1})
        for channel in channels:
            assert await subscriber.event(channel, "event") == {"n": 1}

    @pytest_twisted.ensureDeferred
    async def test_event_reaches_a_hundred_channels(self, pusher, connect, name):
        channels = [name("room") for _ in range(100)]
        subscriber = await connect()
        await subscriber.subscribe(channels[0], channels[99])
        await pusher.trigger(channels, "event", 1)
        assert await subscriber.event(channels[0], "event") == 1
        assert await subscriber.event(channels[99], "event") == 1

    @pytest_twisted.ensureDeferred
    async def test_events_arrive_in_the_order_triggered(self, pusher, connect, name):
        channel = name("room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        for number in range(20):
            await pusher.trigger(channel, "event", number)
        arrived = [await subscriber.event(channel, "event") for _ in range(20)]
        assert arrived == list(range(20))

    @pytest_twisted.ensureDeferred
    async def test_the_excluded_connection_does_not_receive_the_event(
        self, pusher, connect, name
    ):
        channel = name("room")
        sender, other = await connect(), await connect()
        await sender.subscribe(channel)
        await other.subscribe(channel)
        await pusher.trigger(channel, "event", 1, socket_id=sender.socket_id)
        await pusher.trigger(channel, "last", 2)
        assert await other.event(channel, "event") == 1
        await sender.event(channel, "last")
        assert sender.events(channel) == [("last", 2)]

    @pytest_twisted.ensureDeferred
    async def test_subscriber_gets_no_event_after_unsubscribing(self, pusher, connect, name):
        channel, other = name("room"), name("room")
        subscriber = await connect()
        await subscriber.subscribe(channel, other)
        await subscriber.unsubscribe(channel)
        # pusher-js sends in order, so the server has unsubscribed it by then.
        await subscriber.subscribe(name("room"))
        await pusher.trigger([channel, other], "event", 1)
        await subscriber.event(other, "event")
        assert subscriber.events(channel) == []

    @pytest_twisted.ensureDeferred
    async def test_the_same_channel_can_be_left_and_entered_again(self, pusher, connect, name):
        channel = name("presence-room")
        subscriber = await connect(member={"user_id": "1"})
        await subscriber.subscribe(channel)
        await subscriber.unsubscribe(channel)
        assert (await subscriber.subscribe(channel))["count"] == 1
        await pusher.trigger(channel, "event", 1)
        assert await subscriber.event(channel, "event") == 1

    @pytest_twisted.ensureDeferred
    async def test_a_blocking_trigger_in_a_thread_arrives(self, server, connect, name):
        channel = name("room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        blocking = BlockingPusher(**server.settings)
        try:
            await deferToThread(blocking.trigger, channel, "event", {"hello": "thread"})
        finally:
            await deferToThread(blocking.close)
        assert await subscriber.event(channel, "event") == {"hello": "thread"}


class TestTriggerBatch:
    @pytest_twisted.ensureDeferred
    async def test_every_event_arrives_in_order(self, pusher, connect, name):
        channel, encrypted = name("room"), name("private-encrypted-room")
        subscriber = await connect()
        await subscriber.subscribe(channel, encrypted)
        await pusher.trigger_batch(
            [
                Event(channel, "event", {"n": 1}),
                {"channel": encrypted, "name": "event", "data": {"n": 2}},
                Event(channel, "event", "three"),
            ]
        )
        assert await subscriber.event(channel, "event") == {"n": 1}
        assert await subscriber.event(channel, "event") == "three"
        assert await subscriber.event(encrypted, "event") == {"n": 2}

    @pytest_twisted.ensureDeferred
    async def test_each_event_excludes_its_own_connection(self, pusher, connect, name):
        channel = name("room")
        first, second = await connect(), await connect()
        await first.subscribe(channel)
        await second.subscribe(channel)
        await pusher.trigger_batch(
            [
                Event(channel, "a", 1, socket_id=first.socket_id),
                Event(channel, "b", 2, socket_id=second.socket_id),
                Event(channel, "last", 3),
            ]
        )
        await first.event(channel, "last")
        await second.event(channel, "last")
        assert first.events(channel) == [("b", 2), ("last", 3)]
        assert second.events(channel) == [("a", 1), ("last", 3)]


class TestCache:
    @pytest.mark.parametrize("kind", CACHE_KINDS)
    @pytest_twisted.ensureDeferred
    async def test_a_late_subscriber_gets_the_latest_event(self, pusher, connect, name, kind):
        channel = name(kind)
        await pusher.trigger(channel, "event", "old")
        await pusher.trigger(channel, "event", {"latest": "☃"})
        subscriber = await connect(member={"user_id": "1"})
        await subscriber.subscribe(channel)
        assert await subscriber.event(channel, "event") == {"latest": "☃"}
        await pusher.trigger(channel, "last", None)
        await subscriber.event(channel, "last")
        assert subscriber.events(channel) == [("event", {"latest": "☃"}), ("last", None)]

    @pytest.mark.parametrize("kind", CACHE_KINDS)
    @pytest_twisted.ensureDeferred
    async def test_cache_miss_is_told_where_no_event_is_stored(self, connect, name, kind):
        channel = name(kind)
        subscriber = await connect(member={"user_id": "1"})
        await subscriber.subscribe(channel)
        await subscriber.event(channel, "pusher:cache_miss")

    @pytest_twisted.ensureDeferred
    async def test_client_events_are_not_stored(self, connect, name):
        channel = name("private-cache-room")
        first, second = await connect(), await connect()
        await first.subscribe(channel)
        await second.subscribe(channel)
        await first.trigger(channel, "client-typing", 1)
        await second.event(channel, "client-typing")
        late = await connect()
        await late.subscribe(channel)
        await late.event(channel, "pusher:cache_miss")


class TestQueries:
    @pytest_twisted.ensureDeferred
    async def test_channels_lists_the_occupied_channels(self, pusher, connect, name):
        prefix = name("list")
        subscriber = await connect()
        await subscriber.subscribe(f"{prefix}-a", f"{prefix}-b", name("other"))
        listed = await pusher.channels(filter_by_prefix=prefix)
        assert set(listed["channels"]) == {f"{prefix}-a", f"{prefix}-b"}
        await subscriber.unsubscribe(f"{prefix}-a")
        await subscriber.subscribe(name("other"))
        listed = await pusher.channels(filter_by_prefix=prefix)
        assert set(listed["channels"]) == {f"{prefix}-b"}

    @pytest_twisted.ensureDeferred
    async def test_channel_info_counts_users_and_subscriptions(self, pusher, connect, name):
        channel = name("presence-room")
        for user_id in ("1", "2", "2"):
            subscriber = await connect(member={"user_id": user_id})
            await subscriber.subscribe(channel)
        info = await pusher.channel_info(channel, info=["user_count", "subscription_count"])
        assert info["occupied"] is True
        assert info["user_count"] == 2
        assert info["subscription_count"] == 3

    @pytest_twisted.ensureDeferred
    async def test_channel_info_of_an_empty_channel(self, pusher, name):
        assert (await pusher.channel_info(name("room")))["occupied"] is False

    @pytest_twisted.ensureDeferred
    async def test_channel_users_lists_each_user_once(self, pusher, connect, name):
        channel = name("presence-room")
        for user_id in ("1", "zoë ☃", "1"):
            subscriber = await connect(member={"user_id": user_id})
            await subscriber.subscribe(channel)
        users = (await pusher.channel_users(channel))["users"]
        assert sorted(user["id"] for user in users) == ["1", "zoë ☃"]

    @pytest.mark.parametrize("channel", ["a=b@c,d.e;f-g_h", "presence-;,=@.a"])
    @pytest_twisted.ensureDeferred
    async def test_a_name_with_every_character_allowed_works_in_a_path(
        self, pusher, connect, channel
    ):
        subscriber = await connect(member={"user_id": "1"})
        await subscriber.subscribe(channel)
        assert (await pusher.channel_info(channel))["occupied"] is True
        await pusher.trigger(channel, "event", 1)
        assert await subscriber.event(channel, "event") == 1


class TestRefused:
    @pytest_twisted.ensureDeferred
    async def test_a_wrong_secret_is_an_authentication_error(self, server, connect, name):
        channel = name("room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        async with pusher_for(server, secret="wrong") as pusher:
            with pytest.raises(AuthenticationError) as caught:
                await pusher.trigger(channel, "event", 1)
        assert caught.value.status == 401
        assert caught.value.maybe_delivered is False
        assert "wrong" not in str(caught.value)

    @pytest_twisted.ensureDeferred
    async def test_an_unknown_app_is_a_not_found_error(self, server, name):
        async with pusher_for(server, app_id="another-app") as pusher:
            with pytest.raises(NotFoundError) as caught:
                await pusher.trigger(name("room"), "event", 1)
        assert caught.value.status == 404
        assert caught.value.maybe_delivered is False

    @pytest_twisted.ensureDeferred
    async def test_an_unknown_key_is_refused_at_the_connection_with_4001(
        self, server, subscribers
    ):
        subscriber = subscribers()
        await subscriber.open(attrs.evolve(server, key="another-key"))
        await subscriber.error(4001)
