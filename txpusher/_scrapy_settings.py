# -*- test-case-name: tests.unit.test_scrapy_settings -*-
"""
The settings of the Scrapy add-on, read once for each crawler.

What is wrong with a setting raises Scrapy's ``NotConfigured``, in words and without the
value of PUSHER_URL or PUSHER_CLIENT_OPTIONS: Scrapy logs the words, and goes on without the
add-on.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from inspect import iscoroutinefunction
from string import Formatter
from typing import Any

import attrs
from itemadapter import ItemAdapter
from scrapy.exceptions import NotConfigured
from scrapy.settings import SETTINGS_PRIORITIES, BaseSettings
from scrapy.utils.misc import load_object
from scrapy.utils.serialize import ScrapyJSONEncoder

from txpusher._text import with_type
from txpusher._validators import check_seconds, check_whole_number
from txpusher.errors import ConfigurationError

DEFAULT_CHANNEL = "scrapy-{spider.name}"

#: The signals that the extension publishes where PUSHER_SIGNALS names them.
SIGNALS = ("item_dropped", "item_error", "spider_error")

#: Makes a name of an item and its spider.
Name = Callable[[Any, Any], str]


@attrs.frozen
class ScrapySettings:
    """
    The PUSHER_ settings of a crawler, checked.

    :ivar url: PUSHER_URL.
    :ivar channel: Makes the name of an item's channel.
    :ivar event: Makes the name of an item's event.
    :ivar stats_channel: Makes the name of the extension's channel; its item is None.
    :ivar item_classes: The classes of the items to publish, empty for all.
    :ivar item_filter: Says whether an item is published.
    :ivar item_fields: The names of an item's fields, each with its name in the event; None
        for all.
    :ivar serialize: Makes the JSON of an event.
    :ivar max_pending: The most events that wait.
    :ivar wait_for_room: Whether an item waits for a place; else its event is dropped.
    :ivar oversize: ``"skip"``, ``"trim"`` or ``"error"``.
    :ivar flush_timeout: The most seconds that the end of a crawl waits for events.
    :ivar client_options: Further arguments of :class:`~txpusher.Pusher`.
    :ivar stats_interval: Seconds between two reports of the stats, 0 for none.
    :ivar stats_include: Parts of the names of the stats that are told, empty for all.
    :ivar stats_exclude: Parts of the names of the stats that are not told.
    :ivar signals: The further signals that are told.
    """

    url: str = attrs.field(repr=False)
    channel: Name
    event: Name
    stats_channel: Name
    item_classes: tuple[type, ...]
    item_filter: Callable[[Any, Any], object]
    item_fields: Mapping[str, str] | None
    serialize: Callable[[Any], str]
    max_pending: int
    wait_for_room: bool
    oversize: str
    flush_timeout: float
    client_options: Mapping[str, Any] = attrs.field(repr=False)
    stats_interval: float
    stats_include: tuple[str, ...]
    stats_exclude: tuple[str, ...]
    signals: tuple[str, ...]

    @classmethod
    def read(cls, settings: BaseSettings) -> ScrapySettings:
        """
        Read the settings of a crawler.

        :raises NotConfigured: The add-on is switched off, has no server or no reactor, the
            command publishes nothing, or a setting is malformed.
        """
        _check_that_it_applies(settings)
        channel = settings.get("PUSHER_CHANNEL") or DEFAULT_CHANNEL
        stats_channel = settings.get("PUSHER_STATS_CHANNEL")
        if not stats_channel:
            without_item = isinstance(channel, str) and "item" not in _fields_of(channel)
            stats_channel = channel if without_item else DEFAULT_CHANNEL
        return cls(
            url=_url(settings),
            channel=_name("PUSHER_CHANNEL", channel),
            event=_name("PUSHER_EVENT", settings.get("PUSHER_EVENT") or "item_scraped"),
            stats_channel=_name("PUSHER_STATS_CHANNEL", stats_channel),
            item_classes=_item_classes(settings),
            item_filter=_item_filter(settings.get("PUSHER_ITEM_FILTER")),
            item_fields=_item_fields(settings.get("PUSHER_ITEM_FIELDS")),
            serialize=_serializer(settings.get("PUSHER_SERIALIZER") or ScrapyJSONEncoder),
            max_pending=_whole(settings, "PUSHER_MAX_PENDING", 10_000, 1),
            wait_for_room=_choice(settings, "PUSHER_ON_OVERFLOW", "wait", "drop") == "wait",
            oversize=_choice(settings, "PUSHER_OVERSIZE", "skip", "trim", "error"),
            flush_timeout=_seconds(settings, "PUSHER_FLUSH_TIMEOUT", 30.0),
            client_options=_client_options(settings),
            stats_interval=_seconds(settings, "PUSHER_STATS_INTERVAL", 10.0),
            stats_include=_texts(settings, "PUSHER_STATS_INCLUDE"),
            stats_exclude=_texts(settings, "PUSHER_STATS_EXCLUDE"),
            signals=_signals(_texts(settings, "PUSHER_SIGNALS")),
        )


def _check_that_it_applies(settings: BaseSettings) -> None:
    try:
        is_enabled = settings.getbool("PUSHER_ENABLED", True)
    except (TypeError, ValueError):
        given = with_type(settings.get("PUSHER_ENABLED"))
        raise NotConfigured(f"PUSHER_ENABLED must be True or False, not {given}") from None
    if not is_enabled:
        raise NotConfigured("PUSHER_ENABLED is false")
    # Scrapy before 2.15 has a reactor always.
    if not settings.getbool("TWISTED_REACTOR_ENABLED", True):
        raise NotConfigured(
            "publishing needs Twisted's reactor, and TWISTED_REACTOR_ENABLED is false"
        )
    if os.environ.get("SCRAPY_CHECK"):
        raise NotConfigured("scrapy check publishes nothing")
    if _is_shell(settings):
        raise NotConfigured("scrapy shell publishes nothing")


def _is_shell(settings: BaseSettings) -> bool:
    """
    Tell whether the program is ``scrapy shell``, of which Scrapy leaves no other sign.

    The shell sets a DUPEFILTER_CLASS of its own, with the priority of a command; a project
    that sets one too hides that, but not the name of the command.
    """
    by_command = (
        settings.getpriority("DUPEFILTER_CLASS") == SETTINGS_PRIORITIES["command"]
        and settings.get("DUPEFILTER_CLASS") == "scrapy.dupefilters.BaseDupeFilter"
    )
    return by_command or ("scrapy.cmdline" in sys.modules and sys.argv[1:2] == ["shell"])


def _url(settings: BaseSettings) -> str:
    url = settings.get("PUSHER_URL") or os.environ.get("PUSHER_URL", "")
    if not url or not str(url).strip():
        raise NotConfigured("PUSHER_URL is missing, in the settings and in the environment")
    return str(url)


def _fields_of(text: str) -> set[str]:
    """Return the names that a format text takes, without their attributes."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(text) if field is not None]
    except ValueError as error:
        raise NotConfigured(f"{with_type(text)} is not a format text: {error}") from None
    return {field.replace("[", ".").partition(".")[0] for field in fields}


