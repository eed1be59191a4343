"""Webhooks of soketi and of our own server, for a Pusher and for the official SDKs."""

from __future__ import annotations

import attrs
import pytest
import pytest_twisted
from twisted.web.resource import Resource

from tests.support.credentials import MASTER_KEY_BASE64
from tests.support.serving import serving
from txpusher import Pusher, WebHook

from . import servers
from .inbox import Inbox
from .requirements import import_or_skip
from .servers import APP_ID, KEY, SECRET


@attrs.frozen
class Received:
    """A request to the receiver, and what a Pusher makes of it."""

    webhook: WebHook
    headers: dict[str, str]
    body: str


class Receiver(Resource):
    isLeaf = True

    def __init__(self, reactor):
        super().__init__()
        self.url = ""
        self.inbox = Inbox("the webhook receiver", reactor)
        self.requests = []
        self._pusher = Pusher(APP_ID, KEY, SECRET)

    def render_POST(self, request):
        names = ("X-Pusher-Key", "X-Pusher-Signature", "Content-Type")
        headers = {name.lower(): request.getHeader(name) for name in names}
        webhook = self._pusher.webhook(request)
        request.content.seek(0)
        received = Received(webhook, headers, request.content.read().decode())
        self.requests.append(received)
        for event in webhook.events:
            self.inbox.put(event)
        return b"{}"

    async def event(self, name, channel):
        """The next event of that *name* about *channel*."""
        wanted = {"name": name, "channel": channel}
        return await self.inbox.take(
            f"{name} of {channel}", lambda event: wanted.items() <= event.items()
        )


@pytest_twisted.async_yield_fixture(scope="module")
async def receiver():
    from twisted.internet import reactor

    resource = Receiver(reactor)
    async with serving(resource) as port:
        resource.url = f"http://127.0.0.1:{port}/webhooks"
        yield resource


@pytest.fixture(scope="module")
def soketi(node, receiver):
    with servers.soketi(node, [receiver.url]) as address:
        yield address


@pytest_twisted.async_yield_fixture(scope="module")
async def embedded(receiver):
    async with servers.embedded(webhooks=[receiver.url]) as address:
        yield address


@pytest_twisted.ensureDeferred
async def test_webhooks_tell_of_occupied_and_vacated_channels(receiver, connect, name):
    channel = name("room")
    subscriber = await connect()
    await subscriber.subscribe(channel)
    await receiver.event("channel_occupied", channel)
    await subscriber.unsubscribe(channel)
    await receiver.event("channel_vacated", channel)


@pytest_twisted.ensureDeferred
async def test_webhooks_tell_of_added_and_removed_members(receiver, connect, name):
    channel = name("presence-room")
    subscriber = await connect(member={"user_id": "zoë ☃"})
    await subscriber.subscribe(channel)
    assert (await receiver.event("member_added", channel))["user_id"] == "zoë ☃"
    await subscriber.disconnect()
    assert (await receiver.event("member_removed", channel))["user_id"] == "zoë ☃"


@pytest_twisted.ensureDeferred
async def test_webhooks_tell_of_client_events(receiver, connect, name):
    channel = name("presence-room")
    subscriber = await connect(member={"user_id": "1"})
    await subscriber.subscribe(channel)
    await subscriber.trigger(channel, "client-typing", {"by": "☃"})
    event = await receiver.event("client_event", channel)
    assert event["event"] == "client-typing"
    assert event["socket_id"] == subscriber.socket_id
    assert event["user_id"] == "1"


@pytest_twisted.ensureDeferred
async def test_webhook_signatures_are_valid_for_us_and_for_the_official_sdks(
    receiver, connect, name, node_sdk
):
    channel = name("room")
    subscriber = await connect()
    await subscriber.subscribe(channel)
    occupied = await receiver.event("channel_occupied", channel)
    (received,) = [each for each in receiver.requests if occupied in each.webhook.events]
    assert received.webhook.is_valid
    python_sdk = import_or_skip("pusher").Pusher(
        "42", KEY, SECRET, encryption_master_key_base64=MASTER_KEY_BASE64
    )
    signature = received.headers["x-pusher-signature"]
    assert python_sdk.validate_webhook(KEY, signature, received.body) == received.webhook.data
    settings = {"appId": APP_ID, "key": KEY, "secret": SECRET}
    assert await node_sdk.call(
        "webhook", settings=settings, headers=received.headers, body=received.body
    ) == {"valid": True, "events": received.webhook.events}
