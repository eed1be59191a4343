"""Replies that are read at a glance, beside Twisted's own reading of the same bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol, RequestNotSent

from txpusher._http import pool
from txpusher._http.agents import BytesProducer, ConnectionAgent
from txpusher._http.replies import read_plain

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Date: Fri, 27 Nov 2026 08:00:00 GMT\r\nContent-Length: 2\r\n\r\n{}"


class Transport(StringTransport):
    """Pauses as often as it is told to."""

    def pauseProducing(self) -> None:
        self.producerState = "paused"

    def resumeProducing(self) -> None:
        self.producerState = "producing"


class Body(Protocol):
    """Keeps a body, and how it ended."""

    def __init__(self) -> None:
        self.body = b""
        self.end = ""

    def dataReceived(self, data: bytes) -> None:
        self.body += data

    def connectionLost(self, reason: Any = None) -> None:
        self.end = type(reason.value).__name__


def seen(
    make: Any, method: bytes, pieces: list[bytes], *, cancelled: bool = False
) -> dict[str, Any]:
    """
    What a protocol makes of a reply that comes in *pieces*, and of the end after it.

    :param cancelled: Whether the request is cancelled before the end.
    """
    kept: list[Any] = []
    transport = Transport()
    protocol = make(kept.append)
    protocol.makeConnection(transport)
    agent = ConnectionAgent(protocol, b"Host: h", proxied=False)
    reply: Deferred[Any] = agent.request(method, b"http://h/p", None, BytesProducer(b"{}"))
    found: dict[str, Any] = {}
    body = Body()

    def answered(response: Any) -> None:
        found["head"] = (response.version, response.code, response.phrase, response.length)
        found["headers"] = sorted(response.headers.getAllRawHeaders())
        response.deliverBody(body)

    def failed(failure: Failure) -> None:
        found["failed"] = type(failure.value).__name__

    reply.addCallbacks(answered, failed)
    for piece in pieces:
        if not transport.disconnecting:
            protocol.dataReceived(piece)
    if cancelled:
        reply.cancel()
    found["kept"] = len(kept)
    found["closing"] = transport.disconnecting
    found["state"] = protocol.state
    protocol.connectionLost(Failure(ConnectionDone()))
    found["body"] = (body.body, body.end)
    return found


NAMES = st.sampled_from(
    [
        "Date",
        "Connection",
        "connection",
        "Content-Length",
        "content-length",
        "Keep-Alive",
        "Transfer-Encoding",
        "Content-Encoding",
        "X-A",
        "TE",
        "X A",
        "",
        "Location",
    ]
)
TEXTS = st.sampled_from(
    [
        "",
        "2",
        " 2",
        "+2",
        "02",
        "3",
        "0",
        "close",
        "keep-alive",
        "Keep-Alive",
        "close, x",
        "a\tb",
        "chunked",
        "gzip",
        "identity",
        "\xe9",
        "\x00",
        "a: b",
        "\r\n folded",
    ]
)
LINES = st.lists(st.tuples(NAMES, TEXTS), max_size=4)
STATUS = st.sampled_from(
    [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 200 ",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 204 No",
        "HTTP/1.1 413 Too Large",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1  200 OK",
        "http/1.1 200 OK",
    ]
)
BODIES = st.sampled_from([b"{}", b"", b"{", b"{}{}", b"2\r\n{}\r\n0\r\n\r\n"])
ENDS = st.sampled_from(["\r\n", "\n"])


@given(STATUS, LINES, BODIES, ENDS, st.sampled_from([b"POST", b"HEAD"]), st.integers(0, 60))
@example("HTTP/1.1 200 OK", [("Content-Length", "2")], b"{}", "\r\n", b"POST", 0)
@example("HTTP/1.1 200 OK", [("Content-Length", "2")], b"{}", "\r\n", b"POST", 20)
def test_reply_means_what_twisted_takes_it_for(status, lines, body, end, method, cut):
    head = end.join([status, *(f"{name}: {text}" for name, text in lines), "", ""])
    data = head.encode("latin-1") + body
    pieces = [piece for piece in (data[:cut], data[cut:]) if piece]
    ours = seen(pool._HTTPProtocol, method, pieces)
    assert ours == seen(HTTP11ClientProtocol, method, pieces)


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("pieces", [[], [PLAIN[:20]], [PLAIN[:-1]], [PLAIN]])
def test_request_ends_as_twisted_ends_it_wherever_the_reply_stops(pieces, cancelled):
    ours = seen(pool._HTTPProtocol, b"POST", pieces, cancelled=cancelled)
    assert ours == seen(HTTP11ClientProtocol, b"POST", pieces, cancelled=cancelled)


def test_second_request_on_a_connection_in_use_is_not_sent():
    transport = Transport()
    protocol = pool._HTTPProtocol(lambda kept: None)
    protocol.makeConnection(transport)
    agent = ConnectionAgent(protocol, b"Host: h", proxied=False)
    agent.request(b"GET", b"http://h/first", None, None)
    sent = transport.value()
    failures: list[Failure] = []
    agent.request(b"GET", b"http://h/second", None, None).addErrback(failures.append)
    assert [type(failure.value) for failure in failures] == [RequestNotSent]
    assert transport.value() == sent


def test_plain_reply_goes_past_the_parser_of_twisted(monkeypatch):
    def parse(self, data: bytes) -> None:
        raise AssertionError("the parser was asked")

    monkeypatch.setattr(HTTP11ClientProtocol, "dataReceived", parse)
    found = seen(pool._HTTPProtocol, b"POST", [PLAIN])
    assert found["body"] == (b"{}", "ResponseDone")
    assert (found["kept"], found["state"]) == (1, "QUIESCENT")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:-1],
        PLAIN + b"\n",
        PLAIN.replace(b"200", b"201"),
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"Date", b"Connection: close\r\nDate"),
        PLAIN.replace(b"Date", b"Transfer-Encoding: chunked\r\nDate"),
        PLAIN.replace(b"Date", b"Content-Encoding: gzip\r\nDate"),
        PLAIN.replace(b"Date", b"Content-Length: 2\r\nDate"),
        PLAIN.replace(b"Date: ", b"Date : "),
        PLAIN.replace(b"\r\nContent", b"\nContent"),
        PLAIN.replace(b"Date: ", b"Date: " + b"x" * 4096),
    ],
)
def test_reply_that_is_not_plain_is_left_to_twisted(data):
    assert read_plain(data) is None
    assert read_plain(PLAIN) is not None
