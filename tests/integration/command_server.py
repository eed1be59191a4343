"""What the tests of commands share: a server in a process of its own, and a dead port."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.support.credentials import APP_ID, KEY, MASTER_KEY_BASE64, SECRET
from txpusher.server import App
from txpusher.testing import BlockingRunningServer


@pytest.fixture(scope="module")
def running() -> Iterator[BlockingRunningServer]:
    """A server for all tests of a module; each takes channels of its own."""
    app = App(APP_ID, KEY, SECRET)
    with BlockingRunningServer.start(
        app, encryption_master_key_base64=MASTER_KEY_BASE64
    ) as server:
        yield server


@pytest.fixture(scope="module")
def dead_url() -> Iterator[str]:
    """A URL at whose port nobody listens, though the port is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://{KEY}:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/apps/{APP_ID}"


def url_of(port: int, secret: str = SECRET, app_id: str = APP_ID) -> str:
    """The PUSHER_URL of the tests' app at a port."""
    return f"http://{KEY}:{secret}@127.0.0.1:{port}/apps/{app_id}"
