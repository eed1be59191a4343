"""What each endpoint puts on the wire, and what it refuses to."""

from __future__ import annotations

import json
from itertools import repeat
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.credentials import MASTER_KEY
from txpusher import Event
from txpusher._protocol.encryption import decrypt
from txpusher._reply import ApiReply
from txpusher._request import ApiRequest
from txpusher.errors import NotFoundError

from .helpers import (
    BAD_CHANNEL_NAMES,
    BAD_SOCKET_IDS,
    body_of,
    make_api,
    misconfiguration,
    named,
    refusal,
)

ENCRYPTED = "private-encrypted-room"
NOT_NAMES = [7, None, b"a", {"a": 1}]
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


class TestTrigger:
    def test_trigger_posts_name_channels_and_data(self, api):
        assert api.trigger("project-3", "foo", {"some": "data"}) == ApiRequest(
            "POST",
            "/apps/3/events",
            {},
            b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}',
        )

    def test_options_are_added_where_given(self, api):
        request = api.trigger(["a", "b"], "e", "x", "1.2", ["user_count", "subscription_count"])
        assert body_of(request) == {
            "name": "e",
            "channels": ["a", "b"],
            "data": "x",
            "socket_id": "1.2",
            "info": "user_count,subscription_count",
        }

    @pytest.mark.parametrize(
        "channels", [("a", "b"), iter(["a", "b"]), {"a": 1, "b": 1}.keys()]
    )
    def test_channels_may_be_any_iterable(self, api, channels):
        assert body_of(api.trigger(channels, "e", "x"))["channels"] == ["a", "b"]

    def test_text_is_sent_as_utf8(self, api):
        assert "Zoë ☃".encode() in api.trigger("a", "Zoë ☃", "x").body

    def test_user_channel_is_a_target(self, api):
        request = api.trigger("#server-to-user-Zoë", "e", "x")
        assert body_of(request)["channels"] == ["#server-to-user-Zoë"]

    def test_hundred_channels_are_the_most(self, api):
        names = [f"c{number}" for number in range(101)]
        assert body_of(api.trigger(names[:100], "e", "x"))["channels"] == names[:100]
        assert refusal(api.trigger, names, "e", "x") == (
            "an event goes to 1 to 100 channels, not 101"
        )

    def test_no_channel_is_refused(self, api):
        assert refusal(api.trigger, [], "e", "x").endswith("1 to 100 channels, not 0")

    @pytest.mark.parametrize("channels", NOT_NAMES)
    def test_trigger_refuses_value_that_is_no_channel_name(self, api, channels):
        assert refusal(api.trigger, channels, "e", "x") == (
            f"channels must be a str or an iterable of str, not {named(channels)}"
        )

    @pytest.mark.parametrize("name", BAD_CHANNEL_NAMES)
    def test_bad_channel_name_is_refused_alone_and_in_a_list(self, api, name):
        assert "channel name" in refusal(api.trigger, ["a", name], "e", "x")
        assert "channel" in refusal(api.trigger, name, "e", "x")

    @pytest.mark.parametrize("name", ["", "x" * 201, None])
    def test_bad_event_name_is_refused(self, api, name):
        assert "event name must be a str of 1 to 200" in refusal(api.trigger, "a", name, "x")

    def test_event_name_that_utf8_cannot_express_is_refused(self, api):
        assert "lone surrogate" in refusal(api.trigger, "a", "\ud800", "x")

    @pytest.mark.parametrize("socket_id", BAD_SOCKET_IDS)
    def test_bad_socket_id_is_refused(self, api, socket_id):
        assert "socket_id" in refusal(api.trigger, "a", "e", "x", socket_id)

    @pytest.mark.parametrize("info", [7, [7], b"user_count"])
    def test_bad_info_is_refused(self, api, info):
        assert "info must be" in refusal(api.trigger, "a", "e", "x", None, info)

    @pytest.mark.parametrize("channels", [[ENCRYPTED, "a"], ["a", ENCRYPTED], [ENCRYPTED] * 3])
    def test_encrypted_channel_must_be_alone(self, api, channels):
        assert refusal(api.trigger, channels, "e", "x") == (
            f"an encrypted channel must be the only one of an event, not one of {len(channels)}"
        )

    @pytest.mark.parametrize("channels", [ENCRYPTED, [ENCRYPTED]])
    def test_only_data_is_encrypted(self, api, channels):
        body = body_of(api.trigger(channels, "e", {"a": 1}))
        assert (body["name"], body["channels"]) == ("e", [ENCRYPTED])
        assert decrypt(ENCRYPTED, body["data"], MASTER_KEY) == '{"a":1}'

    def test_encrypted_channel_without_a_key_is_a_misconfiguration(self):
        api = make_api(encryption_master_key_base64=None)
        assert misconfiguration(api.trigger, ENCRYPTED, "e", "x") == (
            f"encryption_master_key_base64 is missing: {ENCRYPTED} is an encrypted channel"
        )


