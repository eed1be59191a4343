# -*- test-case-name: tests.integration.test_cli_serve -*-
"""
A self-signed certificate for ``txpusher serve --tls``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Apple's clients trust no certificate that is valid for longer.
_DAYS = 397


@attrs.frozen
class Certificate:
    """
    A certificate and its key, as files in PEM.

    :ivar certificate: The file that clients are told to trust.
    :ivar key: The file of the key, which only its owner can read.
    """

    certificate: Path
    key: Path

    @classmethod
    def in_directory(cls, directory: Path, hosts: Iterable[str]) -> Certificate:
        """
        Return the certificate in a directory, made on the spot where it is missing or over.

        The certificate signs no other, so that a client that trusts it trusts these hosts
        alone.

        :param hosts: The names and IP addresses that the certificate is for.
        :raises OSError: The files cannot be read or written.
        """
        found = cls(directory / "txpusher-certificate.pem", directory / "txpusher-key.pem")
        hosts = list(dict.fromkeys(hosts))
        if not (found.key.exists() and _is_for(found.certificate, hosts)):
            directory.mkdir(parents=True, exist_ok=True)
            _make(found, hosts)
        return found


def _names(hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def _is_for(path: Path, hosts: Iterable[str]) -> bool:
    """Tell whether the certificate in a file is for these hosts, and valid for a day."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
        return False
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    over = certificate.not_valid_after_utc <= tomorrow
    return not over and set(_names(hosts)) <= set(found.value)


def _make(files: Certificate, hosts: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "txpusher serve")])
    now = datetime.now(timezone.utc)
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The clocks of clients may be behind.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_DAYS - 1))
        .add_extension(_names(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files.key.unlink(missing_ok=True)
    with open(os.open(files.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(private)
    files.certificate.write_bytes(certificate.public_bytes(pem))
