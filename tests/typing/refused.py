"""
Mistakes that mypy finds without a plugin; never run.

Each line with a mistake ends with a part of what mypy says about it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from txpusher import BatchPublisher, BlockingPusher, Pusher, Subscriber, configure

Pusher("3", "key", "secret", http_client=3)  # "http_client" to "Pusher" has incompatible type
Pusher("3", "key", "secret", reactor="asyncio")  # "reactor" to "Pusher" has incompatible type
Pusher("3", "key", "secret", clock=1.0)  # "clock" to "Pusher" has incompatible type
Pusher("3", "key", "secret", on_attempt=3)  # "on_attempt" to "Pusher" has incompatible type
Pusher("3", "key", "secret", on_attempt=lambda: None)  # incompatible type
Pusher("3", "key", "secret", json_dumps="json")  # incompatible type
Pusher("3", "key", "secret", clutser="eu")  # Unexpected keyword argument "clutser"
Pusher("3", "key", "secret", timeout="5")  # "timeout" to "Pusher" has incompatible type
Pusher(3, "key", "secret")  # Argument 1 to "Pusher" has incompatible type "int"
Pusher.from_url("https://k:s@h/apps/3", tiemout=2)  # Unexpected keyword argument "tiemout"
Pusher.from_env(http_client=3)  # has incompatible type "int"
BlockingPusher("3", "key", "secret", use_tsl=True)  # Unexpected keyword argument "use_tsl"
BlockingPusher("3", "key", "secret", http_client=3)  # has incompatible type "int"
configure("3", "key", "secret", http_client=3)  # has incompatible type "int"


def signed_in_asyncio(channel: str, socket_id: str) -> asyncio.Future[dict[str, Any]]:
    """Twisted waits for no task of asyncio."""
    return asyncio.get_event_loop().create_future()


Subscriber("key", authorizer=signed_in_asyncio)  # "authorizer" to "Subscriber" has incompatible
Subscriber("key", authorizer=lambda channel, socket_id: "key:1")  # incompatible type


async def operations(pusher: Pusher, publisher: BatchPublisher) -> None:
    """Arguments of operations."""
    await pusher.trigger("a", "event")  # Missing positional argument "data"
    await pusher.trigger(7, "event", None)  # Argument 1 to "trigger" of "Pusher"
    await pusher.trigger("a", "event", None, socket=1)  # Unexpected keyword argument "socket"
    await publisher.trigger(["a"], "event", None)  # Argument 1 to "trigger"
    await pusher.trigger("a", "event", None, idempotency_key=7)  # incompatible type "int"
    await pusher.request("GET", "/x", body=7)  # incompatible type "int"
    pusher.sign("GET")  # Missing positional argument "path"
    (await pusher.channels())["chanels"]  # TypedDict "ChannelsReply" has no key "chanels"
    (await pusher["a"].users())[0]["name"]  # TypedDict "ChannelUser" has no key "name"
    name: str = pusher.channels()  # Incompatible types in assignment
    print(name)