class TestTriggerBatch:
    def test_trigger_batch_posts_the_events_in_order(self, api):
        request = api.trigger_batch(
            [
                Event("a", "e", "x"),
                {"channel": "b", "name": "f", "data": [1], "socket_id": "1.2"},
            ]
        )
        assert (request.method, request.path, request.params) == (
            "POST",
            "/apps/3/batch_events",
            {},
        )
        assert request.body == (
            b'{"batch":[{"name":"e","channel":"a","data":"x"},'
            b'{"name":"f","channel":"b","data":"[1]","socket_id":"1.2"}]}'
        )

    def test_info_of_an_event_is_joined(self, api):
        [item] = body_of(api.trigger_batch([Event("a", "e", "x", info=["p", "q"])]))["batch"]
        assert item["info"] == "p,q"

    @given(TEXT.filter(lambda text: 0 < len(text) <= 200), TEXT)
    def test_any_text_in_a_batch_parses_back(self, name, data):
        request = make_api().trigger_batch([Event("a", name, data), Event("b", name, [data])])
        first, second = body_of(request)["batch"]
        assert first == {"name": name, "channel": "a", "data": data}
        assert json.loads(second["data"]) == [data]

    def test_encrypted_and_plain_events_share_a_batch(self, api):
        batch = [Event(ENCRYPTED, "e", "x"), Event("a", "e", "x")]
        first, second = body_of(api.trigger_batch(batch))["batch"]
        assert decrypt(ENCRYPTED, first["data"], MASTER_KEY) == second["data"] == "x"

    @pytest.mark.parametrize("limit", [1, 10])
    def test_batch_limit_is_the_configured_number(self, limit):
        api, events = make_api(max_batch_size=limit), [Event("a", "e", "x")] * (limit + 1)
        assert len(body_of(api.trigger_batch(events[:limit]))["batch"]) == limit
        assert refusal(api.trigger_batch, events) == (
            f"a batch must have 1 to {limit} events, not {limit + 1}; "
            "BatchPublisher takes any number"
        )

    def test_batch_without_an_event_is_refused(self, api):
        assert "1 to 10 events, not 0" in refusal(api.trigger_batch, [])

    @pytest.mark.parametrize(
        "events", ["ab", b"ab", {"channel": "a"}, Event("a", "e", "x"), 7, None]
    )
    def test_value_that_is_no_iterable_of_events_is_refused(self, api, events):
        assert "a batch must be several events" in refusal(api.trigger_batch, events)

    @pytest.mark.parametrize("event", ["ab", 7, None, ("a", "e", "x")])
    def test_value_that_is_no_event_is_refused(self, api, event):
        assert refusal(api.trigger_batch, [event]) == (
            f"events[0]: an event must be an Event or a mapping, not {named(event)}"
        )

    @pytest.mark.parametrize(
        ("event", "shown"),
        [
            ({"channel": "a", "name": "e"}, "['channel', 'name']"),
            ({"channel": "a", "name": "e", "data": "x", "zeta": 1}, "'zeta']"),
            ({1: "a"}, "['1']"),
        ],
    )
    def test_mapping_with_unknown_keys_is_refused_and_the_keys_are_named(
        self, api, event, shown
    ):
        message = refusal(api.trigger_batch, [event])
        assert message.startswith(
            "events[0]: an event has channel, name and data, and may have socket_id"
        )
        assert message.endswith(shown)

    @pytest.mark.parametrize(
        ("event", "names"),
        [
            (Event("a b", "e", "x"), "channel name"),
            (Event(["a"], "e", "x"), "channel name"),
            (Event("a", "", "x"), "event name"),
            (Event("a", "e", {1, 2}), "data cannot be expressed"),
            (Event("a", "e", "x", socket_id="1.2\n"), "socket_id"),
            (Event("a", "e", "x", info=7), "info"),
            (Event("a", "\ud800", "x"), "the event has a lone surrogate"),
        ],
    )
    def test_bad_event_refuses_the_whole_batch_and_is_named(self, api, event, names):
        message = refusal(api.trigger_batch, [Event("a", "e", "x"), event])
        assert message.startswith(f"events[1]: {names}")

    def test_encrypted_event_without_a_key_is_a_configuration_error(self):
        api = make_api(encryption_master_key_base64=None)
        assert "encryption_master_key_base64 is missing" in misconfiguration(
            api.trigger_batch, [Event(ENCRYPTED, "e", "x")]
        )

    def test_events_without_end_are_refused(self, api):
        assert "1 to 10 events, not more than 10" in refusal(
            api.trigger_batch, repeat(Event("a", "e", "x"))
        )


