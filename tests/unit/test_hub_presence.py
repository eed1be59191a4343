"""Presence channels: users, not connections."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .hub_driver import Browser, Driver

SUCCEEDED = "pusher_internal:subscription_succeeded"
ADDED = "pusher_internal:member_added"
REMOVED = "pusher_internal:member_removed"
ROOM = "presence-room"


def join(driver: Driver, user_id: Any, **info: Any) -> Browser:
    browser = driver.browser()
    browser.subscribe(ROOM, {"user_id": user_id, **info})
    return browser


def test_subscriber_is_sent_the_members() -> None:
    driver = Driver()
    join(driver, "a", user_info={"name": "Ä"})
    browser = join(driver, 7)
    assert browser.got(SUCCEEDED)[0]["data"] == {
        "presence": {
            "ids": ["a", "7"],
            "hash": {"a": {"name": "Ä"}, "7": None},
            "count": 2,
        }
    }


def test_subscribers_are_told_of_members_that_come_and_go() -> None:
    driver = Driver()
    first = join(driver, "a")
    second = join(driver, "b", user_info={"name": "B"})
    second.leave()
    assert [m["data"] for m in first.got(ADDED)] == [
        {"user_id": "b", "user_info": {"name": "B"}}
    ]
    assert [m["data"] for m in first.got(REMOVED)] == [{"user_id": "b"}]
    assert not second.got(ADDED)
    assert driver.webhooks("member_added") == [
        {"name": "member_added", "channel": ROOM, "user_id": user} for user in ("a", "b")
    ]
    assert driver.webhooks("member_removed") == [
        {"name": "member_removed", "channel": ROOM, "user_id": "b"}
    ]


def test_a_user_with_two_connections_is_one_member() -> None:
    driver = Driver()
    watcher = join(driver, "w")
    one, two = join(driver, "a"), join(driver, "a")
    assert two.got(SUCCEEDED)[0]["data"]["presence"]["count"] == 2
    assert not one.got(ADDED)
    one.unsubscribe(ROOM)
    assert not watcher.got(REMOVED)
    two.unsubscribe(ROOM)
    assert len(watcher.got(ADDED)) == len(watcher.got(REMOVED)) == 1


def test_the_number_seven_and_the_text_seven_are_the_same_user() -> None:
    driver = Driver()
    join(driver, 7)
    assert join(driver, "7").got(SUCCEEDED)[0]["data"]["presence"]["count"] == 1


@pytest.mark.parametrize("user_id", [None, "", True, 1.5, [], {}])
def test_a_member_without_a_proper_id_is_refused(user_id: object) -> None:
    driver = Driver()
    browser = join(driver, user_id)
    assert browser.got("pusher:subscription_error")[0]["data"]["status"] == 401
    assert ROOM not in driver.state.channels


def test_a_presence_channel_needs_channel_data() -> None:
    driver = Driver()
    browser = driver.browser()
    browser.subscribe(ROOM)
    assert browser.got("pusher:subscription_error")


def test_client_event_on_a_presence_channel_has_the_user_id() -> None:
    driver = Driver()
    one, two = join(driver, "a"), join(driver, "b")
    one.send({"event": "client-hi", "channel": ROOM, "data": {"x": 1}})
    assert two.messages[-1] == {
        "event": "client-hi",
        "channel": ROOM,
        "data": '{"x":1}',
        "user_id": "a",
    }
    assert not one.got("client-hi")
    assert driver.webhooks("client_event")[0]["user_id"] == "a"


users = st.sampled_from(["a", "b", "c"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), users),
        st.tuples(st.just("unsubscribe"), st.integers(0, 5)),
        st.tuples(st.just("disconnect"), st.integers(0, 5)),
        st.tuples(st.just("again"), st.integers(0, 5)),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_members_are_added_and_removed_once_in_any_history(
    steps: list[tuple[str, Any]],
) -> None:
    driver = Driver()
    watcher = join(driver, "watcher")
    present: list[tuple[Browser, str]] = []
    expected: list[tuple[str, str]] = []
    for step, what in steps:
        if step == "join":
            if what not in [user for _, user in present]:
                expected.append((ADDED, what))
            present.append((join(driver, what), what))
        elif present:
            browser, user = present[what % len(present)]
            if step == "again":
                browser.subscribe(ROOM, {"user_id": user})
                continue
            present.remove((browser, user))
            if user not in [other for _, other in present]:
                expected.append((REMOVED, user))
            if step == "unsubscribe":
                browser.unsubscribe(ROOM)
            else:
                browser.leave()
    seen = [
        (m["event"], json.loads(m["data"])["user_id"])
        for m in watcher.messages
        if m["event"] in (ADDED, REMOVED)
    ]
    assert seen == expected
    channel = driver.state.channels[ROOM]
    assert Counter(channel.members.ids()) == Counter({"watcher", *(u for _, u in present)})
    assert len(channel.subscribers) == len(present) + 1
    told = [
        (event["name"], event["user_id"]) for event in driver.notified if "user_id" in event
    ]
    assert told[1:] == [
        (event.removeprefix("pusher_internal:"), user) for event, user in expected
    ]
