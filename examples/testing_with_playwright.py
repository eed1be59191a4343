"""
Test a page that listens to events, in a browser that Playwright drives.

    pip install 'txpusher[server]' pytest playwright
    npm install pusher-js
    PUSHER_JS=node_modules/pusher-js/dist/web/pusher.min.js pytest testing_with_playwright.py

The browser is the Chromium of the machine, or the one that the environment variable CHROMIUM
names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from txpusher.testing import BlockingRunningServer

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
PUSHER_JS = os.environ.get("PUSHER_JS", "node_modules/pusher-js/dist/web/pusher.min.js")

pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: set CHROMIUM to its path"),
    pytest.mark.skipif(not os.path.exists(PUSHER_JS), reason="needs pusher-js: set PUSHER_JS"),
]

#: Nothing that the browser asks for is to leave the machine.
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]

#: The page under test.
HTML = "<ul id='orders'></ul>"
SCRIPT = """
({key, host, port}) => {
    const pusher = new Pusher(key, {
        wsHost: host, wsPort: port, forceTLS: false, enabledTransports: ["ws"], cluster: ""
    });
    pusher.subscribe("orders").bind("created", (order) => {
        const item = document.createElement("li");
        item.textContent = `order ${order.number}`;
        document.getElementById("orders").append(item);
    });
}
"""


@pytest.fixture
def page(blocking_channels_server: BlockingRunningServer) -> Iterator[Page]:
    server = blocking_channels_server
    place: dict[str, Any] = {"key": server.app.key, "host": server.host, "port": server.port}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.set_content(HTML)
        page.add_script_tag(path=PUSHER_JS)
        page.evaluate(SCRIPT, place)
        yield page
        browser.close()


def test_page_lists_an_order(
    page: Page, blocking_channels_server: BlockingRunningServer
) -> None:
    # An event that is published before the page has subscribed is lost.
    blocking_channels_server.wait_for_subscription("orders")
    blocking_channels_server.pusher().trigger("orders", "created", {"number": 7})
    page.wait_for_selector("li")
    assert page.inner_text("#orders") == "order 7"


def test_page_that_is_left_is_subscribed_no_longer(
    page: Page, blocking_channels_server: BlockingRunningServer
) -> None:
    blocking_channels_server.wait_for_subscription("orders")
    page.goto("about:blank")
    blocking_channels_server.wait_for_subscription("orders", count=0)