def _name(setting: str, value: object) -> Name:
    """Make the function that names a channel or an event."""
    if isinstance(value, str) and _is_import_path(value):
        value = _loaded(setting, value)
    if callable(value):
        return value
    if not isinstance(value, str):
        raise NotConfigured(
            f"{setting} must be a format text, a callable or its import path, "
            f"not {with_type(value)}"
        )
    text, known = value, {"item", "spider"}
    if not _fields_of(text) <= known:
        raise NotConfigured(f"{setting} may have {{item}} and {{spider}} alone, not {text!r}")
    return lambda item, spider: text.format(
        item=None if item is None else ItemAdapter(item), spider=spider
    )


def _is_import_path(text: str) -> bool:
    """Tell an import path from a plain name with dots: its first part can be imported."""
    package, dot, _ = text.partition(".")
    if not dot or "{" in text or not package.isidentifier():
        return False
    try:
        return find_spec(package) is not None
    except ValueError:
        # Imported already, but not by its name: __main__ of a script.
        return True


def _loaded(setting: str, value: Any) -> Any:
    """Return an object that is given itself or by its import path."""
    try:
        return load_object(value)
    except Exception as error:
        # The module is the user's.
        raise NotConfigured(f"{setting} cannot be loaded: {error}") from None


def _made(setting: str, made_of: type, *arguments: Any) -> Any:
    """Return an instance of a class that a setting gives."""
    try:
        return made_of(*arguments)
    except Exception as error:
        raise NotConfigured(
            f"{setting}: no {made_of.__name__} can be made: {type(error).__name__}: {error}"
        ) from None


def _method(setting: str, owner: Any, name: str) -> Callable[..., Any]:
    method = getattr(owner, name, None)
    if not callable(method):
        raise NotConfigured(
            f"{setting} must be callable, or a class whose instances have a method {name}, "
            f"not {with_type(type(owner))}"
        )
    function: Callable[..., Any] = method
    return function


def _several(settings: BaseSettings, name: str) -> list[Any]:
    """Return the parts of a setting that is a list, or a text with commas."""
    try:
        return settings.getlist(name)
    except TypeError:
        raise NotConfigured(
            f"{name} must be a list, not {with_type(settings.get(name))}"
        ) from None


def _texts(settings: BaseSettings, name: str) -> tuple[str, ...]:
    texts = _several(settings, name)
    for part in texts:
        if not isinstance(part, str):
            raise NotConfigured(f"{name} must be a list of texts; it has {with_type(part)}")
    return tuple(text.strip() for text in texts)


