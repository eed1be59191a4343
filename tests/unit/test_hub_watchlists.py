"""Watchlists: who is told when a user comes or goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .hub_driver import Browser, Driver


def told(browser: Browser) -> list[tuple[str, list[str]]]:
    """The watchlist events of a browser: the name of each, and its users."""
    messages = browser.got("pusher_internal:watchlist_events")
    assert all("channel" not in message for message in messages)
    return [
        (event["name"], event["user_ids"])
        for message in messages
        for event in message["data"]["events"]
    ]


def signed_in(driver: Driver, user_id: str, **fields: Any) -> Browser:
    browser = driver.browser()
    browser.sign_in(user_id, **fields)
    return browser


def test_watcher_is_told_at_once_who_is_online() -> None:
    driver = Driver()
    for user_id in ("a", "b", "stranger"):
        signed_in(driver, user_id)
    watcher = signed_in(driver, "w", watchlist=["b", "absent", "a", "b"])
    assert told(watcher) == [("online", ["b", "a"])]
    events = [message["event"] for message in watcher.messages]
    assert events.index("pusher:signin_success") < events.index(
        "pusher_internal:watchlist_events"
    )


def test_watcher_of_nobody_who_is_online_is_told_nothing() -> None:
    driver = Driver()
    assert told(signed_in(driver, "w", watchlist=["absent"])) == []
    assert told(signed_in(driver, "v", watchlist=[])) == []


def test_user_comes_and_goes_once_however_many_connections() -> None:
    driver = Driver()
    watcher = signed_in(driver, "w", watchlist=["a"])
    first, second = signed_in(driver, "a"), signed_in(driver, "a")
    assert told(watcher) == [("online", ["a"])]
    first.leave()
    assert told(watcher) == [("online", ["a"])]
    second.leave()
    assert told(watcher) == [("online", ["a"]), ("offline", ["a"])]


def test_every_connection_of_watcher_is_told() -> None:
    driver = Driver()
    watchers = [signed_in(driver, "w", watchlist=["a"]) for _ in range(2)]
    other = signed_in(driver, "v", watchlist=["b"])
    signed_in(driver, "a")
    assert [told(watcher) for watcher in watchers] == [[("online", ["a"])]] * 2
    assert told(other) == []


def test_user_whose_connections_are_terminated_goes_offline() -> None:
    driver = Driver()
    watcher = signed_in(driver, "w", watchlist=["a"])
    for _ in range(2):
        signed_in(driver, "a")
    driver.carry_out(driver.hub.terminate(driver.state, "a", driver.now))
    assert told(watcher) == [("online", ["a"]), ("offline", ["a"])]


def test_users_who_watch_each_other_are_told_of_each_other() -> None:
    driver = Driver()
    first = signed_in(driver, "a", watchlist=["b", "a"])
    second = signed_in(driver, "b", watchlist=["a"])
    assert told(first) == [("online", ["a"]), ("online", ["b"])]
    assert told(second) == [("online", ["a"])]
    first.leave()
    assert told(second)[-1] == ("offline", ["a"])


def test_second_sign_in_replaces_watchlist() -> None:
    driver = Driver()
    watcher = signed_in(driver, "w", watchlist=["a"])
    watcher.sign_in("w", watchlist=["b"])
    signed_in(driver, "a")
    signed_in(driver, "b")
    assert told(watcher) == [("online", ["b"])]


def test_watchlist_of_100_is_taken_and_one_of_101_is_4302() -> None:
    driver = Driver()
    signed_in(driver, "7")
    ids = [str(number) for number in range(101)]
    assert told(signed_in(driver, "w", watchlist=ids[:100])) == [("online", ["7"])]
    watcher = signed_in(driver, "v", watchlist=ids)
    (error,) = watcher.got("pusher:error")
    assert error["data"]["code"] == 4302
    signed_in(driver, "8")
    assert told(watcher) == []
    assert watcher.got("pusher:signin_success")
    assert watcher.closed is None


@pytest.mark.parametrize("watchlist", ["ab", {"a": 1}, [1], [None], [["a"]], 7, True])
def test_malformed_watchlist_is_refused_and_sign_in_holds(watchlist: Any) -> None:
    driver = Driver()
    watcher = signed_in(driver, "w", watchlist=watchlist)
    (error,) = watcher.got("pusher:error")
    assert error["data"]["code"] is None
    assert "array of user ids" in error["data"]["message"]
    assert watcher.got("pusher:signin_success")


user_ids = st.sampled_from(["a", "b", "c"])
steps = st.one_of(
    st.tuples(st.just("come"), user_ids, st.lists(user_ids, max_size=3)),
    st.tuples(st.just("go"), st.integers(0, 5), st.none()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=15))
def test_watcher_knows_who_is_online_after_any_comings_and_goings(sent: list[Any]) -> None:
    driver = Driver()
    watcher = signed_in(driver, "w", watchlist=["a", "b"])
    online: list[tuple[str, Browser]] = []
    for step, what, watchlist in sent:
        if step == "come":
            online.append((what, signed_in(driver, what, watchlist=watchlist)))
        elif what < len(online):
            online.pop(what)[1].leave()
    known: set[str] = set()
    for name, users in told(watcher):
        # Told of changes alone.
        assert (name == "online") == known.isdisjoint(users)
        known = known | set(users) if name == "online" else known - set(users)
    assert known == {user_id for user_id, _ in online if user_id != "c"}
    watcher.leave()
    for _, browser in online:
        browser.leave()
    assert not driver.state.users
    assert not driver.state.watchers
