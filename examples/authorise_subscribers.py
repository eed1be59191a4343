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

import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site

from txpusher import Pusher
from txpusher.web import ChannelAuthResource, UserAuthResource

#: Who may listen to what; yours is in a database.
MEMBERS = {"presence-lobby": {"alice", "bob"}, "private-alice": {"alice"}}


def logged_in(request: Any) -> str:
    """The user; here whoever the cookie names, in earnest whoever a session belongs to."""
    cookie: bytes = request.getCookie(b"user") or b""
    return cookie.decode("utf-8", "replace")


def authorize(request: Any, channel: str, socket_id: str) -> bool | Mapping[str, Any]:
    """May this user subscribe to this channel?  It may be a coroutine, to ask a database."""
    user = logged_in(request)
    if user not in MEMBERS.get(channel, ()):
        return False
    return {"user_id": user} if channel.startswith("presence-") else True


def identify(request: Any) -> Mapping[str, Any] | None:
    """Who is this user?"""
    user = logged_in(request)
    return {"id": user} if user else None


def main(reactor: Any, port: str = "8000") -> Deferred[None]:
    pusher = Pusher.from_env()
    endpoints = Resource()
    endpoints.putChild(b"auth", ChannelAuthResource(pusher, authorize))
    endpoints.putChild(b"user-auth", UserAuthResource(pusher, identify))
    root = Resource()
    root.putChild(b"pusher", endpoints)
    listening = reactor.listenTCP(int(port), Site(root), interface="127.0.0.1")
    print(f"ready: http://127.0.0.1:{listening.getHost().port}/pusher/auth", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
