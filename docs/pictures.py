"""
Make the pictures of the pages: the console of the local server, in Chromium.

::

    python docs/pictures.py

It needs the extra ``test`` and Chromium, starts a server on a free port, publishes, and writes
``docs/_static/console.png``.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from txpusher import Pusher, Subscriber
from txpusher.server import App, ChannelsServer

PICTURE = Path(__file__).parent / "_static" / "console.png"
EVENTS = [
    ("orders", "created", {"number": 7, "total": "41.00"}),
    ("prices", "tick", {"symbol": "TX", "price": 41}),
    ("presence-lobby", "notice", {"text": "back in 5 min"}),
    ("orders", "paid", {"number": 7}),
]


def photograph(address: str) -> None:
    """Open the console at *address*, wait for the last event, and write the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1000, "height": 480})
        page.goto(address)
        page.get_by_text("paid").first.wait_for()
        page.screenshot(path=PICTURE)
        browser.close()


async def main(reactor: Any) -> None:
    server = ChannelsServer([App("1", "app-key", "app-secret")], console=True)
    await server.listen(0)
    pusher = Pusher.from_url(server.url("1"))
    subscriber = Subscriber.for_pusher(pusher)
    await subscriber.connect()
    await subscriber.subscribe("orders")
    await subscriber.subscribe("presence-lobby", custom_data={"user_id": "alice"})
    for channel, name, data in EVENTS:
        await pusher.trigger(channel, name, data)
    PICTURE.parent.mkdir(exist_ok=True)
    await deferToThread(photograph, f"http://127.0.0.1:{server.port}/")
    await subscriber.close()
    await pusher.close()
    await server.stop()


if __name__ == "__main__":
    react(main)
