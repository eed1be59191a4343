"""A name resolver that the program has installed on the reactor is asked first."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import pytest
import pytest_twisted
import twisted
from twisted.internet.defer import CancelledError, fail, gatherResults
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IResolverSimple
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from tests.support.asserting import error_of
from tests.support.misbehaving import OK, answer_then_close, answering
from tests.support.observing import timers
from tests.support.waiting import until, within
from txpusher import BlockingPusher, HTTPError, RequestTimeoutError, RetryPolicy, TriggerReply
from txpusher._http.host import installed_resolver

from .proxies import Proxy
from .resolvers import (
    NAME,
    CachingNameResolver,
    CachingSimpleResolver,
    FakeResolver,
    installed,
)
from .test_retries import free_port

ONCE = RetryPolicy(max_retries=0)


@pytest.fixture
def install():
    """Installs a resolver on the reactor until the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda resolver: stack.enter_context(installed(resolver))


class TestWhoIsAsked:
    def test_stock_resolver_of_this_twisted_counts_as_none(self):
        from twisted.internet import reactor

        assert installed_resolver(reactor) is None, (
            f"seen last in Twisted 24.7 to 26.10, and not in {twisted.__version__}: "
            "the class of the stock resolver"
        )

    def test_installed_resolver_is_found_whichever_way_it_came(self, install):
        from twisted.internet import reactor as running

        reactor: Any = running
        fake = install(FakeResolver())
        assert installed_resolver(reactor) is fake
        install(CachingSimpleResolver(reactor))
        assert installed_resolver(reactor) is reactor.nameResolver

    def test_reactor_without_name_resolvers_has_none_installed(self):
        assert installed_resolver(object()) is None

    @pytest_twisted.ensureDeferred
    async def test_installed_resolver_is_asked_by_a_pusher(self, serve, connect, install):
        server = serve(answering(OK))
        resolver = install(FakeResolver("127.0.0.1"))
        pusher = connect(server, host=NAME)
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert resolver.asked == [(NAME, server.port)]
        assert server.requests[0].headers["host"] == f"{NAME}:{server.port}"

    @pytest_twisted.ensureDeferred
    async def test_installed_resolver_is_asked_by_a_blocking_pusher(
        self, serve, connect, install
    ):
        server = serve(answering(OK))
        resolver = install(FakeResolver("127.0.0.1"))
        blocking = BlockingPusher.wrap(connect(server, host=NAME))
        assert await within(deferToThread(blocking.trigger, "c", "e", "d")) == {}
        assert resolver.asked == [(NAME, server.port)]

    @pytest_twisted.ensureDeferred
    async def test_installed_resolver_is_asked_for_the_proxy(self, serve, connect, install):
        proxy = serve(answering(OK))
        resolver = install(FakeResolver("127.0.0.1"))
        pusher = connect(host=NAME, port=8080, http_proxy=f"http://proxy.example:{proxy.port}")
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert resolver.asked == [("proxy.example", proxy.port)]
        assert proxy.requests[0].target.startswith(f"http://{NAME}:8080/")

    @pytest.mark.parametrize("name", ["tinyproxy", "squid"])
    @pytest_twisted.ensureDeferred
    async def test_installed_resolver_is_asked_for_a_tunnel(
        self, name, serve, connect, install, tls
    ):
        proxy = Proxy(name)
        try:
            server = serve(answering(OK), tls.server_context())
            resolver = install(FakeResolver("127.0.0.1"))
            url = proxy.url().replace("127.0.0.1", "proxy.example")
            pusher = connect(server, http_proxy=url, use_tls=True, tls_policy=tls.policy)
            assert await within(pusher.trigger("c", "e", "d")) == {}
            assert resolver.asked == [("proxy.example", proxy.port)]
        finally:
            proxy.stop()

    @pytest_twisted.ensureDeferred
    async def test_resolver_is_asked_anew_for_each_connection(self, serve, connect, install):
        server = serve(answer_then_close(OK))
        first = install(FakeResolver("127.0.0.1"))
        pusher = connect(server, host=NAME)
        for _ in range(2):
            await within(pusher.trigger("c", "e", "d"))
            await until(lambda: not pusher.stats.open_connections)
        second = install(FakeResolver("127.0.0.1"))
        await within(pusher.trigger("c", "e", "d"))
        assert (len(first.asked), len(second.asked)) == (2, 1)

    @pytest_twisted.ensureDeferred
    async def test_address_is_looked_up_by_nobody(self, serve, connect, install):
        server = serve(answering(OK))
        resolver = install(FakeResolver())
        assert await within(connect(server).trigger("c", "e", "d")) == {}
        assert resolver.asked == []

    @pytest_twisted.ensureDeferred
    async def test_ipv6_address_is_looked_up_by_nobody(self, serve, connect, install):
        server = serve(answering(OK), listen=False)
        server.listen(interface="::1")
        resolver = install(FakeResolver())
        pusher = connect(server, host="[::1]")
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert resolver.asked == []

    @pytest_twisted.ensureDeferred
    async def test_international_name_is_asked_for_in_ascii(self, serve, connect, install):
        server = serve(answering(OK))
        resolver = install(FakeResolver("127.0.0.1"))
        pusher = connect(server, host="kanäle.example")
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert resolver.asked == [("xn--kanle-ira.example", server.port)]


