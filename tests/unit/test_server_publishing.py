"""Publishing over the HTTP API, as values: events, batches, idempotency keys."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.credentials import SECRET
from txpusher._protocol import signing
from txpusher.server import App
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
