"""Certificates of an authority that only this test run knows."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import trustme
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.web.client import BrowserLikePolicyForHTTPS


class Authority:
    """
    Issues certificates to servers.

    :ivar policy: A ``tls_policy`` that trusts this authority and no other.
    :ivar root_pem: The certificate of the authority itself.
    """

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.root_pem = self._ca.cert_pem.bytes()
        root = Certificate.loadPEM(self.root_pem)
        self.policy = BrowserLikePolicyForHTTPS(trustRoot=root)

    def server_context(self, *names: str) -> Any:
        """What ``listenSSL`` needs to be the server called so."""
        issued = self._ca.issue_cert(*names or ("127.0.0.1", "localhost"))
        return PrivateCertificate.loadPEM(
            issued.private_key_and_cert_chain_pem.bytes()
        ).options()

    def write_pem(self, path: Path, *names: str) -> None:
        """Write key and certificate of the server called so to a file."""
        issued = self._ca.issue_cert(*names or ("127.0.0.1", "localhost"))
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))

    def blocking_context(self, *names: str) -> ssl.SSLContext:
        """The same for blocking sockets."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names or ("127.0.0.1", "localhost")).configure_cert(context)
        return context
