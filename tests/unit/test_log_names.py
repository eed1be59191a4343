"""Lines that Twisted hands to Python's logging are named for the library that wrote them."""

from __future__ import annotations

import logging

import pytest
from twisted.logger import Logger, LogLevel, LogPublisher, STDLibLogObserver

from txpusher._log_names import OwnNameFilter, name_own_records


@pytest.fixture
def records():
    """What any handler gets, once the names are set; nothing of it stays."""
    kept = []
    handler = logging.Handler()
    handler.emit = kept.append  # type: ignore[method-assign, assignment]
    root, twisted = logging.getLogger(), logging.getLogger("twisted")
    filters, levels = twisted.filters[:], (root.level, logging.getLogger("txpusher").level)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    name_own_records()
    yield kept
    root.removeHandler(handler)
    twisted.filters[:] = filters
    root.setLevel(levels[0])
    logging.getLogger("txpusher").setLevel(levels[1])


def write(namespace, level=LogLevel.warn, text="something {what}"):
    """Log as crochet has Twisted log."""
    publisher = LogPublisher(STDLibLogObserver())
    Logger(namespace, observer=publisher).emit(level, text, what="new")


@pytest.mark.parametrize("namespace", ["txpusher", "txpusher.server"])
def test_record_of_txpusher_has_its_own_name(namespace, records):
    write(namespace)
    assert [(one.name, one.levelname, one.getMessage()) for one in records] == [
        (namespace, "WARNING", "something new")
    ]


@pytest.mark.parametrize("namespace", ["twisted.web.client", "txpusherlike", None])
def test_record_of_another_library_stays_with_twisted(namespace, records):
    write(namespace)
    assert [one.name for one in records] == ["twisted"]


def test_record_that_is_not_of_twisted_is_left_alone(records):
    logging.getLogger("twisted").warning("plain %s", "text")
    assert [(one.name, one.getMessage()) for one in records] == [("twisted", "plain text")]


def test_lines_of_txpusher_are_turned_down_by_name(records):
    logging.getLogger("txpusher").setLevel(logging.ERROR)
    write("txpusher", LogLevel.warn)
    write("txpusher.server", LogLevel.warn)
    write("txpusher", LogLevel.error)
    write("twisted.web.client", LogLevel.warn)
    assert [(one.name, one.levelname) for one in records] == [
        ("txpusher", "ERROR"),
        ("twisted", "WARNING"),
    ]


def test_names_set_twice_are_set_once(records):
    name_own_records()
    filters = logging.getLogger("twisted").filters
    assert len([one for one in filters if isinstance(one, OwnNameFilter)]) == 1
    write("txpusher")
    assert len(records) == 1
