"""The HTTP API as values: paths, what can be read, and whatever else may come."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txpusher.server import _limits as limits

from .endpoints_client import EVENT, Client


@pytest.fixture
def client() -> Client:
    return Client()


# Paths


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/apps",
        "/apps/3",
        "/apps/3/",
        "/apps/3/nonsense",
        "/apps/3/events/",
        "/apps/3/channels/a/nonsense",
        "/apps/3/channels/a/users/b",
        "/apps/3/users/u",
        "/apps/3/../3/events",
        "/apps/3/%2e%2e/events",
        "//apps/3/events",
        "/other/3/events",
        "/apps/4/events",
        "/apps/%33%34/events",
    ],
)
def test_unknown_paths_and_apps_are_not_found(client: Client, path: str) -> None:
    assert client.call("POST", path, EVENT).status == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/apps/3/events", "POST"),
        ("PUT", "/apps/3/events", "POST"),
        ("HEAD", "/apps/3/batch_events", "POST"),
        ("POST", "/apps/3/channels", "GET"),
        ("DELETE", "/apps/3/channels/a", "GET"),
        ("POST", "/apps/3/channels/a/users", "GET"),
        ("GET", "/apps/3/users/u/terminate_connections", "POST"),
    ],
)
def test_wrong_method_is_refused(client: Client, method: str, path: str, allow: str) -> None:
    reply = client.call(method, path)
    assert (reply.status, reply.headers) == (405, {"Allow": allow})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/up"])
def test_health_check_needs_no_signature_and_is_no_refusal(
    client: Client, method: str, path: str
) -> None:
    before = list(client.driver.activities)
    assert client.send(method, path, "").status == 200
    assert client.driver.activities == before
    assert client.send("POST", path, "").status == 404


def test_websocket_path_without_upgrade_is_426_and_blames_the_proxy(client: Client) -> None:
    response = client.send("GET", "/app/key", "protocol=7")
    assert (response.status, response.headers) == (426, {"Upgrade": "websocket"})
    assert b"proxy" in response.body
    assert client.driver.activities[-1].kind == "refused"
    assert "GET /app/key: 426" in (client.driver.activities[-1].detail or "")


@pytest.mark.parametrize(
    ("path", "app_id"),
    [
        ("/apps/3/channels", "3"),
        ("/apps/%33/channels/%ff", "3"),
        ("/apps/3/nonsense", "3"),
        ("/apps/3", "3"),
        ("/apps/4/channels", ""),
        ("/apps", ""),
        ("/other/3/channels", ""),
    ],
)
def test_observer_is_told_the_app_of_a_refused_request(
    client: Client, path: str, app_id: str
) -> None:
    reply = client.send("GET", path, "auth_key=x")
    activity = client.driver.activities[-1]
    assert (activity.kind, activity.app_id) == ("refused", app_id)
    assert activity.detail is not None
    assert activity.detail.startswith(f"GET {path}: {reply.status} ")
    assert "\n" not in activity.detail


def test_a_path_or_query_that_is_no_utf8_is_refused(client: Client) -> None:
    assert client.send("GET", "/apps/3/channels/%ff", "").status == 400
    assert client.send("GET", "/apps/3/channels", "a=%ff").status == 400
    assert client.send("GET", "/apps/3/channels", "a=1&" * 101).status == 400


# Reading


def test_occupied_channels_are_listed(client: Client) -> None:
    client.browser.subscribe("presence-p", {"user_id": "1"})
    client.browser.sign_in("u")
    data = {"channel": "#server-to-user-u", "auth": ""}
    client.browser.send({"event": "pusher:subscribe", "data": data})
    assert client.get("/channels") == {"channels": {"a": {}, "presence-p": {}}}
    assert client.get("/channels", filter_by_prefix="presence-") == {
        "channels": {"presence-p": {}}
    }
    assert client.get(
        "/channels", filter_by_prefix="presence-p", info="user_count,subscription_count"
    ) == {"channels": {"presence-p": {"user_count": 1, "subscription_count": 1}}}
    assert client.get("/channels", info="subscription_count") == {
        "channels": {
            "a": {"subscription_count": 1},
            "presence-p": {"subscription_count": 1},
        }
    }


def test_a_channel_tells_of_itself(client: Client) -> None:
    for user in ("1", "1", "2"):
        client.driver.browser().subscribe("presence-p", {"user_id": user})
    assert client.get("/channels/a") == {"occupied": True}
    assert client.get("/channels/b", info="subscription_count") == {
        "occupied": False,
        "subscription_count": 0,
    }
    assert client.get("/channels/presence-p", info="user_count,subscription_count") == {
        "occupied": True,
        "user_count": 2,
        "subscription_count": 3,
    }
    assert client.get("/channels/presence-q", info="user_count") == {
        "occupied": False,
        "user_count": 0,
    }


def test_cache_channel_query_has_the_last_event(client: Client) -> None:
    assert client.get("/channels/cache-a", info="cache") == {"occupied": False}
    client.post("/events", {**EVENT, "channels": ["cache-a"]})
    client.driver.now += 60
    assert client.get("/channels/cache-a", info="cache") == {
        "occupied": False,
        "cache": {"data": "d", "ttl": 29 * 60},
    }


def test_the_users_of_a_presence_channel_are_listed(client: Client) -> None:
    for user in (1, "1", "ü", "\ud800"):
        client.driver.browser().subscribe("presence-p", {"user_id": user})
    assert client.get("/channels/presence-p/users") == {
        "users": [{"id": "1"}, {"id": "ü"}, {"id": "\ud800"}]
    }
    assert client.get("/channels/presence-q/users") == {"users": []}


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/channels/a/users", {}),
        ("/channels/a b", {}),
        ("/channels/", {}),
        ("/channels/a", {"info": "user_count"}),
        ("/channels/a", {"info": "cache"}),
        ("/channels/a", {"info": "nonsense"}),
        ("/channels", {"info": "user_count"}),
        ("/channels", {"info": "user_count", "filter_by_prefix": "p"}),
        ("/channels", {"info": "cache"}),
    ],
)
def test_query_for_an_unknown_attribute_is_refused(
    client: Client, path: str, params: dict[str, str]
) -> None:
    assert client.call("GET", f"/apps/3{path}", **params).status == 400


def test_a_users_connections_are_ended(client: Client) -> None:
    client.browser.sign_in("a/b ü")
    reply = client.post("/users/a%2Fb%20%C3%BC/terminate_connections", {})
    assert (reply.status, reply.body) == (200, b"{}")
    assert client.browser.closed is not None
    assert client.browser.closed[0] == 4009


def test_a_user_needs_an_id(client: Client) -> None:
    assert client.post("/users//terminate_connections", {}).status == 400
    assert client.post(f"/users/{'x' * 201}/terminate_connections", {}).status == 400


# Anything


@given(
    st.sampled_from(["GET", "POST", "x"]),
    st.text(max_size=30),
    st.text(max_size=30),
    st.binary(max_size=30),
)
def test_arbitrary_request_never_raises_in_the_endpoints(
    method: str, path: str, query: str, body: bytes
) -> None:
    client = Client()
    for prefix in ("", "/apps/3/", "/apps/3/channels/"):
        reply = client.send(method, prefix + path, query, body)
        assert reply.status in (400, 401, 404, 405)


@given(
    st.binary(max_size=40)
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["name", "channels", "channel", "data", "info", "batch"]), x
            )
        ),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode())
)
def test_arbitrary_authentic_body_never_raises_in_the_endpoints(body: bytes) -> None:
    client = Client()
    for path in ("/events", "/batch_events"):
        assert client.post(path, body).status in (200, 400)


def test_the_number_of_parameters_is_bounded() -> None:
    assert limits.QUERY_PARAMETERS <= 100
