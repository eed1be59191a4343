"""
From the name of a host to a TCP connection: looked up in a thread of our own, one
address tried after the other.
"""

from __future__ import annotations

import socket
from threading import Thread
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

Address = tuple[type[TCP4ClientEndpoint] | type[TCP6ClientEndpoint], str]


class Resolver:
    """
    Looks up one host name, in a thread of its own.

    The reactor's thread pool, where Twisted looks names up, may be full of
    blocking calls that wait for this very answer.  Whoever asks while a
    lookup runs shares its result, so there is one thread at the most; it is a
    daemon: a name server that does not answer must not keep the process alive.
    """

    def __init__(self, reactor: Any, host: str) -> None:
        self._reactor = reactor
        self._host = host
        self._waiting: list[Deferred[list[Address]]] = []
        self._looking = False

    def resolve(self) -> Deferred[list[Address]]:
        """
        The addresses of the host, in the order of the system's preference.

        Fails with a DNSLookupError.
        """
        if isIPAddress(self._host):
            return succeed([(TCP4ClientEndpoint, self._host)])
        if isIPv6Address(self._host):
            return succeed([(TCP6ClientEndpoint, self._host)])
        if not self._looking:
            Thread(target=self._look_up, name="txpusher-resolver", daemon=True).start()
            self._looking = True
        waiter: Deferred[list[Address]] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def _forget(self, waiter: Deferred[list[Address]]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def _look_up(self) -> None:
        result: list[Address] | Failure
        try:
            found = socket.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
        except Exception as error:
            result = Failure(DNSLookupError(f"no address found for {self._host}: {error}"))
        else:
            kinds: dict[int, type[TCP4ClientEndpoint] | type[TCP6ClientEndpoint]] = {
                socket.AF_INET: TCP4ClientEndpoint,
                socket.AF_INET6: TCP6ClientEndpoint,
            }
            result = [
                (kinds[family], str(address[0]))
                for family, _, _, _, address in found
                if family in kinds
            ]
        self._reactor.callFromThread(self._resolved, result)

    def _resolved(self, result: list[Address] | Failure) -> None:
        self._looking = False
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            # The callback of another one may have cancelled it.
            if not waiter.called:
                waiter.callback(result)


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """
    Connects over TCP to one address of a host after the other.

    Never to two at once, as Twisted's HostnameEndpoint does: a client that was
    given one socket must not open two.  The address that worked last is tried
    first, and none may use up the time of those after it.
    """

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:
        self._reactor = reactor
        self._port = port
        self._timeout = timeout
        self._resolver = Resolver(reactor, host)
        self._last_good: Address | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """A protocol that is connected, or a ConnectError or DNSLookupError."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        deadline = self._reactor.seconds() + self._timeout
        addresses = list(dict.fromkeys(await self._resolver.resolve()))
        addresses.sort(key=lambda address: address != self._last_good)
        error: Exception = DNSLookupError("the name has no address")
        for tried, address in enumerate(addresses):
            kind, host = address
            share = (deadline - self._reactor.seconds()) / (len(addresses) - tried)
            try:
                protocol = await kind(
                    self._reactor, host, self._port, timeout=max(share, 0.001)
                ).connect(factory)
            except ConnectError as refused:
                error = refused
            else:
                self._last_good = address
                return protocol
        raise error
