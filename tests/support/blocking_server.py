"""A server of plain blocking sockets, which acts while the reactor is held up."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading

from tests.support.misbehaving import OK


class BlockingServer:
    """
    Answers the first request of each connection, and keeps the connection open.

    :ivar answered: How many requests it has answered, each on a new connection.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.answered = 0
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._connections.append(connection)
            received = b""
            while b"\r\n\r\n" not in received or not received.endswith(b"}"):
                data = connection.recv(65536)
                if not data:
                    break
                received += data
            else:
                self.answered += 1
                connection.sendall(OK)

    def leave(self, farewell: bytes = b"") -> None:
        """Say *farewell* on the last connection and close it."""
        connection = self._connections[-1]
        connection.sendall(farewell)
        connection.close()

    def say(self, data: bytes) -> None:
        """Send something that nobody asked for, and leave the connection open."""
        self._connections[-1].sendall(data)

    def notify_close(self) -> None:
        """Say close_notify on the last connection, which is one of TLS, and leave TCP open."""
        connection = self._connections[-1]
        assert isinstance(connection, ssl.SSLSocket)
        connection.settimeout(0.01)
        with contextlib.suppress(OSError):
            # Waits for the other end's close_notify, which the test holds up.
            connection.unwrap()

    def reset(self) -> None:
        """Reset the last connection."""
        connection = self._connections[-1]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def stop(self) -> None:
        # Closing alone does not wake the thread that accepts.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()
