"""A page on https, whose pusher-js must connect to the server with TLS."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import blockingCallFromThread
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.support.certificates import Authority
from txpusher import Pusher
from txpusher.server import App, ChannelsServer

from . import browser
from .requirements import HERE, node_command

pytest.importorskip("wsproto")

#: Connects as the line that ``txpusher serve`` prints, but leaves it to pusher-js whether to
#: use TLS: a page on https may not do otherwise.
PAGE = """<!doctype html><title>page</title><ul id="log"></ul>
<script src="/pusher.min.js"></script>
<script>
  const pusher = new Pusher("app-key", {wsHost: "127.0.0.1", wsPort: PORT, wssPort: PORT,
    enabledTransports: ["ws"], cluster: "", forceTLS: false, channelAuthorization: {
      customHandler: ({socketId, channelName}, callback) =>
        fetch(`/auth/${channelName}/${socketId}`)
          .then(reply => reply.json()).then(auth => callback(null, auth))
    }});
  const tell = (text) => {
    const item = document.createElement("li");
    item.textContent = text;
    document.getElementById("log").append(item);
  };
  pusher.connection.bind("state_change", ({current}) => tell(current));
  const channel = pusher.subscribe("private-a");
  channel.bind("pusher:subscription_succeeded", () => tell("subscribed"));
  channel.bind("pusher:subscription_error", (error) => tell(`refused: ${error.error}`));
  channel.bind("greeting", (data) => tell(`heard ${data}`));
</script>
"""


class Text(Resource):
    """A text, as it is."""

    isLeaf = True

    def __init__(self, kind: str, text: bytes) -> None:
        super().__init__()
        self._kind, self._text = kind, text

    def render_GET(self, request: Any) -> bytes:
        request.setHeader("content-type", f"{self._kind}; charset=utf-8")
        return self._text


class Auth(Resource):
    """Authorises every subscription, by the path."""

    isLeaf = True

    def __init__(self, pusher: Pusher) -> None:
        super().__init__()
        self._pusher = pusher

    def render_GET(self, request: Any) -> bytes:
        channel, socket_id = (part.decode() for part in request.postpath)
        return json.dumps(self._pusher.authenticate(channel, socket_id)).encode()


@pytest_twisted.async_yield_fixture
async def secure(tmp_path: Path) -> AsyncIterator[tuple[ChannelsServer, Pusher, str]]:
    """A server with TLS, a Pusher for it, and the address of a page on https."""
    from twisted.internet import reactor as installed

    node_command()
    reactor: Any = installed
    authority = Authority()
    authority.write_pem(tmp_path / "server.pem")
    server = ChannelsServer([App("1", "app-key", "app-secret")])
    await server.listen_on(f"ssl:0:interface=127.0.0.1:privateKey={tmp_path / 'server.pem'}")
    pusher = Pusher.from_url(server.url("1"), tls_policy=authority.policy)
    root = Resource()
    page = PAGE.replace("PORT", str(server.port)).encode()
    root.putChild(b"", Text("text/html", page))
    library = HERE / "node_modules" / "pusher-js" / "dist" / "web" / "pusher.min.js"
    root.putChild(b"pusher.min.js", Text("text/javascript", library.read_bytes()))
    root.putChild(b"auth", Auth(pusher))
    # A browser asks for it by itself.
    root.putChild(b"favicon.ico", Text("image/x-icon", b""))
    port = reactor.listenSSL(0, Site(root), authority.server_context(), interface="127.0.0.1")
    yield server, pusher, f"https://127.0.0.1:{port.getHost().port}/"
    await pusher.close()
    await port.stopListening()
    await server.stop()


def watch(
    path: str,
    address: str,
    in_reactor: Callable[..., Any],
    server: ChannelsServer,
    pusher: Pusher,
) -> tuple[list[str], list[str]]:
    """Open the page, publish, close its connection, publish again; return what was seen."""
    sockets: list[str] = []
    with (
        browser.browsing(path) as chromium,
        browser.window(chromium, ignore_https_errors=True) as page,
    ):
        page.on("websocket", lambda websocket: sockets.append(websocket.url))
        page.goto(address)
        page.get_by_text("subscribed").wait_for()
        in_reactor(pusher.trigger, "private-a", "greeting", "hello")
        page.get_by_text("heard hello").wait_for()
        assert in_reactor(server.trouble.close_all, 4200) == 1
        page.get_by_text("subscribed").nth(1).wait_for()
        in_reactor(pusher.trigger, "private-a", "greeting", "again")
        page.get_by_text("heard again").wait_for()
        return page.locator("#log li").all_inner_texts(), sockets


@pytest_twisted.ensureDeferred
async def test_page_on_https_connects_with_tls_and_comes_back_after_a_close(
    secure: tuple[ChannelsServer, Pusher, str],
) -> None:
    from twisted.internet import reactor

    server, pusher, address = secure

    def in_reactor(function: Callable[..., Any], *arguments: Any) -> Any:
        return blockingCallFromThread(reactor, function, *arguments)

    seen, sockets = await browser.drive(
        watch, browser.chromium(), address, in_reactor, server, pusher
    )
    assert seen.count("connected") == 2
    assert [line for line in seen if line.startswith("heard")] == ["heard hello", "heard again"]
    assert len(sockets) == 2
    assert all(url.startswith(f"wss://127.0.0.1:{server.port}/app/app-key") for url in sockets)
