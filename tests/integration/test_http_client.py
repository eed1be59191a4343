"""``http_client=``: a treq client of the program's own, or treq's stub for tests."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from treq.client import HTTPClient
from treq.testing import RequestSequence, StringStubbingResource, StubTreq
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource

from tests.support.asserting import error_of
from tests.support.misbehaving import (
    OK,
    answering,
    in_turn,
    never_answer,
    read_and_close,
    reply,
)
from tests.support.waiting import until, within
from txpusher import (
    APIError,
    ClosedError,
    HTTPError,
    NotFoundError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
)

from .test_retries import free_port

FAST = RetryPolicy(max_retries=2, initial_delay=0.001)


class Recorder(Resource):
    """Answers every request with 200, and keeps them."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    def render(self, request):
        self.seen.append((request.method, request.path, request.content.read()))
        return b'{"ok": true}'


@pytest_twisted.async_yield_fixture
async def own_client(clean_reactor):
    """A treq client over a pool that is not the Pusher's, and that pool."""
    from twisted.internet import reactor

    pool = HTTPConnectionPool(reactor)
    yield HTTPClient(Agent(reactor, pool=pool, connectTimeout=0.3)), pool
    await pool.closeCachedConnections()


class TestStub:
    @pytest_twisted.ensureDeferred
    async def test_operations_reach_a_resource(self, connect):
        recorder = Recorder()
        pusher = connect(http_client=StubTreq(recorder), host="channels.example")
        assert await within(pusher.trigger("c", "e", {"x": 1})) == {"ok": True}
        assert await within(pusher.channels()) == {"ok": True}
        [(method, path, body), query] = recorder.seen
        assert (method, path) == (b"POST", b"/apps/3/events")
        assert json.loads(body)["data"] == '{"x":1}'
        assert query[:2] == (b"GET", b"/apps/3/channels")

    @pytest_twisted.ensureDeferred
    async def test_stub_gets_the_headers_of_the_client(self, connect):
        def respond(method, url, params, headers, data):
            assert len(params[b"auth_signature"]) == 1
            assert headers[b"Content-Type"] == [b"application/json"]
            assert headers[b"X-Pusher-Library"][0].startswith(b"txpusher ")
            return 200, {}, b"{}"

        stub = StubTreq(StringStubbingResource(respond))
        pusher = connect(http_client=stub, host="channels.example")
        assert await within(pusher.trigger("c", "e", "d")) == {}
        assert await within(pusher.trigger("c", "e", "d")) == {}

    @pytest_twisted.ensureDeferred
    async def test_error_status_of_a_stub_is_its_api_error(self, connect):
        stub = StubTreq(StringStubbingResource(lambda *request: (500, {}, b"broken")))
        pusher = connect(http_client=stub, host="channels.example")
        error = await error_of(pusher.trigger("c", "e", "d"), ServerError)
        assert error.body == "broken"
        assert error.maybe_delivered is True

    @pytest_twisted.ensureDeferred
    async def test_exhausted_stub_is_a_server_error(self, connect):
        """An exhausted sequence of treq.testing raises in the place of an answer."""
        failures = []
        stub = StubTreq(StringStubbingResource(RequestSequence([], failures.append)))
        pusher = connect(http_client=stub, host="channels.example")
        await error_of(pusher.trigger("c", "e", "d"), ServerError)
        assert len(failures) == 1


class TestOwnClient:
    @pytest_twisted.ensureDeferred
    async def test_close_leaves_connections_of_the_users_client_alone(
        self, serve, connect, own_client
    ):
        client, _ = own_client
        server = serve(answering(OK))
        pusher = connect(server, http_client=client)
        for _ in range(3):
            assert await within(pusher.trigger("c", "e", "d")) == {}
        assert server.connections == 1
        assert pusher.stats.open_connections == 0
        await within(pusher.close())
        assert len(server.peers) == 1
        another = connect(server, http_client=client)
        await within(another.trigger("c", "e", "d"))
        assert server.connections == 1
        assert all(r.signature == r.expected_signature() for r in server.requests)

    @pytest_twisted.ensureDeferred
    async def test_requests_over_the_users_client_are_bounded(self, serve, connect, own_client):
        client, _ = own_client
        server = serve(never_answer)
        pusher = connect(server, http_client=client, max_connections=2, timeout=60)
        operations = [pusher.trigger("c", "e", "d") for _ in range(5)]
        await until(lambda: len(server.requests) == 2)
        assert (pusher.stats.in_flight, pusher.stats.pending) == (2, 3)
        assert server.connections == 2
        closed = pusher.close(timeout=0.05)
        errors = [await error_of(operation, ClosedError) for operation in operations]
        assert [e.maybe_delivered for e in errors] == [True, True, False, False, False]
        await within(closed)

    @pytest_twisted.ensureDeferred
    async def test_refused_connection_of_the_users_client_was_not_delivered(
        self, connect, own_client
    ):
        client, _ = own_client
        pusher = connect(http_client=client, port=free_port(), retry=FAST)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
        assert error.maybe_delivered is False
        assert pusher.stats.sent == 3

    @pytest_twisted.ensureDeferred
    async def test_a_lost_connection_may_have_delivered(self, serve, connect, own_client):
        client, _ = own_client
        server = serve(in_turn(read_and_close, answering(OK)))
        pusher = connect(server, http_client=client, retry=FAST)
        error = await error_of(pusher.trigger("c", "e", "d"), HTTPError, server)
        assert error.maybe_delivered is True
        assert isinstance(error.original_error, Exception)
        assert await within(pusher.trigger("c", "e", "d")) == {}

    @pytest_twisted.ensureDeferred
    async def test_a_redirect_is_not_followed(self, serve, connect, own_client):
        client, _ = own_client
        elsewhere = serve(answering(OK))
        location = f"Location: http://127.0.0.1:{elsewhere.port}/"
        server = serve(answering(reply(302, "", location)))
        error = await error_of(connect(server, http_client=client).channels(), APIError)
        assert error.status == 302
        assert elsewhere.connections == 0

    @pytest_twisted.ensureDeferred
    async def test_a_timeout_ends_the_request(self, serve, connect, own_client):
        client, _ = own_client
        server = serve(never_answer)
        pusher = connect(server, http_client=client, timeout=0.2)
        error = await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError, server)
        assert error.maybe_delivered is True
        await until(lambda: not server.peers)

    @pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
    @pytest_twisted.ensureDeferred
    async def test_cancelled_operation_ends_the_request_of_the_users_client(
        self, serve, connect, own_client, sent
    ):
        async def stall(peer):
            await peer.request()
            peer.send(sent)
            await peer.stall()

        client, _ = own_client
        server = serve(stall)
        pusher = connect(server, http_client=client)
        operation = pusher.trigger("c", "e", "d")
        await until(lambda: server.requests)
        await server.peers[0].pause(0.05)
        operation.cancel()
        with pytest.raises(CancelledError):
            await operation
        await until(lambda: not server.peers)


