"""
A crawl whose items appear on a page while it runs.

From this folder, once, and then for the crawl itself::

    npm install
    pip install 'txpusher[scrapy,server]'
    python live_crawl.py

Open the address that it prints, and press the button: a spider crawls a shop of a hundred
books, which the same process serves, and each book appears on the page as soon as it is found.
"""

# Much of Twisted has no annotations yet.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.crawler import AsyncCrawlerRunner
from scrapy.http import Response
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data, File

HERE = Path(__file__).parent
BOOKS = 100


class Books(scrapy.Spider):
    """Crawls the shop, one book after the other, slowly enough to look at."""

    name = "books"
    custom_settings = {"DOWNLOAD_DELAY": 0.02, "TELNETCONSOLE_ENABLED": False}

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(**options)
        self.start_urls = [url]

    def parse(self, response: Response) -> Iterator[Any]:
        for link in response.css("a::attr(href)"):
            yield response.follow(link.get(), self.parse_book)

    def parse_book(self, response: Response) -> Iterator[dict[str, str]]:
        yield {
            "title": response.css("h1::text").get(""),
            "price": response.css("p::text").get(""),
        }


class Shop(Resource):
    """A list of books, and a page for each."""

    isLeaf = True  # noqa: N815

    def render_GET(self, request: Any) -> bytes:
        number = request.path.rpartition(b"/")[2]
        if number:
            return b"<h1>Book %b</h1><p>%d.50</p>" % (number, int(number) % 30 + 5)
        links = (b'<a href="/shop/%d">Book %d</a>' % (n, n) for n in range(BOOKS))
        return b"<html>" + b"".join(links)


class Start(Resource):
    """Begins a crawl."""

    isLeaf = True  # noqa: N815

    def __init__(self, pusher_url: str) -> None:
        super().__init__()
        self._runner = AsyncCrawlerRunner(
            {"ADDONS": {"txpusher.scrapy.Addon": 500}, "PUSHER_URL": pusher_url}
        )
        self._crawls: set[Any] = set()

    def render_POST(self, request: Any) -> bytes:
        url = f"http://127.0.0.1:{request.getHost().port}/shop/"
        crawl = asyncio.ensure_future(self._runner.crawl(Books, url=url))
        # A task that nobody holds may be collected.
        self._crawls.add(crawl)
        crawl.add_done_callback(self._crawls.discard)
        return b""


async def run(reactor: Any, port: int, library: Path) -> None:
    from txpusher.server import App, ChannelsServer

    app = App("1", "crawl-key", "crawl-secret")
    server = ChannelsServer([app])
    await server.listen(0, reactor=reactor)
    settings = {"key": app.key, "port": server.port, "channel": "scrapy-books"}
    page = (HERE / "page.html").read_text("utf-8").replace("SETTINGS", json.dumps(settings))
    root = Resource()
    root.putChild(b"", Data(page.encode(), "text/html; charset=utf-8"))
    root.putChild(b"pusher.js", File(str(library)))
    root.putChild(b"favicon.ico", Data(b"", "image/x-icon"))
    root.putChild(b"shop", Shop())
    root.putChild(b"crawl", Start(server.url(app.id)))
    listening = reactor.listenTCP(port, Site(root), interface="127.0.0.1")
    print(f"ready: http://127.0.0.1:{listening.getHost().port}/", flush=True)
    await Deferred()


def main(reactor: Any, port: str = "8000", modules: str = str(HERE / "node_modules")) -> Any:
    library = Path(modules) / "pusher-js" / "dist" / "web" / "pusher.min.js"
    if not library.exists():
        sys.exit(f"{library} is missing: run npm install in {HERE}")
    return Deferred.fromCoroutine(run(reactor, int(port), library))


if __name__ == "__main__":
    # Scrapy's own choice, to be made before any other module imports the reactor.
    asyncioreactor.install(asyncio.new_event_loop())
    from twisted.internet.task import react

    react(main, sys.argv[1:])
