"""Subscriptions of every kind, and what subscribers and webhooks are told."""

from __future__ import annotations

import json

import pytest

from tests.support.credentials import KEY, SECRET
from txpusher._protocol import signing
from txpusher.server import _limits as limits

from .hub_driver import Driver

SUCCEEDED = "pusher_internal:subscription_succeeded"


@pytest.mark.parametrize(
    "channel",
    [
        "plain",
        "private-a",
        "private-encrypted-a",
        "cache-a",
        "private-cache-a",
        "private-encrypted-cache-a",
    ],
)
def test_subscribers_get_the_events_of_their_channel(channel: str) -> None:
    driver = Driver()
    browser, other = driver.browser(), driver.browser()
    browser.subscribe(channel)
    driver.publish(channel, "greeting", '{"a":"ü"}')
    assert browser.got(SUCCEEDED)[0]["data"] == {}
    assert browser.messages[-1] == {
        "event": "greeting",
        "channel": channel,
        "data": '{"a":"ü"}',
    }
    assert len(other.messages) == 1


def test_sender_excluded_by_socket_id_gets_no_event() -> None:
    driver = Driver()
    sender, other = driver.browser(), driver.browser()
    for browser in (sender, other):
        browser.subscribe("a")
    driver.publish("a", socket_id=sender.socket_id)
    assert not sender.got("e")
    assert other.got("e")


def test_unknown_socket_id_excludes_no_subscriber() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.subscribe("a")
    driver.publish("a", socket_id="1.1")
    assert browser.got("e")


def test_unsubscribed_connection_gets_no_more_events() -> None:
    driver = Driver()
    browser, other = driver.browser(), driver.browser()
    for one in (browser, other):
        one.subscribe("a")
    browser.unsubscribe("a")
    driver.publish("a")
    assert not browser.got("e")
    assert other.got("e")


def test_unsubscribing_from_an_unknown_channel_changes_nothing() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.unsubscribe("a")
    assert [message["event"] for message in browser.messages] == [
        "pusher:connection_established"
    ]


def test_subscribing_twice_is_an_error_and_the_subscription_goes_on() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.subscribe("a")
    browser.subscribe("a")
    (error,) = browser.got("pusher:error")
    assert error["data"] == {"code": None, "message": "Existing subscription to channel a"}
    assert error["channel"] == "a"
    driver.publish("a")
    assert len(browser.got("e")) == 1


@pytest.mark.parametrize(
    "auth",
    [
        None,
        "",
        7,
        "nonsense",
        f"{KEY}:{'0' * 64}",
        f"{KEY}:",
        f"other:{signing.hmac_hex(SECRET, b'x')}",
        f"{KEY}:\ud800",
    ],
)
@pytest.mark.parametrize("channel", ["private-a", "presence-a", "private-encrypted-a"])
def test_a_wrong_auth_fails_the_subscription_and_not_the_connection(
    auth: object, channel: str
) -> None:
    driver = Driver()
    browser = driver.browser()
    data = {"channel": channel, "auth": auth, "channel_data": '{"user_id":"1"}'}
    browser.send({"event": "pusher:subscribe", "data": data})
    (error,) = browser.got("pusher:subscription_error")
    assert error["channel"] == channel
    assert error["data"]["type"] == "AuthError"
    assert error["data"]["status"] == 401
    assert channel not in driver.state.channels
    assert browser.closed is None


def test_the_auth_of_another_app_with_the_same_secret_is_refused() -> None:
    driver = Driver()
    browser = driver.browser()
    signature = signing.channel_signature(SECRET, browser.socket_id, "private-a")
    data = {"channel": "private-a", "auth": f"other:{signature}"}
    browser.send({"event": "pusher:subscribe", "data": data})
    assert browser.got("pusher:subscription_error")


def test_the_auth_of_another_connection_is_refused() -> None:
    driver = Driver()
    browser, thief = driver.browser(), driver.browser()
    signature = signing.channel_signature(SECRET, browser.socket_id, "private-a")
    data = {"channel": "private-a", "auth": f"{KEY}:{signature}"}
    thief.send({"event": "pusher:subscribe", "data": data})
    assert thief.got("pusher:subscription_error")


def test_a_private_channel_may_have_channel_data_which_is_signed_then() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.subscribe("private-a", {"anything": 1})
    assert browser.got(SUCCEEDED)


@pytest.mark.parametrize("channel_data", [7, {"user_id": "1"}])
def test_channel_data_that_is_no_string_is_refused(channel_data: object) -> None:
    driver = Driver()
    browser = driver.browser()
    data = {"channel": "presence-a", "auth": "x:y", "channel_data": channel_data}
    browser.send({"event": "pusher:subscribe", "data": data})
    assert browser.got("pusher:subscription_error")[0]["data"]["type"] == "AuthError"


@pytest.mark.parametrize("name", ["", "a b", "ü", "a\n", "x" * 201, "../etc", "a\ud800"])
def test_an_impossible_name_is_refused(name: str) -> None:
    driver = Driver()
    browser = driver.browser()
    browser.send({"event": "pusher:subscribe", "data": {"channel": name}})
    (error,) = browser.got("pusher:subscription_error")
    assert error["data"]["status"] == 400
    assert error["channel"] == name


@pytest.mark.parametrize("event", ["pusher:subscribe", "pusher:unsubscribe"])
@pytest.mark.parametrize("channel", [None, 7, ["a"], {"a": 1}])
def test_a_name_that_is_no_string_is_an_error(event: str, channel: object) -> None:
    driver = Driver()
    browser = driver.browser()
    browser.send({"event": event, "data": {"channel": channel}})
    assert len(browser.got("pusher:error")) == 1


