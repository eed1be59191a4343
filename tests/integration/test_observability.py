"""What a program can see of its requests, and what nobody may see."""

from __future__ import annotations

import email.utils
import time

import pytest
import pytest_twisted
from twisted.logger import LogLevel, formatEvent

from tests.support.asserting import error_of
from tests.support.credentials import KEY, SECRET
from tests.support.misbehaving import OK, answering, in_turn, read_and_close, reply
from tests.support.waiting import within
from txpusher import (
    Attempt,
    AuthenticationError,
    BadRequestError,
    HTTPError,
    RateLimitedError,
    RetryPolicy,
)

FAST = RetryPolicy(initial_delay=0.001)


class TestOnAttempt:
    @pytest_twisted.ensureDeferred
    async def test_hook_is_told_of_each_attempt(self, serve, connect):
        seen = []
        server = serve(answering(reply(429), reply(429), OK, OK))
        pusher = connect(server, retry=FAST, on_attempt=seen.append)
        began = time.monotonic()
        await within(pusher.trigger("c", "e", "d"))
        await within(pusher.channels())
        elapsed = time.monotonic() - began
        assert all(type(attempt) is Attempt for attempt in seen)
        assert [(a.method, a.path, a.attempt, a.status) for a in seen] == [
            ("POST", "/apps/3/events", 1, 429),
            ("POST", "/apps/3/events", 2, 429),
            ("POST", "/apps/3/events", 3, 200),
            ("GET", "/apps/3/channels", 1, 200),
        ]
        assert [type(attempt.failure) for attempt in seen[:2]] == [RateLimitedError] * 2
        assert [attempt.failure for attempt in seen[2:]] == [None, None]
        assert all(0 < attempt.seconds < elapsed for attempt in seen)

    @pytest_twisted.ensureDeferred
    async def test_an_attempt_without_a_reply_has_no_status(self, serve, connect):
        seen = []
        server = serve(in_turn(read_and_close, answering(reply(200, "no JSON"))))
        pusher = connect(server, on_attempt=seen.append, retry=RetryPolicy(max_retries=0))
        lost = await error_of(pusher.trigger("c", "e", "d"), HTTPError, server)
        garbled = await error_of(pusher.trigger("c", "e", "d"), HTTPError, server)
        assert [(a.status, a.failure) for a in seen] == [(None, lost), (200, garbled)]

    @pytest_twisted.ensureDeferred
    async def test_exception_of_the_hook_is_logged_and_changes_nothing(
        self, serve, connect, log
    ):
        def broken(attempt):
            raise ValueError("the hook is broken")

        server = serve(answering(reply(429), OK))
        pusher = connect(server, retry=FAST, on_attempt=broken)
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert len(server.requests) == 2
        failures = log.flush()
        assert len(failures) == 2
        for event in failures:
            assert event["log_failure"].check(ValueError)
            assert "on_attempt" in formatEvent(event)

    @pytest_twisted.ensureDeferred
    async def test_hook_may_begin_operations(self, serve, connect):
        begun = []

        def hook(attempt):
            if len(begun) < 3:
                begun.append(pusher.trigger("c", "e", "more"))

        server = serve(answering(OK))
        pusher = connect(server, max_connections=1, on_attempt=hook)
        await within(pusher.trigger("c", "e", "d"))
        for number in range(3):
            assert await within(begun[number]) == {}
        assert len(server.requests) == 4
        assert server.connections == 1


