"""BlockingBatchPublisher.publish(): the iterable is read in the caller's thread."""

from __future__ import annotations

import json
import threading
from collections import UserDict
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.support.asserting import error_of
from tests.support.misbehaving import OK, Peer, Request, answering, never_answer, reply
from tests.support.programs import Program
from tests.support.waiting import until, within
from txpusher import (
    BlockingBatchPublisher,
    BlockingPusher,
    ClosedError,
    Event,
    InvalidRequestError,
    NotFoundError,
    Published,
)


@pytest.fixture
def publishing(connect: Any) -> Any:
    """Makes a publisher for threads, *options* being those of its client."""

    def make(server: Any, **options: Any) -> BlockingBatchPublisher:
        return BlockingBatchPublisher(BlockingPusher.wrap(connect(server, **options)))

    return make


def events(count: int, channels: int = 7) -> Any:
    return (Event(f"c{number % channels}", str(number), "d") for number in range(count))


def names(server: Any) -> list[str]:
    return [event["name"] for body in server.bodies for event in json.loads(body)["batch"]]


async def refuse_culprits(peer: Peer) -> None:
    """Answer 422 to each batch with an event called "5"."""
    while True:
        request: Request = await peer.request()
        peer.send(reply(422, "") if b'"name":"5"' in request.body else OK)


@pytest_twisted.ensureDeferred
async def test_each_event_arrives_once_and_in_order(serve: Any, publishing: Any) -> None:
    server = serve(answering(OK))
    publisher = publishing(server)
    published = await within(deferToThread(publisher.publish, events(1000)))
    assert published == Published(1000, [])
    arrived = list(map(int, names(server)))
    assert sorted(arrived) == list(range(1000))
    for channel in range(7):
        own = [number for number in arrived if number % 7 == channel]
        assert own == sorted(own)


@pytest_twisted.ensureDeferred
async def test_iterable_is_read_and_encoded_in_the_caller_s_thread(
    serve: Any, publishing: Any
) -> None:
    threads = set()

    def dumps(value: object) -> str:
        threads.add(threading.current_thread())
        return json.dumps(value)

    def given() -> Any:
        for number in range(10):
            threads.add(threading.current_thread())
            yield Event("c", "e", {"n": number})

    publisher = publishing(serve(answering(OK)), json_dumps=dumps)

    def work() -> tuple[Published, threading.Thread]:
        return publisher.publish(given()), threading.current_thread()

    published, thread = await within(deferToThread(work))
    assert published.accepted == 10
    assert threads == {thread}


@pytest_twisted.ensureDeferred
async def test_reading_is_no_faster_than_sending(serve: Any, publishing: Any) -> None:
    server = serve(never_answer)
    publisher = publishing(server, max_connections=2, max_batch_size=2)
    read = []

    def given() -> Any:
        for event in events(1000):
            read.append(event)
            yield event

    published = deferToThread(publisher.publish, given())
    await until(lambda: len(server.requests) == 2)
    await server.peers[0].pause(0.2)
    # Twice what the connections carry is with the reactor; as much as they carry has been
    # taken to be given to it, as much again is on the way, and the thread holds one.
    assert len(read) <= 4 * 4 + 1
    server.script = answering(OK)
    for peer in server.peers:
        peer.hang_up()
    outcome = await within(published)
    assert outcome.accepted + len(outcome.failed) == 1000


@pytest_twisted.ensureDeferred
async def test_event_is_sent_before_the_next_one_is_read(serve: Any, publishing: Any) -> None:
    server = serve(answering(OK))
    publisher = publishing(server)
    sent = threading.Event()

    def given() -> Any:
        yield Event("c", "first", "d")
        assert sent.wait(10)
        yield Event("c", "second", "d")

    published = deferToThread(publisher.publish, given())
    await until(lambda: server.requests)
    sent.set()
    assert (await within(published)).accepted == 2


@pytest_twisted.ensureDeferred
async def test_failures_are_told_with_place_and_event(serve: Any, publishing: Any) -> None:
    publisher = publishing(serve(refuse_culprits))
    bad = {"channel": "no such name", "name": "e", "data": "d"}
    given = [*events(8), bad]
    published = await within(deferToThread(publisher.publish, given))
    assert published.accepted == 7
    assert [(place, event) for place, event, _ in published.failed] == [(5, given[5]), (8, bad)]
    assert published.failed[0][2].status == 422
    assert isinstance(published.failed[1][2], InvalidRequestError)


