"""Scrapy's own commands in a project with the add-on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.support.serving import serving
from txpusher.testing import RunningServer

pytest.importorskip("scrapy")
pytest.importorskip("wsproto")

from .test_scrapy import Pages

SETTINGS = """
SPIDER_MODULES = ["books.spiders"]
ADDONS = {"txpusher.scrapy.Addon": 500}
TELNETCONSOLE_ENABLED = False
REMOTE_CONTROL_ENABLED = False
# The later pipeline drops every item: at the add-on's own place, nothing would be published.
ITEM_PIPELINES = {"txpusher.scrapy.PusherPipeline": 301, "books.pipelines.DropAll": 302}
"""

PIPELINES = """
from scrapy.exceptions import DropItem

class DropAll:
    def process_item(self, item):
        raise DropItem("for the test")
"""

SPIDER = '''
import scrapy

class Books(scrapy.Spider):
    name = "books"
    start_urls = ["{site}"]

    def parse(self, response):
        """
        @url {site}
        @returns items 1 1
        """
        yield {{"name": response.css("p::text").get()}}
'''


@pytest_twisted.async_yield_fixture
async def running(log: Any, clean_reactor: None) -> AsyncIterator[RunningServer]:
    server = await RunningServer.start()
    yield server
    await server.stop()


@pytest_twisted.async_yield_fixture
async def project(tmp_path: Path, running: RunningServer) -> AsyncIterator[Any]:
    """Make a project; give what runs a command in it, and the address of a page."""
    package = tmp_path / "books" / "spiders"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (tmp_path / "scrapy.cfg").write_text("[settings]\ndefault = books.settings\n")
    (package.parent / "settings.py").write_text(SETTINGS)
    (package.parent / "pipelines.py").write_text(PIPELINES)
    async with serving(Pages(1)) as port:
        site = f"http://127.0.0.1:{port}/page"
        (package / "books.py").write_text(SPIDER.format(site=site))
        path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])

        async def command(*arguments: str) -> str:
            def run() -> str:
                done = subprocess.run(
                    [sys.executable, "-m", "scrapy", *arguments],
                    cwd=tmp_path,
                    env={**os.environ, "PUSHER_URL": running.url, "PYTHONPATH": path},
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
                assert "secret" not in done.stdout + done.stderr
                return done.stderr

            return await deferToThread(run)

        yield command, site


@pytest_twisted.ensureDeferred
async def test_parse_with_pipelines_publishes_and_flushes(project, running):
    command, site = project
    await command("parse", "--pipelines", "--spider", "books", site)
    items = [event.data for event in running.events if event.name == "item_scraped"]
    assert items == [{"name": "text of /page"}]


@pytest_twisted.ensureDeferred
async def test_shell_publishes_nothing(project, running):
    command, site = project
    log = await command("shell", site, "-c", "response.status")
    assert running.events == []
    assert "scrapy shell publishes nothing" in log


@pytest_twisted.ensureDeferred
async def test_check_publishes_nothing(project, running):
    command, _ = project
    await command("check", "books")
    assert running.events == []


@pytest_twisted.ensureDeferred
async def test_place_that_the_project_gives_the_pipeline_stays(project, running):
    command, _ = project
    log = await command("crawl", "books")
    assert log.count("'txpusher.scrapy.PusherPipeline'") == 1
    items = [event.data for event in running.events if event.name == "item_scraped"]
    assert items == [{"name": "text of /page"}]
    assert "for the test" in log
