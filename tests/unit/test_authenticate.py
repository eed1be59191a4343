"""What subscribers are given: the right to subscribe, and to sign in."""

from __future__ import annotations

import base64
import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.credentials import KEY, MASTER_KEY, SECRET, SOCKET_ID
from txpusher import Pusher
from txpusher._protocol.encryption import shared_secret
from txpusher._protocol.signing import channel_signature, user_signature

from .helpers import (
    BAD_CHANNEL_NAMES,
    BAD_SOCKET_IDS,
    make_api,
    misconfiguration,
    named,
    refusal,
)

MEMBER = {"user_id": 10, "user_info": {"name": "Mr. Pusher"}}
ENCRYPTED = "private-encrypted-room"
JSON_OBJECTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])) | st.integers() | st.none(),
)
NOT_JSON = [{1, 2}, float("nan"), b"x", object()]


class TestChannel:
    def test_documented_private_channel_has_the_documented_answer(self, api):
        signature = "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        assert api.authenticate("private-foobar", SOCKET_ID) == {"auth": f"{KEY}:{signature}"}

    def test_documented_presence_channel_has_the_documented_answer(self, api):
        signature = "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c"
        assert api.authenticate("presence-foobar", SOCKET_ID, MEMBER) == {
            "auth": f"{KEY}:{signature}",
            "channel_data": '{"user_id":10,"user_info":{"name":"Mr. Pusher"}}',
        }

    @given(JSON_OBJECTS.filter(bool))
    def test_data_is_given_as_the_very_text_that_is_signed(self, data):
        answer = make_api().authenticate("private-a", "1.2", data)
        text = answer["channel_data"]
        assert json.loads(text) == data
        assert answer["auth"] == f"{KEY}:{channel_signature(SECRET, '1.2', 'private-a', text)}"

    @pytest.mark.parametrize("channel", ["private-a", "presence-a", ENCRYPTED])
    @pytest.mark.parametrize("data", [{}, MappingProxyType({})])
    def test_empty_data_is_signed_like_none(self, api, channel, data):
        answer = api.authenticate(channel, "1.2", data)
        assert answer == api.authenticate(channel, "1.2")
        assert "channel_data" not in answer

    def test_order_of_keys_and_utf8_are_kept(self, api):
        answer = api.authenticate("private-a", "1.2", {"z": "é", "a": 1})
        assert answer["channel_data"] == '{"z":"é","a":1}'

    def test_data_is_encoded_by_the_users_encoder(self):
        api = make_api(json_dumps=lambda value: b'{"mine":1}')
        assert api.authenticate("private-a", "1.2", {"a": 1})["channel_data"] == '{"mine":1}'

    def test_any_mapping_is_taken(self, api):
        answer = api.authenticate("presence-a", "1.2", MappingProxyType({"user_id": "7"}))
        assert answer["channel_data"] == '{"user_id":"7"}'

    @pytest.mark.parametrize("channel", [ENCRYPTED, "private-encrypted-cache-a"])
    def test_answer_for_encrypted_channel_has_the_shared_secret(self, api, channel):
        answer = api.authenticate(channel, "1.2")
        assert list(answer) == ["auth", "shared_secret"]
        assert base64.b64decode(answer["shared_secret"]) == shared_secret(channel, MASTER_KEY)

    def test_encrypted_channel_without_a_key_is_a_misconfiguration(self):
        api = make_api(encryption_master_key_base64=None)
        assert misconfiguration(api.authenticate, ENCRYPTED, "1.2") == (
            f"encryption_master_key_base64 is missing: {ENCRYPTED} is an encrypted channel"
        )

    @pytest.mark.parametrize("name", [*BAD_CHANNEL_NAMES, "#server-to-user-7"])
    def test_bad_channel_is_refused(self, api, name):
        assert "channel name" in refusal(api.authenticate, name, "1.2")

    @pytest.mark.parametrize("socket_id", [*BAD_SOCKET_IDS, None])
    def test_bad_socket_id_is_refused(self, api, socket_id):
        assert "socket_id must be" in refusal(api.authenticate, "private-a", socket_id)

    @pytest.mark.parametrize("data", ["{}", b"{}", [], 7, False])
    def test_data_that_is_no_mapping_is_refused(self, api, data):
        assert refusal(api.authenticate, "private-a", "1.2", data) == (
            f"custom_data must be a mapping, not {named(data)}"
        )

    @pytest.mark.parametrize("value", NOT_JSON)
    def test_data_that_json_cannot_express_is_refused(self, api, value):
        message = refusal(api.authenticate, "private-a", "1.2", {"a": value})
        assert message.startswith("custom_data cannot be expressed as JSON")

    def test_data_that_utf8_cannot_express_is_refused(self, api):
        message = refusal(api.authenticate, "private-a", "1.2", {"a": "\ud800"})
        assert "custom_data has a lone surrogate" in message


