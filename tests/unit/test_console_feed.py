"""What the console keeps, and what it shows of channels and connections."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.unit.hub_driver import Driver
from txpusher.server import Activity
from txpusher.server import _limits as limits
from txpusher.server._console.feed import Feed
from txpusher.server._core import overview
from txpusher.server._net.deliveries import Deliveries


def feed_of(count: int) -> Feed:
    feed = Feed(lambda: 12.3456)
    for number in range(count):
        feed(Activity("event", "3", None, "a", f"e{number}", "d"))
    return feed


def ids(entries: Any) -> list[int]:
    return [entry.id for entry in entries]


class TestFeed:
    def test_entry_has_every_field_and_the_time(self):
        (entry,) = feed_of(1).after(0)
        assert entry.fields() == {
            "id": 1,
            "time": 12.346,
            "kind": "event",
            "app": "3",
            "channel": "a",
            "event": "e0",
            "data": "d",
            "decrypted": None,
            "socket_id": None,
            "user_id": None,
            "detail": None,
            "refusal": None,
            "explanation": None,
            "headers": None,
        }

    @pytest.mark.parametrize(
        ("known", "newer"), [(0, [1, 2, 3]), (1, [2, 3]), (3, []), (99, []), (-5, [1, 2, 3])]
    )
    def test_entries_after_an_id_are_the_newer_ones(self, known, newer):
        assert ids(feed_of(3).after(known)) == newer

    def test_newest_thousand_entries_are_kept(self):
        feed = feed_of(2500)
        assert ids(feed.after(0)) == list(range(1501, 2501))
        assert ids(feed.after(1500))[0] == 1501
        assert ids(feed.after(2499)) == [2500]

    def test_cleared_feed_goes_on_with_the_next_id(self):
        feed = feed_of(3)
        feed.clear()
        assert ids(feed.after(0)) == []
        feed(Activity("event", "3"))
        assert ids(feed.after(0)) == [4]
        assert feed.cleared == 3

    def test_watchers_hear_of_entries_and_of_clearing(self):
        heard = []
        feed = feed_of(0)
        feed.watchers.add(lambda: heard.append(feed.last_id))
        feed(Activity("event", "3"))
        feed.clear()
        assert heard == [1, 1]

    def test_encrypted_channels_alone_are_opened(self):
        asked = []

        def open_sealed(*arguments: str) -> str:
            asked.append(arguments)
            return "clear"

        feed = Feed(lambda: 0.0, open_sealed)
        feed(Activity("event", "3", channel="private-encrypted-a", event="e", data="d"))
        feed(Activity("event", "3", channel="private-a", event="e", data="d"))
        feed(Activity("subscribed", "3", channel="private-encrypted-a"))
        assert [entry.decrypted for entry in feed.after(0)] == ["clear", None, None]
        assert asked == [("3", "private-encrypted-a", "d")]


class TestOverview:
    def test_channel_row_has_members_and_connections(self):
        driver = Driver()
        ada, visitor = driver.browser(), driver.browser()
        ada.subscribe("presence-room", {"user_id": "ada", "user_info": {"name": "Ada"}})
        visitor.subscribe("news")
        rows = overview.channels([driver.state], "")["rows"]
        assert rows == [
            {
                "app": "3",
                "name": "presence-room",
                "subscriptions": 1,
                "users": 1,
                "members": [{"id": "ada", "info": {"name": "Ada"}}],
                "connections": [ada.socket_id],
            },
            {
                "app": "3",
                "name": "news",
                "subscriptions": 1,
                "users": None,
                "members": None,
                "connections": [visitor.socket_id],
            },
        ]

    def test_connection_row_has_user_and_channels(self):
        driver = Driver()
        ada, visitor = driver.browser(), driver.browser()
        ada.sign_in("ada", user_info={"name": "Ada"})
        ada.subscribe("presence-room", {"user_id": "ada"})
        ada.subscribe("presence-other", {"user_id": "countess"})
        rows = overview.connections([driver.state], "")["rows"]
        assert rows[0] == {
            "app": "3",
            "socket_id": ada.socket_id,
            "user": {"id": "ada", "info": {"name": "Ada"}},
            "users": ["ada", "countess"],
            "channels": ["presence-room", "presence-other"],
            "channel_count": 2,
        }
        assert rows[1]["socket_id"] == visitor.socket_id
        assert (rows[1]["user"], rows[1]["users"], rows[1]["channels"]) == (None, [], [])

    def test_text_finds_channels_by_name_and_connections_by_what_they_have(self):
        driver = Driver()
        ada, visitor = driver.browser(), driver.browser()
        ada.subscribe("presence-room", {"user_id": "Ada"})
        visitor.subscribe("news")
        states = [driver.state]
        assert [row["name"] for row in overview.channels(states, "NEW")["rows"]] == ["news"]

        def found(text: str) -> list[str]:
            return [row["socket_id"] for row in overview.connections(states, text)["rows"]]

        assert found("ada") == [ada.socket_id]
        assert found("room") == [ada.socket_id]
        assert found(visitor.socket_id) == [visitor.socket_id]

    def test_long_lists_are_cut_and_counted(self, monkeypatch):
        monkeypatch.setattr(limits, "CONSOLE_ROWS", 2)
        monkeypatch.setattr(limits, "CONSOLE_MEMBERS", 1)
        driver = Driver()
        for number in range(3):
            browser = driver.browser()
            browser.subscribe("presence-room", {"user_id": str(number)})
            browser.subscribe(f"own-{number}")
        channels = overview.channels([driver.state], "")
        assert (channels["total"], len(channels["rows"])) == (4, 2)
        room = channels["rows"][0]
        assert (room["users"], len(room["members"]), len(room["connections"])) == (3, 1, 1)
        connections = overview.connections([driver.state], "")
        assert (connections["total"], len(connections["rows"])) == (3, 2)
        assert connections["rows"][0]["channels"] == ["presence-room"]
        assert connections["rows"][0]["channel_count"] == 2


class TestEndedConnection:
    def test_connection_that_is_ended_is_told_and_does_not_come_back(self):
        driver = Driver()
        one, other = driver.browser(), driver.browser()
        driver.carry_out(driver.hub.end_connection("3", one.socket_id, driver.now))
        assert one.closed is not None
        assert one.closed[0] == 4009
        assert other.closed is None
        assert list(driver.state.connections) == [other.socket_id]

    @pytest.mark.parametrize("app_id", ["3", "other"])
    def test_connection_that_is_gone_gives_no_output(self, app_id):
        driver = Driver()
        assert driver.hub.end_connection(app_id, "1.1", driver.now) == []


class TestDeliveries:
    def test_delivery_goes_from_sending_over_repeating_to_accepted(self):
        deliveries = Deliveries(9, lambda: 5.0)
        number = deliveries.add("3", "http://localhost/", "x a", b"{}", lambda: None)
        states = [deliveries.overview()[0]["state"]]
        for is_accepted, result in [(False, "status 500"), (True, "status 200")]:
            deliveries.attempted(number, is_accepted, result, 1.6)
            states.append(deliveries.overview()[0]["state"])
        assert states == ["sending", "repeating", "accepted"]
        assert deliveries.overview() == [
            {
                "id": 1,
                "app": "3",
                "url": "http://localhost/",
                "events": "x a",
                "body": "{}",
                "state": "accepted",
                "result": "status 200",
                "attempts": [
                    {"time": 5.0, "accepted": False, "result": "status 500", "milliseconds": 2},
                    {"time": 5.0, "accepted": True, "result": "status 200", "milliseconds": 2},
                ],
            }
        ]

    def test_delivery_that_is_given_up_has_failed(self):
        deliveries = Deliveries(9, lambda: 5.0)
        number = deliveries.add("3", "http://localhost/", "x a", b"{}", lambda: None)
        deliveries.attempted(number, False, "status 500", 1)
        deliveries.given_up(number)
        assert deliveries.overview()[0]["state"] == "failed"

    def test_newest_deliveries_alone_are_kept_and_repeated(self):
        repeated: list[int] = []
        deliveries = Deliveries(2, lambda: 5.0)
        for place in range(3):
            deliveries.add("3", "", "", b"", partial(repeated.append, place))
        assert [one["id"] for one in deliveries.overview()] == [3, 2]
        assert [deliveries.repeat(number) for number in (1, 2, 3, 4)] == [
            False,
            True,
            True,
            False,
        ]
        assert repeated == [1, 2]
        # What is kept no more may still be under way.
        deliveries.attempted(1, True, "status 200", 1)
        deliveries.given_up(1)
