"""What is tried again, when, and what the error says where it was not."""

from __future__ import annotations

import email.utils
import resource
import socket
import time

import pytest
import pytest_twisted
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

from tests.support.asserting import error_of
from tests.support.misbehaving import (
    OK,
    answer_then_close,
    answering,
    close_unread,
    in_turn,
    never_answer,
    read_and_close,
    reply,
)
from tests.support.waiting import until, within
from txpusher import (
    HTTPError,
    RateLimitedError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
)

FAST = RetryPolicy(max_retries=3, initial_delay=0.001)
UNSAFE = RetryPolicy(max_retries=3, initial_delay=0.001, unsafe=True)
ONCE = RetryPolicy(max_retries=0)

MANY = 100 * 2**20


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


class _EndedByServer(WrappingFactory):
    """Each connection is ended by the server's side before the client's learns of it."""

    noisy = False
    protocol = ProtocolWrapper

    def __init__(self, factory, listening, accepted):
        super().__init__(factory)
        self.listening = listening
        self.accepted = accepted

    def buildProtocol(self, addr):
        peer, _ = self.listening.accept()
        peer.shutdown(socket.SHUT_WR)
        peer.settimeout(5)
        self.accepted.append(peer)
        return super().buildProtocol(addr)


@implementer(IStreamClientEndpoint)
class EndedByServer:
    """
    Connects to a listening socket, whose side ends each connection at once.

    :ivar accepted: The server's sockets, which can still be read from.
    """

    def __init__(self, listening):
        self.listening = listening
        self.accepted = []

    def connect(self, factory):
        from twisted.internet import reactor

        endpoint = TCP4ClientEndpoint(reactor, *self.listening.getsockname())
        connecting = endpoint.connect(_EndedByServer(factory, self.listening, self.accepted))
        return connecting.addCallback(lambda wrapper: wrapper.wrappedProtocol)

    def received(self):
        """Return what came over each connection that the client has closed, and close it."""
        received = []
        for peer in self.accepted:
            with peer:
                received.append(peer.recv(65536))
        return received


