"""Every blocking operation, in threads beside the reactor of this process."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

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

from .asserting import error_of, within
from .credentials import APP_ID, KEY, SECRET
from .misbehaving import OK, answering, read_and_close, reply
from .observing import client_sockets

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
    async def test_each_returns_what_the_deferred_fires_with(
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
    async def test_each_raises_its_error(self, serve, blocking, name):
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
    async def test_each_is_refused_in_the_reactor_thread(self, serve, blocking, name):
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


class TestWithoutIO:
    """These work in every thread, this one included."""

    def test_they_give_what_the_client_gives(self):
        pusher = Pusher(APP_ID, KEY, SECRET)
        client = BlockingPusher(APP_ID, KEY, SECRET)
        auth = client.authenticate("presence-c", "1.2", {"user_id": "1"})
        assert auth == pusher.authenticate("presence-c", "1.2", {"user_id": "1"})
        assert auth == client["presence-c"].authenticate("1.2", {"user_id": "1"})
        user = client.authenticate_user("1.2", {"id": "1"})
        assert user == pusher.authenticate_user("1.2", {"id": "1"})
        assert client.webhook(key=KEY, signature="", body=b"{}").is_valid is False

    def test_ways_to_make_one(self, monkeypatch):
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

    def test_what_is_refused(self):
        with pytest.raises(ConfigurationError, match="secret"):
            BlockingPusher(APP_ID, KEY, "")
        with pytest.raises(InvalidRequestError):
            BlockingPusher(APP_ID, KEY, SECRET).channel("no such name")
