"""Cancelling an operation, in every state it can be in."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred

from tests.support.misbehaving import OK, answering, in_turn, never_answer, reply
from tests.support.observing import client_sockets, timers
from tests.support.waiting import until, within
from txpusher import Attempt, RetryPolicy


def cancel(operation: Deferred) -> None:
    """Cancel, and see that it ends in a CancelledError at once."""
    ended: list[Any] = []
    operation.addBoth(ended.append)
    assert ended == []
    operation.cancel()
    [failure] = ended
    assert failure.check(CancelledError), failure


@pytest_twisted.ensureDeferred
async def test_cancelled_operation_in_the_queue_is_never_sent(serve, connect):
    gate = []

    async def slow(peer):
        while True:
            await peer.request()
            await until(lambda: gate)
            peer.send(OK)

    server = serve(slow)
    pusher = connect(server, max_connections=1)
    operations = [pusher.trigger("c", "e", word) for word in ("one", "two", "three")]
    cancel(operations[1])
    assert pusher.stats.pending == 1
    assert pusher.stats.failed == 1
    gate.append(True)
    await within(operations[0])
    await within(operations[2])
    assert [b"two" in body for body in server.bodies] == [False, False]


@pytest_twisted.ensureDeferred
async def test_cancelled_operation_in_flight_ends_its_connection_and_the_next_is_sent(
    serve, connect
):
    server = serve(in_turn(never_answer, answering(OK)))
    pusher = connect(server, max_connections=1)
    first, second = (pusher.trigger("c", "e", "d") for _ in range(2))
    await until(lambda: server.requests)
    [peer] = server.peers
    cancel(first)
    await until(lambda: peer.is_gone)
    assert await within(second) == {}
    assert server.connections == 2
    assert pusher.stats.failed == 1
    assert pusher.stats.in_flight == 0


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
)
@pytest_twisted.ensureDeferred
async def test_cancelled_operation_ends_while_its_reply_is_read(serve, connect, sent):
    async def stall(peer):
        await peer.request()
        peer.send(sent)
        await peer.stall()

    server = serve(stall)
    pusher = connect(server)
    operation = pusher.trigger("c", "e", "d")
    await until(lambda: server.requests)
    # Until the client has read what was sent.
    await server.peers[0].pause(0.05)
    cancel(operation)
    await until(lambda: not server.peers)
    assert client_sockets(server.port) == 0


@pytest_twisted.ensureDeferred
async def test_cancelled_operation_ends_while_connecting(connect):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        pusher = connect(port=listening.getsockname()[1])
        before = len(timers())
        operation = pusher.trigger("c", "e", "d")
        assert pusher.stats.open_connections == 1
        port = listening.getsockname()[1]
        await until(lambda: client_sockets(port) == len(fillers) + 1)
        cancel(operation)
        assert len(timers()) == before
        assert pusher.stats.open_connections == 0
        assert client_sockets(port) == len(fillers)
        for filler in fillers:
            filler.close()


@pytest_twisted.ensureDeferred
async def test_cancelled_operation_ends_during_the_tls_handshake(serve, connect):
    async def silent(peer):
        await peer.stall()

    server = serve(silent)
    pusher = connect(server, use_tls=True)
    operation = pusher.trigger("c", "e", "d")
    await until(lambda: server.peers)
    cancel(operation)
    await until(lambda: not server.peers and not pusher.stats.open_connections)
    assert client_sockets(server.port) == 0


@pytest_twisted.ensureDeferred
async def test_cancelled_operation_ends_while_looking_up_a_name(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, host="localhost", max_connections=1)
    cancel(pusher.trigger("c", "e", "cancelled"))
    assert await within(pusher.trigger("c", "e", "sent")) == {}
    assert len(server.requests) == 1


@pytest_twisted.ensureDeferred
async def test_cancelled_operation_ends_while_waiting_to_retry(serve, connect):
    server = serve(answering(reply(429, "", "Retry-After: 30")))
    pusher = connect(server)
    operation = pusher.trigger("c", "e", "d")
    await until(lambda: pusher.stats.pending)
    cancel(operation)
    assert pusher.stats.pending == 0
    # What is left is for the idle connection alone.
    await within(pusher.close())
    assert len(server.requests) == 1


@pytest_twisted.ensureDeferred
async def test_cancelling_every_operation_at_once_ends_every_operation(serve, connect):
    server = serve(never_answer)
    pusher = connect(server, max_connections=4)
    operations = [pusher.trigger("c", "e", str(number)) for number in range(100)]
    await until(lambda: len(server.requests) == 4)
    for operation in reversed(operations):
        cancel(operation)
    assert pusher.stats.failed == 100
    assert (pusher.stats.pending, pusher.stats.in_flight) == (0, 0)
    await until(lambda: not server.peers)
    assert len(server.requests) == 4


@pytest_twisted.ensureDeferred
async def test_timeout_added_by_the_caller_cancels_the_operation(serve, connect):
    from twisted.internet import reactor

    server = serve(never_answer)
    pusher = connect(server)
    with pytest.raises(defer.TimeoutError):
        await pusher.trigger("c", "e", "d").addTimeout(0.1, reactor)
    await until(lambda: not server.peers)


@pytest_twisted.ensureDeferred
async def test_second_or_late_cancel_does_nothing(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server)
    operation = pusher.trigger("c", "e", "d")
    results = []
    operation.addCallback(results.append)
    await within(operation)
    operation.cancel()
    assert results == [{}]
    assert pusher.stats.failed == 0
    other = pusher.trigger("c", "e", "d")
    cancel(other)
    other.cancel()
    assert pusher.stats.failed == 1


class TestFromTheHook:
    """A program may give up on hearing of an attempt."""

    @pytest_twisted.ensureDeferred
    async def test_operation_cancelled_from_the_hook_after_a_success_is_cancelled(
        self, serve, connect, log
    ):
        server = serve(answering(OK))
        pusher = connect(server, on_attempt=lambda attempt: operation.cancel())
        operation = pusher.trigger("c", "e", "d")
        with pytest.raises(CancelledError):
            await within(operation)
        assert log.failures == []
        assert pusher.stats.succeeded + pusher.stats.failed == 1
        assert pusher.stats.in_flight == 0

    @pytest_twisted.ensureDeferred
    async def test_operation_cancelled_from_the_hook_before_a_retry_is_cancelled(
        self, serve, connect, log
    ):
        seen: list[Attempt] = []

        def give_up(attempt: Attempt) -> None:
            seen.append(attempt)
            operation.cancel()

        server = serve(answering(reply(429), OK))
        pusher = connect(server, on_attempt=give_up, retry=RetryPolicy(initial_delay=0.001))
        operation = pusher.trigger("c", "e", "d")
        with pytest.raises(CancelledError):
            await within(operation)
        assert await within(pusher.channels()) == {}
        assert pusher.stats.pending == 0
        assert pusher.stats.sent == 2
        assert log.failures == []
