"""
Receive webhooks with twisted.web.

Listens on the port given, or 8000; have the server send its webhooks there::

    txpusher serve --webhook http://127.0.0.1:8000/webhooks     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python receive_webhooks.py 8000
"""

# Much of Twisted has no annotations yet.
# mypy: allow-untyped-calls

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from txpusher import Pusher, WebHookError


class WebHooks(Resource):
    """
    Takes what the server tells, once it is known to be from it.

    A reply outside 2xx makes the server send the webhook again: so answer at
    once, and work later.
    """

    def __init__(self, pusher: Pusher) -> None:
        super().__init__()
        self.pusher = pusher

    def render_POST(self, request: Request) -> bytes:
        webhook = self.pusher.webhook(request)
        if not webhook.is_valid:
            request.setResponseCode(401)
            return b"wrong key or signature\n"
        try:
            sent, events = webhook.time, webhook.events
        except WebHookError as error:
            request.setResponseCode(400)
            return f"{error}\n".encode()
        for event in events:
            print(f"{sent:%H:%M:%S} {event['name']} {event.get('channel', '')}", flush=True)
        return b"ok\n"


def main(reactor: Any, port: str = "8000") -> Deferred[None]:
    root = Resource()
    root.putChild(b"webhooks", WebHooks(Pusher.from_env()))
    listening = reactor.listenTCP(int(port), Site(root), interface="127.0.0.1")
    print(f"ready: http://127.0.0.1:{listening.getHost().port}/webhooks", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
