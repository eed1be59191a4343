"""The Subscriber on the embedded server: every row of what it can do."""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from tests.support.credentials import KEY, MASTER_KEY, MASTER_KEY_BASE64, SECRET
from tests.support.waiting import pause, until, within
from txpusher import (
    APIError,
    ClosedError,
    ConfigurationError,
    ConnectionClosedError,
    InvalidRequestError,
    Pusher,
    QueueFullError,
    SubscriptionError,
)
from txpusher._protocol.encryption import encrypt
from txpusher.server import App, ChannelsServer
from txpusher.subscriber import Message, Subscriber

from .subscribers import Told, pusher_of, states_of

ADA = {"user_id": "ada", "user_info": {"name": "Ada"}}
SECRET_ROOM = "private-encrypted-room"


@pytest_twisted.async_yield_fixture
async def pusher(server):
    async with pusher_of(server.port) as pusher:
        yield pusher


@pytest_twisted.async_yield_fixture
async def subscriber(server, make_subscriber):
    subscriber = make_subscriber(server.port)
    await within(subscriber.connect())
    yield subscriber


class TestConnecting:
    @pytest_twisted.ensureDeferred
    async def test_connect_fires_with_the_socket_id(self, server, make_subscriber):
        subscriber = make_subscriber(server.port)
        assert (subscriber.state, subscriber.socket_id) == ("initialized", None)
        changes = states_of(subscriber)
        socket_id = await within(subscriber.connect())
        assert socket_id == subscriber.socket_id
        assert await subscriber.connect() == socket_id
        assert changes == [("initialized", "connecting"), ("connecting", "connected")]

    @pytest_twisted.ensureDeferred
    async def test_several_connects_share_one_connection(self, server, make_subscriber):
        subscriber = make_subscriber(server.port)
        first, second = subscriber.connect(), subscriber.connect()
        assert await within(first) == await within(second)

    @pytest_twisted.ensureDeferred
    async def test_cancelled_connect_leaves_the_attempt_to_the_others(
        self, server, make_subscriber
    ):
        subscriber = make_subscriber(server.port)
        first, second = subscriber.connect(), subscriber.connect()
        first.cancel()
        with pytest.raises(CancelledError):
            await first
        assert await within(second) == subscriber.socket_id

    @pytest_twisted.ensureDeferred
    async def test_cancelling_the_last_connect_ends_the_attempt(self, server, make_subscriber):
        subscriber = make_subscriber(server.port)
        connecting = subscriber.connect()
        connecting.cancel()
        with pytest.raises(CancelledError):
            await connecting
        assert subscriber.state == "disconnected"
        await pause(0.05)
        assert subscriber.state == "disconnected"
        assert await within(subscriber.connect()) == subscriber.socket_id

    @pytest_twisted.ensureDeferred
    async def test_async_with_closes(self, server):
        async with Subscriber.for_pusher(pusher_of(server.port)) as subscriber:
            await within(subscriber.connect())
        assert subscriber.state == "disconnected"

    @pytest_twisted.ensureDeferred
    async def test_unknown_key_ends_it_for_good(self, server, make_subscriber):
        subscriber = make_subscriber(server.port)
        stranger = Subscriber("other-key", host="127.0.0.1", port=server.port, use_tls=False)
        waiting = stranger.subscribe("room")
        with pytest.raises(ConnectionClosedError) as caught:
            await within(stranger.connect())
        assert caught.value.code == 4001
        assert stranger.state == "failed"
        operations: list[Any] = [waiting, stranger.subscribe("room"), stranger.connect()]
        for operation in operations:
            with pytest.raises(ConnectionClosedError):
                await within(operation)
        await stranger.close()
        assert stranger.state == "disconnected"
        with pytest.raises(ClosedError):
            await stranger.connect()
        await within(subscriber.connect())


