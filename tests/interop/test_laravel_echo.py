"""laravel-echo receives what a Pusher publishes: through soketi and our own server."""

from __future__ import annotations

import pytest
import pytest_twisted


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [("channel", ""), ("private", "private-"), ("encryptedPrivate", "private-encrypted-")],
)
@pytest_twisted.ensureDeferred
async def test_echo_listens_on_a_channel(pusher, connect, name, kind, prefix):
    channel = name("orders")
    echo = await connect(echo=True)
    await echo.listen(kind, channel, "OrderShipped", ".as-it-is")
    await pusher.trigger(prefix + channel, "App\\Events\\OrderShipped", {"id": 1})
    await pusher.trigger(prefix + channel, "as-it-is", {"id": 2})
    assert await echo.echo_event(channel, "OrderShipped") == {"id": 1}
    assert await echo.echo_event(channel, ".as-it-is") == {"id": 2}


@pytest_twisted.ensureDeferred
async def test_echo_knows_the_members_that_join_and_leave(connect, pusher, name):
    channel = name("room")
    zoe, bob = {"name": "Zoë"}, {"name": "Bob"}
    first = await connect(member={"user_id": "1", "user_info": zoe}, echo=True)
    second = await connect(member={"user_id": "2", "user_info": bob}, echo=True)
    await first.listen("join", channel, "Said")
    assert await first.echo_event(channel, "here") == [zoe]
    await second.listen("join", channel)
    assert await second.echo_event(channel, "here") == [zoe, bob]
    assert await first.echo_event(channel, "joining") == bob
    await pusher.trigger(f"presence-{channel}", "App\\Events\\Said", "☃")
    assert await first.echo_event(channel, "Said") == "☃"
    await second.call("echo_leave", channel=channel)
    assert await first.echo_event(channel, "leaving") == bob


@pytest.mark.parametrize("kind", ["private", "join"])
@pytest_twisted.ensureDeferred
async def test_echo_whispers(connect, name, kind):
    channel = name("room")
    first = await connect(member={"user_id": "1"}, echo=True)
    second = await connect(member={"user_id": "2"}, echo=True)
    for echo in (first, second):
        await echo.listen(kind, channel, whispers=["typing"])
    await first.call(
        "echo_whisper", kind=kind, channel=channel, event="typing", data={"by": "☃"}
    )
    assert await second.echo_event(channel, "typing") == {"by": "☃"}


@pytest_twisted.ensureDeferred
async def test_echo_signs_in(pusher, connect, name):
    user = {"id": name("user")}
    echo = await connect(user=user, echo=True)
    await echo.sign_in()
    await pusher.send_to_user(user["id"], "event", {"to": "you"})
    assert await echo.user_event("event") == {"to": "you"}
