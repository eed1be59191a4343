"""Each refusal of the server is explained to whoever asked and to whoever watches."""

from __future__ import annotations

import re
import ssl

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.support.credentials import KEY, SECRET
from tests.support.inside import connections
from tests.support.observing import Log
from tests.support.raw_client import (
    BINARY,
    TEXT,
    Timed,
    connect_raw,
    frame,
    handshake,
    open_socket,
    signed,
)
from tests.support.waiting import until
from tests.unit.refusal_scenarios import AT_THE_SOCKETS
from txpusher._cli.serve import line_of
from txpusher.server import Activity, App, ChannelsServer
from txpusher.server._core.refusals import Refusal
from txpusher.server._net.connection import State

pytest.importorskip("wsproto")

GREETED = handshake(f"/app/{KEY}?protocol=7")
#: What is refused, a request, the begin of the answer, and what the server's line says.
REFUSALS = {
    "tls": (
        Refusal.TLS,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"",
        "forceTLS: false",
    ),
    "proxy protocol": (
        Refusal.NO_REQUEST,
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"HTTP/1.1 400",
        "PROXY TCP4",
    ),
    "http2": (Refusal.NO_REQUEST, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 400", "PRI"),
    "head too long": (Refusal.NO_REQUEST, b"GET /" + b"x" * 100_000, b"", "malformed"),
    "digits": (
        Refusal.NO_REQUEST,
        b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\nX: y\r\n\r\nbody",
        b"HTTP/1.1 400",
        "malformed",
    ),
    "too large": (
        Refusal.LARGE_REQUEST,
        b"POST /apps/3/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n",
        b"HTTP/1.1 413",
        "a request body may have 1048576 bytes, not 9999999",
    ),
    "unsigned": (
        Refusal.AUTH_MISSING,
        b"GET /apps/3/channels HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HTTP/1.1 401",
        "401 auth_key is missing",
    ),
    "no such path": (
        Refusal.NO_SUCH_PATH,
        b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HTTP/1.1 404",
        "404",
    ),
    "proxy drops upgrade": (
        Refusal.NO_UPGRADE,
        f"GET /app/{KEY}?protocol=7 HTTP/1.0\r\nSec-WebSocket-Version: 13\r\n\r\n".encode(),
        b"HTTP/1.0 426",
        "a proxy between client and server must speak HTTP/1.1",
    ),
    "proxy speaks 1.0": (
        Refusal.NO_HANDSHAKE,
        handshake(f"/app/{KEY}?protocol=7").replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"HTTP/1.0 400",
        "it must be HTTP/1.1",
    ),
    "no connection header": (
        Refusal.NO_HANDSHAKE,
        handshake(f"/app/{KEY}?protocol=7", Connection="close"),
        b"HTTP/1.1 400",
        "Connection: Upgrade",
    ),
    "old handshake": (
        Refusal.NO_HANDSHAKE,
        handshake(f"/app/{KEY}?protocol=7", **{"Sec-WebSocket-Version": "8"}),
        b"HTTP/1.1 400",
        "Sec-WebSocket-Version must be 13, not '8'",
    ),
    "wrong app": (
        Refusal.UNKNOWN_APP,
        handshake("/app/other?protocol=7"),
        b"HTTP/1.1 101",
        "4001: there is no app",
    ),
    "old protocol": (
        Refusal.UNSUPPORTED_PROTOCOL,
        handshake(f"/app/{KEY}?protocol=3"),
        b"HTTP/1.1 101",
        "4007: protocol must be 4, 5, 6 or 7, not '3'",
    ),
    "no protocol": (Refusal.NO_PROTOCOL, handshake(f"/app/{KEY}"), b"HTTP/1.1 101", "4008"),
    "no text": (
        Refusal.BROKEN_FRAME,
        GREETED + frame(TEXT, b"\xff"),
        b"HTTP/1.1 101",
        "1007: ",
    ),
    "no mask": (
        Refusal.BROKEN_FRAME,
        GREETED + frame(TEXT, b"{}", masked=False),
        b"HTTP/1.1 101",
        "1002: ",
    ),
    "binary": (
        Refusal.BINARY_MESSAGE,
        GREETED + frame(BINARY, b"{}"),
        b"HTTP/1.1 101",
        "1003: a message must be text",
    ),
    "message too large": (
        Refusal.LARGE_MESSAGE,
        GREETED + frame(TEXT, b"x" * 100_001),
        b"HTTP/1.1 101",
        "1009: a message may have 100000 bytes in 4096 frames, not 100001 in 1 or more",
    ),
    "no such websocket": (
        Refusal.NO_SOCKET_PATH,
        handshake("/other?protocol=7"),
        b"HTTP/1.1 101",
        "4005: the path must be /app/KEY, not '/other'",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest_twisted.ensureDeferred
async def test_refusal_is_answered_and_told_to_observers(
    server: ChannelsServer, case: str
) -> None:
    refusal, request, answer, words = REFUSALS[case]
    seen: list[Activity] = []
    server.add_observer(seen.append)
    raw = await connect_raw(server.port)
    raw.write(request)
    await raw.until(lambda: len(raw.received) >= 12 or not raw.open)
    assert raw.received[:12] == answer
    await until(lambda: [activity for activity in seen if activity.refusal])
    (refused,) = [activity for activity in seen if activity.refusal]
    assert refused.refusal == refusal.label
    assert words in (refused.detail or "")
    assert words in line_of(refused)
    raw.transport.loseConnection()
    await raw.lost


#: Requests that Twisted's HTTP code refuses, and what is told of each.
MALFORMED = {
    "no request": (b"BLAH\r\n\r\n", b"HTTP/1.1 400", "it begins b'BLAH'"),
    "header": (
        b"GET /up HTTP/1.1\r\nX-Api-Key: 7ad3\r\n7ad3\r\n\r\n",
        b"HTTP/1.1 400",
        "it begins b'GET /up HTTP/1.1'",
    ),
    "digits": (
        b"POST /up HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 400",
        "it begins b'POST /up HTTP/1.1'",
    ),
    "chunk": (
        b"POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7ad3x\r\n",
        b"HTTP/1.1 400",
        "it begins b'POST /up HTTP/1.1'",
    ),
    # Twisted says nothing to a line that is too long.
    "long line": (
        b"GET /up HTTP/1.1\r\nX: " + b"7ad3" * 9000,
        b"",
        "it begins b'GET /up HTTP/1.1'",
    ),
    "long request line": (b"GET /" + b"7" * 20_000, b"", "it begins b'GET /777777777777777'"),
}


@pytest.mark.parametrize("delay", [0.0, 0.01])
@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize("case", MALFORMED)
@pytest_twisted.ensureDeferred
async def test_malformed_request_behind_another_is_refused_as_if_alone(
    server: ChannelsServer, case: str, segments: int, delay: float
) -> None:
    malformed, answer, words = MALFORMED[case]
    good = signed("GET", "/apps/3/channels")
    server.trouble.delay = delay
    seen: list[Activity] = []
    server.add_observer(seen.append)
    raw = await connect_raw(server.port)
    if segments == 1:
        raw.write(good + malformed)
        assert (await raw.response())[0] == 200
    else:
        raw.write(good)
        assert (await raw.response())[0] == 200
        raw.write(malformed)
    await raw.lost
    assert raw.received[:12] == answer
    (refused,) = [activity for activity in seen if activity.refusal]
    assert refused.refusal == Refusal.NO_REQUEST.label
    assert words in (refused.detail or "")
    assert "7ad3" not in repr(seen)


@pytest_twisted.ensureDeferred
async def test_refused_request_is_quoted_from_its_begin_however_it_comes_in(
    server: ChannelsServer,
) -> None:
    seen: list[Activity] = []
    server.add_observer(seen.append)
    raw = await connect_raw(server.port)
    raw.write(b"GET /up HTTP/1.1\r\nX-Api-Key: ")
    await until(lambda: any(one.state is State.READING_REQUEST for one in connections(server)))
    raw.write(b"7ad3773142a6692b25b8\r\nbad line\r\n\r\n")
    await raw.lost
    (refused,) = seen
    assert (refused.detail or "").endswith("it begins b'GET /up HTTP/1.1'")


def test_every_refusal_at_the_sockets_is_tested() -> None:
    here = {refusal for refusal, _, _, _ in REFUSALS.values()}
    # Those need time, a page, or many bytes: tests below, and one in test_server_abuse.py.
    assert AT_THE_SOCKETS - here == {
        Refusal.SLOW_REQUEST,
        Refusal.CONSOLE,
        Refusal.SLOW_READER,
    }


@pytest_twisted.ensureDeferred
async def test_page_refused_to_another_site_is_told_to_observers(
    log: Log, clean_reactor: None
) -> None:
    server = ChannelsServer([App("3", KEY, SECRET)], console=True)
    seen: list[Activity] = []
    server.add_observer(seen.append)
    await server.listen()
    raw = await connect_raw(server.port)
    raw.write(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")
    assert (await raw.response())[0] == 403
    (activity,) = seen
    assert activity.refusal == Refusal.CONSOLE.label
    assert "403" in line_of(activity)
    raw.transport.loseConnection()
    await raw.lost
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_request_that_does_not_come_in_is_told_to_observers(
    log: Log, clean_reactor: None
) -> None:
    reactor = Timed()
    server = ChannelsServer([App("3", KEY, SECRET)])
    seen: list[Activity] = []
    server.add_observer(seen.append)
    await server.listen(reactor=reactor)
    raw = await connect_raw(server.port)
    raw.write(b"GET / HT")
    await until(lambda: any(one.state is State.READING_REQUEST for one in connections(server)))
    reactor.clock.pump([1] * 31)
    assert (await raw.response())[0] == 408
    (activity,) = seen
    assert activity.refusal == Refusal.SLOW_REQUEST.label
    assert "did not come in in time" in line_of(activity)
    raw.transport.loseConnection()
    await raw.lost
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_tls_client_is_turned_away_at_once(server: ChannelsServer) -> None:
    def shake_hands() -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        import socket

        # Much less than the time that a request has to come in.
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
            context.wrap_socket(plain)

    with pytest.raises(OSError) as caught:
        await deferToThread(shake_hands)
    assert not isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/up"])
@pytest_twisted.ensureDeferred
async def test_health_check_is_200(server: ChannelsServer, method: str, path: str) -> None:
    raw = await connect_raw(server.port)
    raw.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    await raw.lost
    assert raw.received.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("offered", "protocol", "accepted"),
    [
        ("pusher-channels-protocol-7", "7", "pusher-channels-protocol-7"),
        (
            "pusher-channels-protocol-6, pusher-channels-protocol-7",
            "7",
            "pusher-channels-protocol-7",
        ),
        ("pusher-channels-protocol-6", "7", None),
        ("chat", "7", None),
        (None, "7", None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_offered_subprotocol_is_accepted_where_it_is_that_of_the_query(
    server: ChannelsServer, offered: str | None, protocol: str, accepted: str | None
) -> None:
    raw = await connect_raw(server.port)
    path = f"/app/{KEY}?protocol={protocol}"
    raw.write(
        handshake(
            path,
            Sec_WebSocket_Protocol=offered,
            Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits",
        )
    )
    head = (await raw.until_has(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 101")
    found = re.search(r"(?i)^sec-websocket-protocol: (\S+)\r$", head, re.MULTILINE)
    assert (found and found[1]) == accepted
    assert "extensions" not in head.lower()
    raw.transport.loseConnection()
    await raw.lost


@pytest_twisted.ensureDeferred
async def test_client_of_protocol_4_is_served(server: ChannelsServer) -> None:
    socket = await open_socket(server.port, f"/app/{KEY}?protocol=4")
    assert socket.got("pusher:connection_established")
    socket.raw.transport.loseConnection()
    await socket.raw.lost
