"""What each kind of reply becomes: the value, or the error that it stands for."""

from __future__ import annotations

import json

import pytest
import pytest_twisted

from tests.support.asserting import error_of
from tests.support.misbehaving import OK, answer_then_close, answering, in_turn, reply
from tests.support.waiting import within
from txpusher import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    HTTPError,
    NotFoundError,
    PayloadTooLargeError,
    ProxyAuthenticationError,
    RateLimitedError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
)

ONCE = RetryPolicy(max_retries=0)
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
MIB = 2**20


def chunked(*chunks: bytes) -> bytes:
    """A body in the chunked transfer encoding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


class TestSuccess:
    @pytest.mark.parametrize("status", [200, 202])
    @pytest.mark.parametrize(
        ("body", "value"),
        [
            ("", {}),
            (" \r\n", {}),
            ("{}", {}),
            ('{"ok": true}', {"ok": True}),
            ('{"channels": {"c": {"subscription_count": 1}}}', None),
            ('{"name": "snow ☃"}', {"name": "snow ☃"}),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_body_or_none_is_the_value(self, serve, connect, status, body, value):
        server = serve(answering(reply(status, body)))
        result = await within(connect(server).trigger("c", "e", "d"))
        assert result == (json.loads(body) if value is None else value)

    @pytest_twisted.ensureDeferred
    async def test_a_reply_without_any_body_or_length_is_a_value(self, serve, connect):
        server = serve(answering(b"HTTP/1.1 204 No Content\r\n\r\n"))
        pusher = connect(server)
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert server.connections == 1

    @pytest_twisted.ensureDeferred
    async def test_a_chunked_reply_is_put_together(self, serve, connect):
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = head + chunked(b'{"a"', b": [1, 2", b"]}", b"")
        server = serve(answering(answer))
        pusher = connect(server)
        assert await within(pusher.channels()) == {"a": [1, 2]}
        assert await within(pusher.channels()) == {"a": [1, 2]}
        assert server.connections == 1

    @pytest_twisted.ensureDeferred
    async def test_a_reply_that_ends_with_its_connection_is_complete(self, serve, connect):
        server = serve(answer_then_close(b'HTTP/1.1 200 OK\r\n\r\n{"ok": 1}'))
        pusher = connect(server)
        assert await within(pusher.trigger("c", "e", "d")) == {"ok": 1}
        assert await within(pusher.trigger("c", "e", "d")) == {"ok": 1}
        assert server.connections == 2

    @pytest_twisted.ensureDeferred
    async def test_http_1_0_is_understood_and_not_reused(self, serve, connect):
        server = serve(answer_then_close(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
        pusher = connect(server)
        for _ in range(3):
            assert await within(pusher.trigger("c", "e", "d")) == {}
        assert server.connections == 3

    @pytest_twisted.ensureDeferred
    async def test_chunks_of_a_byte_are_put_together(self, serve, connect):
        text = b'{"a": "%b"}' % (b"x" * 400_000)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = head + chunked(*(text[n : n + 1] for n in range(len(text))), b"")
        server = serve(answering(answer))
        assert await within(connect(server).channels()) == {"a": "x" * 400_000}

    @pytest_twisted.ensureDeferred
    async def test_a_reply_byte_by_byte_is_put_together(self, serve, connect):
        async def trickle(peer):
            await peer.request()
            for byte in reply(200, '{"ok": 1}'):
                peer.send(bytes([byte]))
                await peer.pause(0)

        server = serve(trickle)
        assert await within(connect(server).trigger("c", "e", "d")) == {"ok": 1}

    @pytest_twisted.ensureDeferred
    async def test_interim_replies_are_passed_over(self, serve, connect):
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        server = serve(answering(interim + reply(200, '{"ok": 1}')))
        assert await within(connect(server).trigger("c", "e", "d")) == {"ok": 1}

    @pytest_twisted.ensureDeferred
    async def test_long_header_is_passed_over(self, serve, connect):
        server = serve(answering(reply(200, '{"ok": 1}', f"X-Long: {'x' * 60_000}")))
        assert await within(connect(server).trigger("c", "e", "d")) == {"ok": 1}

    @pytest_twisted.ensureDeferred
    async def test_a_reply_of_exactly_one_mebibyte_is_read(self, serve, connect):
        body = json.dumps({"x": ""})
        body = json.dumps({"x": "x" * (MIB - len(body))})
        server = serve(answering(reply(200, body)))
        assert await within(connect(server).get("/channels")) == json.loads(body)


ERRORS = [
    (400, BadRequestError, False),
    (401, AuthenticationError, False),
    (402, APIError, False),
    (403, ForbiddenError, False),
    (404, NotFoundError, False),
    (407, ProxyAuthenticationError, False),
    (413, PayloadTooLargeError, False),
    (429, RateLimitedError, False),
    (500, ServerError, True),
    (502, ServerError, True),
    (503, ServerError, True),
    (599, ServerError, True),
    (600, APIError, True),
]


class TestRefusal:
    @pytest.mark.parametrize(("status", "kind", "maybe_delivered"), ERRORS)
    @pytest_twisted.ensureDeferred
    async def test_a_status_is_an_error_and_the_connection_is_used_again(
        self, serve, connect, status, kind, maybe_delivered
    ):
        server = serve(answering(reply(status, "why it failed"), OK))
        pusher = connect(server, retry=ONCE)
        error = await error_of(pusher.trigger("c", "e", "d"), kind)
        assert error.status == status
        assert error.body == "why it failed"
        assert error.path == "/apps/3/events"
        assert error.retry_after is None
        assert error.maybe_delivered is maybe_delivered
        assert str(error) == f"POST /apps/3/events: status {status}: why it failed"
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert len(server.requests) == 2
        assert server.connections == 1

    @pytest.mark.parametrize("status", [400, 429, 500])
    @pytest_twisted.ensureDeferred
    async def test_a_query_that_is_refused_was_never_delivered(self, serve, connect, status):
        server = serve(answering(reply(status, "")))
        error = await error_of(
            connect(server, retry=ONCE).channels("a-b"), type(_error_for(status))
        )
        assert error.maybe_delivered is False
        assert error.path == "/apps/3/channels"
        assert str(error) == f"GET /apps/3/channels: status {status}"

    @pytest_twisted.ensureDeferred
    async def test_page_of_a_load_balancer_is_the_error_of_its_status(self, serve, connect):
        server = serve(answering(reply(502, HTML, "Content-Type: text/html")))
        error = await error_of(connect(server).trigger("c", "e", "d"), ServerError)
        assert (error.status, error.body) == (502, HTML)
        assert len(server.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_a_body_that_is_not_utf_8_is_no_obstacle(self, serve, connect):
        server = serve(answering(reply(400, b"\xff\xfe broken \xc3")))
        error = await error_of(connect(server).trigger("c", "e", "d"), BadRequestError)
        assert " broken " in error.body

    @pytest_twisted.ensureDeferred
    async def test_refusal_that_is_cut_short_is_still_a_refusal(self, serve, connect):
        cut = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nover quota"
        server = serve(answer_then_close(cut))
        error = await error_of(connect(server).trigger("c", "e", "d"), ForbiddenError)
        assert error.body == "over quota"
        assert error.maybe_delivered is False

    @pytest_twisted.ensureDeferred
    async def test_an_error_inside_a_200_is_the_error_of_its_code(self, serve, connect):
        body = '{"error": "The secret authentication failed", "code": 401}'
        server = serve(answering(reply(200, body)))
        error = await error_of(connect(server).trigger("c", "e", "d"), AuthenticationError)
        assert (error.status, error.body) == (401, body)
        assert error.maybe_delivered is False

    @pytest.mark.parametrize("body", ["<html>ok</html>", "[]", "null", "1", '{"a":', "OK"])
    @pytest.mark.parametrize("method", ["POST", "GET"])
    @pytest_twisted.ensureDeferred
    async def test_a_success_that_is_no_json_object_is_no_usable_answer(
        self, serve, connect, body, method
    ):
        server = serve(answering(reply(200, body)))
        pusher = connect(server)
        operation = pusher.post("/events") if method == "POST" else pusher.get("/channels")
        error = await error_of(operation, HTTPError)
        assert error.maybe_delivered is (method == "POST")
        assert len(server.requests) == 1


def _error_for(status: int) -> APIError:
    return {s: kind for s, kind, _ in ERRORS}[status]("", status=status)


class TestRedirect:
    @pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
    @pytest.mark.parametrize("method", ["POST", "GET"])
    @pytest_twisted.ensureDeferred
    async def test_redirect_is_an_error_and_is_not_followed(
        self, serve, connect, status, method
    ):
        elsewhere = serve(answering(OK))
        location = f"Location: http://127.0.0.1:{elsewhere.port}/apps/3/events"
        server = serve(answering(reply(status, "moved", location)))
        pusher = connect(server)
        operation = pusher.post("/events") if method == "POST" else pusher.get("/events")
        error = await error_of(operation, APIError)
        assert (error.status, error.body) == (status, "moved")
        assert error.maybe_delivered is False
        assert elsewhere.connections == 0
        assert len(server.requests) == 1


class TestBrokenReply:
    @pytest.mark.parametrize(
        "answer",
        [
            b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"ok": ',
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200",
            b"\x00\x01\x02 garbage \xff\xfe\r\n\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
            b"HTTP/1.1 abc OK\r\n\r\n",
            b"",
        ],
        ids=[
            "truncated body",
            "truncated chunk",
            "truncated header",
            "truncated status",
            "binary garbage",
            "another protocol",
            "broken chunk",
            "broken length",
            "broken status",
            "nothing",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_unusable_reply_is_an_error_and_the_next_operation_works(
        self, serve, connect, answer
    ):
        server = serve(in_turn(answer_then_close(answer), answering(OK)))
        pusher = connect(server)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert error.maybe_delivered is True
        assert error.original_error is not None
        assert len(server.requests) == 1
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert server.connections == 2

    @pytest.mark.parametrize("end", [b"", b"\r\nX: y" * 40_000], ids=["one line", "many"])
    @pytest_twisted.ensureDeferred
    async def test_head_that_is_too_large_is_told_with_the_limit(self, serve, connect, end):
        head = b"HTTP/1.1 200 OK\r\nX: " + (end or b"x" * 200_000)
        pusher = connect(serve(answering(head)))
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert str(error) == (
            "POST /apps/3/events: the head of the reply is larger than 65536 bytes"
        )

    @pytest_twisted.ensureDeferred
    async def test_query_is_retried_after_a_broken_reply(self, serve, connect):
        cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
        server = serve(in_turn(answer_then_close(cut), answering(OK)))
        pusher = connect(server, retry=RetryPolicy(initial_delay=0.001))
        assert await within(pusher.channels()) == {}
        assert len(server.requests) == 2

    @pytest.mark.parametrize(
        ("sent", "maybe_delivered"),
        [
            (b"", True),
            (b"HTTP/1.1 200 OK\r\n", True),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", True),
            (b"HTTP/1.1 500 Bad\r\nContent-Length: 100\r\n\r\n{", True),
            (b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\n{", False),
        ],
        ids=["silence", "in the head", "in the body", "in a 500", "in a 400"],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_reply_that_stalls_is_a_timeout(
        self, serve, connect, sent, maybe_delivered
    ):
        async def stall(peer):
            await peer.request()
            peer.send(sent)
            await peer.stall()

        server = serve(in_turn(stall, answering(OK)))
        pusher = connect(server, timeout=0.2, retry=ONCE)
        error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)
        assert error.maybe_delivered is maybe_delivered
        assert "0.2 seconds" in str(error)
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert server.connections == 2
