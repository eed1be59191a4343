"""
A crawl of a local site, with the add-on: prints the stats and the items as JSON.

    crawl.py URL SETTINGS

SETTINGS is JSON.  The spider follows the links of the page at URL, and yields an item for each
page that it finds there.
"""

from __future__ import annotations

import json
import sys
import warnings

# No deprecation may go unseen, whoever looks at the output.
warnings.simplefilter("always")

import attrs  # noqa: E402
import scrapy  # noqa: E402
from scrapy import signals  # noqa: E402
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess  # noqa: E402


@attrs.define
class Page:
    """One page of the site."""

    number: int
    text: str


class PagesSpider(scrapy.Spider):
    """Yields an item for each page that the first one links to."""

    name = "pages"

    def __init__(self, url: str, **options: object) -> None:
        super().__init__(**options)
        self.start_urls = [url]

    def parse(self, response: scrapy.http.Response) -> object:
        for number, link in enumerate(response.css("a")):
            yield response.follow(link, self.parse_page, cb_kwargs={"number": number})

    def parse_page(self, response: scrapy.http.Response, number: int) -> object:
        yield Page(number, response.css("p::text").get(""))


class FilesSpider(PagesSpider):
    """Yields the items of one page, all at once."""

    name = "files"

    def parse(self, response: scrapy.http.Response) -> object:
        for number, link in enumerate(response.css("a")):
            yield Page(number, link.attrib["href"])


def main() -> None:
    """Run one crawl."""
    url, settings = sys.argv[1], json.loads(sys.argv[2])
    settings = {
        "ADDONS": {"txpusher.scrapy.Addon": 500},
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "LOG_LEVEL": "INFO",
        **settings,
    }
    spider = FilesSpider if settings.pop("ONE_PAGE", False) else PagesSpider
    asyncio = settings.get("TWISTED_REACTOR", "") is not None
    process = (AsyncCrawlerProcess if asyncio else CrawlerProcess)(settings)
    crawler = process.create_crawler(spider)
    scraped: list[int] = []

    def remember(item: Page) -> None:
        scraped.append(item.number)

    # Scrapy's signals keep no function alive: this one lives as long as main() runs.
    crawler.signals.connect(remember, signals.item_scraped)
    process.crawl(crawler, url=url)
    process.start()
    assert crawler.stats is not None
    stats = crawler.stats.get_stats()
    print("RESULT " + json.dumps({"stats": stats, "items": sorted(scraped)}, default=str))


if __name__ == "__main__":
    main()