class TestSendToUser:
    def test_send_to_user_posts_an_event_on_the_channel_of_the_user(self, api):
        assert api.send_to_user("Zoë", "e", [1]) == api.trigger("#server-to-user-Zoë", "e", [1])

    @pytest.mark.parametrize("user_id", ["", "x" * 201, 7, None, "\ud800"])
    def test_bad_user_id_is_refused(self, api, user_id):
        assert "user_id" in refusal(api.send_to_user, user_id, "e", "x")


class TestQueries:
    def test_channels_without_a_filter_has_no_parameters(self, api):
        assert api.channels() == ApiRequest("GET", "/apps/3/channels", {}, None)

    def test_channels_can_be_filtered(self, api):
        assert api.channels("presence-", ["user_count", "x"]).params == {
            "filter_by_prefix": "presence-",
            "info": "user_count,x",
        }

    def test_channel_info_names_the_channel_in_the_path(self, api):
        assert api.channel_info("presence-a@b=c,d;e", "user_count") == ApiRequest(
            "GET", "/apps/3/channels/presence-a@b=c,d;e", {"info": "user_count"}, None
        )

    @pytest.mark.parametrize(
        ("channel", "segment"),
        [
            ("a;", "a%3B"),
            (".", "%2E"),
            ("#server-to-user-é", "%23server-to-user-%C3%A9"),
        ],
    )
    def test_channel_name_is_escaped_in_the_path(self, api, channel, segment):
        assert api.channel_info(channel).path == f"/apps/3/channels/{segment}"
        assert api.channel_users(channel).path == f"/apps/3/channels/{segment}/users"

    def test_channel_users_is_below_the_channel(self, api):
        assert api.channel_users("presence-a") == ApiRequest(
            "GET", "/apps/3/channels/presence-a/users", {}, None
        )

    @pytest.mark.parametrize("name", BAD_CHANNEL_NAMES)
    def test_bad_channel_is_refused(self, api, name):
        assert "channel" in refusal(api.channel_info, name)
        assert "channel" in refusal(api.channel_users, name)

    @pytest.mark.parametrize(
        ("user_id", "segment"),
        [("7", "7"), ("a/../b", "a%2F..%2Fb"), ("..", "%2E%2E"), ("é@x", "%C3%A9@x")],
    )
    def test_terminate_names_the_user_in_the_path(self, api, user_id, segment):
        assert api.terminate_user_connections(user_id) == ApiRequest(
            "POST", f"/apps/3/users/{segment}/terminate_connections", {}, b"{}"
        )

    @pytest.mark.parametrize("user_id", ["", "x" * 201, 7, "\ud800"])
    def test_terminate_refuses_a_bad_user_id(self, api, user_id):
        assert "user_id" in refusal(api.terminate_user_connections, user_id)


