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
from twisted.web.server import Site

from txpusher import Pusher, WebHook
from txpusher.web import WebHookResource


def handle(event: dict[str, Any], webhook: WebHook) -> None:
    """
    Act on one event of a webhook that is known to be from the server.

    What is raised here makes the server send the webhook again.
    """
    print(f"{webhook.time:%H:%M:%S} {event['name']} {event.get('channel', '')}", flush=True)


def main(reactor: Any, port: str = "8000") -> Deferred[None]:
    root = Resource()
    root.putChild(b"webhooks", WebHookResource(Pusher.from_env(), handle))
    listening = reactor.listenTCP(int(port), Site(root), interface="127.0.0.1")
    print(f"ready: http://127.0.0.1:{listening.getHost().port}/webhooks", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
