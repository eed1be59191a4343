# -*- test-case-name: tests.integration.test_scrapy -*-
"""
The add-on for Scrapy: each item becomes an event, and the crawl tells how it goes.

``ADDONS = {"txpusher.scrapy.Addon": 500}`` installs it, and ``PUSHER_URL``, in the settings
or in the environment, says where the events go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.settings import BaseSettings
from scrapy.utils.asyncio import create_looping_call

from txpusher._scrapy_session import Session, in_scrapy

if TYPE_CHECKING:
    from twisted.python.failure import Failure
    from typing_extensions import Self

__all__ = ["Addon", "PusherExtension", "PusherPipeline"]


class Addon:
    """
    Installs :class:`PusherPipeline` and :class:`PusherExtension`.

    A place that the project gives one of them in ITEM_PIPELINES or EXTENSIONS stays.
    """

    def update_settings(self, settings: BaseSettings) -> None:
        """Add pipeline and extension to the settings, with the priority of an add-on."""
        settings.setdefault_in_component_priority_dict("ITEM_PIPELINES", PusherPipeline, 900)
        settings.setdefault_in_component_priority_dict("EXTENSIONS", PusherExtension, 500)


class PusherPipeline:
    """
    Publishes an event for each item, and passes the item on.

    An item waits for a place in the queue (PUSHER_MAX_PENDING, PUSHER_ON_OVERFLOW), never
    for the network, and never fails because of its event: failures are counted in the stats
    ``pusher/...`` and logged once a minute and kind.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """
        Make the pipeline of a crawler.

        :raises NotConfigured: The settings switch publishing off, or are malformed.
        """
        return cls(Session.of(crawler))

    async def process_item(self, item: Any) -> Any:
        """Offer the event of *item*, and return *item* itself."""
        await self._session.publish_item(item)
        return item

    async def close_spider(self) -> None:
        """Wait for the events, for PUSHER_FLUSH_TIMEOUT seconds at most, and count the rest."""
        await self._session.flush()


class PusherExtension:
    """
    Publishes what happens to the crawl itself.

    ``spider_opened`` (``{"spider"}``), every PUSHER_STATS_INTERVAL seconds ``spider_stats``
    (``{"spider", "stats", "items_per_minute"}``), ``spider_closed`` (``{"spider", "reason",
    "stats"}``), and the ``item_dropped``, ``item_error`` and ``spider_error`` that
    PUSHER_SIGNALS names, each with ``spider`` and ``reason``.
    """

    def __init__(self, crawler: Crawler, session: Session) -> None:
        self._crawler = crawler
        self._session = session
        self._task = create_looping_call(self._tell_stats)
        self._items = 0

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """
        Make the extension of a crawler.

        :raises NotConfigured: The settings switch publishing off, or are malformed.
        """
        session = Session.of(crawler)
        extension = cls(crawler, session)
        crawler.signals.connect(extension.spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(extension.spider_closed, signal=signals.spider_closed)
        for name in session.settings.signals:
            crawler.signals.connect(getattr(extension, name), signal=getattr(signals, name))
        return extension

    def spider_opened(self) -> None:
        """Tell of the beginning, and begin to tell the stats."""
        self._session.tell("spider_opened", {"spider": self._name})
        interval = self._session.settings.stats_interval
        if interval:
            self._task.start(interval, now=False)

    async def spider_closed(self, reason: str) -> None:
        """
        Tell of the end, and wait until the message has been sent.

        The wait takes no longer than what the flush has left of PUSHER_FLUSH_TIMEOUT.
        """
        if self._task.running:
            self._task.stop()
        told = self._session.tell(
            "spider_closed",
            {"spider": self._name, "reason": reason, "stats": self._stats()},
            within=self._session.time_left,
        )
        await in_scrapy(told)

    def item_dropped(self, exception: BaseException) -> None:
        """Tell of an item that a pipeline has dropped."""
        self._tell_problem("item_dropped", exception)

    def item_error(self, failure: Failure) -> None:
        """Tell of an item on which a pipeline has failed."""
        self._tell_problem("item_error", failure.value)

    def spider_error(self, failure: Failure) -> None:
        """Tell of a callback of the spider that has failed."""
        self._tell_problem("spider_error", failure.value)

    def _tell_problem(self, event: str, error: BaseException | None) -> None:
        reason = f"{type(error).__name__}: {error}"
        self._session.tell(event, {"spider": self._name, "reason": reason[:500]})

    def _tell_stats(self) -> None:
        scraped = self._crawler.stats.get_value("item_scraped_count", 0)
        per_minute = (scraped - self._items) * 60 / self._session.settings.stats_interval
        self._items = scraped
        self._session.tell(
            "spider_stats",
            {"spider": self._name, "stats": self._stats(), "items_per_minute": per_minute},
        )

    @property
    def _name(self) -> str:
        return str(getattr(self._crawler.spider, "name", ""))

    def _stats(self) -> dict[str, Any]:
        """Return the stats that PUSHER_STATS_INCLUDE and PUSHER_STATS_EXCLUDE leave."""
        settings = self._session.settings
        return {
            name: value
            for name, value in self._crawler.stats.get_stats().items()
            if (not settings.stats_include or any(p in name for p in settings.stats_include))
            and not any(part in name for part in settings.stats_exclude)
        }
