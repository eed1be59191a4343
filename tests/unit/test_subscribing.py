"""The pure subscriber: the connection, its end and its return, errors, client events."""

from __future__ import annotations

import json

import pytest

from txpusher._protocol.actions import (
    Abandon,
    Connected,
    Drop,
    Ended,
    HangUp,
    Level,
    Note,
    Open,
    State,
)
from txpusher._protocol.closing import Return, return_after
from txpusher._protocol.incoming import Message, encode_again
from txpusher.errors import (
    APIError,
    ClosedError,
    ConnectionClosedError,
    HTTPError,
    InvalidRequestError,
    SubscriptionError,
)

from .subscribing_driver import (
    SOCKET_ID,
    Driver,
    frame,
    greeting,
    of,
    outcomes,
    present,
    sent,
    states,
    succeeded,
    tickets,
    told,
)


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def connected(driver: Driver) -> Driver:
    driver.connect()
    return driver


class TestConnecting:
    def test_connect_opens_at_once(self, driver):
        actions = driver(driver.machine.connect())
        assert states(actions) == [State.CONNECTING]
        assert of(Open, actions) == [Open(failures=0, at_least=0.0)]

    def test_second_connect_changes_nothing(self, driver):
        driver.machine.connect()
        assert driver.machine.connect() == []

    def test_greeting_gives_the_socket_id(self, driver):
        driver.machine.connect()
        actions = driver.receive(greeting())
        assert states(actions) == [State.CONNECTED]
        assert of(Connected, actions) == [Connected(SOCKET_ID, 120)]
        assert driver.machine.socket_id == SOCKET_ID

    @pytest.mark.parametrize("timeout", [None, "120", True, 0, -1])
    def test_unusable_activity_timeout_is_none(self, driver, timeout):
        driver.machine.connect()
        [told] = of(Connected, driver.receive(greeting(activity_timeout=timeout)))
        assert told.activity_timeout is None

    @pytest.mark.parametrize("socket_id", [None, 7, "", "1.2:private-a"])
    def test_greeting_with_a_wrong_socket_id_drops_the_connection(self, driver, socket_id):
        driver.machine.connect()
        [action] = driver.receive(greeting(socket_id))
        assert isinstance(action, Drop)
        assert driver.machine.state is State.CONNECTING

    def test_greeting_without_an_object_drops_the_connection(self, driver):
        driver.machine.connect()
        [action] = driver.receive(frame("pusher:connection_established", "hello"))
        assert isinstance(action, Drop)

    def test_second_greeting_changes_nothing(self, connected):
        assert connected.receive(greeting("7.7")) == []
        assert connected.machine.socket_id == SOCKET_ID

    def test_abandoned_attempt_ends(self, driver):
        driver.machine.connect()
        actions = driver(driver.machine.abandon())
        assert states(actions) == [State.DISCONNECTED]
        assert of(Abandon, actions)
        assert driver.receive(greeting()) == []

    def test_abandoned_subscriber_may_connect_again(self, driver):
        driver.machine.connect()
        driver.machine.lost(1006, "")
        driver.machine.abandon()
        assert of(Open, driver.machine.connect()) == [Open(failures=0)]

    def test_return_of_a_connection_is_not_abandoned(self, connected):
        connected.machine.lost(1006, "")
        assert connected.machine.abandon() == []
        assert connected.machine.state is State.CONNECTING

    @pytest.mark.parametrize("connect_first", [False, True])
    def test_nothing_to_abandon_changes_nothing(self, driver, connect_first):
        if connect_first:
            driver.connect()
        assert driver.machine.abandon() == []


