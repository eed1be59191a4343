"""Settings that a kind of server needs: a signed prefix, large replies, keys, signed URLs."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import pytest_twisted
import treq
from twisted.internet.threads import deferToThread

from tests.support.misbehaving import OK, Peer, answering, never_answer, reply
from tests.support.waiting import within
from txpusher import (
    APIError,
    AuthenticationError,
    BlockingPusher,
    Event,
    HTTPError,
    RequestTimeoutError,
    RetryPolicy,
)
from txpusher.testing import RunningServer

FAST = RetryPolicy(initial_delay=0.001, max_delay=0.001)
MANY = {f"private-user-{number:08d}-notifications": {} for number in range(30_000)}
LARGE = json.dumps({"channels": MANY}).encode()


async def failure(deferred: Any, kind: type[Exception]) -> Any:
    """Wait for a Deferred to fail with an error of *kind*, and return the error."""
    with pytest.raises(kind) as caught:
        await within(deferred)
    return caught.value


async def verifying(peer: Peer) -> None:
    """Verify the path as it was sent, as a server with a path of its own does."""
    while True:
        request = await peer.request()
        right = request.signature == request.expected_signature()
        peer.send(OK if right else reply(401, "authentication failed"))


class TestSignedPrefix:
    @pytest.mark.parametrize("prefix", ["/ws", "ws/", "//ws/a//"])
    @pytest_twisted.ensureDeferred
    async def test_server_with_the_prefix_accepts_a_request_that_signs_it(
        self, serve, connect, prefix
    ):
        server = serve(verifying)
        pusher = connect(server, path_prefix=prefix, sign_path_prefix=True)
        assert await within(pusher.trigger("orders", "created", {"n": 1})) == {}
        assert await within(pusher.channels()) == {}
        [path, _] = [request.path for request in server.requests]
        assert path == f"/{prefix.strip('/')}/apps/3/events"

    @pytest_twisted.ensureDeferred
    async def test_server_with_the_prefix_refuses_a_request_that_does_not(self, serve, connect):
        pusher = connect(serve(verifying), path_prefix="/ws")
        error = await failure(
            pusher.trigger("orders", "created", {"n": 1}), AuthenticationError
        )
        assert str(error).endswith(
            "; path_prefix /ws is sent and not signed: where the server itself has the "
            "prefix, sign_path_prefix must be True"
        )

    @pytest_twisted.ensureDeferred
    async def test_prefix_of_a_url_is_signed_by_blocking_calls_too(self, serve):
        server = serve(verifying)
        url = f"http://key:secret@127.0.0.1:{server.port}/ws/apps/3"
        blocking = BlockingPusher.from_url(url, sign_path_prefix=True)
        with pytest.raises(AuthenticationError, match="path_prefix /ws is signed too"):
            await within(deferToThread(blocking.trigger, "orders", "created", {"n": 1}))
        await within(deferToThread(blocking.close))


class TestLargeReplies:
    @pytest.mark.parametrize("packed", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_reply_over_the_default_limit_fits_into_a_larger_one(
        self, serve, connect, packed
    ):
        answer = reply(200, gzip.compress(LARGE), "Content-Encoding: gzip")
        server = serve(answering(answer if packed else reply(200, LARGE)))
        pusher = connect(server, max_reply_bytes=len(LARGE))
        assert await within(pusher.channels("private-user-")) == {"channels": MANY}

    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize("limit", [2**20, len(LARGE) - 1])
    @pytest_twisted.ensureDeferred
    async def test_reply_over_the_limit_fails_with_the_name_of_the_setting(
        self, serve, connect, packed, limit
    ):
        answer = reply(200, gzip.compress(LARGE), "Content-Encoding: gzip")
        server = serve(answering(answer if packed else reply(200, LARGE)))
        error = await failure(connect(server, max_reply_bytes=limit).channels(), HTTPError)
        assert str(error) == (
            "GET /apps/3/channels: the reply is larger than "
            f"{limit} bytes, the limit that max_reply_bytes sets"
        )
        assert error.maybe_delivered is False


class TestIdempotencyKeys:
    @pytest_twisted.ensureDeferred
    async def test_key_of_a_call_is_the_header_of_every_attempt(self, serve, connect):
        server = serve(answering(reply(429), reply(429), OK))
        pusher = connect(server, retry=FAST, idempotency_keys=True)
        await within(pusher.trigger("a", "e", "x", idempotency_key="order 7/paid"))
        sent = [request.headers["x-idempotency-key"] for request in server.requests]
        assert sent == ["order 7/paid"] * 3

    @pytest_twisted.ensureDeferred
    async def test_key_of_a_channel_and_of_a_user_is_a_header_too(self, serve, connect):
        server = serve(answering(OK))
        pusher = connect(server)
        await within(pusher["a"].trigger("e", "x", idempotency_key="one"))
        await within(pusher["a"].trigger_quietly("e", "x", idempotency_key="two"))
        await within(pusher.send_to_user("u", "e", "x", idempotency_key="three"))
        await within(pusher.trigger("a", "e", "x"))
        sent = [request.headers.get("x-idempotency-key") for request in server.requests]
        assert sent == ["one", "two", "three", None]

    @pytest_twisted.ensureDeferred
    async def test_keys_of_a_batch_stand_in_its_events(self, serve, connect):
        server = serve(answering(OK))
        events = [Event("a", "e", "x", idempotency_key="one"), Event("b", "e", "x")]
        await within(connect(server).trigger_batch(events))
        [request] = server.requests
        batch = json.loads(request.body)["batch"]
        assert [event.get("idempotency_key") for event in batch] == ["one", None]
        assert "x-idempotency-key" not in request.headers


class TestRequests:
    @pytest.mark.parametrize(
        ("method", "body", "sent"),
        [
            ("GET", None, b""),
            ("POST", {"name": "☃"}, '{"name":"☃"}'.encode()),
            ("POST", None, b"{}"),
            ("PUT", "exactly ☃", "exactly ☃".encode()),
            ("DELETE", None, b""),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_request_of_any_method_is_signed_as_it_is_sent(
        self, serve, connect, method, body, sent
    ):
        server = serve(answering(reply(200, '{"done":true}')))
        reply_ = await within(connect(server).request(method, "/x", {"a": "b c"}, body))
        assert reply_ == {"done": True}
        [request] = server.requests
        assert (request.method, request.path, request.body) == (method, "/apps/3/x", sent)
        assert request.params["a"] == "b c"
        assert request.signature == request.expected_signature()

    @pytest_twisted.ensureDeferred
    async def test_signed_url_is_good_for_another_program(self, clean_reactor):
        running = await RunningServer.start()
        pusher = running.pusher()
        body = json.dumps({"name": "e", "channels": ["c"], "data": "Zoë"}).encode()
        url = pusher.sign("POST", "/events", {"extra": "é &=+"}, body)
        for content, status in [(body, 200), (body + b" ", 401)]:
            response = await within(treq.post(url, content, persistent=False))
            assert (response.code, await within(treq.content(response)) != b"") == (
                status,
                True,
            )
        [event] = running.events
        assert (event.channel, event.data) == ("c", "Zoë")
        await running.stop()


@pytest_twisted.ensureDeferred
async def test_redirect_says_where_it_leads_and_not_what_was_signed(serve, connect):
    place = "Location: https://other.example/apps/3/events?auth_signature=f00d"
    server = serve(answering(reply(307, "", place)))
    error = await failure(connect(server).trigger("a", "e", "x"), APIError)
    assert str(error).endswith(
        "status 307; it redirects to https://other.example/apps/3/events, "
        "and no redirect is followed"
    )


@pytest_twisted.ensureDeferred
async def test_event_that_is_refused_for_its_content_is_an_error_of_the_api(serve, connect):
    server = serve(answering(reply(422, '{"data":["required"]}')))
    error = await failure(connect(server).trigger("a", "e", ""), APIError)
    assert (type(error), error.status, error.maybe_delivered) == (APIError, 422, False)


class TestMaxDuration:
    @pytest_twisted.ensureDeferred
    async def test_retry_that_would_begin_after_the_end_is_not_waited_for(self, serve, connect):
        server = serve(answering(reply(429, "", "Retry-After: 20"), OK))
        pusher = connect(server, retry=RetryPolicy(max_duration=10.0))
        error = await failure(pusher.trigger("a", "e", "x"), APIError)
        assert (error.status, error.retry_after) == (429, 20.0)
        assert len(server.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_retry_within_the_time_is_made(self, serve, connect):
        server = serve(answering(reply(429), reply(429), OK))
        policy = RetryPolicy(initial_delay=0.001, max_delay=0.001, max_duration=10.0)
        assert await within(connect(server, retry=policy).trigger("a", "e", "x")) == {}
        assert len(server.requests) == 3

    @pytest_twisted.ensureDeferred
    async def test_attempt_that_lasts_too_long_is_ended(self, serve, connect):
        policy = RetryPolicy(max_duration=0.05)
        pusher = connect(serve(never_answer), retry=policy, timeout=30.0)
        error = await failure(pusher.trigger("a", "e", "x"), RequestTimeoutError)
        assert "0.05 seconds" in str(error)
        assert "max_duration" in str(error)
        assert error.maybe_delivered is True