class TestLog:
    @pytest_twisted.ensureDeferred
    async def test_log_has_one_debug_event_per_request(self, serve, connect, log):
        server = serve(in_turn(answering(reply(429), OK, reply(404))))
        pusher = connect(server, retry=FAST)
        await within(pusher.trigger("c", "e", "d"))
        await within(pusher.get("/nothing", {"x": "y"}).addErrback(lambda failure: None))
        assert [event["log_level"] for event in log.requests] == [LogLevel.debug] * 3
        assert [(e["method"], e["path"], e["status"]) for e in log.requests] == [
            ("POST", "/apps/3/events", 429),
            ("POST", "/apps/3/events", 200),
            ("GET", "/apps/3/nothing", 404),
        ]
        for event in log.requests:
            assert event["log_namespace"] == "txpusher"
            assert 0 < event["milliseconds"] < 10_000
            text = formatEvent(event)
            assert text.startswith(f"{event['method']} {event['path']}: {event['status']} in ")
            assert text.endswith(" ms")
        ours = [e for e in log.events if e.get("log_namespace", "").startswith("txpusher")]
        assert ours == log.requests

    @pytest_twisted.ensureDeferred
    async def test_a_request_without_a_reply_has_its_error_for_a_status(
        self, serve, connect, log
    ):
        server = serve(read_and_close)
        await error_of(connect(server).trigger("c", "e", "d"), HTTPError, server)
        assert [event["status"] for event in log.requests] == ["HTTPError"]

    @pytest_twisted.ensureDeferred
    async def test_quiet_trigger_that_fails_is_logged(self, serve, connect, log):
        server = serve(answering(OK, reply(400, "bad data")))
        channel = connect(server).channel("my-channel")
        assert await within(channel.trigger_quietly("e", "d")) is None
        errors = [e for e in log.events if e.get("log_level") == LogLevel.error]
        assert errors == []
        assert await within(channel.trigger_quietly("e", "d")) is None
        [event] = [e for e in log.events if e.get("log_level") == LogLevel.error]
        assert "my-channel" in formatEvent(event)
        assert "status 400: bad data" in formatEvent(event)

    @pytest_twisted.ensureDeferred
    async def test_log_events_hold_no_secret(self, serve, connect, log):
        """The server quotes all that it was sent; each test here checks its log too."""

        async def quote(peer):
            while True:
                request = await peer.request()
                quoted = f"{request.target} {request.headers} {SECRET} {KEY}"
                peer.send(reply(401 if "quiet" not in request.path else 429, quoted))

        server = serve(quote)
        pusher = connect(server, retry=FAST)
        await error_of(pusher.trigger("c", "e", "d"), AuthenticationError, server)
        await error_of(pusher.get("/quiet"), RateLimitedError, server)
        await within(pusher["c"].trigger_quietly("e", "d"))
        signatures = [request.signature for request in server.requests]
        assert len(signatures) == 6
        for secret in (SECRET, KEY, *signatures):
            assert len(secret) > 16
            assert secret not in log.text
        assert len(log.requests) == 6


class TestUnauthorised:
    QUOTING = (
        "Invalid signature: you should have sent HmacSHA256Hex("
        '"POST\\n/apps/3/events\\nauth_key=%s&auth_timestamp=1&auth_version=1.0"'
        ', your_secret_key), but you sent "%s"\n'
    )

    @pytest_twisted.ensureDeferred
    async def test_a_signature_that_is_quoted_is_not_in_the_message(self, serve, connect):
        async def quote(peer):
            request = await peer.request()
            peer.send(reply(401, self.QUOTING % (KEY, request.signature)))

        server = serve(quote)
        pusher = connect(server)
        error = await error_of(pusher.trigger("c", "e", "d"), AuthenticationError, server)
        assert "Invalid signature: you should have sent" in str(error)
        assert "[redacted]" in str(error)
        # The body is the reply as it came.
        assert server.requests[0].signature in error.body

    @pytest_twisted.ensureDeferred
    async def test_query_quoted_by_the_server_does_not_show_the_signature(self, serve, connect):
        async def quote(peer):
            request = await peer.request()
            peer.send(reply(400, f"cannot serve {request.target}"))

        server = serve(quote)
        await error_of(connect(server).trigger("c", "e", "d"), BadRequestError, server)

    @pytest.mark.parametrize(
        ("ahead", "direction"), [(400, "ahead of"), (-400, "behind"), (90_000, "ahead of")]
    )
    @pytest.mark.parametrize("status", [401, 200])
    @pytest_twisted.ensureDeferred
    async def test_a_clock_that_is_off_is_named(self, serve, connect, ahead, direction, status):
        now = 1_700_000_000
        date = email.utils.formatdate(now - ahead, usegmt=True)
        # Some servers say so in a success.
        expired = '{"error": "Timestamp expired", "code": 401}'
        server = serve(answering(reply(status, expired, f"Date: {date}")))
        pusher = connect(server, clock=lambda: float(now))
        error = await error_of(pusher.trigger("c", "e", "d"), AuthenticationError)
        assert f"{abs(ahead)} seconds {direction} the server's" in str(error)
        assert "Timestamp expired" in str(error)

    @pytest.mark.parametrize(
        ("status", "header"),
        [(401, "Date: {299}"), (401, "Date: nonsense"), (401, "X: y"), (403, "Date: {9999}")],
    )
    @pytest_twisted.ensureDeferred
    async def test_authentication_error_with_another_cause_does_not_name_the_clock(
        self, serve, connect, status, header
    ):
        now = 1_700_000_000
        for seconds in (299, 9999):
            date = email.utils.formatdate(now - seconds, usegmt=True)
            header = header.replace(f"{{{seconds}}}", date)
        server = serve(answering(reply(status, "no", header)))
        pusher = connect(server, clock=lambda: float(now))
        operation = pusher.trigger("c", "e", "d").addErrback(lambda failure: failure.value)
        assert str(await within(operation)) == f"POST /apps/3/events: status {status}: no"
