"""Every blocking operation, in threads beside the reactor of this process."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import textwrap
import threading

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.support.asserting import error_of
from tests.support.credentials import APP_ID, KEY, SECRET
from tests.support.misbehaving import OK, answering, read_and_close, reply
from tests.support.observing import client_sockets
from tests.support.waiting import PATIENCE, within
from txpusher import (
    BlockingCallError,
    BlockingPusher,
    ClosedError,
    ConfigurationError,
    Event,
    InvalidRequestError,
    NotFoundError,
    Pusher,
)

CALLS = {
    "trigger": (
        lambda b: b.trigger(["a", "b"], "e", 1, socket_id="1.2", info="user_count"),
        {},
    ),
    "trigger_batch": (lambda b: b.trigger_batch([Event("c", "e", "d")]), {}),
    "send_to_user": (lambda b: b.send_to_user("zoë", "e", "d"), {}),
    "channels": (lambda b: b.channels("presence-", info=["user_count"]), {}),
    "channel_info": (lambda b: b.channel_info("c", info="cache"), {}),
    "channel_users": (lambda b: b.channel_users("presence-c"), {}),
    "terminate": (lambda b: b.terminate_user_connections("1"), {}),
    "get": (lambda b: b.get("/channels", {"q": "x"}), {}),
    "post": (lambda b: b.post("/events", {"name": "x"}), {}),
    "channel trigger": (lambda b: b["c"].trigger("e", "d", socket_id="1.2"), {}),
    "channel trigger_quietly": (lambda b: b["c"].trigger_quietly("e", "d"), None),
    "channel info": (lambda b: b.channel("c").info("cache"), {}),
    "channel users": (lambda b: b["presence-c"].users(), []),
}


@pytest.fixture
def blocking(connect):
    """Makes a blocking client; its connections are closed after the test."""
    return lambda server, **options: BlockingPusher.wrap(connect(server, **options))


class TestOperations:
    @pytest.mark.parametrize("name", CALLS)
    @pytest_twisted.ensureDeferred
    async def test_blocking_operation_returns_the_value_of_the_deferred(
        self, serve, blocking, connect, name
    ):
        call, value = CALLS[name]
        server = serve(answering(OK))
        client = blocking(server)
        assert await within(deferToThread(call, client)) == value
        # The same operation of the client that it wraps sends the same.
        await within(call(connect(server)))
        one, other = server.requests
        assert (one.method, one.path, one.body) == (other.method, other.path, other.body)
        assert one.signature == one.expected_signature()

    @pytest.mark.parametrize("name", CALLS)
    @pytest_twisted.ensureDeferred
    async def test_blocking_operation_raises_the_error_of_the_deferred(
        self, serve, blocking, name
    ):
        call, _ = CALLS[name]
        server = serve(answering(reply(404, "no such app")))
        operation = deferToThread(call, blocking(server))
        if "quietly" in name:
            assert await within(operation) is None
        else:
            error = await error_of(operation, NotFoundError)
            assert "no such app" in str(error)

    @pytest.mark.parametrize("name", CALLS)
    @pytest_twisted.ensureDeferred
    async def test_blocking_operation_is_refused_in_the_reactor_thread(
        self, serve, blocking, name
    ):
        call, _ = CALLS[name]
        server = serve(answering(OK))
        with pytest.raises(BlockingCallError, match="reactor thread"):
            call(blocking(server))
        assert server.connections == 0

    @pytest_twisted.ensureDeferred
    async def test_close_waits_for_the_connections(self, serve, blocking):
        server = serve(answering(OK))
        client = blocking(server)
        await within(deferToThread(client.trigger, "c", "e", "d"))
        assert client.stats.open_connections == 1
        assert await within(deferToThread(client.close)) is None
        assert client_sockets(server.port) == 0
        await error_of(deferToThread(client.trigger, "c", "e", "d"), ClosedError)
        assert await within(deferToThread(client.close, 1.0)) is None

    @pytest_twisted.ensureDeferred
    async def test_an_error_can_be_raised_again_and_again(self, serve, blocking):
        server = serve(read_and_close)
        client = blocking(server)

        def twice():
            errors = []
            for _ in range(2):
                with pytest.raises(Exception, match="POST /apps/3/events") as caught:
                    client.trigger("c", "e", "d")
                errors.append(caught.value)
            return errors

        first, second = await within(deferToThread(twice))
        assert first is not second
        assert (first.maybe_delivered, second.maybe_delivered) == (True, True)

    @pytest_twisted.ensureDeferred
    async def test_a_refused_argument_is_raised(self, serve, blocking):
        server = serve(answering(OK))
        operation = deferToThread(blocking(server).trigger, "no such name", "e", "d")
        await error_of(operation, InvalidRequestError)
        assert server.connections == 0


class TestArguments:
    """They are read, checked and encoded in the thread that calls."""

    @pytest_twisted.ensureDeferred
    async def test_data_bound_to_the_callers_thread_can_be_encoded(self, serve, blocking):
        def publish():
            with contextlib.closing(sqlite3.connect(":memory:")) as database:
                rows = database.execute("VALUES ('a'), ('b')")
                return client.trigger_batch(Event("c", "e", row[0]) for row in rows)

        server = serve(answering(OK))
        client = blocking(server)
        assert await within(deferToThread(publish)) == {}
        assert len(server.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_reading_may_itself_be_a_blocking_call(self, serve, blocking):
        server = serve(answering(reply(200, '{"channels": {"a": {}, "b": {}}}')))
        client = blocking(server)
        operation = deferToThread(
            lambda: client.trigger((name for name in client.channels()["channels"]), "e", "d")
        )
        await within(operation)
        assert [request.method for request in server.requests] == ["GET", "POST"]
        assert b'"channels":["a","b"]' in server.requests[1].body

    @pytest_twisted.ensureDeferred
    async def test_data_is_encoded_there(self, serve, blocking):
        threads = []

        def dumps(value):
            threads.append(threading.get_ident())
            return "{}"

        def publish():
            client.trigger("c", "e", {})
            client["c"].trigger("e", {})
            client["c"].trigger_quietly("e", {})
            return threading.get_ident()

        client = blocking(serve(answering(OK)), json_dumps=dumps)
        assert set(threads) | {await within(deferToThread(publish))} == set(threads)
        assert len(set(threads)) == 1

    def test_refused_argument_starts_no_reactor(self):
        program = """
            from txpusher import BlockingPusher, InvalidRequestError
            import sys, threading
            pusher = BlockingPusher("3", "k", "s")
            for refused in (
                lambda: pusher.trigger("no such name", "e", "d"),
                lambda: pusher["c"].trigger("", "d"),
                lambda: pusher.channel_info("no such name"),
            ):
                try:
                    refused()
                except InvalidRequestError:
                    continue
                sys.exit("it was not refused")
            assert threading.active_count() == 1
            assert "twisted.internet.reactor" not in sys.modules
        """
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=PATIENCE
        )

    def test_wrap_refuses_value_that_is_no_pusher(self):
        client = BlockingPusher(APP_ID, KEY, SECRET)
        for wrong, shown in ((client, "the BlockingPusher"), (None, "None")):
            with pytest.raises(ConfigurationError, match=f"must be a Pusher, not {shown}"):
                BlockingPusher.wrap(wrong)


class TestWithoutIO:
    """These work in every thread, this one included."""

    def test_operations_without_io_return_the_clients_values(self):
        pusher = Pusher(APP_ID, KEY, SECRET)
        client = BlockingPusher(APP_ID, KEY, SECRET)
        auth = client.authenticate("presence-c", "1.2", {"user_id": "1"})
        assert auth == pusher.authenticate("presence-c", "1.2", {"user_id": "1"})
        assert auth == client["presence-c"].authenticate("1.2", {"user_id": "1"})
        user = client.authenticate_user("1.2", {"id": "1"})
        assert user == pusher.authenticate_user("1.2", {"id": "1"})
        assert client.webhook(key=KEY, signature="", body=b"{}").is_valid is False

    def test_blocking_pusher_is_made_in_each_documented_way(self, monkeypatch):
        url = f"https://{KEY}:{SECRET}@channels.example:4430/apps/{APP_ID}"
        monkeypatch.setenv("PUSHER_URL", url)
        monkeypatch.setenv("OTHER_URL", url)
        pusher = Pusher.from_url(url)
        for client in (
            BlockingPusher.from_url(url),
            BlockingPusher.from_env(),
            BlockingPusher.from_env("OTHER_URL"),
            BlockingPusher.wrap(pusher),
        ):
            assert client.config == pusher.config
            assert type(client) is BlockingPusher
            assert repr(client) == "<BlockingPusher app 3 on channels.example:4430>"
        assert repr(BlockingPusher.wrap(pusher)["c"]) == "<BlockingChannel c>"

    def test_bad_settings_and_channel_names_are_refused(self):
        with pytest.raises(ConfigurationError, match="secret"):
            BlockingPusher(APP_ID, KEY, "")
        with pytest.raises(InvalidRequestError):
            BlockingPusher(APP_ID, KEY, SECRET).channel("no such name")
