"""What names, ids and paths may be, and what is said of those that may not."""

from __future__ import annotations

import itertools
from types import MappingProxyType
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txpusher._protocol.names import (
    check_channel,
    check_event_name,
    check_presence_user_id,
    check_socket_id,
    check_target,
    check_user_id,
    info_text,
)
from txpusher._text import short_repr, utf8
from txpusher._urls import check_path, quote_segment
from txpusher.errors import InvalidRequestError

from .helpers import BAD_CHANNEL_NAMES, BAD_SOCKET_IDS, named, refusal

UTF8_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LONE_SURROGATE = "ab\ud800"


class TestChannelNames:
    @pytest.mark.parametrize("name", ["a", "x" * 200, "AZaz09_-=@,.;", "presence-cache-a"])
    def test_channel_name_within_the_limits_is_returned(self, name):
        assert check_channel(name) == name

    @pytest.mark.parametrize("check", [check_channel, check_target])
    @pytest.mark.parametrize("name", [name for name in BAD_CHANNEL_NAMES if name != "x" * 201])
    def test_bad_channel_name_is_refused_with_the_limits_and_the_value(self, check, name):
        assert refusal(check, name) == (
            f"channel name must be 1 to 200 of A-Z a-z 0-9 _ - = @ , . ; not {named(name, str)}"
        )

    def test_channel_name_that_is_too_long_is_refused_with_its_length(self):
        assert refusal(check_channel, "x" * 201) == (
            f"channel name is over 200 characters: '{'x' * 59}... has 201"
        )

    def test_user_channel_is_no_channel_but_a_target(self):
        name = "#server-to-user-Zoë/☃"
        assert "A-Z a-z 0-9" in refusal(check_channel, name)
        assert check_target(name) == name

    @pytest.mark.parametrize("user_id", ["", "x" * 201, LONE_SURROGATE])
    def test_user_channel_needs_the_id_of_a_user(self, user_id):
        assert "user_id" in refusal(check_target, f"#server-to-user-{user_id}")


class TestEventNames:
    @pytest.mark.parametrize("name", ["e", "x" * 200, "é" * 200, "client-a b/c\n"])
    def test_event_name_within_the_limits_is_returned(self, name):
        assert check_event_name(name) == name

    @pytest.mark.parametrize(
        ("name", "given"),
        [
            ("", "'' of 0"),
            ("x" * 201, " of 201"),
            (None, "None"),
            (b"e", "the bytes b'e'"),
            (7, "the int 7"),
        ],
    )
    def test_bad_event_name_is_refused_with_the_limit_and_the_value(self, name, given):
        message = refusal(check_event_name, name)
        assert message.startswith("event name must be a str of 1 to 200 characters, not ")
        assert message.endswith(given)


class TestSocketIds:
    @pytest.mark.parametrize("socket_id", ["1.2", "0.0", "123456789012345678901234.1"])
    def test_socket_id_of_two_numbers_is_returned(self, socket_id):
        assert check_socket_id(socket_id) == socket_id

    @pytest.mark.parametrize("socket_id", BAD_SOCKET_IDS)
    def test_bad_socket_id_is_refused_with_the_value(self, socket_id):
        message = refusal(check_socket_id, socket_id)
        assert message == (
            f"socket_id must be two numbers with a dot between, not {named(socket_id, str)}"
        )


class TestUserIds:
    @pytest.mark.parametrize("user_id", ["u", "x" * 200, "Zoë ☃/..?#", "\x00"])
    def test_user_id_within_the_limits_is_returned(self, user_id):
        assert check_user_id(user_id) == user_id

    @pytest.mark.parametrize(
        ("user_id", "given"),
        [("", "'' of 0"), ("x" * 201, " of 201"), (7, "the int 7"), (None, "None")],
    )
    def test_bad_user_id_is_refused_with_the_limit_and_the_value(self, user_id, given):
        message = refusal(check_user_id, user_id)
        assert message.startswith("user_id must be a str of 1 to 200 characters, not ")
        assert message.endswith(given)

    def test_lone_surrogate_is_refused(self):
        message = refusal(check_user_id, LONE_SURROGATE)
        assert message.startswith("user_id has a lone surrogate at character 2")

    @pytest.mark.parametrize("user_id", ["7", 7, 0, -1, "x" * 500])
    def test_user_id_of_a_member_is_a_text_or_a_number(self, user_id):
        assert check_presence_user_id(user_id) is None

    @pytest.mark.parametrize("user_id", [None, "", True, False, 1.5, b"7", ["7"]])
    def test_bad_user_id_of_a_member_is_refused_with_the_value(self, user_id):
        message = refusal(check_presence_user_id, user_id)
        assert message == (
            "custom_data of a presence channel must have a user_id, "
            f"a non-empty str or an int, not {named(user_id, str)}"
        )


