"""
From the name of a host to a TCP connection: the name is looked up, then one address is
tried after the other.

What follows the TCP connection (a proxy's tunnel, TLS, HTTP) is left to the endpoints that
wrap :class:`HostEndpoint`.
"""

from __future__ import annotations

import socket
from threading import Thread
from typing import TYPE_CHECKING, Any, NoReturn, cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, FailureGroup, race
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as TwistedTimeoutError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txpusher._http.deadline import Deadline, PatientClock
from txpusher._text import short_repr

if TYPE_CHECKING:
    from txpusher._interfaces import INetworkReactor

#: Seconds of silence after which a thread of our own helps an installed name resolver.
SILENCE = 1.0

#: The class of the name resolver that every reactor begins with, as seen in Twisted 24.7 to
#: 26.10.  The module is private, so the class is known by its name: should Twisted rename
#: the class, the stock resolver is asked as an installed one is, and every lookup still
#: ends.
_STOCK_RESOLVER = ("twisted.internet._resolver", "GAIResolver")

_log = Logger(namespace="txpusher")

Address = IPv4Address | IPv6Address


class LookupTimeoutError(TwistedTimeoutError):
    """No address was found for the name of a host in the time that a connection has."""

    def __str__(self) -> str:
        return str(self.args[0])


class ConnectTimeoutError(TwistedTimeoutError):
    """No address of a host took a TCP connection in the time that a connection has."""

    def __str__(self) -> str:
        return str(self.args[0])


def installed_resolver(reactor: object) -> IHostnameResolver | None:
    """
    Return the name resolver that the program has installed on *reactor*, None without one.

    The stock resolver of Twisted counts as none: it works in the reactor's thread pool,
    which may be full of blocking calls that wait for this very lookup.
    """
    if not IReactorPluggableNameResolver.providedBy(reactor):
        return None
    resolver = reactor.nameResolver
    kind = type(resolver)
    is_stock = (kind.__module__, kind.__qualname__) == _STOCK_RESOLVER
    return None if is_stock else resolver


class ThreadResolver:
    """
    Looks up one host name with the system's resolver, in a thread of its own.

    Lookups that overlap share one thread, so that a slow name server costs one thread per
    host.  The thread is a daemon: a name server that never answers must not keep the
    process alive.
    """

    def __init__(self, reactor: INetworkReactor, host: str, port: int) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._waiting: list[Deferred[list[Address]]] = []
        self._thread: Thread | None = None

    def resolve(self) -> Deferred[list[Address]]:
        """
        Look the name up.

        :return: Fires with the addresses in the order of the system's preference; fails
            with a DNSLookupError.  Cancelling forgets the lookup; the thread ends by itself.
        """
        if self._thread is None:
            thread = Thread(target=self._look_up, name="txpusher-resolver", daemon=True)
            # A thread that cannot start is none: the next lookup tries again.
            thread.start()
            self._thread = thread
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
            kinds = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}
            result = [
                kinds[family]("TCP", str(address[0]), self._port)
                for family, _, _, _, address in found
                if family in kinds
            ]
        self._reactor.callFromThread(self._resolved, result)

    def _resolved(self, result: list[Address] | Failure) -> None:
        self._thread = None
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            # The callback of another waiter may have cancelled this one.
            if not waiter.called:
                waiter.callback(result)


@implementer(IResolutionReceiver)
class Inquiry:
    """
    Asks an installed name resolver for the addresses of one host, once.

    The resolver is the program's and may do anything: an exception is a name without an
    address, and what the resolver reports after the end is ignored.

    :ivar answer: Fires with the addresses in the order found, at least one; fails with a
        DNSLookupError.  Cancelling cancels the resolution.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._found: list[Address] = []
        self._resolution: IHostResolution | None = None
        self.answer: Deferred[list[Address]] = Deferred(self._cancel)

    def ask(self, resolver: IHostnameResolver, port: int) -> Deferred[list[Address]]:
        """Begin to look the name up, and return :attr:`answer`."""
        try:
            resolution = resolver.resolveHostName(self, self._host, port)
        except Exception as error:
            if not self.answer.called:
                self._fail(
                    f"the reactor's name resolver failed on {self._host}: "
                    f"{type(error).__name__}: {short_repr(str(error), 200)}",
                    error,
                )
        else:
            if self._resolution is None:
                self._resolution = resolution
        return self.answer

    def _fail(self, why: str, cause: Exception | None = None) -> None:
        error = DNSLookupError(why)
        error.__cause__ = cause
        self.answer.errback(error)

    def _cancel(self, answer: Deferred[list[Address]]) -> None:
        if self._resolution is None:
            return
        try:
            self._resolution.cancel()
        except NotImplementedError:
            # Twisted's own resolutions cannot be cancelled: they end by themselves.
            pass
        except Exception:
            _log.debug("a name resolution of {host} could not be cancelled", host=self._host)

    # IResolutionReceiver

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Keep the resolution, to be able to cancel it."""
        self._resolution = resolutionInProgress

    def addressResolved(self, address: IAddress) -> None:
        """Take an address; the interface allows kinds that TCP has no use for."""
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._found.append(address)

    def resolutionComplete(self) -> None:
        """Answer with the addresses found."""
        if self.answer.called:
            return
        if self._found:
            self.answer.callback(self._found)
        else:
            self._fail(f"the reactor's name resolver found no address for {self._host}")


