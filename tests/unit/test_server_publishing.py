"""Publishing over the HTTP API, as values: events, batches, idempotency keys."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.credentials import SECRET
from txpusher._protocol import signing
from txpusher.server import App, Limits
from txpusher.server._core.cache import ExpiringCache
from txpusher.server._core.endpoints import ApiCall, Endpoints, Response
from txpusher.server._core.hub import Hub

from .endpoints_client import EVENT, Client
from .hub_driver import WALL


@pytest.fixture
def client() -> Client:
    return Client()


def test_an_event_is_published(client: Client) -> None:
    reply = client.post("/events", EVENT)
    assert (reply.status, reply.body) == (200, b"{}")
    assert reply.content_type == b"application/json"
    assert client.events == ["d"]


def test_a_single_channel_will_do(client: Client) -> None:
    assert client.post("/events", {"name": "e", "channel": "a", "data": "d"}).status == 200
    assert client.events == ["d"]


def test_a_channel_named_twice_gets_one_event(client: Client) -> None:
    client.post("/events", {**EVENT, "channels": ["a", "a"]})
    assert client.events == ["d"]


def test_the_sender_may_be_left_out(client: Client) -> None:
    client.post("/events", {**EVENT, "socket_id": client.browser.socket_id})
    assert client.events == []


def test_socket_id_of_an_event_may_be_null(client: Client) -> None:
    assert client.post("/events", {**EVENT, "socket_id": None, "info": None}).status == 200


def test_an_event_may_ask_for_attributes(client: Client) -> None:
    client.browser.subscribe("presence-p", {"user_id": "1"})
    body = {**EVENT, "channels": ["a", "b"], "info": "subscription_count"}
    assert json.loads(client.post("/events", body).body) == {
        "channels": {"a": {"subscription_count": 1}, "b": {"subscription_count": 0}}
    }
    body = {
        **EVENT,
        "channels": ["presence-p", "presence-q"],
        "info": "subscription_count, user_count",
    }
    assert json.loads(client.post("/events", body).body) == {
        "channels": {
            "presence-p": {"subscription_count": 1, "user_count": 1},
            "presence-q": {"subscription_count": 0, "user_count": 0},
        }
    }


def test_a_batch_is_published_in_order(client: Client) -> None:
    batch = [{"name": "e", "channel": "a", "data": str(n)} for n in range(10)]
    reply = client.post("/batch_events", {"batch": batch})
    assert (reply.status, reply.body) == (200, b"{}")
    assert client.events == [str(n) for n in range(10)]


def test_each_event_of_a_batch_may_ask_for_attributes(client: Client) -> None:
    batch = [
        {"name": "e", "channel": "a", "data": "1"},
        {"name": "e", "channel": "presence-b", "data": "2", "info": "user_count"},
    ]
    reply = client.post("/batch_events", {"batch": batch})
    assert json.loads(reply.body) == {"batch": [{}, {"user_count": 0}]}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"name": None}, 400),
        ({"name": ""}, 400),
        ({"name": 7}, 400),
        ({"name": "x" * 201}, 400),
        ({"name": "\ud800"}, 400),
        ({"data": None}, 400),
        ({"data": {"a": 1}}, 400),
        ({"data": "\ud800"}, 400),
        ({"data": "x" * 10_241}, 413),
        ({"data": "ü" * 5_121}, 413),
        ({"channels": []}, 400),
        ({"channels": "a"}, 400),
        ({"channels": {"a": 1}}, 400),
        ({"channels": [7]}, 400),
        ({"channels": ["a b"]}, 400),
        ({"channels": ["x" * 201]}, 400),
        ({"channels": [f"c{n}" for n in range(101)]}, 400),
        ({"channels": None}, 400),
        ({"channels": None, "channel": ["a"]}, 400),
        ({"channels": ["private-encrypted-a", "a"]}, 400),
        ({"channels": ["#server-to-user-"]}, 400),
        ({"socket_id": "1"}, 400),
        ({"socket_id": 1.5}, 400),
        ({"socket_id": "1.1\n"}, 400),
        ({"info": 7}, 400),
        ({"info": "cache"}, 400),
        ({"info": "user_count"}, 400),
        ({"info": "user_count", "channels": ["presence-p", "a"]}, 400),
        ({"info": "nonsense"}, 400),
    ],
)
def test_an_event_that_breaks_a_rule_is_refused(
    client: Client, change: dict[str, Any], status: int
) -> None:
    reply = client.post("/events", {**EVENT, **change})
    assert reply.status == status
    assert reply.content_type.startswith(b"text/plain")
    assert len(reply.body) < 300
    assert client.events == []
    event = {"name": "e", "channel": "a", "data": "d"}
    if "channels" not in change:
        reply = client.post("/batch_events", {"batch": [event, {**event, **change}]})
        assert reply.status == status
        assert client.events == []


@pytest.mark.parametrize(
    "change",
    [
        {"data": "x" * 10_240},
        {"data": "ü" * 5_120},
        {"data": ""},
        {"name": "x" * 200},
        {"channels": [f"c{n}" for n in range(100)]},
        {"channels": ["x" * 200]},
        {"channels": ["#server-to-user-ü/?"]},
        {"info": ""},
    ],
)
def test_the_limits_themselves_are_allowed(client: Client, change: dict[str, Any]) -> None:
    assert client.post("/events", {**EVENT, **change}).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"batch": []},
        {"batch": {}},
        {"batch": None},
        {"batch": [{"name": "e", "channel": "a", "data": "d"}] * 11},
        {"batch": [[]]},
        {"batch": ["e"]},
        {"batch": [{"name": "e", "data": "d"}]},
        {"batch": [{"name": "e", "channel": "a", "data": "d"}, {}]},
    ],
)
def test_a_batch_that_breaks_a_rule_is_refused_whole(client: Client, body: Any) -> None:
    assert client.post("/batch_events", body).status == 400
    assert client.events == []


@pytest.mark.parametrize(
    "body", [b"nonsense", b"[]", b"7", b"\xff", b'{"name":NaN}', b"[" * 100_000, b'"x"']
)
@pytest.mark.parametrize("path", ["/events", "/batch_events"])
def test_a_body_that_is_no_json_object_is_refused(
    client: Client, path: str, body: bytes
) -> None:
    assert client.post(path, body).status == 400


def test_a_post_without_a_body_is_refused(client: Client) -> None:
    assert client.post("/events", b"").status == 400


# Idempotency keys


def test_a_repeated_key_gets_the_first_reply_and_is_not_delivered_again(client: Client) -> None:
    body = {**EVENT, "info": "subscription_count"}
    first = client.post("/events", body, key="k1")
    client.driver.browser().subscribe("a")
    client.driver.pass_time(119)
    assert client.post("/events", body, key="k1") == first
    assert client.events == ["d"]
    client.driver.pass_time(1)
    assert client.post("/events", body, key="k1") != first
    assert client.events == ["d", "d"]


def test_events_with_another_idempotency_key_or_none_are_delivered(client: Client) -> None:
    for key in ("k1", "k2", None, None):
        client.post("/events", EVENT, key=key)
    assert len(client.events) == 4


def test_a_refused_request_may_be_repeated_with_its_key(client: Client) -> None:
    assert client.post("/events", {**EVENT, "data": None}, key="k").status == 400
    assert client.post("/events", EVENT, key="k").status == 200
    assert client.events == ["d"]


def test_a_repeated_key_must_be_authentic(client: Client) -> None:
    client.post("/events", EVENT, key="k")
    assert client.post("/events", EVENT, key="k", secret="wrong").status == 401


def test_query_with_a_repeated_idempotency_key_is_answered_anew(client: Client) -> None:
    def count() -> Any:
        reply = client.call("GET", "/apps/3/channels/a", key="k", info="subscription_count")
        return json.loads(reply.body)["subscription_count"]

    assert count() == 1
    client.driver.browser().subscribe("a")
    assert count() == 2


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_a_length(client: Client, key: str) -> None:
    assert client.post("/events", EVENT, key=key).status == 400


EVENT_OF_BATCH = {"name": "e", "channel": "a", "data": "d"}
KEYED = {**EVENT_OF_BATCH, "idempotency_key": "k"}


def test_event_of_a_batch_is_not_published_again_with_its_key(client: Client) -> None:
    asking = {**KEYED, "info": "subscription_count"}
    first = client.post("/batch_events", {"batch": [asking]})
    client.driver.browser().subscribe("a")
    other = {**EVENT_OF_BATCH, "data": "other"}
    again = client.post("/batch_events", {"batch": [other, {**asking, "data": "anew"}]})
    assert client.events == ["d", "other"]
    assert json.loads(first.body) == {"batch": [{"subscription_count": 1}]}
    assert json.loads(again.body) == {"batch": [{}, {"subscription_count": 1}]}
    client.driver.pass_time(120)
    client.post("/batch_events", {"batch": [KEYED]})
    assert client.events == ["d", "other", "d"]


def test_events_of_one_batch_with_the_same_key_are_published_once(client: Client) -> None:
    batch = [KEYED, {**KEYED, "data": "second"}]
    assert client.post("/batch_events", {"batch": batch}).status == 200
    assert client.events == ["d"]


def test_event_of_a_batch_is_a_copy_of_the_single_event_with_its_key(client: Client) -> None:
    client.post("/events", EVENT, key="k")
    client.post("/batch_events", {"batch": [KEYED]})
    client.post("/batch_events", {"batch": [{**KEYED, "idempotency_key": "l"}]})
    client.post("/events", EVENT, key="l")
    assert client.events == ["d", "d"]


def test_key_of_an_event_swallows_no_other_operation(client: Client) -> None:
    client.browser.sign_in("u")
    client.post("/events", EVENT, key="k")
    client.post("/events", {**EVENT, "channels": ["a", "b"]}, key="k")
    client.post("/events", {**EVENT, "channels": ["b", "a"]}, key="k")
    client.post("/batch_events", {"batch": [{**KEYED, "idempotency_key": "l"}]}, key="k")
    assert client.events == ["d"] * 3
    client.post("/events", {**EVENT, "name": "other"}, key="k")
    assert client.browser.messages[-1]["event"] == "other"
    client.browser.subscribe("#server-to-user-u")
    client.post("/events", {**EVENT, "channels": ["#server-to-user-u"]}, key="k")
    assert client.browser.messages[-1]["channel"] == "#server-to-user-u"
    client.post("/users/u/terminate_connections", {}, key="k")
    assert client.browser.closed is not None


def test_copy_of_a_request_that_is_no_event_is_not_acted_on(client: Client) -> None:
    for _ in range(2):
        client.browser = client.driver.browser()
        client.browser.sign_in("u")
        client.post("/users/u/terminate_connections", {}, key="k")
    assert client.browser.closed is None
    client.browser.subscribe("a")
    for _ in range(2):
        client.post("/batch_events", {"batch": [EVENT_OF_BATCH]}, key="k")
    assert client.events == ["d"]


def test_copy_of_an_event_is_not_counted() -> None:
    client = Client(limits=Limits(messages_per_second=1))
    for _ in range(3):
        assert client.post("/batch_events", {"batch": [KEYED]}).status == 200
    assert client.post("/batch_events", {"batch": [EVENT_OF_BATCH]}).status == 429


def test_refused_batch_may_be_repeated_with_the_keys_of_its_events(client: Client) -> None:
    assert client.post("/batch_events", {"batch": [KEYED, {"name": "e"}]}).status == 400
    assert client.post("/batch_events", {"batch": [KEYED]}).status == 200
    assert client.events == ["d"]


@pytest.mark.parametrize("key", ["", "x" * 256, 7, ["k"], {"k": 1}, True])
def test_malformed_key_of_an_event_of_a_batch_is_refused(client: Client, key: Any) -> None:
    refused = client.post("/batch_events", {"batch": [{**KEYED, "idempotency_key": key}]})
    assert refused.status == 400
    assert b"idempotency_key must be a string of 1 to 255 characters, not " in refused.body
    assert client.driver.activities[-1].refusal == "idempotency_key"
    assert not client.events


def test_idempotency_keys_of_two_apps_are_distinct() -> None:
    hub = Hub([App("1", "k1", SECRET), App("2", "k2", SECRET)])
    endpoints = Endpoints(hub)
    body = json.dumps(EVENT).encode()
    for app_id in ("1", "2"):
        path = f"/apps/{app_id}/events"
        params = signing.signed_params(f"k{app_id}", SECRET, "POST", path, {}, body, int(WALL))
        call = ApiCall("POST", path, urlencode(params), body, 0.0, WALL, "same")
        reply, outputs = endpoints.answer(call)
        assert reply.status == 200
        assert outputs


def test_the_replies_that_are_kept_are_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies: ExpiringCache[Response] = ExpiringCache(120, 1000)
    monkeypatch.setattr(client.endpoints, "_replies", replies)
    for number in range(5):
        client.post("/events", EVENT, key=str(number))
    assert len(replies) == 3
    client.post("/events", EVENT, key="4")
    assert len(client.events) == 5
