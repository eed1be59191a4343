"""The limits of an app, such as those of the hosted service."""

from __future__ import annotations

from typing import Any

import pytest

from txpusher.errors import ConfigurationError
from txpusher.server import HOSTED_LIMITS, App, Limits, WebHookTarget

from .endpoints_client import EVENT, Client
from .hub_driver import WALL, Browser, Driver

SUCCEEDED = "pusher_internal:subscription_succeeded"
HOSTED = {"limits": HOSTED_LIMITS}


def errors(browser: Browser) -> list[dict[str, Any]]:
    return [message["data"] for message in browser.got("pusher:subscription_error")]


def test_presence_channel_of_the_hosted_service_has_100_members() -> None:
    driver = Driver(**HOSTED)
    members = [driver.browser() for _ in range(101)]
    for number, browser in enumerate(members):
        browser.subscribe("presence-a", {"user_id": number})
    assert all(browser.got(SUCCEEDED) for browser in members[:100])
    assert not members[100].got(SUCCEEDED)
    (error,) = errors(members[100])
    assert error == {
        "type": "LimitReached",
        "error": "the presence channel has 100 members already",
        "status": 400,
    }
    (error,) = [m["data"] for m in members[100].got("pusher:error")]
    assert error["code"] is None
    assert "100 members" in error["message"]
    # Neither a second connection of a member nor another channel is a member too many.
    second = driver.browser()
    second.subscribe("presence-a", {"user_id": 7})
    second.subscribe("presence-b", {"user_id": "new"})
    assert len(second.got(SUCCEEDED)) == 2
    members[0].leave()
    members[100].subscribe("presence-a", {"user_id": 100})
    assert members[100].got(SUCCEEDED)


@pytest.mark.parametrize(
    ("member", "fits"),
    [
        ({"user_id": "x" * 128}, True),
        ({"user_id": "x" * 129}, False),
        ({"user_id": 10**128}, False),
        ({"user_id": "1", "user_info": "x" * 1022}, True),
        ({"user_id": "1", "user_info": "x" * 1023}, False),
        ({"user_id": "1", "user_info": "ü" * 511}, True),
        ({"user_id": "1", "user_info": "ü" * 512}, False),
        ({"user_id": "1", "user_info": {"name": "x" * 1014}}, False),
    ],
)
@pytest.mark.parametrize("by_sign_in", [False, True])
def test_member_of_the_hosted_service_is_bounded(
    member: dict[str, Any], fits: bool, by_sign_in: bool
) -> None:
    driver = Driver(**HOSTED)
    browser = driver.browser()
    if by_sign_in:
        fields = {"user_info": member["user_info"]} if "user_info" in member else {}
        browser.sign_in(str(member["user_id"]), **fields)
        browser.subscribe("presence-a")
    else:
        browser.subscribe("presence-a", member)
    assert bool(browser.got(SUCCEEDED)) is fits
    assert len(errors(browser)) == (not fits)
    unlimited = Driver().browser()
    unlimited.subscribe("presence-a", member)
    assert unlimited.got(SUCCEEDED)


def test_channel_of_the_hosted_service_has_a_name_of_164() -> None:
    client = Client(**HOSTED)
    fits, too_long = "x" * 164, "x" * 165
    for name in (fits, too_long):
        client.browser.subscribe(name)
    assert [m["channel"] for m in client.browser.got(SUCCEEDED)] == ["a", fits]
    assert errors(client.browser)[0]["type"] == "InvalidChannelName"
    batch = [{"name": "e", "channel": fits, "data": ""}]
    assert client.post("/events", {**EVENT, "channels": [fits]}).status == 200
    assert client.post("/batch_events", {"batch": batch}).status == 200
    refused = client.post("/events", {**EVENT, "channels": ["a", too_long]})
    assert refused.status == 400
    assert b"164 characters, not 165" in refused.body
    batch[0]["channel"] = too_long
    assert client.post("/batch_events", {"batch": batch}).status == 400
    # The name of a user's channel is not counted with its beginning.
    user = f"#server-to-user-{'x' * 160}"
    assert client.post("/events", {**EVENT, "channels": [user]}).status == 200
    client.browser.sign_in("x" * 160)
    client.browser.subscribe(user)
    assert client.browser.got(SUCCEEDED)[-1]["channel"] == user
    assert Client().post("/events", {**EVENT, "channels": [too_long]}).status == 200


@pytest.mark.parametrize(
    ("limits", "most"), [(None, 10_240), (HOSTED_LIMITS, 10_240), (Limits(payload_bytes=5), 5)]
)
def test_payload_is_bounded(limits: Limits | None, most: int) -> None:
    client = Client(limits=limits)
    assert client.post("/events", {**EVENT, "data": "x" * most}).status == 200
    refused = client.post("/events", {**EVENT, "data": "x" * (most + 1)})
    assert refused.status == 413
    assert f"{most} bytes".encode() in refused.body


def test_payload_without_a_limit_is_as_large_as_a_request() -> None:
    client = Client(limits=Limits(payload_bytes=None))
    assert client.post("/events", {**EVENT, "data": "x" * 100_000}).status == 200


def test_client_events_without_a_limit_come_at_any_rate() -> None:
    driver = Driver(limits=Limits(client_events_per_second=None))
    browser = driver.browser()
    browser.subscribe("private-a")
    for _ in range(100):
        browser.send({"event": "client-x", "channel": "private-a", "data": ""})
    assert not browser.got("pusher:error")


# Messages


