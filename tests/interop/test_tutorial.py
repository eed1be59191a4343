"""The first page of the tutorial, as its reader follows it: a server, a page, a program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.support.pages import DOCS, blocks

from .browser import browsing, chromium, drive, window
from .requirements import HERE, node_command

pytest.importorskip("wsproto")

from txpusher.testing import RunningServer

PAGE = DOCS / "tutorial" / "first-event.rst"
PUSHER_JS = HERE / "node_modules" / "pusher-js" / "dist" / "web" / "pusher.min.js"


def html(port: int) -> str:
    """Return the page that the reader saves, for a server on another port."""
    text = PAGE.read_text("utf-8")
    [found] = re.findall(r"code-block:: html\n\n((?:    .*\n|\n)+)", text)
    assert "wsPort: 6001" in found
    return textwrap.dedent(found).replace("wsPort: 6001", f"wsPort: {port}")


def follow(path: str, file: Path, publish: Any, subscribed: Any) -> str:
    """Open the page, publish once it is subscribed, and return what it says then."""
    with browsing(path) as browser, window(browser) as page:
        # What the content delivery network would answer.
        page.route("https://js.pusher.com/**", lambda route: route.fulfill(path=PUSHER_JS))
        page.goto(file.as_uri())
        subscribed()
        publish()
        page.wait_for_function("document.getElementById('said').textContent != 'waiting'")
        return str(page.inner_text("#said"))


@pytest_twisted.ensureDeferred
async def test_reader_of_the_tutorial_sees_the_event(tmp_path: Path) -> None:
    from twisted.internet import reactor
    from twisted.internet.threads import blockingCallFromThread

    path = chromium()
    node_command()
    server = await RunningServer.start()
    file = tmp_path / "first.html"
    file.write_text(html(server.port), "utf-8")
    [program] = [block.source for block in blocks(PAGE) if block.how == "program"]

    def publish() -> None:
        environment = {**os.environ, "PUSHER_URL": server.url}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)

    def subscribed() -> None:
        blockingCallFromThread(reactor, server.wait_for_subscription, "my-channel", 15.0)

    try:
        assert await drive(follow, path, file, publish, subscribed) == "hello world"
    finally:
        await server.stop()
