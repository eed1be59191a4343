# -*- test-case-name: tests.integration.test_server_abuse -*-
"""
One TCP connection, from the first byte to the last: what stands before
Twisted's HTTP and WebSocket code and keeps each within bounds.

A wire carries HTTP requests, or WebSocket frames, or it is at its end: all has
been said, and it waits for the other side to be done, for some seconds.  To
close at once, with bytes unread, would make the kernel of the other side throw
away the very answer that explains why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from txpusher.server._net.frames import FrameMeter, MessageTooBigError

if TYPE_CHECKING:
    from txpusher.server._net.site import ChannelsSite

#: Seconds for one request to come in, from its first byte to its last.
REQUEST_TIMEOUT = 30.0
#: Seconds that a connection may stay without a request.
KEEP_ALIVE_TIMEOUT = 75.0
#: Seconds that the other side has to end the connection, once asked to.
DRAIN_TIMEOUT = 5.0


class Socket(Protocol):
    """What takes over a wire that became a WebSocket."""

    def seen(self, pongs: int) -> None:
        """
        Some bytes have come in.

        :param pongs: How many bytes Twisted is about to write in answer to pings.
        """

    def message_ends(self) -> None:
        """All of a message has been handed over."""

    def ended(self) -> None:
        """Twisted is closing the connection: nothing more may be sent."""

    def refuse(self, reason: str) -> None:
        """End the connection: a message is too big."""


@implementer(IProtocol, IHalfCloseableProtocol)
class Wire:
    """
    The outermost protocol of a connection.

    :param site: Whose connection it is.
    :param http: Twisted's protocol for it.
    """

    factory: Any = None
    transport: Any

    def __init__(self, site: ChannelsSite, http: IProtocol) -> None:
        self._site = site
        self._http = http
        self._receive: Callable[[bytes], None] = self._receive_http
        self._meter = FrameMeter()
        self._socket: Socket | None = None
        self._idle = False
        #: When the site's sweep calls :meth:`expire`, None for never.
        self.deadline: float | None = site.seconds() + REQUEST_TIMEOUT
        self.draining = False

    def makeConnection(self, transport: ITransport) -> None:
        self.transport = transport
        self._site.wires.add(self)
        self._http.makeConnection(transport)

    def connectionMade(self) -> None:
        """Never called: :meth:`makeConnection` does all there is to do."""

    def dataReceived(self, data: bytes) -> None:
        self._receive(data)

    def readConnectionLost(self) -> None:
        """The other side sends no more: what it has been answered still goes out."""
        if not self.draining:
            if self._socket is not None:
                self._socket.ended()
            self._settle()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """As :meth:`drain` wanted it."""

    def connectionLost(self, reason: Failure) -> None:
        self._http.connectionLost(reason)
        self._site.lost(self)

    # HTTP

    def _receive_http(self, data: bytes) -> None:
        if self._idle:
            self._idle = False
            self.deadline = self._site.seconds() + REQUEST_TIMEOUT
        try:
            self._http.dataReceived(data)
        except ValueError:
            # Twisted takes any digits for a Content-Length, and Python makes no
            # number of some thousand.
            self.refuse(b"400 Bad Request", b"the head of the request is malformed")

    def answering(self) -> None:
        """A request has come in whole."""
        self.deadline = None

    def answered(self) -> None:
        """It has been answered; there may be another."""
        if not self.draining:
            self._idle = True
            self.deadline = self._site.seconds() + KEEP_ALIVE_TIMEOUT

    def refuse(self, status: bytes, text: bytes) -> None:
        """Answer a request that has not come in whole, and take no more of it."""
        if not self.draining:
            self.transport.write(
                b"HTTP/1.1 %b\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Date: %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (status, self._site.http_date(), len(text), text)
            )
            self.drain()

    # WebSocket

    def upgraded(self, socket: Socket) -> None:
        """From now on there are frames, for *socket* in the end."""
        self._socket = socket
        self._receive = partial(self._receive_frames, socket)
        self.deadline = None

    def _receive_frames(self, socket: Socket, data: bytes) -> None:
        meter, at = self._meter, 0
        while at < len(data) and not self.draining:
            try:
                end = meter.feed(data, at)
            except MessageTooBigError as error:
                socket.refuse(str(error))
                return
            socket.seen(meter.pings)
            meter.pings = 0
            self._http.dataReceived(data[at:end])
            refused = self.transport.disconnecting
            # Before version 26.10 Twisted hands a message over in the pieces in
            # which it came, and does not say which is the last.
            if meter.complete and not refused:
                socket.message_ends()
            if (meter.closed or refused) and not self.draining:
                # Twisted has answered and is closing.  What else may come would
                # be an error to it.
                socket.ended()
                self._settle()
            at = end
        if at < len(data):
            self._receive(data[at:])

    # The end

    def part(self) -> None:
        """A close frame has been written: wait for the other one."""
        if self.draining:
            return
        self._settle()
        if self._site.stopping:
            # Who is asked to come back at once must find the port free for the
            # next server: there is no time to wait for answers.
            self.transport.loseConnection()
        else:
            self._receive = self._await_close_frame
            self.transport.resumeProducing()

    def _await_close_frame(self, data: bytes) -> None:
        at = 0
        try:
            while at < len(data) and not self._meter.closed:
                at = self._meter.feed(data, at)
        except MessageTooBigError:
            self._half_close()
        if self._meter.closed:
            self.transport.loseConnection()

    def drain(self) -> None:
        """The last answer has been written: take nothing in, until it is over."""
        if not self.draining:
            self._settle()
            self._half_close()
            self.transport.resumeProducing()

    def _settle(self) -> None:
        self.draining = True
        self._receive = _drop
        self.deadline = self._site.seconds() + DRAIN_TIMEOUT
        # A producer would keep the transport from closing after the last byte.
        self.transport.unregisterProducer()

    def _half_close(self) -> None:
        self._receive = _drop
        self.transport.loseWriteConnection()

    def abort(self) -> None:
        """End it at once; what is not sent yet is lost."""
        self._receive = _drop
        self.transport.abortConnection()

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = None
        if self.draining:
            self.abort()
        elif self._idle:
            self.close_idle()
        else:
            self.refuse(b"408 Request Timeout", b"the request did not come in in time")

    def close_idle(self) -> None:
        """End a connection between two requests, or in the middle of one."""
        if self._socket is None and not self.draining:
            self._settle()
            self.transport.loseConnection()


def _drop(data: bytes) -> None:
    """What a wire at its end does with what comes in."""
