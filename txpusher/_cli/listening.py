# -*- test-case-name: tests.integration.test_cli_serve -*-
"""
Where ``txpusher serve`` listens: a TCP port, with TLS or without, or any endpoint of Twisted's.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.error import CannotListenError

from txpusher._cli.certificate import Certificate
from txpusher.errors import ConfigurationError

if TYPE_CHECKING:
    from txpusher.server import ChannelsServer

HOST, PORT = "127.0.0.1", 6001
#: What the certificate is for, whatever the server listens on.
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104


@attrs.frozen
class Place:
    """
    Where a server is to listen.

    :ivar endpoint: The description of an endpoint, None for the TCP port.
    :ivar certificate: The file of the certificate that was made, None for none.
    """

    host: str
    port: int
    endpoint: str | None = None
    certificate: Path | None = None

    @classmethod
    def of(cls, settings: dict[str, Any], stack: ExitStack) -> Place:
        """
        Return the place that the options name.

        :param settings: The options for the place.
        :param stack: Deletes a certificate that is not to be kept.
        :raises ConfigurationError: The options contradict each other, or there can be no
            certificate.
        """
        host, port = settings.get("host", HOST), settings.get("port", PORT)
        if "endpoint" in settings:
            others = [
                name for name in ("host", "port", "tls", "tls_directory") if name in settings
            ]
            if others:
                raise ConfigurationError(
                    f"--listen goes without --{others[0].replace('_', '-')}: "
                    "the endpoint says it all"
                )
            return cls(host, port, settings["endpoint"])
        if not settings.keys() & {"tls", "tls_directory"}:
            return cls(host, port)
        directory = settings.get("tls_directory") or stack.enter_context(
            TemporaryDirectory(prefix="txpusher-")
        )
        hosts = _LOCAL_HOSTS if host in _EVERYWHERE else (*_LOCAL_HOSTS, host)
        try:
            made = Certificate.in_directory(Path(directory).absolute(), hosts)
        except OSError as error:
            raise ConfigurationError(
                f"cannot keep a certificate in {directory}: {error.strerror or error}"
            ) from None
        key, certificate, interface = (
            _quoted(str(value)) for value in (made.key, made.certificate, host)
        )
        endpoint = f"ssl:{port}:interface={interface}:privateKey={key}:certKey={certificate}"
        return cls(host, port, endpoint, made.certificate)

    async def listen(self, server: ChannelsServer, reactor: Any) -> str | None:
        """
        Listen.

        :return: None, or why the server cannot listen.
        :raises ConfigurationError: There is no such endpoint.
        """
        try:
            if self.endpoint is None:
                await server.listen(self.port, self.host, reactor)
            else:
                await server.listen_on(self.endpoint, reactor)
        except (CannotListenError, OSError, OverflowError) as error:
            # Twisted does not wrap what it meets before it binds, such as a Unix socket in a
            # directory that there is not.
            cause = getattr(error, "socketError", error)
            is_own = self.endpoint is None or self.certificate is not None
            place = f"{self.host}:{self.port}" if is_own else self.endpoint
            return f"cannot listen on {place}: {getattr(cause, 'strerror', None) or cause}"
        return None

    def trust(self, up: str) -> list[str]:
        """
        Return lines that say how to trust the certificate, none where none was made.

        :param up: The URL of ``/up``.
        """
        if self.certificate is None:
            return []
        return [
            "The certificate is self-signed.  To trust it:",
            f"  txpusher, Ruby, Go  SSL_CERT_FILE={self.certificate}",
            f"  curl                CURL_CA_BUNDLE={self.certificate}",
            f"  Python's requests   REQUESTS_CA_BUNDLE={self.certificate}",
            f"  Node.js             NODE_EXTRA_CA_CERTS={self.certificate}",
            f"  a browser           open {up} and accept it",
        ]


def _quoted(text: str) -> str:
    """Quote *text* for a description of an endpoint, where colons separate arguments."""
    return text.replace("\\", "\\\\").replace(":", "\\:")
