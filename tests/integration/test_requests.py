"""Requests as they leave: the bytes on the wire, and the signature over them."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
import pytest_twisted

from tests.support.credentials import APP_ID, KEY, SECRET
from tests.support.misbehaving import OK, answering, reply
from tests.support.waiting import within
from txpusher import Event, Pusher, RetryPolicy, __version__

FAST = RetryPolicy(initial_delay=0.001)

OPERATIONS = {
    "trigger": lambda p: p.trigger(
        ["a", "b"], "e", {"x": "☃"}, socket_id="1.2", info="user_count"
    ),
    "trigger_batch": lambda p: p.trigger_batch([Event("a", "e", 1), Event("b", "e", "x")]),
    "send_to_user": lambda p: p.send_to_user("zoë/1?&=%", "e", "d"),
    "channels": lambda p: p.channels("presence-", info=["user_count", "subscription_count"]),
    "channel_info": lambda p: p.channel_info("a=b@c,d.e;f-g_h", info="cache"),
    "channel_users": lambda p: p.channel_users("presence-a"),
    "terminate": lambda p: p.terminate_user_connections("a b/ü?#%2F"),
    "get": lambda p: p.get("/channels", {"q": "a b&c=d+é☃/?#%", "Upper": 1}),
    "post": lambda p: p.post("/events", {"name": "☃"}),
    "post nothing": lambda p: p.post("/events"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest_twisted.ensureDeferred
async def test_signature_covers_the_request_as_sent(serve, connect, operation):
    server = serve(answering(OK))
    await within(OPERATIONS[operation](connect(server)))
    [request] = server.requests
    assert request.signature == request.expected_signature()
    params = request.params
    assert params["auth_key"] == KEY
    assert params["auth_version"] == "1.0"
    assert all(name == name.lower() for name in params)
    if request.method == "POST":
        assert params["body_md5"] == hashlib.md5(request.body).hexdigest()
        assert isinstance(json.loads(request.body), dict)
        assert request.headers["content-length"] == str(len(request.body))
    else:
        assert "body_md5" not in params
        assert request.body == b""
        assert "content-length" not in request.headers
        assert "transfer-encoding" not in request.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest_twisted.ensureDeferred
async def test_body_that_is_empty_is_announced(serve, connect, method):
    server = serve(answering(OK))
    await within(connect(server).request(method, "/channels", body=b""))
    [request] = server.requests
    assert (request.headers["content-length"], request.body) == ("0", b"")


@pytest_twisted.ensureDeferred
async def test_headers_have_user_agent_and_media_type(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server)
    await within(pusher.trigger("c", "e", "d"))
    await within(pusher.channels())
    for request in server.requests:
        assert request.headers["x-pusher-library"] == f"txpusher {__version__}"
        assert request.headers["user-agent"] == f"txpusher/{__version__}"
        expected = "application/json" if request.method == "POST" else None
        assert request.headers.get("content-type") == expected
        assert request.headers["host"] == f"127.0.0.1:{server.port}"
        assert "x-idempotency-key" not in request.headers
        assert "proxy-authorization" not in request.headers


@pytest_twisted.ensureDeferred
async def test_non_ascii_data_is_utf_8_on_the_wire(serve, connect):
    server = serve(answering(OK))
    await within(connect(server).trigger("c", "naïve", {"text": "☃ 𝄞"}))
    [body] = server.bodies
    assert json.loads(body) == {
        "name": "naïve",
        "channels": ["c"],
        "data": '{"text":"☃ 𝄞"}',
    }
    assert "☃ 𝄞".encode() in body


@pytest.mark.parametrize("prefix", ["/behind/a-proxy", "behind/a-proxy/", "//behind/a-proxy//"])
@pytest_twisted.ensureDeferred
async def test_a_path_prefix_is_sent_and_not_signed(serve, connect, prefix):
    server = serve(answering(reply(400, ""), OK))
    pusher = connect(server, path_prefix=prefix)
    await within(pusher.trigger("c", "e", "d").addErrback(_path_of, "/apps/3/events"))
    await within(pusher.channels())
    first, second = server.requests
    assert first.path == "/behind/a-proxy/apps/3/events"
    assert second.path == "/behind/a-proxy/apps/3/channels"
    for request in server.requests:
        assert request.signature == request.expected_signature("/behind/a-proxy")


def _path_of(failure, expected):
    assert failure.value.path == expected


@pytest.mark.parametrize(
    ("user_id", "segment"),
    [
        ("1", "1"),
        ("a/b", "a%2Fb"),
        ("a b", "a%20b"),
        ("a?b#c", "a%3Fb%23c"),
        ("100%", "100%25"),
        ("%2F", "%252F"),
        ("zoë", "zo%C3%AB"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("a@b:c!$&'()*+,=~", "a@b:c!$&'()*+,=~"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_user_id_is_one_segment_of_the_path(serve, connect, user_id, segment):
    server = serve(answering(OK))
    await within(connect(server).terminate_user_connections(user_id))
    [request] = server.requests
    assert request.path == f"/apps/3/users/{segment}/terminate_connections"
    assert request.signature == request.expected_signature()


@pytest_twisted.ensureDeferred
async def test_a_semicolon_at_the_end_of_a_path_survives(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server)
    await within(pusher.channel_info("a;b;"))
    await within(pusher.channel_info("a;"))
    await within(pusher.channel_users("presence-a;"))
    paths = [request.path for request in server.requests]
    assert [p.replace("%3B", ";") for p in paths] == [
        "/apps/3/channels/a;b;",
        "/apps/3/channels/a;",
        "/apps/3/channels/presence-a;/users",
    ]
    assert paths[0].endswith("%3B")
    assert paths[1].endswith("%3B")
    assert all(r.signature == r.expected_signature() for r in server.requests)


@pytest.mark.parametrize(
    ("app_id", "segment"), [("my-app", "my-app"), ("a/b", "a%2Fb"), ("ü", "%C3%BC")]
)
@pytest_twisted.ensureDeferred
async def test_an_app_id_is_one_segment_of_the_path(serve, connect, app_id, segment):
    server = serve(answering(OK))
    pusher = Pusher(app_id, KEY, SECRET, host="127.0.0.1", port=server.port, use_tls=False)
    try:
        await within(pusher.trigger("c", "e", "d"))
    finally:
        await pusher.close()
    [request] = server.requests
    assert request.path == f"/apps/{segment}/events"
    assert request.signature == request.expected_signature()


@pytest.mark.parametrize(
    "value", ["a b", "a+b", "a&b=c", "é☃", "%41", "/?#[]@!$'()*,;", '"<>\\^`{|}']
)
@pytest_twisted.ensureDeferred
async def test_a_param_is_escaped_on_the_wire_and_signed_as_it_is(serve, connect, value):
    server = serve(answering(OK))
    await within(connect(server).get("/channels", {"q": value}))
    [request] = server.requests
    assert request.params["q"] == value
    assert re.fullmatch(r"[A-Za-z0-9/?&=%._~-]+", request.target)
    assert "+" not in request.target
    assert request.signature == request.expected_signature()


@pytest_twisted.ensureDeferred
async def test_the_timestamp_is_of_the_clock_given(serve, connect):
    server = serve(answering(OK))
    await within(connect(server, clock=lambda: 1353088179.9).trigger("c", "e", "d"))
    assert server.requests[0].params["auth_timestamp"] == "1353088179"


@pytest_twisted.ensureDeferred
async def test_each_attempt_is_signed_when_it_is_sent(serve, connect):
    server = serve(answering(reply(429), reply(429), OK))
    ticks = iter(range(1000, 2000, 100))
    now = [0.0]

    def clock() -> float:
        now[0] = float(next(ticks))
        return now[0]

    await within(connect(server, clock=clock, retry=FAST).trigger("c", "e", "d"))
    stamps = [int(request.params["auth_timestamp"]) for request in server.requests]
    assert len(set(stamps)) == 3
    assert stamps == sorted(stamps)
    assert len({request.signature for request in server.requests}) == 3
    assert all(r.signature == r.expected_signature() for r in server.requests)
    assert len(set(server.bodies)) == 1


@pytest_twisted.ensureDeferred
async def test_queued_operation_is_signed_when_it_is_sent(serve, connect):
    now = [1000.0]

    async def slow(peer):
        while True:
            await peer.request()
            now[0] += 1000
            peer.send(OK)

    server = serve(slow)
    pusher = connect(server, max_connections=1, clock=lambda: now[0])
    operations = [pusher.trigger("c", "e", str(n)) for n in range(3)]
    for operation in operations:
        await within(operation)
    stamps = [request.params["auth_timestamp"] for request in server.requests]
    assert stamps == ["1000", "2000", "3000"]


@pytest_twisted.ensureDeferred
async def test_cookie_of_the_server_is_never_sent_back(serve, connect):
    server = serve(answering(reply(200, "{}", "Set-Cookie: sticky=1; Path=/")))
    pusher = connect(server)
    for _ in range(3):
        await within(pusher.trigger("c", "e", "d"))
    assert len(server.requests) == 3
    assert all("cookie" not in request.headers for request in server.requests)


@pytest_twisted.ensureDeferred
async def test_the_default_port_is_not_in_the_host_header(serve, connect):
    """Seen by a proxy: nothing else here can listen on port 80."""
    proxy = serve(answering(OK))
    pusher = connect(
        host="channels.example", port=80, http_proxy=f"http://127.0.0.1:{proxy.port}"
    )
    await within(pusher.trigger("c", "e", "d"))
    assert proxy.requests[0].headers["host"] == "channels.example"
    assert proxy.requests[0].target.startswith("http://channels.example/apps/3/events?")


@pytest_twisted.ensureDeferred
async def test_an_ipv6_host_is_reached_and_named_in_brackets(serve, connect):
    server = serve(answering(OK), listen=False)
    try:
        server.listen(interface="::1")
    except OSError:
        pytest.skip("there is no IPv6 loopback")
    await within(connect(server, host="::1").trigger("c", "e", "d"))
    assert server.requests[0].headers["host"] == f"[::1]:{server.port}"


@pytest_twisted.ensureDeferred
async def test_operations_of_an_app_reach_its_own_path(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server)
    await within(pusher.trigger_batch([{"channel": "c", "name": "e", "data": "d"}]))
    await within(pusher.channel("c").trigger("e", "d"))
    await within(pusher["c"].info())
    base = f"/apps/{APP_ID}"
    assert [(r.method, r.path) for r in server.requests] == [
        ("POST", f"{base}/batch_events"),
        ("POST", f"{base}/events"),
        ("GET", f"{base}/channels/c"),
    ]
    assert server.connections == 1