def _item_classes(settings: BaseSettings) -> tuple[type, ...]:
    name = "PUSHER_ITEM_CLASSES"
    given = settings.get(name)
    parts = [given] if isinstance(given, type) else _several(settings, name)
    classes = tuple(
        _loaded(name, part.strip() if isinstance(part, str) else part) for part in parts
    )
    for loaded in classes:
        if not isinstance(loaded, type):
            raise NotConfigured(f"{name} must be classes, not {with_type(loaded)}")
    return classes


def _item_filter(value: Any) -> Callable[[Any, Any], object]:
    setting = "PUSHER_ITEM_FILTER"
    if value is None:
        return lambda item, spider: True
    loaded = _loaded(setting, value)
    if isinstance(loaded, type):
        # As Scrapy's feeds have it: made with the options of a feed.
        accepts = _method(setting, _made(setting, loaded, {}), "accepts")
        _check_that_it_answers(setting, accepts)
        return lambda item, spider: accepts(item)
    if not callable(loaded):
        raise NotConfigured(f"{setting} must be callable, not {with_type(loaded)}")
    _check_that_it_answers(setting, loaded)
    function: Callable[[Any, Any], object] = loaded
    return function


def _check_that_it_answers(setting: str, function: Any) -> None:
    """Refuse a coroutine function: the coroutine, which nobody awaits, counts as True."""
    if iscoroutinefunction(function):
        raise NotConfigured(f"{setting} must not be a coroutine function")


def _item_fields(value: Any) -> Mapping[str, str] | None:
    """Read names of fields as FEED_EXPORT_FIELDS has them: none are all."""
    if isinstance(value, str):
        value = _names_in(value)
    if value is None:
        return None
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise NotConfigured(
            f"PUSHER_ITEM_FIELDS must be a list or a mapping, not {with_type(value)}"
        )
    fields = dict(value) if isinstance(value, Mapping) else {name: name for name in value}
    for name in (*fields, *fields.values()):
        if not isinstance(name, str):
            raise NotConfigured(
                f"PUSHER_ITEM_FIELDS must hold names of fields, not {with_type(name)}"
            )
    return fields or None


def _names_in(text: str) -> Any:
    """Return the list or the object of a JSON text, such as ``-s`` gives, or its names."""
    if not text.lstrip().startswith(("[", "{")):
        return [name.strip() for name in text.split(",") if name.strip()]
    try:
        return json.loads(text)
    except ValueError as error:
        raise NotConfigured(f"PUSHER_ITEM_FIELDS is malformed JSON: {error}") from None


def _serializer(value: Any) -> Callable[[Any], str]:
    """Return what makes JSON: a function, or the ``encode`` of a JSONEncoder."""
    loaded = _loaded("PUSHER_SERIALIZER", value)
    if isinstance(loaded, type):
        encoder = _made("PUSHER_SERIALIZER", loaded)
        # JSON has no NaN: what decodes the event would fail.
        if isinstance(encoder, json.JSONEncoder):
            encoder.allow_nan = False
        return _method("PUSHER_SERIALIZER", encoder, "encode")
    if not callable(loaded):
        raise NotConfigured(f"PUSHER_SERIALIZER must be callable, not {with_type(loaded)}")
    function: Callable[[Any], str] = loaded
    return function


def _whole(settings: BaseSettings, name: str, default: int, minimum: int) -> int:
    try:
        value = settings.getint(name, default)
        check_whole_number(name, value, minimum)
    except (TypeError, ValueError, ConfigurationError):
        raise NotConfigured(
            f"{name} must be a whole number >= {minimum}, not {with_type(settings.get(name))}"
        ) from None
    return value


def _seconds(settings: BaseSettings, name: str, default: float) -> float:
    try:
        value = settings.getfloat(name, default)
        check_seconds(name, value, zero=True)
    except (TypeError, ValueError, ConfigurationError):
        raise NotConfigured(
            f"{name} must be a number of seconds >= 0, not {with_type(settings.get(name))}"
        ) from None
    return value


def _choice(settings: BaseSettings, name: str, *choices: str) -> str:
    """Return one of *choices*; the first is the default."""
    value = settings.get(name, choices[0])
    if value not in choices:
        raise NotConfigured(
            f"{name} must be one of {', '.join(choices)}, not {with_type(value)}"
        )
    return str(value)


def _client_options(settings: BaseSettings) -> Mapping[str, Any]:
    try:
        options = settings.getdict("PUSHER_CLIENT_OPTIONS")
    except (TypeError, ValueError):
        raise NotConfigured("PUSHER_CLIENT_OPTIONS must be a mapping") from None
    return {str(name): value for name, value in options.items()}


def _signals(names: Iterable[str]) -> tuple[str, ...]:
    chosen = tuple(names)
    for name in chosen:
        if name not in SIGNALS:
            raise NotConfigured(
                f"PUSHER_SIGNALS may hold {', '.join(SIGNALS)}, not {with_type(name)}"
            )
    return chosen
