"""Name resolvers that a program may install on the reactor, and their installation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.base import ThreadedResolver
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
    IResolverSimple,
)
from zope.interface import implementer

#: A name that no resolver but an installed one knows.
NAME = "channels.example"


@contextlib.contextmanager
def installed(resolver: Any) -> Iterator[Any]:
    """Have *resolver* installed on the reactor for a while, None for the stock one."""
    from twisted.internet import reactor as running

    reactor: Any = running
    before = reactor.nameResolver
    if resolver is not None:
        if IHostnameResolver.providedBy(resolver):
            reactor.installNameResolver(resolver)
        else:
            reactor.installResolver(resolver)
    try:
        yield resolver
    finally:
        reactor.installNameResolver(before)


def address(host: str, port: int = 0) -> IPv4Address | IPv6Address:
    """Make Twisted's value of an IP address."""
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)


@implementer(IHostResolution)
class Resolution:
    """
    A resolution that a test ends by hand.

    :ivar receiver: Who is told of the addresses.
    :ivar cancelled: How often the resolution was cancelled.
    """

    def __init__(self, name: str, receiver: IResolutionReceiver) -> None:
        self.name = name
        self.receiver = receiver
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1

    def answer(self, *hosts: str, port: int = 0) -> None:
        """Report *hosts* and complete."""
        for host in hosts:
            self.receiver.addressResolved(address(host, port))
        self.receiver.resolutionComplete()


@implementer(IHostnameResolver)
class FakeResolver:
    """
    A resolver whose answers a test decides.

    :param hosts: The addresses of every name, None for silence.
    :ivar asked: The (name, port) of each question.
    :ivar resolutions: The resolution of each question.
    """

    def __init__(self, *hosts: str, silent: bool = False, port: int = 0) -> None:
        self.hosts = hosts
        self.silent = silent
        self.port = port
        self.asked: list[tuple[str, int]] = []
        self.resolutions: list[Resolution] = []

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        self.asked.append((hostName, portNumber))
        resolution = Resolution(hostName, resolutionReceiver)
        self.resolutions.append(resolution)
        resolutionReceiver.resolutionBegan(resolution)
        if not self.silent:
            resolution.answer(*self.hosts, port=self.port)
        return resolution


@implementer(IResolverSimple)
class CachingSimpleResolver(ThreadedResolver):
    """
    A cache over Twisted's resolver in the reactor's pool, installed with installResolver.

    The stand-in for Scrapy's CachingThreadedResolver, Scrapy's default.
    """

    def __init__(self, reactor: Any, timeout: float = 60.0) -> None:
        super().__init__(reactor)
        self._timeout = timeout
        self.known: dict[str, str] = {}

    def getHostByName(self, name: str, timeout: Any = ()) -> Deferred[str]:
        if name in self.known:
            return succeed(self.known[name])
        found = super().getHostByName(name, (self._timeout,))

        def keep(host: str) -> str:
            self.known[name] = host
            return host

        return found.addCallback(keep)


@implementer(IResolutionReceiver)
class _Keeping:
    def __init__(self, to: IResolutionReceiver, known: list[Any]) -> None:
        self._to = to
        self._known = known
        self._found: list[Any] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self._to.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: Any) -> None:
        self._to.addressResolved(address)
        self._found.append(address)

    def resolutionComplete(self) -> None:
        self._to.resolutionComplete()
        self._known.extend(self._found)


@implementer(IHostnameResolver)
class CachingNameResolver:
    """
    A cache over the resolver that was installed before, for IPv6 too.

    The stand-in for Scrapy's CachingHostnameResolver, which returns the receiver where an
    IHostResolution is due, once a name is known.
    """

    def __init__(self, reactor: Any) -> None:
        self._behind: IHostnameResolver = reactor.nameResolver
        self.known: dict[str, list[Any]] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        known = self.known.setdefault(hostName, [])
        if not known:
            return self._behind.resolveHostName(
                _Keeping(resolutionReceiver, known),
                hostName,
                portNumber,
                addressTypes,
                transportSemantics,
            )
        resolutionReceiver.resolutionBegan(Resolution(hostName, resolutionReceiver))
        for found in known:
            resolutionReceiver.addressResolved(found)
        resolutionReceiver.resolutionComplete()
        return resolutionReceiver
