"""Proxies that misbehave: what they are sent, and what becomes of what they answer."""

from __future__ import annotations

import base64

import pytest
import pytest_twisted
from twisted.internet.task import LoopingCall

from tests.support.asserting import error_of
from tests.support.credentials import PROXY_PASSWORD, PROXY_USER
from tests.support.misbehaving import OK, answering, in_turn, read_and_close, relay, reply
from tests.support.observing import client_sockets
from tests.support.waiting import until, within
from txpusher import (
    HTTPError,
    ProxyAuthenticationError,
    RequestTimeoutError,
    RetryPolicy,
)

from .test_retries import free_port

FAST = RetryPolicy(max_retries=2, initial_delay=0.001)
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
BASIC = "Basic " + base64.b64encode(f"{PROXY_USER}:{PROXY_PASSWORD}".encode()).decode()


def url_of(proxy, user: str = f"{PROXY_USER}:{PROXY_PASSWORD}@") -> str:
    return f"http://{user}127.0.0.1:{proxy.port}"


def says(answer: bytes):
    """A proxy that answers each CONNECT so, and closes."""

    async def script(peer):
        peer.server.heads.append(await peer.head())
        peer.send(answer)
        await peer.pause(0.01)

    return script


@pytest.fixture
def tunnel(serve, connect, tls):
    """Starts a server and a proxy, and makes a client that goes through both."""

    def make(script, server_script=None, **options):
        server = serve(server_script or answering(OK), tls.server_context())

        async def proxying(peer):
            await script(peer)

        proxy = serve(proxying)
        proxy.heads = []
        proxy.target = server.port
        options = {"retry": FAST, **options}
        pusher = connect(
            server, use_tls=True, tls_policy=tls.policy, http_proxy=url_of(proxy), **options
        )
        return server, proxy, pusher

    return make


async def honest(peer):
    """Do what a proxy should."""
    peer.server.heads.append(await peer.head())
    peer.send(ESTABLISHED)
    await relay(peer, peer.server.target)