@pytest_twisted.ensureDeferred
async def test_event_that_cannot_be_read_fails_alone(serve: Any, publishing: Any) -> None:
    class Unreadable(UserDict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise ValueError("no")

    publisher = publishing(serve(answering(OK)))
    given = [Event("c", "1", "d"), Unreadable(channel=1), Event("c", "3", "d")]
    published = await within(deferToThread(publisher.publish, given))
    [(place, event, error)] = published.failed
    assert (published.accepted, place, event is given[1]) == (2, 1, True)
    assert str(error) == "an argument could not be read: ValueError: 'no'"
    on_the_reactor = await within(publisher._publisher.publish(given))
    assert str(on_the_reactor.failed[0][2]) == str(error)


@pytest_twisted.ensureDeferred
async def test_progress_is_told_in_the_caller_s_thread(serve: Any, publishing: Any) -> None:
    publisher = publishing(serve(answering(OK)))
    calls: list[tuple[int, int, threading.Thread]] = []

    def work() -> threading.Thread:
        publisher.publish(
            events(50),
            on_progress=lambda *numbers: calls.append((*numbers, threading.current_thread())),
        )
        return threading.current_thread()

    thread = await within(deferToThread(work))
    assert calls[-1] == (50, 0, thread)
    assert {call[2] for call in calls} == {thread}


class TestRefused:
    @pytest.mark.parametrize("given", ["text", {"a": 1}, 3, Event("c", "e", "d")])
    @pytest_twisted.ensureDeferred
    async def test_argument_that_is_no_iterable_of_events_is_refused(
        self, serve: Any, publishing: Any, given: Any
    ) -> None:
        publisher = publishing(serve(answering(OK)))
        error = await error_of(deferToThread(publisher.publish, given), InvalidRequestError)
        assert str(error).startswith("events must be an iterable of several events")

    @pytest_twisted.ensureDeferred
    async def test_iterable_that_raises_is_an_error_after_its_events_are_settled(
        self, serve: Any, publishing: Any
    ) -> None:
        server = serve(answering(OK))
        publisher = publishing(server)

        def given() -> Any:
            yield from events(30)
            raise KeyError("gone")

        error = await error_of(deferToThread(publisher.publish, given()), InvalidRequestError)
        assert str(error) == """events[30] could not be read: KeyError: "'gone'\""""
        assert isinstance(error.__cause__, KeyError)
        assert len(names(server)) == 30

    @pytest_twisted.ensureDeferred
    async def test_iterable_that_asks_the_server_in_vain_loses_no_event(
        self, serve: Any, publishing: Any
    ) -> None:
        server = serve(answering(OK))
        publisher = publishing(server)
        not_there = NotFoundError("GET /apps/3/channels/c: status 404")

        def given() -> Any:
            yield from events(30)
            raise not_there

        error = await error_of(deferToThread(publisher.publish, given()), InvalidRequestError)
        assert str(error).startswith("events[30] could not be read: NotFoundError: ")
        assert error.__cause__ is not_there
        assert len(names(server)) == 30

    @pytest_twisted.ensureDeferred
    async def test_closed_publisher_reads_no_further(self, serve: Any, publishing: Any) -> None:
        publisher = publishing(serve(answering(OK)))
        read = []

        def given() -> Any:
            for event in events(100_000):
                read.append(event)
                if len(read) == 500:
                    assert publisher.close() == 0
                yield event

        await error_of(deferToThread(publisher.publish, given()), ClosedError)
        assert len(read) < 2000


@pytest_twisted.ensureDeferred
async def test_ctrl_c_ends_publish_and_the_program(serve: Any) -> None:
    server = serve(never_answer)
    program = Program(
        """
        publisher = BlockingBatchPublisher(client(timeout=300), exit_timeout=0)
        def given():
            number = 0
            while True:
                yield {"channel": "c", "name": "e", "data": number}
                number += 1
        try:
            publisher.publish(given())
        except KeyboardInterrupt:
            say("interrupted", publisher.flush(timeout=0))
        """,
        server.port,
    )
    try:
        await until(lambda: server.requests)
        program.interrupt()
        ended = await program.end()
    finally:
        program.kill()
    # The events of the request in flight; those that waited were taken back.
    assert ended.code == 0
    count = len(json.loads(server.bodies[0])["batch"])
    assert ended.output == f"interrupted {count}\n"


@pytest_twisted.ensureDeferred
async def test_signal_handler_may_submit_while_another_event_is_submitted(serve: Any) -> None:
    server = serve(answering(OK))
    program = Program(
        """
        import signal
        from twisted.internet import reactor
        publisher = BlockingBatchPublisher(client())
        publisher.submit("c", "first", "d").result()
        call_from_thread = reactor.callFromThread
        signal.signal(signal.SIGUSR1, lambda *_: publisher.submit("c", "handler", "d"))
        def interrupted(*arguments):
            reactor.callFromThread = call_from_thread
            signal.raise_signal(signal.SIGUSR1)
            call_from_thread(*arguments)
        reactor.callFromThread = interrupted
        publisher.submit("c", "last", "d")
        say(publisher.flush())
        """,
        server.port,
    )
    assert (await program.end()).said() == ["0"]
    assert sorted(names(server)) == ["first", "handler", "last"]