class TestNoConnection:
    @pytest_twisted.ensureDeferred
    async def test_refused_is_tried_again_and_was_not_delivered(self, connect):
        pusher = connect(port=free_port(), retry=FAST)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert error.maybe_delivered is False
        assert "refused" in str(error)
        assert pusher.stats.sent == 4
        assert pusher.stats.retried == 3

    @pytest_twisted.ensureDeferred
    async def test_a_server_that_comes_up_during_the_retries_gets_the_event(
        self, serve, connect
    ):
        server = serve(answering(OK), listen=False)
        policy = RetryPolicy(max_retries=500, initial_delay=0.01, max_delay=0.02)
        port = free_port()
        pusher = connect(port=port, retry=policy)
        operation = pusher.trigger("c", "e", "d")
        await until(lambda: pusher.stats.retried >= 2)
        server.listen(port=port)
        assert await within(operation) == {}
        assert len(server.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_a_name_that_does_not_exist_was_not_delivered(self, connect):
        retry = RetryPolicy(max_retries=1, initial_delay=0.001)
        pusher = connect(host="no-such-host.invalid", port=80, connect_timeout=20, retry=retry)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert error.maybe_delivered is False
        assert "no address found for no-such-host.invalid" in str(error)
        assert pusher.stats.sent == 2

    @pytest_twisted.ensureDeferred
    async def test_connect_timeout_is_a_timeout_error_and_was_not_delivered(self, connect):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            address = listening.getsockname()
            # These fill the backlog: what comes after them is left without an answer.
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            retry = RetryPolicy(max_retries=1, initial_delay=0.001)
            pusher = connect(port=address[1], connect_timeout=0.2, retry=retry)
            error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)
            for filler in fillers:
                filler.close()
        assert error.maybe_delivered is False
        assert pusher.stats.sent == 2
        assert pusher.stats.open_connections == 0

    @pytest_twisted.ensureDeferred
    async def test_request_that_the_server_leaves_unread_may_have_been_delivered(
        self, serve, connect
    ):
        """The client cannot see whether the request was read."""
        server = serve(close_unread)
        error = await error_of(connect(server).trigger("c", "e", "d"), HTTPError)
        assert error.maybe_delivered is True
        assert server.connections == 1

    @pytest_twisted.ensureDeferred
    async def test_new_connection_that_ends_before_the_request_leaves_is_tried_again(
        self, connect
    ):
        """Nothing has left, so that even a POST is sent over the next connection."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            endpoint = EndedByServer(listening)
            pusher = connect(endpoint=endpoint, retry=FAST)
            error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert error.maybe_delivered is False
        await until(lambda: pusher.stats.open_connections == 0)
        assert endpoint.received() == [b""] * 4
        assert pusher.stats.retried == 3


class TestNoAnswer:
    @pytest_twisted.ensureDeferred
    async def test_a_post_is_not_repeated_and_may_have_been_delivered(self, serve, connect):
        server = serve(never_answer)
        pusher = connect(server, timeout=0.2, retry=FAST)
        error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError, server)
        assert error.maybe_delivered is True
        assert "no complete reply within 0.2 seconds" in str(error)
        assert len(server.requests) == 1
        await until(lambda: not server.peers)

    @pytest_twisted.ensureDeferred
    async def test_a_query_is_repeated(self, serve, connect):
        server = serve(in_turn(never_answer, never_answer, answering(OK)))
        pusher = connect(server, timeout=0.1, retry=FAST)
        assert await within(pusher.channels()) == {}
        assert server.connections == 3

    @pytest_twisted.ensureDeferred
    async def test_waiting_in_the_queue_does_not_count(self, serve, connect):
        async def slow(peer):
            while True:
                await peer.request()
                await peer.pause(0.15)
                peer.send(OK)

        server = serve(slow)
        pusher = connect(server, timeout=0.6, max_connections=1)
        for operation in [pusher.trigger("c", "e", "d") for _ in range(8)]:
            assert await within(operation) == {}
        assert server.connections == 1


class TestFloods:
    """Replies without an end: refused early, the connection cut, memory bounded."""

    @staticmethod
    def flood(head: bytes, piece: bytes, sent: list[int]):
        async def script(peer):
            await peer.request()
            peer.send(head)
            for _ in range(MANY // len(piece)):
                peer.send(piece)
                sent[0] += len(piece)
                await peer.pause(0)

        return script

    HEAD = b"HTTP/1.1 200 OK\r\n"
    PIECE = b"x" * 65536

    @pytest.mark.parametrize(
        ("head", "piece"),
        [
            (HEAD + b"Content-Length: %d\r\n\r\n" % MANY, PIECE),
            (HEAD + b"\r\n", PIECE),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + PIECE + b"\r\n"),
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % MANY, PIECE),
            (b"", PIECE),
            (HEAD, b"X-Header: " + b"x" * 10_000 + b"\r\n"),
            (HEAD, b"X: y\r\n" * 10_000),
            (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 1000),
        ],
        ids=[
            "length",
            "no length",
            "chunks",
            "an error",
            "no line",
            "headers",
            "short headers",
            "interim replies",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_reply_of_100_mb_is_refused(self, serve, connect, head, piece):
        sent = [0]
        server = serve(in_turn(self.flood(head, piece, sent), answering(OK)))
        pusher = connect(server, retry=FAST, timeout=15)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert error.maybe_delivered is (b"404" not in head)
        await until(lambda: not server.peers)
        assert sent[0] < 20 * 2**20
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024
        assert len(server.requests) == 1
        assert await within(pusher.trigger("c", "e", "d")) == {}

    @pytest_twisted.ensureDeferred
    async def test_reply_that_unpacks_to_100_mb_is_refused(self, serve, connect):
        import zlib

        packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
        bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(100)) + packer.flush()
        server = serve(answering(reply(200, bomb, "Content-Encoding: gzip"), OK))
        pusher = connect(server, retry=FAST)
        error = await error_of(pusher.channels(), HTTPError)
        assert "larger than 1048576 bytes" in str(error)
        assert len(server.requests) == 1
        assert await within(pusher.channels()) == {}


class TestRetryAfter:
    @pytest_twisted.ensureDeferred
    async def test_seconds_are_waited(self, serve, connect):
        server = serve(answering(reply(429, "slow down", "Retry-After: 1"), OK))
        began = time.monotonic()
        assert await within(connect(server, retry=FAST).trigger("c", "e", "d")) == {}
        assert time.monotonic() - began >= 0.99

    @pytest_twisted.ensureDeferred
    async def test_delay_is_obeyed_inside_the_success_of_soketi(self, serve, connect):
        limited = '{"error": "Too many requests.", "code": 429}'
        server = serve(answering(reply(200, limited, "Retry-After: 0.3"), OK))
        began = time.monotonic()
        assert await within(connect(server, retry=FAST).trigger("c", "e", "d")) == {}
        assert time.monotonic() - began >= 0.29

    @pytest_twisted.ensureDeferred
    async def test_a_date_is_waited_for_by_the_clock_of_the_server(self, serve, connect):
        far = time.time() + 100_000
        headers = [
            f"Date: {email.utils.formatdate(far, usegmt=True)}",
            f"Retry-After: {email.utils.formatdate(far + 1, usegmt=True)}",
        ]
        server = serve(answering(reply(503, "", *headers), OK))
        began = time.monotonic()
        assert await within(connect(server, retry=FAST).channels()) == {}
        assert time.monotonic() - began >= 0.99

    @pytest.mark.parametrize("text", ["31", "3600", "DATE"])
    @pytest_twisted.ensureDeferred
    async def test_retry_after_of_more_than_30_seconds_ends_the_operation_at_once(
        self, serve, connect, text
    ):
        if text == "DATE":
            text = email.utils.formatdate(time.time() + 3600, usegmt=True)
        server = serve(answering(reply(429, "slow down", f"Retry-After: {text}")))
        error = await error_of(
            connect(server, retry=FAST).trigger("c", "e", "d"), RateLimitedError
        )
        expected = 31 if text == "31" else 3600
        assert expected - 2 <= error.retry_after <= expected
        assert error.maybe_delivered is False
        assert len(server.requests) == 1

    @pytest.mark.parametrize("text", ["0", "", "soon", "-5", "Mon, 99 Foo"])
    @pytest_twisted.ensureDeferred
    async def test_unreadable_retry_after_leaves_the_delay_to_the_policy(
        self, serve, connect, text
    ):
        server = serve(answering(reply(429, "", f"Retry-After: {text}"), OK))
        assert await within(connect(server, retry=FAST).trigger("c", "e", "d")) == {}
        assert len(server.requests) == 2


class TestStatus:
    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    @pytest_twisted.ensureDeferred
    async def test_query_is_retried_on_a_server_error(self, serve, connect, status):
        server = serve(answering(reply(status), reply(status), reply(status), OK))
        assert await within(connect(server, retry=FAST).channels()) == {}
        assert len(server.requests) == 4
        assert server.connections == 1

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    @pytest_twisted.ensureDeferred
    async def test_post_is_not_retried_on_a_server_error(self, serve, connect, status):
        server = serve(answering(reply(status), OK))
        error = await error_of(connect(server, retry=FAST).trigger("c", "e", "d"), ServerError)
        assert error.maybe_delivered is True
        assert len(server.requests) == 1

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 413])
    @pytest_twisted.ensureDeferred
    async def test_a_refusal_is_final(self, serve, connect, status):
        server = serve(answering(reply(status), OK))
        pusher = connect(server, retry=UNSAFE)
        await within(pusher.channels().addErrback(lambda failure: None))
        assert len(server.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_a_rate_limit_that_stays_ends_in_its_error(self, serve, connect):
        server = serve(answering(reply(429)))
        pusher = connect(server, retry=FAST)
        error = await error_of(pusher.trigger("c", "e", "d"), RateLimitedError)
        assert error.maybe_delivered is False
        assert len(server.requests) == 4

    @pytest_twisted.ensureDeferred
    async def test_soketis_rate_limit_inside_a_200_is_tried_again(self, serve, connect):
        server = serve(answering(reply(200, '{"error": "too many", "code": 429}'), OK))
        assert await within(connect(server, retry=FAST).trigger("c", "e", "d")) == {}
        assert len(server.requests) == 2


class TestIdempotencyKeys:
    @pytest_twisted.ensureDeferred
    async def test_idempotency_key_is_one_per_operation_and_the_same_on_each_attempt(
        self, serve, connect
    ):
        server = serve(answering(reply(500), reply(429), OK, OK))
        pusher = connect(server, retry=UNSAFE, idempotency_keys=True)
        await within(pusher.trigger("c", "e", "d"))
        await within(pusher.trigger("c", "e", "d"))
        await within(pusher.channels())
        keys = [request.headers.get("x-idempotency-key") for request in server.requests]
        assert len(keys) == 5
        assert keys[0] == keys[1] == keys[2]
        assert keys[3] not in (None, keys[0])
        assert keys[4] is None


class TestOneAttemptIsEnough:
    """An operation may have been delivered where any of its attempts may have."""

    @pytest_twisted.ensureDeferred
    async def test_lost_and_then_refused(self, serve, connect):
        async def last(peer):
            await peer.request()
            await peer.server.stop_listening()

        server = serve(last)
        pusher = connect(server, retry=UNSAFE)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError, server)
        assert "refused" in str(error)
        assert error.maybe_delivered is True

    @pytest_twisted.ensureDeferred
    async def test_lost_and_then_rejected(self, serve, connect):
        server = serve(in_turn(read_and_close, answer_then_close(reply(429))))
        retry = RetryPolicy(max_retries=1, initial_delay=0.001, unsafe=True)
        pusher = connect(server, retry=retry)
        error = await error_of(pusher.trigger("c", "e", "d"), RateLimitedError, server)
        assert error.maybe_delivered is True

    @pytest_twisted.ensureDeferred
    async def test_a_query_never_may(self, serve, connect):
        server = serve(read_and_close)
        error = await error_of(connect(server, retry=UNSAFE).channels(), HTTPError, server)
        assert error.maybe_delivered is False

    @pytest_twisted.ensureDeferred
    async def test_unsafe_retries_end_too(self, serve, connect):
        server = serve(read_and_close)
        pusher = connect(server, retry=UNSAFE)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError, server)
        assert error.maybe_delivered is True
        assert len(server.requests) == 4
