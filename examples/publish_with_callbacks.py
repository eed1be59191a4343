"""
Publish one event, with callbacks.

::

    txpusher serve     # then, in another terminal:
    export PUSHER_URL=http://app-key:app-secret@127.0.0.1:6001/apps/1
    python publish_with_callbacks.py
"""

# Much of Twisted has no annotations yet.
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.failure import Failure

from txpusher import Pusher, PusherError


def main(reactor: Any) -> Deferred[None]:
    pusher = Pusher.from_env()

    def published(reply: dict[str, Any]) -> None:
        print("the server has accepted the event")

    def failed(failure: Failure) -> None:
        failure.trap(PusherError)
        raise SystemExit(f"not published: {failure.value}")

    def close(result: Any) -> Deferred[Any]:
        return pusher.close().addCallback(lambda _: result)

    d = pusher.trigger("my-channel", "my-event", {"hello": "world"})
    return d.addCallbacks(published, failed).addBoth(close)


if __name__ == "__main__":
    react(main)