def test_a_connection_has_a_most_of_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHANNELS_PER_CONNECTION", 2)
    driver = Driver()
    browser = driver.browser()
    for name in ("a", "b", "c"):
        browser.subscribe(name)
    assert browser.got("pusher:subscription_error")[0]["channel"] == "c"
    assert set(driver.state.channels) == {"a", "b"}


def test_webhooks_hear_when_a_channel_is_occupied_and_vacated() -> None:
    driver = Driver()
    one, two = driver.browser(), driver.browser()
    one.subscribe("a")
    two.subscribe("a")
    one.unsubscribe("a")
    assert driver.webhooks("channel_occupied") == [{"name": "channel_occupied", "channel": "a"}]
    assert not driver.webhooks("channel_vacated")
    two.leave()
    assert driver.webhooks("channel_vacated") == [{"name": "channel_vacated", "channel": "a"}]
    assert not driver.state.channels


def test_app_without_webhooks_queues_no_webhook() -> None:
    driver = Driver(webhooks=[])
    browser = driver.browser()
    browser.subscribe("cache-a")
    browser.leave()
    assert not driver.notified


# The number of subscribers


def test_subscribers_are_sent_the_subscription_count() -> None:
    driver = Driver()
    one, two = driver.browser(), driver.browser()
    one.subscribe("a")
    two.subscribe("a")
    two.leave()
    counts = [
        m["data"]["subscription_count"] for m in one.got("pusher_internal:subscription_count")
    ]
    assert counts == [1, 2, 1]
    assert driver.webhooks("subscription_count")[1] == {
        "name": "subscription_count",
        "channel": "a",
        "subscription_count": 2,
    }


def test_an_app_may_switch_the_numbers_off() -> None:
    driver = Driver(subscription_counts=False)
    browser = driver.browser()
    browser.subscribe("a")
    assert not browser.got("pusher_internal:subscription_count")


def test_presence_channel_sends_no_subscription_count() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.subscribe("presence-a", {"user_id": "1"})
    assert not browser.got("pusher_internal:subscription_count")
    assert not driver.webhooks("subscription_count")


def test_large_channel_sends_the_subscription_count_at_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "COUNTED_AT_ONCE", 1)
    driver = Driver()
    browsers = [driver.browser() for _ in range(4)]
    for browser in browsers:
        browser.subscribe("a")
    first = browsers[0]
    assert len(first.got("pusher_internal:subscription_count")) == 1
    driver.pass_time(1)
    driver.pass_time(1)
    counts = first.got("pusher_internal:subscription_count")
    assert [m["data"]["subscription_count"] for m in counts] == [1, 4]


def test_due_subscription_count_is_dropped_with_its_channel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "COUNTED_AT_ONCE", 0)
    driver = Driver()
    browser = driver.browser()
    browser.subscribe("a")
    browser.leave()
    driver.pass_time(1)
    assert not driver.webhooks("subscription_count")


# Cache channels


def test_a_late_subscriber_gets_the_last_event() -> None:
    driver = Driver()
    driver.publish("cache-a", data="old")
    driver.publish("cache-a", data="new")
    browser = driver.browser()
    browser.subscribe("cache-a")
    assert [m["data"] for m in browser.got("e")] == ["new"]
    events = [m["event"] for m in browser.messages]
    assert events.index(SUCCEEDED) < events.index("e")
    assert not browser.got("pusher:cache_miss")


def test_an_empty_cache_is_a_miss() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.subscribe("presence-cache-a", {"user_id": "1"})
    assert browser.got("pusher:cache_miss") == [
        {"event": "pusher:cache_miss", "channel": "presence-cache-a"}
    ]
    assert driver.webhooks("cache_miss") == [
        {"name": "cache_miss", "channel": "presence-cache-a"}
    ]


def test_an_event_is_cached_for_thirty_minutes() -> None:
    driver = Driver()
    driver.publish("cache-a")
    driver.pass_time(30 * 60 - 1)
    early = driver.browser()
    early.subscribe("cache-a")
    driver.pass_time(1)
    late = driver.browser()
    late.subscribe("cache-a")
    assert early.got("e")
    assert not late.got("e")
    assert late.got("pusher:cache_miss")


def test_client_events_are_not_cached() -> None:
    driver = Driver()
    one, two = driver.browser(), driver.browser()
    one.subscribe("private-cache-a")
    one.send({"event": "client-x", "channel": "private-cache-a", "data": {}})
    two.subscribe("private-cache-a")
    assert not two.got("client-x")
    assert two.got("pusher:cache_miss")


def test_the_cache_is_bounded() -> None:
    driver = Driver()
    for number in range(limits.CACHE // 20_000 + 100):
        driver.publish(f"cache-{number}", data="x" * 10_000)
    assert limits.CACHE // 25_000 < len(driver.state.cache) < limits.CACHE // 20_000
    browser = driver.browser()
    browser.subscribe("cache-0")
    browser.subscribe(f"cache-{number}")
    assert len(browser.got("e")) == len(browser.got("pusher:cache_miss")) == 1


def test_channel_kind_is_decided_by_the_beginning_of_its_name() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.subscribe("my-private-presence-cache-a")
    assert browser.got(SUCCEEDED)[0]["data"] == {}
    assert not browser.got("pusher:cache_miss")


def test_data_in_a_string_is_understood_too() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.send({"event": "pusher:subscribe", "data": json.dumps({"channel": "a"})})
    assert browser.got(SUCCEEDED)
