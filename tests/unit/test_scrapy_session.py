"""What pipeline and extension share, over a client without a network."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

pytest.importorskip("scrapy")

from scrapy.exceptions import NotConfigured
from scrapy.settings import Settings
from scrapy.signalmanager import SignalManager
from scrapy.statscollectors import MemoryStatsCollector

from txpusher import RetryPolicy
from txpusher._scrapy_session import LINGER, Session


@pytest.fixture
def reactor():
    return MemoryReactorClock()


def make_session(reactor, more=None, **options):
    settings = {
        "PUSHER_URL": "http://key:secret@127.0.0.1:6001/apps/1",
        "PUSHER_CLIENT_OPTIONS": {"reactor": reactor, **options},
        **(more or {}),
    }
    crawler = SimpleNamespace(
        settings=Settings(settings), signals=SignalManager(), spider=SimpleNamespace(name="a")
    )
    crawler.stats = MemoryStatsCollector(SimpleNamespace(settings=crawler.settings))
    return Session(crawler), crawler.stats


def publish(session, *items):
    for item in items:
        assert Deferred.fromCoroutine(session.publish_item(item)).called


def refuse_connection(reactor):
    """Fail the connection that is being opened."""
    factory = reactor.tcpClients.pop()[2]
    factory.clientConnectionFailed(None, Failure(RefusedError()))


def test_items_wait_for_others_before_their_events_are_sent(reactor):
    session, _ = make_session(reactor)
    publish(session, {"a": 1}, {"a": 2})
    assert reactor.tcpClients == []
    reactor.advance(LINGER)
    assert len(reactor.tcpClients) == 1


def test_items_wait_for_nobody_where_less_than_a_batch_may_wait(reactor):
    session, _ = make_session(reactor, {"PUSHER_MAX_PENDING": 9})
    publish(session, {"a": 1})
    assert len(reactor.tcpClients) == 1


class Someday:
    """A filter that answers with a coroutine, which is no function of coroutines."""

    async def __call__(self, item, spider):
        return False


def test_filter_that_answers_with_an_awaitable_fails_the_item(reactor):
    awaitable = Deferred()
    for wanted in (lambda item, spider: awaitable, Someday()):
        session, stats = make_session(reactor, {"PUSHER_ITEM_FILTER": wanted})
        publish(session, {"a": 1})
        assert stats.get_value("pusher/failed_reason_count/TypeError") == 1
    assert reactor.tcpClients == []


def test_message_of_the_end_has_what_the_flush_leaves_of_its_time(reactor, monkeypatch):
    # Under asyncio's reactor Scrapy awaits futures, which no Deferred can.
    monkeypatch.setattr("txpusher._scrapy_session.in_scrapy", lambda deferred: deferred)
    session, _ = make_session(reactor, {"PUSHER_FLUSH_TIMEOUT": 7.0})
    assert session.time_left == 7.0
    publish(session, {"a": 1})
    flushed = Deferred.fromCoroutine(session.flush())
    assert not flushed.called
    reactor.advance(7.0)
    assert flushed.called
    assert session.time_left <= 7.0


def test_repeated_request_is_counted_and_told_to_the_project(reactor):
    told = []
    session, stats = make_session(
        reactor, on_attempt=told.append, retry=RetryPolicy(max_retries=1, max_delay=1.0)
    )
    publish(session, {"a": 1}, {"a": 2})
    reactor.advance(LINGER)
    refuse_connection(reactor)
    assert stats.get_value("pusher/retry_count", 0) == 0
    reactor.advance(1.0)
    refuse_connection(reactor)
    assert stats.get_value("pusher/retry_count") == 1
    assert stats.get_value("pusher/failed_count") == 2
    assert [attempt.attempt for attempt in told] == [1, 2]


def test_on_attempt_that_is_no_function_is_refused(reactor):
    with pytest.raises(NotConfigured, match="on_attempt must be"):
        make_session(reactor, on_attempt=7)
