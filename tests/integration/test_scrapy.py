"""Crawls of a local site, each a process of its own, with the add-on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.support.misbehaving import answering, never_answer, reply
from txpusher.testing import RunningServer

pytest.importorskip("scrapy")
pytest.importorskip("wsproto")

SCRIPTS = Path(__file__).parent / "scripts"
REACTORS = {"asyncio": {}, "default": {"TWISTED_REACTOR": None}}


class Pages(Resource):
    """A page that links to *count* others."""

    isLeaf = True

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def render_GET(self, request: Any) -> bytes:
        if request.path == b"/":
            return b"".join(b'<a href="/%d">page</a>' % n for n in range(self._count))
        return b"<p>text of %b</p>" % request.path


@attrs.frozen
class Crawled:
    """What came of a crawl."""

    stats: dict[str, Any]
    items: list[int]
    log: str

    def counts(self, *names: str) -> list[int]:
        return [self.stats.get(f"pusher/{name}_count", 0) for name in names]


async def run_script(script: str, pusher_url: str, *arguments: str) -> tuple[Any, str]:
    """Run a script that crawls; return what it prints as its result, and the log."""

    def run() -> tuple[Any, str]:
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / script), *arguments],
            env={**os.environ, "PUSHER_URL": pusher_url},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "secret" not in done.stderr
        return json.loads(done.stdout.rpartition("RESULT ")[2]), done.stderr

    return await deferToThread(run)


async def crawl(pusher_url: str, site: str, **settings: Any) -> Crawled:
    result, log = await run_script("crawl.py", pusher_url, site, json.dumps(settings))
    return Crawled(result["stats"], result["items"], log)


@pytest_twisted.async_yield_fixture
async def running(log: Any, clean_reactor: None) -> AsyncIterator[RunningServer]:
    server = await RunningServer.start()
    yield server
    await server.stop()


@pytest_twisted.async_yield_fixture
async def site(clean_reactor: None) -> AsyncIterator[Any]:
    """Serve pages; give their address."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    ports = []

    def serve(count: int) -> str:
        port = reactor.listenTCP(0, Site(Pages(count)), interface="127.0.0.1")
        ports.append(port)
        return f"http://127.0.0.1:{port.getHost().port}/"

    yield serve
    for port in ports:
        await port.stopListening()


def published(server: RunningServer, event: str = "item_scraped") -> list[Any]:
    return [e.data for e in server.events if e.name == event]


@pytest.mark.parametrize("reactor", REACTORS)
@pytest_twisted.ensureDeferred
async def test_every_item_is_published_once_and_the_crawl_tells_how_it_goes(
    running, site, reactor
):
    crawled = await crawl(
        running.url, site(200), PUSHER_STATS_INTERVAL=0.1, **REACTORS[reactor]
    )
    items = published(running)
    assert sorted(item["number"] for item in items) == list(range(200)) == crawled.items
    assert items[0]["text"].startswith("text of /")
    assert {event.channel for event in running.events} == {"scrapy-pages"}
    assert crawled.counts("publish", "success", "failed") == [200, 200, 0]
    assert 0 < crawled.stats["pusher/pending_max"] <= 200
    [opened], [closed] = (
        published(running, "spider_opened"),
        published(running, "spider_closed"),
    )
    assert opened == {"spider": "pages"}
    assert (closed["spider"], closed["reason"]) == ("pages", "finished")
    assert closed["stats"]["pusher/success_count"] == 200
    for told in published(running, "spider_stats"):
        assert (told["spider"], told["items_per_minute"] >= 0) == ("pages", True)
    assert "txpusher" not in crawled.log.replace("txpusher.scrapy.", "")
    assert "Deprecat" not in crawled.log


@pytest.mark.parametrize("reactor", REACTORS)
@pytest_twisted.ensureDeferred
async def test_no_item_suffers_where_no_server_listens(site, reactor):
    crawled = await crawl(
        "http://key:secret@127.0.0.1:1/apps/1",
        site(30),
        PUSHER_CLIENT_OPTIONS={"connect_timeout": 1.0},
        **REACTORS[reactor],
    )
    assert crawled.items == list(range(30))
    assert crawled.counts("publish", "success", "failed") == [30, 0, 30]
    assert crawled.stats["pusher/failed_reason_count/HTTPError"] == 30
    assert crawled.stats.get("pusher/maybe_delivered_count", 0) == 0
    # One line for all of them, and one for each message of the extension's.
    assert crawled.log.count("an item was not published") == 1
    assert crawled.log.count("was not published") <= 4


@pytest_twisted.ensureDeferred
async def test_crawl_ends_at_the_flush_timeout_where_the_server_is_silent(serve, site):
    server = serve(never_answer)
    crawled = await crawl(
        f"http://key:secret@127.0.0.1:{server.port}/apps/1",
        site(30),
        PUSHER_FLUSH_TIMEOUT=0.5,
        PUSHER_CLIENT_OPTIONS={"timeout": 60.0},
    )
    assert crawled.items == list(range(30))
    assert crawled.counts("publish", "success", "failed") == [30, 0, 0]
    assert crawled.stats["pusher/flush_timeout_count"] == 30
    assert "30 events had no outcome 0.5 seconds after the last item" in crawled.log
    assert "spider_closed was not published: the time of PUSHER_FLUSH" in crawled.log


