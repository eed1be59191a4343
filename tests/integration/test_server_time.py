"""What ends when time passes: silent clients, idle connections, slow requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.web.server import Site

from tests.support.credentials import KEY, SECRET
from tests.support.inside import connections
from tests.support.observing import Log
from tests.support.raw_client import PING, Timed, close, connect_raw, frame, open_socket, signed
from tests.support.waiting import until
from txpusher.server import Activity, App, ChannelsServer, WebHookTarget
from txpusher.server._net.connection import State

from .webhook_receiver import Receiver

pytest.importorskip("wsproto")


@pytest_twisted.async_yield_fixture
async def timed(log: Log, clean_reactor: None) -> AsyncIterator[tuple[ChannelsServer, Clock]]:
    reactor = Timed()
    server = ChannelsServer([App("3", KEY, SECRET)])
    await server.listen(reactor=reactor)
    yield server, reactor.clock
    await server.stop()
    # What Twisted's own HTTP server keeps for its access log ends with its port.
    assert reactor.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_silent_client_is_pinged_and_closed(
    timed: tuple[ChannelsServer, Clock],
) -> None:
    server, clock = timed
    socket = await open_socket(server.port)
    clock.pump([1] * 120)
    await socket.wait("pusher:ping")
    clock.pump([1] * 31)
    assert await socket.end() == 4201


@pytest_twisted.ensureDeferred
async def test_connection_without_authorization_is_closed_at_its_very_moment(
    log: Log, clean_reactor: None
) -> None:
    reactor = Timed()
    server = ChannelsServer([App("3", KEY, SECRET, authorization_timeout=0.25)])
    await server.listen(reactor=reactor)
    late, authorized = await open_socket(server.port), await open_socket(server.port)
    authorized.subscribe("private-a")
    await authorized.wait("pusher_internal:subscription_succeeded")
    reactor.clock.advance(0.125)
    assert not late.is_closing()
    reactor.clock.advance(0.125)
    assert await late.end() == 4009
    assert not authorized.is_closing()
    await close(authorized)
    # One connection more, whose time is not up when the server stops.
    last = await open_socket(server.port)
    stopping = server.stop()
    assert await last.end() == 1001
    await stopping
    assert reactor.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_what_is_due_earlier_than_what_was_due_first_is_done_at_its_very_moment(
    log: Log, clean_reactor: None
) -> None:
    reactor = Timed()
    server = ChannelsServer(
        [
            App("3", KEY, SECRET, authorization_timeout=0.75),
            App("4", "other", SECRET, authorization_timeout=0.25),
        ]
    )
    await server.listen(reactor=reactor)
    patient = await open_socket(server.port)
    hasty = await open_socket(server.port, "/app/other?protocol=7")
    reactor.clock.advance(0.25)
    assert await hasty.end() == 4009
    reactor.clock.advance(0.25)
    assert not patient.is_closing()
    reactor.clock.advance(0.25)
    assert await patient.end() == 4009
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_webhook_of_departure_is_sent_at_its_very_moment(
    log: Log, clean_reactor: None
) -> None:
    from twisted.internet import reactor as installed_reactor

    installed: Any = installed_reactor
    reactor = Timed()
    told: list[Activity] = []
    receiver = Receiver()
    port: Any = installed.listenTCP(0, Site(receiver), interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}/"
    events = ["channel_vacated"]
    target = WebHookTarget(url, events=events)
    server = ChannelsServer([App("3", KEY, SECRET, webhooks=[target], webhook_grace=0.25)])
    server.add_observer(told.append)
    await server.listen(reactor=reactor)
    socket = await open_socket(server.port)
    socket.subscribe("a")
    await socket.wait("pusher_internal:subscription_succeeded")
    await close(socket)
    await until(lambda: any(activity.kind == "disconnected" for activity in told))
    reactor.clock.advance(0.125)

    def attempts() -> list[Any]:
        # An attempt begins with the timer that ends it after ten seconds.
        return [call for call in reactor.clock.getDelayedCalls() if call.getTime() > 5]

    assert not attempts()
    reactor.clock.advance(0.125)
    assert attempts()
    await until(lambda: any(activity.kind == "webhook" for activity in told))
    assert [event["name"] for event in receiver.events()] == events
    await server.stop()
    assert reactor.clock.getDelayedCalls() == []
    await maybeDeferred(port.stopListening)


@pytest_twisted.ensureDeferred
async def test_any_frame_is_a_sign_of_life(timed: tuple[ChannelsServer, Clock]) -> None:
    server, clock = timed
    socket = await open_socket(server.port)
    for number in range(1, 4):
        clock.pump([1] * 121)
        await socket.wait("pusher:ping", number)
        socket.raw.write(frame(PING, b"x"))
        await socket.wait_for_pongs(number)
    assert socket.raw.open
    await close(socket)


@pytest_twisted.ensureDeferred
async def test_client_that_answers_the_close_is_let_go_at_once(
    timed: tuple[ChannelsServer, Clock],
) -> None:
    server, _ = timed
    goodbye = frame(8, b"\x10\x68")
    failing = frame(1, b'{"event":"pusher:signin","data":{}}')
    for pieces in ([failing + goodbye], [failing + goodbye[:3], goodbye[3:]]):
        socket = await open_socket(server.port)
        for piece in pieces:
            socket.raw.write(piece)
            if piece is not pieces[-1]:
                await socket.wait("pusher:error")
        await socket.raw.lost
        socket.got("")
        assert socket.close_code == 4009


@pytest_twisted.ensureDeferred
async def test_client_that_does_not_answer_the_close_has_five_seconds(
    timed: tuple[ChannelsServer, Clock],
) -> None:
    server, clock = timed
    socket = await open_socket(server.port)
    socket.raw.write(frame(1, b'{"event":"pusher:signin","data":{}}'))
    await socket.raw.until(socket.is_closing)
    clock.pump([1] * 4)
    assert socket.raw.open
    clock.pump([1] * 2)
    await socket.raw.lost


@pytest_twisted.ensureDeferred
async def test_a_connection_without_requests_is_closed(
    timed: tuple[ChannelsServer, Clock],
) -> None:
    server, clock = timed
    raw = await connect_raw(server.port)
    raw.write(signed("GET", "/apps/3/channels"))
    await raw.response()
    clock.pump([1] * 70)
    raw.write(signed("GET", "/apps/3/channels"))
    await raw.response()
    assert raw.open
    clock.pump([1] * 76)
    await raw.lost
    assert raw.received == b""


@pytest_twisted.ensureDeferred
async def test_a_request_that_never_ends_is_given_up(
    timed: tuple[ChannelsServer, Clock],
) -> None:
    server, clock = timed
    raws = [await connect_raw(server.port) for _ in range(3)]
    raws[1].write(b"GET /apps/3")
    raws[2].write(b"POST /apps/3/events HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
    again = await connect_raw(server.port)
    again.write(signed("GET", "/apps/3/channels"))
    await again.response()
    again.write(b"G")
    for _ in range(31):
        for raw in raws[1:]:
            raw.write(b"x")
        # What was written is there when the next answer comes.
        probe = await connect_raw(server.port)
        probe.write(signed("GET", "/apps/3/channels"))
        await probe.response()
        probe.transport.loseConnection()
        await probe.lost
        clock.advance(1)
    for raw in (*raws, again):
        assert (await raw.response())[0] == 408
        raw.transport.loseConnection()
        await raw.lost


@pytest_twisted.ensureDeferred
async def test_a_refused_request_may_go_on_for_some_seconds(
    timed: tuple[ChannelsServer, Clock],
) -> None:
    server, clock = timed
    raw = await connect_raw(server.port)
    raw.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n")
    assert (await raw.response())[0] == 413
    clock.pump([1] * 4)
    raw.write(b"x")
    assert raw.open
    clock.pump([1] * 2)
    raw.write(b"x")
    await raw.lost


@pytest_twisted.ensureDeferred
async def test_a_client_at_its_end_may_break_the_protocol(
    timed: tuple[ChannelsServer, Clock],
) -> None:
    server, _ = timed
    failing = frame(1, b'{"event":"pusher:signin","data":{}}')
    for after in (frame(1, b"x" * 200_000), frame(PING, b"x"), b"\xff" * 100):
        socket = await open_socket(server.port)
        socket.raw.write(failing)
        await socket.raw.until(socket.is_closing)
        assert socket.close_code == 4009
        socket.raw.write(after)
        await close(socket)


@pytest_twisted.ensureDeferred
async def test_gathered_events_are_sent_before_the_close(
    timed: tuple[ChannelsServer, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, clock = timed
    socket = await open_socket(server.port)
    socket.subscribe("a")
    await socket.wait("pusher_internal:subscription_count")
    raw = await connect_raw(server.port)
    monkeypatch.setattr("txpusher.server._limits.LARGE_AUDIENCE", 1)
    raw.write(signed("POST", "/apps/3/events", b'{"name":"e","channel":"a","data":"d"}'))
    assert (await raw.response())[0] == 200
    # The round in which it gathers does not end: the time stands still.
    assert not socket.got("e")
    await server.stop()
    assert await socket.end() == 1001
    assert [message["data"] for message in socket.got("e")] == ["d"]
    await raw.lost
    assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_client_that_reads_slowly_may_ask_on_while_an_answer_waits(
    timed: tuple[ChannelsServer, Clock],
) -> None:
    server, clock = timed
    socket = await open_socket(server.port)
    for number in range(500):
        socket.subscribe(f"{number:0200}")
    await socket.wait("pusher_internal:subscription_succeeded", 500)
    before = connections(server)
    raw, count = await connect_raw(server.port), 200
    raw.transport.pauseProducing()
    raw.write(signed("GET", "/apps/3/channels") * count)
    await until(lambda: bool(connections(server) - before))
    (connection,) = connections(server) - before
    await until(lambda: connection.state is State.WAITING_FOR_ROOM)
    raw.write(signed("GET", "/apps/3/channels"))
    # Longer than a request may take to come in.
    clock.pump([1] * 40)
    raw.transport.resumeProducing()
    for _ in range(count + 1):
        assert (await raw.response())[0] == 200
    await close(socket)
    raw.transport.loseConnection()
    await raw.lost
