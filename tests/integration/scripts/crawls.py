"""
Crawls of a local site, one after another in one process, with the add-on.

    crawls.py URL SETTINGS...

Each SETTINGS is JSON, and a crawl.  Prints as JSON which crawls could begin, how many
connections to the server of PUSHER_URL there were after each, and how many crawlers were left
in the end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import weakref
from typing import Any
from urllib.parse import urlsplit

import scrapy
from scrapy.crawler import AsyncCrawlerRunner
from scrapy.utils.reactor import install_reactor

install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")


class PageSpider(scrapy.Spider):
    """Yields an item for the one page of the site."""

    name = "page"

    def parse(self, response: scrapy.http.Response) -> object:
        yield {"text": response.css("p::text").get("")}


def connections() -> int:
    """Return how many connections there are to the server of PUSHER_URL."""
    from twisted.internet import reactor

    port = urlsplit(os.environ["PUSHER_URL"]).port
    readers: Any = reactor.getReaders()  # type: ignore[attr-defined]
    return [r.getPeer().port for r in readers if hasattr(r, "getPeer")].count(port)


async def crawl(url: str, settings: dict[str, Any]) -> tuple[weakref.ref[Any], bool]:
    """Run one crawl; return a weak reference to its crawler, and whether it began."""
    settings = {
        "ADDONS": {"txpusher.scrapy.Addon": 500},
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        **settings,
    }
    runner = AsyncCrawlerRunner(settings)
    crawler = runner.create_crawler(PageSpider)
    try:
        await runner.crawl(crawler, start_urls=[url])
    except ImportError:
        return weakref.ref(crawler), False
    return weakref.ref(crawler), True


async def main() -> None:
    """Run the crawls."""
    crawlers, began, connected = [], [], []
    for settings in sys.argv[2:]:
        crawler, has_begun = await crawl(sys.argv[1], json.loads(settings))
        crawlers.append(crawler)
        began.append(has_begun)
        connected.append(connections())
    # What is under way when a crawl ends, such as the end of a task, ends in the next round.
    await asyncio.sleep(0)
    gc.collect()
    left = sum(crawler() is not None for crawler in crawlers)
    print("RESULT " + json.dumps({"began": began, "connections": connected, "left": left}))


def run() -> None:
    """Run the crawls under the reactor."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    failures: list[BaseException] = []

    async def run_main() -> None:
        try:
            await main()
        except BaseException as error:
            failures.append(error)
        finally:
            reactor.stop()

    tasks: list[Any] = []
    reactor.callWhenRunning(lambda: tasks.append(asyncio.ensure_future(run_main())))
    reactor.run()
    for failure in failures:
        raise failure


if __name__ == "__main__":
    run()
