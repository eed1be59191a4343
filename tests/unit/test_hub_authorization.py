"""Who may subscribe and as whom: signatures, presence by sign-in, and the words of refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.credentials import KEY, SECRET
from txpusher._protocol import signing

from .hub_driver import Browser, Driver

USER = {"id": "u7", "user_info": {"name": "Ann"}}
MEMBER = {"user_id": "u7", "user_info": {"name": "Ann"}}


def sign_in(browser: Browser, user: dict[str, Any]) -> None:
    user_data = json.dumps(user)
    auth = f"{KEY}:{signing.user_signature(SECRET, browser.socket_id, user_data)}"
    browser.send({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}})


def refusals(browser: Browser) -> list[str]:
    """The words of both messages with which a subscription is refused."""
    errors = [error["data"]["message"] for error in browser.got("pusher:error")]
    return errors + [
        error["data"]["error"] for error in browser.got("pusher:subscription_error")
    ]


class TestPresenceBySignIn:
    @pytest.mark.parametrize("room", ["presence-room", "presence-cache-room"])
    def test_signed_in_user_is_the_member(self, room: str) -> None:
        driver = Driver()
        watcher, browser = driver.browser(), driver.browser()
        watcher.subscribe(room, {"user_id": "watcher"})
        sign_in(browser, USER)
        browser.subscribe(room)
        (succeeded,) = browser.got("pusher_internal:subscription_succeeded")
        assert succeeded["data"]["presence"]["hash"]["u7"] == {"name": "Ann"}
        assert watcher.got("pusher_internal:member_added")[0]["data"] == MEMBER
        assert driver.webhooks("member_added")[1]["user_id"] == "u7"
        browser.send({"event": "client-hi", "channel": room, "data": {}})
        assert watcher.got("client-hi")[0]["user_id"] == "u7"

    def test_channel_data_wins_over_the_sign_in(self) -> None:
        browser = Driver().browser()
        sign_in(browser, USER)
        browser.subscribe("presence-room", {"user_id": "other"})
        (succeeded,) = browser.got("pusher_internal:subscription_succeeded")
        assert succeeded["data"]["presence"]["ids"] == ["other"]

    def test_connections_of_one_user_with_and_without_channel_data_are_one_member(self) -> None:
        driver = Driver()
        one, two = driver.browser(), driver.browser()
        sign_in(one, USER)
        one.subscribe("presence-room")
        two.subscribe("presence-room", MEMBER)
        assert len(driver.webhooks("member_added")) == 1
        (succeeded,) = two.got("pusher_internal:subscription_succeeded")
        assert succeeded["data"]["presence"]["count"] == 1

    def test_second_sign_in_of_the_user_replaces_the_first(self) -> None:
        browser = Driver().browser()
        sign_in(browser, USER)
        sign_in(browser, {"id": "u7", "user_info": {"name": "Zoë"}})
        browser.subscribe("presence-room")
        (succeeded,) = browser.got("pusher_internal:subscription_succeeded")
        assert succeeded["data"]["presence"]["hash"] == {"u7": {"name": "Zoë"}}

    def test_subscription_without_any_user_is_refused_in_words(self) -> None:
        driver = Driver()
        browser = driver.browser()
        browser.subscribe("presence-room")
        for words in refusals(browser):
            assert "has not signed in" in words
            assert "channel_data" in words
            assert "Expecting value" not in words
        assert len(refusals(browser)) == 2
        assert "presence-room" not in driver.state.channels


class TestWordsOfRefusals:
    @pytest.mark.parametrize(
        ("auth", "words"),
        [
            (None, "there is no auth"),
            ({"auth": "x"}, "must be a string"),
            ("nonsense", "no colon"),
            (f"other-key:{'0' * 64}", "not that of the app with id 3"),
        ],
    )
    def test_mistake_of_an_auth_is_named(self, auth: object, words: str) -> None:
        browser = Driver().browser()
        browser.send(
            {"event": "pusher:subscribe", "data": {"channel": "private-a", "auth": auth}}
        )
        assert all(words in refusal for refusal in refusals(browser))
        assert len(refusals(browser)) == 2

    @pytest.mark.parametrize("channel_data", [None, '{"user_id": "1"}'])
    def test_wrong_signature_is_told_with_the_text_to_sign(
        self, channel_data: str | None
    ) -> None:
        driver = Driver()
        browser = driver.browser()
        data = {"channel": "presence-a", "auth": f"{KEY}:{'0' * 64}"}
        if channel_data is not None:
            data["channel_data"] = channel_data
        browser.send({"event": "pusher:subscribe", "data": data})
        text = f"{browser.socket_id}:presence-a" + (f":{channel_data}" if channel_data else "")
        right = signing.channel_signature(SECRET, browser.socket_id, "presence-a", channel_data)
        for refusal in (*refusals(browser), driver.activities[-1].detail or ""):
            assert refusal.endswith(f"of {text}")
            assert SECRET not in refusal
            assert right not in refusal

    def test_refused_subscription_is_an_error_of_no_code_that_names_the_channel(self) -> None:
        browser = Driver().browser()
        browser.send({"event": "pusher:subscribe", "data": {"channel": "private-a"}})
        (error,) = browser.got("pusher:error")
        assert error["data"]["code"] is None
        assert error["channel"] == "private-a"
        assert "private-a" in error["data"]["message"]

    def test_wrong_signature_of_a_sign_in_is_told_with_the_text_to_sign(self) -> None:
        driver = Driver()
        browser = driver.browser()
        user_data = json.dumps(USER)
        data = {"auth": f"{KEY}:{'0' * 64}", "user_data": user_data}
        browser.send({"event": "pusher:signin", "data": data})
        (error,) = browser.got("pusher:error")
        assert error["data"]["code"] == 4009
        assert error["data"]["message"].endswith(f"of {browser.socket_id}::user::{user_data}")
        assert driver.activities[-2].detail == f"4009: {error['data']['message']}"