class TestItsAnswer:
    @pytest_twisted.ensureDeferred
    async def test_second_address_is_tried_where_the_first_refuses(
        self, serve, connect, install
    ):
        server = serve(answering(OK))
        install(FakeResolver("::1", "127.0.0.2", "127.0.0.1"))
        pusher = connect(server, host=NAME, max_connections=1)
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert (server.connections, pusher.stats.retried) == (1, 0)

    @pytest_twisted.ensureDeferred
    async def test_port_that_the_resolver_knows_better_is_used(self, serve, connect, install):
        server = serve(answering(OK))
        install(FakeResolver("127.0.0.1", port=server.port))
        pusher = connect(host=NAME, port=free_port())
        assert await within(pusher.trigger("c", "e", "d")) == {}

    @pytest_twisted.ensureDeferred
    async def test_no_address_is_an_error_before_anything_was_sent(self, connect, install):
        install(FakeResolver())
        pusher = connect(host=NAME, port=80, retry=ONCE)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert f"found no address for {NAME}" in str(error)
        assert isinstance(error.original_error, DNSLookupError)
        assert error.maybe_delivered is False

    @pytest_twisted.ensureDeferred
    async def test_address_of_no_use_to_tcp_is_left_out(self, connect, install):
        resolver = install(FakeResolver(silent=True))
        pusher = connect(host=NAME, port=80, retry=ONCE)
        operation = pusher.trigger("c", "e", "d")
        resolver.resolutions[0].receiver.addressResolved(object())
        resolver.resolutions[0].answer()
        error = await error_of(operation, HTTPError)
        assert f"found no address for {NAME}" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_exception_is_a_name_without_an_address(self, connect, install):
        class Raising(FakeResolver):
            def resolveHostName(self, *arguments, **options):
                raise LookupError("no such service")

        install(Raising())
        pusher = connect(host=NAME, port=80, retry=ONCE)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert "LookupError: 'no such service'" in str(error)
        assert isinstance(error.original_error, DNSLookupError)
        assert isinstance(error.original_error.__cause__, LookupError)
        assert error.maybe_delivered is False

    @pytest_twisted.ensureDeferred
    async def test_exception_after_the_answer_changes_nothing(self, serve, connect, install):
        class Raising(FakeResolver):
            def resolveHostName(self, *arguments, **options):
                super().resolveHostName(*arguments, **options)
                raise LookupError("too late")

        server = serve(answering(OK))
        install(Raising("127.0.0.1"))
        assert await within(connect(server, host=NAME).trigger("c", "e", "d")) == {}

    @pytest.mark.parametrize(
        "failing",
        [
            pytest.param(lambda: fail(DNSLookupError("no such name")), id="fails"),
            pytest.param(lambda: 1 / 0, id="raises"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_failure_of_a_simple_resolver_is_an_error(self, failing, connect, install):
        @implementer(IResolverSimple)
        class Failing:
            def getHostByName(self, name, timeout=()):
                return failing()

        install(Failing())
        pusher = connect(host=NAME, port=80, retry=ONCE)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert isinstance(error.original_error, DNSLookupError)
        assert error.maybe_delivered is False

    @pytest_twisted.ensureDeferred
    async def test_answers_after_the_first_are_ignored(self, serve, connect, install):
        server = serve(answering(OK))
        resolver = install(FakeResolver("127.0.0.1"))
        pusher = connect(server, host=NAME)
        assert await within(pusher.trigger("c", "e", "d")) == {}
        resolver.resolutions[0].answer("127.0.0.2")
        resolver.resolutions[0].answer()
        assert await within(pusher.trigger("c", "e", "d")) == {}


class TestItsSilence:
    @pytest_twisted.ensureDeferred
    async def test_thread_of_our_own_helps_a_silent_resolver(self, serve, connect, install):
        server = serve(answering(OK))
        resolver = install(FakeResolver(silent=True))
        pusher = connect(server, host="localhost")
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert [one.cancelled for one in resolver.resolutions] == [1]

    @pytest_twisted.ensureDeferred
    async def test_slow_resolver_knows_what_the_system_does_not(
        self, serve, connect, install, monkeypatch
    ):
        from twisted.internet import reactor

        server = serve(answering(OK))
        looked_up = no_system_knows(monkeypatch)
        resolver = install(FakeResolver(silent=True))
        pusher = connect(server, host=NAME, connect_timeout=5.0)
        operation = pusher.trigger("c", "e", "d")
        await until(lambda: looked_up and not resolver_threads())
        # The thread's answer was put into the reactor before the thread ended.
        await deferLater(reactor, 0)
        resolver.resolutions[0].answer("127.0.0.1")
        assert await within(operation) == {}

    @pytest_twisted.ensureDeferred
    async def test_resolver_with_no_address_keeps_the_system_unasked(
        self, connect, install, monkeypatch
    ):
        looked_up = no_system_knows(monkeypatch)
        install(FakeResolver())
        pusher = connect(host=NAME, port=80, retry=ONCE)
        await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert looked_up == []

    @pytest_twisted.ensureDeferred
    async def test_silence_of_all_is_a_timeout_of_the_lookup(
        self, connect, install, monkeypatch
    ):
        released = threading.Event()
        no_system_knows(monkeypatch, wait=released.wait)
        resolver = install(FakeResolver(silent=True))
        pusher = connect(host=NAME, port=80, retry=ONCE, connect_timeout=0.2)
        error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)
        assert f"{NAME} was not looked up within 0.2 seconds" in str(error)
        assert error.maybe_delivered is False
        assert [one.cancelled for one in resolver.resolutions] == [1]
        released.set()
        await until(lambda: not resolver_threads())

    @pytest.mark.parametrize("helped", [False, True], ids=["alone", "helped"])
    @pytest_twisted.ensureDeferred
    async def test_cancelling_an_operation_cancels_the_resolution(
        self, helped, connect, install, monkeypatch
    ):

        released = threading.Event()
        looked_up = no_system_knows(monkeypatch, wait=released.wait)
        resolver = install(FakeResolver(silent=True))
        pusher = connect(host=NAME, port=80, retry=ONCE)
        before = timers()
        operation = pusher.trigger("c", "e", "d")
        await until(lambda: looked_up or not helped)
        operation.cancel()
        with pytest.raises(CancelledError):
            await operation
        assert [one.cancelled for one in resolver.resolutions] == [1]
        assert timers() == before
        released.set()
        await until(lambda: not resolver_threads())

    @pytest_twisted.ensureDeferred
    async def test_resolution_that_cannot_be_cancelled_ends_by_itself(self, connect, install):
        class Stubborn(FakeResolver):
            refusal: Exception

            def resolveHostName(self, *arguments, **options):
                resolution = super().resolveHostName(*arguments, **options)
                resolution.cancel = self.refuse  # type: ignore[method-assign]
                return resolution

            def refuse(self):
                raise self.refusal

        resolver = install(Stubborn(silent=True))
        pusher = connect(host=NAME, port=80, retry=ONCE)
        for refusal in (NotImplementedError(), RuntimeError("not now")):
            resolver.refusal = refusal
            operation = pusher.trigger("c", "e", "d")
            operation.cancel()
            with pytest.raises(CancelledError):
                await operation
            resolver.resolutions[-1].answer("127.0.0.1")


def _scrapys(name):
    resolver = pytest.importorskip("scrapy.resolver")
    from scrapy.utils.datatypes import LocalCache
    from twisted.internet import reactor

    resolver.dnscache = LocalCache(100)
    if name == "CachingThreadedResolver":
        return resolver.CachingThreadedResolver(reactor, 100, 60.0)
    return resolver.CachingHostnameResolver(reactor, 100)


def _resolver(kind):
    from twisted.internet import reactor

    if kind.startswith("scrapy "):
        return _scrapys(kind.removeprefix("scrapy "))
    return {
        "stock": lambda: None,
        "fake": lambda: FakeResolver("127.0.0.1"),
        "silent": lambda: FakeResolver(silent=True),
        "caching simple": lambda: CachingSimpleResolver(reactor),
        "caching": lambda: CachingNameResolver(reactor),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        "stock",
        "fake",
        "silent",
        "caching simple",
        "caching",
        "scrapy CachingThreadedResolver",
        "scrapy CachingHostnameResolver",
    ],
)
@pytest_twisted.ensureDeferred
async def test_blocking_calls_in_every_thread_of_the_pool_get_an_answer(
    kind, serve, connect, install
):
    from twisted.internet import reactor as running

    reactor: Any = running
    size = reactor.getThreadPool().max
    everyone_is_there = threading.Barrier(size)
    server = serve(answering(OK))
    install(_resolver(kind))
    pusher = connect(server, host="localhost")
    blocking = BlockingPusher.wrap(pusher)

    def work(number: int) -> TriggerReply:
        everyone_is_there.wait(30)
        return blocking.trigger("c", "e", number)

    results = [deferToThread(work, number) for number in range(size)]
    assert await within(gatherResults(results), 60) == [{}] * size
    assert len(server.requests) == size
    # Once the pool is free, the installed resolver answers by itself again.
    await within(connect(server, host="localhost").trigger("c", "e", "d"))


def resolver_threads():
    return [one for one in threading.enumerate() if one.name == "txpusher-resolver"]


def no_system_knows(monkeypatch, wait=lambda: None):
    """Have the system know no address of NAME; return how often it was asked."""
    system = socket.getaddrinfo
    asked = []

    def getaddrinfo(host, *arguments, **options):
        if host != NAME:
            return system(host, *arguments, **options)
        asked.append(host)
        wait()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("txpusher._http.host.socket.getaddrinfo", getaddrinfo)
    return asked
