"""
A chat with presence, in the browser: twisted.web behind it, and a server in the same process.

From this folder, once, and then for the chat itself::

    npm install
    python chat.py

Open the address that it prints in two windows, one of them private.  Each window shows who is
there; what one writes appears in both; close one, and the other one sees it leave.
"""

# Much of Twisted has no annotations yet.
# mypy: allow-untyped-calls

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.static import Data, File

from txpusher import Pusher
from txpusher.server import App, ChannelsServer
from txpusher.web import ChannelAuthResource

HERE = Path(__file__).parent
CHANNEL = "presence-chat"
NAMES = ("Ada", "Grace", "Hedy", "Katherine", "Mary", "Radia", "Sophie", "Valentina")


class People:
    """Who the browsers are: each gets a cookie and a name when it asks for the page."""

    def __init__(self) -> None:
        self._members: dict[bytes, dict[str, Any]] = {}

    def greet(self, request: Request) -> None:
        """Make sure that a browser has a cookie."""
        if self.member(request) is None:
            cookie = secrets.token_hex(16).encode()
            number = len(self._members)
            name = NAMES[number % len(NAMES)]
            self._members[cookie] = {"user_id": str(number + 1), "user_info": {"name": name}}
            request.addCookie(b"chat", cookie, path=b"/", httpOnly=True, sameSite=b"lax")

    def member(self, request: Any) -> dict[str, Any] | None:
        """Return the member behind a request, None for a stranger."""
        return self._members.get(request.getCookie(b"chat") or b"")


class Page(Resource):
    """The page itself, told where the server is."""

    isLeaf = False  # noqa: N815

    def __init__(self, people: People, settings: dict[str, Any]) -> None:
        super().__init__()
        self._people = people
        text = (HERE / "page.html").read_text("utf-8")
        self._page = text.replace("SETTINGS", json.dumps(settings)).encode()

    def render_GET(self, request: Request) -> bytes:
        self._people.greet(request)
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        return self._page


class Messages(Resource):
    """Takes what a member writes, and publishes it to all of them."""

    isLeaf = True  # noqa: N815

    def __init__(self, pusher: Pusher, people: People) -> None:
        super().__init__()
        self._pusher = pusher
        self._people = people

    def render_POST(self, request: Any) -> Any:
        member = self._people.member(request)
        text = request.content.read(4000).decode("utf-8", "replace").strip()
        if member is None or not text:
            request.setResponseCode(403 if member is None else 400)
            return b""
        message = {"name": member["user_info"]["name"], "text": text}
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)

        def answer(outcome: object) -> None:
            # A page that has gone away meanwhile wants no answer; what it said is said.
            if gone:
                return
            if isinstance(outcome, Failure):
                request.setResponseCode(502)
            request.finish()

        self._pusher.trigger(CHANNEL, "message", message).addBoth(answer)
        return NOT_DONE_YET


async def chat(reactor: Any, port: int, library: Path) -> None:
    app = App("1", "chat-key", secrets.token_hex(16))
    server = ChannelsServer([app])
    await server.listen(0, reactor=reactor)
    pusher = Pusher.from_url(server.url(app.id))
    people = People()

    def authorize(request: IRequest, channel: str, socket_id: str) -> Any:
        return people.member(request) if channel == CHANNEL else False

    root = Page(people, {"key": app.key, "port": server.port, "channel": CHANNEL})
    root.putChild(b"", root)
    root.putChild(b"pusher.js", File(str(library)))
    root.putChild(b"favicon.ico", Data(b"", "image/x-icon"))
    root.putChild(b"auth", ChannelAuthResource(pusher, authorize))
    root.putChild(b"messages", Messages(pusher, people))
    listening = reactor.listenTCP(port, Site(root), interface="127.0.0.1")
    print(f"ready: http://127.0.0.1:{listening.getHost().port}/", flush=True)
    await Deferred()


def main(reactor: Any, port: str = "8000", modules: str = str(HERE / "node_modules")) -> Any:
    library = Path(modules) / "pusher-js" / "dist" / "web" / "pusher.min.js"
    if not library.exists():
        sys.exit(f"{library} is missing: run npm install in {HERE}")
    return Deferred.fromCoroutine(chat(reactor, int(port), library))


if __name__ == "__main__":
    react(main, sys.argv[1:])
