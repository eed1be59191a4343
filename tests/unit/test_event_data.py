"""How data becomes the text of an event, and where its limit is."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.credentials import MASTER_KEY
from txpusher._protocol.encryption import decrypt

from .helpers import make_api, refusal

ENCRYPTED = "private-encrypted-room"
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=5)
    ),
    max_leaves=20,
)


def circle() -> list:
    value: list = []
    value.append(value)
    return value


def deep() -> list:
    value: list = []
    for _ in range(200_000):
        value = [value]
    return value


class TestBytes:
    @pytest.mark.parametrize("channel", ["a", ENCRYPTED])
    @pytest.mark.parametrize("text", ["", '{"a":1}', "Grüße ☃ 🐍"])
    def test_bytes_are_sent_as_the_text_that_they_are(self, api, channel, text):
        data = api.event_data(channel, text.encode())
        assert (decrypt(channel, data, MASTER_KEY) if channel == ENCRYPTED else data) == text

    @pytest.mark.parametrize(("data", "place"), [(b"\xff", 0), (b"ab\xc3", 2)])
    def test_bytes_that_are_not_utf8_are_refused_with_the_place(self, api, data, place):
        assert refusal(api.event_data, "a", data) == (
            f"data is bytes that are not UTF-8, at byte {place}: bytes are sent as they are"
        )

    def test_bytes_are_measured_as_they_are(self, api):
        assert api.event_data("a", b"x" * 10240) == "x" * 10240
        assert refusal(api.event_data, "a", b"x" * 10241).endswith("not 10241")

    @pytest.mark.parametrize("data", [bytearray(b"x"), memoryview(b"x")])
    def test_other_kinds_of_bytes_are_refused_with_the_type(self, api, data):
        assert type(data).__name__ in refusal(api.event_data, "a", data)


class TestEncoding:
    @pytest.mark.parametrize("channel", ["a", ENCRYPTED])
    @pytest.mark.parametrize("text", ["", "text", '{"a":1}', '"', "Grüße ☃ 🐍", "\x00\u2028"])
    def test_text_is_sent_as_it_is(self, api, channel, text):
        data = api.event_data(channel, text)
        assert (decrypt(channel, data, MASTER_KEY) if channel == ENCRYPTED else data) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ({"b": 1, "a": [True, None]}, '{"b":1,"a":[true,null]}'),
            ([1.5, "x"], '[1.5,"x"]'),
            (7, "7"),
            (None, "null"),
            (False, "false"),
            ({"name": "Zoë ☃"}, '{"name":"Zoë ☃"}'),
        ],
    )
    def test_value_that_is_no_text_becomes_compact_json_in_utf8(self, api, value, text):
        assert api.event_data("a", value) == text

    @given(JSON_VALUES.filter(lambda value: not isinstance(value, str)))
    def test_any_encoded_value_parses_back(self, value):
        assert json.loads(make_api(max_payload_bytes=10**9).event_data("a", value)) == value

    @pytest.mark.parametrize(
        "value",
        [
            {1, 2},
            float("nan"),
            [float("inf")],
            {"a": b"x"},
            object(),
            date(2020, 1, 1),
        ],
    )
    @pytest.mark.parametrize("channel", ["a", ENCRYPTED])
    def test_value_that_json_cannot_express_is_refused_with_the_reason(
        self, api, channel, value
    ):
        message = refusal(api.event_data, channel, value)
        assert message.startswith("data cannot be expressed as JSON: ")

    def test_circular_data_is_refused(self, api):
        assert "Circular" in refusal(api.event_data, "a", circle())

    def test_data_nested_too_deep_is_refused(self, api):
        assert "data cannot be expressed as JSON" in refusal(api.event_data, "a", deep())

    @pytest.mark.parametrize("channel", ["a", ENCRYPTED])
    @pytest.mark.parametrize("value", ["\ud800", {"a": "\udfff"}, {"\ud800": 1}, ["x\ud83d"]])
    def test_lone_surrogate_is_refused(self, api, channel, value):
        assert "data has a lone surrogate at character" in refusal(
            api.event_data, channel, value
        )


class TestUsersEncoder:
    @pytest.mark.parametrize("encoded", ["[é]", "[é]".encode()])
    def test_encoder_of_the_user_may_return_text_or_bytes(self, encoded):
        api = make_api(json_dumps=lambda value: encoded)
        assert api.event_data("a", {1, 2}) == "[é]"

    def test_does_not_see_text(self):
        assert make_api(json_dumps=lambda value: "no").event_data("a", "text") == "text"

    def test_encodes_data_and_not_the_envelope(self):
        api = make_api(json_dumps=lambda value: "DATA")
        assert api.trigger("a", "e", 1).body == b'{"name":"e","channels":["a"],"data":"DATA"}'

    @pytest.mark.parametrize("given", [None, 7, bytearray(b"x")])
    def test_encoder_of_the_user_that_returns_another_type_is_refused(self, given):
        api = make_api(json_dumps=lambda value: given)
        assert refusal(api.event_data, "a", 1) == (
            f"json_dumps must give str or bytes, not {type(given).__name__}"
        )

    def test_must_give_utf8(self):
        api = make_api(json_dumps=lambda value: b"\xff")
        assert "data cannot be expressed as JSON" in refusal(api.event_data, "a", 1)

    def test_exception_of_the_users_encoder_is_a_refusal(self):
        def fail(value):
            raise KeyError("y" * 300)

        message = refusal(make_api(json_dumps=fail).event_data, "a", 1)
        assert "cannot be expressed as JSON" in message
        assert len(message) < 300


class TestLimit:
    @pytest.mark.parametrize("unit", ["x", "é", "☃", "🐍"])
    def test_counts_bytes_of_utf8_and_not_characters(self, unit):
        size = len(unit.encode()) * 5
        assert make_api(max_payload_bytes=size).event_data("a", unit * 5) == unit * 5
        assert refusal(make_api(max_payload_bytes=size - 1).event_data, "a", unit * 5) == (
            f"data must be at most {size - 1} bytes of UTF-8 after encoding, not {size}"
        )

    def test_payload_limit_is_ten_kilobytes_by_default(self, api):
        assert api.event_data("a", "x" * 10240) == "x" * 10240
        assert refusal(api.event_data, "a", "x" * 10241).endswith("not 10241")
        assert "at most 10240 bytes" in refusal(api.event_data, "a", "é" * 5121)

    def test_counts_after_encoding(self, api):
        assert len(api.event_data("a", ["x" * 10236])) == 10240
        assert refusal(api.event_data, "a", ["x" * 10237]).endswith("not 10241")

    def test_counts_after_encryption(self, api):
        size = len(api.event_data(ENCRYPTED, "x" * 7600))
        assert size > 10100
        limited = make_api(max_payload_bytes=size)
        assert len(limited.event_data(ENCRYPTED, "x" * 7600)) == size
        assert f"at most {size} bytes" in refusal(limited.event_data, ENCRYPTED, "x" * 7603)

    @pytest.mark.parametrize("count", [1, 2])
    def test_payload_limit_holds_for_each_event_of_a_batch(self, count):
        api = make_api(max_payload_bytes=8)
        events = [{"channel": "a", "name": "e", "data": "x" * 8}] * count
        assert api.trigger_batch(events).body.count(b"xxxxxxxx") == count
        events[-1] = {**events[-1], "data": "x" * 9}
        assert "at most 8 bytes" in refusal(api.trigger_batch, events)
