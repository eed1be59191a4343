"""The settings of the Scrapy add-on: what is read, what is refused and in which words."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("scrapy")

from scrapy.exceptions import NotConfigured
from scrapy.settings import Settings

from txpusher._scrapy_settings import ScrapySettings

URL = "http://key:very-secret@127.0.0.1:6001/apps/1"
SPIDER = SimpleNamespace(name="books")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("PUSHER_URL", raising=False)
    monkeypatch.delenv("SCRAPY_CHECK", raising=False)


def read(**settings):
    return ScrapySettings.read(Settings({"PUSHER_URL": URL, **settings}))


def refusal(**settings):
    with pytest.raises(NotConfigured) as caught:
        read(**settings)
    text = str(caught.value)
    assert "very-secret" not in text
    return text


def shout(item, spider):
    return f"{spider.name}-{item['kind']}".upper()


class Accepting:
    """A filter as Scrapy's feeds have it."""

    def __init__(self, feed_options):
        assert feed_options == {}

    def accepts(self, item):
        return item["price"] > 1


class AcceptingLater:
    """A filter whose answer nobody waits for."""

    def __init__(self, feed_options):
        pass

    async def accepts(self, item):
        return False


def test_defaults_are_those_that_are_documented():
    settings = read()
    assert settings.channel({}, SPIDER) == "scrapy-books"
    assert settings.event({}, SPIDER) == "item_scraped"
    assert settings.stats_channel(None, SPIDER) == "scrapy-books"
    assert (settings.flush_timeout, settings.stats_interval) == (30.0, 10.0)
    assert (settings.oversize, settings.wait_for_room) == ("skip", True)
    assert settings.item_filter({}, SPIDER)
    assert settings.item_fields is None
    assert json.loads(settings.serialize({"a": 1})) == {"a": 1}


def test_url_of_the_settings_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("PUSHER_URL", "http://k:s@127.0.0.1/apps/2")
    assert read().url == URL
    assert ScrapySettings.read(Settings()).url == "http://k:s@127.0.0.1/apps/2"


def test_settings_show_neither_url_nor_client_options():
    shown = repr(read(PUSHER_CLIENT_OPTIONS={"encryption_master_key_base64": "c2VjcmV0"}))
    assert "very-secret" not in shown
    assert "c2VjcmV0" not in shown


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"PUSHER_ENABLED": False}, "PUSHER_ENABLED is false"),
        ({"PUSHER_ENABLED": "False"}, "PUSHER_ENABLED is false"),
        ({"TWISTED_REACTOR_ENABLED": False}, "TWISTED_REACTOR_ENABLED is false"),
        ({"PUSHER_URL": ""}, "PUSHER_URL is missing"),
        ({"PUSHER_ON_OVERFLOW": "block"}, "wait, drop, not the str 'block'"),
        ({"PUSHER_OVERSIZE": "cut"}, "skip, trim, error, not the str 'cut'"),
        ({"PUSHER_MAX_PENDING": 0}, "PUSHER_MAX_PENDING must be a whole number >= 1"),
        ({"PUSHER_MAX_PENDING": "many"}, "not the str 'many'"),
        ({"PUSHER_FLUSH_TIMEOUT": -1}, "PUSHER_FLUSH_TIMEOUT must be a number of seconds >= 0"),
        ({"PUSHER_STATS_INTERVAL": "often"}, "PUSHER_STATS_INTERVAL must be a number"),
        ({"PUSHER_CHANNEL": 7}, "PUSHER_CHANNEL must be a format text, a callable"),
        ({"PUSHER_CHANNEL": "{response}"}, "{item} and {spider} alone"),
        ({"PUSHER_CHANNEL": "{spider"}, "not a format text"),
        ({"PUSHER_EVENT": "tests.unit.nothing"}, "PUSHER_EVENT cannot be loaded"),
        ({"PUSHER_ITEM_CLASSES": ["tests.unit.nothing.Item"]}, "PUSHER_ITEM_CLASSES cannot"),
        ({"PUSHER_ITEM_FILTER": 7}, "PUSHER_ITEM_FILTER"),
        ({"PUSHER_ITEM_FIELDS": 7}, "PUSHER_ITEM_FIELDS must be a list or a mapping"),
        ({"PUSHER_SERIALIZER": 7}, "PUSHER_SERIALIZER"),
        ({"PUSHER_CLIENT_OPTIONS": 7}, "PUSHER_CLIENT_OPTIONS must be a mapping"),
        ({"PUSHER_SIGNALS": ["engine_started"]}, "item_dropped, item_error, spider_error"),
        ({"PUSHER_SIGNALS": 7}, "PUSHER_SIGNALS must be a list, not the int 7"),
        ({"PUSHER_STATS_INCLUDE": True}, "PUSHER_STATS_INCLUDE must be a list"),
        ({"PUSHER_STATS_EXCLUDE": [1]}, "PUSHER_STATS_EXCLUDE must be a list of texts"),
        ({"PUSHER_ENABLED": "maybe"}, "PUSHER_ENABLED must be True or False"),
        ({"PUSHER_ITEM_CLASSES": 7}, "PUSHER_ITEM_CLASSES must be a list"),
        ({"PUSHER_ITEM_CLASSES": "json.dumps"}, "PUSHER_ITEM_CLASSES must be classes"),
        ({"PUSHER_ITEM_FILTER": json.JSONEncoder}, "no JSONEncoder can be made: TypeError"),
        ({"PUSHER_ITEM_FILTER": AcceptingLater}, "must not be a coroutine function"),
        ({"PUSHER_ITEM_FILTER": AcceptingLater({}).accepts}, "not be a coroutine function"),
        ({"PUSHER_ITEM_FILTER": dict}, "instances have a method accepts"),
        ({"PUSHER_SERIALIZER": int}, "instances have a method encode"),
        ({"PUSHER_SERIALIZER": SimpleNamespace}, "instances have a method encode"),
        ({"PUSHER_SERIALIZER": Accepting}, "no Accepting can be made: TypeError"),
        ({"PUSHER_ITEM_FIELDS": '{"a": "b"'}, "PUSHER_ITEM_FIELDS is malformed JSON"),
        ({"PUSHER_ITEM_FIELDS": {"a": 5}}, "must hold names of fields, not the int 5"),
        ({"PUSHER_ITEM_FIELDS": "[1]"}, "must hold names of fields, not the int 1"),
    ],
)
def test_setting_that_does_not_fit_is_named_in_the_refusal(settings, words):
    assert words in refusal(**settings)


