"""Connections: who is let in, how long they may be silent, what ends them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.credentials import KEY, SECRET
from txpusher._protocol import signing
from txpusher.server import App
from txpusher.server._core.hub import Hub

from .hub_driver import Driver


def test_connection_is_greeted_with_socket_id_and_activity_timeout() -> None:
    driver = Driver(activity_timeout=90.0)
    browser = driver.browser()
    (hello,) = browser.got("pusher:connection_established")
    assert hello["data"] == {"socket_id": browser.socket_id, "activity_timeout": 90}
    assert isinstance(hello["data"]["activity_timeout"], int)


def test_an_activity_timeout_may_be_a_fraction() -> None:
    browser = Driver(activity_timeout=0.5).browser()
    assert browser.got("pusher:connection_established")[0]["data"]["activity_timeout"] == 0.5


def test_socket_ids_differ() -> None:
    driver = Driver()
    assert len({driver.browser().socket_id for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("protocol", "code"),
    [(None, 4008), ("x", 4006), ("", 4006), ("7.0", 4006), ("3", 4007), ("8", 4007)],
)
def test_connection_with_a_bad_protocol_version_is_closed_with_its_code(
    protocol: str | None, code: int
) -> None:
    driver = Driver()
    browser = driver.browser(protocol=protocol)
    assert browser.connection is None
    assert browser.closed is not None
    assert browser.closed[0] == code
    assert browser.got("pusher:error")[0]["data"]["code"] == code


@pytest.mark.parametrize(
    ("protocol", "told"), [("4", [4201]), ("5", [4201]), ("6", []), ("7", [])]
)
def test_close_of_an_old_protocol_comes_after_an_error(protocol: str, told: list[int]) -> None:
    driver = Driver()
    browser = driver.browser(protocol=protocol)
    driver.pass_time(driver.app.activity_timeout)
    driver.pass_time(driver.app.pong_timeout)
    assert browser.closed == (4201, "no pong within 30 seconds")
    assert [error["data"]["code"] for error in browser.got("pusher:error")] == told


def test_an_unknown_key_is_4001() -> None:
    browser = Driver().browser(key="other")
    assert browser.closed is not None
    assert browser.closed[0] == 4001


def test_a_disabled_app_is_4003() -> None:
    browser = Driver(enabled=False).browser()
    assert browser.closed is not None
    assert browser.closed[0] == 4003


@pytest.mark.parametrize(
    ("driver", "code"), [(Driver(max_connections=2), 4100)], ids=["server"]
)
def test_a_full_server_asks_to_come_back_later(driver: Driver, code: int) -> None:
    driver.browser()
    second, third = driver.browser(), driver.browser()
    assert second.closed is None
    assert third.closed is not None
    assert third.closed[0] == code
    second.leave()
    assert driver.browser().closed is None


def test_a_full_app_turns_clients_away() -> None:
    app = App("1", "k", "s", max_connections=1)
    hub = Hub([app, App("2", "k2", "s")])
    first, _ = hub.connect("a", "k", "7", 0)
    refused, outputs = hub.connect("b", "k", "7", 0)
    other, _ = hub.connect("c", "k2", "7", 0)
    assert refused is None
    assert outputs[1].code == 4004  # type: ignore[union-attr]
    assert first is not None
    assert other is not None


# Signs of life


def test_a_silent_client_is_pinged_and_then_ended() -> None:
    driver = Driver()
    browser = driver.browser()
    driver.pass_time(119)
    assert not browser.got("pusher:ping")
    driver.pass_time(1)
    driver.pass_time(29)
    assert len(browser.got("pusher:ping")) == 1
    assert browser.closed is None
    driver.pass_time(1)
    assert browser.closed is not None
    assert browser.closed[0] == 4201
    assert not driver.state.connections


def test_a_pong_saves_the_connection() -> None:
    driver = Driver()
    browser = driver.browser()
    assert browser.connection is not None
    for _ in range(5):
        driver.pass_time(120)
        browser.connection.seen(driver.now)
        browser.send({"event": "pusher:pong", "data": {}})
        driver.pass_time(60)
    assert len(browser.got("pusher:ping")) == 5
    assert browser.closed is None
    assert not browser.got("pusher:error")


def test_a_ping_is_answered() -> None:
    browser = Driver().browser()
    browser.send({"event": "pusher:ping", "data": {}})
    assert len(browser.got("pusher:pong")) == 1


# Messages that make no sense


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "7",
        "null",
        '"text"',
        "{}",
        '{"event": 7}',
        '{"event": null}',
        '{"event": "unknown"}',
        '{"event": "pusher:subscribe"}',
        '{"event": "pusher:subscribe", "data": "nonsense"}',
        '{"event": "pusher:subscribe", "data": "[]"}',
        '{"event": "pusher:subscribe", "data": 7}',
        '{"event": "pusher:unsubscribe", "data": []}',
        '{"event": "pusher:subscribe", "data": {"channel": NaN}}',
        '{"event": "pusher:ping", "data": 1e999}',
        '{"event": "pusher:ping", "data": ' + "[" * 200 + "]" * 200 + "}",
        '{"event": "pusher:ping", "data": ' + "[" * 90_000 + "]" * 90_000 + "}",
        "[" * 100_000,
        '{"event": "client-x", "data": {}}',
        '{"event": "client-x", "channel": ["a"]}',
    ],
)
def test_nonsense_is_answered_with_an_error_and_the_connection_goes_on(text: str) -> None:
    browser = Driver().browser()
    browser.send(text)
    (error,) = browser.got("pusher:error")
    assert error["data"]["code"] is None
    assert error["data"]["message"]
    assert browser.closed is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["pusher:subscribe", "pusher:unsubscribe", "pusher:signin", "client-x", "pusher:ping", "x"]
)
channels = st.sampled_from(["a", "private-a", "presence-a", "cache-a", "#server-to-user-1"])
messages = st.one_of(
    st.text(),
    json_values.map(json.dumps),
    st.fixed_dictionaries(
        {"event": names | json_values},
        optional={
            "channel": channels | json_values,
            "data": json_values
            | st.fixed_dictionaries(
                {},
                optional={
                    "channel": channels | json_values,
                    "auth": json_values,
                    "channel_data": json_values,
                    "user_data": json_values,
                },
            ),
        },
    ).map(json.dumps),
)


@settings(max_examples=150, deadline=None)
@example([('{"event":"pusher:signin","data":{"auth":"a:b","user_data":"\\ud800"}}')])
@given(st.lists(messages, max_size=8))
def test_arbitrary_message_never_raises_in_the_hub(sent: list[str]) -> None:
    driver = Driver()
    browser = driver.browser()
    browser.subscribe("presence-a", {"user_id": "1"})
    for text in sent:
        browser.send(text)
    browser.leave()
    assert not driver.state.connections
    assert not driver.state.channels
    assert not driver.state.users


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=())), json_values)
def test_authentic_text_may_be_strange_too(text: str, value: Any) -> None:
    driver = Driver()
    browser, other = driver.browser(), driver.browser()
    other.subscribe("presence-a", {"user_id": "1"})
    try:
        member = {"user_id": text or "x", "user_info": value}
        browser.subscribe("presence-a", member)
    except ValueError:
        return
    event = {"event": "client-x", "channel": "presence-a", "data": text}
    browser.send(event)
    if browser.got("pusher_internal:subscription_succeeded"):
        assert [m["data"] for m in other.messages if m["event"] == "client-x"] == [text]
    browser.leave()


# The end


def test_the_server_stops_with_a_code_that_brings_clients_back() -> None:
    driver = Driver()
    browsers = [driver.browser() for _ in range(3)]
    for number, browser in enumerate(browsers):
        browser.subscribe("presence-a", {"user_id": number})
    before = [len(browser.messages) for browser in browsers]
    driver.carry_out(driver.hub.shutdown(driver.now))
    assert all(browser.closed and browser.closed[0] == 1001 for browser in browsers)
    assert [len(browser.messages) for browser in browsers] == before
    assert not driver.state.channels


def test_message_after_the_close_is_ignored() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.leave()
    browser.leave()
    browser.send({"event": "pusher:ping", "data": {}})
    assert not browser.got("pusher:pong")
    assert [a.kind for a in driver.activities].count("disconnected") == 1


def test_activities_say_what_happened_and_no_secret() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.subscribe("presence-a", {"user_id": "1"})
    browser.send({"event": "pusher:subscribe", "data": {"channel": "private-b", "auth": "x"}})
    browser.sign_in("7")
    driver.publish("presence-a")
    browser.leave()
    kinds = [activity.kind for activity in driver.activities]
    assert kinds == [
        "connected",
        "subscribed",
        "error",
        "signed_in",
        "event",
        "unsubscribed",
        "disconnected",
    ]
    shown = repr(driver.activities) + repr(driver.app)
    assert SECRET not in shown
    assert KEY not in shown
    assert signing.channel_signature(SECRET, browser.socket_id, "private-b") not in shown
