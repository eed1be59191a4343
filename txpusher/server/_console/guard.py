"""
Who may use the console: programs and pages of this machine, and whom the server was told of.

A page on the internet can make a browser send requests to a server on the same machine.  Three
things give such a request away: an ``Origin``, Fetch Metadata (``Sec-Fetch-Site``), and, where
the page's own name was made to resolve to this machine (DNS rebinding), the ``Host``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import attrs

from txpusher._text import short_repr, with_type
from txpusher.errors import ConfigurationError

#: The names under which a browser reaches a server on its own machine.
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
#: The ports that a browser leaves out of ``Host`` and ``Origin``.
_DEFAULT_PORTS = (80, 443)
_HOST = re.compile(
    r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?"
).fullmatch


def checked_hosts(console: Any) -> frozenset[str] | None:
    """
    Return the hosts that the setting ``console`` names, None where there is no console.

    :raises ConfigurationError: *console* is neither a bool nor several hosts.
    """
    if console is False:
        return None
    if console is True:
        return frozenset()
    if isinstance(console, (str, bytes)) or not isinstance(console, Iterable):
        raise ConfigurationError(
            "console must be True, False or several hosts, such as "
            f'["dev.example:6001"], not {with_type(console)}'
        )
    hosts = list(console)
    for host in hosts:
        if not isinstance(host, str) or not _HOST(host.lower()):
            raise ConfigurationError(
                "a host of console must be as in a URL, such as dev.example:6001, "
                f"not {short_repr(host)}"
            )
    return frozenset(host.lower() for host in hosts)


@attrs.frozen
class Asker:
    """
    What a request says of who sends it.

    :ivar host: The values of the header ``Host``.
    :ivar origin: The values of the header ``Origin``.
    :ivar fetch_site: ``Sec-Fetch-Site``, None where the client sends none.
    :ivar navigates: Whether a browser opens the answer as a page of its own.
    :ivar address: The IP address of the client, None for a Unix socket, empty where nobody
        knows.
    :ivar port: The TCP port of the server, None for a Unix socket.
    :ivar forwarded: Whether a proxy says that it passes the request on for another client.
    """

    host: tuple[str, ...]
    origin: tuple[str, ...] = ()
    fetch_site: str | None = None
    navigates: bool = False
    address: str | None = None
    port: int | None = None
    forwarded: bool = False


class Guard:
    """
    Decides who may use the console.

    :param hosts: Hosts, as in a URL, under which others than programs of this machine may use
        it.  One without a port is meant with the server's port, and with the default port.
    """

    def __init__(self, hosts: frozenset[str] = frozenset()) -> None:
        self._hosts = hosts

    def refusal(self, asker: Asker) -> str | None:
        """Return why a request is refused, None where it is not."""
        told, local = self._told(asker.port), _local(asker.port)
        if len(asker.host) != 1 or asker.host[0].lower() not in told | local:
            return (
                f"the console answers to {', '.join(sorted(told | local))}, not to "
                f"{short_repr(', '.join(asker.host) or 'a request without a Host')}; "
                "--console-host, or console=[...] of ChannelsServer, adds a host"
            )
        if asker.host[0].lower() not in told and (asker.forwarded or _foreign(asker.address)):
            return (
                "the console is for this machine alone; --console-host, or console=[...] of "
                "ChannelsServer, names a host under which others may use it"
            )
        for origin in asker.origin:
            scheme, _, host = origin.lower().partition("://")
            if scheme not in ("http", "https") or host not in told | local:
                return f"the console takes nothing from pages of {short_repr(origin)}"
        if asker.fetch_site not in (None, "same-origin", "none") and not asker.navigates:
            return f"the console takes nothing from other pages (they are {asker.fetch_site})"
        return None

    def _told(self, port: int | None) -> frozenset[str]:
        bare = {host for host in self._hosts if not _has_port(host)}
        return self._hosts | {f"{host}:{port}" for host in bare}


def _has_port(host: str) -> bool:
    return host.rpartition("]")[2].count(":") == 1


def _local(port: int | None) -> frozenset[str]:
    names = frozenset(f"{name}:{port}" for name in LOOPBACK)
    if port is None:
        return frozenset(LOOPBACK)
    return names | set(LOOPBACK) if port in _DEFAULT_PORTS else names


def _foreign(address: str | None) -> bool:
    if address is None:
        return False
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return True
    mapped = getattr(parsed, "ipv4_mapped", None)
    return not (mapped or parsed).is_loopback
