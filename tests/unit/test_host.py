"""When each resolver is asked, and which phase a timeout names, on a clock of the test."""

from __future__ import annotations

import socket

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from txpusher._http.host import ConnectTimeoutError, HostEndpoint, LookupTimeoutError


@implementer(IHostResolution)
class Resolution:
    cancelled = 0
    name = "channels.example"

    def cancel(self):
        self.cancelled += 1


@implementer(IHostnameResolver)
class Silent:
    def __init__(self):
        self.resolutions = []

    def resolveHostName(self, receiver, host, port=0, types=None, semantics="TCP"):
        self.resolutions.append(Resolution())
        receiver.resolutionBegan(self.resolutions[-1])
        return self.resolutions[-1]


# Older versions of Twisted have no name resolver in their MemoryReactor.
@implementer(IReactorPluggableNameResolver)
class Reactor(MemoryReactorClock):
    def __init__(self):
        super().__init__()
        self.nameResolver = Silent()


@pytest.fixture
def threads(monkeypatch):
    """The threads that would have been started."""
    started = []

    class Thread:
        def __init__(self, target, name, daemon):
            self.target = target

        def start(self):
            started.append(self)

    monkeypatch.setattr("txpusher._http.host.Thread", Thread)
    return started


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def connecting(reactor):
    def connect(timeout=5.0, host="channels.example"):
        endpoint = HostEndpoint(reactor, host, 443, timeout)
        connecting = endpoint.connect(Factory.forProtocol(Protocol))
        failures = []
        connecting.addErrback(failures.append)
        return connecting, failures

    return connect


@pytest.mark.parametrize(("timeout", "silence"), [(60.0, 1.0), (5.0, 1.0), (0.5, 0.25)])
def test_thread_looks_up_after_a_second_or_half_of_a_short_timeout(
    timeout, silence, reactor, threads, connecting
):
    connecting(timeout)
    reactor.advance(silence * 0.99)
    assert threads == []
    reactor.advance(silence * 0.02)
    assert len(threads) == 1


def test_connections_that_wait_for_a_name_share_one_thread(reactor, threads, connecting):
    endpoint = HostEndpoint(reactor, "channels.example", 443, 5.0)
    for _ in range(5):
        endpoint.connect(Factory.forProtocol(Protocol)).addErrback(lambda _: None)
    reactor.advance(1.0)
    assert len(reactor.nameResolver.resolutions) == 5
    assert len(threads) == 1


def test_timeout_of_a_lookup_names_the_host_and_cancels_the_resolution(
    reactor, threads, connecting
):
    _, failures = connecting(5.0)
    reactor.advance(4.9)
    assert failures == []
    reactor.advance(0.2)
    assert failures[0].check(LookupTimeoutError)
    assert str(failures[0].value) == (
        "the name channels.example was not looked up within 5 seconds"
    )
    assert [one.cancelled for one in reactor.nameResolver.resolutions] == [1]
    assert reactor.getDelayedCalls() == []


def test_timeout_of_a_connection_names_host_and_port(reactor, threads, connecting):
    connected, failures = connecting(5.0, host="127.0.0.1")
    reactor.advance(4.9)
    assert failures == []
    reactor.advance(0.2)
    assert failures[0].check(ConnectTimeoutError)
    assert str(failures[0].value) == "no TCP connection to 127.0.0.1:443 within 5 seconds"
    assert connected.called
    assert reactor.getDelayedCalls() == []


def test_cancelling_a_lookup_leaves_no_timer(reactor, threads, connecting):
    connected, failures = connecting()
    connected.cancel()
    assert failures[0].check(CancelledError)
    assert [one.cancelled for one in reactor.nameResolver.resolutions] == [1]
    assert reactor.getDelayedCalls() == []


def test_reactor_without_name_resolvers_has_names_looked_up_by_a_thread(threads, monkeypatch):
    class Plain(Clock):
        def callFromThread(self, function, *arguments):
            function(*arguments)

    def getaddrinfo(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr("txpusher._http.host.socket.getaddrinfo", getaddrinfo)
    failures = []
    endpoint = HostEndpoint(Plain(), "channels.example", 443, 5.0)
    endpoint.connect(Factory.forProtocol(Protocol)).addErrback(failures.append)
    threads[0].target()
    assert failures[0].check(DNSLookupError)