class TestSubscribing:
    @pytest_twisted.ensureDeferred
    async def test_events_reach_handlers_and_the_loop(self, subscriber, pusher):
        subscription = await within(subscriber.subscribe("room"))
        told, heard = Told(subscription), Told(subscriber)
        messages = aiter(subscription)
        await pusher.trigger("room", "created", {"number": 7})
        message = await within(anext(messages))
        assert message == Message("room", "created", {"number": 7}, '{"number":7}')
        # The loop goes on in the middle of the handlers.
        await until(lambda: heard.events)
        assert told.events == heard.events == [("room", "created", {"number": 7})]

    @pytest_twisted.ensureDeferred
    async def test_same_channel_twice_is_the_same_subscription(self, server, subscriber):
        first, second = subscriber.subscribe("room"), subscriber.subscribe("room")
        subscription = await within(first)
        assert await within(second) is subscription
        assert await within(subscriber.subscribe("room")) is subscription

    @pytest_twisted.ensureDeferred
    async def test_subscribe_may_come_before_connect(self, server, make_subscriber):
        subscriber = make_subscriber(server.port)
        waiting = subscriber.subscribe("private-room")
        await within(subscriber.connect())
        assert (await within(waiting)).name == "private-room"

    @pytest_twisted.ensureDeferred
    async def test_unsubscribed_channel_is_silent_and_its_loop_ends(self, subscriber, pusher):
        subscription = await within(subscriber.subscribe("room"))
        other = await within(subscriber.subscribe("other"))
        told = Told(subscriber)
        messages = aiter(subscription)
        waiting = anext(messages)
        assert await subscription.unsubscribe() is None
        with pytest.raises(StopAsyncIteration):
            await waiting
        await pusher.trigger(["room", "other"], "last", 1)
        await told.wait_for("last")
        assert told.events == [("other", "last", 1)]
        assert [message async for message in subscription] == []
        subscription.unsubscribe()
        assert await within(subscriber.subscribe("room")) is not subscription
        assert other.name == "other"

    @pytest_twisted.ensureDeferred
    async def test_cancelling_the_last_subscribe_unsubscribes(self, server, subscriber, pusher):
        first, second = subscriber.subscribe("room"), subscriber.subscribe("room")
        first.cancel()
        second.cancel()
        for cancelled in (first, second):
            with pytest.raises(CancelledError):
                await cancelled
        again = await within(subscriber.subscribe("room"))
        again.unsubscribe()
        await within(subscriber.subscribe("private-after"))
        assert (await pusher.channels())["channels"].keys() == {"private-after"}

    @pytest_twisted.ensureDeferred
    async def test_cancelling_one_subscribe_leaves_the_subscription(self, subscriber):
        first = await within(subscriber.subscribe("room"))
        first.bind("e", print)
        cancelled = subscriber.subscribe("room")
        cancelled.cancel()
        # Called from where the first one fired, it has not had its turn.
        with pytest.raises(CancelledError):
            await cancelled
        assert await within(subscriber.subscribe("room")) is first

    @pytest_twisted.ensureDeferred
    async def test_wrong_signature_has_the_servers_reason(self, server, make_subscriber):
        wrong = Pusher("3", KEY, "wrong")
        subscriber = make_subscriber(server.port, authorizer=wrong.authenticate)
        await within(subscriber.connect())
        with pytest.raises(SubscriptionError) as caught:
            await within(subscriber.subscribe("private-room"))
        assert (caught.value.channel, caught.value.status) == ("private-room", 401)
        assert caught.value.reason

    @pytest.mark.parametrize("name", ["", "a b", "x" * 201, "#server-to-user-7", 7, None])
    @pytest_twisted.ensureDeferred
    async def test_name_that_is_no_channels_is_refused(self, subscriber, name):
        with pytest.raises(InvalidRequestError):
            await subscriber.subscribe(name)

    @pytest_twisted.ensureDeferred
    async def test_private_channel_without_authorizer_is_a_configuration_error(self):
        subscriber = Subscriber(KEY)
        with pytest.raises(ConfigurationError, match="authorizer"):
            await subscriber.subscribe("private-room")
        with pytest.raises(ConfigurationError, match="user_authorizer"):
            await subscriber.sign_in({"id": "7"})

    @pytest.mark.parametrize("custom_data", ["text", 7, [1]])
    @pytest_twisted.ensureDeferred
    async def test_custom_data_that_is_no_mapping_is_refused(self, subscriber, custom_data):
        with pytest.raises(InvalidRequestError):
            await subscriber.subscribe("presence-room", custom_data=custom_data)
        with pytest.raises(InvalidRequestError):
            await subscriber.sign_in(custom_data)

    @pytest_twisted.ensureDeferred
    async def test_what_the_pusher_refuses_is_its_own_error(self, subscriber):
        with pytest.raises(InvalidRequestError, match="user_id"):
            await within(subscriber.subscribe("presence-room", custom_data={"user_id": ""}))


