"""Frames, memories with an end, apps, the HTTP face, the outbox."""

from __future__ import annotations

import sys
from subprocess import run
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from txpusher.errors import ConfigurationError
from txpusher.server import App, ChannelsServer, WebHookTarget
from txpusher.server._core.cache import ExpiringCache
from txpusher.server._core.outputs import Audience
from txpusher.server._core.refusals import Refusal
from txpusher.server._limits import LARGE_AUDIENCE
from txpusher.server._limits import OUTBOX as MAX_BYTES
from txpusher.server._net.http import ChannelsResource, shown_headers
from txpusher.server._net.outbox import DirectWriter, Outbox, text_frame

# Frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
def test_a_text_frame_has_the_shortest_header(size: int) -> None:
    wsproto = pytest.importorskip("wsproto")
    connection = wsproto.Connection(wsproto.ConnectionType.CLIENT)
    connection.receive_data(text_frame(b"x" * size))
    texts = list(connection.events())
    assert "".join(text.data for text in texts) == "x" * size
    assert texts[-1].message_finished


# Memories with an end


def test_values_live_for_a_while() -> None:
    memory: ExpiringCache[str] = ExpiringCache(10)
    memory.set("a", "1", 1, 0)
    assert memory.get("a", 9.9) == "1"
    assert memory.remaining("a", 9) == 1
    assert memory.get("a", 10) is None
    assert memory.remaining("b", 0) == 0
    memory.set("b", "2", 1, 5)
    memory.forget(10)
    assert len(memory) == 1


def test_a_value_that_is_set_again_lives_anew() -> None:
    memory: ExpiringCache[str] = ExpiringCache(10, 700)
    memory.set("a", "1", 1, 0)
    memory.set("b", "2", 1, 1)
    memory.set("a", "3", 1, 5)
    memory.set("c", "4", 1, 6)
    assert memory.get("a", 14) == "3"
    assert memory.get("b", 6) is None
    memory.set("d", "x" * 300, 300, 7)
    assert len(memory) == 1
    memory.set("e", "x" * 1000, 1000, 8)
    assert len(memory) == 0
    memory.set("f", "", 0, 9)
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
        (("1", "k", "s"), {"webhook_grace": -1}, "webhook_grace"),
        (("1", "k", "s"), {"webhook_batches": 1}, "webhook_batches"),
        (("1", "k", "s"), {"webhooks": WebHookTarget("http://a")}, "webhooks"),
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
    ("settings", "word"),
    [
        ({"url": "ftp://a"}, "URLs"),
        ({"events": "channel_occupied"}, "several names"),
        ({"events": ["channel_ocupied"]}, "channel_ocupied"),
        ({"events": [["channel_occupied"]]}, "not \\[\\['channel_occupied'"),
        ({"events": ["channel_occupied", 7]}, "not \\[7\\]"),
        ({"channel_prefix": 7}, "channel_prefix"),
        ({"headers": [("a", "b")]}, "mapping"),
        ({"headers": {"X-Pusher-Key": "k"}}, "X-Pusher-Key"),
        ({"headers": {"a b": "c"}}, "a b"),
        ({"headers": {"Authorization": "PASSWORD\n"}}, "value of Authorization"),
    ],
)
def test_wrong_setting_of_a_webhook_is_named(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word) as caught:
        WebHookTarget(**{"url": "http://a", **settings})
    assert "PASSWORD" not in str(caught.value)


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


def test_clock_of_a_server_can_be_called() -> None:
    with pytest.raises(ConfigurationError, match="clock must be callable, not the int 7"):
        ChannelsServer([App("1", "k", "s")], clock=7)


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


class Unreachable:
    """An API that is never asked, and told of what is refused before."""

    def __init__(self) -> None:
        self.told: list[tuple[Refusal, str]] = []

    def refused(self, refusal: Refusal, detail: str) -> None:
        self.told.append((refusal, detail))

    def answer(self, *call: object) -> Any:
        raise AssertionError(call)


