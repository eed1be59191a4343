"""Subscribers for tests, and what they were told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_twisted

from tests.support.credentials import APP_ID, KEY, MASTER_KEY_BASE64, SECRET
from tests.support.misbehaving import Peer
from tests.support.scripted_websocket import WebSocketPeer
from tests.support.waiting import PATIENCE, until, within
from txpusher import Pusher, RetryPolicy, Subscriber
from txpusher.subscriber import Message

#: Comes back soon.
SOON = RetryPolicy(initial_delay=0.005, max_delay=0.02)

MakeSubscriber = Callable[..., Subscriber]


class Told:
    """Everything that a subscriber, or a subscription, tells its handlers."""

    def __init__(self, of: Any) -> None:
        self.messages: list[Message] = []
        of.bind_all(self.messages.append)

    @property
    def events(self) -> list[tuple[str | None, str, Any]]:
        """The events themselves: channel, name and data."""
        return [
            (m.channel, m.event, m.data)
            for m in self.messages
            if not m.event.startswith("pusher:")
        ]

    def named(self, event: str) -> list[Any]:
        """The data of each message of one name."""
        return [message.data for message in self.messages if message.event == event]

    async def wait_for(self, event: str, count: int = 1) -> list[Any]:
        """The data of the messages of one name, once there are so many."""
        await until(lambda: len(self.named(event)) >= count)
        return self.named(event)


async def serve_well(peer: Peer) -> None:
    """Greet, confirm every subscription, answer every ping."""
    await (await WebSocketPeer.greet(peer, f"1.{peer.number}")).serve()


def states_of(subscriber: Subscriber) -> list[tuple[str, str]]:
    """The changes of state from now on, a list that grows."""
    changes: list[tuple[str, str]] = []
    subscriber.on_state_change(lambda old, new: changes.append((old, new)))
    return changes


def pusher_of(port: int, **options: Any) -> Pusher:
    """A Pusher of the app on a server of this machine."""
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "use_tls": False,
        "encryption_master_key_base64": MASTER_KEY_BASE64,
        **options,
    }
    return Pusher(APP_ID, KEY, SECRET, **settings)


@pytest_twisted.async_yield_fixture
async def make_subscriber(log: Any, clean_reactor: None) -> AsyncIterator[MakeSubscriber]:
    """Makes subscribers; they are closed after the test, and nothing secret is logged."""
    made: list[Subscriber] = []

    def make(port: int, **options: Any) -> Subscriber:
        options = {"retry": SOON, **options}
        if "authorizer" in options or "user_authorizer" in options or "http_proxy" in options:
            settings = {"host": "127.0.0.1", "use_tls": False, **options}
            subscriber = Subscriber(KEY, port=port, **settings)
        else:
            subscriber = Subscriber.for_pusher(pusher_of(port), **options)
        made.append(subscriber)
        return subscriber

    yield make
    for subscriber in made:
        await within(subscriber.close(), PATIENCE)
    for secret in (SECRET, KEY, MASTER_KEY_BASE64):
        assert secret not in log.text
