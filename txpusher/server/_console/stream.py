"""
The feed as a stream to one browser: server-sent events, resumed where they broke off.

Source: "Server-sent events" in the HTML standard.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from txpusher.server import _limits as limits
from txpusher.server._console.feed import Feed
from txpusher.server._core.json import dump_bytes


@implementer(IPushProducer)
class Stream:
    """
    Sends the entries of a feed, those of a moment together.

    Nothing is queued for a browser that does not read: the stream goes on from the entry that
    it sent last, and what the feed has dropped by then is left out.

    :param request: The request that the stream is the answer to.
    :param counts: Returns what is counted on the server, to be sent along.
    :param position: The id of the last entry that the browser has.
    """

    def __init__(
        self,
        request: Any,
        feed: Feed,
        reactor: Any,
        counts: Callable[[], dict[str, int]],
        position: int,
    ) -> None:
        self._request = request
        self._feed = feed
        self._reactor = reactor
        self._counts = counts
        self._position = position
        # A browser that was away while the feed was cleared has entries that are gone.
        self._cleared = min(feed.cleared, position)
        self._congested = False
        self._call: Any = None
        self._written_at = 0.0

    def start(self) -> None:
        """Begin the answer, with the entries that there are."""
        # Registered first: what Twisted tells of a full transport is for the stream.
        self._request.registerProducer(self, True)
        self._feed.watchers.add(self._changed)
        self._send("hello", {"run": self._feed.run})
        self._flush()

    def stop(self) -> None:
        """End the stream: the browser is gone, or the server stops."""
        self._feed.watchers.discard(self._changed)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def keep_alive(self) -> None:
        """Write something where nothing was written for long: proxies drop silent streams."""
        if self._reactor.seconds() - self._written_at >= limits.CONSOLE_SILENCE:
            self._write(b":\n\n")

    def _changed(self) -> None:
        if self._call is None and not self._congested:
            self._call = self._reactor.callLater(limits.CONSOLE_GATHERING, self._due)

    def _due(self) -> None:
        self._call = None
        self._flush()

    def _flush(self) -> None:
        if self._cleared != self._feed.cleared:
            self._cleared = self._feed.cleared
            self._position = max(self._position, self._cleared)
            self._send("cleared", {"id": self._cleared})
        while not self._congested:
            entries = list(
                islice(self._feed.after(self._position), limits.CONSOLE_ENTRIES_TOGETHER)
            )
            if not entries:
                break
            self._position = entries[-1].id
            self._send("entries", [entry.fields() for entry in entries])
        self._send("counts", self._counts())

    def _send(self, name: str, value: Any) -> None:
        self._write(b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), dump_bytes(value)))

    def _write(self, data: bytes) -> None:
        self._written_at = self._reactor.seconds()
        self._request.write(data)

    # IPushProducer

    def pauseProducing(self) -> None:
        """Send nothing more: the browser has yet to read what was sent."""
        self._congested = True

    def resumeProducing(self) -> None:
        """Go on from the entry that was sent last."""
        self._congested = False
        self._changed()

    def stopProducing(self) -> None:
        """Do nothing: the connection is lost, which the request tells too."""