class TestGet:
    def test_parameters_are_text_under_lower_case_names(self, api):
        params = {"Limit": 10, "prefix": "é&=", "info": ["a", "b"], "none": None}
        assert api.get("/x", params) == ApiRequest(
            "GET", "/apps/3/x", {"limit": "10", "prefix": "é&=", "info": "a,b"}, None
        )

    @pytest.mark.parametrize("info", ["", [], None])
    def test_query_without_info_has_no_info_parameter(self, api, info):
        assert api.get("/x", {"info": info, "p": ""}).params == {"p": ""}

    @pytest.mark.parametrize("value", [True, 1.5, b"x", ["a"], object])
    def test_value_that_is_no_query_parameter_is_refused(self, api, value):
        message = refusal(api.get, "/x", {"p": value})
        assert message == f"the param p must be a str or an int, not {named(value)}"

    @pytest.mark.parametrize("info", [True, 7, ["a", 1]])
    def test_bad_info_is_refused(self, api, info):
        assert "info must be" in refusal(api.get, "/x", {"info": info})

    @pytest.mark.parametrize(
        "name",
        ["auth_key", "auth_timestamp", "auth_version", "Auth_Signature", "BODY_MD5"],
    )
    @pytest.mark.parametrize("value", ["x", None])
    def test_reserved_parameters_are_refused(self, api, name, value):
        assert refusal(api.get, "/x", {name: value}) == (
            f"the param {name.lower()} is reserved for the signature"
        )

    def test_two_spellings_of_a_parameter_are_refused(self, api):
        assert refusal(api.get, "/x", {"a": 1, "A": 2}) == "the param a is given twice"

    @pytest.mark.parametrize("name", [7, None, b"a"])
    def test_name_that_is_no_text_is_refused(self, api, name):
        assert refusal(api.get, "/x", {name: "1"}) == (
            f"the name of a param must be a str, not {named(name)}"
        )

    @pytest.mark.parametrize("name", ["a b", "a&b", "a=b", "a\r\nb", "é", "\ud800", ""])
    def test_name_that_would_break_the_query_is_refused(self, api, name):
        assert refusal(api.get, "/x", {name: "1"}) == (
            f"the name of a param must be of A-Z a-z 0-9 _ - . only, not {name!r}"
        )

    @pytest.mark.parametrize("params", ["a=b", [("a", "b")], 7, "", 0, False, [], ()])
    def test_params_must_be_a_mapping(self, api, params):
        assert (
            refusal(api.get, "/x", params) == f"params must be a mapping, not {named(params)}"
        )

    def test_value_that_utf8_cannot_express_is_refused(self, api):
        assert "the param p has a lone surrogate" in refusal(api.get, "/x", {"p": "\ud800"})

    def test_number_too_long_to_write_is_refused(self, api):
        assert refusal(api.get, "/x", {"p": 10**5000}) == (
            "the param p must be a str or an int, not an int too long to write out"
        )


class TestPost:
    def test_post_without_a_body_sends_an_empty_object(self, api):
        assert api.post("/x") == ApiRequest("POST", "/apps/3/x", {}, b"{}")

    @pytest.mark.parametrize("body", [{"a": "é"}, MappingProxyType({"a": "é"})])
    def test_body_is_compact_json_in_utf8(self, api, body):
        assert api.post("/x", body).body == '{"a":"é"}'.encode()

    @pytest.mark.parametrize("body", ["{}", b"{}", [1], 7])
    def test_body_must_be_a_mapping(self, api, body):
        assert refusal(api.post, "/x", body) == f"a body must be a mapping, not {named(body)}"

    @pytest.mark.parametrize("value", [{1}, float("nan"), b"x", {(1, 2): 3}])
    def test_body_that_json_cannot_express_is_refused(self, api, value):
        assert "the body cannot be expressed as JSON" in refusal(api.post, "/x", {"a": value})

    def test_body_that_utf8_cannot_express_is_refused(self, api):
        assert "the body has a lone surrogate" in refusal(api.post, "/x", {"a": "\ud800"})

    @pytest.mark.parametrize("path", ["x", "/a?b=c", "/..", ""])
    @pytest.mark.parametrize("endpoint", ["get", "post"])
    def test_bad_path_is_refused(self, api, endpoint, path):
        assert "path must begin with /" in refusal(getattr(api, endpoint), path)


def test_reply_is_decoded_with_the_configured_json_loads():
    api = make_api(json_loads=lambda raw: {"raw": raw})
    assert api.decode(api.get("/x"), ApiReply(200, b"{}")) == {"raw": b"{}"}


def test_error_of_a_reply_names_the_request(api):
    with pytest.raises(NotFoundError, match=r"^GET /apps/3/x: status 404: no such app$"):
        api.decode(api.get("/x"), ApiReply(404, b"no such app"))
