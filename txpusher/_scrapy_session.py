# -*- test-case-name: tests.integration.test_scrapy -*-
"""
What pipeline and extension of one crawler share: the client, its publisher, the figures.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Mapping
from enum import Enum, auto
from inspect import isawaitable, iscoroutine
from typing import Any
from weakref import WeakKeyDictionary, ref

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from txpusher._event import Event
from txpusher._http.stats import Attempt
from txpusher._scrapy_items import OversizeError, encode_item
from txpusher._scrapy_settings import ScrapySettings
from txpusher.client import Pusher
from txpusher.errors import ConfigurationError, PusherError
from txpusher.publisher import BatchPublisher

logger = logging.getLogger("txpusher.scrapy")

#: Seconds between two log lines of one kind: a crawl has many items that fail alike.
LOG_INTERVAL = 60.0

#: Seconds for which an item's event waits for others while no request is in flight: 100 items
#: 20 ms apart are 20 requests then, not 100, and nobody who watches a crawl sees the delay.
LINGER = 0.1

#: A session knows its crawler, so that a session kept alive here would keep the crawler, too.
#: Pipeline and extension keep the session, and the crawler keeps them.
_sessions: WeakKeyDictionary[Crawler, ref[Session]] = WeakKeyDictionary()


class _State(Enum):
    """How far a crawl has come, as far as its items are concerned."""

    #: Items are published, and counted.
    PUBLISHING = auto()
    #: Every figure is final: an outcome that comes now has been counted as unsettled.
    COUNTED = auto()


class Session:
    """
    Publishes for one crawler.

    :ivar settings: What the crawler's PUSHER_ settings say.
    :ivar pusher: The crawler's own client, closed when its engine stops.
    :raises NotConfigured: The add-on does not apply to the crawler, or is malformed.
    """

    def __init__(self, crawler: Crawler) -> None:
        self.settings = ScrapySettings.read(crawler.settings)
        try:
            self.pusher = Pusher.from_url(
                self.settings.url,
                **self._counting(self.settings.client_options),
            )
            max_pending = self.settings.max_pending
            # Where less than a batch may wait, no event waits for others.
            fills = max_pending >= self.pusher.config.max_batch_size
            self._publisher = BatchPublisher(
                self.pusher, max_pending=max_pending, linger=LINGER if fills else 0.0
            )
        except ConfigurationError as error:
            # The words name the setting, and quote no URL.
            raise NotConfigured(f"PUSHER_URL or PUSHER_CLIENT_OPTIONS: {error}") from None
        except TypeError:
            raise NotConfigured(
                "PUSHER_CLIENT_OPTIONS has a name that is no argument of Pusher"
            ) from None
        self._crawler = crawler
        self._state = _State.PUBLISHING
        self._unsettled = 0
        #: How many seconds of PUSHER_FLUSH_TIMEOUT the flush has left, or will have.
        self.time_left = self.settings.flush_timeout
        self._last_logged: dict[str, float] = {}
        crawler.signals.connect(self._engine_stopped, signal=signals.engine_stopped)

    @classmethod
    def of(cls, crawler: Crawler) -> Session:
        """Return the session of *crawler*, made for whoever asks first."""
        known = _sessions.get(crawler)
        session = None if known is None else known()
        if session is None:
            session = cls(crawler)
            _sessions[crawler] = ref(session)
        return session

    def _counting(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a Pusher with an ``on_attempt`` that counts before theirs."""
        on_attempt = options.get("on_attempt")

        def count(attempt: Attempt) -> None:
            self._count_attempt(attempt)
            if on_attempt is not None:
                on_attempt(attempt)

        if on_attempt is not None and not callable(on_attempt):
            # Pusher refuses it, in words of its own.
            return dict(options)
        return {**options, "on_attempt": count}

    def _count_attempt(self, attempt: Attempt) -> None:
        # The extension's messages are no batches.
        is_of_items = attempt.path.endswith("/batch_events")
        if is_of_items and attempt.attempt > 1 and self._state is _State.PUBLISHING:
            self.count("retry_count")

    async def publish_item(self, item: Any) -> None:
        """
        Offer the event of *item*; wait for a place in the queue, never for the network.

        Whatever fails is counted and logged: an item does not suffer for its event.
        """
        event = self._event_of(item)
        if event is None:
            return
        self._unsettled += 1
        self._stats.max_value("pusher/pending_max", self._unsettled)
        place = self._publisher.room()
        if place.called or self.settings.wait_for_room:
            # In the callback, before whoever else waits can take the place.
            place.addCallback(lambda _: self._offer(event))
            if not place.called:
                await in_scrapy(place)
            return
        place.addErrback(lambda failure: failure.trap(CancelledError))
        place.cancel()
        self._unsettled -= 1
        self.count("dropped_count")
        self.log(
            logging.WARNING,
            "dropped",
            "an event was dropped: %d events wait already (PUSHER_MAX_PENDING)",
            self.settings.max_pending,
        )

    def _event_of(self, item: Any) -> Event | None:
        """Return the event of *item*; None where there is none, for whatever reason."""
        settings, spider = self.settings, self._crawler.spider
        try:
            if settings.item_classes and not isinstance(item, settings.item_classes):
                return None
            wanted = settings.item_filter(item, spider)
            if isawaitable(wanted):
                if iscoroutine(wanted):
                    wanted.close()
                raise TypeError("PUSHER_ITEM_FILTER must return a value, not an awaitable")
            if not wanted:
                return None
            data = encode_item(
                item,
                settings.serialize,
                settings.item_fields,
                self.pusher.config.max_payload_bytes,
                trim=settings.oversize == "trim",
            )
            event = Event(settings.channel(item, spider), settings.event(item, spider), data)
        except OversizeError as error:
            self.count("oversize_count")
            level = logging.ERROR if settings.oversize == "error" else logging.WARNING
            self.log(level, "oversize", "an item was not published: %s", error)
            return None
        except Exception as error:
            # The callables are the user's, and so is the item.
            self.count("publish_count")
            self._failed(error)
            return None
        self.count("publish_count")
        return event

    def _offer(self, event: Event) -> None:
        published = self._publisher.trigger(event.channel, event.name, event.data)
        published.addCallbacks(self._item_published, self._item_failed)

    def _item_published(self, reply: object) -> None:
        if self._state is _State.PUBLISHING:
            self._unsettled -= 1
            self.count("success_count")

    def _item_failed(self, failure: Failure) -> None:
        if self._state is _State.PUBLISHING:
            self._unsettled -= 1
            self._failed(failure.value)

    def _failed(self, error: BaseException | None) -> None:
        kind = type(error).__name__
        self.count("failed_count")
        self.count(f"failed_reason_count/{kind}")
        if isinstance(error, PusherError) and error.maybe_delivered:
            self.count("maybe_delivered_count")
        self.log(logging.WARNING, kind, "an item was not published: %s: %s", kind, error)

    async def flush(self) -> None:
        """
        Wait for the events of all items, for PUSHER_FLUSH_TIMEOUT seconds at most.

        Then every figure is final.
        """
        began, timeout = time.monotonic(), self.settings.flush_timeout
        left = await in_scrapy(self._publisher.flush(timeout))
        self.time_left = max(0.0, timeout - (time.monotonic() - began))
        self._state = _State.COUNTED
        if left:
            self.count("flush_timeout_count", left)
            logger.error(
                "%d events had no outcome %g seconds after the last item "
                "(PUSHER_FLUSH_TIMEOUT)",
                left,
                timeout,
                extra={"spider": self._crawler.spider},
            )

    def tell(self, event: str, data: Any, *, within: float | None = None) -> Deferred[Any]:
        """
        Publish a message of the extension's.

        :param within: Seconds after which the message is given up; None for never.
        :return: A Deferred that fires when the message has an outcome, and never fails.
        """
        try:
            channel = self.settings.stats_channel(None, self._crawler.spider)
            text = self.settings.serialize(data)
        except Exception as error:
            self.log(logging.WARNING, event, "%s was not published: %s", event, error)
            return _done()
        published: Deferred[Any] = self.pusher.trigger(channel, event, text)
        if within is not None:
            published.addTimeout(within, self.pusher.transport.reactor, _time_is_up)
        return published.addErrback(
            lambda failure: self.log(
                logging.WARNING, event, "%s was not published: %s", event, failure.value
            )
        )

    async def _engine_stopped(self) -> None:
        # What is unsettled has been counted; nothing is left to wait for.
        await in_scrapy(self.pusher.close(timeout=0))

    @property
    def _stats(self) -> Any:
        # Crawler.stats may not be touched before the crawl.
        return self._crawler.stats

    def count(self, name: str, count: int = 1) -> None:
        """Add *count* to a figure in the crawler's stats."""
        self._stats.inc_value(f"pusher/{name}", count)

    def log(self, level: int, kind: str, text: str, *arguments: object) -> None:
        """Log a line, unless one of this *kind* was logged within the last minute."""
        now = time.monotonic()
        if now - self._last_logged.get(kind, -LOG_INTERVAL) >= LOG_INTERVAL:
            self._last_logged[kind] = now
            logger.log(level, text, *arguments, extra={"spider": self._crawler.spider})


def _time_is_up(result: object, timeout: float) -> None:
    """Fail in words; what the cancelled message came to does not matter."""
    raise TimeoutError("the time of PUSHER_FLUSH_TIMEOUT was up")


def _done() -> Deferred[None]:
    done: Deferred[None] = Deferred()
    done.callback(None)
    return done


def in_scrapy(deferred: Deferred[Any]) -> Awaitable[Any]:
    """Return *deferred* as a coroutine of Scrapy's may await it, whatever the reactor."""
    awaitable: Awaitable[Any] = maybe_deferred_to_future(deferred)
    return awaitable
