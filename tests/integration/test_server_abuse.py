"""What no client should do: others are served on, and memory stays bounded."""

from __future__ import annotations

import json
import random
import struct
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from txpusher import Pusher, _signing
from txpusher.server import Activity, App, ChannelsServer
from txpusher.server._frames import MAX_FRAGMENTS, MAX_MESSAGE
from txpusher.server._outputs import Send
from txpusher.server._site import MAX_BODY

from .misbehaving import until
from .observing import Log
from .server_client import (
    BINARY,
    KEY,
    PING,
    SECRET,
    TEXT,
    Raw,
    Socket,
    connect_raw,
    frame,
    open_socket,
    signed,
)

pytest.importorskip("twisted.web.websocket")


@pytest_twisted.async_yield_fixture
async def server(log: Log, clean_reactor: None) -> AsyncIterator[ChannelsServer]:
    """A server that in the end still serves, and has logged no failure."""
    server = ChannelsServer([App("3", KEY, SECRET)])
    await server.listen()
    yield server
    witness = await open_socket(server.port)
    witness.subscribe("witness")
    await witness.wait("pusher_internal:subscription_succeeded")
    pusher = Pusher.from_url(server.url("3"))
    await pusher.trigger("witness", "still-there", "")
    await witness.wait("still-there")
    await pusher.close()
    await end(witness.raw)
    await server.stop()


async def end(raw: Raw) -> None:
    raw.transport.loseConnection()
    await raw.lost


# WebSocket messages


def fragments(size: int, piece: int) -> bytes:
    """A text message that never ends, in pieces."""
    first = frame(TEXT, b"x" * piece, fin=False)
    return first + frame(0, b"x" * piece, fin=False) * (size // piece)


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"x" * (MAX_MESSAGE + 1)),
        frame(TEXT, b"x" * 1024 * 1024),
        frame(BINARY, b"x" * (MAX_MESSAGE + 1)),
        fragments(MAX_MESSAGE, 40_000),
        fragments(MAX_MESSAGE, 50),
        frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) * MAX_FRAGMENTS,
        struct.pack("!BBQ", 0x81, 0xFF, 2**62) + bytes(4),
        struct.pack("!BBQ", 0x01, 0xFF, 10 * 1024 * 1024) + bytes(4),
    ],
    ids=["one", "large", "binary", "fragments", "thousands", "empty", "huge", "announced"],
)
@pytest_twisted.ensureDeferred
async def test_a_message_over_the_limit_ends_its_connection(
    server: ChannelsServer, sent: bytes
) -> None:
    socket = await open_socket(server.port)
    socket.raw.write(sent)
    assert await socket.end() == 1009
    assert "100000" in socket.close_reason


@pytest_twisted.ensureDeferred
async def test_a_message_of_the_limit_is_taken_in_any_pieces(server: ChannelsServer) -> None:
    socket = await open_socket(server.port)
    text = json.dumps({"event": "pusher:ping", "data": ""}).encode()
    text = text[:-2] + b"x" * (MAX_MESSAGE - len(text)) + text[-2:]
    socket.raw.write(frame(TEXT, text))
    socket.raw.write(frame(TEXT, text[:100], fin=False))
    for at in range(100, MAX_MESSAGE - 100, 100):
        socket.raw.write(frame(0, text[at : at + 100], fin=False))
    socket.raw.write(frame(PING, b"between") + frame(0, text[MAX_MESSAGE - 100 :]))
    await socket.wait("pusher:pong", 2)
    await end(socket.raw)


@pytest_twisted.ensureDeferred
async def test_a_binary_message_ends_its_connection(server: ChannelsServer) -> None:
    socket = await open_socket(server.port)
    socket.raw.write(frame(BINARY, b"\x00\xff") + frame(TEXT, b"{}") * 3)
    assert await socket.end() == 1003


