"""Sign-ins, events to users, the end of a user's connections, client events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.credentials import KEY, SECRET
from txpusher._protocol import signing

from .hub_driver import Browser, Driver

SUCCEEDED = "pusher_internal:subscription_succeeded"


def test_sign_in_is_confirmed_with_the_signed_user_data() -> None:
    browser = Driver().browser()
    browser.sign_in("u1")
    (success,) = browser.got("pusher:signin_success")
    assert success["data"] == {"user_data": '{"id": "u1"}'}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"auth": 7, "user_data": '{"id":"1"}'},
        {"auth": f"{KEY}:{'0' * 64}", "user_data": '{"id":"1"}'},
        {"auth": f"{KEY}:{'0' * 64}", "user_data": {"id": "1"}},
        {"auth": f"{KEY}:{'0' * 64}", "user_data": '"\ud800"'},
    ],
)
def test_a_failed_sign_in_ends_the_connection(data: dict[str, Any]) -> None:
    driver = Driver()
    browser = driver.browser()
    browser.subscribe("a")
    browser.send({"event": "pusher:signin", "data": data})
    assert browser.got("pusher:error")[0]["data"]["code"] == 4009
    assert browser.closed is not None
    assert browser.closed[0] == 4009
    assert not driver.state.channels


@pytest.mark.parametrize("user_id", [None, "", 7, True, "x" * 201, []])
def test_an_authentic_sign_in_needs_a_proper_id(user_id: object) -> None:
    browser = Driver().browser()
    browser.sign_in(user_id)
    assert browser.closed is not None
    assert browser.closed[0] == 4009


def test_user_data_must_be_an_object() -> None:
    browser = Driver().browser()
    auth = f"{KEY}:{signing.user_signature(SECRET, browser.socket_id, '[]')}"
    browser.send({"event": "pusher:signin", "data": {"auth": auth, "user_data": "[]"}})
    assert browser.closed is not None


def test_signing_in_again_as_the_same_user_is_confirmed() -> None:
    browser = Driver().browser()
    browser.sign_in("u1")
    browser.sign_in("u1")
    assert len(browser.got("pusher:signin_success")) == 2


def test_signing_in_as_another_user_is_an_error() -> None:
    browser = Driver().browser()
    browser.sign_in("u1")
    browser.sign_in("u2")
    assert browser.got("pusher:error")[0]["data"]["code"] == 4009
    assert len(browser.got("pusher:signin_success")) == 1


def test_an_app_may_switch_sign_ins_off() -> None:
    browser = Driver(user_authentication=False).browser()
    browser.sign_in("u1")
    assert browser.closed is not None


def signed_in(driver: Driver, user_id: str) -> Browser:
    browser = driver.browser()
    browser.sign_in(user_id)
    data = {"channel": f"#server-to-user-{user_id}", "auth": ""}
    browser.send({"event": "pusher:subscribe", "data": data})
    return browser


def test_events_to_a_user_reach_each_of_their_connections() -> None:
    driver = Driver()
    mine = [signed_in(driver, "u1") for _ in range(2)]
    other = signed_in(driver, "u2")
    driver.publish("#server-to-user-u1")
    assert all(len(browser.got("e")) == 1 for browser in mine)
    assert not other.got("e")
    assert all(browser.got(SUCCEEDED) for browser in mine)


def test_the_channel_of_a_user_is_for_that_user_alone() -> None:
    driver = Driver()
    stranger, other = driver.browser(), driver.browser()
    other.sign_in("u2")
    for browser in (stranger, other):
        data = {"channel": "#server-to-user-u1", "auth": ""}
        browser.send({"event": "pusher:subscribe", "data": data})
        assert browser.got("pusher:subscription_error")[0]["data"]["status"] == 401


@pytest.mark.parametrize("name", ["#server-to-user-", "#server-to-user-None"])
def test_connection_without_sign_in_cannot_subscribe_to_a_user_channel(name: str) -> None:
    browser = Driver().browser()
    browser.send({"event": "pusher:subscribe", "data": {"channel": name, "auth": ""}})
    assert browser.got("pusher:subscription_error")


def test_user_channel_sends_no_webhook_and_no_subscription_count() -> None:
    driver = Driver()
    browser = signed_in(driver, "u1")
    browser.leave()
    assert not driver.notified
    assert not browser.got("pusher_internal:subscription_count")


def test_a_users_connections_can_be_ended() -> None:
    driver = Driver()
    mine = [signed_in(driver, "u1") for _ in range(2)]
    other = signed_in(driver, "u2")
    for browser in (*mine, other):
        browser.subscribe("presence-a", {"user_id": browser.socket_id})
    driver.carry_out(driver.hub.terminate(driver.state, "u1", driver.now))
    assert all(b.closed and b.closed[0] == 4009 for b in mine)
    assert all(b.got("pusher:error")[-1]["data"]["code"] == 4009 for b in mine)
    assert other.closed is None
    assert len(other.got("pusher_internal:member_removed")) == 2
    assert set(driver.state.users) == {"u2"}


def test_ending_connections_of_an_unknown_user_does_nothing() -> None:
    driver = Driver()
    assert driver.hub.terminate(driver.state, "u1", driver.now) == []


# Client events


def pair(driver: Driver, channel: str = "private-a") -> tuple[Browser, Browser]:
    browsers = driver.browser(), driver.browser()
    for browser in browsers:
        browser.subscribe(channel)
    return browsers


@pytest.mark.parametrize(
    ("data", "arrives"),
    [({"x": "ü"}, '{"x":"ü"}'), ("text", "text"), (None, "null"), (1.5, "1.5")],
)
def test_client_event_reaches_every_subscriber_but_its_sender(data: Any, arrives: str) -> None:
    driver = Driver()
    sender, other = pair(driver)
    sender.send({"event": "client-hi", "channel": "private-a", "data": data})
    assert other.messages[-1] == {
        "event": "client-hi",
        "channel": "private-a",
        "data": arrives,
    }
    assert not sender.got("client-hi")
    assert driver.webhooks("client_event") == [
        {
            "name": "client_event",
            "channel": "private-a",
            "event": "client-hi",
            "data": arrives,
            "socket_id": sender.socket_id,
        }
    ]


def test_client_event_arrives_without_webhooks() -> None:
    driver = Driver(webhooks=[])
    sender, other = pair(driver)
    sender.send({"event": "client-hi", "channel": "private-a", "data": {}})
    assert other.got("client-hi")


def test_client_event_on_an_encrypted_channel_is_passed_on() -> None:
    sender, other = pair(Driver(), "private-encrypted-a")
    sender.send({"event": "client-hi", "channel": "private-encrypted-a", "data": {}})
    assert other.got("client-hi")


def test_public_channel_takes_no_client_events() -> None:
    driver = Driver()
    sender, other = pair(driver, "a")
    sender.send({"event": "client-hi", "channel": "a", "data": {}})
    assert "only private and presence" in sender.got("pusher:error")[0]["data"]["message"]
    assert not other.got("client-hi")


def test_client_event_of_a_connection_that_is_not_subscribed_is_refused() -> None:
    driver = Driver()
    pair(driver)
    stranger = driver.browser()
    stranger.send({"event": "client-hi", "channel": "private-a", "data": {}})
    assert "not subscribed" in stranger.got("pusher:error")[0]["data"]["message"]


def test_an_app_may_switch_client_events_off() -> None:
    driver = Driver(client_events=False)
    sender, other = pair(driver)
    sender.send({"event": "client-hi", "channel": "private-a", "data": {}})
    assert sender.got("pusher:error")[0]["data"]["code"] == 4301
    assert not other.got("client-hi")


def test_ten_client_events_a_second_and_no_more() -> None:
    driver = Driver()
    sender, other = pair(driver)

    def send(times: int) -> None:
        for _ in range(times):
            sender.send({"event": "client-hi", "channel": "private-a", "data": {}})

    send(5)
    driver.now += 0.5
    send(6)
    assert len(other.got("client-hi")) == 10
    (error,) = sender.got("pusher:error")
    assert error["data"]["code"] == 4301
    assert error["channel"] == "private-a"
    driver.now += 0.49
    send(1)
    assert len(other.got("client-hi")) == 10
    driver.now += 0.01
    send(6)
    assert len(other.got("client-hi")) == 15
    assert sender.closed is None


def test_the_limit_is_for_each_connection() -> None:
    driver = Driver()
    one, two = pair(driver)
    for sender in (one, two):
        for _ in range(10):
            sender.send({"event": "client-hi", "channel": "private-a", "data": {}})
    assert not one.got("pusher:error")
    assert not two.got("pusher:error")


@pytest.mark.parametrize(
    ("event", "data", "fits"),
    [
        ("client-x", "x" * 10_240, True),
        ("client-x", "x" * 10_241, False),
        ("client-x", "ü" * 5_121, False),
        ("client-x", ["x" * 10_237], False),
        ("client-" + "x" * 193, "", True),
        ("client-" + "x" * 194, "", False),
    ],
)
def test_a_client_event_has_limits(event: str, data: Any, fits: bool) -> None:
    driver = Driver()
    sender, other = pair(driver)
    sender.send({"event": event, "channel": "private-a", "data": data})
    assert bool(other.got(event)) is fits
    codes = [m["data"]["code"] for m in sender.got("pusher:error")]
    assert codes == ([] if fits else [4301])


def test_client_event_data_that_is_json_text_is_passed_on_unchanged() -> None:
    driver = Driver()
    sender, other = pair(driver)
    text = json.dumps({"a": 1})
    sender.send({"event": "client-hi", "channel": "private-a", "data": text})
    assert other.messages[-1]["data"] == text
