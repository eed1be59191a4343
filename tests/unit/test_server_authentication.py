"""Which calls of the HTTP API are authentic."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.credentials import KEY, SECRET
from txpusher._protocol import signing
from txpusher.server._core.endpoints import ApiCall, Endpoints

from .endpoints_client import EVENT, Client
from .hub_driver import WALL, Driver


@pytest.fixture
def client() -> Client:
    return Client()


def test_the_worked_example_of_the_documentation_is_authentic() -> None:
    client = Client()
    body = b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
    query = (
        "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0"
        "&body_md5=ec365a775a4cd0599faeb73354201b6f"
        "&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
    )
    call = ApiCall("POST", "/apps/3/events", query, body, 0.0, 1353088179.0)
    assert client.endpoints.answer(call)[0].status == 200


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"secret": "wrong"}, "signature"),
        ({"signed": {"auth_key": "other"}}, "auth_key"),
        ({"signed": {"auth_key": ""}}, "auth_key"),
        ({"signed": {"auth_version": "2.0"}}, "auth_version"),
        ({"signed": {"auth_signature": ""}}, "auth_signature"),
        ({"signed": {"auth_signature": "0" * 64}}, "signature"),
        ({"signed": {"auth_timestamp": ""}}, "auth_timestamp"),
        ({"signed": {"auth_timestamp": "now"}}, "auth_timestamp"),
        ({"signed": {"auth_timestamp": "9" * 400}}, "auth_timestamp"),
        ({"signed": {"auth_timestamp": str(int(WALL) + 1)}}, "signature"),
        ({"timestamp": WALL - 601}, "601 seconds behind"),
        ({"timestamp": WALL + 601}, "601 seconds ahead"),
        ({"signed": {"body_md5": "0" * 32}}, "body_md5"),
        ({"signed": {"another": "x"}}, "signature"),
    ],
)
def test_request_with_a_bad_signature_is_refused(
    client: Client, options: dict[str, Any], word: str
) -> None:
    reply = client.post("/events", EVENT, **options)
    assert reply.status == 401
    assert word in reply.body.decode()
    assert SECRET not in reply.body.decode()
    right = signing.signed_params(
        KEY, SECRET, "POST", "/apps/3/events", {}, json.dumps(EVENT).encode(), int(WALL)
    )
    assert right["auth_signature"] not in reply.body.decode()
    assert client.events == []


@pytest.mark.parametrize("offset", [-600, 600])
def test_the_clocks_may_differ_by_ten_minutes(client: Client, offset: int) -> None:
    assert client.post("/events", EVENT, timestamp=WALL + offset).status == 200


def test_request_without_parameters_is_refused_with_the_missing_parameter(
    client: Client,
) -> None:
    reply = client.send("POST", "/apps/3/events", "", json.dumps(EVENT).encode())
    assert reply.status == 401
    assert b"auth_key" in reply.body


def test_post_without_body_md5_is_refused(client: Client) -> None:
    params = signing.signed_params(KEY, SECRET, "POST", "/apps/3/events", {}, None, int(WALL))
    reply = client.send("POST", "/apps/3/events", urlencode(params), json.dumps(EVENT).encode())
    assert reply.status == 401
    assert b"body_md5 is missing" in reply.body


def test_get_with_the_md5_of_an_empty_body_is_accepted(client: Client) -> None:
    params = signing.signed_params(KEY, SECRET, "GET", "/apps/3/channels", {}, b"", int(WALL))
    assert params["body_md5"] == "d41d8cd98f00b204e9800998ecf8427e"
    assert client.send("GET", "/apps/3/channels", urlencode(params)).status == 200
    params = signing.signed_params(
        KEY, SECRET, "GET", "/apps/3/channels", {}, b"other", int(WALL)
    )
    assert client.send("GET", "/apps/3/channels", urlencode(params)).status == 401


def test_names_are_signed_in_lower_case(client: Client) -> None:
    params = signing.signed_params(
        KEY, SECRET, "GET", "/apps/3/channels", {"info": "subscription_count"}, None, int(WALL)
    )
    params["Info"] = params.pop("info")
    reply = client.send("GET", "/apps/3/channels", urlencode(params))
    assert json.loads(reply.body) == {"channels": {"a": {"subscription_count": 1}}}


def test_signature_covers_the_path_as_it_was_sent(client: Client) -> None:
    client.browser.subscribe("a=b")
    for path in ("/channels/a=b", "/channels/a%3Db", "/channels/a%3db"):
        assert client.get(path) == {"occupied": True}


def test_values_are_signed_unescaped(client: Client) -> None:
    assert client.get("/channels", filter_by_prefix="a b&ü=%41") == {"channels": {}}


def test_a_disabled_app_is_forbidden() -> None:
    client = Client.__new__(Client)
    client.driver = Driver(enabled=False)
    client.endpoints = Endpoints(client.driver.hub)
    assert client.post("/events", EVENT).status == 403
    assert client.post("/events", EVENT, secret="wrong").status == 401
