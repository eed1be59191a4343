"""Which Deferred of a Subscriber gets which outcome, whatever callbacks do meanwhile."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError

from tests.support.scripted_websocket import WebSocketPeer
from tests.support.waiting import until, within
from txpusher import ClosedError, ConnectionClosedError, PusherError, SubscriptionError

from .subscribers import Told

ROOM = "private-room"


class Reserved:
    """
    A server that answers subscriptions to some channels, and nothing else.

    :param answers: For each channel the answers in order: True confirms, a text refuses.
    """

    def __init__(self, **answers):
        self.answers = {ROOM: [True], **answers}
        self.asked: list[str] = []

    async def __call__(self, peer):
        self.there = there = await WebSocketPeer.greet(peer, f"1.{peer.number}")
        while True:
            message = await there.message()
            if message["event"] != "pusher:subscribe":
                continue
            channel = message["data"]["channel"]
            self.asked.append(channel)
            answers = self.answers.get(channel)
            if answers:
                answer = answers.pop(0)
                if answer is True:
                    there.send("pusher_internal:subscription_succeeded", "{}", channel)
                else:
                    there.send("pusher:subscription_error", {"error": answer}, channel)


#: Operations that have no outcome with a Reserved server.
WAITING = {
    "sign_in": lambda subscriber, room: subscriber.sign_in({"id": "7"}),
    "subscribe": lambda subscriber, room: subscriber.subscribe("other"),
    "trigger": lambda subscriber, room: room.trigger("client-e", 1),
    "next": lambda subscriber, room: anext(aiter(room)),
}


class Cancelling:
    """
    Two Deferreds, or more: the callback of the first one cancels the others.

    :ivar outcomes: What the callback of each has seen: None for the first one, the type of
        the failure for the others.
    """

    def __init__(self, first, *others):
        self.outcomes = []
        self._count = 1 + len(others)
        first.addBoth(self._cancel, others).addBoth(self.outcomes.append)
        for other in others:
            other.addErrback(lambda failure: self.outcomes.append(failure.type))

    def _cancel(self, result, others):
        for other in others:
            other.cancel()

    async def all(self):
        """The outcomes, once there are all of them."""
        await until(lambda: len(self.outcomes) == self._count)
        return self.outcomes


class TestCancelling:
    @pytest.mark.parametrize("end", ["close", "4001"])
    @pytest.mark.parametrize("name", ["sign_in", "subscribe", "trigger"])
    @pytest_twisted.ensureDeferred
    async def test_callback_of_one_cancels_the_other(self, serve, make_subscriber, name, end):
        script = Reserved()
        subscriber = make_subscriber(serve(script).port)
        await within(subscriber.connect())
        room = await within(subscriber.subscribe(ROOM))
        both = Cancelling(*(WAITING[name](subscriber, room) for _ in range(2)))
        if end == "close":
            await within(subscriber.close())
        else:
            script.there.close(4001, "gone")
        assert await both.all() == [CancelledError, None]

    @pytest.mark.parametrize("name", WAITING)
    @pytest_twisted.ensureDeferred
    async def test_callback_of_one_cancels_what_waits_for_something_else(
        self, serve, make_subscriber, name
    ):
        script = Reserved()
        subscriber = make_subscriber(serve(script).port)
        await within(subscriber.connect())
        room = await within(subscriber.subscribe(ROOM))
        waiting = {other: wait(subscriber, room) for other, wait in WAITING.items()}
        every = Cancelling(waiting.pop(name), *waiting.values())
        script.there.close(4001, "gone")
        # Those that fail before the first one cannot be cancelled by it.
        assert set(await every.all()) <= {None, CancelledError, ConnectionClosedError}
        assert every.outcomes.count(None) == 1

    @pytest_twisted.ensureDeferred
    async def test_callback_of_one_iteration_cancels_the_next_of_the_same(
        self, serve, make_subscriber
    ):
        subscriber = make_subscriber(serve(Reserved()).port)
        await within(subscriber.connect())
        messages = aiter(await within(subscriber.subscribe(ROOM)))
        both = Cancelling(anext(messages), anext(messages))
        await within(subscriber.close())
        assert await both.all() == [CancelledError, None]

    @pytest.mark.parametrize("code", [None, 4001])
    @pytest_twisted.ensureDeferred
    async def test_callback_of_one_connect_cancels_the_other(
        self, serve, make_subscriber, code
    ):
        async def script(peer):
            there = await WebSocketPeer.accept(peer)
            if code is None:
                there.send("pusher:connection_established", json.dumps({"socket_id": "1.1"}))
            else:
                there.close(code)
            await peer.stall()

        subscriber = make_subscriber(serve(script).port)
        both = Cancelling(subscriber.connect(), subscriber.connect())
        assert await both.all() == [CancelledError, None]
        assert subscriber.state == ("connected" if code is None else "failed")

    @pytest_twisted.ensureDeferred
    async def test_callback_of_one_close_cancels_the_other(self, serve, make_subscriber):
        subscriber = make_subscriber(serve(Reserved()).port)
        await within(subscriber.connect())
        both = Cancelling(subscriber.close(), subscriber.close())
        assert await both.all() == [CancelledError, None]

    @pytest_twisted.ensureDeferred
    async def test_callback_of_a_confirmed_subscribe_cancels_the_other(
        self, serve, make_subscriber
    ):
        subscriber = make_subscriber(serve(Reserved()).port)
        await within(subscriber.connect())
        both = Cancelling(subscriber.subscribe(ROOM), subscriber.subscribe(ROOM))
        assert await both.all() == [CancelledError, None]
        assert (await within(subscriber.subscribe(ROOM))).name == ROOM


class TestAskingAgain:
    @pytest_twisted.ensureDeferred
    async def test_errback_of_one_channel_subscribes_to_another_that_is_refused_too(
        self, serve, make_subscriber
    ):
        refused = {"private-a", "private-b"}

        def authorizer(channel, socket_id):
            if channel in refused:
                raise ValueError(channel)
            return {"auth": "key:signature"}

        script = Reserved(**{"private-b": [True]})
        subscriber = make_subscriber(serve(script).port, authorizer=authorizer)
        again = []

        def subscribe_again(failure):
            refused.clear()
            again.append(subscriber.subscribe("private-b"))

        first = subscriber.subscribe("private-a").addErrback(subscribe_again)
        second = subscriber.subscribe("private-b")
        await within(subscriber.connect())
        await within(first)
        with pytest.raises(SubscriptionError):
            await within(second)
        subscription = await within(again[0])
        told = Told(subscription)
        script.there.send("news", "1", "private-b")
        await told.wait_for("news")
        subscription.unsubscribe()
        assert await within(subscriber.subscribe(ROOM))

    @pytest_twisted.ensureDeferred
    async def test_handler_of_a_refusal_when_coming_back_subscribes_again(
        self, serve, make_subscriber
    ):
        script = Reserved(**{ROOM: [True, "not now", True]})
        server = serve(script)
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        subscription = await within(subscriber.subscribe(ROOM))
        again = []
        subscription.bind(
            "pusher:subscription_error", lambda _: again.append(subscriber.subscribe(ROOM))
        )
        server.peers[0].reset()
        await until(lambda: again)
        assert await within(again[0]) is subscription
        assert script.asked == [ROOM] * 3

    @pytest_twisted.ensureDeferred
    async def test_handler_of_a_refused_sign_in_signs_in_again(self, serve, make_subscriber):
        allowed = [True, False, True]

        def user_authorizer(socket_id, user_data):
            if not allowed.pop(0):
                raise ValueError("not now")
            return {"auth": "key:signature", "user_data": "{}"}

        async def script(peer):
            there = await WebSocketPeer.greet(peer, f"1.{peer.number}")
            while True:
                message = await there.message()
                if message["event"] == "pusher:signin":
                    there.send("pusher:signin_success", {"user_data": '{"id":"7"}'})
                else:
                    channel = message["data"]["channel"]
                    there.send("pusher_internal:subscription_succeeded", "{}", channel)

        server = serve(script)
        subscriber = make_subscriber(server.port, user_authorizer=user_authorizer)
        await within(subscriber.connect())
        await within(subscriber.sign_in({"id": "7"}))
        again = []
        subscriber.bind(
            "pusher:signin_error", lambda _: again.append(subscriber.sign_in({"id": "7"}))
        )
        server.peers[0].reset()
        await until(lambda: again)
        assert await within(again[0]) == {"id": "7"}

    @pytest_twisted.ensureDeferred
    async def test_confirmation_of_a_channel_that_was_left_is_not_that_of_the_next(
        self, serve, make_subscriber
    ):
        script = Reserved(**{ROOM: [True, True, "no more"]})
        server = serve(script)
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        subscription = await within(subscriber.subscribe(ROOM))
        again = []

        def leave_and_return(message):
            subscription.unsubscribe()
            again.append(subscriber.subscribe(ROOM))

        subscription.bind("pusher:subscription_succeeded", leave_and_return)
        server.peers[0].reset()
        await until(lambda: again)
        with pytest.raises(SubscriptionError, match="no more"):
            await within(again[0])

    @pytest_twisted.ensureDeferred
    async def test_confirmed_channel_that_is_left_first_fails_who_waits(
        self, serve, make_subscriber
    ):
        server = serve(Reserved(**{ROOM: [True, "not now", True]}))
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        subscription = await within(subscriber.subscribe(ROOM))
        told = Told(subscription)
        server.peers[0].reset()
        await told.wait_for("pusher:subscription_error")
        subscription.bind("pusher:subscription_succeeded", lambda _: subscription.unsubscribe())
        with pytest.raises(SubscriptionError, match="has left"):
            await within(subscriber.subscribe(ROOM))


class TestErrors:
    @pytest.mark.parametrize("end", ["close", "4001"])
    @pytest_twisted.ensureDeferred
    async def test_each_operation_after_the_end_fails_with_an_error_of_its_own(
        self, serve, make_subscriber, end
    ):
        script = Reserved()
        subscriber = make_subscriber(serve(script).port)
        await within(subscriber.connect())
        room = await within(subscriber.subscribe(ROOM))
        waiting = [wait(subscriber, room) for wait in WAITING.values()]
        if end == "close":
            await within(subscriber.close())
        else:
            script.there.close(4001, "gone")
        operations = [*WAITING.values(), lambda subscriber, room: subscriber.connect()]
        errors = [await failure_of(waiter) for waiter in waiting]
        errors += [await failure_of(o(subscriber, room)) for o in operations for _ in range(3)]
        kind, code = (ClosedError, None) if end == "close" else (ConnectionClosedError, 4001)
        assert {(type(e), getattr(e, "code", None)) for e in errors} == {(kind, code)}
        assert len({id(error) for error in errors}) == len(errors)

    @pytest_twisted.ensureDeferred
    async def test_who_waits_for_the_same_gets_errors_of_their_own(
        self, serve, make_subscriber
    ):
        subscriber = make_subscriber(serve(Reserved(**{ROOM: ["no"]})).port)
        await within(subscriber.connect())
        waiting = [subscriber.subscribe(ROOM) for _ in range(2)]
        first, second = [await failure_of(waiter) for waiter in waiting]
        assert first is not second
        assert (str(first), first.reason) == (str(second), second.reason)

    @pytest_twisted.ensureDeferred
    async def test_error_of_an_iteration_does_not_grow(self, serve, make_subscriber):
        subscriber = make_subscriber(serve(Reserved()).port)
        await within(subscriber.connect())
        messages = aiter(await within(subscriber.subscribe(ROOM)))
        await within(subscriber.close())
        errors = [await failure_of(anext(messages)) for _ in range(3)]
        assert len({id(error) for error in errors}) == 3


async def failure_of(waiter):
    """The error that *waiter* fails with."""
    with pytest.raises(PusherError) as caught:
        await within(waiter)
    return caught.value