class TestInfo:
    @pytest.mark.parametrize(
        ("info", "text"),
        [
            (None, None),
            ("user_count", "user_count"),
            (["user_count", "subscription_count"], "user_count,subscription_count"),
            (("a", "b"), "a,b"),
            ({"a": 1, "b": 2}.keys(), "a,b"),
        ],
    )
    def test_names_are_joined_with_commas(self, info, text):
        assert info_text(info) == text

    @pytest.mark.parametrize(
        ("info", "part"),
        [(["a", 1], "the int 1"), ([None], "None"), ((b"a",), "the bytes b'a'")],
    )
    def test_iterable_of_other_values_is_refused_with_the_value(self, info, part):
        assert refusal(info_text, info) == (
            f"info must be a str or an iterable of str, not of {part}"
        )

    @pytest.mark.parametrize("info", [["a"] * 101, (f"a{n}" for n in itertools.count())])
    def test_more_names_than_any_request_needs_are_refused(self, info):
        assert refusal(info_text, info).startswith("info has at most 100 names, not ")

    @pytest.mark.parametrize("info", [7, b"a", MappingProxyType({"a": 1})])
    def test_value_that_is_no_info_is_refused(self, info):
        assert refusal(info_text, info) == (
            f"info must be a str or an iterable of str, not {named(info)}"
        )


class TestSegments:
    @pytest.mark.parametrize(
        ("text", "escaped"),
        [
            ("AZaz09-._~!$&'()*+,=:@", "AZaz09-._~!$&'()*+,=:@"),
            ("a;b", "a;b"),
            ("a;", "a%3B"),
            (";;", ";%3B"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            ("a/b?c#d", "a%2Fb%3Fc%23d"),
            ("100% é", "100%25%20%C3%A9"),
        ],
    )
    def test_segment_escapes_only_characters_that_a_path_does_not_allow(self, text, escaped):
        assert quote_segment(text) == escaped

    @given(UTF8_TEXT | st.text("./;%2E"))
    def test_any_text_is_one_segment_that_decodes_back(self, text):
        escaped = quote_segment(text)
        assert unquote(escaped, errors="strict") == text
        assert "/" not in escaped
        assert escaped.isascii()
        assert escaped not in (".", "..")
        assert not escaped.endswith(";")

    @given(UTF8_TEXT.filter(lambda text: text not in (".", "..")))
    def test_a_segment_is_a_path_that_may_be_sent(self, text):
        assert check_path(f"/{quote_segment(text)}/x") == f"/{quote_segment(text)}/x"


class TestPaths:
    @pytest.mark.parametrize(
        "path", ["/", "/a", "/a//b/", "/a;b/c", "/%2E%2E%2E", "/a...", "/@:,=", "/%2f%C3%A9"]
    )
    def test_path_that_can_be_sent_is_returned(self, path):
        assert check_path(path) == path

    def test_semicolon_at_the_end_is_escaped(self):
        assert check_path("/a/b;") == "/a/b%3B"

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "a",
            "/a b",
            "/a\n",
            "/a?b=c",
            "/a#b",
            "/é",
            "/.",
            "/a/..",
            "/../b",
            "//./",
            "/%2E",
            "/a/%2e%2E/b",
            "/.%2e",
            "/%",
            "/%2",
            "/%zz",
            None,
            b"/",
        ],
    )
    def test_bad_path_is_refused_with_the_value(self, path):
        message = refusal(check_path, path)
        assert message.startswith("path must begin with / and hold only what a URL path may")
        assert message.endswith(f"not {named(path, str)}")


class TestTexts:
    @given(UTF8_TEXT)
    def test_text_is_encoded_as_utf8(self, text):
        assert utf8("data", text) == text.encode("utf-8")

    def test_lone_surrogate_is_refused_with_its_place(self):
        assert refusal(utf8, "the body", LONE_SURROGATE) == (
            "the body has a lone surrogate at character 2, which UTF-8 cannot express"
        )

    def test_refusal_holds_no_cause_that_would_quote_the_text(self):
        with pytest.raises(InvalidRequestError) as caught:
            utf8("data", LONE_SURROGATE)
        assert caught.value.__suppress_context__

    def test_value_without_a_repr_is_shown_by_its_type(self):
        assert short_repr([10**5000]) == "a list"

    def test_short_value_is_shown_whole(self):
        assert short_repr("x" * 58) == f"'{'x' * 58}'"

    @given(st.text(min_size=100), st.integers(1, 60))
    def test_long_value_is_shortened(self, text, most):
        assert short_repr(text, most) == f"{repr(text)[:most]}..."
