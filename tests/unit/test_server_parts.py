"""Frames, memories with an end, apps, the HTTP face, the outbox."""

from __future__ import annotations

import itertools
import struct
import sys
from subprocess import run
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from txpusher.errors import ConfigurationError
from txpusher.server import App, ChannelsServer
from txpusher.server._core.cache import Expiring
from txpusher.server._net.frames import (
    MAX_FRAGMENTS,
    MAX_MESSAGE,
    FrameMeter,
    MessageTooBigError,
    close_frame,
    text_frame,
)
from txpusher.server._net.http import Root
from txpusher.server._net.outbox import LARGE_AUDIENCE, MAX_BYTES, Outbox

# Frames


def frame(opcode: int, size: int, *, fin: bool = True, masked: bool = True) -> bytes:
    """A client's frame with *size* bytes in it, the header as short as it can be."""
    first = opcode | (0x80 if fin else 0)
    mask = 0x80 if masked else 0
    if size < 126:
        header = struct.pack("!BB", first, mask | size)
    elif size < 65536:
        header = struct.pack("!BBH", first, mask | 126, size)
    else:
        header = struct.pack("!BBQ", first, mask | 127, size)
    return header + (b"abcd" if masked else b"") + b"x" * size


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
def test_a_text_frame_has_the_shortest_header(size: int) -> None:
    wsproto = pytest.importorskip("wsproto")
    connection = wsproto.Connection(wsproto.ConnectionType.CLIENT)
    connection.receive_data(text_frame(b"x" * size))
    texts = list(connection.events())
    assert "".join(text.data for text in texts) == "x" * size
    assert texts[-1].message_finished