#: Would be acted upon, were the rest of the message not a breach.
BEGINNING = frame(TEXT, b'{"event":"pusher:subscribe","data":{"channel":"a"}}', fin=False)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"{}", masked=False), 1002),
        (frame(3, b"{}"), 1002),
        (frame(0, b"{}"), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(8, b"x"), 1002),
        (frame(8, b"\x03\xed"), 1002),
        (b"\xf1\x82" + bytes(4) + b"{}", 1002),
        (BEGINNING + frame(0, b"\xff"), 1007),
        (BEGINNING + frame(0, masked=False), 1002),
        (BEGINNING + frame(3), 1002),
        (BEGINNING + frame(TEXT), 1002),
        (BEGINNING + b"\xc0\x80" + bytes(4), 1002),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_breach_of_the_websocket_protocol_ends_its_connection_and_does_nothing(
    server: ChannelsServer, sent: bytes, code: int
) -> None:
    socket = await open_socket(server.port)
    activities: list[Activity] = []
    server.add_observer(activities.append)
    socket.raw.write(sent + frame(TEXT, b"{}") + frame(PING))
    assert await socket.end() == code
    assert [message["event"] for message in socket.messages] == [
        "pusher:connection_established"
    ]
    assert [activity.kind for activity in activities] == ["disconnected"]


@pytest_twisted.ensureDeferred
async def test_text_that_makes_no_sense_is_answered(server: ChannelsServer) -> None:
    socket = await open_socket(server.port)
    for text in (b"nonsense", b"[]", b"{}", b"[" * 50_000, b'{"event":NaN}', b'"\\ud800"'):
        socket.raw.write(frame(TEXT, text))
    errors = await socket.wait("pusher:error", 6)
    assert [error["data"]["code"] for error in errors] == [None] * 6
    assert socket.raw.open
    await end(socket.raw)


@pytest_twisted.ensureDeferred
async def test_random_bytes_are_survived(server: ChannelsServer) -> None:
    dice = random.Random(7)
    for _ in range(60):
        socket = await open_socket(server.port)
        for _ in range(5):
            socket.raw.write(dice.randbytes(dice.randrange(1, 200)))
        await end(socket.raw)


@pytest_twisted.ensureDeferred
async def test_messages_before_and_after_the_end_are_dropped(server: ChannelsServer) -> None:
    socket = await open_socket(server.port)
    signin = json.dumps({"event": "pusher:signin", "data": {"auth": "x", "user_data": "{}"}})
    ping = frame(TEXT, b'{"event":"pusher:ping"}')
    socket.raw.write(frame(TEXT, signin.encode()) + ping * 3)
    assert await socket.end() == 4009
    assert not socket.got("pusher:pong")


# Readers that do not read


@pytest_twisted.ensureDeferred
async def test_a_subscriber_that_stops_reading_is_ended_and_the_others_served(
    server: ChannelsServer,
) -> None:
    activities: list[Activity] = []
    server.add_observer(activities.append)
    good, bad = [await open_socket(server.port) for _ in range(2)]
    for socket in (good, bad):
        socket.subscribe("a")
        await socket.wait("pusher_internal:subscription_succeeded")
    bad.raw.transport.pauseProducing()
    pusher = Pusher.from_url(server.url("3"), max_connections=4)
    count = 0

    def ended() -> bool:
        return any(a.kind == "disconnected" for a in activities)

    while not ended() and count < 3000:
        for _ in range(10):
            await pusher.trigger("a", "e", "x" * 10_000)
            count += 1
    # The system's own buffers take some megabytes, the server one more.
    assert ended()
    assert any("does not read" in (a.detail or "") for a in activities)
    await good.wait("e", count)
    assert good.raw.open
    bad.raw.transport.resumeProducing()
    await bad.raw.lost
    await end(good.raw)
    await pusher.close()


def with_small_buffers(server: ChannelsServer, socket: Socket) -> Any:
    """The wire of the only connection; the system holds little, so that the server must."""
    (wire,) = server._site.wires  # type: ignore[union-attr]
    socket.raw.transport.getHandle().setsockopt(SOL_SOCKET, SO_RCVBUF, 65536)
    wire.transport.getHandle().setsockopt(SOL_SOCKET, SO_SNDBUF, 65536)
    return wire


