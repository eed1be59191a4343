"""The server over real sockets: what well-behaved clients and servers do with it."""

from __future__ import annotations

import json

import pytest
import pytest_twisted

from tests.support.credentials import KEY, SECRET
from tests.support.observing import Log
from tests.support.raw_client import (
    PING,
    TEXT,
    Socket,
    close,
    connect_raw,
    frame,
    handshake,
    open_socket,
    signed,
)
from txpusher import Pusher
from txpusher._protocol import signing
from txpusher.server import Activity, App, ChannelsServer

pytest.importorskip("wsproto")


@pytest_twisted.ensureDeferred
async def test_an_event_goes_from_the_http_api_to_the_subscribers(
    server: ChannelsServer,
) -> None:
    pusher = Pusher.from_url(server.url("3"))
    sockets = [await open_socket(server.port) for _ in range(3)]
    for socket in sockets:
        socket.subscribe("private-a")
        await socket.wait("pusher_internal:subscription_succeeded")
    data = {"text": "ü" * 2000}
    await pusher.trigger("private-a", "e", data, socket_id=sockets[2].socket_id)
    for socket in sockets[:2]:
        (message,) = await socket.wait("e")
        assert json.loads(message["data"]) == data
    await pusher.trigger("private-a", "last", "")
    await sockets[2].wait("last")
    assert not sockets[2].got("e")
    assert await pusher.channel_info("private-a", info="subscription_count") == {
        "occupied": True,
        "subscription_count": 3,
    }
    await pusher.close()
    for socket in sockets:
        await close(socket)


@pytest_twisted.ensureDeferred
async def test_several_requests_share_a_connection(server: ChannelsServer) -> None:
    raw = await connect_raw(server.port)
    for _ in range(3):
        raw.write(signed("GET", "/apps/3/channels"))
        status, headers, body = await raw.response()
        assert (status, body) == (200, b'{"channels":{}}')
        assert "date" in headers
        assert headers["content-type"] == "application/json"
    raw.write(signed("GET", "/apps/3/channels") * 2)
    assert (await raw.response())[0] == (await raw.response())[0] == 200
    raw.transport.loseConnection()
    await raw.lost


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /other HTTP/1.1", 404),
        ("GET /apps/3/channels HTTP/1.1", 401),
        ("POST /apps/3/channels HTTP/1.1", 405),
        ("GET /apps/../../etc/passwd HTTP/1.1", 404),
        ("GET /apps/3/channels?a=\xff HTTP/1.1", 400),
        ("GET /app/key HTTP/1.1", 426),
        ("GET * HTTP/1.1", 405),
        ("OPTIONS * HTTP/1.1", 200),
    ],
)
@pytest_twisted.ensureDeferred
async def test_odd_request_line_is_answered_with_its_status(
    server: ChannelsServer, request_line: str, status: int
) -> None:
    raw = await connect_raw(server.port)
    raw.write(f"{request_line}\r\nHost: localhost\r\n\r\n".encode("latin-1"))
    got, headers, _ = await raw.response()
    assert got == status
    if status == 405 and "*" not in request_line:
        assert headers["allow"] == "GET"
    raw.transport.loseConnection()
    await raw.lost


@pytest.mark.parametrize("offer", ["h2c", "TLS/1.2"])
@pytest_twisted.ensureDeferred
async def test_an_offer_of_another_protocol_is_ignored(
    server: ChannelsServer, offer: str
) -> None:
    raw = await connect_raw(server.port)
    whole = signed("POST", "/apps/3/events", b'{"name":"e","channel":"a","data":""}')
    offered = f"HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: {offer}\r\n".encode()
    raw.write(whole.replace(b"HTTP/1.1\r\n", offered))
    assert (await raw.response())[0] == 200
    raw.transport.loseConnection()
    await raw.lost


@pytest_twisted.ensureDeferred
async def test_a_head_is_answered_without_a_body_and_no_signature_is_logged(
    server: ChannelsServer, log: Log
) -> None:
    raw = await connect_raw(server.port)
    raw.write(signed("HEAD", "/apps/3/channels") + signed("GET", "/apps/3/channels"))
    assert (await raw.until_has(b"\r\n\r\n")).startswith(b"HTTP/1.1 405")
    assert (await raw.response())[0] == 200
    raw.transport.loseConnection()
    await raw.lost
    assert "auth_signature" not in log.text
    # Twisted tells of a body that it has to cut off.
    assert "HEAD" not in log.text