class HostResolver:
    """
    Finds the addresses of one host, anew for each connection.

    A name resolver that the program has installed on the reactor is asked first, because
    it may know names that the system does not (service discovery, a cache, a test).  It may
    also wait for a thread of the reactor's pool, where blocking calls wait for this very
    lookup; so after a silence of a second a thread of our own looks up too.  The first
    answer with an address counts.  With Twisted's stock resolver only our own thread works.

    :param silence: Seconds that an installed resolver may be silent.
    """

    def __init__(
        self, reactor: INetworkReactor, host: str, port: int, silence: float = SILENCE
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._silence = silence
        self._own = ThreadResolver(reactor, host, port)

    async def resolve(self) -> list[Address]:
        """Return the addresses; raise a DNSLookupError.  An address stands for itself."""
        if isIPAddress(self._host):
            return [IPv4Address("TCP", self._host, self._port)]
        if isIPv6Address(self._host):
            return [IPv6Address("TCP", self._host, self._port)]
        installed = installed_resolver(self._reactor)
        if installed is None:
            return await self._own.resolve()
        return await self._ask(installed)

    async def _ask(self, installed: IHostnameResolver) -> list[Address]:
        asked = Inquiry(self._host).ask(installed, self._port)
        silence: Deferred[None] = deferLater(self._reactor, self._silence)
        helped: Deferred[list[Address]] = silence.addCallback(lambda _: self._own.resolve())

        def answered(failure: Failure) -> Failure:
            # Within the silence, that there is no address is the program's own answer.
            if not helped.called:
                helped.cancel()
            return failure

        asked.addErrback(answered)
        try:
            return (await race([asked, helped]))[1]
        except FailureGroup as group:
            # The installed resolver's own failure, or CancelledError.
            reason = cast(BaseException, group.failures[0].value)
        # Outside of the handler: the group is no part of the reason.
        raise reason


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """
    Connects over TCP to one address of a host after the other.

    Never to two addresses at once, as Twisted's HostnameEndpoint does: a client that was
    given one socket must not open two.  The address that worked last is tried first, and no
    address may use up the time of those after it.

    The endpoint keeps to its timeout by itself and says by the class of the error which
    phase took too long: LookupTimeoutError or ConnectTimeoutError.  Whoever wraps it needs
    a timer for the later phases alone; one that runs for the whole of *timeout* from before
    :meth:`connect` fires after the endpoint's own.

    :param host: A host name in ASCII, or an IP address.
    :param port: The TCP port.
    :param timeout: Seconds for looking up and connecting together.
    """

    def __init__(self, reactor: INetworkReactor, host: str, port: int, timeout: float) -> None:
        self._reactor = reactor
        self._patient = PatientClock(reactor)
        self._host = host
        self._port = port
        self._timeout = timeout
        # Half of a short timeout is left to our own thread.
        self._resolver = HostResolver(reactor, host, port, min(SILENCE, timeout / 2))
        self._last_good: Address | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.

        :return: Fires with the connected protocol.  Fails with a DNSLookupError where the
            name has no address, with a LookupTimeoutError or a ConnectTimeoutError where
            the time is over, and with the ConnectError of the last address otherwise.
            Cancelling leaves nothing in the reactor.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        deadline = self._reactor.seconds() + self._timeout
        addresses = list(dict.fromkeys(await self._look_up()))
        addresses.sort(key=lambda address: address != self._last_good)
        error: Exception = DNSLookupError(f"{self._host} has no address for TCP")
        for tried, address in enumerate(addresses):
            share = (deadline - self._reactor.seconds()) / (len(addresses) - tried)
            try:
                protocol = await self._try(address, factory, max(share, 0.001))
            except ConnectError as refused:
                error = refused
            else:
                self._last_good = address
                return protocol
        if isinstance(error, TwistedTimeoutError):
            raise ConnectTimeoutError(
                string=f"no TCP connection to {self._host}:{self._port} "
                f"within {self._timeout:g} seconds"
            ) from error
        raise error

    def _look_up(self) -> Deferred[list[Address]]:
        def late(result: object, timeout: float) -> NoReturn:
            raise LookupTimeoutError(
                string=f"the name {self._host} was not looked up within {timeout:g} seconds"
            )

        looking = Deferred.fromCoroutine(self._resolver.resolve())
        if not looking.called:
            looking.addTimeout(self._timeout, cast(Any, self._patient), late)
        return looking

    async def _try(
        self, address: Address, factory: IProtocolFactory, seconds: float
    ) -> IProtocol:
        """
        Connect to one address; raise a TwistedTimeoutError where that takes too long.

        Twisted's own timer would fail a connection that was made while the process stood
        still.
        """
        connecting = self._endpoint(address).connect(factory)
        late = False

        def give_up() -> None:
            nonlocal late
            late = True
            connecting.cancel()

        deadline = Deadline(self._patient, seconds, give_up)
        try:
            return await connecting
        except Exception:
            if late:
                raise TwistedTimeoutError from None
            raise
        finally:
            deadline.cancel()

    def _endpoint(self, address: Address) -> IStreamClientEndpoint:
        # A resolver may know the port as well, as Twisted's HostnameEndpoint has it.
        port = address.port or self._port
        kind = TCP4ClientEndpoint if isinstance(address, IPv4Address) else TCP6ClientEndpoint
        return kind(self._reactor, address.host, port, timeout=cast(int, None))
