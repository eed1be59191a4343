"""
A program that mypy accepts without a plugin; never run.

``assert_type`` pins the types that users see.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from treq.client import HTTPClient
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent, IPolicyForHTTPS, IRequest
from typing_extensions import assert_type

import txpusher
from txpusher import (
    Attempt,
    BatchPublisher,
    BatchReply,
    BlockingBatchPublisher,
    BlockingChannel,
    BlockingPusher,
    Channel,
    ChannelInfoReply,
    Event,
    Pusher,
    PusherError,
    RetryPolicy,
    Subscriber,
    TriggerReply,
    WebHook,
)
from txpusher.subscriber import HTTPAuthorizer


def note(attempt: Attempt) -> None:
    """A hook for metrics."""


def tell(failure: Failure) -> None:
    """An errback."""
    if isinstance(failure.value, PusherError):
        assert_type(failure.value.maybe_delivered, bool)


def clients(
    clock: Clock,
    its_reactor: IReactorTime,
    stub: StubTreq,
    agent: IAgent,
    policy: IPolicyForHTTPS,
    endpoint: IStreamClientEndpoint,
) -> None:
    """Each way to make a client, with each thing that users pass in."""
    assert_type(Pusher("3", "key", "secret", cluster="eu"), Pusher)
    assert_type(Pusher.from_url("https://key:secret@host/apps/3", timeout=2), Pusher)
    assert_type(Pusher.from_env(retry=RetryPolicy(max_retries=0)), Pusher)
    Pusher("3", "key", "secret", reactor=reactor)
    Pusher("3", "key", "secret", reactor=its_reactor)
    Pusher("3", "key", "secret", reactor=clock, http_client=stub)
    Pusher("3", "key", "secret", http_client=HTTPClient(agent))
    Pusher("3", "key", "secret", clock=time.time, on_attempt=note)
    Pusher("3", "key", "secret", json_dumps=json.dumps, json_loads=json.loads)
    Pusher("3", "key", "secret", tls_policy=policy)
    Pusher("3", "key", "secret", endpoint=endpoint)
    txpusher.configure("3", "key", "secret", reactor=reactor)
    assert_type(BlockingPusher("3", "key", "secret"), BlockingPusher)
    assert_type(BlockingPusher.wrap(txpusher.default_client()), BlockingPusher)


def subscribers(pusher: Pusher, signed: Deferred[dict[str, Any]]) -> None:
    """Each kind of authorizer."""

    async def sign(channel: str, socket_id: str) -> dict[str, str]:
        return {"auth": f"{channel}:{socket_id}"}

    def sign_in(socket_id: str, user_data: Mapping[str, Any]) -> Mapping[str, Any]:
        return pusher.authenticate_user(socket_id, dict(user_data))

    endpoint = HTTPAuthorizer("https://example.com/pusher/auth")
    Subscriber("key", authorizer=sign, user_authorizer=sign_in)
    Subscriber("key", authorizer=lambda channel, socket_id: signed)
    Subscriber("key", authorizer=pusher.authenticate, user_authorizer=endpoint)
    Subscriber("key", authorizer=endpoint)


async def operations(pusher: Pusher, request: IRequest) -> None:
    """What the operations return."""
    deferred = pusher.trigger(["a", "b"], "event", {"hello": "world"}, socket_id="1.2")
    assert_type(deferred, Deferred[TriggerReply])
    deferred.addCallbacks(print, tell)
    events: list[Event | Mapping[str, Any]] = [Event("a", "event", 1), {"channel": "a"}]
    assert_type(await pusher.trigger_batch(events), BatchReply)
    await pusher.trigger_batch([Event("a", "event", 1), {"channel": "a", "name": "b"}])
    assert_type(await pusher.send_to_user("7", "event", None), TriggerReply)
    for name, channel in (await pusher.channels(info="user_count"))["channels"].items():
        assert_type(name, str)
        print(channel.get("user_count"))
    assert_type(await pusher.channel_info("a", ["user_count"]), ChannelInfoReply)
    assert_type((await pusher.channel_users("presence-a"))["users"][0]["id"], str)
    assert_type(await pusher.get("/channels"), dict[str, Any])
    assert_type(await pusher.request("POST", "/events", body={}), dict[str, Any])
    assert_type(pusher.sign("GET", "/channels"), str)
    assert_type(pusher["a"], Channel)
    assert_type(pusher.channel("a"), Channel)
    assert_type(pusher.authenticate("private-a", "1.2"), dict[str, str])
    webhook = pusher.webhook(request)
    assert_type(webhook, WebHook)
    assert_type(webhook.is_valid, bool)
    await pusher.close(timeout=1.5)
    async with pusher as same:
        assert_type(same, Pusher)


async def publishers(pusher: Pusher) -> None:
    """What a BatchPublisher returns."""
    publisher = BatchPublisher(pusher, max_pending=10)
    assert_type(await publisher.trigger("a", "event", None), dict[str, Any])


def blocking(pusher: BlockingPusher) -> None:
    """What the blocking operations return."""
    assert_type(pusher["a"], BlockingChannel)
    assert_type(pusher.trigger("a", "event", None), TriggerReply)
    with BlockingBatchPublisher(pusher) as publisher:
        assert_type(publisher, BlockingBatchPublisher)


def errors(error: PusherError) -> None:
    """What every error says."""
    assert_type(error.maybe_delivered, bool)
    if isinstance(error, txpusher.APIError):
        assert_type(error.status, int)
        assert_type(error.body, str)
