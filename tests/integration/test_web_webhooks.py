"""The resource for twisted.web that receives webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.support.observing import text_of
from tests.support.waiting import until
from txpusher import InvalidRequestError
from txpusher.web import WebHookResource

from .web_client import (
    KEY,
    PUSHER,
    SECRET,
    UNDONE,
    ask,
    connect,
    never,
    serve_resource,
    some_rounds,
)

JSON = {"Content-Type": "application/json"}
serve = serve_resource


def webhook(
    events: Any = ({"name": "channel_occupied", "channel": "a"},),
    secret: str = SECRET,
    key: str = KEY,
    body: bytes | None = None,
    media_type: str = "application/json",
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a webhook."""
    if body is None:
        body = json.dumps({"time_ms": int(time.time() * 1000), "events": list(events)}).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return body, {
        "Content-Type": media_type,
        "X-Pusher-Key": key,
        "X-Pusher-Signature": signature,
    }


class TestWebHooks:
    EVENTS = (
        {"name": "channel_occupied", "channel": "a"},
        {"name": "cache_miss", "channel": "b"},
    )

    @pytest_twisted.ensureDeferred
    async def test_handler_gets_each_event_after_the_one_before(self, serve):
        from twisted.internet import reactor

        told = []

        async def handle(event, hook):
            told.append(("begin", event["channel"], hook.key))
            await deferLater(reactor, 0.001)
            told.append(("end", event["channel"], hook.key))

        status, reply, _ = await ask(
            serve(WebHookResource(PUSHER, handle)), *webhook(self.EVENTS)
        )
        assert (status, reply) == (200, {})
        assert told == [
            ("begin", "a", KEY),
            ("end", "a", KEY),
            ("begin", "b", KEY),
            ("end", "b", KEY),
        ]

    @pytest_twisted.ensureDeferred
    async def test_repeated_webhook_has_the_same_signature(self, serve):
        signatures = []
        url = serve(
            WebHookResource(PUSHER, lambda event, hook: signatures.append(hook.signature))
        )
        body, headers = webhook()
        for _ in range(2):
            assert (await ask(url, body, headers))[0] == 200
        assert signatures == [headers["X-Pusher-Signature"]] * 2

    @pytest_twisted.ensureDeferred
    async def test_failed_event_is_a_500_and_ends_the_webhook(self, serve, log):
        told = []

        def handle(event, hook):
            told.append(event["channel"])
            raise RuntimeError("the database is down")

        status, reply, _ = await ask(
            serve(WebHookResource(PUSHER, handle)), *webhook(self.EVENTS)
        )
        assert (status, reply) == (500, {"error": "the server failed"})
        assert told == ["a"]
        [failure] = log.flush()
        assert "the database is down" in text_of(failure)

    @pytest.mark.parametrize("returned", UNDONE)
    @pytest_twisted.ensureDeferred
    async def test_handler_that_returns_what_nobody_waits_for_is_a_500(
        self, serve, log, returned
    ):
        url = serve(WebHookResource(PUSHER, lambda *_: returned()))
        assert (await ask(url, *webhook()))[0] == 500
        [failure] = log.flush()
        assert "must return a value, a Deferred or a coroutine" in text_of(failure)

    @pytest.mark.parametrize(
        "forged",
        [
            webhook(secret="another"),
            webhook(key="another"),
            (webhook()[0], JSON),
            (webhook()[0] + b" ", webhook()[1]),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_forged_webhook_is_a_401(self, serve, forged):
        status, reply, _ = await ask(serve(WebHookResource(PUSHER, never)), *forged)
        assert status == 401
        assert "not valid" in reply["error"]

    @pytest_twisted.ensureDeferred
    async def test_old_webhook_is_a_401_where_max_age_is_given(self, serve):
        old = webhook(body=b'{"time_ms": 1000, "events": [{"name": "x"}]}')
        assert (await ask(serve(WebHookResource(PUSHER, never, max_age=60)), *old))[0] == 401
        assert (await ask(serve(WebHookResource(PUSHER, lambda *_: None)), *old))[0] == 200

    @pytest.mark.parametrize(
        "strange",
        [
            webhook(body=b"{}"),
            webhook(body=b"no JSON"),
            webhook(media_type="text/plain"),
            webhook(body=b'{"time_ms": 1, "events": [1]}'),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_authentic_body_of_no_webhook_is_a_400(self, serve, strange):
        assert (await ask(serve(WebHookResource(PUSHER, never)), *strange))[0] == 400

    @pytest_twisted.ensureDeferred
    async def test_body_over_1_mib_is_a_413(self, serve):
        big = webhook([{"name": "client_event", "data": "x" * 2**20}])
        assert (await ask(serve(WebHookResource(PUSHER, never)), *big))[0] == 413

    @pytest_twisted.ensureDeferred
    async def test_further_token_is_accepted_for_every_webhook(self, serve):
        url = serve(
            WebHookResource(PUSHER, lambda *_: None, extra_tokens=iter([("old", "old-secret")]))
        )
        for _ in range(2):
            assert (await ask(url, *webhook(key="old", secret="old-secret")))[0] == 200

    def test_malformed_token_is_refused_when_the_resource_is_made(self):
        with pytest.raises(InvalidRequestError):
            WebHookResource(PUSHER, never, extra_tokens=[("old", "")])

    @pytest_twisted.ensureDeferred
    async def test_handler_goes_on_when_the_sender_goes_away(self, serve):
        told: list[str] = []
        waiting: Deferred[None] = Deferred()

        def handle(event, hook):
            told.append(event["channel"])
            return waiting if len(told) == 1 else None

        connection = await connect(serve(WebHookResource(PUSHER, handle)))
        body, headers = webhook(self.EVENTS)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(
            ["POST / HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines]
        )
        connection.transport.write(f"{head}\r\n\r\n".encode() + body)
        await until(lambda: told)
        connection.transport.abortConnection()
        await some_rounds()
        waiting.callback(None)
        await until(lambda: len(told) == 2)
        assert told == ["a", "b"]
