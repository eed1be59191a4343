"""The Subscriber's connection: how it ends, comes back, is watched, and what leads to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.iweb import IPolicyForHTTPS
from wsproto.events import CloseConnection
from zope.interface import implementer

from tests.support.credentials import KEY, PROXY_PASSWORD, PROXY_USER
from tests.support.misbehaving import Gone, in_turn, relay, reply
from tests.support.scripted_websocket import WebSocketPeer
from tests.support.waiting import pause, until, within
from txpusher import (
    ClosedError,
    ConfigurationError,
    ConnectionClosedError,
    HTTPError,
    RetryPolicy,
    Subscriber,
    SubscriptionError,
)
from txpusher._http import websocket

from .subscribers import Told, pusher_of, serve_well, states_of


def closing(code, reason=""):
    """Greet, then close with a code."""

    async def script(peer):
        there = await WebSocketPeer.greet(peer)
        there.close(code, reason)
        await peer.stall()

    return script


async def until_last(changes, state):
    """Wait until the last change is one to *state*."""
    await until(lambda: changes[-1][1] == state)


class TestHandshake:
    @pytest_twisted.ensureDeferred
    async def test_handshake_names_app_protocol_and_client(self, serve, make_subscriber):
        server = serve(serve_well)
        seen = []

        async def script(peer):
            there = await WebSocketPeer.greet(peer)
            seen.append(there.target)
            await there.serve()

        server.script = script
        subscriber = make_subscriber(server.port, path_prefix="/ws/")
        await within(subscriber.connect())
        path, _, query = seen[0].partition("?")
        assert path == f"/ws/app/{KEY}"
        assert query.startswith("protocol=7&client=txpusher&version=")

    @pytest_twisted.ensureDeferred
    async def test_server_of_the_prefix_is_reached(self, serve, make_subscriber):
        server = serve(serve_well)
        subscriber = make_subscriber(server.port)
        assert await within(subscriber.connect()) == "1.1"

    @pytest.mark.parametrize(
        "answer", [reply(404), reply(301), reply(200), b"nonsense\r\n\r\n"]
    )
    @pytest_twisted.ensureDeferred
    async def test_refused_handshake_is_tried_again(self, serve, make_subscriber, answer):
        async def refuse(peer):
            await peer.head()
            peer.send(answer)
            await peer.stall()

        server = serve(in_turn(refuse, refuse, serve_well))
        subscriber = make_subscriber(server.port)
        changes = states_of(subscriber)
        await within(subscriber.connect())
        assert changes == [
            ("initialized", "connecting"),
            ("connecting", "unavailable"),
            ("unavailable", "connected"),
        ]

    @pytest.mark.parametrize(
        "greeting", ["{}", "no json", json.dumps({"event": "pusher:connection_established"})]
    )
    @pytest_twisted.ensureDeferred
    async def test_wrong_greeting_is_tried_again(self, serve, make_subscriber, greeting):
        async def greet_wrongly(peer):
            (await WebSocketPeer.accept(peer)).text(greeting)
            await peer.stall()

        server = serve(in_turn(greet_wrongly, serve_well))
        subscriber = make_subscriber(server.port, connect_timeout=0.2)
        await within(subscriber.connect())
        assert server.connections == 2

    @pytest.mark.parametrize("accepting", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_server_that_says_nothing_is_left(self, serve, make_subscriber, accepting):
        async def silent(peer):
            if accepting:
                await WebSocketPeer.accept(peer)
            await peer.stall()

        server = serve(in_turn(silent, serve_well))
        subscriber = make_subscriber(server.port, connect_timeout=0.1)
        await within(subscriber.connect())
        assert server.connections == 2

    @pytest_twisted.ensureDeferred
    async def test_greeting_in_the_same_segment_as_the_handshake_is_read(
        self, serve, make_subscriber
    ):
        async def all_at_once(peer):
            sent, send = [], peer.send
            peer.send = sent.append
            there = await WebSocketPeer.greet(peer)
            peer.send = send
            peer.send(b"".join(sent))
            await there.serve()

        subscriber = make_subscriber(serve(all_at_once).port)
        await within(subscriber.connect())

    @pytest_twisted.ensureDeferred
    async def test_server_that_is_not_there_yet_is_waited_for(self, serve, make_subscriber):
        server = serve(serve_well)
        port = server.port
        await server.stop_listening()
        subscriber = make_subscriber(port)
        connecting = subscriber.connect()
        await until(lambda: subscriber.state == "unavailable")
        server.listen(port=port)
        await within(connecting)

    @pytest_twisted.ensureDeferred
    async def test_host_that_does_not_exist_is_waited_for(self, make_subscriber):
        subscriber = make_subscriber(1, host="nowhere.invalid")
        connecting = subscriber.connect()
        await until(lambda: subscriber.state == "unavailable")
        await subscriber.close()
        with pytest.raises(ClosedError):
            await connecting


class TestCloseCodes:
    @pytest.mark.parametrize("code", [4000, 4001, 4009, 4050, 4099])
    @pytest_twisted.ensureDeferred
    async def test_code_to_stay_away_ends_everything(self, serve, make_subscriber, code):
        hold: Deferred = Deferred()

        async def script(peer):
            there = await WebSocketPeer.greet(peer)
            await hold
            there.close(code, "stay away")
            await peer.stall()

        server = serve(script)
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        waiting = subscriber.subscribe("room")
        hold.callback(None)
        with pytest.raises(ConnectionClosedError, match="stay away") as caught:
            await within(waiting)
        assert caught.value.code == code
        assert subscriber.state == "failed"
        await pause(0.05)
        assert server.connections == 1

    @pytest.mark.parametrize("code", [4100, 4199])
    @pytest_twisted.ensureDeferred
    async def test_code_of_a_full_server_waits_a_second(self, serve, make_subscriber, code):
        from twisted.internet import reactor

        server = serve(in_turn(closing(code), serve_well))
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        await until(lambda: subscriber.state == "connecting")
        began = reactor.seconds()
        await within(subscriber.connect())
        assert reactor.seconds() - began >= 0.95

    @pytest.mark.parametrize("code", [4200, 4201, 4299, 4300, 4999, 1000, 1001, 3000])
    @pytest_twisted.ensureDeferred
    async def test_other_code_is_followed_by_a_connection_at_once(
        self, serve, make_subscriber, code
    ):
        server = serve(in_turn(closing(code), serve_well))
        slow = RetryPolicy(initial_delay=60, max_delay=60)
        subscriber = make_subscriber(server.port, retry=slow)
        changes = states_of(subscriber)
        await within(subscriber.connect())
        await until(lambda: subscriber.socket_id == "1.2")
        assert changes[2:] == [("connected", "connecting"), ("connecting", "connected")]

    @pytest_twisted.ensureDeferred
    async def test_every_code_of_the_protocol_is_obeyed(self, serve, make_subscriber):
        """All of 4000 to 4299, eleven apart: one subscriber for each."""
        code = 4000
        for code in range(4000, 4300, 11):
            server = serve(closing(code))
            subscriber = make_subscriber(
                server.port, retry=RetryPolicy(initial_delay=60, max_delay=60)
            )
            changes = states_of(subscriber)
            await within(subscriber.connect())
            expected = "failed" if code < 4100 else "connecting"
            await until_last(changes, expected)
            await subscriber.close()
        assert code > 4280

    @pytest.mark.parametrize("code", [1000, 4200])
    @pytest_twisted.ensureDeferred
    async def test_close_frame_of_the_server_is_answered(self, serve, make_subscriber, code):
        answers = []

        async def script(peer):
            there = await WebSocketPeer.greet(peer)
            there.close(code, "bye")
            answers.append(await there.event())
            await peer.stall()

        subscriber = make_subscriber(serve(in_turn(script, serve_well)).port)
        told = states_of(subscriber)
        await within(subscriber.connect())
        await until(lambda: answers)
        assert isinstance(answers[0], CloseConnection)
        assert answers[0].code == code
        back = [("connected", "connecting"), ("connecting", "connected")]
        await until(lambda: told[-2:] == back)

    @pytest_twisted.ensureDeferred
    async def test_code_announced_before_a_lost_connection_counts(self, serve, make_subscriber):
        async def script(peer):
            there = await WebSocketPeer.accept(peer)
            there.send("pusher:error", {"code": 4001, "message": "no app"})

        subscriber = make_subscriber(serve(script).port)
        with pytest.raises(ConnectionClosedError) as caught:
            await within(subscriber.connect())
        assert caught.value.code == 4001

    @pytest_twisted.ensureDeferred
    async def test_server_that_closes_again_and_again_is_not_stormed(
        self, serve, make_subscriber
    ):
        server = serve(closing(4200))
        subscriber = make_subscriber(
            server.port, retry=RetryPolicy(initial_delay=0.1, max_delay=0.1)
        )
        await within(subscriber.connect())
        await pause(0.5)
        assert 3 <= server.connections <= 12


class TestComingBack:
    @pytest_twisted.ensureDeferred
    async def test_lost_connection_comes_back_with_every_channel(self, serve, make_subscriber):
        signed = []

        def authorizer(channel, socket_id):
            signed.append((channel, socket_id))
            return {"auth": "key:signature"}

        server = serve(serve_well)
        subscriber = make_subscriber(server.port, authorizer=authorizer)
        told = Told(subscriber)
        await within(subscriber.connect())
        for name in ("room", "private-room"):
            await within(subscriber.subscribe(name))
        server.peers[0].reset()
        await told.wait_for("pusher:subscription_succeeded", 4)
        assert signed == [("private-room", "1.1"), ("private-room", "1.2")]
        assert subscriber.socket_id == "1.2"

    @pytest_twisted.ensureDeferred
    async def test_refusal_when_coming_back_is_told_and_tried_again(
        self, serve, make_subscriber, log
    ):
        refuse = []

        def authorizer(channel, socket_id):
            if refuse:
                raise ValueError("not today")
            return {"auth": "key:signature"}

        server = serve(serve_well)
        subscriber = make_subscriber(server.port, authorizer=authorizer)
        await within(subscriber.connect())
        subscription = await within(subscriber.subscribe("private-room"))
        told = Told(subscription)
        refuse.append(True)
        server.peers[0].reset()
        [data] = await told.wait_for("pusher:subscription_error")
        assert "not today" in data["error"]
        with pytest.raises(SubscriptionError, match="not today"):
            await within(subscriber.subscribe("private-room"))
        refuse.clear()
        assert await within(subscriber.subscribe("private-room")) is subscription
        refuse.append(True)
        server.peers[0].reset()
        await told.wait_for("pusher:subscription_error", 2)
        refuse.clear()
        server.peers[0].reset()
        await told.wait_for("pusher:subscription_succeeded", 2)
        assert "not today" in log.text

    @pytest_twisted.ensureDeferred
    async def test_unsubscribe_during_reconnection_is_for_good(self, serve, make_subscriber):
        server = serve(serve_well)
        subscriber = make_subscriber(server.port)
        told = Told(subscriber)
        await within(subscriber.connect())
        subscription = await within(subscriber.subscribe("room"))
        kept = await within(subscriber.subscribe("kept"))
        subscriber.on_state_change(
            lambda old, new: new == "connecting" and subscription.unsubscribe()
        )
        server.peers[0].reset()
        await told.wait_for("pusher:subscription_succeeded", 3)
        names = [m.channel for m in told.messages]
        assert names == ["room", "kept", "kept"]
        assert kept.name == "kept"

    @pytest_twisted.ensureDeferred
    async def test_client_event_fails_while_disconnected(self, serve, make_subscriber):
        server = serve(in_turn(serve_well, lambda peer: peer.stall()))
        subscriber = make_subscriber(server.port, authorizer=lambda c, s: {"auth": "a"})
        await within(subscriber.connect())
        room = await within(subscriber.subscribe("private-room"))
        pending = room.trigger("client-e", 1)
        server.peers[0].reset()
        with pytest.raises(HTTPError) as caught:
            await within(pending)
        assert caught.value.maybe_delivered
        with pytest.raises(HTTPError) as caught:
            await room.trigger("client-e", 1)
        assert not caught.value.maybe_delivered

    @pytest_twisted.ensureDeferred
    async def test_waiting_for_the_return_and_giving_up_ends_nothing(
        self, serve, make_subscriber
    ):
        server = serve(in_turn(serve_well, lambda peer: peer.stall(), serve_well))
        subscriber = make_subscriber(server.port, connect_timeout=0.2)
        await within(subscriber.connect())
        server.peers[0].reset()
        await until(lambda: subscriber.state == "connecting")
        waiting = subscriber.connect().addErrback(lambda _: None)
        waiting.cancel()
        await until(lambda: subscriber.socket_id == "1.3")


class TestLiveness:
    @pytest_twisted.ensureDeferred
    async def test_silent_server_is_asked_and_left(self, serve, make_subscriber):
        pings = []

        async def fall_silent(peer):
            there = await WebSocketPeer.greet(peer)
            while True:
                pings.append((await there.message())["event"])

        server = serve(in_turn(fall_silent, serve_well))
        subscriber = make_subscriber(server.port, activity_timeout=0.1, pong_timeout=0.1)
        await within(subscriber.connect())
        await until(lambda: subscriber.socket_id == "1.2")
        assert pings == ["pusher:ping"]

    @pytest.mark.parametrize(("ours", "theirs"), [(0.1, 120), (120, 0.1)])
    @pytest_twisted.ensureDeferred
    async def test_lesser_of_the_two_timeouts_counts(
        self, serve, make_subscriber, ours, theirs
    ):
        pings = []

        async def script(peer):
            there = await WebSocketPeer.greet(peer, activity_timeout=theirs)
            while True:
                pings.append(await there.message())
                there.send("pusher:pong", {})

        server = serve(script)
        subscriber = make_subscriber(server.port, activity_timeout=ours, pong_timeout=5)
        await within(subscriber.connect())
        await until(lambda: len(pings) >= 3)
        assert server.connections == 1

    @pytest.mark.parametrize("life", ["ping frame", "event", "half a frame"])
    @pytest_twisted.ensureDeferred
    async def test_any_byte_is_a_sign_of_life(self, serve, make_subscriber, life):
        async def script(peer):
            there = await WebSocketPeer.greet(peer)
            if life == "half a frame":
                # A message of 100 bytes, one byte at a time.
                peer.send(b"\x81\x64")
            for _ in range(8):
                await peer.pause(0.06)
                if life == "ping frame":
                    there.ping()
                elif life == "event":
                    there.send("e", "1")
                else:
                    peer.send(b"x")
            await peer.stall()

        server = serve(script)
        subscriber = make_subscriber(server.port, activity_timeout=0.12, pong_timeout=0.01)
        await within(subscriber.connect())
        await pause(0.4)
        assert server.connections == 1

    @pytest_twisted.ensureDeferred
    async def test_ping_of_the_server_is_answered(self, serve, make_subscriber):
        answers = []

        async def script(peer):
            there = await WebSocketPeer.greet(peer)
            there.send("pusher:ping", {})
            there.ping()
            while len(answers) < 2:
                answers.append(type(await there.event()).__name__)
            await peer.stall()

        subscriber = make_subscriber(serve(script).port)
        await within(subscriber.connect())
        await until(lambda: sorted(answers) == ["Pong", "TextMessage"])

    @pytest_twisted.ensureDeferred
    async def test_answer_that_waits_while_the_process_stands_still_counts(
        self, serve, make_subscriber
    ):
        async def script(peer):
            there = await WebSocketPeer.greet(peer)
            await there.message()
            # To the socket itself: the transport would write with the reactor's next turn.
            peer.send, send = peer.transport.getHandle().send, peer.send
            there.send("pusher:pong", {})
            peer.send = send
            # Both ends live in this process: the answer waits in a socket meanwhile.
            time.sleep(0.3)
            await there.serve()

        server = serve(script)
        subscriber = make_subscriber(server.port, activity_timeout=0.1, pong_timeout=0.1)
        await within(subscriber.connect())
        await pause(0.5)
        assert (server.connections, subscriber.state) == (1, "connected")

    @pytest_twisted.ensureDeferred
    async def test_proxy_that_goes_silent_is_found(self, serve, server, make_subscriber):
        """Half open: TCP says nothing, and nothing arrives."""
        silent = []

        async def pass_on(peer):
            if peer.number == 1:
                send = peer.send
                peer.send = lambda data: None if silent else send(data)
            await relay(peer, server.port)

        relaying = serve(pass_on)
        subscriber = make_subscriber(relaying.port, activity_timeout=0.1, pong_timeout=0.1)
        told = Told(subscriber)
        first = await within(subscriber.connect())
        await within(subscriber.subscribe("private-room"))
        silent.append(True)
        await told.wait_for("pusher:subscription_succeeded", 2)
        assert subscriber.socket_id != first
        async with pusher_of(server.port) as pusher:
            await pusher.trigger("private-room", "e", 1)
        assert await told.wait_for("e") == [1]


class TestFrames:
    @pytest_twisted.ensureDeferred
    async def test_message_in_pieces_is_one_message(self, serve, make_subscriber):
        from wsproto.events import TextMessage

        async def script(peer):
            there = await WebSocketPeer.greet(peer)
            text = json.dumps({"event": "e", "data": "ü" * 1000})
            for start in range(0, len(text), 100):
                piece = text[start : start + 100]
                last = start + 100 >= len(text)
                there.write(TextMessage(data=piece, message_finished=last))
                await peer.pause(0.001)
            await there.serve()

        subscriber = make_subscriber(serve(script).port)
        told = Told(subscriber)
        await within(subscriber.connect())
        assert await told.wait_for("e") == ["ü" * 1000]

    @pytest.mark.parametrize(
        "frames",
        [
            b"\x82\x01x",  # binary
            b"\x83\x00",  # a frame of no known kind
            b"\x81\x02\xff\xff",  # no UTF-8
            b"\xc1\x00",  # compressed, which nobody asked for
            b"\x88\x01x",  # a close frame of one byte
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_broken_frame_ends_the_connection_and_another_follows(
        self, serve, make_subscriber, frames
    ):
        async def script(peer):
            await WebSocketPeer.greet(peer)
            peer.send(frames)
            await peer.stall()

        server = serve(in_turn(script, serve_well))
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        await until(lambda: subscriber.socket_id == "1.2")

    @pytest_twisted.ensureDeferred
    async def test_endless_message_ends_the_connection(
        self, serve, make_subscriber, monkeypatch
    ):
        monkeypatch.setattr(websocket, "MAX_MESSAGE", 1000)

        async def script(peer):
            await WebSocketPeer.greet(peer)
            peer.send(b"\x01\x7e\x03\xe8" + b"x" * 1000)
            peer.send(b"\x00\x7e\x03\xe8" + b"x" * 1000)
            await peer.stall()

        server = serve(in_turn(script, serve_well))
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        await until(lambda: subscriber.socket_id == "1.2")


class TestTheRoad:
    @pytest_twisted.ensureDeferred
    async def test_tls_with_a_policy_of_ones_own(self, serve, make_subscriber, tls):
        server = serve(serve_well, tls.server_context("localhost"))
        subscriber = make_subscriber(
            server.port, host="localhost", use_tls=True, tls_policy=tls.policy
        )
        await within(subscriber.connect())
        await subscriber.close()
        assert not server.peers

    @pytest_twisted.ensureDeferred
    async def test_certificate_nobody_knows_is_never_accepted(
        self, serve, make_subscriber, tls, log
    ):
        server = serve(serve_well, tls.server_context("localhost"))
        subscriber = make_subscriber(server.port, host="localhost", use_tls=True)
        connecting = subscriber.connect()
        await until(lambda: server.connections > 2)
        assert subscriber.state == "unavailable"
        await subscriber.close()
        with pytest.raises(ClosedError):
            await connecting

    @pytest_twisted.ensureDeferred
    async def test_policy_that_raises_fails_connect(self, make_subscriber, tls):
        @implementer(IPolicyForHTTPS)
        class Policy:
            def creatorForNetloc(self, hostname, port):
                raise ValueError("no")

        subscriber = make_subscriber(1, use_tls=True, tls_policy=Policy())
        with pytest.raises(ConfigurationError):
            await subscriber.connect()

    @pytest.mark.parametrize("use_tls", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_proxy_is_asked_to_connect(self, serve, make_subscriber, tls, use_tls):
        server = serve(serve_well, tls.server_context("127.0.0.1") if use_tls else None)
        heads = []

        async def proxy(peer):
            heads.append(await peer.head())
            if len(heads) == 1:
                peer.send(b"HTTP/1.1 407 No\r\n\r\n")
                return
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await relay(peer, server.port)

        url = f"http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:{serve(proxy).port}"
        options = {"tls_policy": tls.policy} if use_tls else {}
        subscriber = make_subscriber(server.port, http_proxy=url, use_tls=use_tls, **options)
        await within(subscriber.connect())
        assert heads[1].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % server.port)
        assert b"Proxy-Authorization: Basic " in heads[1]

    @pytest_twisted.ensureDeferred
    async def test_address_of_ipv6_is_reached(self, serve, make_subscriber):
        server = serve(serve_well, listen=False)
        server.listen(interface="::1")
        subscriber = make_subscriber(server.port, host="::1")
        await within(subscriber.connect())

    @pytest_twisted.ensureDeferred
    async def test_endpoint_that_raises_is_tried_again(self, make_subscriber, log):
        @implementer(IStreamClientEndpoint)
        class Broken:
            def connect(self, factory):
                raise ValueError("no way")

        subscriber = make_subscriber(1, endpoint=Broken())
        connecting = subscriber.connect()
        await until(lambda: log.text.count("no way") > 1)
        connecting.cancel()
        with pytest.raises(CancelledError):
            await connecting

    @pytest_twisted.ensureDeferred
    async def test_endpoint_stands_for_the_connection(self, serve, make_subscriber, tmp_path):
        from twisted.internet import reactor as installed

        reactor: Any = installed
        server = serve(serve_well)
        path = str(tmp_path / "socket")
        listening = reactor.listenUNIX(path, server)
        subscriber = make_subscriber(1, endpoint=UNIXClientEndpoint(reactor, path))
        await within(subscriber.connect())
        await subscriber.close()
        await listening.stopListening()


class TestClosing:
    @pytest_twisted.ensureDeferred
    async def test_close_says_goodbye(self, serve, make_subscriber):
        events = []

        async def script(peer):
            there = await WebSocketPeer.greet(peer)
            event: Any = await there.event()
            events.append(event)
            there.write(event.response())
            await peer.stall()

        subscriber = make_subscriber(serve(script).port)
        await within(subscriber.connect())
        await within(subscriber.close())
        assert events[0].code == 1000

    @pytest_twisted.ensureDeferred
    async def test_server_that_does_not_answer_the_goodbye_is_left_after_a_second(
        self, serve, make_subscriber, monkeypatch
    ):
        monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.05)

        async def script(peer):
            await WebSocketPeer.greet(peer)
            await peer.stall()

        server = serve(script)
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        first, second = subscriber.close(), subscriber.close()
        await within(first)
        await within(second)
        await until(lambda: not server.peers)

    @pytest_twisted.ensureDeferred
    async def test_cancelled_close_closes_at_once(self, serve, make_subscriber):
        async def script(peer):
            await WebSocketPeer.greet(peer)
            await peer.stall()

        server = serve(script)
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        closing_it = subscriber.close().addErrback(lambda _: None)
        closing_it.cancel()
        await within(subscriber.close(), 0.5)

    @pytest.mark.parametrize(
        "moment",
        ["looking up", "connecting", "shaking hands", "accepted", "connected", "authorizing"],
    )
    @pytest_twisted.ensureDeferred
    async def test_close_in_any_state_leaves_nothing(self, serve, make_subscriber, moment):
        cancelled = []

        async def script(peer):
            if moment == "accepted":
                await WebSocketPeer.accept(peer)
            if moment in ("connected", "authorizing"):
                await (await WebSocketPeer.greet(peer)).serve()
            await peer.stall()

        def authorizer(channel, socket_id):
            return Deferred(lambda _: cancelled.append(channel))

        server = serve(script)
        host = "localhost" if moment == "looking up" else "127.0.0.1"
        subscriber = make_subscriber(server.port, host=host, authorizer=authorizer)
        outcomes = []
        for operation in (subscriber.connect(), subscriber.subscribe("private-room")):
            operation.addBoth(outcomes.append)
        if moment in ("shaking hands", "accepted"):
            await until(lambda: server.connections)
            await pause(0.02)
        if moment in ("connected", "authorizing"):
            await until(lambda: subscriber.state == "connected")
        await within(subscriber.close())
        assert subscriber.state == "disconnected"
        assert outcomes[-1].check(ClosedError)
        if moment == "authorizing":
            assert cancelled == ["private-room"]
        for operation in (subscriber.connect(), subscriber.subscribe("room")):
            with pytest.raises(ClosedError):
                await operation

    @pytest_twisted.ensureDeferred
    async def test_close_between_two_attempts_leaves_nothing(self, serve, make_subscriber):
        async def refuse(peer):
            peer.reset()
            raise Gone

        slow = RetryPolicy(initial_delay=60, max_delay=60)
        server = serve(refuse)
        subscriber = make_subscriber(server.port, retry=slow)
        connecting = subscriber.connect()
        await until(lambda: server.connections == 2)
        await within(subscriber.close())
        with pytest.raises(ClosedError):
            await connecting

    @pytest_twisted.ensureDeferred
    async def test_close_before_connect(self):
        subscriber = Subscriber(KEY)
        await subscriber.close()
        assert subscriber.state == "disconnected"

    @pytest_twisted.ensureDeferred
    async def test_subscriber_that_reads_nothing_can_be_closed(
        self, serve, make_subscriber, monkeypatch
    ):
        monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.05)

        async def flood(peer):
            there = await WebSocketPeer.greet(peer)
            for _ in range(200):
                there.send("e", "x" * 10_000)
            peer.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            await peer.stall()

        server = serve(flood)
        subscriber = make_subscriber(server.port)
        await within(subscriber.connect())
        await within(subscriber.close())
        await until(lambda: not server.peers)


def test_trial_finds_a_clean_reactor_after_close_in_every_state(tmp_path):
    command = [sys.executable, "-m", "twisted.trial", f"--temp-directory={tmp_path}/trial"]
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [*command, "tests.integration.scripts.trial_subscriber"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "PASSED (successes=7)" in ended.stdout
