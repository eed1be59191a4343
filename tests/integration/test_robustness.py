"""
What may go wrong around a client, in code of the user's and in the system: it
is told of, and the client goes on.
"""

from __future__ import annotations

import base64
import json
import time
from decimal import Decimal
from email.utils import formatdate
from enum import Enum
from threading import Thread

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, gatherResults
from twisted.logger import formatEvent
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from tests.support.asserting import error_of, kinds, outcomes_of
from tests.support.credentials import KEY, PROXY_PASSWORD, PROXY_USER
from tests.support.misbehaving import OK, answering, in_turn, never_answer, reply
from tests.support.waiting import until, within
from txpusher import (
    AuthenticationError,
    BatchPublisher,
    ClosedError,
    ConfigurationError,
    HTTPError,
    ProxyAuthenticationError,
    Pusher,
    RetryPolicy,
)

ONCE = RetryPolicy(max_retries=0)
BASIC = base64.b64encode(f"{PROXY_USER}:{PROXY_PASSWORD}".encode()).decode()


@implementer(IPolicyForHTTPS)
class BrokenOnce:
    """A policy that fails the first time, and then is *policy*."""

    def __init__(self, policy):
        self._policy = policy
        self.asked = 0

    def creatorForNetloc(self, hostname, port):
        self.asked += 1
        if self.asked == 1:
            raise OSError("client.pem: no such file")
        return self._policy.creatorForNetloc(hostname, port)


class TestTLSThatCannotBeSetUp:
    @pytest.mark.parametrize("host", ["my_host.example", "-a.example"])
    @pytest_twisted.ensureDeferred
    async def test_a_host_that_cannot_be_verified_is_told_through_the_deferred(
        self, connect, host
    ):
        pusher = connect(host=host, use_tls=True, max_connections=1)
        for operation in (pusher.trigger("c", "e", "d"), pusher.channels()):
            error = await error_of(operation, ConfigurationError)
            assert "host" in str(error)
            assert error.maybe_delivered is False
        publisher = BatchPublisher(pusher)
        await error_of(publisher.trigger("c", "e", "d"), ConfigurationError)
        await within(publisher.close())
        assert (pusher.stats.pending, pusher.stats.in_flight) == (0, 0)
        assert pusher.stats.open_connections == 0
        assert await within(pusher.close(timeout=1)) is None
        await error_of(pusher.trigger("c", "e", "d"), ClosedError)

    @pytest_twisted.ensureDeferred
    async def test_a_policy_that_raises_may_work_the_next_time(self, serve, connect, tls):
        server = serve(answering(OK), tls.server_context())
        policy = BrokenOnce(tls.policy)
        pusher = connect(server, use_tls=True, tls_policy=policy, max_connections=1)
        error = await error_of(pusher.trigger("c", "e", "d"), ConfigurationError)
        assert "tls_policy" in str(error)
        assert "client.pem: no such file" in str(error)
        assert (pusher.stats.pending, pusher.stats.in_flight) == (0, 0)
        assert server.connections == 0
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert await within(pusher.close()) is None

    @pytest_twisted.ensureDeferred
    async def test_a_client_that_never_had_a_policy_closes(self, connect, tls):
        pusher = connect(use_tls=True, tls_policy=BrokenOnce(tls.policy))
        await error_of(pusher.trigger("c", "e", "d"), ConfigurationError)
        assert await within(pusher.close()) is None