@pytest.mark.parametrize(
    ("method", "uri"), [(b"GET", b"/apps/3/\xff"), (b"GET", b"/?\xff"), (b"\xff", b"/")]
)
def test_a_request_line_that_is_no_ascii_is_refused(method: bytes, uri: bytes) -> None:
    # Some versions of Twisted do so themselves.
    request = DummyRequest([])
    request.method, request.uri = method, uri
    api = Unreachable()
    body = ChannelsResource(api, Resource(), Clock()).render(request)
    assert request.responseCode == 400
    assert b"percent-escaped" in body
    assert api.told == [
        (Refusal.UNESCAPED_URL, "400: the path and the query must be percent-escaped")
    ]


def test_headers_that_may_hold_a_secret_are_shown_without_their_values() -> None:
    request: Any = DummyRequest([])
    shown = {
        "Host": "dev.example:6001",
        "Connection": "close",
        "Origin": "http://dev.example",
        "Content-Type": "text/plain",
        "X-Forwarded-Proto": "https",
        "X-Pusher-Key": "app-key",
    }
    hidden = (
        "Authorization",
        "Cookie",
        "Referer",
        "X-Api-Key",
        "X-Forwarded-Uri",
        "X-Original-Url",
        "X-Pusher-Signature",
        "X-Of-Tomorrow",
    )
    for name, value in shown.items():
        request.requestHeaders.addRawHeader(name, value)
    for name in hidden:
        request.requestHeaders.addRawHeader(name, "/apps/3/events?auth_signature=5ec2e7")
    assert {name.title(): value for name, value in shown_headers(request)} == {
        **shown,
        **dict.fromkeys(hidden, "(not shown)"),
    }


# The outbox


class Peer:
    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self.writes.append(frame)

    def close(self, code: int, reason: str) -> None:
        """Never called."""


def test_a_small_audience_is_served_at_once() -> None:
    clock, peer = Clock(), Peer()
    Outbox(clock).send(Audience([peer]), b"1")
    assert peer.writes == [b"1"]
    assert not clock.getDelayedCalls()


def test_events_of_one_round_go_to_a_large_audience_in_one_write() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    peers: Any = Audience([Peer() for _ in range(LARGE_AUDIENCE)])
    for text in (b"1", b"2", b"3"):
        outbox.send(peers, text)
    assert peers[0].writes == []
    clock.advance(0)
    assert all(peer.writes == [b"123"] for peer in peers)
    outbox.send(peers, b"4")
    clock.advance(0)
    assert peers[0].writes == [b"123", b"4"]


def test_order_of_events_is_kept_between_audiences() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    peers: Any = Audience([Peer() for _ in range(LARGE_AUDIENCE)])
    others = Audience(list(peers))
    outbox.send(peers, b"1")
    outbox.send(others, b"2")
    outbox.send(Audience(peers[:1]), b"3")
    outbox.send(peers, b"4")
    clock.advance(0)
    assert b"".join(peers[0].writes) == b"1234"
    assert b"".join(peers[1].writes) == b"124"


def test_outbox_is_bounded() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    peers: Any = Audience([Peer() for _ in range(LARGE_AUDIENCE)])
    for _ in range(3):
        outbox.send(peers, b"x" * (MAX_BYTES // 2))
    assert [len(write) for write in peers[0].writes] == [MAX_BYTES]


def test_stopped_outbox_has_sent_every_event_and_leaves_no_timer() -> None:
    clock = Clock()
    outbox = Outbox(clock)
    peers: Any = Audience([Peer() for _ in range(LARGE_AUDIENCE)])
    outbox.send(peers, b"1")
    outbox.stop()
    assert peers[0].writes == [b"1"]
    assert not clock.getDelayedCalls()
    outbox.stop()


# The direct writer


class Transport:
    """A transport without a socket."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        # As Twisted's does, whatever it has yet to write.
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """No producer is kept."""


def test_ended_writer_drops_frames_though_the_transport_has_room() -> None:
    transport = Transport()
    writer = DirectWriter(transport, lambda: None)
    writer._write_now = lambda frame: 1 // 0
    writer.start()
    writer.write(b"before")
    writer.end()
    writer.resumeProducing()
    writer.write(b"after")
    assert transport.written == b"before"
