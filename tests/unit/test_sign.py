"""Signed URLs for other programs, and requests of any method."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

import txpusher
from tests.support.credentials import KEY, SECRET
from txpusher import BlockingPusher, Pusher
from txpusher._protocol.signing import body_md5, request_signature

from .helpers import body_of, make_api, misconfiguration, refusal

NOW = 1353088179
BODY = '{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'


def client(kind=Pusher, **options):
    return kind("3", KEY, SECRET, host="h", clock=lambda: NOW + 0.9, **options)


def query_of(url):
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


@pytest.mark.parametrize("kind", [Pusher, BlockingPusher])
@pytest.mark.parametrize("body", [BODY, BODY.encode()])
def test_documented_request_has_the_documented_signature(kind, body):
    url = client(kind).sign("POST", "/events", body=body)
    assert url == (
        f"https://h/apps/3/events?auth_key={KEY}&auth_timestamp={NOW}&auth_version=1.0"
        "&body_md5=ec365a775a4cd0599faeb73354201b6f&auth_signature="
        "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
    )


@pytest.mark.parametrize(
    ("options", "start", "signed"),
    [
        ({}, "https://h/apps/3/channels?", "/apps/3/channels"),
        ({"use_tls": False, "port": 80}, "http://h/apps/3/channels?", "/apps/3/channels"),
        ({"path_prefix": "/ws/"}, "https://h/ws/apps/3/channels?", "/apps/3/channels"),
        (
            {"path_prefix": "ws", "sign_path_prefix": True},
            "https://h/ws/apps/3/channels?",
            "/ws/apps/3/channels",
        ),
    ],
)
def test_url_is_whole_and_the_prefix_is_signed_where_the_setting_says_so(
    options, start, signed
):
    url = client(**options).sign("GET", "/channels")
    query = query_of(url)
    signature = query.pop("auth_signature")
    assert url.startswith(start)
    assert signature == request_signature(SECRET, "GET", signed, query)


def test_params_are_escaped_in_the_url_and_signed_as_they_are():
    params = {"filter_by_prefix": "presence-é &=+", "info": ["user_count", "b"], "x": None}
    query = query_of(client().sign("get", "/channels", params))
    assert query["filter_by_prefix"] == "presence-é &=+"
    assert query["info"] == "user_count,b"
    assert "x" not in query
    signature = query.pop("auth_signature")
    assert signature == request_signature(SECRET, "GET", "/apps/3/channels", query)


@pytest.mark.parametrize("body", [None, "", b""])
def test_request_without_a_body_has_no_digest_of_one(body):
    assert "body_md5" not in query_of(client().sign("POST", "/events", body=body))


@pytest.mark.parametrize("body", ["Zoë ☃", b"\xff\x00", " "])
def test_body_is_digested_exactly_as_it_will_be_sent(body):
    exact = body if isinstance(body, bytes) else body.encode()
    assert query_of(client().sign("PUT", "/x", body=body))["body_md5"] == body_md5(exact)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("GET", "channels"), "path must begin with /"),
        (("GET", "/../x"), "path must begin with /"),
        (("GE T", "/x"), "method must be an HTTP method"),
        (("", "/x"), "method must be an HTTP method"),
        ((None, "/x"), 'method must be an HTTP method such as "GET", not None'),
        ((7, "/x"), "not the int 7"),
        (("GET", "/x", {"auth_key": "x"}), "reserved for the signature"),
        (("GET", "/x", [("a", "b")]), "params must be a mapping"),
        (("POST", "/x", None, {"a": 1}), "body must be the exact str or bytes"),
        (("POST", "/x", None, "\ud800"), "the body has a lone surrogate"),
    ],
)
def test_request_that_cannot_be_is_refused(arguments, words):
    assert words in refusal(client().sign, *arguments)


@pytest.mark.parametrize("clock", [lambda: 1 / 0, lambda: "noon", lambda: None])
def test_clock_that_cannot_be_used_is_a_misconfiguration(clock):
    pusher = Pusher("3", KEY, SECRET, clock=clock)
    assert misconfiguration(pusher.sign, "GET", "/x").startswith("clock cannot be used: ")


def test_default_client_signs(monkeypatch):
    monkeypatch.setattr("txpusher._default._default", client())
    assert txpusher.sign("GET", "/channels") == client().sign("GET", "/channels")


class TestRequest:
    def test_mapping_is_sent_as_json(self):
        request = make_api().request("post", "/events", {"a": 1}, {"name": "é"})
        assert (request.method, request.path, request.params) == (
            "POST",
            "/apps/3/events",
            {"a": "1"},
        )
        assert request.body == '{"name":"é"}'.encode()

    @pytest.mark.parametrize("body", ["[1, 2]", b"[1, 2]"])
    def test_text_is_sent_exactly_as_it_is(self, body):
        assert make_api().request("PUT", "/x", None, body).body == b"[1, 2]"

    def test_post_without_a_body_sends_an_empty_object(self):
        assert body_of(make_api().request("POST", "/x")) == {}

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_other_method_without_a_body_has_none(self, method):
        assert make_api().request(method, "/x").body is None

    @pytest.mark.parametrize("body", [{}, {"a": 1}, "x", b""])
    def test_body_of_a_get_is_refused(self, body):
        assert refusal(make_api().request, "GET", "/x", None, body) == (
            "a GET has no body; params go into its query"
        )

    @pytest.mark.parametrize("body", [7, ["a"], bytearray(b"x"), object])
    def test_body_of_another_type_is_refused_with_it(self, body):
        message = refusal(make_api().request, "POST", "/x", None, body)
        assert message.startswith("body must be a mapping, a str or bytes, not the ")
        assert type(body).__name__ in message


@pytest.mark.parametrize("kind", [Pusher, BlockingPusher])
def test_client_is_no_container_of_channels(kind):
    pusher = client(kind)
    with pytest.raises(TypeError, match="not iterable"):
        list(pusher)
    with pytest.raises(TypeError):
        "a" in pusher  # noqa: B015
    assert pusher["a"].name == "a"