class TestPresence:
    @pytest.mark.parametrize("channel", ["presence-a", "presence-cache-a"])
    @pytest.mark.parametrize(
        "data",
        [{"user_info": {}}, {"user_id": ""}, {"user_id": None}, {"user_id": True}],
    )
    def test_member_without_an_id_is_refused(self, api, channel, data):
        message = refusal(api.authenticate, channel, "1.2", data)
        assert message.startswith("custom_data of a presence channel must have a user_id")
        assert message.endswith(f"not {named(data.get('user_id'), str)}")

    def test_presence_channel_without_data_is_signed_for_the_signed_in_user(self, api):
        signature = "60fce9e1e528e37b57c81ea013792a6781add969d8e704f96565e68ede11297f"
        pusher = Pusher("1", "app-key", "app-secret", host="127.0.0.1")
        assert pusher.authenticate("presence-lobby", "1.2") == {"auth": f"app-key:{signature}"}

    @pytest.mark.parametrize("user_id", [2**53, -(2**53), pytest.param(10**5000, id="huge")])
    def test_id_that_javascript_would_round_is_refused(self, api, user_id):
        message = refusal(api.authenticate, "presence-a", "1.2", {"user_id": user_id})
        assert "from -9007199254740991 to 9007199254740991" in message

    @pytest.mark.parametrize("user_id", ["7", 7, 0, 2**53 - 1, 1 - 2**53])
    def test_id_may_be_a_text_or_a_number(self, api, user_id):
        answer = api.authenticate("presence-a", "1.2", {"user_id": user_id})
        assert json.loads(answer["channel_data"]) == {"user_id": user_id}

    def test_private_channel_needs_no_member(self, api):
        assert list(api.authenticate("private-presence-a", "1.2")) == ["auth"]

    @pytest.mark.parametrize(
        "channel", ["a", "cache-a", "a-presence-", "presence", "privateer"]
    )
    def test_public_channel_is_refused_in_words(self, api, channel):
        assert refusal(api.authenticate, channel, "1.2") == (
            f"{channel!r} is a public channel, which needs no authorisation: "
            "only a channel whose name begins with private- or presence- does"
        )


class TestUser:
    def test_answer_has_the_text_that_is_signed(self, api):
        text = '{"id":"7","user_info":{"name":"Zoë"}}'
        assert api.authenticate_user(SOCKET_ID, json.loads(text)) == {
            "auth": f"{KEY}:{user_signature(SECRET, SOCKET_ID, text)}",
            "user_data": text,
        }

    def test_any_mapping_is_taken(self, api):
        answer = api.authenticate_user("1.2", MappingProxyType({"id": "7"}))
        assert answer["user_data"] == '{"id":"7"}'

    @pytest.mark.parametrize("socket_id", [*BAD_SOCKET_IDS, None])
    def test_bad_socket_id_is_refused(self, api, socket_id):
        assert "socket_id must be" in refusal(api.authenticate_user, socket_id, {"id": "7"})

    @pytest.mark.parametrize("user", [None, '{"id":"7"}', [("id", "7")], 7])
    def test_user_that_is_no_mapping_is_refused(self, api, user):
        assert refusal(api.authenticate_user, "1.2", user) == (
            f"user_data must be a mapping, not {named(user)}"
        )

    @pytest.mark.parametrize("user_id", [None, "", 7, True, b"7", ["7"]])
    def test_id_that_is_no_text_is_refused(self, api, user_id):
        assert refusal(api.authenticate_user, "1.2", {"id": user_id}) == (
            f"user_data must have an id that is a non-empty str, not {named(user_id, str)}"
        )

    def test_missing_id_is_refused(self, api):
        assert refusal(api.authenticate_user, "1.2", {"user_id": "7"}).endswith("not None")

    @pytest.mark.parametrize("value", NOT_JSON)
    def test_user_that_json_cannot_express_is_refused(self, api, value):
        message = refusal(api.authenticate_user, "1.2", {"id": "7", "a": value})
        assert message.startswith("user_data cannot be expressed as JSON")

    def test_user_that_utf8_cannot_express_is_refused(self, api):
        message = refusal(api.authenticate_user, "1.2", {"id": "\ud800"})
        assert "user_data has a lone surrogate" in message


class TestClient:
    def test_client_returns_the_answer_of_the_endpoints_at_once(self, api):
        pusher = Pusher("3", KEY, SECRET)
        channel = api.authenticate("presence-a", "1.2", MEMBER)
        assert pusher.authenticate("presence-a", "1.2", MEMBER) == channel
        assert pusher["presence-a"].authenticate("1.2", MEMBER) == channel
        user = api.authenticate_user("1.2", {"id": "7"})
        assert pusher.authenticate_user("1.2", {"id": "7"}) == user

    def test_raises_at_once(self):
        pusher = Pusher("3", KEY, SECRET)
        assert "socket_id" in refusal(pusher.authenticate, "private-a", "1.2\n")
        assert "user_data" in refusal(pusher.authenticate_user, "1.2", {})
        assert "channel name" in refusal(pusher.channel, "a b")
