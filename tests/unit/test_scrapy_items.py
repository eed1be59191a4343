"""From items of every kind to the JSON of their events."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import json

import attrs
import pytest

pytest.importorskip("scrapy")

import scrapy
from hypothesis import given
from hypothesis import strategies as st
from scrapy.utils.serialize import ScrapyJSONEncoder

from txpusher import InvalidRequestError
from txpusher._scrapy_items import OversizeError, encode_item

serialize = ScrapyJSONEncoder().encode
FIELDS = {"name": "Ada", "price": decimal.Decimal("1.50"), "day": datetime.date(2024, 1, 2)}
JSON = {"name": "Ada", "price": "1.50", "day": "2024-01-02"}


@dataclasses.dataclass
class DataclassItem:
    name: str
    price: decimal.Decimal
    day: datetime.date


@attrs.define
class AttrsItem:
    name: str
    price: decimal.Decimal
    day: datetime.date


class ScrapyItem(scrapy.Item):
    name = scrapy.Field()
    price = scrapy.Field()
    day = scrapy.Field()


def encode(item, limit=10_240, fields=None, *, trim=False):
    return json.loads(encode_item(item, serialize, fields, limit, trim=trim))


@pytest.mark.parametrize(
    "item", [FIELDS, DataclassItem(**FIELDS), AttrsItem(**FIELDS), ScrapyItem(FIELDS)]
)
def test_item_of_every_kind_becomes_its_fields(item):
    assert encode(item) == JSON


def test_pydantic_item_becomes_its_fields():
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Book", name=(str, ...), price=(decimal.Decimal, ...))
    assert encode(model(name="Ada", price="1.50")) == {"name": "Ada", "price": "1.50"}


def test_nested_items_become_objects():
    item = {"book": AttrsItem(**FIELDS), "others": [DataclassItem(**FIELDS)]}
    assert encode(item) == {"book": JSON, "others": [JSON]}


def test_bytes_become_text_or_base64():
    item = {"text": "Zoë".encode(), "image": b"\xff\x00", "deep": [{"b": b"x"}]}
    assert encode(item) == {"text": "Zoë", "image": "/wA=", "deep": [{"b": "x"}]}


@pytest.mark.parametrize("kind", [set, frozenset])
def test_sets_become_lists_in_one_order(kind):
    item = {"tags": kind(f"tag{n}" for n in range(20)), "mixed": kind([2, b"x", None])}
    encoded = encode(item)
    assert encoded["tags"] == sorted(item["tags"])
    assert encoded["mixed"] == ["x", 2, None]
    assert encode({"tags": kind(["x" * 500])}, limit=100, trim=True)["tags"][0] < "x" * 100


def test_chosen_fields_are_renamed_and_missing_ones_left_out():
    fields = {"name": "title", "price": "price", "isbn": "isbn"}
    assert encode(FIELDS, fields=fields) == {"title": "Ada", "price": "1.50"}


def test_field_that_cannot_be_encoded_is_named_with_the_class():
    @attrs.define
    class Book:
        name: str
        cover: object

    with pytest.raises(InvalidRequestError, match="field 'cover' of an item of class Book"):
        encode(Book("Ada", object()))


def test_size_is_counted_after_serialization():
    assert encode({"a": "é" * 10}, limit=len('{"a": ""}') + 60) == {"a": "é" * 10}
    with pytest.raises(OversizeError, match="class dict has 69 bytes as an event, 68 are"):
        encode({"a": "é" * 10}, limit=68)


def test_longest_texts_alone_are_trimmed():
    item = {"name": "short", "text": "x" * 500, "more": ["y" * 400, "z"], "n": 7}
    trimmed = encode(item, limit=300, trim=True)
    assert (trimmed["name"], trimmed["n"], trimmed["more"][1]) == ("short", 7, "z")
    assert len(trimmed["text"]) == len(trimmed["more"][0]) > 50


def test_item_that_does_not_fit_without_its_texts_is_too_large():
    with pytest.raises(OversizeError):
        encode({"numbers": list(range(1000))}, limit=300, trim=True)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(st.text() | st.integers(), st.lists, max_leaves=5),
        max_size=5,
    ),
    st.integers(2, 200),
)
def test_trimmed_item_fits_as_closely_as_it_can(item, limit):
    try:
        text = encode_item(item, serialize, None, limit, trim=True)
    except OversizeError:
        return
    assert len(text.encode()) <= limit
    if len(serialize(item)) <= limit:
        assert json.loads(text) == json.loads(serialize(item))
