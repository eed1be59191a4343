"""The pure subscriber: channels, presence, encryption."""

from __future__ import annotations

import json

import pytest

from tests.support.credentials import MASTER_KEY
from txpusher._protocol import joining
from txpusher._protocol.actions import Authorize, Forget, Joined, Level, Note, Refused
from txpusher._protocol.client_events import check_client_event
from txpusher._protocol.encryption import encrypt
from txpusher._protocol.incoming import Message
from txpusher._protocol.joining import Channel, Stage
from txpusher._protocol.sealed import ChannelKey, MalformedError, WrongKeyError
from txpusher.errors import InvalidRequestError, SubscriptionError

from .subscribing_driver import (
    Driver,
    frame,
    greeting,
    of,
    present,
    secret_of,
    sent,
    succeeded,
    tickets,
    told,
)

AUTH = {"auth": "key:signature"}
OTHER_KEY = bytes(32)
SECRET_ROOM = "private-encrypted-room"


@pytest.fixture
def connected() -> Driver:
    driver = Driver()
    driver.connect()
    return driver


def subscribe(channel: str, **fields: str) -> dict:
    return {"event": "pusher:subscribe", "data": {"channel": channel, **fields}}


def unsubscribe(channel: str) -> dict:
    return {"event": "pusher:unsubscribe", "data": {"channel": channel}}


def rejection(channel: str, **data: object) -> str:
    return frame("pusher:subscription_error", data, channel)


class TestSubscribing:
    def test_public_channel_needs_no_authorizer(self, connected):
        assert sent(connected.machine.subscribe("room")) == [subscribe("room")]

    def test_confirmed_channel_is_joined_and_told(self, connected):
        connected.machine.subscribe("room")
        actions = connected.receive(succeeded("room"))
        assert [message.event for message in told(actions)] == ["pusher:subscription_succeeded"]
        assert of(Joined, actions) == [Joined("room")]

    def test_private_channel_is_signed_first(self, connected):
        [asked] = connected.machine.subscribe("private-room", {"a": 1})
        assert (asked.channel, asked.data) == ("private-room", {"a": 1})
        actions = connected.machine.authorized(asked.ticket, {**AUTH, "shared_secret": "x"})
        assert sent(actions) == [subscribe("private-room", **AUTH)]

    def test_channel_asked_for_early_is_subscribed_with_the_connection(self):
        driver = Driver()
        assert driver.machine.subscribe("room") == []
        driver.machine.connect()
        assert sent(driver.receive(greeting())) == [subscribe("room")]

    def test_second_subscribe_shares_the_first(self, connected):
        connected.machine.subscribe("room")
        assert connected.machine.subscribe("room") == []
        connected.receive(succeeded("room"))
        assert connected.machine.subscribe("room") == [Joined("room")]

    def test_reconnection_asks_for_fresh_signatures(self, connected):
        connected.join("private-room")
        [ticket] = tickets(connected.reconnect())
        assert sent(connected.machine.authorized(ticket, {"auth": "key:other"})) == [
            subscribe("private-room", auth="key:other")
        ]

    def test_answer_for_a_lost_connection_is_not_used(self, connected):
        [ticket] = tickets(connected.machine.subscribe("private-room"))
        assert of(Forget, connected.machine.lost(1006, "")) == [Forget(ticket)]
        assert connected.machine.authorized(ticket, AUTH) == []
        assert connected.machine.not_authorized(ticket, SubscriptionError("no")) == []

    def test_confirmation_nobody_waits_for_changes_nothing(self, connected):
        assert connected.receive(succeeded("room")) == []
        connected.machine.subscribe("room")
        connected.receive(succeeded("room"))
        assert connected.receive(succeeded("room")) == []

    def test_event_before_the_confirmation_is_told(self, connected):
        connected.machine.subscribe("room")
        assert told(connected.receive(frame("e", "1", "room")))

    def test_event_before_the_signature_is_not_told(self, connected):
        connected.machine.subscribe("private-room")
        assert connected.receive(frame("e", "1", "private-room")) == []


