"""
The little of RFC 6455 that the server does itself.

Out: an event for many subscribers is framed once.  A frame from a server is
not masked, so that the same bytes do for each of them.

In: what a client sends is measured before the WebSocket implementation sees
it, which would collect a message of any size.
"""

from __future__ import annotations

import struct

#: The most bytes of one message from a client, all its fragments together.
MAX_MESSAGE = 100_000
#: The most frames that one message may be in: joining them has its price,
#: however little is in each.
MAX_FRAGMENTS = 4096

_TEXT = 0x81
_CLOSE = 0x88


def text_frame(message: bytes) -> bytes:
    """A text message, *message* being UTF-8, as one frame from a server."""
    size = len(message)
    if size < 126:
        return bytes((_TEXT, size)) + message
    if size < 65536:
        return struct.pack("!BBH", _TEXT, 126, size) + message
    return struct.pack("!BBQ", _TEXT, 127, size) + message


def close_frame(code: int, reason: str) -> bytes:
    """A close frame from a server; *reason* is cut where it is too long."""
    text = reason.encode("utf-8")[:123].decode("utf-8", "ignore").encode("utf-8")
    return struct.pack("!BBH", _CLOSE, len(text) + 2, code) + text


class MessageTooBigError(Exception):
    """A message from a client is over :data:`MAX_MESSAGE`, or in too many pieces."""


class FrameMeter:
    """
    Follows the frames in what a client sends, without keeping any.

    :ivar complete: What was measured last ends a message.
    :ivar closed: The client has sent a close frame, to its end.
    :ivar pings: Bytes of the pongs that the ping frames so far ask for.
    """

    def __init__(self) -> None:
        self.complete = False
        self.closed = False
        self.pings = 0
        self._closing = False
        self._ending = False
        self._header = bytearray()
        self._rest = 0
        self._message = 0
        self._fragments = 0

    def feed(self, data: bytes, at: int = 0) -> int:
        """
        Measure *data* from *at* on.

        :return: How far it was measured: to the end of a message or of a close
            frame, else to the end of the data.
        :raises MessageTooBigError: There is the header of a frame with which a
            message would become too big.
        """
        end = len(data)
        self.complete = False
        while at < end:
            if self._rest:
                step = min(self._rest, end - at)
                self._rest -= step
                at += step
            else:
                need = self._header_size() - len(self._header)
                piece = data[at : at + need]
                self._header += piece
                at += len(piece)
                if len(self._header) == self._header_size():
                    self._begin_frame()
            if self._ending and not self._rest:
                self._ending = False
                self.complete, self.closed = not self._closing, self._closing
                return at
        return end

    def _header_size(self) -> int:
        header = self._header
        if len(header) < 2:
            return 2
        length = header[1] & 0x7F
        mask = 4 if header[1] & 0x80 else 0
        return 2 + mask + (2 if length == 126 else 8 if length == 127 else 0)

    def _begin_frame(self) -> None:
        header = self._header
        opcode = header[0] & 0x0F
        size = header[1] & 0x7F
        if size == 126:
            size = int.from_bytes(header[2:4], "big")
        elif size == 127:
            size = int.from_bytes(header[2:10], "big")
        if opcode < 8:
            self._message += size
            self._fragments += 1
        if self._message > MAX_MESSAGE or self._fragments > MAX_FRAGMENTS or size > MAX_MESSAGE:
            raise MessageTooBigError(
                f"a message may have {MAX_MESSAGE} bytes in {MAX_FRAGMENTS} frames"
            )
        self._rest = size
        self._closing = opcode == 8
        self._ending = self._closing
        if opcode < 8 and header[0] & 0x80:
            self._ending = True
            self._message = self._fragments = 0
        if opcode == 9:
            self.pings += size + 2
        header.clear()
