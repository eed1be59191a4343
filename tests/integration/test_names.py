"""Names are looked up without the threads of the reactor's pool."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from typing import Any

import pytest_twisted
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from tests.support.asserting import error_of
from tests.support.misbehaving import OK, answer_then_close, answering
from tests.support.waiting import until, within
from txpusher import BlockingPusher, HTTPError, RequestTimeoutError, RetryPolicy, TriggerReply
from txpusher._http.host import ThreadResolver

from .test_retries import free_port

ONCE = RetryPolicy(max_retries=0)


@pytest_twisted.ensureDeferred
async def test_workers_that_fill_the_pool_get_their_names_looked_up(serve, connect):
    from twisted.internet import reactor as running

    reactor: Any = running
    size = reactor.getThreadPool().max
    workers = max(20, size)
    everyone_is_there = threading.Barrier(size)
    server = serve(answering(OK))
    pusher = connect(server, host="localhost", timeout=30, connect_timeout=30)
    blocking = BlockingPusher.wrap(pusher)

    def work(number: int) -> TriggerReply:
        if number < size:
            everyone_is_there.wait(30)
        return blocking.trigger("c", "e", number)

    results = [deferToThread(work, number) for number in range(workers)]
    assert await within(gatherResults(results), 60) == [{}] * workers
    assert len(server.requests) == workers


@pytest_twisted.ensureDeferred
async def test_operations_that_wait_for_the_same_name_share_one_thread(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server, host="localhost", max_connections=50)
    before = threading.active_count()
    operations = [pusher.trigger("c", "e", number) for number in range(50)]
    assert threading.active_count() <= before + 1
    await within(gatherResults(operations))
    assert len(server.requests) == 50


@pytest_twisted.ensureDeferred
async def test_an_address_needs_no_thread(serve, connect, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("a thread was started")

    server = serve(answering(OK))
    monkeypatch.setattr("txpusher._http.host.Thread", never)
    assert await within(connect(server).trigger("c", "e", "d")) == {}


@pytest_twisted.ensureDeferred
async def test_next_address_is_tried_after_a_refusal(serve, connect, monkeypatch):
    """As ``localhost`` has it where only IPv4 is listened on."""
    server = serve(answering(OK))
    resolve(monkeypatch, "::1", "127.0.0.2", "127.0.0.1")
    pusher = connect(server, host="channels.example", max_connections=1)
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert server.connections == 1
    assert pusher.stats.retried == 0


@pytest_twisted.ensureDeferred
async def test_the_address_that_worked_last_is_tried_first(serve, connect, monkeypatch):
    server = serve(answer_then_close(OK))
    resolve(monkeypatch, "127.0.0.2", "127.0.0.1")
    pusher = connect(server, host="channels.example")
    await within(pusher.trigger("c", "e", "d"))
    await until(lambda: not pusher.stats.open_connections)
    # Now it would answer at the other one too.
    other = serve(answering(OK), listen=False)
    other.listen(port=server.port, interface="127.0.0.2")
    await within(pusher.trigger("c", "e", "d"))
    assert (server.connections, other.connections) == (2, 0)


@pytest_twisted.ensureDeferred
async def test_silent_address_leaves_time_for_the_next_address(serve, connect, monkeypatch):
    server = serve(answering(OK))
    with contextlib.ExitStack() as stack:
        # Its backlog is full: it neither accepts nor refuses.
        hole = stack.enter_context(socket.create_server(("127.0.0.2", server.port), backlog=0))
        for _ in range(4):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(hole.getsockname())
        resolve(monkeypatch, "127.0.0.2", "127.0.0.1")
        pusher = connect(server, host="channels.example", connect_timeout=1.0, retry=ONCE)
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert pusher.stats.sent == 1


@pytest_twisted.ensureDeferred
async def test_lookup_that_is_given_up_leaves_no_waiter_behind(connect, monkeypatch):
    found = threading.Event()
    resolve(monkeypatch, "127.0.0.1", wait=found.wait)
    port = free_port()
    pusher = connect(
        port=port, host="channels.example", connect_timeout=0.02, retry=ONCE, max_connections=2
    )
    for _ in range(3):
        for operation in [pusher.trigger("c", "e", "d") for _ in range(4)]:
            await error_of(operation, RequestTimeoutError)
    threads = [thread for thread in threading.enumerate() if "resolver" in thread.name]
    assert len(threads) == 1
    waiting = [one._waiting for one in gc.get_objects() if isinstance(one, ThreadResolver)]
    assert not any(waiting)
    found.set()
    await until(lambda: not threads[0].is_alive())
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert "refused" in str(error)


@pytest_twisted.ensureDeferred
async def test_a_lookup_that_fails_oddly_does_not_stop_the_next(serve, connect, monkeypatch):
    server = serve(answering(OK))

    def fail():
        if not failed:
            failed.append(True)
            raise MemoryError("no room")

    failed = []
    resolve(monkeypatch, "127.0.0.1", wait=fail)
    pusher = connect(server, host="channels.example", retry=ONCE)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert "no address found for channels.example" in str(error)
    assert await within(pusher.trigger("c", "e", "d")) == {}


def resolve(monkeypatch, *addresses, wait=lambda: None):
    """Have ``channels.example`` stand for *addresses*."""
    system = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **options):
        if host != "channels.example":
            return system(host, *arguments, **options)
        wait()
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 0, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))
            for address in addresses
        ]

    monkeypatch.setattr("txpusher._http.host.socket.getaddrinfo", getaddrinfo)