class TestRefusal:
    def test_refusal_of_the_server_has_its_reason(self, connected):
        connected.machine.subscribe("room")
        [refused] = connected.receive(
            rejection("room", type="AuthError", error="banned", status=403)
        )
        assert refused.gone
        error = refused.error
        assert (error.channel, error.status, error.reason) == ("room", 403, "banned")
        assert connected.machine.channels.get("room") is None

    @pytest.mark.parametrize("data", [{}, {"error": 7, "status": "x", "type": 7}])
    def test_refusal_without_a_reason_says_so(self, connected, data):
        connected.machine.subscribe("room")
        [refused] = connected.receive(rejection("room", **data))
        assert "did not say why" in refused.error.reason

    def test_malformed_refusal_refuses(self, connected):
        connected.machine.subscribe("room")
        [refused] = connected.receive(frame("pusher:subscription_error", "x", "room"))
        assert refused.gone

    @pytest.mark.parametrize("channel", [None, "other", "room"])
    def test_refusal_nobody_waits_for_changes_nothing(self, channel):
        driver = Driver()
        driver.connect("room")
        refusal = frame("pusher:subscription_error", {"error": "no"}, channel)
        assert driver.receive(refusal) == []

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            "key:signature",
            {},
            {"auth": 7},
            {"auth": "a", "channel_data": {"user_id": 1}},
            {"auth": "signature\ud800"},
            {"auth": "a", "channel_data": "signature\udfff"},
        ],
    )
    def test_unusable_answer_refuses_without_quoting_it(self, connected, answer):
        [ticket] = tickets(connected.machine.subscribe("private-room"))
        [refused] = connected.machine.authorized(ticket, answer)
        assert refused.gone
        assert isinstance(refused.error, SubscriptionError)
        assert "signature" not in str(refused.error)

    def test_refusal_of_the_authorizer_is_its_own_error(self, connected):
        [ticket] = tickets(connected.machine.subscribe("private-room"))
        error = InvalidRequestError("no")
        assert connected.machine.not_authorized(ticket, error) == [
            Refused("private-room", error, gone=True)
        ]

    def test_refusal_when_coming_back_is_told_and_the_subscription_stays(self, connected):
        connected.join("private-room")
        [ticket] = tickets(connected.reconnect())
        connected.machine.authorized(ticket, AUTH)
        refusal = rejection("private-room", type="AuthError", error="banned", status=401)
        actions = connected.receive(refusal)
        assert [(m.event, m.data) for m in told(actions)] == [
            (
                "pusher:subscription_error",
                {"type": "AuthError", "error": "banned", "status": 401},
            )
        ]
        assert [refused.gone for refused in of(Refused, actions)] == [False]
        assert of(Note, actions)[0].level is Level.WARN
        assert len(tickets(connected.reconnect())) == 1

    def test_refused_authorizer_when_coming_back_is_told_without_a_status(self, connected):
        connected.join("private-room")
        [ticket] = tickets(connected.reconnect())
        actions = connected.machine.not_authorized(ticket, InvalidRequestError("no"))
        assert told(actions)[0].data == {"type": "AuthError", "error": "no"}

    def test_refused_channel_is_tried_again_on_request(self, connected):
        connected.join("private-room")
        [ticket] = tickets(connected.reconnect())
        connected.machine.not_authorized(ticket, SubscriptionError("no"))
        assert len(tickets(connected.machine.subscribe("private-room"))) == 1


