"""The live crawl in examples/, in a real browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.support.process import Process

from . import browser
from .requirements import HERE, import_or_skip, node_command
from .waiting import address_of

CRAWL = Path(__file__).parents[2] / "examples" / "live_crawl" / "live_crawl.py"


@pytest.fixture
def crawl():
    """The address of the page of a shop that can be crawled."""
    import_or_skip("scrapy")
    node_command()
    program = Process([sys.executable, str(CRAWL), "0", str(HERE / "node_modules")], HERE)
    yield address_of(program)
    program.stop()


def watch(path: str, address: str, pictures: Path) -> tuple[str, str, set[str]]:
    """Crawl, and look at the page; return its state, its count and its titles."""
    with browser.browsing(path) as chromium, browser.window(chromium) as page:
        page.goto(address)
        page.locator("#start:enabled").click()
        page.get_by_text("Book 3", exact=True).wait_for()
        page.get_by_text("finished: 100 events").wait_for()
        page.screenshot(path=pictures / "live_crawl.png")
        titles: Any = page.locator("#books td:first-child").all_inner_texts()
        return (
            page.locator("#state").inner_text(),
            page.locator("#count").inner_text(),
            set(titles),
        )


@pytest_twisted.ensureDeferred
async def test_books_appear_on_the_page_while_the_crawl_runs(crawl, tmp_path):
    state, count, titles = await browser.drive(watch, browser.chromium(), crawl, tmp_path)
    assert (state, count) == ("finished: 100 events", "100")
    assert titles == {f"Book {number}" for number in range(100)}
