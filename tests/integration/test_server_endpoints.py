"""The server on endpoints: Unix sockets, TLS, sockets of another program, path prefixes."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address
from twisted.internet.defer import fail, succeed
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.support.certificates import Authority
from tests.support.credentials import KEY, SECRET
from tests.support.observing import collect_sockets
from tests.support.raw_client import (
    TEXT,
    Raw,
    close,
    connect_raw,
    connect_raw_to,
    end,
    frame,
    open_socket,
    shake_hands,
    signed,
)
from tests.support.waiting import until
from txpusher import Pusher, RetryPolicy
from txpusher.config import Config
from txpusher.errors import ConfigurationError, HTTPError
from txpusher.server import Activity, App, ChannelsServer

pytest.importorskip("wsproto")

Listen = Callable[..., Any]


@pytest_twisted.async_yield_fixture
async def listen(log: Any, clean_reactor: None) -> AsyncIterator[Listen]:
    """Starts servers on endpoints; they are stopped after the test."""
    running: list[ChannelsServer] = []

    async def start(endpoint: Any, **options: Any) -> ChannelsServer:
        server = ChannelsServer([App("3", KEY, SECRET)], **options)
        assert await server.listen_on(endpoint) is server
        running.append(server)
        return server

    yield start
    for server in running:
        await server.stop()


@pytest.fixture
def secure(tmp_path: Path, tls: Authority) -> str:
    """The description of an endpoint with TLS."""
    tls.write_pem(tmp_path / "server.pem")
    return f"ssl:0:interface=127.0.0.1:privateKey={tmp_path}/server.pem"


async def connect_tls(port: int, tls: Authority, offers: list[bytes] | None = None) -> Raw:
    """A connection with TLS, over which the client offers to speak these protocols."""
    from twisted.internet import reactor

    root = Certificate.loadPEM(tls.root_pem)
    options = optionsForClientTLS("localhost", root, acceptableProtocols=offers)
    return await connect_raw_to(
        wrapClientTLS(options, TCP4ClientEndpoint(reactor, "127.0.0.1", port))
    )


async def check_that_events_arrive(pusher: Pusher, raw: Raw) -> None:
    """An event goes from the HTTP API to a subscriber."""
    subscriber = await shake_hands(raw)
    subscriber.subscribe("private-a")
    await subscriber.wait("pusher_internal:subscription_succeeded")
    await pusher.trigger("private-a", "e", "data")
    [event] = await subscriber.wait("e")
    assert event["data"] == "data"
    await pusher.close()
    await close(subscriber)


def refusals(server: ChannelsServer) -> list[str]:
    """What the server refuses from now on."""
    seen: list[str] = []

    def observe(activity: Activity) -> None:
        if activity.kind == "refused":
            seen.append(activity.detail or "")

    server.add_observer(observe)
    return seen


# Unix sockets


@pytest_twisted.ensureDeferred
async def test_server_on_a_unix_socket_serves_clients_of_that_socket(
    listen: Listen, tmp_path: Path
) -> None:
    from twisted.internet import reactor

    path = str(tmp_path / "channels.sock")
    server = await listen(f"unix:{path}")
    assert server.url("3") == f"http://{KEY}:{SECRET}@localhost/apps/3"
    assert server.host == "localhost"
    with pytest.raises(RuntimeError, match=f"the Unix socket {path}, not on a TCP port"):
        _ = server.port
    endpoint = UNIXClientEndpoint(reactor, path)
    pusher = Pusher.from_url(server.url("3"), endpoint=endpoint)
    await check_that_events_arrive(pusher, await connect_raw_to(endpoint))
    await server.stop()
    assert not Path(path).exists()


@pytest_twisted.ensureDeferred
async def test_path_that_is_no_place_for_a_socket_fails_the_deferred(
    tmp_path: Path, clean_reactor: None
) -> None:
    server = ChannelsServer([App("3", KEY, SECRET)])
    with pytest.raises(CannotListenError):
        await server.listen_on(f"unix:{tmp_path}/missing/channels.sock:lockfile=0")
    collect_sockets()
    await server.stop()


# TLS


@pytest_twisted.ensureDeferred
async def test_server_with_tls_has_an_https_url_and_serves(
    listen: Listen, secure: str, tls: Authority
) -> None:
    server = await listen(secure)
    config = Config.from_url(server.url("3"))
    assert (config.host, config.port, config.use_tls) == ("127.0.0.1", server.port, True)
    pusher = Pusher.from_url(server.url("3"), tls_policy=tls.policy)
    await check_that_events_arrive(pusher, await connect_tls(server.port, tls))


@pytest_twisted.ensureDeferred
async def test_client_that_offers_http_2_is_served_http_1(
    listen: Listen, secure: str, tls: Authority
) -> None:
    server = await listen(secure)
    raw = await connect_tls(server.port, tls, offers=[b"h2", b"http/1.1"])
    raw.write(signed("GET", "/apps/3/channels"))
    assert (await raw.response())[0] == 200
    assert raw.transport.negotiatedProtocol in (b"http/1.1", None)
    await end(raw)


@pytest_twisted.ensureDeferred
async def test_idle_websocket_over_tls_keeps_no_timer_busy(
    listen: Listen, secure: str, tls: Authority
) -> None:
    from twisted.internet import reactor

    server = await listen(secure)
    before = reactor.getDelayedCalls()
    subscriber = await shake_hands(await connect_tls(server.port, tls))
    await until(lambda: len(reactor.getDelayedCalls()) <= len(before))
    await close(subscriber)


@pytest_twisted.ensureDeferred
async def test_reader_over_tls_that_is_too_slow_is_cut_off(
    listen: Listen, secure: str, tls: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("txpusher.server._limits.WAITING_TO_SEND", 200_000)
    server = await listen(secure)
    subscriber = await shake_hands(await connect_tls(server.port, tls))
    subscriber.subscribe("a")
    await subscriber.wait("pusher_internal:subscription_succeeded")
    gone: list[Activity] = []
    server.add_observer(gone.append)
    subscriber.raw.transport.pauseProducing()
    pusher = Pusher.from_url(server.url("3"), tls_policy=tls.policy)
    while not any(activity.kind == "disconnected" for activity in gone):
        await pusher.trigger("a", "e", "x" * 10_000)
    assert any("does not read" in (activity.detail or "") for activity in gone)
    await pusher.close()
    subscriber.raw.transport.resumeProducing()
    await subscriber.raw.lost


@pytest_twisted.ensureDeferred
async def test_reader_over_tls_that_catches_up_loses_nothing(
    listen: Listen, secure: str, tls: Authority
) -> None:
    server = await listen(secure)
    subscriber = await shake_hands(await connect_tls(server.port, tls))
    subscriber.subscribe("a")
    await subscriber.wait("pusher_internal:subscription_succeeded")
    pusher = Pusher.from_url(server.url("3"), tls_policy=tls.policy)
    # More, all in all, than may wait for a client at a time.
    for count in (50, 100, 150):
        subscriber.raw.transport.pauseProducing()
        for _ in range(50):
            await pusher.trigger("a", "e", "x" * 10_000)
        subscriber.raw.transport.resumeProducing()
        await subscriber.wait("e", count)
    await pusher.close()
    await close(subscriber)


@pytest_twisted.ensureDeferred
async def test_last_answer_over_tls_arrives_before_the_end(
    listen: Listen, secure: str, tls: Authority
) -> None:
    server = await listen(secure)
    raw = await connect_tls(server.port, tls)
    raw.write(b"POST /apps/3/events HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 65536)
    assert (await raw.response())[0] == 413
    await raw.lost
    subscriber = await shake_hands(await connect_tls(server.port, tls))
    subscriber.raw.write(frame(TEXT, b"x" * 100_001))
    assert await subscriber.end() == 1009


@pytest_twisted.ensureDeferred
async def test_plain_http_at_a_port_with_tls_is_explained(listen: Listen, secure: str) -> None:
    server = await listen(secure)
    seen = refusals(server)
    raw = await connect_raw(server.port)
    raw.write(signed("GET", "/apps/3/channels"))
    await raw.lost
    [reason] = seen
    assert "use https://" in reason


@pytest_twisted.ensureDeferred
async def test_client_that_does_not_trust_the_certificate_is_told_of(
    listen: Listen, secure: str
) -> None:
    server = await listen(secure)
    seen = refusals(server)
    pusher = Pusher.from_url(server.url("3"), retry=RetryPolicy(max_retries=0))
    with pytest.raises(HTTPError, match="certificate"):
        await pusher.trigger("a", "e", "")
    await pusher.close()
    await until(lambda: bool(seen))
    assert seen == ["TLS: a client does not trust the certificate of this server"]


# Other endpoints


@pytest_twisted.ensureDeferred
async def test_server_takes_a_socket_that_another_program_has_opened(listen: Listen) -> None:
    # As systemd hands one over.
    from twisted.internet import reactor

    opened = socket.socket()
    opened.bind(("127.0.0.1", 0))
    opened.listen()
    opened.setblocking(False)
    port = opened.getsockname()[1]
    # The endpoint closes what it was given, and keeps a copy.
    endpoint = AdoptedStreamServerEndpoint(reactor, opened.detach(), socket.AF_INET)
    server = await listen(endpoint)
    assert server.port == port
    pusher = Pusher.from_url(server.url("3"))
    await check_that_events_arrive(pusher, await connect_raw(server.port))


@pytest_twisted.ensureDeferred
async def test_server_on_all_addresses_is_reached_at_the_local_one(listen: Listen) -> None:
    from twisted.internet import reactor

    server = await listen(TCP4ServerEndpoint(reactor, 0))
    assert server.host == "127.0.0.1"
    await close(await open_socket(server.port))


@implementer(IStreamServerEndpoint)
class Elsewhere:
    """An endpoint of a user's own, whose port is none of Twisted's."""

    def __init__(self, address: Any) -> None:
        self._address = address

    def listen(self, factory: Any) -> Any:
        """Listen nowhere."""
        return succeed(self)

    def getHost(self) -> Any:
        """Return the address that the test wants."""
        return self._address

    def stopListening(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (IPv4Address("TCP", "10.0.0.1", 80), "http://k:s@10.0.0.1:80/apps/1"),
        ("an onion", "http://k:s@localhost/apps/1"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_url_names_the_address_of_any_endpoint(address: Any, url: str) -> None:
    server = ChannelsServer([App("1", "k", "s")])
    await server.listen_on(Elsewhere(address))
    assert server.url("1") == url
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_url_is_https_where_tls_is_wrapped_in_another_protocol() -> None:
    class Wrapped(Elsewhere):
        """As a port that reads the line of a proxy before TLS begins."""

        def listen(self, factory: Any) -> Any:
            with_tls = TLSMemoryBIOFactory(CertificateOptions(), False, factory)
            self.factory = WrappingFactory(WrappingFactory(with_tls))
            return succeed(self)

    server = ChannelsServer([App("1", "k", "s")])
    await server.listen_on(Wrapped(IPv4Address("TCP", "10.0.0.1", 443)))
    assert server.url("1") == "https://k:s@10.0.0.1:443/apps/1"
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_endpoint_whose_port_cannot_be_stopped_is_refused_and_left(
    clean_reactor: None,
) -> None:
    class Standard(Elsewhere):
        """As ``stdio:`` does: one connection, and no port."""

        def listen(self, factory: Any) -> Any:
            factory.buildProtocol(None).makeConnection(transport)
            return succeed(transport)

    transport = StringTransport()
    server = ChannelsServer([App("1", "k", "s")])
    with pytest.raises(ConfigurationError, match="a port that can be stopped, not on the Str"):
        await server.listen_on(Standard(None))
    assert transport.disconnecting
    with pytest.raises(RuntimeError, match="not listening"):
        server.url("1")


@pytest_twisted.ensureDeferred
async def test_server_ends_its_connections_though_its_port_fails_to_stop(
    clean_reactor: None,
) -> None:
    class Stubborn(Elsewhere):
        def listen(self, factory: Any) -> Any:
            connection.append(factory.buildProtocol(None))
            connection[0].makeConnection(Transport())
            return succeed(self)

        def stopListening(self) -> None:
            raise ValueError("of its own")

    class Transport(StringTransport):
        def abortConnection(self) -> None:
            connection.pop().connectionLost(Failure(ConnectionDone()))

    connection: list[Any] = []
    server = ChannelsServer([App("1", "k", "s")])
    await server.listen_on(Stubborn(None))
    with pytest.raises(ValueError, match="of its own"):
        await server.stop()
    assert not connection


@pytest_twisted.ensureDeferred
async def test_failure_of_an_endpoint_fails_the_deferred() -> None:
    class Failing(Elsewhere):
        def listen(self, factory: Any) -> Any:
            return fail(ValueError("of its own"))

    server = ChannelsServer([App("1", "k", "s")])
    with pytest.raises(ValueError, match="of its own"):
        await server.listen_on(Failing(None))
    with pytest.raises(RuntimeError, match="not listening"):
        server.url("1")


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("nonsense:1", "'nonsense:1'.*nonsense"),
        ("tcp", "'tcp'"),
        ("tcp:x", "'tcp:x'"),
        ("ssl:0:privateKey=/nowhere/key.pem", "No such file"),
        ("", "''"),
        (6001, "not the int 6001"),
        (None, "not None"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_endpoint_that_is_none_is_refused(endpoint: Any, words: str) -> None:
    server = ChannelsServer([App("3", KEY, SECRET)])
    with pytest.raises(ConfigurationError, match=words):
        await server.listen_on(endpoint)


@pytest_twisted.ensureDeferred
async def test_server_that_listens_refuses_a_second_endpoint(listen: Listen) -> None:
    server = await listen("tcp:0:interface=127.0.0.1")
    with pytest.raises(ConfigurationError, match="listening already"):
        await server.listen_on("tcp:0:interface=127.0.0.1")


# Path prefixes


@pytest_twisted.ensureDeferred
async def test_prefix_stands_in_the_url_and_is_not_signed(listen: Listen) -> None:
    server = await listen("tcp:0:interface=127.0.0.1", path_prefix="channels/v1/")
    assert server.url("3").endswith(f":{server.port}/channels/v1/apps/3")
    pusher = Pusher.from_url(server.url("3"))
    subscriber = await open_socket(server.port, f"/channels/v1/app/{KEY}?protocol=7")
    subscriber.subscribe("a")
    await subscriber.wait("pusher_internal:subscription_succeeded")
    await pusher.trigger("a", "e", "")
    await subscriber.wait("e")
    await pusher.close()
    await close(subscriber)


@pytest_twisted.ensureDeferred
async def test_server_with_a_prefix_answers_without_it_too(listen: Listen) -> None:
    # A proxy may have stripped it.
    server = await listen("tcp:0:interface=127.0.0.1", path_prefix="/channels")
    raw = await connect_raw(server.port)
    for path, status in (
        ("/up", 200),
        ("/channels/up", 200),
        ("/channels", 200),
        ("/channels/", 200),
        ("/channelsup", 404),
    ):
        raw.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert ((await raw.response())[0], path) == (status, path)
    raw.write(signed("GET", "/apps/3/channels"))
    assert (await raw.response())[0] == 200
    await end(raw)
    await close(await open_socket(server.port))


@pytest.mark.parametrize("prefix", [3, "a b", "//a//b"])
def test_prefix_that_is_no_path_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="path_prefix"):
        ChannelsServer([App("3", KEY, SECRET)], path_prefix=prefix)


@pytest.mark.parametrize("prefix", ["/app", "apps", "/apps/x/", "console", "up/and/down"])
def test_prefix_that_begins_like_a_path_of_the_server_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="path_prefix must not begin with /"):
        ChannelsServer([App("3", KEY, SECRET)], path_prefix=prefix)


# The server's own paths begin with the first two.
@pytest.mark.parametrize("prefix", ["/ap", "u", "/application/app"])
@pytest_twisted.ensureDeferred
async def test_prefix_ends_with_its_segment(listen: Listen, prefix: str) -> None:
    server = await listen("tcp:0:interface=127.0.0.1", path_prefix=prefix)
    prefix = f"/{prefix.strip('/')}"
    raw = await connect_raw(server.port)
    for path, status in {
        "/up": 200,
        f"{prefix}/up": 200,
        prefix: 200,
        f"{prefix}x/up": 404,
        f"{prefix}up": 404,
        f"{prefix}{prefix}/up": 404,
    }.items():
        raw.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert ((await raw.response())[0], path) == (status, path)
    raw.write(signed("GET", "/apps/3/channels"))
    assert (await raw.response())[0] == 200
    await end(raw)
    await close(await open_socket(server.port))
    await close(await open_socket(server.port, f"{prefix}/app/{KEY}?protocol=7"))
