"""What no WebSocket client should do: others are served on, and memory stays bounded."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import AsyncIterator
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.support.credentials import KEY
from tests.support.inside import connections, unsent
from tests.support.raw_client import (
    BINARY,
    PING,
    TEXT,
    Socket,
    check_that_it_serves,
    end,
    frame,
    open_socket,
)
from txpusher import Pusher
from txpusher.server import Activity, ChannelsServer
from txpusher.server._limits import MESSAGE, MESSAGE_FRAMES

pytest.importorskip("wsproto")


@pytest_twisted.async_yield_fixture
async def server(server: ChannelsServer) -> AsyncIterator[ChannelsServer]:
    """One that in the end still serves, and has logged no failure."""
    yield server
    await check_that_it_serves(server)


# WebSocket messages


def fragments(size: int, piece: int) -> bytes:
    """A text message that never ends, in pieces."""
    first = frame(TEXT, b"x" * piece, fin=False)
    return first + frame(0, b"x" * piece, fin=False) * (size // piece)


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"x" * (MESSAGE + 1)),
        frame(TEXT, b"x" * 1024 * 1024),
        frame(BINARY, b"x" * (MESSAGE + 1)),
        fragments(MESSAGE, 40_000),
        fragments(MESSAGE, 50),
        frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) * MESSAGE_FRAMES,
        # What a frame announces is refused once as much has come as is too much.
        struct.pack("!BBQ", 0x81, 0xFF, 2**62) + bytes(4) + b"x" * (MESSAGE + 1),
        struct.pack("!BBQ", 0x82, 0xFF, 2**62) + bytes(4) + b"x" * (MESSAGE + 1),
        # Characters of several bytes count as bytes.
        frame(TEXT, "ü".encode() * (MESSAGE // 2 + 1)),
    ],
    ids=[
        "one",
        "large",
        "binary",
        "fragments",
        "thousands",
        "empty",
        "announced",
        "announced binary",
        "umlauts",
    ],
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
    text = text[:-2] + b"x" * (MESSAGE - len(text)) + text[-2:]
    socket.raw.write(frame(TEXT, text))
    socket.raw.write(frame(TEXT, text[:100], fin=False))
    for at in range(100, MESSAGE - 100, 100):
        socket.raw.write(frame(0, text[at : at + 100], fin=False))
    socket.raw.write(frame(PING, b"between") + frame(0, text[MESSAGE - 100 :]))
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
    assert [activity.kind for activity in activities] == ["error", "disconnected"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(BINARY, b"x"), 1003),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"{}", masked=False), 1002),
        (frame(TEXT, b"x" * 100_001), 1009),
    ],
    ids=["binary", "no UTF-8", "no mask", "too large"],
)
@pytest.mark.parametrize("protocol", ["4", "5", "6", "7"])
@pytest_twisted.ensureDeferred
async def test_close_of_the_servers_own_comes_after_an_error_before_protocol_6(
    server: ChannelsServer, sent: bytes, code: int, protocol: str
) -> None:
    socket = await open_socket(server.port, f"/app/{KEY}?protocol={protocol}")
    socket.raw.write(sent)
    assert await socket.end() == code
    codes = [error["data"]["code"] for error in socket.got("pusher:error")]
    assert codes == ([code] if protocol < "6" else [])


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
    assert [a.refusal for a in activities if a.refusal] == ["slow_reader"]
    assert any("does not read" in (a.detail or "") for a in activities)
    await good.wait("e", count)
    assert good.raw.open
    bad.raw.transport.resumeProducing()
    await bad.raw.lost
    await end(good.raw)
    await pusher.close()


def with_small_buffers(server: ChannelsServer, socket: Socket) -> Any:
    """The wire of the only connection; the system holds little, so that the server must."""
    (wire,) = connections(server)
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


@pytest.mark.parametrize("sent", [frame(PING, b"x" * 125), frame(TEXT, b"nonsense")])
@pytest_twisted.ensureDeferred
async def test_connection_that_asks_without_reading_is_read_no_more(
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
    assert unsent(wire) < 1024 * 1024
    assert raw.open
    raw.transport.resumeProducing()
    raw.write(frame(TEXT, b'{"event":"pusher:ping"}'))
    await socket.wait("pusher:pong")
    await end(raw)
