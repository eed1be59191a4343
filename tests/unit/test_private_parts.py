"""
The private parts of Twisted and treq that the road rests on, each seen in the versions named.

A failure here says which place to look at with a new version.
"""

from __future__ import annotations

from importlib.metadata import version

import treq
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web.client import GzipDecoder
from twisted.web.http_headers import Headers

from txpusher._http import agents, pool

#: In which versions the parts have been seen.
SEEN = (
    "seen in Twisted 24.7 to 26.10 and treq 24.9 to 26.7; "
    f"here are Twisted {version('twisted')} and treq {version('treq')}"
)


def test_request_needs_four_attributes_and_two_methods() -> None:
    """:class:`txpusher._http.agents.WireRequest`, over Twisted's own protocol."""
    transport, kept = StringTransport(), []
    protocol = HTTP11ClientProtocol(kept.append)
    protocol.makeConnection(transport)
    agent = agents.ConnectionAgent(protocol, b"Host: h", proxied=False)
    body = agents.BytesProducer(b"{}")
    headers = Headers({b"A": [b"b", b"c"]})
    replied = agent.request(b"POST", b"http://h:80/p?q=1", headers, body)
    assert transport.value() == (
        b"POST /p?q=1 HTTP/1.1\r\nHost: h\r\nA: b\r\nA: c\r\nContent-Length: 2\r\n\r\n{}"
    ), SEEN
    protocol.dataReceived(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert replied.called, SEEN
    assert kept == [protocol], SEEN


def test_protocol_has_the_connection_headers_of_a_reply_that_was_read() -> None:
    """:meth:`txpusher._http.pool._HTTPProtocol.is_last_reply`"""
    for lines, is_last in (
        (b"", False),
        (b"Connection: Foo, CLOSE\r\n", True),
        (b"Connection: keep-alive\r\n", False),
    ):
        found: list[bool] = []
        protocol = pool._HTTPProtocol(
            lambda kept, found=found: found.append(kept.is_last_reply())
        )
        protocol.makeConnection(StringTransport())
        agent = agents.ConnectionAgent(protocol, b"Host: h", proxied=False)
        agent.request(b"GET", b"http://h/", None, None)
        protocol.dataReceived(b"HTTP/1.1 204 No Content\r\n" + lines + b"\r\n")
        assert found == [is_last], SEEN


def test_protocol_is_quiescent_after_a_plain_reply_and_takes_the_next_request() -> None:
    """:class:`txpusher._http.pool._HTTPProtocol`, which ends a request in Twisted's place."""
    kept: list[object] = []
    protocol = pool._HTTPProtocol(kept.append)
    protocol.makeConnection(StringTransport())
    agent = agents.ConnectionAgent(protocol, b"Host: h", proxied=False)
    for number in (1, 2):
        replied = agent.request(b"GET", b"http://h/", None, None)
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        assert replied.called, SEEN
        assert kept == [protocol] * number, SEEN
        # Nothing is left of the request.
        attributes = {name for name in vars(HTTP11ClientProtocol) if name.startswith("_")}
        left = {name for name in attributes & vars(protocol).keys() if vars(protocol)[name]}
        assert left == {"_state"}, SEEN
        assert protocol.state == "QUIESCENT", SEEN


def test_copy_of_clean_headers_is_one_of_its_own() -> None:
    """:class:`txpusher._http.agents.CleanHeaders`"""
    clean = agents.CleanHeaders({b"A": [b"1"]})
    copied = clean.copy()
    copied.addRawHeader(b"A", b"2")
    copied.addRawHeader(b"B", b"3")
    assert dict(clean.getAllRawHeaders()) == {b"A": [b"1"]}, SEEN
    assert dict(copied.getAllRawHeaders()) == {b"A": [b"1", b"2"], b"B": [b"3"]}, SEEN


def test_gzip_decoder_is_found_in_the_layers_of_a_response() -> None:
    """:func:`txpusher._http.agents.undecoded`"""

    class Response:
        headers = Headers({b"Content-Encoding": [b"gzip"]})
        code = 200

    class Agent:
        def request(self, *arguments: object) -> Deferred[object]:
            return succeed(Response())

    client = treq.client.HTTPClient(Agent(), cookiejar=agents.NoCookies())  # type: ignore[arg-type]
    got: list[object] = []
    client.get("http://h/", unbuffered=True, reactor=object()).addCallback(got.append)
    inner, packed = agents.undecoded(got[0])
    assert packed, SEEN
    assert type(inner) is Response, SEEN
    assert agents.undecoded(GzipDecoder(inner)) == (inner, True), SEEN
    assert agents.undecoded(inner) == (inner, False), SEEN


def test_remembered_url_is_the_url_that_hyperlink_makes() -> None:
    """:class:`txpusher._http.agents.RememberingURL`, with public parts of hyperlink."""
    for text in (
        "http://127.0.0.1:8080/apps/3/events",
        "https://api-eu.pusher.com/prefix/apps/a%20b/channels?filter_by_prefix=presence-%2C%26x",
        "http://[::1]:8081/apps/3/channels/a;b@c,d=e!f'g(h)*+$&~/users?info=user_count",
    ):
        url = agents.RememberingURL.from_text(text)
        assert url.to_uri().to_text() == text
        assert url.to_uri().to_text() is url.to_text()
    other = url.replace(path=("é",))
    assert other.to_text() == "http://[::1]:8081/é?info=user_count"
