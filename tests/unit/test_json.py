"""The JSON that the library writes, and the names whose JSON it remembers."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.helpers import make_api
from txpusher import InvalidRequestError, _json
from txpusher._json import MOST_NAMES, KnownNames, encode_text, json_dumps

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@given(VALUES)
def test_encoder_writes_what_the_standard_library_writes(value):
    wanted = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    assert json_dumps(value) == wanted


@given(st.text(st.characters()))
def test_text_is_encoded_as_the_encoder_encodes_it(text):
    assert encode_text(text) == json_dumps(text)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_encoder_refuses_number_that_json_does_not_have(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_dumps({"number": number})


def test_encoder_refuses_circle_by_name_and_works_on():
    circle: list[object] = []
    circle.append(circle)
    for _ in range(2):
        with pytest.raises(ValueError, match="Circular reference"):
            json_dumps(circle)
    assert json_dumps([]) == "[]"


def test_encoder_names_type_that_json_does_not_have():
    with pytest.raises(TypeError, match="type object is not JSON serializable"):
        json_dumps({"a": object()})


class TestKnownNames:
    def test_name_is_checked_once(self):
        checked: list[object] = []

        def check(name: object) -> str:
            checked.append(name)
            return str(name)

        names = KnownNames(check)
        assert [names.encoded("a\n") for _ in range(3)] == ['"a\\n"'] * 3
        assert checked == ["a\n"]

    def test_refused_name_is_refused_each_time(self):
        api = make_api()
        for _ in range(2):
            with pytest.raises(InvalidRequestError, match="channel name must be"):
                api.batch_item("a b", "e", 1)
        assert b'"a"' in api.batch_item("a", "e", 1)

    @pytest.mark.parametrize("name", [["a"], None, 1])
    def test_name_that_is_no_str_is_refused_with_its_type(self, name):
        with pytest.raises(InvalidRequestError, match="event name must be a str"):
            make_api().batch_item("a", name, 1)

    def test_class_that_calls_itself_equal_is_not_taken_for_known_name(self):
        class Sly(str):
            def __eq__(self, other: object) -> bool:
                return True

            __hash__ = str.__hash__

        api = make_api()
        api.batch_item("known", "known", 1)
        with pytest.raises(InvalidRequestError):
            api.batch_item(
                type("Other", (Sly,), {"__hash__": lambda self: hash("known")})(" "), "e", 1
            )

    def test_names_are_remembered_up_to_a_limit(self):
        names = KnownNames(str)
        for number in range(3 * MOST_NAMES):
            assert names.encoded(str(number)) == f'"{number}"'
            assert len(names) <= MOST_NAMES


def test_encoder_in_python_stands_in_where_there_is_none_in_c(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    encode = _json._one_encoder()
    assert encode({"a": ["é", 1]}) == '{"a":["é",1]}'
    with pytest.raises(ValueError, match="Out of range"):
        encode(math.nan)