class TestPlain:
    @pytest_twisted.ensureDeferred
    async def test_a_request_names_the_whole_url_and_its_connection_is_not_kept(
        self, serve, connect
    ):
        proxy = serve(answering(OK))
        pusher = connect(host="channels.example", port=8080, http_proxy=url_of(proxy))
        for number in range(1, 4):
            assert await within(pusher.trigger("c", "e", "d")) == {}
            assert proxy.connections == number
        for request in proxy.requests:
            assert request.path == "http://channels.example:8080/apps/3/events"
            assert request.signature == request.expected_signature(
                "http://channels.example:8080"
            )
            assert request.headers["host"] == "channels.example:8080"
            assert request.headers["proxy-authorization"] == BASIC
            assert request.headers["connection"].lower() == "close"
        await until(lambda: not proxy.peers)
        assert pusher.stats.open_connections == 0

    @pytest_twisted.ensureDeferred
    async def test_proxy_without_credentials_is_sent_no_authorization(self, serve, connect):
        proxy = serve(answering(OK))
        pusher = connect(host="channels.example", port=80, http_proxy=url_of(proxy, ""))
        await within(pusher.trigger("c", "e", "d"))
        assert "proxy-authorization" not in proxy.requests[0].headers

    @pytest_twisted.ensureDeferred
    async def test_a_password_may_hold_anything(self, serve, connect):
        proxy = serve(answering(OK))
        url = url_of(proxy, "%C3%BCser:p%40ss%3Aw%2Frd@")
        await within(connect(host="x.example", http_proxy=url).trigger("c", "e", "d"))
        expected = "Basic " + base64.b64encode("üser:p@ss:w/rd".encode()).decode()
        assert proxy.requests[0].headers["proxy-authorization"] == expected

    @pytest_twisted.ensureDeferred
    async def test_a_407_that_quotes_the_password_does_not_show_it(self, serve, connect):
        async def quote(peer):
            request = await peer.request()
            quoted = f"{request.headers['proxy-authorization']} {PROXY_PASSWORD} is wrong"
            peer.send(reply(407, quoted))

        proxy = serve(quote)
        pusher = connect(host="x.example", http_proxy=url_of(proxy), retry=FAST)
        error = await error_of(pusher.trigger("c", "e", "d"), ProxyAuthenticationError)
        assert BASIC.split()[1] not in str(error)
        assert error.maybe_delivered is False
        assert len(proxy.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_a_proxy_that_is_down_delivered_nothing(self, connect):
        url = f"http://127.0.0.1:{free_port()}"
        pusher = connect(host="x.example", http_proxy=url, retry=FAST)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert "refused" in str(error)
        assert error.maybe_delivered is False
        assert pusher.stats.sent == 3


class TestTunnel:
    @pytest_twisted.ensureDeferred
    async def test_a_tunnel_is_asked_for_once_and_used_again(self, tunnel):
        server, proxy, pusher = tunnel(honest)
        for _ in range(3):
            assert await within(pusher.trigger("c", "e", "d")) == {}
        target = f"127.0.0.1:{server.port}"
        assert [head.decode().split("\r\n") for head in proxy.heads] == [
            [
                f"CONNECT {target} HTTP/1.1",
                f"Host: {target}",
                f"Proxy-Authorization: {BASIC}",
                "",
                "",
            ]
        ]
        assert server.connections == 1
        for request in server.requests:
            assert "proxy-authorization" not in request.headers
            assert request.signature == request.expected_signature()

    @pytest_twisted.ensureDeferred
    async def test_an_ipv6_target_is_in_brackets(self, serve, connect):
        proxy = serve(says(reply(403, "")))
        proxy.heads = []
        pusher = connect(
            host="::1", port=4430, use_tls=True, http_proxy=url_of(proxy, ""), retry=FAST
        )
        await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert proxy.heads == [b"CONNECT [::1]:4430 HTTP/1.1\r\nHost: [::1]:4430\r\n\r\n"]

    @pytest.mark.parametrize("status", [401, 407])
    @pytest_twisted.ensureDeferred
    async def test_a_refused_password_is_told_and_final(self, tunnel, status):
        answer = reply(status, f"{BASIC} is wrong", "Proxy-Authenticate: Basic")
        server, proxy, pusher = tunnel(says(answer))
        error = await error_of(pusher.trigger("c", "e", "d"), ProxyAuthenticationError)
        assert error.status == status
        assert error.path == "/apps/3/events"
        assert error.maybe_delivered is False
        assert BASIC.split()[1] not in f"{error} {error!r}"
        assert (proxy.connections, server.connections) == (1, 0)

    @pytest.mark.parametrize(("status", "attempts"), [(502, 3), (503, 3), (403, 1), (302, 1)])
    @pytest_twisted.ensureDeferred
    async def test_passing_refusal_of_a_tunnel_is_retried(self, tunnel, status, attempts):
        server, proxy, pusher = tunnel(says(reply(status, "<html>no</html>")))
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert f"the proxy refused to connect: status {status}" in str(error)
        assert error.maybe_delivered is False
        assert (proxy.connections, server.connections) == (attempts, 0)

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (b"", "closed the connection before it answered"),
            (b"HTTP/1.1 200 Connec", "closed the connection before it answered"),
            (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "a reply that is not HTTP"),
            (b"\x00\xff garbage\r\n\r\n", "a reply that is not HTTP"),
            (b"HTTP/1.1 abc\r\n\r\n", "a reply that is not HTTP"),
            (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "an endless reply"),
            (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 30_000, "an endless reply"),
            (ESTABLISHED + b"too early", "data before the handshake"),
        ],
        ids=[
            "nothing",
            "half a line",
            "another protocol",
            "garbage",
            "no status",
            "an endless line",
            "endless headers",
            "data of its own",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_tunnel_without_a_usable_answer_was_not_delivered(self, tunnel, answer, why):
        server, proxy, pusher = tunnel(says(answer), max_connections=1)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert why in str(error)
        assert error.maybe_delivered is False
        assert 1 <= proxy.connections <= 3
        assert server.connections == 0
        await until(lambda: not pusher.stats.open_connections)
        assert client_sockets(proxy.port) == 0

    @pytest_twisted.ensureDeferred
    async def test_tunnel_without_an_answer_is_a_timeout(self, tunnel):
        _, proxy, pusher = tunnel(silent, connect_timeout=0.15)
        error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)
        assert error.maybe_delivered is False
        assert proxy.connections == 3
        await until(lambda: not proxy.peers)
        assert pusher.stats.open_connections == 0

    @pytest_twisted.ensureDeferred
    async def test_a_close_in_the_handshake_is_repeated(self, tunnel):
        async def cut(peer):
            peer.server.heads.append(await peer.head())
            peer.send(ESTABLISHED)
            await peer.some()

        server, proxy, pusher = tunnel(in_turn(cut, honest))
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert proxy.connections == 2
        assert len(server.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_a_close_after_the_request_may_have_delivered(self, tunnel):
        server, proxy, pusher = tunnel(honest, read_and_close)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError, server)
        assert error.maybe_delivered is True
        assert len(server.requests) == 1
        assert proxy.connections == 1

    @pytest_twisted.ensureDeferred
    async def test_tunnel_cut_with_a_request_in_flight_may_have_been_delivered(self, tunnel):
        async def read_and_have_it_cut(peer):
            await peer.request()
            for end in list(proxy.peers):
                end.reset()
            await peer.stall()

        server, proxy, pusher = tunnel(honest, read_and_have_it_cut)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError, server)
        assert error.maybe_delivered is True
        assert len(server.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_an_idle_tunnel_that_was_cut_is_nobodys_failure(self, tunnel):
        _, proxy, pusher = tunnel(honest, max_connections=1)
        for number in range(1, 4):
            assert await within(pusher.trigger("c", "e", "d")) == {}
            assert proxy.connections == number
            for peer in list(proxy.peers):
                peer.hang_up()

    @pytest.mark.parametrize("status", [408, 429, 503])
    @pytest_twisted.ensureDeferred
    async def test_a_refusal_that_may_pass_is_repeated(self, tunnel, status):
        _, proxy, pusher = tunnel(in_turn(says(reply(status)), honest))
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert proxy.connections == 2

    @pytest_twisted.ensureDeferred
    async def test_operation_is_cancelled_while_the_proxy_is_silent(self, tunnel):
        _, proxy, pusher = tunnel(silent)
        operation = pusher.trigger("c", "e", "d")
        await until(lambda: proxy.peers)
        operation.addErrback(lambda failure: None)
        operation.cancel()
        assert operation.called
        # Its socket counts until it is closed.
        assert pusher.stats.open_connections == client_sockets(proxy.port) == 1
        await within(pusher.close())
        assert pusher.stats.open_connections == client_sockets(proxy.port) == 0
        await until(lambda: not proxy.peers)

    @pytest_twisted.ensureDeferred
    async def test_a_silent_proxy_does_not_make_for_more_sockets(self, tunnel):
        most = 0

        def count(attempt):
            nonlocal most
            most = max(most, client_sockets(proxy.port))

        _, proxy, pusher = tunnel(
            silent, connect_timeout=0.1, max_connections=4, on_attempt=count
        )
        operations = [pusher.trigger("c", "e", "d") for _ in range(12)]
        watching = LoopingCall(count, None)
        watching.start(0.005)
        for operation in operations:
            await error_of(operation, RequestTimeoutError)
        watching.stop()
        assert most == 4


async def silent(peer):
    """Accept, and say nothing."""
    await peer.stall()