def test_scrapy_check_publishes_nothing(monkeypatch):
    monkeypatch.setenv("SCRAPY_CHECK", "true")
    assert refusal() == "scrapy check publishes nothing"


def test_scrapy_shell_publishes_nothing(monkeypatch):
    from scrapy.commands.shell import Command

    settings = Settings({"PUSHER_URL": URL})
    settings.setdict(Command.default_settings, priority="command")
    with pytest.raises(NotConfigured, match="scrapy shell publishes nothing"):
        ScrapySettings.read(settings)
    import scrapy.cmdline  # noqa: F401

    monkeypatch.setattr(sys, "argv", ["scrapy", "shell"])
    assert refusal(DUPEFILTER_CLASS="own.Filter") == "scrapy shell publishes nothing"


@pytest.mark.parametrize("event", ["{item[kind]}-{spider.name}", shout, f"{__name__}.shout"])
def test_event_is_named_by_format_text_callable_or_import_path(event):
    name = read(PUSHER_EVENT=event).event({"kind": "new"}, SPIDER)
    assert name.lower() in ("new-books", "books-new")


def test_name_with_dots_that_is_no_path_is_taken_as_it_is():
    assert read(PUSHER_EVENT="book.found").event({}, SPIDER) == "book.found"


@pytest.mark.parametrize("name", ["scrapy.{spider.name}", "json.{item[kind]}"])
def test_format_text_is_no_path_whatever_it_begins_with(name):
    channel = read(PUSHER_CHANNEL=name).channel({"kind": "books"}, SPIDER)
    assert channel == f"{name.partition('.')[0]}.books"


def test_callable_of_a_script_is_found_in_its_main_module(monkeypatch):
    main = ModuleType("__main__")
    vars(main)["shout"] = shout
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert main.__spec__ is None
    settings = read(PUSHER_CHANNEL="__main__.shout")
    assert settings.channel({"kind": "new"}, SPIDER) == "BOOKS-NEW"


def test_module_that_fails_when_imported_is_told(tmp_path, monkeypatch):
    (tmp_path / "failing_settings.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    assert "PUSHER_EVENT cannot be loaded: division by zero" in refusal(
        PUSHER_EVENT="failing_settings.name"
    )


@pytest.mark.parametrize(
    "classes", [dict, [dict], (dict,), "builtins.dict", "builtins.dict, json.JSONEncoder"]
)
def test_item_classes_are_one_class_or_several(classes):
    assert read(PUSHER_ITEM_CLASSES=classes).item_classes[0] is dict


@pytest.mark.parametrize("serializer", [None, json.JSONEncoder])
def test_number_that_is_none_is_not_encoded(serializer):
    with pytest.raises(ValueError, match="not JSON compliant"):
        read(PUSHER_SERIALIZER=serializer).serialize({"a": float("nan")})


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("crawl-{spider.name}", "crawl-books"),
        ("{item[kind]}", "scrapy-books"),
        (shout, "scrapy-books"),
    ],
)
def test_channel_of_the_stats_is_the_items_where_that_needs_no_item(channel, expected):
    assert read(PUSHER_CHANNEL=channel).stats_channel(None, SPIDER) == expected
    assert (
        read(PUSHER_CHANNEL=channel, PUSHER_STATS_CHANNEL="s").stats_channel(None, SPIDER)
        == "s"
    )


@pytest.mark.parametrize(
    "chosen",
    [Accepting, f"{__name__}.Accepting", lambda item, spider: item["price"] > 1],
)
def test_filter_is_a_class_of_feeds_or_a_callable(chosen):
    accepts = read(PUSHER_ITEM_FILTER=chosen).item_filter
    assert [bool(accepts({"price": price}, SPIDER)) for price in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    "fields",
    [
        ["a", "b"],
        "a,b",
        "a, b,",
        {"a": "a", "b": "b"},
        '["a", "b"]',
        ' {"a": "a", "b": "b"}',
    ],
)
def test_fields_are_a_list_a_mapping_or_a_text(fields):
    assert read(PUSHER_ITEM_FIELDS=fields).item_fields == {"a": "a", "b": "b"}


@pytest.mark.parametrize("fields", [None, "", [], {}, "[]"])
def test_no_fields_are_all_fields(fields):
    assert read(PUSHER_ITEM_FIELDS=fields).item_fields is None
