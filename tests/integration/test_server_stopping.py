"""Starting and stopping the server, and the address that it gives."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError
from twisted.internet.error import CannotListenError

from tests.support.credentials import KEY, SECRET
from tests.support.inside import connections, unsent
from tests.support.observing import in_reactor
from tests.support.raw_client import close, connect_raw, open_socket
from txpusher import Pusher
from txpusher.config import Config
from txpusher.errors import ConfigurationError
from txpusher.server import Activity, App, ChannelsServer

pytest.importorskip("wsproto")


@pytest_twisted.ensureDeferred
async def test_a_stopped_server_leaves_nothing_and_sends_its_clients_back() -> None:
    before = set(in_reactor())
    server = ChannelsServer([App("3", KEY, SECRET)])
    assert await server.listen() is server
    pusher = Pusher.from_url(server.url("3"))
    await pusher.trigger("a", "e", "")
    idle, half = await connect_raw(server.port), await connect_raw(server.port)
    half.write(b"POST /apps/3/events HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
    sockets = [await open_socket(server.port) for _ in range(3)]
    for socket in sockets:
        socket.subscribe("a")
        await socket.wait("pusher_internal:subscription_succeeded")
    stopping, again = server.stop(), server.stop()
    assert not again.called
    assert [await socket.end() for socket in sockets] == [1001] * 3
    await stopping
    await again
    for raw in (idle, half):
        await raw.lost
    await pusher.close()
    await server.stop()
    assert set(in_reactor()) - before == set()


@pytest_twisted.ensureDeferred
async def test_second_stop_waits_for_the_first_stop() -> None:
    before = set(in_reactor())
    server = ChannelsServer([App("3", KEY, SECRET)])
    await server.listen()
    stopping = server.stop()
    await server.stop()
    assert set(in_reactor()) - before == set()
    await stopping


@pytest_twisted.ensureDeferred
async def test_a_server_that_never_listened_may_be_stopped() -> None:
    await ChannelsServer([App("3", KEY, SECRET)]).stop()


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_stopping_stops_before_it_listens_again(
    server: ChannelsServer,
) -> None:
    port = server.port
    stopping = server.stop()
    await server.listen(port)
    await stopping
    socket = await open_socket(port)
    assert socket.got("pusher:connection_established")
    await close(socket)


@pytest.mark.parametrize("again", [True, False])
@pytest_twisted.ensureDeferred
async def test_port_is_free_after_a_cancelled_stop(clean_reactor: None, again: bool) -> None:
    server = ChannelsServer([App("3", KEY, SECRET)])
    await server.listen()
    port = server.port
    socket = await open_socket(port)
    stopping = server.stop()
    stopping.cancel()
    if again:
        await server.stop()
    await server.listen(port)
    with pytest.raises(CancelledError):
        await stopping
    await socket.raw.lost
    await close(await open_socket(port))
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_a_stop_that_is_cancelled_leaves_nothing(clean_reactor: None) -> None:
    server = ChannelsServer([App("3", KEY, SECRET)])
    await server.listen()
    socket = await open_socket(server.port)
    stopping = server.stop()
    stopping.cancel()
    with pytest.raises(CancelledError):
        await stopping
    await socket.raw.lost


@pytest_twisted.ensureDeferred
async def test_stopping_waits_for_no_answer(server: ChannelsServer) -> None:
    sockets = [await open_socket(server.port) for _ in range(3)]
    for socket in sockets:
        socket.raw.transport.pauseProducing()
    await server.stop()
    for socket in sockets:
        socket.raw.transport.resumeProducing()
        assert await socket.end() == 1001


@pytest_twisted.ensureDeferred
async def test_a_client_that_does_not_go_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, clean_reactor: None
) -> None:
    monkeypatch.setattr("txpusher.server._limits.STOP_GRACE", 0.05)
    server = ChannelsServer([App("3", KEY, SECRET)])
    await server.listen()
    socket = await open_socket(server.port)
    socket.subscribe("a")
    await socket.wait("pusher_internal:subscription_count")
    lost: list[Activity] = []
    server.add_observer(lambda a: lost.append(a) if a.kind == "disconnected" else None)
    socket.raw.transport.pauseProducing()
    pusher = Pusher.from_url(server.url("3"))
    (wire,) = connections(server)
    for _ in range(10_000):
        if unsent(wire):
            break
        await pusher.trigger("a", "e", "x" * 10_000)
    assert unsent(wire)
    await pusher.close()
    assert lost == []
    await server.stop()
    socket.raw.transport.resumeProducing()
    await socket.raw.lost


@pytest_twisted.ensureDeferred
async def test_a_server_may_be_started_again_on_its_port(server: ChannelsServer) -> None:
    port = server.port
    socket = await open_socket(port)
    stopping = server.stop()
    assert await socket.end() == 1001
    await stopping
    with pytest.raises(RuntimeError, match="not listening"):
        _ = server.port
    await server.listen(port)
    assert server.port == port
    await close(await open_socket(port))


# Twisted 24.7 leaves the socket that could not be bound to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest_twisted.ensureDeferred
async def test_a_port_in_use_fails_the_deferred(server: ChannelsServer) -> None:
    other = ChannelsServer([App("3", KEY, SECRET)])
    with pytest.raises(CannotListenError):
        await other.listen(server.port)
    await other.stop()
    await other.listen()
    await other.stop()


@pytest.mark.parametrize("port", [-1, 65536, "6001", None, True])
@pytest_twisted.ensureDeferred
async def test_what_is_no_port_fails_the_deferred(port: Any) -> None:
    server = ChannelsServer([App("3", KEY, SECRET)])
    with pytest.raises(ConfigurationError, match="port must be an int from 0 to 65535, not "):
        await server.listen(port)
    await server.listen()
    await server.stop()


@pytest.mark.parametrize("interface", [None, b"127.0.0.1", 7])
@pytest_twisted.ensureDeferred
async def test_what_is_no_interface_fails_the_deferred(interface: Any) -> None:
    server = ChannelsServer([App("3", KEY, SECRET)])
    with pytest.raises(ConfigurationError, match="interface must be a str such as"):
        await server.listen(0, interface)
    await server.listen()
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_a_server_listens_once(server: ChannelsServer) -> None:
    with pytest.raises(ConfigurationError, match="already"):
        await server.listen()


@pytest.mark.parametrize("interface", ["127.0.0.1", "0.0.0.0", ""])
@pytest_twisted.ensureDeferred
async def test_a_url_can_be_read_by_a_client(interface: str) -> None:
    server = ChannelsServer([App("a/b", "k:1", "s@/?ü")])
    await server.listen(interface=interface)
    url = server.url("a/b")
    assert url.isascii()
    config = Config.from_url(url)
    assert (config.app_id, config.key, config.secret) == ("a/b", "k:1", "s@/?ü")
    assert (config.host, config.port) == ("127.0.0.1", server.port)
    assert not config.use_tls
    pusher = Pusher.from_url(url)
    assert await pusher.channels() == {"channels": {}}
    await pusher.close()
    with pytest.raises(KeyError):
        server.url("other")
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_a_url_of_an_ipv6_address_has_brackets() -> None:
    server = ChannelsServer([App("3", KEY, SECRET)])
    try:
        await server.listen(interface="::1")
    except CannotListenError:
        pytest.skip("this machine has no IPv6")
    assert f"@[::1]:{server.port}/" in server.url("3")
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_server_without_wsproto_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "txpusher.server._running", None)
    with pytest.raises(ConfigurationError, match=r"txpusher\[server\]"):
        await ChannelsServer([App("3", KEY, SECRET)]).listen()
