"""What no HTTP client should do: others are served on, and memory stays bounded."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_twisted

from tests.support.credentials import KEY, SECRET
from tests.support.inside import connections, unsent
from tests.support.raw_client import (
    Raw,
    Socket,
    check_that_it_serves,
    connect_raw,
    end,
    open_socket,
    signed,
)
from tests.support.waiting import until
from txpusher._protocol import signing
from txpusher.server import ChannelsServer
from txpusher.server._limits import REQUEST_BODY
from txpusher.server._net.connection import State

pytest.importorskip("wsproto")


@pytest_twisted.async_yield_fixture
async def server(server: ChannelsServer) -> AsyncIterator[ChannelsServer]:
    """One that in the end still serves, and has logged no failure."""
    yield server
    await check_that_it_serves(server)


async def with_many_channels(server: ChannelsServer) -> Raw:
    """A subscriber of a thousand channels, whose list is 200 kB."""
    socket = await open_socket(server.port)
    for number in range(1000):
        socket.subscribe(f"{number:0200}")
    await socket.wait("pusher_internal:subscription_succeeded", 1000)
    return socket.raw


async def pipelining(server: ChannelsServer, count: int) -> tuple[Raw, Any]:
    """A client that asks for the list of channels so often and does not read; its wire."""
    before = connections(server)
    raw = await connect_raw(server.port)
    raw.transport.pauseProducing()
    raw.write(signed("GET", "/apps/3/channels") * count)
    await until(lambda: bool(connections(server) - before))
    (wire,) = connections(server) - before
    return raw, wire


@pytest_twisted.ensureDeferred
async def test_pipelined_requests_wait_until_their_answers_are_read(
    server: ChannelsServer,
) -> None:
    subscriber = await with_many_channels(server)
    count = 150
    raw, wire = await pipelining(server, count)
    await until(lambda: unsent(wire) > 0)
    # Of 150 answers of 200 kB each.
    assert unsent(wire) < 1_000_000
    raw.transport.resumeProducing()
    for _ in range(count):
        status, _, body = await raw.response()
        assert (status, len(json.loads(body)["channels"])) == (200, 1000)
    await end(raw)
    await end(subscriber)


@pytest_twisted.ensureDeferred
async def test_connection_that_ends_with_pipelined_requests_waiting_is_let_go(
    server: ChannelsServer,
) -> None:
    subscriber = await with_many_channels(server)
    raw, wire = await pipelining(server, 150)
    raw.transport.loseWriteConnection()
    await until(lambda: wire.state in (State.CLOSING, State.PARTING))
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
    for _ in range(REQUEST_BODY // 1000 + 2):
        raw.write(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    raw.write(b"0\r\n\r\n")
    assert (await raw.response())[0] == 413
    await raw.lost


@pytest_twisted.ensureDeferred
async def test_a_body_of_the_limit_is_read(server: ChannelsServer) -> None:
    body = b'{"name":"e","channel":"a","data":"x","more":"' + b"x" * REQUEST_BODY
    body = body[: REQUEST_BODY - 2] + b'"}'
    path = "/apps/3/events"
    params = signing.signed_params(KEY, SECRET, "POST", path, {}, body, int(time.time()))
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
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b""),
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
    assert raw.received.count(b"HTTP/1.1 ") == bool(answer)


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