@pytest.mark.parametrize("reason", ["", "why", "ü" * 100, "x" * 200])
def test_a_close_frame_says_why_as_far_as_there_is_room(reason: str) -> None:
    wsproto = pytest.importorskip("wsproto")
    connection = wsproto.Connection(wsproto.ConnectionType.CLIENT)
    connection.receive_data(close_frame(4201, reason))
    (event,) = connection.events()
    assert event.code == 4201
    assert event.reason == reason[: 123 // len("ü".encode()) if "ü" in reason else 123]


def feed(meter: FrameMeter, data: bytes, step: int = 1_000_000) -> list[int]:
    """Measure all of *data*, in steps; where messages ended."""
    ends = []
    for begin in range(0, len(data), step):
        chunk = data[begin : begin + step]
        at = 0
        while at < len(chunk) and not meter.closed:
            at = meter.feed(chunk, at)
            if meter.complete:
                ends.append(begin + at)
    return ends


@given(st.integers(1, 20) | st.integers(1000, 200_000))
def test_the_limit_holds_however_the_bytes_come(step: int) -> None:
    fits = frame(1, MAX_MESSAGE)
    assert feed(FrameMeter(), fits * 2, step) == [len(fits), 2 * len(fits)]
    with pytest.raises(MessageTooBigError):
        feed(FrameMeter(), frame(1, MAX_MESSAGE + 1), step)


@given(st.integers(1, 30))
def test_a_message_ends_with_its_last_frame(step: int) -> None:
    pieces = [
        frame(1, 3),
        frame(1, 0),
        frame(9, 5)
        + frame(1, 7, fin=False)
        + frame(9, 0)
        + frame(0, 0, fin=False)
        + frame(0, 2),
    ]
    ends = list(itertools.accumulate(map(len, pieces)))
    assert feed(FrameMeter(), b"".join(pieces) + frame(10, 3), step) == ends


@pytest.mark.parametrize("piece", [50, 1_000, 30_000])
def test_the_limit_holds_across_fragments(piece: int) -> None:
    meter = FrameMeter()
    meter.feed(frame(1, piece, fin=False))
    for _ in range(MAX_MESSAGE // piece - 1):
        meter.feed(frame(0, piece, fin=False))
    with pytest.raises(MessageTooBigError):
        meter.feed(frame(0, piece, fin=False))


def test_pings_between_fragments_do_not_begin_the_count_anew() -> None:
    meter = FrameMeter()
    meter.feed(frame(1, 60_000, fin=False))
    meter.feed(frame(9, 10))
    assert meter.pings == 12
    with pytest.raises(MessageTooBigError):
        meter.feed(frame(0, 60_000))


def test_there_is_a_most_of_fragments_even_of_empty_ones() -> None:
    meter = FrameMeter()
    meter.feed(frame(1, 0, fin=False))
    with pytest.raises(MessageTooBigError):
        meter.feed(frame(0, 0, fin=False) * MAX_FRAGMENTS)


def test_a_finished_message_begins_the_count_anew() -> None:
    meter = FrameMeter()
    for _ in range(3):
        feed(meter, frame(1, 60_000, fin=False) + frame(0, 30_000))


@pytest.mark.parametrize("opcode", [1, 2, 9])
def test_a_huge_length_is_refused_by_its_header(opcode: int) -> None:
    header = struct.pack("!BBQ", 0x80 | opcode, 0xFF, 2**62) + b"abcd"
    meter = FrameMeter()
    assert meter.feed(header[:-1]) == len(header) - 1
    with pytest.raises(MessageTooBigError):
        meter.feed(header[-1:])


def test_nothing_counts_after_a_close_frame() -> None:
    message, close = frame(1, 3), frame(8, 20)
    meter = FrameMeter()
    assert meter.feed(message + close + b"anything") == len(message)
    assert meter.complete
    assert not meter.closed
    assert meter.feed(close[:-1]) == len(close) - 1
    assert not meter.closed
    assert meter.feed(close[-1:] + b"anything") == 1
    assert meter.closed
    assert not meter.complete


def test_an_empty_close_frame_counts_too() -> None:
    meter = FrameMeter()
    assert meter.feed(frame(8, 0, masked=False) + b"x") == 2
    assert meter.closed


@given(st.lists(st.binary(max_size=50)))
def test_no_bytes_are_too_strange_for_the_meter(chunks: list[bytes]) -> None:
    meter = FrameMeter()
    try:
        for chunk in chunks:
            assert 0 <= meter.feed(chunk) <= len(chunk)
            if meter.closed:
                return
    except MessageTooBigError:
        pass


# Memories with an end


def test_values_live_for_a_while() -> None:
    memory: Expiring[str] = Expiring(10)
    memory.set("a", "1", 0)
    assert memory.get("a", 9.9) == "1"
    assert memory.remaining("a", 9) == 1
    assert memory.get("a", 10) is None
    assert memory.remaining("b", 0) == 0
    memory.set("b", "2", 5)
    memory.forget(10)
    assert len(memory) == 1


def test_a_value_that_is_set_again_lives_anew() -> None:
    memory: Expiring[str] = Expiring(10, 700)
    memory.set("a", "1", 0)
    memory.set("b", "2", 1)
    memory.set("a", "3", 5)
    memory.set("c", "4", 6)
    assert memory.get("a", 14) == "3"
    assert memory.get("b", 6) is None
    memory.set("d", "x" * 300, 7)
    assert len(memory) == 1
    memory.set("e", "x" * 1000, 8)
    assert len(memory) == 0
    memory.set("f", "", 9)
    assert memory.get("f", 9) == ""


# Apps


@pytest.mark.parametrize(
    ("arguments", "options", "word"),
    [
        (("", "k", "s"), {}, "id"),
        (("1", "", "s"), {}, "key"),
        (("1", "k", None), {}, "secret"),
        (("1", "k", "s p"), {}, "secret"),
        (("1", "k", "s"), {"webhooks": "http://a"}, "webhooks"),
        (("1", "k", "s"), {"webhooks": 7}, "webhooks"),
        (("1", "k", "s"), {"webhooks": [7]}, "webhooks"),
        (("1", "k", "s"), {"webhooks": ["ftp://a"]}, "webhooks"),
        (("1", "k", "s"), {"webhooks": ["http://"]}, "webhooks"),
        (("1", "k", "s"), {"webhooks": ["http://a:x"]}, "webhooks"),
        (("1", "k", "s"), {"webhooks": ["http://[a"]}, "webhooks"),
        (("1", "k", "s"), {"webhooks": ["http://a/ü"]}, "webhooks"),
        (("1", "k", "s"), {"webhooks": ["http://a/ b"]}, "webhooks"),
        (("1", "k", "s"), {"client_events": 1}, "client_events"),
        (("1", "k", "s"), {"user_authentication": None}, "user_authentication"),
        (("1", "k", "s"), {"subscription_counts": "no"}, "subscription_counts"),
        (("1", "k", "s"), {"activity_timeout": 0}, "activity_timeout"),
        (("1", "k", "s"), {"pong_timeout": float("nan")}, "pong_timeout"),
        (("1", "k", "s"), {"max_connections": 0}, "max_connections"),
        (("1", "k", "s"), {"enabled": "yes"}, "enabled"),
    ],
)
def test_a_setting_that_is_wrong_is_named(
    arguments: tuple[Any, ...], options: dict[str, Any], word: str
) -> None:
    with pytest.raises(ConfigurationError, match=word):
        App(*arguments, **options)


@pytest.mark.parametrize(
    "apps",
    [
        [],
        None,
        App("1", "k", "s"),
        ["1"],
        [App("1", "k", "s"), App("1", "l", "s")],
        [App("1", "k", "s"), App("2", "k", "s")],
    ],
)
def test_apps_must_be_told_apart(apps: Any) -> None:
    with pytest.raises(ConfigurationError, match="apps"):
        ChannelsServer(apps)


@pytest.mark.parametrize("most", [0, True, 1.5, "1"])
def test_the_most_connections_are_a_number(most: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_connections"):
        ChannelsServer([App("1", "k", "s")], max_connections=most)


def test_an_app_shows_neither_key_nor_secret_nor_webhook() -> None:
    shown = repr(App("1", "KEY", "SECRET", webhooks=["http://u:PASSWORD@a/"]))
    assert not {"KEY", "SECRET", "PASSWORD"} & set(shown.replace("'", " ").split())
    assert "PASSWORD" not in shown


def test_importing_the_server_imports_no_reactor() -> None:
    code = (
        "import sys, txpusher.server, txpusher.testing, txpusher.__main__;"
        "sys.exit('twisted.internet.reactor' in sys.modules)"
    )
    assert run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# The HTTP face


@pytest.mark.parametrize(
    ("method", "uri"), [(b"GET", b"/apps/3/\xff"), (b"GET", b"/?\xff"), (b"\xff", b"/")]
)
def test_a_request_line_that_is_no_ascii_is_refused(method: bytes, uri: bytes) -> None:
    # Some versions of Twisted do so themselves.
    request = DummyRequest([])
    request.method, request.uri = method, uri
    body = Root(ChannelsServer([App("1", "k", "s")]), Resource()).render(request)
    assert request.responseCode == 400
    assert b"percent-escaped" in body


# The outbox


class Peer:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.send = self.writes.append


def test_a_small_audience_is_served_at_once() -> None:
    clock, peer = Clock(), Peer()
    Outbox(clock).send([peer], b"1")
    assert peer.writes == [b"1"]
    assert not clock.getDelayedCalls()


def test_events_of_one_round_go_to_a_large_audience_in_one_write() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    peers = [Peer() for _ in range(LARGE_AUDIENCE)]
    for text in (b"1", b"2", b"3"):
        outbox.send(peers, text)
    assert peers[0].writes == []
    clock.advance(0)
    assert all(peer.writes == [b"123"] for peer in peers)
    outbox.send(peers, b"4")
    clock.advance(0)
    assert peers[0].writes == [b"123", b"4"]


def test_the_order_is_kept_between_audiences() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    peers = [Peer() for _ in range(LARGE_AUDIENCE)]
    others = list(peers)
    outbox.send(peers, b"1")
    outbox.send(others, b"2")
    outbox.send(peers[:1], b"3")
    outbox.send(peers, b"4")
    clock.advance(0)
    assert b"".join(peers[0].writes) == b"1234"
    assert b"".join(peers[1].writes) == b"124"


def test_what_gathers_is_bounded() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    peers = [Peer() for _ in range(LARGE_AUDIENCE)]
    for _ in range(3):
        outbox.send(peers, b"x" * (MAX_BYTES // 2))
    assert [len(write) for write in peers[0].writes] == [MAX_BYTES]


def test_a_stopped_outbox_has_sent_all_and_leaves_nothing() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    peers = [Peer() for _ in range(LARGE_AUDIENCE)]
    outbox.send(peers, b"1")
    outbox.stop()
    assert peers[0].writes == [b"1"]
    assert not clock.getDelayedCalls()
    outbox.stop()
