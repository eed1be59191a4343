"""The chat in examples/, in two windows of a real browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.support.process import Process

from . import browser
from .requirements import HERE, node_command
from .waiting import address_of

CHAT = Path(__file__).parents[2] / "examples" / "chat" / "chat.py"


@pytest.fixture
def chat():
    """The address of a running chat."""
    node_command()
    program = Process([sys.executable, str(CHAT), "0", str(HERE / "node_modules")], HERE)
    yield address_of(program)
    program.stop()


def names(page: Any) -> list[str]:
    return page.locator("#members li").all_inner_texts()


def lines(page: Any) -> list[str]:
    return page.locator("#log li").all_inner_texts()


def talk(path: str, address: str, pictures: Path) -> dict[str, Any]:
    """Have two people meet, talk and part; return what each one saw."""
    with browser.browsing(path) as chromium, browser.window(chromium) as ada:
        ada.goto(address)
        ada.get_by_text("connected", exact=True).wait_for()
        ada.locator("#members .me", has_text="Ada").wait_for()
        with browser.window(chromium) as grace:
            grace.goto(address)
            grace.locator("#members .me", has_text="Grace").wait_for()
            ada.get_by_text("Grace has come").wait_for()
            together = (names(ada), names(grace))
            for page, text in ((ada, "Hello"), (grace, "<b>Hello</b> to you, Ada")):
                page.locator("#text").fill(text)
                page.locator("#form button").click()
                for other in (ada, grace):
                    other.get_by_text(text).wait_for()
            ada.screenshot(path=pictures / "chat.png")
            heard = lines(grace)
        ada.get_by_text("Grace has left").wait_for()
        return {"together": together, "heard": heard, "alone": names(ada), "saw": lines(ada)}


@pytest_twisted.ensureDeferred
async def test_two_windows_see_each_other_join_talk_and_leave(chat, tmp_path):
    seen = await browser.drive(talk, browser.chromium(), chat, tmp_path)
    assert seen == {
        "together": (["Ada", "Grace"], ["Ada", "Grace"]),
        "heard": ["Ada: Hello", "Grace: <b>Hello</b> to you, Ada"],
        "alone": ["Ada"],
        "saw": [
            "Grace has come",
            "Ada: Hello",
            "Grace: <b>Hello</b> to you, Ada",
            "Grace has left",
        ],
    }