@pytest_twisted.ensureDeferred
async def test_a_slow_reader_that_reads_again_gets_all_in_order(server: ChannelsServer) -> None:
    socket = await open_socket(server.port)
    with_small_buffers(server, socket)
    socket.subscribe("a")
    await socket.wait("pusher_internal:subscription_succeeded")
    pusher = Pusher.from_url(server.url("3"))
    for round_ in range(3):
        socket.raw.transport.pauseProducing()
        for number in range(90):
            await pusher.trigger("a", "e", f"{round_ * 90 + number:4} " + "x" * 10_000)
        socket.raw.transport.resumeProducing()
        await socket.wait("e", (round_ + 1) * 90)
    assert [int(m["data"][:4]) for m in socket.got("e")] == list(range(270))
    socket.raw.write(frame(PING, b"x"))
    await socket.wait_for_pongs(1)
    await end(socket.raw)
    await pusher.close()


@pytest_twisted.ensureDeferred
async def test_an_event_does_not_cut_into_a_pong_that_is_half_written(
    server: ChannelsServer,
) -> None:
    from twisted.internet import reactor

    socket = await open_socket(server.port)
    socket.subscribe("a")
    await socket.wait("pusher_internal:subscription_count")
    wire = with_small_buffers(server, socket)
    raw, sent = socket.raw, 0
    handle = raw.transport.getHandle()
    raw.transport.pauseProducing()
    # The buffer holds what is left of a write that the system did not take whole.
    while not wire.transport.dataBuffer:
        if wire.transport._tempDataLen:
            with suppress(BlockingIOError):
                raw.dataReceived(handle.recv(20_000))
        else:
            raw.write(frame(PING, b"x" * 125) * 100)
            sent += 100
        await deferLater(reactor, 0.005)
    # There is room again, and the reactor has no turn to notice.
    with suppress(BlockingIOError):
        while True:
            raw.dataReceived(handle.recv(65536))
    server._carry_out([Send([wire._socket], b'{"event":"e"}')])
    raw.transport.resumeProducing()
    await socket.wait_for_pongs(sent)
    await socket.wait("e")
    assert socket.pongs == [b"x" * 125] * sent
    await end(raw)


@pytest.mark.parametrize("sent", [frame(PING, b"x" * 125), frame(TEXT, b"nonsense")])
@pytest_twisted.ensureDeferred
async def test_who_asks_without_reading_is_not_read_any_more(
    server: ChannelsServer, sent: bytes
) -> None:
    from twisted.internet import reactor

    socket = await open_socket(server.port)
    raw = socket.raw
    raw.transport.pauseProducing()
    wire = with_small_buffers(server, socket)
    stopped: Deferred[None] = Deferred()
    original = wire.transport.pauseProducing

    def noticed() -> None:
        original()
        if not stopped.called:
            stopped.callback(None)

    wire.transport.pauseProducing = noticed
    for _ in range(40):
        raw.write(sent * 200)
    await stopped.addTimeout(10, reactor)
    waiting = len(wire.transport.dataBuffer) + wire.transport._tempDataLen
    assert waiting < 1024 * 1024
    assert raw.open
    raw.transport.resumeProducing()
    raw.write(frame(TEXT, b'{"event":"pusher:ping"}'))
    await socket.wait("pusher:pong")
    await end(raw)


# HTTP


async def with_many_channels(server: ChannelsServer) -> Raw:
    """A subscriber of a thousand channels, whose list is 200 kB."""
    socket = await open_socket(server.port)
    for number in range(1000):
        socket.subscribe(f"{number:0200}")
    await socket.wait("pusher_internal:subscription_succeeded", 1000)
    return socket.raw


async def pipelining(server: ChannelsServer, count: int) -> tuple[Raw, Any]:
    """A client that asks for the list of channels so often and does not read; its wire."""
    before = set(server._site.wires)  # type: ignore[union-attr]
    raw = await connect_raw(server.port)
    raw.transport.pauseProducing()
    raw.write(signed("GET", "/apps/3/channels") * count)
    await until(lambda: bool(set(server._site.wires) - before))  # type: ignore[union-attr]
    (wire,) = set(server._site.wires) - before  # type: ignore[union-attr]
    return raw, wire


@pytest_twisted.ensureDeferred
async def test_pipelined_requests_wait_until_their_answers_are_read(
    server: ChannelsServer,
) -> None:
    subscriber = await with_many_channels(server)
    count = 150
    raw, wire = await pipelining(server, count)
    await until(lambda: wire.transport._tempDataLen > 0)
    # Of 150 answers of 200 kB each.
    assert len(wire.transport.dataBuffer) + wire.transport._tempDataLen < 1_000_000
    raw.transport.resumeProducing()
    for _ in range(count):
        status, _, body = await raw.response()
        assert (status, len(json.loads(body)["channels"])) == (200, 1000)
    await end(raw)
    await end(subscriber)