@pytest_twisted.ensureDeferred
async def test_crawl_without_the_pipeline_ends_at_the_flush_timeout(serve, site):
    server = serve(never_answer)
    crawled = await crawl(
        f"http://key:secret@127.0.0.1:{server.port}/apps/1",
        site(1),
        PUSHER_FLUSH_TIMEOUT=0.1,
        PUSHER_CLIENT_OPTIONS={"timeout": 60.0},
        ITEM_PIPELINES={"txpusher.scrapy.PusherPipeline": None},
    )
    assert "spider_closed was not published: the time of PUSHER_FLUSH" in crawled.log


@pytest_twisted.ensureDeferred
async def test_stats_count_the_repeated_requests_of_items_alone(site):
    nobody = "http://key:secret@127.0.0.1:1/apps/1"
    of_extension = await crawl(nobody, site(1), PUSHER_ITEM_CLASSES=["decimal.Decimal"])
    of_item = await crawl(nobody, site(1))
    assert of_extension.log.count("was not published") == 2
    assert of_extension.counts("publish", "retry") == [0, 0]
    assert of_item.counts("publish", "retry") == [1, 3]


@pytest_twisted.ensureDeferred
async def test_full_queue_drops_events_where_it_is_told_to(serve, site):
    server = serve(never_answer)
    crawled = await crawl(
        f"http://key:secret@127.0.0.1:{server.port}/apps/1",
        site(40),
        ONE_PAGE=True,
        PUSHER_MAX_PENDING=5,
        PUSHER_ON_OVERFLOW="drop",
        PUSHER_FLUSH_TIMEOUT=0.1,
        PUSHER_CLIENT_OPTIONS={"timeout": 60.0, "max_connections": 1, "max_batch_size": 1},
        EXTENSIONS={"txpusher.scrapy.PusherExtension": None},
    )
    assert crawled.items == list(range(40))
    publish, dropped = crawled.counts("publish", "dropped")
    unsettled = crawled.stats["pusher/flush_timeout_count"]
    assert publish == 40 == dropped + unsettled
    assert dropped >= 30
    assert "an event was dropped" in crawled.log


@pytest_twisted.ensureDeferred
async def test_full_queue_slows_the_crawl_and_loses_nothing(running, site):
    crawled = await crawl(
        running.url,
        site(300),
        ONE_PAGE=True,
        PUSHER_MAX_PENDING=1,
        PUSHER_CLIENT_OPTIONS={"max_connections": 1, "max_batch_size": 1},
    )
    assert sorted(item["number"] for item in published(running)) == list(range(300))
    assert crawled.counts("publish", "success", "failed", "dropped") == [300, 300, 0, 0]


@pytest.mark.parametrize(
    ("oversize", "arrive", "level"),
    [("skip", 0, "WARNING"), ("error", 0, "ERROR"), ("trim", 5, "")],
)
@pytest_twisted.ensureDeferred
async def test_item_over_the_limit_is_skipped_or_trimmed(
    running, site, oversize, arrive, level
):
    crawled = await crawl(
        running.url,
        site(5),
        PUSHER_OVERSIZE=oversize,
        PUSHER_CLIENT_OPTIONS={"max_payload_bytes": 30},
        EXTENSIONS={"txpusher.scrapy.PusherExtension": None},
    )
    assert crawled.items == list(range(5))
    items = published(running)
    assert len(items) == arrive
    assert all(len(item["text"]) < 9 for item in items)
    assert crawled.stats.get("pusher/oversize_count", 0) == 5 - arrive
    if level:
        assert f"{level}: an item was not published" in crawled.log


@pytest_twisted.ensureDeferred
async def test_uncertain_failures_are_counted(serve, site):
    server = serve(answering(reply(500, "broken")))
    crawled = await crawl(
        f"http://key:secret@127.0.0.1:{server.port}/apps/1", site(20), PUSHER_SIGNALS=[]
    )
    assert crawled.counts("failed", "maybe_delivered") == [20, 20]
    assert crawled.stats["pusher/failed_reason_count/ServerError"] == 20


@pytest_twisted.ensureDeferred
async def test_crawl_without_a_reactor_goes_on_without_the_add_on(running, site):
    import scrapy

    if scrapy.version_info < (2, 15):
        pytest.skip("this Scrapy has a reactor always")
    pytest.importorskip("aiohttp")
    crawled = await crawl(running.url, site(3), TWISTED_REACTOR_ENABLED=False)
    assert crawled.items == [0, 1, 2]
    assert running.events == []
    assert crawled.log.count("TWISTED_REACTOR_ENABLED is false") == 2


@pytest_twisted.ensureDeferred
async def test_malformed_settings_switch_the_add_on_off_in_words(running, site):
    url = running.url.replace("/apps/", "/app/")
    crawled = await crawl(url, site(3))
    assert crawled.items == [0, 1, 2]
    assert "PUSHER_URL" in crawled.log
    crawled = await crawl(running.url, site(3), PUSHER_CLIENT_OPTIONS={"timeuot": 3})
    assert "a name that is no argument of Pusher" in crawled.log
    assert running.events == []


@pytest_twisted.ensureDeferred
async def test_crawl_leaves_neither_crawler_nor_connection_in_the_process(running, site):
    # The engine of the second crawl never starts.
    several = ({}, {"SCHEDULER": "no.Scheduler"}, {"PUSHER_STATS_INTERVAL": 0.01}, {})
    result, _ = await run_script(
        "crawls.py", running.url, site(0), *(json.dumps(settings) for settings in several)
    )
    assert result["began"] == [True, False, True, True]
    assert len(published(running)) == 3
    assert (result["connections"], result["left"]) == ([0, 0, 0, 0], 0)