@pytest.mark.parametrize("place", [b"http://localhost:1", b"HTTP://user@[::1]"])
@pytest_twisted.ensureDeferred
async def test_the_target_of_a_request_may_be_a_whole_url(
    server: ChannelsServer, place: bytes
) -> None:
    raw = await connect_raw(server.port)
    raw.write(signed("GET", "/apps/3/channels").replace(b" /", b" " + place + b"/", 1))
    assert (await raw.response())[0] == 200
    raw.write(b"GET " + place + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await raw.response())[0] == 200
    raw.transport.loseConnection()
    await raw.lost
    socket = await open_socket(server.port, f"{place.decode()}/app/{KEY}?protocol=7")
    assert socket.got("pusher:connection_established")
    await close(socket)


@pytest_twisted.ensureDeferred
async def test_half_closed_connection_is_answered(server: ChannelsServer) -> None:
    raw = await connect_raw(server.port)
    body = b'{"name":"e","channel":"a","data":""}'
    raw.write(signed("POST", "/apps/3/events", body) * 2)
    raw.transport.loseWriteConnection()
    assert (await raw.response())[0] == (await raw.response())[0] == 200
    await raw.lost


@pytest.mark.parametrize(
    "begun", [b"", b"POST /apps/3/events HTTP/1.1\r\nContent-Length: 9\r\n"]
)
@pytest_twisted.ensureDeferred
async def test_connection_that_ends_inside_a_request_is_let_go(
    server: ChannelsServer, begun: bytes
) -> None:
    raw = await connect_raw(server.port)
    raw.write(begun)
    raw.transport.loseWriteConnection()
    await raw.lost
    assert raw.received == b""


@pytest_twisted.ensureDeferred
async def test_an_idempotency_key_is_read(server: ChannelsServer) -> None:
    accepted: list[Activity] = []
    server.add_observer(lambda a: accepted.append(a) if a.kind == "event" else None)
    pusher = Pusher.from_url(server.url("3"), idempotency_keys=True)
    await pusher.trigger("a", "e", "1")
    raw = await connect_raw(server.port)
    body = b'{"name":"e","channel":"a","data":"2"}'
    head, _, rest = signed("POST", "/apps/3/events", body).partition(b"\r\n\r\n")
    for _ in range(2):
        raw.write(head + b"\r\nX-Idempotency-Key: k\r\n\r\n" + rest)
        assert (await raw.response())[0] == 200
    assert [activity.data for activity in accepted] == ["1", "2"]
    raw.transport.loseConnection()
    await raw.lost
    await pusher.close()


@pytest_twisted.ensureDeferred
async def test_an_event_comes_before_the_end_that_follows_it(
    server: ChannelsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("txpusher.server._limits.LARGE_AUDIENCE", 1)
    socket = await open_socket(server.port)
    user_data = '{"id":"u"}'
    signature = signing.user_signature(SECRET, socket.socket_id, user_data)
    data = {"auth": f"{KEY}:{signature}", "user_data": user_data}
    socket.send({"event": "pusher:signin", "data": data})
    socket.subscribe("a")
    await socket.wait("pusher_internal:subscription_count")
    raw = await connect_raw(server.port)
    # One write, so that the server handles both in one round of the reactor.
    raw.write(
        signed("POST", "/apps/3/events", b'{"name":"e","channel":"a","data":"d"}')
        + signed("POST", "/apps/3/users/u/terminate_connections", b"{}")
    )
    assert await socket.end() == 4009
    assert len(socket.got("e")) == 1
    raw.transport.loseConnection()
    await raw.lost


# WebSockets


@pytest_twisted.ensureDeferred
async def test_a_websocket_ping_is_answered_and_sending_goes_on(
    server: ChannelsServer,
) -> None:
    socket = await open_socket(server.port)
    socket.raw.write(frame(PING, b"x" * 125) * 3)
    socket.send({"event": "pusher:ping", "data": {}})
    await socket.wait("pusher:pong")
    assert socket.pongs == [b"x" * 125] * 3
    socket.subscribe("a")
    await socket.wait("pusher_internal:subscription_succeeded")
    await close(socket)


@pytest_twisted.ensureDeferred
async def test_a_close_frame_is_answered(server: ChannelsServer) -> None:
    lost: list[str] = []
    server.add_observer(lambda a: lost.append(a.kind))
    socket = await open_socket(server.port)
    socket.raw.write(frame(8, b"\x03\xe8bye") + b"whatever follows it")
    await socket.raw.lost
    socket.take_apart()
    assert socket.close_code == 1000
    assert lost == ["connected", "disconnected"]


@pytest.mark.parametrize("last", [b"", frame(8, b"\x03\xe8")])
@pytest_twisted.ensureDeferred
async def test_a_websocket_ends_with_either_of_its_sides(
    server: ChannelsServer, last: bytes
) -> None:
    kinds: list[str] = []
    socket = await open_socket(server.port)
    server.add_observer(lambda activity: kinds.append(activity.kind))
    socket.raw.write(last)
    socket.raw.transport.loseWriteConnection()
    await socket.raw.lost
    assert kinds == ["disconnected"]
    socket.got("")
    assert socket.close_code == (1000 if last else None)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/app/other?protocol=7", 4001),
        (f"/app/{KEY}", 4008),
        (f"/app/{KEY}?protocol=3", 4007),
        (f"/app/{KEY}?protocol=x", 4006),
        ("/other?protocol=7", 4005),
        ("/app/?protocol=7", 4005),
        ("/app/../secret?protocol=7", 4005),
        ("/app/%ff?protocol=7", 4001),
    ],
)
@pytest_twisted.ensureDeferred
async def test_refused_connection_is_closed_with_its_code(
    server: ChannelsServer, path: str, code: int
) -> None:
    socket = await open_socket(server.port, path)
    assert await socket.end() == code
    assert socket.got("pusher:error")[0]["data"]["code"] == code


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "websocket, h2c"},
        {"Connection": "close"},
        {"Connection": "\xff, Upgrade", "Sec_WebSocket_Protocol": "\xff"},
        {"Sec_WebSocket_Version": "12"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "short"},
        {"Host": None},
        {"Sec_WebSocket_Extensions": "\xff"},
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_bad_handshake_is_refused(
    server: ChannelsServer, changes: dict[str, str | None]
) -> None:
    raw = await connect_raw(server.port)
    raw.write(handshake(f"/app/{KEY}?protocol=7", **changes))
    assert (await raw.response())[0] == 400
    raw.transport.loseConnection()
    await raw.lost


