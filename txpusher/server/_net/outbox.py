"""
Frames on their way out: made once, gathered for large audiences, written to sockets.

A write to a connection is a system call, which costs many times what it costs to frame an
event.  So the events of one round for the same large audience go out in one write per
subscriber: a batch has several, and so have concurrent requests, which came in while the
last events were written.  No frame waits longer than the round in which it came, and the
order of all frames stays as it was.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import (
    IPullProducer,
    IPushProducer,
    ISSLTransport,
    IWriteDescriptor,
)
from zope.interface import implementer

from txpusher.server import _limits as limits
from txpusher.server._core.outputs import Audience

#: The first byte of a text message in one frame (RFC 6455, section 5.2).
_TEXT = 0x81


def text_frame(message: bytes) -> bytes:
    """
    Return a text message, *message* being UTF-8, as one frame from a server.

    A frame from a server is not masked, so that the same bytes do for every subscriber;
    wsproto's own ``send`` would decode, encode and frame the message for each of them.
    """
    size = len(message)
    if size < 126:
        return bytes((_TEXT, size)) + message
    if size < 65536:
        return struct.pack("!BBH", _TEXT, 126, size) + message
    return struct.pack("!BBQ", _TEXT, 127, size) + message


class Outbox:
    """
    Sends frames to audiences, several frames in one write where the audience is large.

    Two frames for the same :class:`Audience` object have the same recipients.  Measured
    with ``tests.benchmarks.server_load`` (500 subscribers), deliveries per second of CPU time
    with the outbox and without it: 1,056,000 and 177,000 for batches of ten, 646,000 and
    135,000 for sixteen publishers at once; one event at a time makes no difference.

    :param reactor: Tells, by ``callLater``, when a round has ended.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._to = Audience()
        self._frames: list[bytes] = []
        self._size = 0
        self._call: Any = None

    def send(self, to: Audience, frame: bytes) -> None:
        """Send *frame* to every peer of *to*, at the latest when the round ends."""
        if len(to) < limits.LARGE_AUDIENCE:
            self.flush()
            for peer in to:
                peer.send(frame)
            return
        if to is not self._to or self._size + len(frame) > limits.OUTBOX:
            self.flush()
            self._to = to
        self._frames.append(frame)
        self._size += len(frame)
        if self._call is None:
            self._call = self._reactor.callLater(0, self._round_ends)

    def flush(self) -> None:
        """Send all frames that have gathered, before something else is sent."""
        if self._frames:
            frames = b"".join(self._frames)
            to, self._to, self._frames, self._size = self._to, Audience(), [], 0
            for peer in to:
                peer.send(frames)

    def _round_ends(self) -> None:
        self._call = None
        self.flush()

    def stop(self) -> None:
        """Send all frames that have gathered, and leave no call behind in the reactor."""
        self.flush()
        if self._call is not None:
            self._call.cancel()
            self._call = None


@implementer(IPullProducer)
class DirectWriter:
    """
    Writes frames to a connection, and knows how many bytes wait in its transport.

    While nothing waits in the transport, frames are written to the socket itself: the
    transport's own way takes a round of the reactor for each write, which costs several
    times the system call.  Measured with ``tests.benchmarks.server_load`` (500
    subscribers, one event at a time): 144,000 deliveries per second of CPU time, and 71,000
    through the transport.

    As a pull producer the writer is told whenever the transport has nothing left to write.

    :param transport: The connection's transport.
    :param too_slow: Called once, where more than ``limits.WAITING_TO_SEND`` bytes wait.
    """

    __slots__ = (
        "_clear",
        "_ended",
        "_reading",
        "_too_slow",
        "_transport",
        "_waiting",
        "_write_now",
    )

    def __init__(self, transport: Any, too_slow: Callable[[], None]) -> None:
        self._transport = transport
        self._too_slow = too_slow
        self._waiting = 0
        self._ended = False
        self._reading = True
        self._clear = False
        self._write_now = _direct_write(transport)

    def start(self) -> None:
        """Take the place of Twisted's HTTP code as the transport's producer."""
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, False)
        # The transport calls resumeProducing at once, whatever it has yet to write.
        self._clear = False

    def write(self, frame: bytes) -> None:
        """Write *frame*, now or as soon as the client has read what waits."""
        if self._clear and self._write_now is not None:
            try:
                sent = self._write_now(frame)
            except OSError:
                # Either the write would block, or the transport will see the error too.
                sent = 0
            if sent == len(frame):
                return
            self._clear = False
            frame = frame[sent:]
        if self._ended:
            return
        self._waiting += len(frame)
        if self._waiting > limits.WAITING_TO_SEND:
            self._too_slow()
            return
        if self._waiting > limits.WAITING_TO_READ_ON and self._reading:
            self._reading = False
            self._transport.pauseProducing()
        self._transport.write(frame)

    def end(self) -> None:
        """Drop all frames from now on; what waits in the transport still goes out."""
        self._ended = True
        self._clear = False

    # IPullProducer

    def resumeProducing(self) -> None:
        """Note that the transport has nothing left to write."""
        self._clear = not self._ended
        self._waiting = 0
        if not self._reading:
            self._reading = True
            self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: the connection is lost, which the connection is told too."""


@implementer(IPushProducer)
class BufferedWriter:
    """
    Writes frames to a connection with TLS, and knows how many bytes wait.

    TLS turns a pull producer into a loop that asks for more in every round of the reactor, as
    long as the connection lasts; so this writer is a push producer, which the transport tells
    when it has no room, and when it has room again.

    :param transport: The connection's transport.
    :param too_slow: Called once, where more than ``limits.WAITING_TO_SEND`` bytes wait.
    """

    __slots__ = ("_congested", "_ended", "_too_slow", "_transport", "_waiting")

    def __init__(self, transport: Any, too_slow: Callable[[], None]) -> None:
        self._transport = transport
        self._too_slow = too_slow
        self._waiting = 0
        self._congested = False
        self._ended = False

    def start(self) -> None:
        """Take the place of Twisted's HTTP code as the transport's producer."""
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, True)

    def write(self, frame: bytes) -> None:
        """Write *frame*, now or as soon as the client has read what waits."""
        if self._ended:
            return
        if self._congested:
            self._waiting += len(frame)
            if self._waiting > limits.WAITING_TO_SEND:
                self._too_slow()
                return
        self._transport.write(frame)

    def end(self) -> None:
        """Drop all frames from now on; what waits in the transport still goes out."""
        self._ended = True

    # IPushProducer

    def pauseProducing(self) -> None:
        """Read no more from the client: the answers would have to wait too."""
        self._congested = True
        self._waiting = 0
        if not self._ended:
            self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on: the transport has room."""
        self._congested = False
        self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: the connection is lost, which the connection is told too."""


def make_writer(transport: Any, too_slow: Callable[[], None]) -> DirectWriter | BufferedWriter:
    """Return the writer for a transport; the arguments are those of the writers."""
    secure = ISSLTransport.providedBy(transport)
    return BufferedWriter(transport, too_slow) if secure else DirectWriter(transport, too_slow)


def _direct_write(transport: Any) -> Callable[[bytes], int] | None:
    """
    Return the ``send`` of the transport's socket, None where frames must go through it.

    Where the reactor polls, the handle is a socket that does not block; the handle of a
    TLS connection is none.
    """
    polled: Any = transport if IWriteDescriptor.providedBy(transport) else None
    handle = None if polled is None else polled.getHandle()
    return handle.send if isinstance(handle, socket.socket) else None
