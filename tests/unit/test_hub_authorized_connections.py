"""Authorised connections: who neither signs in nor subscribes in private, is closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .hub_driver import Browser, Driver


def test_connection_without_authorization_is_closed_with_4009() -> None:
    driver = Driver(authorization_timeout=30)
    browser = driver.browser()
    assert driver.wakes == [driver.now + 30]
    browser.subscribe("public")
    browser.send({"event": "pusher:ping", "data": {}})
    driver.pass_time(29.9)
    assert browser.closed is None
    driver.pass_time(0.1)
    assert browser.closed == (4009, "Connection not authorized within timeout")
    assert browser.got("pusher:error")[-1]["data"] == {
        "code": 4009,
        "message": "Connection not authorized within timeout",
    }
    assert not driver.state.connections
    assert [a.detail for a in driver.activities if a.kind == "error"] == [
        "4009: Connection not authorized within timeout"
    ]


@pytest.mark.parametrize(
    "authorize",
    [
        lambda browser: browser.sign_in("u"),
        lambda browser: browser.subscribe("private-a"),
        lambda browser: browser.subscribe("private-encrypted-a"),
        lambda browser: browser.subscribe("presence-a", {"user_id": "1"}),
    ],
    ids=["sign-in", "private", "encrypted", "presence"],
)
def test_authorization_in_time_keeps_connection(authorize: Callable[[Browser], None]) -> None:
    driver = Driver(authorization_timeout=5)
    browser = driver.browser()
    driver.pass_time(4)
    authorize(browser)
    driver.pass_time(10)
    assert browser.closed is None


def test_refused_subscription_does_not_authorize_connection() -> None:
    driver = Driver(authorization_timeout=5)
    browser = driver.browser()
    data = {"channel": "private-a", "auth": "wrong"}
    browser.send({"event": "pusher:subscribe", "data": data})
    driver.pass_time(5)
    assert browser.closed is not None


def test_connection_of_app_without_authorization_timeout_stays() -> None:
    driver = Driver()
    browser = driver.browser()
    driver.pass_time(100)
    assert browser.closed is None
    assert driver.wakes == []


def test_each_connection_has_its_own_time() -> None:
    driver = Driver(authorization_timeout=5)
    first = driver.browser()
    driver.pass_time(3)
    second = driver.browser()
    driver.pass_time(2)
    assert first.closed
    assert second.closed is None
    assert driver.wakes[-1] == driver.now + 3
    second.leave()
    driver.pass_time(3)
    assert not driver.state.unauthorized
