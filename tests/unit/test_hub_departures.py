"""Webhooks of those who leave: who comes straight back has never left."""

from __future__ import annotations

from .hub_driver import Driver

MEMBER = {"user_id": "7"}


def names(driver: Driver) -> list[str]:
    """The webhook events so far that are of departures and arrivals."""
    return [e["name"] for e in driver.notified if e["name"] != "subscription_count"]


def test_reloaded_page_sends_no_webhook_and_the_others_are_told_at_once() -> None:
    driver = Driver(webhook_grace=3)
    watcher, page = driver.browser(), driver.browser()
    watcher.subscribe("presence-r", {"user_id": "9"})
    page.subscribe("presence-r", MEMBER)
    before = names(driver)
    page.leave()
    assert watcher.got("pusher_internal:member_removed")
    driver.pass_time(2)
    driver.browser().subscribe("presence-r", MEMBER)
    assert len(watcher.got("pusher_internal:member_added")) == 2
    driver.pass_time(5)
    assert names(driver) == before


def test_channel_that_is_occupied_again_has_never_been_vacated() -> None:
    driver = Driver(webhook_grace=3)
    browser = driver.browser()
    for _ in range(3):
        browser.subscribe("a")
        browser.unsubscribe("a")
    browser.subscribe("a")
    driver.pass_time(5)
    assert names(driver) == ["channel_occupied"]


def test_departure_is_told_after_the_grace() -> None:
    driver = Driver(webhook_grace=3)
    page = driver.browser()
    page.subscribe("presence-r", MEMBER)
    page.leave()
    driver.pass_time(2)
    assert names(driver) == ["channel_occupied", "member_added"]
    driver.pass_time(1)
    assert names(driver)[2:] == ["member_removed", "channel_vacated"]
    assert driver.webhooks("member_removed")[0]["user_id"] == "7"


def test_channel_that_another_user_occupies_tells_of_the_user_who_left_alone() -> None:
    driver = Driver(webhook_grace=3)
    page = driver.browser()
    page.subscribe("presence-r", MEMBER)
    page.leave()
    driver.browser().subscribe("presence-r", {"user_id": "8"})
    driver.pass_time(3)
    assert names(driver) == [
        "channel_occupied",
        "member_added",
        "member_added",
        "member_removed",
    ]


def test_second_departure_begins_the_grace_anew() -> None:
    driver = Driver(webhook_grace=3)
    browser = driver.browser()
    browser.subscribe("a")
    browser.unsubscribe("a")
    driver.pass_time(2)
    browser.subscribe("a")
    browser.unsubscribe("a")
    driver.pass_time(2)
    assert names(driver) == ["channel_occupied"]
    driver.pass_time(1)
    assert names(driver) == ["channel_occupied", "channel_vacated"]


def test_departure_without_grace_is_told_at_once() -> None:
    driver = Driver(webhook_grace=0)
    browser = driver.browser()
    browser.subscribe("a")
    browser.unsubscribe("a")
    assert names(driver) == ["channel_occupied", "channel_vacated"]


def test_departure_asks_to_be_told_at_its_very_moment() -> None:
    driver = Driver(webhook_grace=0.25)
    browser, other = driver.browser(), driver.browser()
    browser.subscribe("a")
    other.subscribe("b")
    browser.unsubscribe("a")
    driver.now += 0.125
    other.unsubscribe("b")
    assert driver.wakes == [1000.25, 1000.375]
    driver.now = 1000.25
    driver.carry_out(driver.hub.due(driver.now))
    assert [event["channel"] for event in driver.webhooks("channel_vacated")] == ["a"]
    assert driver.wakes[-1] == 1000.375


def test_departure_of_app_without_webhooks_waits_for_nothing() -> None:
    driver = Driver(webhook_grace=3, webhooks=[])
    browser = driver.browser()
    browser.subscribe("a")
    browser.unsubscribe("a")
    assert driver.wakes == []
    assert driver.state.departures.next() is None