class TestCloseCodes:
    @pytest.mark.parametrize("code", [4000, 4001, 4009, 4099])
    def test_connection_closed_for_good_fails_the_subscriber(self, connected, code):
        actions = connected.machine.lost(code, "no such app")
        assert states(actions) == [State.FAILED]
        [ended] = of(Ended, actions)
        assert isinstance(ended.error, ConnectionClosedError)
        assert ended.error.code == code
        assert "no such app" in str(ended.error)
        assert connected.machine.end is ended.error
        assert not of(Open, actions)

    @pytest.mark.parametrize("code", [4100, 4199])
    def test_server_over_capacity_is_left_alone_for_a_second(self, connected, code):
        [opening] = of(Open, connected.machine.lost(code, ""))
        assert opening == Open(failures=0, at_least=1.0)

    @pytest.mark.parametrize("code", [4200, 4299, 4300, 4301, 4999, 1000, 1001, 1006, 3000])
    def test_other_end_is_followed_by_a_connection_at_once(self, connected, code):
        actions = connected.machine.lost(code, "")
        assert of(Open, actions) == [Open(failures=0, at_least=0.0)]
        assert states(actions) == [State.CONNECTING]

    def test_every_code_of_the_protocol_has_its_return(self):
        for code in range(4000, 4300):
            expected = [Return.NEVER, Return.LATER, Return.AT_ONCE][(code - 4000) // 100]
            assert return_after(code) is expected

    def test_failures_in_a_row_are_counted(self, driver):
        driver.machine.connect()
        failures = [of(Open, driver.machine.lost(1006, ""))[0].failures for _ in range(4)]
        assert failures == [0, 1, 2, 3]
        assert driver.machine.state is State.UNAVAILABLE

    def test_short_connection_counts_as_a_failure(self, connected):
        connected.machine.lost(4200, "", 0.5)
        connected.receive(greeting())
        assert of(Open, connected.machine.lost(4200, "", 0.5))[0].failures == 1

    def test_lasting_connection_begins_the_count_anew(self, connected):
        connected.machine.lost(4200, "", 0.5)
        connected.receive(greeting())
        assert of(Open, connected.machine.lost(4200, "", 1.0))[0].failures == 0

    def test_announced_code_counts_where_the_close_has_none(self, connected):
        connected.receive(frame("pusher:error", {"code": 4001, "message": "no app"}))
        assert states(connected.machine.lost(1006, "")) == [State.FAILED]

    def test_code_of_the_close_counts_before_an_announced_one(self, connected):
        connected.receive(frame("pusher:error", {"code": 4001, "message": "no app"}))
        assert states(connected.machine.lost(4200, "")) == [State.CONNECTING]

    def test_announced_code_is_forgotten_with_the_next_message(self, connected):
        connected.receive(frame("pusher:error", {"code": 4001, "message": "no app"}))
        connected.receive(frame("pusher:ping", {}))
        assert states(connected.machine.lost(1006, "")) == [State.CONNECTING]

    def test_signature_in_a_reason_is_redacted(self, connected):
        [ended] = of(Ended, connected.machine.lost(4009, "f" * 64))
        assert "ffff" not in str(ended.error)


class TestEnd:
    def test_close_hangs_up_and_ends(self, connected):
        actions = connected.machine.close()
        assert states(actions) == [State.DISCONNECTED]
        assert of(HangUp, actions)
        [ended] = of(Ended, actions)
        assert isinstance(ended.error, ClosedError)
        assert connected.machine.socket_id is None

    def test_second_close_changes_nothing(self, connected):
        connected.machine.close()
        assert connected.machine.close() == []

    def test_failed_subscriber_can_be_closed(self, connected):
        connected.machine.lost(4001, "")
        assert states(connected.machine.close()) == [State.DISCONNECTED]
        assert isinstance(connected.machine.end, ClosedError)

    def test_abandoned_subscriber_can_be_closed(self, driver):
        driver.machine.connect()
        driver.machine.abandon()
        assert states(driver.machine.close()) == []

    def test_closed_subscriber_connects_no_more(self, driver):
        driver.machine.close()
        assert driver.machine.connect() == []
        assert driver.machine.lost(1006, "") == []
        assert driver.machine.quiet() == []
        assert driver.receive(greeting(), frame("event", "1", "room")) == []


class TestMessages:
    @pytest.mark.parametrize(
        "text", ["", "7", "[]", "{}", '{"event": 7}', "{", "[" * 100_000, '{"event": NaN}']
    )
    def test_text_that_is_no_message_is_noted(self, connected, text):
        [note] = connected.receive(text)
        assert isinstance(note, Note)
        assert note.level is Level.WARN

    def test_ping_is_answered(self, connected):
        assert sent(connected.receive(frame("pusher:ping", "{}"))) == [
            {"event": "pusher:pong", "data": {}}
        ]

    def test_silence_is_asked_about(self, connected):
        assert sent(connected.machine.quiet()) == [{"event": "pusher:ping", "data": {}}]

    def test_pong_nobody_waits_for_changes_nothing(self, connected):
        assert connected.receive(frame("pusher:pong")) == []

    def test_data_is_decoded_json_or_the_text(self, driver):
        driver.connect("room")
        assert told(
            driver.receive(
                frame("e", '{"a": 1}', "room"),
                frame("e", "text", "room"),
                frame("e", {"a": 1}, "room"),
                frame("e", None, "room"),
                frame("e", "1", "room", user_id=7),
            )
        ) == [
            Message("room", "e", {"a": 1}, '{"a": 1}'),
            Message("room", "e", "text", "text"),
            Message("room", "e", {"a": 1}, '{"a":1}'),
            Message("room", "e", None, None),
            Message("room", "e", 1, "1", "7"),
        ]

    def test_data_nested_too_deeply_stays_text(self, driver):
        driver.connect("room")
        deep = "[" * 100_000
        [message] = told(driver.receive(frame("e", deep, "room")))
        assert message.data == message.raw_data == deep

    @pytest.mark.parametrize("number", ["1e400", "-1e400"])
    def test_event_with_a_number_out_of_range_is_told(self, driver, number):
        driver.connect("room")
        data = f'{{"x":{number}}}'
        infinite = {"x": float(number)}
        unwrapped = f'{{"event":"e","channel":"room","data":{data}}}'
        assert told(driver.receive(frame("e", data, "room"), unwrapped)) == [
            Message("room", "e", infinite, data),
            Message("room", "e", infinite, None),
        ]

    @pytest.mark.parametrize(
        ("text", "event"),
        [
            ('{"event":"pusher:error","data":{"code":4302,"x":1e400}}', "pusher:error"),
            (
                '{"event":"pusher_internal:watchlist_events",'
                '"data":{"events":[{"name":"online","user_ids":[1e400]}]}}',
                "online",
            ),
            (
                '{"event":"pusher_internal:member_added","channel":"presence-room",'
                '"data":"{\\"user_id\\":\\"1\\",\\"user_info\\":1e400}"}',
                "pusher:member_added",
            ),
        ],
    )
    def test_message_of_the_server_with_a_number_out_of_range_is_told(
        self, driver, text, event
    ):
        driver.connect()
        driver.join("presence-room", channel_data='{"user_id":"me"}')
        [message] = told(driver.receive(text))
        assert (message.event, message.raw_data) == (event, None)

    @pytest.mark.parametrize("coming_back", [False, True])
    def test_member_with_a_number_out_of_range_goes(self, driver, coming_back):
        answer = {"auth": "key:signature", "channel_data": '{"user_id":"me"}'}
        driver.connect()
        driver.join("presence-room", **answer)
        come = '{"user_id":"1","user_info":1e400}'
        driver.receive(frame("pusher_internal:member_added", come, "presence-room"))
        if coming_back:
            [ticket] = tickets(driver.reconnect())
            driver(driver.machine.authorized(ticket, answer))
            gone = present("presence-room", {"me": None})
        else:
            gone = frame("pusher_internal:member_removed", '{"user_id":"1"}', "presence-room")
        names = [message.event for message in told(driver.receive(gone))]
        assert "pusher:member_removed" in names

    def test_value_nested_too_deeply_has_no_text(self):
        deep: list = []
        for _ in range(100_000):
            deep = [deep]
        assert encode_again(deep) is None

    def test_event_of_no_channel_is_told(self, connected):
        assert told(connected.receive(frame("news", "1"))) == [Message(None, "news", 1, "1")]

    @pytest.mark.parametrize("channel", [None, "room"])
    def test_unknown_internal_message_is_not_told(self, driver, channel):
        driver.connect("room")
        assert driver.receive(frame("pusher_internal:future", "1", channel)) == []

    def test_event_of_a_channel_nobody_wants_is_not_told(self, connected):
        assert connected.receive(frame("e", "1", "room")) == []

    def test_cache_miss_is_told_without_data(self, driver):
        driver.connect("cache-room")
        assert told(driver.receive(frame("pusher:cache_miss", channel="cache-room"))) == [
            Message("cache-room", "pusher:cache_miss")
        ]


class TestErrors:
    def test_error_of_nobody_is_told_and_noted(self, connected):
        actions = connected.receive(frame("pusher:error", {"code": 4302, "message": "list"}))
        [message] = told(actions)
        assert message.event == "pusher:error"
        assert message.data == {"code": 4302, "message": "list"}
        assert of(Note, actions)[0].level is Level.WARN

    @pytest.mark.parametrize("data", [None, "text", 7, {"code": "x"}])
    def test_malformed_error_is_told(self, connected, data):
        [message] = told(connected.receive(frame("pusher:error", data)))
        assert message.event == "pusher:error"

    def test_error_that_names_a_waiting_channel_refuses_it(self, connected):
        connected(connected.machine.subscribe("room"))
        connected(connected.machine.subscribe("room-2"))
        text = "Invalid signature: Expected HMAC of 123.456:room-2, but got " + "f" * 64
        [refused] = connected.receive(frame("pusher:error", {"code": None, "message": text}))
        assert refused.channel == "room-2"
        assert isinstance(refused.error, SubscriptionError)
        assert "ffff" not in str(refused.error) + refused.error.reason

    def test_error_that_names_its_channel_in_a_field_refuses_it(self, connected):
        connected(connected.machine.subscribe("room"))
        error = frame("pusher:error", {"code": None, "message": "no"}, "room")
        [refused] = connected.receive(error)
        assert refused.channel == "room"

    def test_error_with_a_code_refuses_no_channel(self, connected):
        connected(connected.machine.subscribe("room"))
        actions = connected.receive(frame("pusher:error", {"code": 4200, "message": "room"}))
        assert len(told(actions)) == 1


class TestClientEvents:
    @pytest.fixture
    def room(self, connected):
        connected.join("private-room")
        return connected

    def test_client_event_is_sent_with_a_ping(self, room):
        actions = room.machine.trigger(1, "private-room", "client-e", {"a": 1})
        assert sent(actions) == [
            {"event": "client-e", "channel": "private-room", "data": {"a": 1}},
            {"event": "pusher:ping", "data": {}},
        ]

    def test_pongs_settle_client_events_in_order(self, room):
        room.machine.quiet()
        room.machine.trigger(1, "private-room", "client-e", 1)
        room.machine.trigger(2, "private-room", "client-e", 2)
        pong = frame("pusher:pong")
        assert [outcomes(room.receive(pong)) for _ in range(3)] == [{}, {1: None}, {2: None}]

    def test_refusal_fails_the_oldest_client_event(self, room):
        room.machine.quiet()
        for number in (1, 2):
            room.machine.trigger(number, "private-room", "client-e", number)
        error = frame("pusher:error", {"code": 4301, "message": "too many"})
        failed = outcomes(room.receive(error))
        assert list(failed) == [1]
        assert isinstance(failed[1], APIError)
        assert (failed[1].status, failed[1].body) == (4301, "too many")
        pong = frame("pusher:pong")
        assert [outcomes(room.receive(pong)) for _ in range(3)] == [{}, {}, {2: None}]

    def test_refusal_that_names_a_channel_fails_an_event_of_that_channel(self, room):
        room.join("private-b")
        room.machine.trigger(1, "private-room", "client-e", 1)
        room.machine.trigger(2, "private-b", "client-e", 1)
        error = {"code": 4301, "message": "no"}
        assert list(outcomes(room.receive(frame("pusher:error", error, "private-b")))) == [2]
        assert told(room.receive(frame("pusher:error", error, "private-c")))

    def test_refusal_without_a_code_fails_a_client_event(self, room):
        room.machine.trigger(1, "private-room", "client-e", 1)
        error = {"code": None, "message": "Client event rejected - only for some channels"}
        failed = outcomes(room.receive(frame("pusher:error", error)))
        assert failed[1].status == 0

    def test_refusal_without_a_client_event_is_told(self, room):
        assert told(room.receive(frame("pusher:error", {"code": 4301, "message": "no"})))

    def test_forgotten_client_event_is_not_settled(self, room):
        room.machine.quiet()
        for number in (1, 2):
            room.machine.trigger(number, "private-room", "client-e", number)
        assert room.machine.forget_trigger(1) == []
        pong = frame("pusher:pong")
        assert [outcomes(room.receive(pong)) for _ in range(3)] == [{}, {}, {2: None}]

    def test_loss_of_the_connection_fails_client_events_that_may_be_delivered(self, room):
        room.machine.quiet()
        room.machine.trigger(1, "private-room", "client-e", 1)
        failed = outcomes(room.machine.lost(1006, "gone"))
        assert isinstance(failed[1], HTTPError)
        assert failed[1].maybe_delivered
        room.receive(greeting(), frame("pusher:pong"))
        assert outcomes(room.machine.lost(1006, "gone")) == {}

    @pytest.mark.parametrize(
        ("end", "kind"),
        [
            (lambda machine: machine.close(), ClosedError),
            (lambda machine: machine.lost(4001, "no app"), ConnectionClosedError),
        ],
    )
    def test_end_of_everything_fails_client_events_with_its_error(self, room, end, kind):
        room.machine.trigger(1, "private-room", "client-e", 1)
        failed = outcomes(end(room.machine))
        assert isinstance(failed[1], kind)
        assert failed[1].maybe_delivered

    def test_client_event_without_a_connection_fails_at_once(self, room):
        room.machine.lost(1006, "gone")
        failed = outcomes(room.machine.trigger(1, "private-room", "client-e", 1))
        assert isinstance(failed[1], HTTPError)
        assert not failed[1].maybe_delivered

    @pytest.mark.parametrize("channel", ["private-other", "private-new"])
    def test_client_event_before_the_confirmation_fails(self, room, channel):
        room.machine.subscribe("private-new")
        failed = outcomes(room.machine.trigger(1, channel, "client-e", 1))
        assert isinstance(failed[1], SubscriptionError)

    @pytest.mark.parametrize(
        "data", [object(), float("nan"), b"x", "\ud800", {"\udfff": 1}, ["\ud800"]]
    )
    def test_data_that_is_no_json_is_refused(self, room, data):
        with pytest.raises(InvalidRequestError):
            room.machine.trigger(1, "private-room", "client-e", data)
        # Nothing was sent that a pong could settle.
        assert room.receive(frame("pusher:pong")) == []

    def test_name_that_utf8_cannot_express_is_refused(self, room):
        with pytest.raises(InvalidRequestError, match="surrogate"):
            room.machine.trigger(1, "private-room", "client-\ud800", 1)


class TestSignIn:
    def test_sign_in_waits_for_the_connection(self, driver):
        assert driver.machine.sign_in({"id": "7"}) == []
        driver.machine.connect()
        assert len(tickets(driver.receive(greeting()))) == 1

    def test_sign_in_enters_the_channel_of_the_user(self, connected):
        [ticket] = tickets(connected.machine.sign_in({"id": "7"}))
        answer = {"auth": "key:sig", "user_data": '{"id":"7"}'}
        assert sent(connected.machine.authorized(ticket, answer)) == [
            {"event": "pusher:signin", "data": answer}
        ]
        success = frame("pusher:signin_success", {"user_data": '{"id":"7"}'})
        assert sent(connected.receive(success)) == [
            {"event": "pusher:subscribe", "data": {"channel": "#server-to-user-7", "auth": ""}}
        ]
        [signed_in] = connected.receive(succeeded("#server-to-user-7"))
        assert signed_in.user_data == {"id": "7"}

    def test_events_to_the_user_are_told(self, connected):
        connected.sign_in()
        event = frame("hello", "1", "#server-to-user-7")
        assert told(connected.receive(event)) == [Message("#server-to-user-7", "hello", 1, "1")]
        connected.machine.lost(1006, "")
        assert connected.receive(event) == []

    def test_second_sign_in_of_the_user_shares_the_first(self, connected):
        connected.machine.sign_in({"id": "7"})
        assert connected.machine.sign_in({"id": "7"}) == []

    def test_user_who_has_signed_in_is_confirmed_at_once(self, connected):
        connected.sign_in()
        [signed_in] = connected.machine.sign_in({"id": "7"})
        assert signed_in.user_data["id"] == "7"

    def test_other_user_is_refused(self, connected):
        connected.sign_in()
        with pytest.raises(InvalidRequestError):
            connected.machine.sign_in({"id": "8"})

    def test_sign_in_is_repeated_on_the_next_connection(self, connected):
        connected.sign_in()
        [ticket] = tickets(connected.reconnect())
        assert sent(connected.machine.authorized(ticket, {"auth": "a", "user_data": "{}"}))

    def test_first_refusal_ends_the_sign_in(self, connected):
        [ticket] = tickets(connected.machine.sign_in({"id": "7"}))
        error = SubscriptionError("no")
        [refused] = connected.machine.not_authorized(ticket, error)
        assert refused.error is error
        assert tickets(connected.reconnect()) == []
        assert tickets(connected.machine.sign_in({"id": "8"}))

    def test_later_refusal_is_told_and_tried_again(self, connected):
        connected.sign_in()
        [ticket] = tickets(connected.reconnect())
        actions = connected.machine.not_authorized(ticket, SubscriptionError("no"))
        assert [message.event for message in told(actions)] == ["pusher:signin_error"]
        assert len(tickets(connected.reconnect())) == 1

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            {},
            {"auth": "a"},
            {"auth": 7, "user_data": ""},
            {"auth": "\ud800", "user_data": "{}"},
            {"auth": "a", "user_data": '{"id": "\ud800"}'},
        ],
    )
    def test_unusable_answer_refuses_the_sign_in(self, connected, answer):
        [ticket] = tickets(connected.machine.sign_in({"id": "7"}))
        [refused] = connected.machine.authorized(ticket, answer)
        assert isinstance(refused.error, SubscriptionError)

    @pytest.mark.parametrize(
        "data",
        [
            None,
            {},
            {"user_data": "text"},
            {"user_data": '{"id":7}'},
            {"user_data": {}},
            {"user_data": {"id": "\ud800"}},
        ],
    )
    def test_confirmation_without_an_id_refuses_the_sign_in(self, connected, data):
        [ticket] = tickets(connected.machine.sign_in({"id": "7"}))
        connected.machine.authorized(ticket, {"auth": "a", "user_data": "{}"})
        [refused] = connected.receive(frame("pusher:signin_success", data))
        assert isinstance(refused.error, SubscriptionError)

    def test_confirmation_nobody_waits_for_changes_nothing(self, connected):
        success = frame("pusher:signin_success", {"user_data": '{"id":"7"}'})
        assert connected.receive(success) == []
        connected.sign_in()
        assert connected.receive(success, succeeded("#server-to-user-7")) == []

    def test_refusal_of_the_channel_of_the_user_refuses_the_sign_in(self, connected):
        [ticket] = tickets(connected.machine.sign_in({"id": "7"}))
        connected.machine.authorized(ticket, {"auth": "a", "user_data": "{}"})
        connected.receive(frame("pusher:signin_success", {"user_data": '{"id":"7"}'}))
        refusal = frame("pusher:subscription_error", {"error": "no"}, "#server-to-user-7")
        [refused] = connected.receive(refusal)
        assert "no" in str(refused.error)
        assert connected.receive(refusal) == []

    @pytest.mark.parametrize("connect_first", [False, True])
    def test_sign_in_that_was_withdrawn_is_over(self, driver, connect_first):
        if connect_first:
            driver.connect()
        driver(driver.machine.sign_in({"id": "7"}))
        asked = tickets(driver.actions)
        driver.machine.withdraw_sign_in()
        assert [driver.machine.authorized(ticket, {}) for ticket in asked] == [[]] * len(asked)
        assert driver.machine.sign_in({"id": "8"}) == [] or connect_first

    def test_sign_in_that_the_server_knows_is_not_withdrawn(self, connected):
        connected.sign_in()
        assert connected.machine.withdraw_sign_in() == []
        assert tickets(connected.reconnect())

    def test_watchlist_is_told_name_by_name(self, connected):
        events = {
            "events": [
                {"name": "online", "user_ids": ["1", "2"]},
                {"name": "offline", "user_ids": ["3"]},
                {"name": 7},
                7,
            ]
        }
        watchlist = frame("pusher_internal:watchlist_events", json.dumps(events))
        assert [(m.channel, m.event, m.data) for m in told(connected.receive(watchlist))] == [
            (None, "online", {"user_ids": ["1", "2"]}),
            (None, "offline", {"user_ids": ["3"]}),
        ]

    @pytest.mark.parametrize("data", [None, "7", "{}", '{"events": {}}'])
    def test_malformed_watchlist_is_not_told(self, connected, data):
        assert connected.receive(frame("pusher_internal:watchlist_events", data)) == []
