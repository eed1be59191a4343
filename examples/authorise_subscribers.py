"""
Authorise subscribers and sign users in, with twisted.web.

A browser is to call the two endpoints here::

    new Pusher(KEY, {
        channelAuthorization: { endpoint: "/pusher/auth" },
        userAuthentication: { endpoint: "/pusher/user-auth" },
    })

Listens on the port given, or 8000::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python authorise_subscribers.py 8000
"""

# Much of Twisted has no annotations yet.
# mypy: allow-untyped-calls

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from txpusher import InvalidRequestError, Pusher

#: Who may listen to what; yours is in a database.
MEMBERS = {"presence-lobby": {"alice", "bob"}, "private-alice": {"alice"}}


def logged_in(request: Request) -> str:
    """The user; here whoever the cookie names, in earnest whoever a session belongs to."""
    cookie: bytes = request.getCookie(b"user") or b""
    return cookie.decode("utf-8", "replace")


def field(request: Request, name: bytes) -> str:
    """A field of the form that the client has posted."""
    values: list[bytes] = request.args.get(name, [b""])
    return values[0].decode("utf-8", "replace")


def answer(request: Request, value: dict[str, str], status: int = 200) -> bytes:
    request.setResponseCode(status)
    request.setHeader("Content-Type", "application/json")
    return json.dumps(value).encode()


class ChannelAuth(Resource):
    """May this user subscribe to this channel?"""

    def __init__(self, pusher: Pusher) -> None:
        super().__init__()
        self.pusher = pusher

    def render_POST(self, request: Request) -> bytes:
        user = logged_in(request)
        channel = field(request, b"channel_name")
        if user not in MEMBERS.get(channel, ()):
            return answer(request, {"error": "not for you"}, 403)
        member = {"user_id": user} if channel.startswith("presence-") else None
        try:
            auth = self.pusher.authenticate(channel, field(request, b"socket_id"), member)
        except InvalidRequestError as error:
            return answer(request, {"error": str(error)}, 400)
        return answer(request, auth)


class UserAuth(Resource):
    """Who is this user?"""

    def __init__(self, pusher: Pusher) -> None:
        super().__init__()
        self.pusher = pusher

    def render_POST(self, request: Request) -> bytes:
        user = logged_in(request)
        if not user:
            return answer(request, {"error": "log in first"}, 403)
        try:
            auth = self.pusher.authenticate_user(field(request, b"socket_id"), {"id": user})
        except InvalidRequestError as error:
            return answer(request, {"error": str(error)}, 400)
        return answer(request, auth)


def main(reactor: Any, port: str = "8000") -> Deferred[None]:
    pusher = Pusher.from_env()
    endpoints = Resource()
    endpoints.putChild(b"auth", ChannelAuth(pusher))
    endpoints.putChild(b"user-auth", UserAuth(pusher))
    root = Resource()
    root.putChild(b"pusher", endpoints)
    listening = reactor.listenTCP(int(port), Site(root), interface="127.0.0.1")
    print(f"ready: http://127.0.0.1:{listening.getHost().port}/pusher/auth", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