class TestLeaving:
    def test_joined_channel_is_left(self, connected):
        connected.machine.subscribe("room")
        connected.receive(succeeded("room"))
        assert sent(connected.machine.unsubscribe("room")) == [unsubscribe("room")]
        assert connected.receive(frame("e", "1", "room")) == []

    def test_unknown_channel_is_left_without_a_word(self, connected):
        assert connected.machine.unsubscribe("room") == []

    def test_open_question_is_forgotten(self, connected):
        [ticket] = tickets(connected.machine.subscribe("private-room"))
        assert connected.machine.unsubscribe("private-room") == [Forget(ticket)]
        assert connected.machine.authorized(ticket, AUTH) == []

    def test_pending_channel_is_left_after_the_confirmation(self, connected):
        connected.machine.subscribe("room")
        assert connected.machine.unsubscribe("room") == []
        assert sent(connected.receive(succeeded("room"))) == [unsubscribe("room")]

    def test_pending_channel_that_is_refused_needs_no_leaving(self, connected):
        connected.machine.subscribe("room")
        connected.machine.unsubscribe("room")
        assert connected.receive(rejection("room", error="no")) == []

    def test_channel_wanted_again_waits_for_the_answer_to_the_first(self, connected):
        connected.machine.subscribe("room")
        connected.machine.unsubscribe("room")
        assert connected.machine.subscribe("room") == []
        assert sent(connected.receive(succeeded("room"))) == [
            unsubscribe("room"),
            subscribe("room"),
        ]
        assert of(Joined, connected.receive(succeeded("room"))) == [Joined("room")]

    def test_channel_wanted_again_is_asked_for_after_a_refusal(self, connected):
        connected.machine.subscribe("room")
        connected.machine.unsubscribe("room")
        connected.machine.subscribe("room")
        assert sent(connected.receive(rejection("room", error="no"))) == [subscribe("room")]

    def test_error_that_names_a_channel_being_left_is_its_answer(self, connected):
        connected.machine.subscribe("room")
        connected.machine.unsubscribe("room")
        error = frame("pusher:error", {"code": None, "message": "no: room."})
        assert connected.receive(error) == []
        assert told(connected.receive(error))

    def test_loss_of_the_connection_answers_everything(self, connected):
        connected.machine.subscribe("room")
        connected.machine.unsubscribe("room")
        connected.machine.subscribe("room")
        assert sent(connected.reconnect()) == [subscribe("room")]

    def test_channel_left_without_a_connection_does_not_come_back(self, connected):
        connected.machine.subscribe("room")
        connected.receive(succeeded("room"))
        connected.machine.lost(1006, "")
        assert connected.machine.unsubscribe("room") == []
        assert sent(connected.receive(greeting())) == []


class TestCounts:
    def test_subscription_count_is_kept_and_told(self):
        driver = Driver()
        driver.connect("room")
        count = frame("pusher_internal:subscription_count", '{"subscription_count":2}', "room")
        assert told(driver.receive(count)) == [
            Message(
                "room",
                "pusher:subscription_count",
                {"subscription_count": 2},
                '{"subscription_count":2}',
            )
        ]
        assert driver.machine.channels.get("room").subscription_count == 2

    @pytest.mark.parametrize("data", [None, "x", '{"subscription_count":"2"}'])
    def test_malformed_count_is_not_told(self, data):
        driver = Driver()
        driver.connect("room")
        assert driver.receive(frame("pusher_internal:subscription_count", data, "room")) == []

    def test_count_of_a_channel_nobody_has_is_not_told(self, connected):
        count = frame("pusher_internal:subscription_count", '{"subscription_count":2}', "room")
        assert connected.receive(count) == []


