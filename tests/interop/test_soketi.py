"""What soketi does its own way, and how it looks to a user of txpusher."""

from __future__ import annotations

import pytest
import pytest_twisted

from txpusher import BadRequestError, Event


@pytest.fixture(scope="module")
def server(soketi):
    return soketi


@pytest_twisted.ensureDeferred
async def test_an_error_inside_a_200_is_the_error_of_its_code(pusher, name):
    # It takes empty data for missing data.
    with pytest.raises(BadRequestError) as caught:
        await pusher.trigger(name("room"), "event", "")
    assert caught.value.status == 400
    assert '"code":400' in caught.value.body


@pytest_twisted.ensureDeferred
async def test_a_batch_with_one_bad_event_is_refused_whole(pusher, connect, name):
    channel = name("room")
    subscriber = await connect()
    await subscriber.subscribe(channel)
    with pytest.raises(BadRequestError):
        await pusher.trigger_batch([Event(channel, "good", 1), Event(channel, "bad", "")])
    await pusher.trigger(channel, "last", 2)
    await subscriber.event(channel, "last")
    assert subscriber.events(channel) == [("last", 2)]


@pytest_twisted.ensureDeferred
async def test_users_of_a_channel_without_presence_are_refused(pusher, name):
    with pytest.raises(BadRequestError):
        await pusher.channel_users(name("room"))


@pytest_twisted.ensureDeferred
async def test_request_without_parameters_is_signed_as_soketi_expects(pusher, name):
    assert await pusher.post(f"/users/{name('user')}/terminate_connections") == {"ok": True}


@pytest_twisted.ensureDeferred
async def test_many_triggers_at_once_all_arrive(pusher, connect, name):
    # Each reply of soketi ends its connection, so none can be used again.
    channel = name("room")
    subscriber = await connect()
    await subscriber.subscribe(channel)
    triggered = [pusher.trigger(channel, "event", number) for number in range(50)]
    for reply in triggered:
        await reply
    arrived = [await subscriber.event(channel, "event") for _ in triggered]
    assert sorted(arrived) == list(range(50))
