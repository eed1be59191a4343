"""
Debian's Chromium without a window, off the network, driven by Playwright.

Playwright's own calls block: :func:`drive` runs a function in a thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from .requirements import import_or_skip, missing

T = TypeVar("T")

#: A name that leads to this machine, as one does that an attacker has made lead there.
ELSEWHERE = "elsewhere.test"

#: Keeps Chromium from talking to anyone but the page's own servers.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1, MAP * ~NOTFOUND, "
    "EXCLUDE 127.0.0.1, EXCLUDE localhost",
)

#: Milliseconds that a page may take for what it is waited for.
PATIENCE = 15_000


def chromium() -> str:
    """Return the path of Chromium; skip the test where it cannot be driven."""
    found = shutil.which("chromium")
    if found is None:
        missing("chromium is not installed")
    import_or_skip("playwright.sync_api")
    return found


@contextmanager
def browsing(path: str) -> Iterator[Any]:
    """Start the Chromium at *path*; give Playwright's browser, and end it afterwards."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Any, **options: Any) -> Iterator[Any]:
    """Open a window with cookies of its own; errors of its page fail the test."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    assert errors == []


def drive(function: Callable[..., T], *arguments: Any) -> Deferred[T]:
    """Run *function*, which drives a browser, in a thread."""
    return deferToThread(function, *arguments)