@pytest_twisted.ensureDeferred
async def test_who_ends_while_pipelined_requests_wait_is_let_go(server: ChannelsServer) -> None:
    subscriber = await with_many_channels(server)
    raw, wire = await pipelining(server, 150)
    raw.transport.loseWriteConnection()
    await until(lambda: wire.draining)
    raw.transport.resumeProducing()
    await raw.lost
    # What waited is dropped; what was answered comes whole.
    assert (await raw.response())[0] == 200
    await end(subscriber)


@pytest_twisted.ensureDeferred
async def test_a_body_over_the_limit_is_refused_before_it_is_read(
    server: ChannelsServer,
) -> None:
    raw = await connect_raw(server.port)
    raw.write(
        b"POST /apps/3/events HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        b"Content-Length: 52428800\r\n\r\n"
    )
    status, headers, body = await raw.response()
    assert status == 413
    assert headers["connection"] == "close"
    assert "date" in headers
    assert b"1048576" in body
    await raw.lost
    assert raw.received == b""


@pytest_twisted.ensureDeferred
async def test_a_large_body_that_comes_all_the_same_is_dropped(server: ChannelsServer) -> None:
    raw = await connect_raw(server.port)
    raw.write(b"POST /apps/3/events HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n")
    for _ in range(9):
        raw.write(b"x" * 1_000_000)
    assert (await raw.response())[0] == 413
    await raw.lost


@pytest_twisted.ensureDeferred
async def test_a_chunked_body_over_the_limit_is_refused(server: ChannelsServer) -> None:
    raw = await connect_raw(server.port)
    raw.write(b"POST /apps/3/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(MAX_BODY // 1000 + 2):
        raw.write(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    raw.write(b"0\r\n\r\n")
    assert (await raw.response())[0] == 413
    await raw.lost


@pytest_twisted.ensureDeferred
async def test_a_body_of_the_limit_is_read(server: ChannelsServer) -> None:
    body = b'{"name":"e","channel":"a","data":"x","more":"' + b"x" * MAX_BODY
    body = body[: MAX_BODY - 2] + b'"}'
    path = "/apps/3/events"
    params = _signing.signed_params(KEY, SECRET, "POST", path, {}, body, int(time.time()))
    head = f"POST {path}?{urlencode(params)} HTTP/1.1\r\nHost: x\r\n"
    raw = await connect_raw(server.port)
    raw.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert (await raw.response())[0] == 200
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(body[at : at + 9999]), body[at : at + 9999])
        for at in range(0, len(body), 9999)
    )
    raw.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n")
    assert (await raw.response())[0] == 200
    await end(raw)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000, b"HTTP/1.1 400"),
        # Twisted says nothing to a line that is too long.
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000, b""),
        (b"GET /" + b"x" * 100_000, b""),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 400"),
        (
            b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\nX: y\r\n\r\nbody",
            b"HTTP/1.1 400",
        ),
        (
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 400",
        ),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            b"HTTP/1.1 400",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"HTTP/1.1 400"),
    ],
    ids=["many", "long", "path", "nonsense", "length", "digits", "smuggling", "chunk", "tls"],
)
@pytest_twisted.ensureDeferred
async def test_a_malformed_head_ends_its_connection(
    server: ChannelsServer, request_: bytes, answer: bytes
) -> None:
    raw = await connect_raw(server.port)
    raw.write(request_)
    await raw.lost
    assert raw.received[:12] == answer
    assert raw.received.count(b"HTTP/1.1") == bool(answer)


@pytest_twisted.ensureDeferred
async def test_a_client_may_vanish_at_any_moment(server: ChannelsServer) -> None:
    whole = b"POST /apps/3/events HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n" + b"x" * 30
    for size in (0, 10, 60, len(whole) - 1, len(whole)):
        raw = await connect_raw(server.port)
        raw.write(whole[:size])
        await end(raw)
    socket: Socket = await open_socket(server.port)
    socket.subscribe("presence-a", {"user_id": "1"})
    socket.raw.transport.abortConnection()
    await socket.raw.lost