class TestPresence:
    ROOM = "presence-room"
    ADA = {"user_id": 7, "user_info": {"name": "Ada"}}

    @pytest.fixture
    def joining(self, connected):
        [ticket] = tickets(connected.machine.subscribe(self.ROOM))
        connected.machine.authorized(ticket, {**AUTH, "channel_data": json.dumps(self.ADA)})
        return connected

    @property
    def everyone(self):
        return {"7": {"name": "Ada"}, "8": None}

    def room(self, driver):
        return driver.machine.channels.get(self.ROOM)

    def change(self, event, **data):
        return frame(f"pusher_internal:member_{event}", json.dumps(data), self.ROOM)

    def test_members_and_me_are_known(self, joining):
        joining.receive(present(self.ROOM, self.everyone))
        assert self.room(joining).members == self.everyone
        assert self.room(joining).me == {"id": "7", "info": {"name": "Ada"}}

    def test_info_of_the_server_counts_for_me(self, joining):
        joining.receive(present(self.ROOM, {"7": {"name": "Countess"}}))
        assert self.room(joining).me["info"] == {"name": "Countess"}

    def test_member_who_comes_is_told(self, joining):
        joining.receive(present(self.ROOM, {"7": None}))
        actions = joining.receive(self.change("added", user_id=9, user_info={"a": 1}))
        assert [(m.event, m.data) for m in told(actions)] == [
            ("pusher:member_added", {"id": "9", "info": {"a": 1}})
        ]
        assert self.room(joining).members["9"] == {"a": 1}

    def test_member_who_goes_is_told(self, joining):
        joining.receive(present(self.ROOM, self.everyone))
        gone = self.change("removed", user_id="8")
        assert [m.event for m in told(joining.receive(gone))] == ["pusher:member_removed"]
        assert joining.receive(gone) == []

    @pytest.mark.parametrize("change", ["added", "removed"])
    @pytest.mark.parametrize("data", [None, "x", "{}"])
    def test_malformed_change_is_not_told(self, joining, change, data):
        joining.receive(present(self.ROOM, self.everyone))
        event = frame(f"pusher_internal:member_{change}", data, self.ROOM)
        assert joining.receive(event) == []

    def test_change_before_the_confirmation_is_not_told(self, joining):
        assert joining.receive(self.change("added", user_id=9)) == []

    def test_members_of_the_time_between_are_told_when_coming_back(self, joining):
        joining.receive(present(self.ROOM, self.everyone))
        [ticket] = tickets(joining.reconnect())
        assert self.room(joining).members == self.everyone
        joining.machine.authorized(ticket, {**AUTH, "channel_data": json.dumps(self.ADA)})
        actions = joining.receive(present(self.ROOM, {"7": {"name": "Ada"}, "9": None}))
        assert [(m.event, m.data.get("id")) for m in told(actions)] == [
            ("pusher:subscription_succeeded", None),
            ("pusher:member_removed", "8"),
            ("pusher:member_added", "9"),
        ]

    @pytest.mark.parametrize(
        ("data", "members"),
        [
            ({}, {}),
            ({"presence": 7}, {}),
            ({"presence": {"ids": [7]}}, {"7": None}),
            ({"presence": {"hash": {"7": 1}}}, {"7": 1}),
            ({"presence": {"ids": 7, "hash": 7}}, {}),
        ],
    )
    def test_members_are_read_from_whatever_there_is(self, joining, data, members):
        joining.receive(succeeded(self.ROOM, data))
        assert self.room(joining).members == members

    def test_members_are_known_without_me(self):
        room = Channel(self.ROOM, None)
        room.joined(Message(self.ROOM, "e", {"presence": {"ids": ["8"]}}))
        assert (room.members, room.me) == ({"8": None}, None)

    def test_confirmation_without_an_object_has_no_members(self, joining):
        joining.receive(frame("pusher_internal:subscription_succeeded", "x", self.ROOM))
        assert self.room(joining).members == {}

    @pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000])
    def test_channel_data_without_a_user_id_is_refused(self, connected, text):
        [ticket] = tickets(connected.machine.subscribe(self.ROOM))
        [refused] = connected.machine.authorized(ticket, {**AUTH, "channel_data": text})
        assert "user_id" in refused.error.reason

    def test_channel_data_of_a_private_channel_is_sent_unread(self, connected):
        [ticket] = tickets(connected.machine.subscribe("private-room"))
        actions = connected.machine.authorized(ticket, {**AUTH, "channel_data": "x"})
        assert sent(actions) == [subscribe("private-room", **AUTH, channel_data="x")]

    def test_signature_without_data_needs_a_sign_in(self, connected):
        [ticket] = tickets(connected.machine.subscribe(self.ROOM))
        [refused] = connected.machine.authorized(ticket, AUTH)
        assert "signed in" in refused.error.reason

    def test_signed_in_user_is_a_member_without_data(self, connected):
        connected.sign_in()
        [ticket] = tickets(connected.machine.subscribe(self.ROOM))
        assert sent(connected.machine.authorized(ticket, AUTH)) == [
            subscribe(self.ROOM, **AUTH)
        ]
        connected.receive(present(self.ROOM, {"7": {"name": "Ada"}}))
        assert self.room(connected).me == {"id": "7", "info": {"name": "Ada"}}

    def test_signature_without_data_waits_for_the_sign_in(self, connected):
        [user] = tickets(connected.machine.sign_in({"id": "7"}))
        [ticket] = tickets(connected.machine.subscribe(self.ROOM))
        connected.machine.authorized(user, {"auth": "a", "user_data": "{}"})
        assert connected.machine.authorized(ticket, AUTH) == []
        success = frame("pusher:signin_success", {"user_data": '{"id":"7"}'})
        assert subscribe(self.ROOM, **AUTH) in sent(connected.receive(success))

    def test_signature_without_data_is_refused_with_the_sign_in(self, connected):
        [user] = tickets(connected.machine.sign_in({"id": "7"}))
        [ticket] = tickets(connected.machine.subscribe(self.ROOM))
        connected.machine.authorized(ticket, AUTH)
        actions = connected.machine.not_authorized(user, SubscriptionError("no"))
        assert [refused.channel for refused in of(Refused, actions)] == [self.ROOM]

    def test_channel_that_waits_for_the_sign_in_can_be_left(self, connected):
        connected.machine.sign_in({"id": "7"})
        [ticket] = tickets(connected.machine.subscribe(self.ROOM))
        connected.machine.authorized(ticket, AUTH)
        assert connected.machine.unsubscribe(self.ROOM) == []