class TestAClockThatRaises:
    @pytest.mark.parametrize("worked_before", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_clock_that_raises_sends_nothing_and_frees_its_connection(
        self, serve, connect, worked_before
    ):
        works = [worked_before]

        def clock():
            if not works[0]:
                raise OSError("no clock")
            return time.time()

        server = serve(answering(OK))
        pusher = connect(server, clock=clock, max_connections=1, retry=ONCE)
        if worked_before:
            await within(pusher.trigger("c", "e", "before"))
        works[0] = False
        for _ in range(2):
            error = await error_of(pusher.trigger("c", "e", "never"), HTTPError)
            assert "the request could not be signed (OSError)" in str(error)
            assert error.maybe_delivered is False
            assert type(error.original_error) is OSError
        assert pusher.stats.in_flight == 0
        assert pusher.stats.open_connections <= 1
        works[0] = True
        assert await within(pusher.trigger("c", "e", "after")) == {}
        assert await within(pusher.close()) is None
        assert [b"never" in body for body in server.bodies] == [False] * (1 + worked_before)

    @pytest_twisted.ensureDeferred
    async def test_clock_that_raises_after_the_reply_changes_no_outcome(
        self, serve, connect, log
    ):
        times = []

        def clock():
            times.append(time.time())
            if len(times) == 2:
                raise OSError("no clock")
            return times[-1]

        server = serve(answering(reply(401, "wrong", f"Date: {formatdate(0, usegmt=True)}")))
        pusher = connect(server, clock=clock, retry=ONCE)
        await error_of(pusher.trigger("c", "e", "d"), AuthenticationError)
        [failure] = log.flush()
        assert "the clock has failed" in formatEvent(failure)

    @pytest_twisted.ensureDeferred
    async def test_clock_may_return_another_kind_of_number(self, serve, connect):
        server = serve(answering(reply(401, "wrong", f"Date: {formatdate(usegmt=True)}")))
        pusher = connect(server, clock=lambda: Decimal(1), retry=ONCE)
        error = await error_of(pusher.trigger("c", "e", "d"), AuthenticationError)
        assert "the local clock is" in str(error)

    @pytest_twisted.ensureDeferred
    async def test_client_with_a_clock_that_raises_can_be_closed(self, serve, connect):
        def clock():
            raise OSError("no clock")

        pusher = connect(serve(answering(OK)), clock=clock, max_connections=1, retry=ONCE)
        operations = [pusher.trigger("c", "e", "d") for _ in range(3)]
        outcomes = outcomes_of(operations)
        operations[0].addCallback(lambda _: operations[1].cancel())
        await until(lambda: all(outcomes))
        assert kinds(outcomes) == [[HTTPError], [CancelledError], [HTTPError]]
        assert await within(pusher.close(timeout=5)) is None
        assert pusher.stats.open_connections == 0


@pytest_twisted.ensureDeferred
async def test_a_lookup_whose_thread_cannot_start_does_not_stop_the_next(
    serve, connect, monkeypatch
):
    started = []

    class FailsOnce(Thread):
        def start(self):
            started.append(self)
            if len(started) == 1:
                raise RuntimeError("can't start new thread")
            super().start()

    monkeypatch.setattr("txpusher._http.host.Thread", FailsOnce)
    server = serve(answering(OK))
    pusher = connect(server, host="localhost", max_connections=1, retry=ONCE)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert error.maybe_delivered is False
    assert pusher.stats.open_connections == 0
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert len(started) == 2


@pytest_twisted.ensureDeferred
async def test_hundreds_of_connections_closed_unnoticed_are_not_a_failure(serve, connect):
    count = 400
    server = serve(in_turn(*[never_answer] * count, answering(OK)))
    pusher = connect(server, max_connections=count, timeout=30, connect_timeout=30, retry=ONCE)
    operations = []

    def all_have_come():
        return len(server.requests) == len(operations)

    # Not more at once than the queue of a listening socket holds.
    while len(operations) < count:
        operations += [pusher.trigger("c", "e", "d") for _ in range(100)]
        await until(all_have_come)
    for peer in server.peers:
        peer.send(OK)
    await within(gatherResults(operations))
    assert pusher.stats.open_connections == count
    for peer in server.peers:
        peer.hang_up()
    time.sleep(0.02)
    assert await within(pusher.trigger("c", "e", "d")) == {}
    assert (server.connections, len(server.requests)) == (count + 1, count + 1)
    # Each signature is looked for in all that was logged: a few will do.
    del server.requests[:-5]


class User(str, Enum):
    ALICE = "alice"


@pytest_twisted.ensureDeferred
async def test_a_user_id_that_is_an_enum_stands_for_its_value(serve, connect):
    server = serve(answering(OK))
    pusher = connect(server)
    await within(pusher.send_to_user(User.ALICE, "e", "d"))
    await within(pusher.terminate_user_connections(User.ALICE))
    sent, terminated = server.requests
    assert json.loads(sent.body)["channels"] == ["#server-to-user-alice"]
    assert terminated.path == "/apps/3/users/alice/terminate_connections"
    for request in server.requests:
        assert request.signature == request.expected_signature()


@pytest.mark.parametrize("signature", [None, "wrong"])
def test_showing_a_webhook_logs_nothing(log, signature):
    hook = Pusher("3", KEY, "secret").webhook(key=KEY, signature=signature, body=b"{}")
    assert repr(hook) == "<WebHook invalid, 2 bytes>"
    assert log.events == []
    assert hook.is_valid is False
    assert hook.is_valid is False
    assert len(log.events) == 1
    assert repr(hook) == "<WebHook invalid, 2 bytes>"
    assert len(log.events) == 1


class TestAnswersToCONNECT:
    @pytest.fixture
    def through(self, serve, connect):
        """Makes a proxy that answers each CONNECT so, and a client that uses it."""

        def make(answer):
            async def script(peer):
                await peer.head()
                peer.send(answer)
                await peer.stall()

            proxy = serve(script)
            url = f"http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:{proxy.port}"
            return connect(
                host="channels.example",
                use_tls=True,
                http_proxy=url,
                max_connections=1,
                retry=ONCE,
            )

        return make

    @pytest.mark.parametrize(
        ("status", "kind"), [(403, HTTPError), (407, ProxyAuthenticationError)]
    )
    @pytest_twisted.ensureDeferred
    async def test_the_words_of_a_refusal_are_not_quoted(self, through, log, status, kind):
        words = f"no, {BASIC} or {PROXY_PASSWORD} will not do"
        pusher = through(f"HTTP/1.1 {status} {words}\r\n\r\n".encode())
        error = await error_of(pusher.trigger("c", "e", "d"), kind)
        assert str(status) in str(error)
        cause = getattr(error, "original_error", None)
        for text in (f"{error} {error!r} {cause} {cause!r}", log.text):
            assert "will not do" not in text
            assert BASIC not in text
        await until(lambda: not pusher.stats.open_connections)

    @pytest.mark.parametrize(
        "status",
        [b"\xb200", "٢٠٠".encode(), b"2" + b"0" * 4999, b"20", b"2000", b"-200", b""],
        ids=["superscript", "arabic", "5000 digits", "two", "four", "negative", "none"],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_status_that_is_no_three_digits_is_not_http(self, through, status):
        pusher = through(b"HTTP/1.1 " + status + b" x\r\n\r\n")
        for _ in range(2):
            error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
            assert "a reply that is not HTTP" in str(error)
            assert error.maybe_delivered is False
        await until(lambda: not pusher.stats.open_connections)
        assert await within(pusher.close()) is None


@pytest_twisted.ensureDeferred
async def test_a_decoded_reply_that_raises_is_an_error_of_the_operation(serve, connect):
    class Odd(dict):
        def get(self, *arguments):
            raise LookupError("odd")

    server = serve(answering(reply(200, '{"x": 1}')))
    pusher = connect(server, json_loads=lambda text: Odd(), max_connections=1)
    for operation, maybe in ((pusher.trigger("c", "e", "d"), True), (pusher.channels(), False)):
        error = await error_of(operation, HTTPError)
        assert "status 200 is not a JSON object" in str(error)
        assert isinstance(error.original_error, LookupError)
        assert error.maybe_delivered is maybe