@pytest_twisted.ensureDeferred
async def test_handshake_with_another_method_is_refused(server: ChannelsServer) -> None:
    raw = await connect_raw(server.port)
    raw.write(handshake("/app/x").replace(b"GET", b"POST"))
    assert (await raw.response())[0] == 400
    raw.transport.loseConnection()
    await raw.lost


@pytest.mark.parametrize("size", [0, 50_000])
@pytest_twisted.ensureDeferred
async def test_messages_that_come_along_with_the_handshake_are_taken(
    server: ChannelsServer, size: int
) -> None:
    raw = await connect_raw(server.port)
    ping = b'{"event":"pusher:ping","data":"%b"}' % (b"x" * size)
    raw.write(handshake(f"/app/{KEY}?protocol=7") + frame(TEXT, ping))
    await raw.until_has(b"\r\n\r\n")
    socket = Socket(raw)
    await socket.wait("pusher:pong")
    assert socket.messages[0]["event"] == "pusher:connection_established"
    socket.send({"event": "pusher:ping"})
    await socket.wait("pusher:pong", 2)
    await close(socket)


@pytest.mark.parametrize("path", ["/app/unknown?protocol=7", "/elsewhere"])
@pytest_twisted.ensureDeferred
async def test_messages_that_come_along_with_a_refused_handshake_are_dropped(
    server: ChannelsServer, path: str
) -> None:
    raw = await connect_raw(server.port)
    raw.write(handshake(path) + frame(TEXT, b'{"event":"pusher:ping"}') * 1000)
    await raw.until_has(b"\r\n\r\n")
    socket = Socket(raw)
    assert 4000 < (await socket.end() or 0) < 4100
    assert not socket.got("pusher:pong")


@pytest_twisted.ensureDeferred
async def test_channel_path_of_another_app_is_served_for_its_app() -> None:
    server = ChannelsServer([App("1", "k/ü", "s", max_connections=1), App("2", KEY, SECRET)])
    await server.listen()
    first = await open_socket(server.port, "/app/k%2F%C3%BC?protocol=7")
    second = await open_socket(server.port, "/app/k%2F%C3%BC/?protocol=7")
    assert await second.end() == 4004
    other = await open_socket(server.port)
    for socket in (first, other):
        assert socket.raw.open
        await close(socket)
    await server.stop()


# Watching


@pytest_twisted.ensureDeferred
async def test_an_observer_hears_of_all_and_may_fail(server: ChannelsServer, log: Log) -> None:
    seen: list[Activity] = []

    def failing(activity: Activity) -> None:
        raise ZeroDivisionError

    server.add_observer(failing)
    server.add_observer(seen.append)
    raw = await connect_raw(server.port)
    raw.write(b"GET /apps/3/channels?auth_key=x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await raw.response())[0] == 401
    assert [(activity.kind, activity.app_id) for activity in seen] == [("refused", "3")]
    assert "GET /apps/3/channels: 401" in (seen[0].detail or "")
    server.remove_observer(failing)
    server.remove_observer(seen.append)
    assert len(log.failures) == 1
    log.failures.clear()
    raw.transport.loseConnection()
    await raw.lost
