"""JSON as the server takes it and gives it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txpusher.server import _limits as limits
from txpusher.server._core.json import dump_bytes, load_object, loads


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "[1e999]", "", "{", b"\xff"])
def test_text_that_is_no_strict_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1" * 5000, "a number of 5000 characters is too long"),
        ("-" + "1" * 5000, "a number of 5001 characters is too long"),
        ("1e999", "1e999 is too large for a number"),
        ("9" * 5000 + "e9", f"{'9' * 20}... is too large for a number"),
    ],
)
def test_a_number_that_is_too_much_is_named_so(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as refused:
        loads(f'{{"a":{text}}}')
    assert str(refused.value) == problem
    assert loads("[1,-23]") == [1, -23]


def test_nesting_has_a_limit() -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        most = opening * limits.JSON_DEPTH + "1" + closing * limits.JSON_DEPTH
        loads(most)
        with pytest.raises(ValueError, match="deep"):
            loads(opening + most + closing)
        with pytest.raises(ValueError, match="deep"):
            loads(opening * 100_000)


def test_many_flat_values_are_not_deep() -> None:
    assert len(loads(json.dumps([[]] * 500))) == 500
    assert len(loads(json.dumps(["[" * 500]))) == 1


def test_an_object_is_an_object() -> None:
    assert load_object(b'{"a":1.5}') == {"a": 1.5}
    with pytest.raises(ValueError, match="object"):
        load_object("[]")


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_any_text_can_be_written_and_read(text: str) -> None:
    assert json.loads(dump_bytes([text]).decode("utf-8")) == [text]


def test_json_text_is_kept_unescaped() -> None:
    assert dump_bytes({"ü": [1, "a"]}) == '{"ü":[1,"a"]}'.encode()
    assert dump_bytes("\ud800") == b'"\\ud800"'