class TestHandlers:
    @pytest_twisted.ensureDeferred
    async def test_failing_handler_is_logged_and_stops_nothing(self, subscriber, pusher, log):
        subscription = await within(subscriber.subscribe("room"))

        def raises(message):
            raise ValueError("synchronously")

        async def fails(message):
            raise ValueError("in a coroutine")

        subscription.bind("e", raises)
        subscription.bind("e", fails)
        subscription.bind("e", lambda message: fail(ValueError("in a Deferred")))
        subscription.bind("e", lambda message: succeed(None))
        told = Told(subscription)
        await pusher.trigger("room", "e", 1)
        await told.wait_for("e")
        assert len(log.flush()) == 3

    @pytest.mark.parametrize("of_all", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_handler_that_leaves_the_channel_is_the_last_one(
        self, subscriber, pusher, of_all
    ):
        subscription = await within(subscriber.subscribe("room"))
        calls = []

        def leave(message):
            if message.event == "e":
                calls.append("leaves")
                subscription.unsubscribe()

        def comes_after(message):
            if message.event == "e":
                calls.append("comes after")

        if of_all:
            subscription.bind_all(leave)
        else:
            subscription.bind("e", leave)
            subscription.bind("e", comes_after)
        subscription.bind_all(comes_after)
        loops = [anext(aiter(subscription)) for _ in range(2)]
        told = Told(subscriber)
        await pusher.trigger("room", "e", 1)
        await told.wait_for("e")
        assert calls == ["leaves"]
        for loop in loops:
            with pytest.raises(StopAsyncIteration):
                await loop

    @pytest_twisted.ensureDeferred
    async def test_unbound_handlers_are_called_no_more(self, subscriber, pusher):
        subscription = await within(subscriber.subscribe("room"))
        calls = []

        def one(message):
            calls.extend(["one"] if message.event in "ef" else [])

        def two(message):
            calls.extend(["two"] if message.event in "ef" else [])

        for handler in (one, two):
            subscription.bind("e", handler)
            subscription.bind("f", handler)
            subscription.bind_all(handler)
        subscription.unbind("e", one)
        subscription.unbind("f")
        subscription.unbind("unknown", two)
        await pusher.trigger_batch(
            [{"channel": "room", "name": name, "data": 1} for name in ("e", "f")]
        )
        await until(lambda: len(calls) == 5)
        assert calls == ["two", "one", "two", "one", "two"]
        subscription.unbind(handler=one)
        subscriber.bind("e", one)
        subscriber.unbind()
        told = Told(subscriber)
        await pusher.trigger("room", "e", 1)
        await told.wait_for("e")
        assert calls[5:] == ["two", "two"]

    @pytest_twisted.ensureDeferred
    async def test_what_cannot_be_a_handler_is_refused(self, subscriber):
        for bind in (
            lambda: subscriber.bind("e", 7),
            lambda: subscriber.bind(7, print),
            lambda: subscriber.bind_all(7),
            lambda: subscriber.on_state_change(7),
        ):
            with pytest.raises(InvalidRequestError):
                bind()

    @pytest_twisted.ensureDeferred
    async def test_handler_may_call_everything(self, subscriber, pusher):
        subscription = await within(subscriber.subscribe("room"))
        done: Deferred = Deferred()

        async def handler(message):
            subscription.unbind()
            other = await subscriber.subscribe("private-other")
            await other.trigger("client-e", 1)
            await subscription.unsubscribe()
            await subscriber.close()
            done.callback(message.data)

        subscription.bind("e", handler)
        await pusher.trigger("room", "e", 1)
        assert await within(done) == 1


class TestIterating:
    @pytest_twisted.ensureDeferred
    async def test_loop_keeps_what_comes_while_it_waits(self, subscriber, pusher):
        subscription = await within(subscriber.subscribe("room"))
        got = []

        async def consume():
            async for message in subscription:
                got.append(message.data)
                await pause(0.01)
                if message.data == 19:
                    break

        loop = Deferred.fromCoroutine(consume())
        for start in (0, 10):
            await pusher.trigger_batch(
                [{"channel": "room", "name": "e", "data": start + n} for n in range(10)]
            )
        await within(loop)
        assert got == list(range(20))

    @pytest_twisted.ensureDeferred
    async def test_slow_loop_is_told_after_what_was_kept(self, server, make_subscriber, pusher):
        subscriber = make_subscriber(server.port, max_buffered=3)
        await within(subscriber.connect())
        subscription = await within(subscriber.subscribe("room"))
        told = Told(subscription)
        messages = aiter(subscription)
        await pusher.trigger_batch(
            [{"channel": "room", "name": "e", "data": n} for n in range(6)]
        )
        await told.wait_for("e", 6)
        assert [(await anext(messages)).data for _ in range(3)] == [0, 1, 2]
        for _ in range(2):
            with pytest.raises(QueueFullError, match="max_buffered"):
                await anext(messages)
        anew = aiter(subscription)
        await pusher.trigger("room", "e", 7)
        assert (await within(anext(anew))).data == 7

    @pytest_twisted.ensureDeferred
    async def test_loop_that_was_left_keeps_nothing(self, subscriber, pusher):
        subscription = await within(subscriber.subscribe("room"))
        sending = pusher.trigger("room", "e", 1)
        async for message in subscription:
            assert message.event == "e"
            break
        await sending
        cancelled = anext(aiter(subscription))
        cancelled.cancel()
        with pytest.raises(CancelledError):
            await cancelled
        left = aiter(subscription)
        still_there = weakref.ref(left)
        del left
        gc.collect()
        assert still_there() is None

    @pytest_twisted.ensureDeferred
    async def test_loop_that_nobody_else_holds_goes_on(self, subscriber, pusher):
        subscription = await within(subscriber.subscribe("room"))
        got = []

        async def consume():
            async for message in subscription:
                got.append(message.data)

        Deferred.fromCoroutine(consume()).addErrback(lambda failure: failure.trap(ClosedError))
        gc.collect()
        await pusher.trigger("room", "e", 1)
        await until(lambda: got == [1])

    @pytest_twisted.ensureDeferred
    async def test_close_ends_loops_with_closed_error(self, subscriber, pusher):
        subscription = await within(subscriber.subscribe("room"))
        messages = aiter(subscription)
        waiting = anext(messages)
        await subscriber.close()
        for attempt in (waiting, anext(messages), anext(aiter(subscription))):
            with pytest.raises(ClosedError):
                await attempt


class TestPresence:
    @pytest_twisted.ensureDeferred
    async def test_members_and_me(self, server, make_subscriber):
        first, second = make_subscriber(server.port), make_subscriber(server.port)
        for each in (first, second):
            await within(each.connect())
        room = await within(first.subscribe("presence-room", custom_data=ADA))
        assert room.me == {"id": "ada", "info": {"name": "Ada"}}
        assert room.members == {"ada": {"name": "Ada"}}
        told = Told(room)
        other = await within(second.subscribe("presence-room", custom_data={"user_id": 7}))
        assert await told.wait_for("pusher:member_added") == [{"id": "7", "info": None}]
        assert room.members == other.members == {"ada": {"name": "Ada"}, "7": None}
        other.unsubscribe()
        assert await told.wait_for("pusher:member_removed") == [{"id": "7", "info": None}]
        assert room.members == {"ada": {"name": "Ada"}}
        assert room.subscription_count is None

    @pytest_twisted.ensureDeferred
    async def test_public_channel_has_no_members(self, subscriber):
        subscription = await within(subscriber.subscribe("room"))
        assert (subscription.members, subscription.me) == ({}, None)
        await until(lambda: subscription.subscription_count == 1)


class TestClientEvents:
    @pytest_twisted.ensureDeferred
    async def test_client_event_reaches_the_others(self, server, make_subscriber):
        first, second = make_subscriber(server.port), make_subscriber(server.port)
        for each in (first, second):
            await within(each.connect())
        mine = await within(first.subscribe("presence-room", custom_data=ADA))
        other = await within(second.subscribe("presence-room", custom_data={"user_id": "b"}))
        told, echoed = Told(other), Told(mine)
        assert await within(mine.trigger("client-typing", {"a": [1, "ü"]})) is None
        await told.wait_for("client-typing")
        [message] = [m for m in told.messages if m.event == "client-typing"]
        assert (message.data, message.user_id) == ({"a": [1, "ü"]}, "ada")
        assert echoed.named("client-typing") == []

    @pytest_twisted.ensureDeferred
    async def test_too_many_client_events_fail_with_4301(self, subscriber):
        room = await within(subscriber.subscribe("private-room"))
        sent = [room.trigger("client-e", n) for n in range(50)]
        outcomes = []
        for each in sent:
            try:
                outcomes.append(await within(each))
            except APIError as error:
                outcomes.append(error.status)
        assert outcomes[:10] == [None] * 10
        assert 4301 in outcomes
        assert set(outcomes) == {None, 4301}

    @pytest.mark.parametrize(
        ("channel", "event", "data"),
        [
            ("room", "client-e", 1),
            (SECRET_ROOM, "client-e", 1),
            ("private-room", "e", 1),
            ("private-room", "client-e", object()),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_client_event_that_is_not_allowed_is_refused(
        self, subscriber, channel, event, data
    ):
        subscription = await within(subscriber.subscribe(channel))
        with pytest.raises(InvalidRequestError):
            await subscription.trigger(event, data)

    @pytest_twisted.ensureDeferred
    async def test_client_event_after_the_end_fails(self, subscriber):
        room = await within(subscriber.subscribe("private-room"))
        left = await within(subscriber.subscribe("private-left"))
        left.unsubscribe()
        again = subscriber.subscribe("private-left")
        with pytest.raises(SubscriptionError):
            await left.trigger("client-e", 1)
        await within(again)
        cancelled = room.trigger("client-e", 1)
        cancelled.cancel()
        with pytest.raises(CancelledError):
            await cancelled
        pending = room.trigger("client-e", 1)
        await subscriber.close()
        for operation in (pending, room.trigger("client-e", 1)):
            with pytest.raises(ClosedError):
                await operation

    @pytest_twisted.ensureDeferred
    async def test_client_events_that_are_off_are_refused(self, make_subscriber, log):
        server = ChannelsServer([App("3", KEY, SECRET, client_events=False)])
        await server.listen()
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        room = await within(subscriber.subscribe("private-room"))
        with pytest.raises(APIError, match="switched off") as caught:
            await within(room.trigger("client-e", 1))
        assert caught.value.status == 4301
        await subscriber.close()
        await server.stop()


class TestUsers:
    @pytest_twisted.ensureDeferred
    async def test_events_to_the_user_arrive(self, subscriber, pusher):
        told = Told(subscriber)
        data = {"id": "7", "user_info": {"name": "Ada"}}
        assert await within(subscriber.sign_in(data)) == data
        assert await within(subscriber.sign_in(data)) == data
        await pusher.send_to_user("7", "hello", {"a": 1})
        await told.wait_for("hello")
        assert told.events == [("#server-to-user-7", "hello", {"a": 1})]

    @pytest_twisted.ensureDeferred
    async def test_terminated_user_is_gone_for_good(self, subscriber, pusher):
        await within(subscriber.sign_in({"id": "7"}))
        subscription = await within(subscriber.subscribe("room"))
        messages = aiter(subscription)
        await pusher.terminate_user_connections("7")
        with pytest.raises(ConnectionClosedError) as caught:
            await within(anext(messages))
        assert caught.value.code == 4009
        assert subscriber.state == "failed"
        with pytest.raises(ConnectionClosedError):
            await subscription.trigger("client-e", 1)

    @pytest_twisted.ensureDeferred
    async def test_other_user_on_the_same_connection_is_refused(self, subscriber):
        await within(subscriber.sign_in({"id": "7"}))
        with pytest.raises(InvalidRequestError):
            await subscriber.sign_in({"id": "8"})

    @pytest_twisted.ensureDeferred
    async def test_user_data_without_an_id_is_refused(self, subscriber):
        with pytest.raises(InvalidRequestError):
            await within(subscriber.sign_in({}))

    @pytest_twisted.ensureDeferred
    async def test_cancelled_sign_in_is_withdrawn(self, server, make_subscriber):
        subscriber = make_subscriber(server.port)
        first, second = subscriber.sign_in({"id": "7"}), subscriber.sign_in({"id": "7"})
        for signing_in in (first, second):
            signing_in.cancel()
            with pytest.raises(CancelledError):
                await signing_in
        again = subscriber.sign_in({"id": "8"})
        await within(subscriber.connect())
        assert (await within(again))["id"] == "8"


class TestCache:
    @pytest_twisted.ensureDeferred
    async def test_cache_miss_is_told_without_data(self, subscriber, pusher):
        subscription = await within(subscriber.subscribe("cache-room"))
        told = Told(subscription)
        assert await told.wait_for("pusher:cache_miss") == [None]

    @pytest_twisted.ensureDeferred
    async def test_last_event_arrives_after_the_subscription(self, subscriber, pusher):
        await pusher.trigger("cache-room", "e", {"a": 1})
        subscription = await within(subscriber.subscribe("cache-room"))
        assert (await within(anext(aiter(subscription)))).data == {"a": 1}


class TestEncryption:
    @pytest_twisted.ensureDeferred
    async def test_events_arrive_decrypted(self, subscriber, pusher):
        subscription = await within(subscriber.subscribe(SECRET_ROOM))
        messages = aiter(subscription)
        await pusher.trigger(SECRET_ROOM, "e", {"a": "ü"})
        await pusher.trigger(SECRET_ROOM, "e", "text")
        assert (await within(anext(messages))).data == {"a": "ü"}
        message = await within(anext(messages))
        assert (message.data, message.raw_data) == ("text", "text")

    @pytest_twisted.ensureDeferred
    async def test_master_key_stands_in_for_the_secret(self, server, make_subscriber, pusher):
        def authorizer(channel, socket_id):
            return {"auth": pusher.authenticate(channel, socket_id)["auth"]}

        subscriber = make_subscriber(
            server.port,
            authorizer=authorizer,
            encryption_master_key_base64=MASTER_KEY_BASE64,
        )
        await within(subscriber.connect())
        messages = aiter(await within(subscriber.subscribe(SECRET_ROOM)))
        await pusher.trigger(SECRET_ROOM, "e", 1)
        assert (await within(anext(messages))).data == 1

    @pytest_twisted.ensureDeferred
    async def test_no_key_at_all_is_a_subscription_error(self, server, make_subscriber, pusher):
        def authorizer(channel, socket_id):
            return {"auth": pusher.authenticate(channel, socket_id)["auth"]}

        subscriber = make_subscriber(server.port, authorizer=authorizer)
        await within(subscriber.connect())
        with pytest.raises(SubscriptionError, match="shared_secret"):
            await within(subscriber.subscribe(SECRET_ROOM))

    @pytest_twisted.ensureDeferred
    async def test_pusher_without_a_key_is_a_configuration_error(self, server, make_subscriber):
        pusher = Pusher("3", KEY, SECRET, host="127.0.0.1", port=server.port, use_tls=False)
        subscriber = Subscriber.for_pusher(pusher)
        await within(subscriber.connect())
        with pytest.raises(ConfigurationError):
            await within(subscriber.subscribe(SECRET_ROOM))
        await subscriber.close()

    @pytest_twisted.ensureDeferred
    async def test_rotated_secret_is_asked_for_once_more(self, server, make_subscriber, pusher):
        rotated = Pusher("3", KEY, SECRET, encryption_master_key_base64="A" * 43 + "=")
        signers = [pusher, rotated]
        asked = []

        async def authorizer(channel, socket_id):
            asked.append(channel)
            await pause(0.01)
            return signers[min(len(asked), 2) - 1].authenticate(channel, socket_id)

        subscriber = make_subscriber(server.port, authorizer=authorizer)
        await within(subscriber.connect())
        subscription = await within(subscriber.subscribe(SECRET_ROOM))
        told = Told(subscription)
        # The server passes on what it does not understand.
        for number in (1, 2):
            sealed = json.loads(encrypt(SECRET_ROOM, str(number), bytes(32)))
            await pusher.post(
                "/events",
                {"name": "e", "channels": [SECRET_ROOM], "data": json.dumps(sealed)},
            )
        await told.wait_for("e", 2)
        assert told.named("e") == [1, 2]
        assert len(asked) == 2

    @pytest_twisted.ensureDeferred
    async def test_event_that_no_key_opens_is_logged(self, subscriber, pusher, log):
        subscription = await within(subscriber.subscribe(SECRET_ROOM))
        told = Told(subscription)
        for text in (encrypt(SECRET_ROOM, "1", bytes(32)), "no cipher"):
            body = {"name": "bad", "channels": [SECRET_ROOM], "data": text}
            await pusher.post("/events", body)
        body = {"name": "e", "channels": [SECRET_ROOM]}
        await pusher.post("/events", {**body, "data": encrypt(SECRET_ROOM, "1", MASTER_KEY)})
        assert await told.wait_for("e") == [1]
        assert told.named("bad") == []
        assert log.text.count("is lost") >= 2
