"""
The HTTP server as Twisted sees it: a site whose connections are wires.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer

from txpusher.server._net.wire import Wire

#: The most bytes in the body of a request.
MAX_BODY = 1024 * 1024

_PLACE = re.compile(rb"http://[^/?]*/?", re.IGNORECASE).match


@implementer(IPushProducer)
class ChannelsRequest(Request):
    """
    A request whose body is bounded, and kept in memory.

    It ends when the connection has room for another answer.  Twisted's HTTP code
    would go on with what the client has pipelined, whose answers might be a
    thousand times as large as its requests, and all wait in memory.
    """

    def __init__(self, wire: Wire, channel: http.HTTPChannel) -> None:
        super().__init__(channel, parsePOSTFormSubmission=False)
        self.wire = wire
        self._refused = False
        self._body = BytesIO()
        self._size = 0
        self._congested = False
        self._finished = False
        self._ending = False

    def __repr__(self) -> str:
        # Twisted logs it here and there: the query holds a signature.
        path = self.uri.partition(b"?")[0]
        return f"<{type(self).__name__} {self.method!r} {path!r}>"

    def gotLength(self, length: int | None) -> None:
        self.content = self._body
        if length is not None and length > MAX_BODY:
            # Nor is the client told to go on, if it asked.
            self.requestHeaders.removeHeader(b"expect")
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_BODY:
            self._refuse()
        else:
            self._body.write(data)

    def _refuse(self) -> None:
        self._refused = True
        self.wire.refuse(
            b"413 Payload Too Large", b"a request body may have %d bytes" % MAX_BODY
        )

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self._refused:
            self.wire.answering()
            place = _PLACE(path)
            if place is not None:
                # A whole URL, as for a proxy, which every server must take
                # (RFC 9112, section 3.2.2).  What is signed is the path.
                path = b"/" + path[place.end() :]
            super().requestReceived(command, path, version)

    def write(self, data: bytes) -> None:
        if self.producer is None and not self._ending:
            # To be told whether the connection has room.
            self.registerProducer(self, True)
        super().write(data)

    def finish(self) -> None:
        if self._congested:
            self._finished = True
        else:
            # An answer without a body is written by finish() itself.
            self._ending = True
            if self.producer is not None:
                self.unregisterProducer()
            super().finish()
        self.wire.answered()

    # IPushProducer

    def pauseProducing(self) -> None:
        self._congested = True

    def resumeProducing(self) -> None:
        self._congested = False
        if self._finished:
            self.finish()

    def stopProducing(self) -> None:
        """The connection is lost, and the request with it."""


class ChannelsSite(Site):
    """
    :param resource: Answers every request.
    :param reactor: Keeps the time.
    """

    noisy = False

    def __init__(self, resource: IResource, reactor: Any) -> None:
        # Wires have deadlines of their own: the site's timeout begins anew with
        # every byte, so that a request may take forever.
        super().__init__(resource, timeout=None, reactor=reactor)
        self.seconds = reactor.seconds
        self.wires: set[Wire] = set()
        self.stopping = False
        self._empty: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel = super().buildProtocol(addr)
        wire = Wire(self, channel)
        channel.requestFactory = lambda channel, *queued: ChannelsRequest(wire, channel)
        return wire

    def log(self, request: http.Request) -> None:
        """No access log: the query of a request holds its signature."""

    def http_date(self) -> bytes:
        """The time for a ``Date`` header."""
        date: bytes = http.datetimeToString()
        return date

    def sweep(self) -> None:
        """End what has had its time."""
        now = self.seconds()
        for wire in list(self.wires):
            if wire.deadline is not None and wire.deadline <= now:
                wire.expire()

    def abort(self) -> None:
        """End every connection at once."""
        for wire in list(self.wires):
            wire.abort()

    def lost(self, wire: Wire) -> None:
        """A connection is gone."""
        self.wires.discard(wire)
        if not self.wires:
            waiting, self._empty = self._empty, []
            for deferred in waiting:
                deferred.callback(None)

    def emptied(self) -> Deferred[None]:
        """Fires once there is no connection, which may be now."""
        deferred: Deferred[None] = Deferred()
        self._empty.append(deferred)
        if not self.wires:
            self._empty.remove(deferred)
            deferred.callback(None)
        return deferred
