"""The pure subscriber and errors that do not say what they refuse, as of Reverb and sockudo."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txpusher._protocol.actions import Joined, Note, Open, Refused, SignInRefused, State
from txpusher.errors import APIError, SubscriptionError

from .subscribing_driver import (
    Driver,
    frame,
    of,
    outcomes,
    sent,
    states,
    succeeded,
    tickets,
    told,
)

PING = {"event": "pusher:ping", "data": {}}
PONG = frame("pusher:pong", {})


def error(code: int = 4009, message: str = "Connection is unauthorized") -> str:
    """An error that names nothing, its data in a string as Reverb has it."""
    return frame("pusher:error", json.dumps({"code": code, "message": message}))


@pytest.fixture
def connected() -> Driver:
    driver = Driver()
    driver.connect()
    return driver


def ask(driver: Driver, *channels: str) -> None:
    """Send a subscription for each channel, signed where it must be."""
    for channel in channels:
        for ticket in tickets(driver.machine.subscribe(channel)):
            answer = {"auth": "key:sig", "channel_data": '{"user_id":"1"}'}
            assert sent(driver.machine.authorized(ticket, answer))


def ask_to_sign_in(driver: Driver) -> None:
    """Send a sign-in."""
    [ticket] = tickets(driver.machine.sign_in({"id": "7"}))
    driver.machine.authorized(ticket, {"auth": "key:sig", "user_data": '{"id":"7"}'})


def reason_of(refusal: Refused) -> str:
    """The words of the server in a refusal."""
    assert isinstance(refusal.error, SubscriptionError)
    return refusal.error.reason


def refused(actions: list[Any]) -> list[str]:
    """The channels whose subscription is refused."""
    return [action.channel for action in of(Refused, actions)]


def joined(actions: list[Any]) -> list[str]:
    """The channels whose subscription is confirmed."""
    return [action.channel for action in of(Joined, actions)]


class TestSubscriptions:
    def test_subscription_is_refused_once_a_pong_shows_that_the_connection_goes_on(
        self, connected
    ):
        ask(connected, "private-room")
        actions = connected.receive(error())
        assert sent(actions) == [PING]
        assert len(actions) == 1
        [refusal] = connected.receive(PONG)
        assert (refusal.channel, refusal.gone) == ("private-room", True)
        assert isinstance(refusal.error, SubscriptionError)
        assert refusal.error.channel == "private-room"
        assert refusal.error.reason == "Connection is unauthorized"
        assert refusal.error.status is None
        assert connected.machine.channels.get("private-room") is None

    def test_errors_refuse_the_subscriptions_in_the_order_of_asking(self, connected):
        first, second = (
            tickets(connected.machine.subscribe(name))[0] for name in ("private-a", "private-b")
        )
        for ticket in (second, first):
            connected.machine.authorized(ticket, {"auth": "key:sig"})
        actions = connected.receive(error(), error(message="again"), PONG)
        assert len(sent(actions)) == 1
        refusals = of(Refused, actions)
        assert [r.channel for r in refusals] == ["private-b", "private-a"]
        assert reason_of(refusals[1]) == "again"

    def test_subscription_that_was_confirmed_is_not_refused(self, connected):
        ask(connected, "private-a", "private-b")
        actions = connected.receive(succeeded("private-a"), error(), PONG)
        assert refused(actions) == ["private-b"]

    def test_subscription_that_was_refused_by_name_is_not_refused_again(self, connected):
        ask(connected, "private-a", "private-b")
        named = frame("pusher:subscription_error", {"error": "no"}, "private-a")
        null = frame("pusher:error", {"code": None, "message": "no: private-b"})
        assert refused(connected.receive(named, null)) == ["private-a", "private-b"]
        assert len(told(connected.receive(error(), PONG))) == 1

    def test_public_channel_is_not_refused_for_want_of_authorisation(self, connected):
        ask(connected, "room", "private-room")
        assert refused(connected.receive(error(), PONG)) == ["private-room"]
        assert refused(connected.receive(error(4300, "bad name"), PONG)) == []

    def test_name_that_sockudo_does_not_take_refuses_the_oldest_subscription(self, connected):
        ask(connected, "room,1", "private-room")
        assert refused(connected.receive(error(4300, "invalid name"), PONG)) == ["room,1"]

    def test_full_channel_of_sockudo_refuses_the_oldest_presence_channel(self, connected):
        ask(connected, "private-room", "presence-room")
        assert refused(connected.receive(error(4100), PONG)) == ["presence-room"]

    @pytest.mark.parametrize("code", [4000, 4001, 4005, 4200, 4201, 4301, 4302])
    def test_error_with_another_code_is_the_connections(self, connected, code):
        ask(connected, "room", "private-room", "presence-room")
        actions = connected.receive(error(code), PONG)
        assert [message.data["code"] for message in told(actions)] == [code]
        assert refused(actions) == []
        assert sent(actions) == []

    def test_error_is_the_connections_where_nothing_waits(self, connected):
        connected.join("private-room")
        connected.machine.subscribe("private-other")
        actions = connected.receive(error())
        assert [message.data["code"] for message in told(actions)] == [4009]
        assert of(Note, actions)
        assert sent(actions) == []

    def test_error_that_names_another_channel_is_not_its(self, connected):
        ask(connected, "private-room")
        named = frame("pusher:error", {"code": 4009, "message": "no"}, "private-other")
        assert len(told(connected.receive(named, PONG))) == 1
        assert connected.machine.channels.get("private-room") is not None

    def test_error_is_never_of_what_was_sent_after_a_ping_without_a_pong(self, connected):
        connected.machine.quiet()
        ask(connected, "private-room")
        assert len(told(connected.receive(error()))) == 1
        assert refused(connected.receive(PONG, error(), PONG)) == ["private-room"]

    def test_error_is_never_of_what_was_passed_over_before_a_pong(self, connected):
        ask(connected, "private-slow")
        connected.machine.quiet()
        connected.receive(PONG)
        ask(connected, "private-room")
        assert refused(connected.receive(error(), PONG)) == ["private-room"]
        assert of(Refused, connected.receive(succeeded("private-slow"))) == []

    def test_confirmed_subscription_hands_the_error_on(self, connected):
        ask(connected, "private-a", "private-b")
        connected.receive(error(), succeeded("private-a"))
        assert refused(connected.receive(PONG)) == ["private-b"]

    def test_error_that_refused_nothing_in_the_end_is_told(self, connected):
        ask(connected, "private-a")
        actions = connected.receive(error(), succeeded("private-a"), PONG)
        assert refused(actions) == []
        assert [m.event for m in told(actions)] == [
            "pusher:error",
            "pusher:subscription_succeeded",
        ]

    def test_channel_that_is_being_left_takes_the_error(self, connected):
        ask(connected, "private-a")
        connected.machine.unsubscribe("private-a")
        ask(connected, "private-b")
        connected.machine.subscribe("private-a")
        actions = connected.receive(error(), PONG)
        assert refused(actions) == []
        assert len(tickets(actions)) == 1
        assert connected.machine.channels.get("private-a") is not None

    def test_refusal_when_coming_back_is_told_and_tried_again(self, connected):
        connected.join("private-room")
        for _ in range(2):
            [ticket] = tickets(connected.reconnect())
            connected.machine.authorized(ticket, {"auth": "key:sig"})
            actions = connected.receive(error(), PONG)
            [message] = told(actions)
            assert (message.channel, message.event) == (
                "private-room",
                "pusher:subscription_error",
            )
            assert message.data == {"type": "AuthError", "error": "Connection is unauthorized"}
            [refusal] = of(Refused, actions)
            assert not refusal.gone

    def test_secret_in_an_error_is_redacted(self, connected):
        ask(connected, "private-room")
        [refusal] = of(Refused, connected.receive(error(message="not " + "f" * 64), PONG))
        assert "ffff" not in str(refusal.error) + reason_of(refusal)

    def test_error_without_words_has_a_reason(self, connected):
        ask(connected, "private-room")
        [refusal] = of(Refused, connected.receive(error(message=""), PONG))
        assert reason_of(refusal) == "the server did not say why"


class TestEndOfTheConnection:
    def test_error_before_a_close_code_is_told_and_refuses_nothing(self, connected):
        ask(connected, "private-room")
        connected.receive(error())
        actions = connected.machine.lost(4009, "unauthorised")
        assert [message.event for message in told(actions)] == ["pusher:error"]
        assert refused(actions) == []
        assert states(actions) == [State.FAILED]

    @pytest.mark.parametrize("code", [4009, 4100, 4200])
    def test_refused_message_before_a_loss_ends_nothing(self, connected, code):
        ask(connected, "presence-room")
        connected.receive(error(code))
        actions = connected.machine.lost(1006, "reset")
        assert states(actions) == [State.CONNECTING]
        assert [action.at_least for action in of(Open, actions)] == [0.0]

    def test_error_about_a_channel_before_a_loss_ends_nothing(self, connected):
        connected.receive(frame("pusher:error", {"code": 4009}, "private-room"))
        assert states(connected.machine.lost(1006, "reset")) == [State.CONNECTING]

    def test_error_that_refuses_nothing_before_a_loss_ends_the_subscriber(self, connected):
        connected.receive(error(4009))
        assert states(connected.machine.lost(1006, "reset")) == [State.FAILED]

    def test_error_before_a_silence_ends_nothing(self, connected):
        connected.receive(error(4009))
        connected.machine.quiet()
        lost = connected.machine.lost(1006, "silent for over 30 s after a ping")
        assert states(lost) == [State.CONNECTING]

    def test_error_before_a_loss_is_forgotten_by_the_next_connection(self, connected):
        ask(connected, "presence-room")
        connected.receive(error(4100))
        connected.machine.lost(1006, "")
        assert len(tickets(connected.reconnect())) == 1
        ask_again = connected.receive(PONG, PONG)
        assert refused(ask_again) == []

    def test_ping_of_before_the_error_serves(self, connected):
        ask(connected, "private-room")
        connected.machine.quiet()
        assert connected.receive(error()) == []
        assert refused(connected.receive(PONG)) == ["private-room"]


class TestSignIn:
    @pytest.mark.parametrize("code", [4009, 4200])
    def test_sign_in_is_refused_once_the_connection_goes_on(self, connected, code):
        ask_to_sign_in(connected)
        actions = connected.receive(error(code, "Invalid message format"), PONG)
        [refusal] = of(SignInRefused, actions)
        assert isinstance(refusal.error, SubscriptionError)
        assert refusal.error.reason == "Invalid message format"
        assert tickets(connected.machine.sign_in({"id": "8"}))

    def test_sign_in_that_closes_the_connection_is_not_refused(self, connected):
        ask_to_sign_in(connected)
        actions = connected.receive(error())
        actions = connected.machine.lost(4009, "")
        assert of(SignInRefused, actions) == []
        assert connected.machine.state is State.FAILED

    def test_first_of_sign_in_and_subscription_is_refused(self, connected):
        ask_to_sign_in(connected)
        ask(connected, "private-room")
        actions = connected.receive(error(), PONG)
        assert len(of(SignInRefused, actions)) == 1
        assert refused(actions) == []

    def test_sign_in_and_subscription_are_refused_one_after_the_other(self, connected):
        ask_to_sign_in(connected)
        ask(connected, "private-room")
        actions = connected.receive(error(), error(), PONG)
        assert len(of(SignInRefused, actions)) == 1
        assert refused(actions) == ["private-room"]

    def test_confirmed_sign_in_is_not_refused(self, connected):
        connected.sign_in()
        ask(connected, "private-room")
        actions = connected.receive(error(), PONG)
        assert of(SignInRefused, actions) == []
        assert refused(actions) == ["private-room"]

    def test_refusal_of_what_nobody_waits_for_is_nothing(self, connected):
        assert connected.machine.user.turned_down("no") == []

    def test_refused_channel_of_the_user_refuses_the_sign_in(self, connected):
        ask_to_sign_in(connected)
        connected.receive(frame("pusher:signin_success", {"user_data": '{"id":"7"}'}))
        [refusal] = of(SignInRefused, connected.receive(error(4300, "bad name"), PONG))
        assert "bad name" in str(refusal.error)

    def test_refused_sign_in_refuses_the_presence_channel_behind_it(self, connected):
        ask_to_sign_in(connected)
        [ticket] = tickets(connected.machine.subscribe("presence-room"))
        connected.machine.authorized(ticket, {"auth": "key:sig"})
        actions = connected.receive(error(4200), PONG)
        assert len(of(SignInRefused, actions)) == 1
        assert refused(actions) == ["presence-room"]

    def test_refusal_when_coming_back_is_told_and_tried_again(self, connected):
        connected.sign_in()
        [ticket] = tickets(connected.reconnect())
        connected.machine.authorized(ticket, {"auth": "a", "user_data": "{}"})
        actions = connected.receive(error(), PONG)
        assert [message.event for message in told(actions)] == ["pusher:signin_error"]
        assert len(tickets(connected.reconnect())) == 1


class TestClientEvents:
    @pytest.mark.parametrize("code", [4009, 4100, 4200])
    def test_client_event_is_refused_by_its_own_pong(self, connected, code):
        connected.join("private-room")
        for number in (1, 2):
            connected.machine.trigger(number, "private-room", "client-e", "text")
        assert connected.receive(error(code, "Invalid message format")) == []
        failed = outcomes(connected.receive(PONG, PONG))
        assert isinstance(failed[1], APIError)
        assert (failed[1].status, failed[1].body) == (code, "Invalid message format")
        assert failed[2] is None

    def test_cancelled_client_event_is_not_refused(self, connected):
        connected.join("private-room")
        connected.machine.trigger(1, "private-room", "client-e", 1)
        connected.receive(error())
        connected.machine.forget_trigger(1)
        assert outcomes(connected.receive(PONG)) == {}

    def test_error_of_a_cancelled_client_event_refuses_no_other(self, connected):
        connected.join("private-room")
        for number in (1, 2):
            connected.machine.trigger(number, "private-room", "client-e", 1)
        connected.machine.forget_trigger(1)
        assert connected.receive(error(4301)) == []
        assert outcomes(connected.receive(PONG, PONG)) == {2: None}

    def test_doubted_client_event_may_be_delivered_where_the_connection_is_lost(
        self, connected
    ):
        connected.join("private-room")
        connected.machine.trigger(1, "private-room", "client-e", 1)
        connected.receive(error(4200))
        actions = connected.machine.lost(4200, "")
        assert outcomes(actions)[1].maybe_delivered
        assert len(told(actions)) == 1


class InOrder:
    """
    A subscriber, and a server that answers in order and never says what it refuses.

    :ivar expected: Whether each subscription and client event is to be refused.
    """

    def __init__(self) -> None:
        self.driver = Driver()
        self.driver.connect()
        self.driver.join("private-room")
        self.expected: dict[str | int, bool] = {}
        self.unread: list[dict[str, Any]] = []
        self.actions: list[Any] = []

    def do(self, actions: list[Any]) -> None:
        """Take note of what the subscriber does, and sign what it wants signed."""
        self.actions += actions
        self.unread += sent(actions)
        for ticket in tickets(actions):
            answer = {"auth": "key:sig", "channel_data": '{"user_id":"1"}'}
            self.do(self.driver.machine.authorized(ticket, answer))

    def send(self, what: str, *, refuse: bool) -> None:
        """Have the subscriber send something."""
        number = len(self.expected) + 1
        if what == "ping":
            self.do(self.driver.machine.quiet())
        elif what == "event":
            self.expected[number] = refuse
            self.do(
                self.driver.machine.trigger(number, "private-room", "client-e", {"n": number})
            )
        else:
            name = f"{what}{number}"
            self.expected[name] = refuse and what != "room"
            self.do(self.driver.machine.subscribe(name))

    def read(self, count: int) -> None:
        """Deal with so many messages, the oldest first."""
        for message in self.unread[:count]:
            del self.unread[0]
            what = message["data"].get("channel", message["data"].get("n"))
            if message["event"] == "pusher:ping":
                self.do(self.driver.receive(PONG))
            elif self.expected[what]:
                self.do(self.driver.receive(error()))
            elif message["event"] == "pusher:subscribe":
                self.do(self.driver.receive(succeeded(what)))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["private-", "presence-", "room", "event", "ping"]),
            st.booleans(),
            st.sampled_from([0, 0, 1, 2, 5]),
        ),
        max_size=12,
    )
)
def test_exactly_what_a_server_refuses_without_a_name_is_refused(steps):
    there = InOrder()
    for what, refuse, count in steps:
        there.send(what, refuse=refuse)
        there.read(count)
    while there.unread:
        there.read(1)
    outcome: dict[str | int, bool] = {}
    outcome.update(dict.fromkeys(joined(there.actions), False))
    outcome.update(dict.fromkeys(refused(there.actions), True))
    outcome.update({n: why is not None for n, why in outcomes(there.actions).items()})
    assert outcome == there.expected
    assert not [m for m in told(there.actions) if m.event == "pusher:error"]