def test_events_of_a_second_are_counted_by_channel_and_refused_with_429() -> None:
    client = Client(limits=Limits(messages_per_second=3))
    assert client.post("/events", {**EVENT, "channels": ["a", "b"]}).status == 200
    refused = client.post("/events", {**EVENT, "channels": ["a", "b"]})
    assert refused.status == 429
    assert refused.headers == {"Retry-After": "1"}
    assert client.post("/events", EVENT).status == 200
    assert client.post("/events", EVENT).status == 429
    client.driver.now += 1
    batch = [{"name": "e", "channel": "a", "data": ""}] * 3
    assert client.post("/batch_events", {"batch": batch}).status == 200
    assert len(client.events) == 5


KEYED = {"name": "e", "channel": "a", "data": "d", "idempotency_key": "k"}


def day(most: int, **app: Any) -> Client:
    """A client of an app with so many messages a day, none of them used up."""
    return Client(limits=Limits(messages_per_day=most), webhooks=[], **app)


def left(client: Client, most: int) -> int:
    """How many messages of the day are left, by using them up."""
    events = 0
    while client.post("/events", {**EVENT, "channels": ["nobody"]}).status == 200:
        events += 1
        assert events <= most
    return events


def test_delivery_to_each_subscriber_counts() -> None:
    client = day(10)
    client.driver.browser().subscribe("a")
    assert client.post("/events", EVENT).status == 200
    assert left(client, 10) == 10 - (1 + 2)


def test_copy_of_an_event_is_answered_though_the_day_is_used_up() -> None:
    client = day(1)
    for path, body in (("/events", EVENT), ("/batch_events", {"batch": [KEYED]})):
        for _ in range(2):
            assert client.post(path, body, key="k").status == 200
    assert client.post("/events", EVENT, key="l").status == 403
    assert len(client.events) == 1


def test_query_counts_and_is_never_refused() -> None:
    client = day(10)
    for _ in range(12):
        assert client.call("GET", "/apps/3/channels").status == 200
    assert client.post("/events", EVENT).status == 403


def test_attribute_that_is_asked_for_counts_as_a_message() -> None:
    client = day(10)
    asking = {**EVENT, "channels": ["b", "c"], "info": "subscription_count"}
    assert client.post("/events", asking).status == 200
    assert left(client, 10) == 10 - 4


def test_client_event_counts_with_its_deliveries() -> None:
    client = day(10)
    others = [client.driver.browser() for _ in range(3)]
    for browser in (client.browser, *others):
        browser.subscribe("private-a")
    client.browser.send({"event": "client-x", "channel": "private-a", "data": ""})
    assert left(client, 10) == 10 - (1 + 3)
    client.browser.send({"event": "client-x", "channel": "private-a", "data": ""})
    assert client.browser.got("pusher:error")[-1]["data"]["code"] == 4301
    assert "over its quota" in client.browser.got("pusher:error")[-1]["data"]["message"]


def test_member_who_comes_and_goes_counts_for_each_who_is_told() -> None:
    client = day(10)
    for user_id in ("1", "2"):
        client.driver.browser().subscribe("presence-a", {"user_id": user_id})
    member = client.driver.browser()
    member.subscribe("presence-a", {"user_id": "3"})
    member.leave()
    # One is told of the second, two of the third, twice.
    assert left(client, 10) == 10 - (1 + 2 + 2)


def test_webhook_counts_where_its_url_wants_it() -> None:
    client = Client(
        limits=Limits(messages_per_day=10), webhooks=["http://localhost/"], webhook_grace=0
    )
    # Occupied and a count at first; then a second count.
    client.driver.browser().subscribe("a")
    assert left(client, 10) == 10 - 3


def test_webhook_of_a_client_event_counts_where_its_url_wants_it() -> None:
    targets = [
        WebHookTarget("http://a", events=["client_event"]),
        WebHookTarget("http://b", events=["client_event"], channel_prefix="private-a"),
        WebHookTarget("http://c", events=["cache_miss"]),
    ]
    client = Client(limits=Limits(messages_per_day=10), webhooks=targets)
    client.browser.subscribe("private-a")
    client.browser.send({"event": "client-x", "channel": "private-a", "data": ""})
    assert left(client, 10) == 10 - (1 + 2)


def test_termination_of_a_user_counts_as_a_call() -> None:
    client = day(10)
    assert client.post("/users/u/terminate_connections", {}).status == 200
    assert left(client, 10) == 10 - 1


def test_ping_subscription_and_error_do_not_count() -> None:
    client = day(10)
    client.browser.send({"event": "pusher:ping", "data": {}})
    client.browser.send("nonsense")
    client.browser.subscribe("b")
    client.browser.sign_in("u")
    assert left(client, 10) == 10


def test_quota_begins_anew_at_midnight_in_utc() -> None:
    client = day(1)
    assert client.post("/events", EVENT).status == 200
    refused = client.post("/events", EVENT)
    assert refused.status == 403
    assert b"over its quota of 1 messages a day" in refused.body
    until_midnight = 86_400 - WALL % 86_400
    client.driver.now += until_midnight - 1
    assert client.post("/events", EVENT).status == 403
    client.driver.now += 1
    assert client.post("/events", EVENT).status == 200


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", True])
def test_limit_must_be_a_whole_number(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"limits\.presence_members"):
        Limits(presence_members=value)


@pytest.mark.parametrize("value", ["hosted", 7, {}])
def test_limits_must_be_limits(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="limits must be a Limits"):
        App("1", "k", "s", limits=value)
