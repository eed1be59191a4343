"""The servers under test: where they are, and how soketi is started."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import attrs

from tests.support.credentials import MASTER_KEY_BASE64
from tests.support.process import Process
from txpusher import Pusher
from txpusher._server_options import DEFAULT_APP

from .requirements import HERE, import_or_skip

APP_ID = "interop-app"
KEY = "interop-key"
SECRET = "interop-secret"


#: Those that soketi and our own server both send.
WEBHOOK_EVENTS = [
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
]

START_TIMEOUT = 30


@attrs.frozen
class Address:
    """
    A server and the app on it.

    :ivar url: The PUSHER_URL that the server itself gives, if it does.
    """

    port: int
    app_id: str = APP_ID
    key: str = KEY
    secret: str = SECRET
    host: str = "127.0.0.1"
    url: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """What a Pusher or a BlockingPusher takes to use it."""
        return {
            "app_id": self.app_id,
            "key": self.key,
            "secret": self.secret,
            "host": self.host,
            "port": self.port,
            "use_tls": False,
            "encryption_master_key_base64": MASTER_KEY_BASE64,
        }


#: The default app of ``txpusher serve``, without a port.
DEFAULT = Address(0, *DEFAULT_APP.split(":"))


@contextlib.asynccontextmanager
async def pusher_for(address: Address, **settings: Any) -> AsyncIterator[Pusher]:
    """A Pusher for *address*, some of its *settings* changed; closed at the end."""
    pusher = Pusher(**{**address.settings, **settings})
    try:
        yield pusher
    finally:
        await pusher.close()


@contextlib.asynccontextmanager
async def embedded(app_id: str = APP_ID, **options: Any) -> AsyncIterator[Address]:
    """A ``txpusher.server`` with one app, stopped at the end; *options* are the app's."""
    async with _serving(Address(0, app_id), **options) as address:
        yield address


def default_app() -> contextlib.AbstractAsyncContextManager[Address]:
    """A ``txpusher.server`` with the app that ``txpusher serve`` has, stopped at the end."""
    return _serving(DEFAULT)


@contextlib.asynccontextmanager
async def _serving(address: Address, **options: Any) -> AsyncIterator[Address]:
    import_or_skip("wsproto")
    server = import_or_skip("txpusher.server")
    app = server.App(address.app_id, address.key, address.secret, **options)
    channels = server.ChannelsServer([app])
    await channels.listen()
    try:
        yield attrs.evolve(address, port=channels.port, url=channels.url(address.app_id))
    finally:
        await channels.stop()


@contextlib.contextmanager
def soketi(
    node: str, webhooks: Sequence[str] = (), *, port: int | None = None
) -> Iterator[Address]:
    """A soketi with one app, stopped at the end; *webhooks* are URLs."""
    free_port, metrics_port = free_ports(2)
    port = port or free_port
    address = Address(port)
    process = Process(
        [node, "soketi.js", "start"],
        HERE,
        {
            "SOKETI_HOST": address.host,
            "SOKETI_PORT": str(port),
            "SOKETI_METRICS_HOST": "127.0.0.1",
            "SOKETI_METRICS_SERVER_PORT": str(metrics_port),
            "SOKETI_CLUSTER_UNICAST_ADDRESSES": "127.0.0.1",
            "SOKETI_DEFAULT_APP_ID": address.app_id,
            "SOKETI_DEFAULT_APP_KEY": address.key,
            "SOKETI_DEFAULT_APP_SECRET": address.secret,
            "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES": "true",
            "SOKETI_DEFAULT_APP_USER_AUTHENTICATION": "true",
            "SOKETI_DEFAULT_APP_WEBHOOKS": json.dumps(
                [{"url": url, "event_types": WEBHOOK_EVENTS} for url in webhooks]
            ),
        },
    )
    try:
        wait_until_it_accepts(process, address)
        yield address
    finally:
        process.stop()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface on which nothing listens."""
    with contextlib.ExitStack() as sockets:
        ports = []
        for _ in range(count):
            probe = sockets.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
        return ports


def wait_until_it_accepts(process: Process, address: Address) -> None:
    """Return once connections to *address* are accepted."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.exit_code is None and time.monotonic() < deadline:
        try:
            socket.create_connection((address.host, address.port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(
        f"soketi did not listen within {START_TIMEOUT} seconds; it printed:\n{process.output}"
    )
