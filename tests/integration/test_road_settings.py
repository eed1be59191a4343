"""Settings that the road obeys, phases of a timeout, and how little it writes into the log."""

from __future__ import annotations

import gzip
import json
import os
import socket
import sys
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import TimeoutError as TwistedTimeoutError
from twisted.internet.utils import getProcessOutputAndValue
from twisted.logger import LogLevel

from tests.support.asserting import error_of
from tests.support.misbehaving import OK, answering, never_answer, reply
from tests.support.waiting import within
from txpusher import APIError, HTTPError, RateLimitedError, RequestTimeoutError, RetryPolicy

NEVER = RetryPolicy(max_retries=0)
MANY = json.dumps({"channels": {f"private-{n:036d}": {} for n in range(30_000)}}).encode()


class TestMaxReplyBytes:
    @pytest.mark.parametrize("packed", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_larger_reply_is_taken_where_the_setting_allows(self, serve, connect, packed):
        body = gzip.compress(MANY) if packed else MANY
        headers = ["Content-Encoding: gzip"] if packed else []
        server = serve(answering(reply(200, body, *headers)))
        pusher = connect(server, max_reply_bytes=len(MANY))
        assert len((await within(pusher.channels()))["channels"]) == 30_000
        pusher = connect(server, max_reply_bytes=len(MANY) - 1, retry=NEVER)
        error = await error_of(pusher.channels(), HTTPError)
        assert f"larger than {len(MANY) - 1} bytes, the limit that max_reply_bytes" in str(
            error
        )


class TestEndpoint:
    @pytest_twisted.ensureDeferred
    async def test_endpoint_stands_for_the_tcp_connection(self, serve, connect, tmp_path):
        from twisted.internet import reactor as installed

        reactor: Any = installed
        server = serve(answering(OK), listen=False)
        listening = reactor.listenUNIX(str(tmp_path / "socket"), server)
        endpoint = UNIXClientEndpoint(reactor, str(tmp_path / "socket"))
        pusher = connect(endpoint=endpoint, host="channels.example", max_connections=1)
        for size in (1, 5000, 2):
            assert await within(pusher.trigger("c", "e", "x" * size)) == {}
        assert [request.connection for request in server.requests] == [1, 1, 1]
        assert server.requests[0].headers["host"] == "channels.example"
        second = pusher.trigger("c", "e", "d")
        server.peers[0].hang_up()
        assert await within(second) == {}
        await within(pusher.close())
        await listening.stopListening()


class TestMaxDuration:
    @pytest_twisted.ensureDeferred
    async def test_no_attempt_begins_after_the_duration(self, serve, connect):
        server = serve(answering(reply(429)))
        policy = RetryPolicy(
            max_retries=50, initial_delay=0.1, max_delay=0.1, max_duration=0.25
        )
        error = await error_of(
            connect(server, retry=policy).trigger("c", "e", "d"), RateLimitedError
        )
        assert error.maybe_delivered is False
        assert 2 <= len(server.requests) <= 6

    @pytest_twisted.ensureDeferred
    async def test_attempt_ends_with_the_duration(self, serve, connect):
        server = serve(never_answer)
        pusher = connect(server, retry=RetryPolicy(max_duration=0.1))
        error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)
        assert "within 0.1 seconds, which is max_duration" in str(error)
        assert error.maybe_delivered is True
        assert len(server.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_time_in_the_queue_does_not_count(self, serve, connect):
        async def slow(peer):
            while True:
                await peer.request()
                await peer.pause(0.15)
                peer.send(OK)

        pusher = connect(serve(slow), max_connections=1, retry=RetryPolicy(max_duration=0.5))
        for operation in [pusher.trigger("c", "e", "d") for _ in range(5)]:
            assert await within(operation) == {}


class TestSigning:
    @pytest.mark.parametrize("signed", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_prefix_is_signed_where_the_setting_says_so(self, serve, connect, signed):
        server = serve(answering(OK))
        pusher = connect(server, path_prefix="/ws/x", sign_path_prefix=signed)
        await within(pusher.trigger("c", "e", "d"))
        await within(pusher.channels(filter_by_prefix="presence-", info=["user_count"]))
        for request in server.requests:
            assert request.path.startswith("/ws/x/apps/3/")
            stripped = "" if signed else "/ws/x"
            assert request.signature == request.expected_signature(stripped)
        assert server.requests[1].params["filter_by_prefix"] == "presence-"

    @pytest_twisted.ensureDeferred
    async def test_idempotency_key_of_the_call_is_sent_with_each_attempt(self, serve, connect):
        server = serve(answering(reply(429), OK))
        pusher = connect(server, retry=RetryPolicy(initial_delay=0.001))
        await within(pusher.trigger("c", "e", "d", idempotency_key="order 7"))
        keys = [request.headers["x-idempotency-key"] for request in server.requests]
        assert keys == ["order 7", "order 7"]


async def silent(peer):
    await peer.stall()


class TestPhases:
    @pytest.mark.parametrize(
        ("options", "phase"),
        [
            (
                {"use_tls": True},
                "connected, but no TLS handshake within 0.1 seconds: is it a port for HTTPS?",
            ),
            (
                {"use_tls": True, "http_proxy": True},
                "connected to the proxy, but no answer to CONNECT within 0.1 seconds",
            ),
            ({"timeout": 0.1}, "no complete reply within 0.1 seconds"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_timeout_names_its_phase(self, serve, connect, options, phase):
        server = serve(silent)
        if "http_proxy" in options:
            options = {**options, "http_proxy": f"http://127.0.0.1:{server.port}"}
        pusher = connect(server, connect_timeout=0.1, retry=NEVER, **options)
        error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)
        assert phase in str(error)
        if "timeout" not in options:
            assert isinstance(error.original_error, TwistedTimeoutError)
            assert error.maybe_delivered is False

    @pytest_twisted.ensureDeferred
    async def test_handshake_in_a_silent_tunnel_is_its_own_phase(self, serve, connect):
        async def tunnel(peer):
            await peer.head()
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await peer.stall()

        proxy = serve(tunnel)
        pusher = connect(
            proxy,
            http_proxy=f"http://127.0.0.1:{proxy.port}",
            use_tls=True,
            connect_timeout=0.1,
            retry=NEVER,
        )
        error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)
        assert "connected, but no TLS handshake within 0.1 seconds" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_tcp_that_nobody_accepts_is_a_connect_timeout(self, connect):
        # A queue of one connection, which is taken: the kernel drops what comes after.
        listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        port = listening.getsockname()[1]
        first = socket.create_connection(("127.0.0.1", port))
        try:
            pusher = connect(port=port, connect_timeout=0.1, retry=NEVER)
            error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)
        finally:
            first.close()
            listening.close()
        assert "no TCP connection to 127.0.0.1" in str(error)
        assert error.maybe_delivered is False
        assert isinstance(error.original_error, TwistedTimeoutError)

    @pytest_twisted.ensureDeferred
    async def test_http_to_a_tls_port_is_named(self, serve, connect, tls):
        server = serve(answering(OK), tls.server_context())
        pusher = connect(server, retry=NEVER)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert "is it a port for HTTPS?" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_alert_in_place_of_a_reply_is_named(self, serve, connect):
        async def alert(peer):
            await peer.request()
            peer.send(b"\x15\x03\x03\x00\x02\x02\x46")

        error = await error_of(
            connect(serve(alert), retry=NEVER).trigger("c", "e", "d"), HTTPError
        )
        assert "the server answered in TLS: is it a port for HTTPS?" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_https_to_a_plain_port_is_named(self, serve, connect):
        async def plain(peer):
            await peer.some()
            peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        pusher = connect(serve(plain), use_tls=True, retry=NEVER)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert "(is it a port for HTTP?)" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_redirect_names_its_location(self, serve, connect):
        server = serve(answering(reply(301, "", "Location: https://other.example/apps/3?x=1")))
        error = await error_of(connect(server).trigger("c", "e", "d"), APIError)
        assert "https://other.example/apps/3" in str(error)
        assert error.maybe_delivered is False


class TestLog:
    @pytest.mark.parametrize("proxied", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_requests_connections_and_retries_are_told_at_debug_alone(
        self, serve, connect, log, proxied
    ):
        server = serve(answering(reply(429), OK, reply(200, "{}", "Connection: close"), OK))
        proxy = f"http://127.0.0.1:{server.port}" if proxied else None
        # What the server has said of its port.
        log.events.clear()
        pusher = connect(server, retry=RetryPolicy(initial_delay=0.001), http_proxy=proxy)
        for _ in range(5):
            await within(pusher.trigger("c", "e", "d"))
        await within(pusher.close())
        assert {event["log_level"] for event in log.events} == {LogLevel.debug}
        assert {event["log_namespace"] for event in log.events} == {"txpusher"}

    @pytest_twisted.ensureDeferred
    async def test_plain_proxy_gets_a_connection_for_each_request(self, serve, connect):
        server = serve(answering(OK))
        pusher = connect(server, http_proxy=f"http://127.0.0.1:{server.port}")
        for _ in range(3):
            await within(pusher.trigger("c", "e", "d"))
        assert [request.connection for request in server.requests] == [1, 2, 3]


STOPPING = """
import sys
from twisted.internet.task import react, deferLater
from twisted.logger import globalLogPublisher, formatEvent, LogLevel
from txpusher import Pusher, RetryPolicy

globalLogPublisher.addObserver(
    lambda e: e["log_level"] is LogLevel.error and print(e["log_namespace"], formatEvent(e)))

async def main(reactor):
    pusher = Pusher("3", "key", "secret", host="127.0.0.1", port=int(sys.argv[1]),
                    use_tls=False, max_connections=2)
    for _ in range(5):
        pusher.trigger("c", "e", "d").addErrback(lambda failure: None)
    ENDING
    await deferLater(reactor, 0.3)

react(main)
"""


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("pass", ["txpusher 5 operations were unsettled when the reactor stopped"]),
        ("await pusher.close(timeout=0.1)", []),
    ],
)
@pytest_twisted.ensureDeferred
async def test_unsettled_operations_are_told_when_the_reactor_stops(serve, ending, said):
    server = serve(never_answer)
    source = STOPPING.replace("ENDING", ending)
    out, err, code = await within(
        getProcessOutputAndValue(
            sys.executable, ["-c", source, str(server.port)], env=dict(os.environ)
        )
    )
    assert (out.decode().splitlines(), err.decode(), code) == (said, "", 0)