class Answer:
    """What has the interface of a treq client, and one answer."""

    def __init__(self, answer):
        self._answer = answer
        self.requests = 0

    def request(self, method, url, **options):
        self.requests += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer()


def never_received() -> Deferred:
    deferred: Deferred = Deferred()
    deferred.errback(Failure(ResponseNeverReceived([Failure(RuntimeError("key=secret"))])))
    return deferred


@pytest.mark.parametrize("answer", [TypeError("no such option"), never_received])
@pytest_twisted.ensureDeferred
async def test_failure_of_an_http_client_arrives_through_the_deferred(connect, answer):
    client = Answer(answer)
    pusher = connect(http_client=client, port=1)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
    assert error.maybe_delivered is True
    assert client.requests == 1
    # Its text is not ours to vouch for.
    assert "key=secret" not in str(error)
    assert "no such option" not in str(error)


class TestOtherWaysToAnswer:
    """A client may be a wrapper that its program wrote."""

    @pytest_twisted.ensureDeferred
    async def test_a_coroutine_does_as_well(self, serve, connect, own_client):
        client, _ = own_client

        class Traced:
            async def request(self, *arguments, **options):
                response = await client.request(*arguments, **options)
                traced.append(response.code)
                return response

        traced = []
        server = serve(answering(OK, reply(404)))
        pusher = connect(server, http_client=Traced())
        assert await within(pusher.trigger("c", "e", "d")) == {}
        await error_of(pusher.trigger("c", "e", "d"), NotFoundError)
        assert traced == [200, 404]

    @pytest_twisted.ensureDeferred
    async def test_a_coroutine_can_be_cancelled_and_timed_out(self, connect):
        ended = []

        class Hanging:
            async def request(self, *arguments, **options):
                try:
                    await Deferred()
                finally:
                    ended.append(True)

        pusher = connect(http_client=Hanging(), port=1, timeout=0.05, max_connections=1)
        cancelled, late = (pusher.trigger("c", "e", "d") for _ in range(2))
        cancelled.cancel()
        with pytest.raises(CancelledError):
            await cancelled
        assert len(ended) == 1
        await error_of(late, RequestTimeoutError)
        assert len(ended) == 2
        assert pusher.stats.in_flight == 0

    @pytest.mark.parametrize("answer", [None, 7, "text", object()])
    @pytest_twisted.ensureDeferred
    async def test_value_that_is_no_response_is_an_http_error(self, connect, answer):
        pusher = connect(http_client=Answer(lambda: answer), port=1, max_connections=1)
        for _ in range(2):
            error = await error_of(pusher.trigger("c", "e", "d"), HTTPError)
            assert error.maybe_delivered is True
        assert pusher.stats.in_flight == 0
        assert await within(pusher.close()) is None

    @pytest_twisted.ensureDeferred
    async def test_a_body_that_never_begins_is_given_up_on(self, connect):
        class Response:
            code = 200
            headers = Headers()

            def deliverBody(self, protocol):
                """Do nothing."""

        pusher = connect(http_client=Answer(Response), port=1, timeout=0.05)
        await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)

    @pytest_twisted.ensureDeferred
    async def test_body_whose_transport_cannot_be_stopped_is_given_up_on(self, connect, log):
        class Response:
            code = 200
            headers = Headers()

            def deliverBody(self, protocol):
                protocol.makeConnection(object())

        pusher = connect(http_client=Answer(Response), port=1, timeout=0.05)
        await error_of(pusher.trigger("c", "e", "d"), RequestTimeoutError)
        [failure] = log.flush()
        assert "the HTTP client could not be stopped" in formatEvent(failure)


@pytest.mark.parametrize("names", [(), ("other.example",)], ids=["authority", "name"])
@pytest_twisted.ensureDeferred
async def test_a_refused_certificate_was_no_delivery(serve, connect, tls, own_client, names):
    policy = tls.policy if names else BrowserLikePolicyForHTTPS()
    from twisted.internet import reactor

    server = serve(answering(OK), tls=tls.server_context(*names))
    client = HTTPClient(Agent(reactor, policy))
    pusher = connect(server, http_client=client, use_tls=True, retry=FAST)
    error = await error_of(pusher.trigger("c", "e", "d"), HTTPError, server)
    assert "TLS failed" in str(error)
    assert error.maybe_delivered is False
    assert pusher.stats.sent == 1
    assert server.requests == []
