"""Names are looked up without the threads of the reactor's pool."""

from __future__ import annotations

import threading

import pytest_twisted
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from txpusher import BlockingPusher

from .asserting import within
from .misbehaving import OK, answering


@pytest_twisted.ensureDeferred
async def test_workers_that_fill_the_pool_get_their_names_looked_up(serve, connect):
    from twisted.internet import reactor

    size = reactor.getThreadPool().max
    workers = max(20, size)
    everyone_is_there = threading.Barrier(size)
    server = serve(answering(OK))
    pusher = connect(server, host="localhost", timeout=30, connect_timeout=30)
    blocking = BlockingPusher.wrap(pusher)

    def work(number: int) -> dict:
        if number < size:
            everyone_is_there.wait(30)
        return blocking.trigger("c", "e", number)

    results = [deferToThread(work, number) for number in range(workers)]
    assert await within(gatherResults(results), 60) == [{}] * workers
    assert len(server.requests) == workers


@pytest_twisted.ensureDeferred
async def test_many_that_wait_for_the_same_name_share_one_thread(serve, connect):
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
    monkeypatch.setattr("txpusher._host.Thread", never)
    assert await within(connect(server).trigger("c", "e", "d")) == {}


@pytest_twisted.ensureDeferred
async def test_the_next_address_is_tried_where_one_refuses(serve, connect, monkeypatch):
    """As ``localhost`` has it where only IPv4 is listened on."""
    import socket

    server = serve(answering(OK))

    system = socket.getaddrinfo

    def addresses(host, *arguments, **options):
        if host != "channels.example":
            return system(host, *arguments, **options)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]

    monkeypatch.setattr("txpusher._host.socket.getaddrinfo", addresses)
    pusher = connect(server, host="channels.example", max_connections=1)
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert server.connections == 1