class TestEncryption:
    def event(self, data, key=MASTER_KEY):
        return frame("e", encrypt(SECRET_ROOM, data, key), SECRET_ROOM)

    @pytest.fixture
    def joined(self, connected):
        connected.join(SECRET_ROOM, shared_secret=secret_of(SECRET_ROOM))
        return connected

    def test_events_arrive_decrypted(self, joined):
        assert told(joined.receive(self.event('{"a": 1}'))) == [
            Message(SECRET_ROOM, "e", {"a": 1}, '{"a": 1}')
        ]

    def test_key_is_not_sent(self, connected):
        [ticket] = tickets(connected.machine.subscribe(SECRET_ROOM))
        answer = {**AUTH, "shared_secret": secret_of(SECRET_ROOM)}
        [message] = sent(connected.machine.authorized(ticket, answer))
        assert set(message["data"]) == {"channel", "auth"}

    @pytest.mark.parametrize("secret", [None, 7, "???", "AAAA"])
    def test_unusable_secret_is_refused(self, connected, secret):
        [ticket] = tickets(connected.machine.subscribe(SECRET_ROOM))
        answer = {**AUTH, "shared_secret": secret}
        [refused] = connected.machine.authorized(ticket, answer)
        assert "shared_secret" in refused.error.reason

    def test_other_key_is_asked_for_once_and_order_is_kept(self, joined):
        [asked] = joined.receive(self.event("1", OTHER_KEY))
        assert isinstance(asked, Authorize)
        assert joined.receive(self.event("2", OTHER_KEY), self.event("3", MASTER_KEY)) == []
        answer = {**AUTH, "shared_secret": secret_of(SECRET_ROOM, OTHER_KEY)}
        actions = joined.machine.authorized(asked.ticket, answer)
        assert [message.data for message in told(actions)] == [1, 2]
        assert len(of(Note, actions)) == 1
        assert sent(actions) == []
        assert [m.data for m in told(joined.receive(self.event("4", OTHER_KEY)))] == [4]

    def test_event_that_the_new_key_does_not_open_is_noted(self, joined):
        [asked] = joined.receive(self.event("1", OTHER_KEY))
        answer = {**AUTH, "shared_secret": secret_of(SECRET_ROOM)}
        [note] = joined.machine.authorized(asked.ticket, answer)
        assert note.level is Level.ERROR
        assert isinstance(joined.receive(self.event("2", OTHER_KEY))[0], Authorize)

    def test_refused_key_leaves_the_subscription(self, joined):
        [asked] = joined.receive(self.event("1", OTHER_KEY))
        joined.receive(self.event("2", MASTER_KEY))
        actions = joined.machine.not_authorized(asked.ticket, SubscriptionError("no"))
        assert [message.data for message in told(actions)] == [2]
        assert [note.level for note in of(Note, actions)] == [Level.ERROR, Level.ERROR]
        assert not of(Refused, actions)

    def test_unusable_key_leaves_the_subscription(self, joined):
        [asked] = joined.receive(self.event("1", OTHER_KEY))
        actions = joined.machine.authorized(asked.ticket, AUTH)
        assert [note.level for note in of(Note, actions)] == [Level.ERROR, Level.ERROR]

    @pytest.mark.parametrize(
        "data",
        [
            None,
            "text",
            {},
            {"nonce": "AAAA", "ciphertext": "AAAA"},
            {"nonce": 7, "ciphertext": 7},
            {"nonce": "A", "ciphertext": "A"},
        ],
    )
    def test_malformed_event_is_noted(self, joined, data):
        [note] = joined.receive(frame("e", data, SECRET_ROOM))
        assert note.level is Level.ERROR

    def test_malformed_event_among_those_that_wait_is_noted(self, joined):
        [asked] = joined.receive(self.event("1", OTHER_KEY))
        joined.receive(frame("e", "text", SECRET_ROOM))
        answer = {**AUTH, "shared_secret": secret_of(SECRET_ROOM, OTHER_KEY)}
        assert len(of(Note, joined.machine.authorized(asked.ticket, answer))) == 1

    def test_events_that_wait_for_a_key_are_bounded(self, joined, monkeypatch):
        monkeypatch.setattr("txpusher._protocol.channels.MAX_HELD", 2)
        joined.receive(self.event("1", OTHER_KEY), self.event("2", OTHER_KEY))
        [note] = joined.receive(self.event("3", OTHER_KEY))
        assert note.level is Level.ERROR

    def test_events_that_wait_survive_the_loss_of_the_connection(self, joined):
        joined.receive(self.event("1", OTHER_KEY))
        [ticket] = tickets(joined.reconnect())
        answer = {**AUTH, "shared_secret": secret_of(SECRET_ROOM, OTHER_KEY)}
        actions = joined.machine.authorized(ticket, answer)
        assert [message.data for message in told(actions)] == [1]
        assert sent(actions) == [subscribe(SECRET_ROOM, **AUTH)]

    def test_open_key_question_is_forgotten_with_the_channel(self, joined):
        [asked] = joined.receive(self.event("1", OTHER_KEY))
        assert Forget(asked.ticket) in joined.machine.unsubscribe(SECRET_ROOM)

    def test_messages_of_the_server_are_not_encrypted(self, joined):
        [message] = told(joined.receive(frame("pusher:cache_miss", channel=SECRET_ROOM)))
        assert message.event == "pusher:cache_miss"

    def test_text_that_is_no_utf8_is_malformed(self):
        from nacl.secret import SecretBox

        secret = secret_of(SECRET_ROOM)
        import base64

        box = SecretBox(base64.b64decode(secret))
        message = box.encrypt(b"\xff")
        data = {
            "nonce": base64.b64encode(message.nonce).decode(),
            "ciphertext": base64.b64encode(message.ciphertext).decode(),
        }
        with pytest.raises(MalformedError):
            ChannelKey(secret).open(data)

    def test_channel_without_a_key_opens_nothing(self):
        with pytest.raises(WrongKeyError):
            Channel(SECRET_ROOM, None).opened(Message(SECRET_ROOM, "e"))


class TestNames:
    @pytest.mark.parametrize(
        ("channel", "event"),
        [
            ("room", "client-e"),
            ("cache-room", "client-e"),
            (SECRET_ROOM, "client-e"),
            ("private-room", "event"),
            ("private-room", ""),
            ("private-room", "client-" + "x" * 200),
            ("private-room", 7),
        ],
    )
    def test_client_event_that_is_not_allowed_is_refused(self, channel, event):
        with pytest.raises(InvalidRequestError):
            check_client_event(channel, event)

    @pytest.mark.parametrize("channel", ["private-room", "presence-room", "private-cache-a"])
    def test_client_event_that_is_allowed_passes(self, channel):
        assert check_client_event(channel, "client-e") == "client-e"


def test_new_channel_is_outside():
    assert Channel("room", None).stage is Stage.OUTSIDE
    assert joining.MAX_HELD == 1000
