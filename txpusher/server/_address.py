# -*- test-case-name: tests.integration.test_server_endpoints -*-
"""
Where a server listens, in the words that its clients need: host, port, https, PUSHER_URL.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from txpusher.server._app import App

#: The addresses at which clients on this machine reach a server that listens on all.
_LOCAL = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@attrs.frozen
class ServerAddress:
    """
    The address of a server that listens.

    :ivar host: An address at which clients on this machine reach the server; where the
        server listens on no TCP port, the name for the ``Host`` header alone.
    :ivar port: The TCP port, None where there is none, as with a Unix socket.
    :ivar tls: Whether the server speaks TLS.
    :ivar in_words: What the server listens on, for messages.
    """

    host: str
    port: int | None
    tls: bool
    in_words: str

    @classmethod
    def of(cls, listening: Any) -> ServerAddress:
        """Return the address of a port of Twisted's (an ``IListeningPort``)."""
        address, tls = listening.getHost(), _speaks_tls(listening)
        if isinstance(address, (IPv4Address, IPv6Address)):
            host = _LOCAL.get(address.host, address.host)
            return cls(host, address.port, tls, f"{host}:{address.port}")
        if isinstance(address, UNIXAddress):
            name = address.name or b""
            path = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
            return cls("localhost", None, tls, f"the Unix socket {path}")
        return cls("localhost", None, tls, str(address))

    def url(self, app: App, path_prefix: str) -> str:
        """
        Return the PUSHER_URL of an app.

        Without a TCP port the URL has no port either, and serves a client that is given an
        ``endpoint`` to connect through.
        """
        key, secret, name = (quote(text, safe="") for text in (app.key, app.secret, app.id))
        scheme = "https" if self.tls else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{scheme}://{key}:{secret}@{host}{port}{path_prefix}/apps/{name}"


def _speaks_tls(listening: Any) -> bool:
    """
    Tell whether the connections of a port speak TLS.

    No interface of Twisted's says so.  Twisted's ports keep the factory that they were given,
    and TLS is a factory around another one, as is the protocol of proxies (``haproxy:``).
    """
    factory = getattr(listening, "factory", None)
    while isinstance(factory, WrappingFactory):
        if isinstance(factory, TLSMemoryBIOFactory):
            return True
        factory = factory.wrappedFactory
    return False
