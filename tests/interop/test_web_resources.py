"""pusher-js and laravel-echo are authorised by the resources for twisted.web."""

from __future__ import annotations

import pytest_twisted
from twisted.web.resource import Resource

from tests.support.serving import serving
from txpusher.web import ChannelAuthResource, UserAuthResource

ADA = {"user_id": "1", "user_info": {"name": "Ada"}}
USER = {"id": "7", "user_info": {"name": "Grace"}}


@pytest_twisted.async_yield_fixture
async def endpoints(pusher):
    """The options that lead a client to the resources, and what these were asked."""
    asked = []

    async def authorize(request, channel, socket_id):
        asked.append((channel, request.getHeader("x-csrf-token")))
        if "secret" in channel:
            return False
        return ADA if channel.startswith("presence-") else True

    root = Resource()
    root.putChild(b"auth", ChannelAuthResource(pusher, authorize))
    root.putChild(b"user", UserAuthResource(pusher, lambda request: USER))
    async with serving(root) as port:
        yield client_options(f"http://127.0.0.1:{port}"), asked


def client_options(url):
    return {
        "channelAuthorization": {
            "endpoint": f"{url}/auth",
            "transport": "ajax",
            "headers": {"X-CSRF-Token": "of the page"},
            "params": {"page": "7"},
        },
        "userAuthentication": {"endpoint": f"{url}/user", "transport": "ajax"},
    }


@pytest_twisted.ensureDeferred
async def test_channels_of_every_kind_are_authorised(endpoints, connect, pusher, name):
    options, asked = endpoints
    subscriber = await connect(**options)
    private, encrypted = name("private-a"), name("private-encrypted-a")
    presence = name("presence-a")
    await subscriber.subscribe(private, encrypted)
    members = await subscriber.subscribe(presence)
    assert members["me"] == {"id": "1", "info": {"name": "Ada"}}
    assert asked == [(channel, "of the page") for channel in (private, encrypted, presence)]
    await pusher.trigger(encrypted, "event", {"in": "secret"})
    assert await subscriber.event(encrypted, "event") == {"in": "secret"}


@pytest_twisted.ensureDeferred
async def test_refusal_reaches_the_page_with_its_status(endpoints, connect, name):
    options, _ = endpoints
    subscriber = await connect(**options)
    channel = name("private-secret")
    await subscriber.ask_to_subscribe(channel)
    error = await subscriber.event(channel, "pusher:subscription_error")
    assert error["status"] == 403


@pytest_twisted.ensureDeferred
async def test_user_signs_in(endpoints, connect, pusher):
    options, _ = endpoints
    subscriber = await connect(user=USER, **options)
    await subscriber.sign_in()
    await pusher.send_to_user("7", "event", {"to": "you"})
    assert await subscriber.user_event("event") == {"to": "you"}


@pytest_twisted.ensureDeferred
async def test_laravel_echo_is_authorised(endpoints, connect, name):
    options, _ = endpoints
    echo = await connect(echo=True, **options)
    channel = name("room")
    await echo.listen("join", channel)
    assert await echo.echo_event(channel, "here") == [{"name": "Ada"}]
