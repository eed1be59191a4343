"""The module-level functions, the client behind them, and what it sends."""

from __future__ import annotations

import json
from email.utils import formatdate
from urllib.parse import urlsplit

import pytest
from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.web.client import Agent

import txpusher
from tests.support.credentials import KEY, SECRET
from txpusher import AuthenticationError, Event, InvalidRequestError, Pusher
from txpusher._protocol.signing import request_signature

from .helpers import error_of, misconfiguration, refusal, result_of

URL = f"https://{KEY}:{SECRET}@example.com/apps/3"
NOW = 1353088179


class Server:
    """An HTTP server in memory: records each request, gives one answer to all."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.headers: dict[bytes, list[bytes]] = {}
        self.answer: tuple[int, bytes] = (200, b"{}")
        self.client = StubTreq(StringStubbingResource(self._respond))

    def _respond(self, method, url, params, headers, data):
        query = {name.decode(): value.decode() for name, [value] in params.items()}
        self.requests.append((method.decode(), urlsplit(url).path, query, data))
        self.headers = headers
        status, body = self.answer
        return status, {b"Date": formatdate(NOW, usegmt=True).encode()}, body


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def pusher(server):
    return Pusher.from_url(URL, **stubbed(server))


@pytest.fixture(autouse=True)
def no_default(monkeypatch):
    monkeypatch.delenv("PUSHER_URL", raising=False)
    monkeypatch.setattr("txpusher._default._default", None)


def stubbed(server):
    return {"http_client": server.client, "reactor": Clock(), "clock": lambda: NOW + 0.9}


@pytest.fixture
def default(server):
    return txpusher.configure("3", KEY, SECRET, host="example.com", **stubbed(server))


OPERATIONS = [
    ("trigger", ("a", "e", "x"), "POST", "/events"),
    ("trigger_batch", ([Event("a", "e", "x")],), "POST", "/batch_events"),
    ("send_to_user", ("7", "e", "x"), "POST", "/events"),
    ("channels", ("presence-", "user_count"), "GET", "/channels"),
    ("channel_info", ("a", "user_count"), "GET", "/channels/a"),
    ("channel_users", ("presence-a",), "GET", "/channels/presence-a/users"),
    ("terminate_user_connections", ("7",), "POST", "/users/7/terminate_connections"),
    ("get", ("/x", {"p": "1"}), "GET", "/x"),
    ("post", ("/x", {"p": "1"}), "POST", "/x"),
]
OPERATION = pytest.mark.parametrize(("name", "arguments", "method", "path"), OPERATIONS)


class TestDefaultClient:
    @OPERATION
    def test_module_function_calls_the_operation_of_the_default_client(
        self, server, default, name, arguments, method, path
    ):
        server.answer = (200, b'{"ok":true}')
        assert result_of(getattr(txpusher, name)(*arguments)) == {"ok": True}
        assert result_of(getattr(default, name)(*arguments)) == {"ok": True}
        assert server.requests[0] == server.requests[1]
        assert server.requests[0][:2] == (method, f"/apps/3{path}")

    def test_options_of_a_trigger_are_passed_on(self, server, default):
        result_of(txpusher.trigger(["a"], "e", "x", socket_id="1.2", info="user_count"))
        body = json.loads(server.requests[0][3])
        assert (body["socket_id"], body["info"]) == ("1.2", "user_count")

    def test_default_client_is_the_configured_client(self, default):
        assert txpusher.default_client() is default
        other = txpusher.configure("4", "k", "s")
        assert txpusher.default_client() is other is not default

    def test_malformed_settings_leave_the_earlier_default_client(self, default):
        assert "secret is missing" in misconfiguration(txpusher.configure, "3", KEY, "")
        assert txpusher.default_client() is default

    def test_default_client_is_made_once_from_the_environment(self, monkeypatch):
        monkeypatch.setenv("PUSHER_URL", URL)
        client = txpusher.default_client()
        assert (client.config.app_id, client.config.host) == ("3", "example.com")
        assert txpusher.default_client() is client

    def test_configuration_wins_over_the_environment(self, monkeypatch, default):
        monkeypatch.setenv("PUSHER_URL", "https://k:s@other/apps/4")
        assert txpusher.default_client() is default

    @OPERATION
    def test_missing_configuration_arrives_through_the_deferred(
        self, name, arguments, method, path
    ):
        error = error_of(getattr(txpusher, name)(*arguments))
        assert isinstance(error, txpusher.ConfigurationError)
        assert "PUSHER_URL is missing" in str(error)

    @pytest.mark.parametrize(
        ("function", "arguments"),
        [
            ("default_client", ()),
            ("authenticate", ("private-a", "1.2")),
            ("authenticate_user", ("1.2", {"id": "7"})),
            ("webhook", ()),
            ("channel", ("a",)),
        ],
    )
    def test_missing_configuration_is_raised_by_functions_without_io(self, function, arguments):
        message = misconfiguration(getattr(txpusher, function), *arguments)
        assert "PUSHER_URL is missing" in message

    def test_answers_subscribers(self, default):
        member = {"user_id": "7"}
        assert txpusher.authenticate("presence-a", "1.2", member) == default.authenticate(
            "presence-a", "1.2", member
        )
        assert txpusher.authenticate_user("1.2", {"id": "7"}) == default.authenticate_user(
            "1.2", {"id": "7"}
        )

    def test_reads_webhooks(self, default):
        options = {"key": "k", "signature": "00", "body": "x", "content_type": "text/plain"}
        hook = txpusher.webhook(**options, extra_tokens=[("k", "s")])
        assert (hook.key, hook.signature, hook.is_valid) == ("k", "00", False)

    def test_gives_channels(self, server, default):
        assert repr(txpusher.channel("a")) == "<Channel a>"
        result_of(txpusher.channel("a").trigger("e", "x"))
        assert json.loads(server.requests[0][3])["channels"] == ["a"]

    def test_close_closes_the_default_client_and_the_next_operation_makes_another(
        self, monkeypatch, default
    ):
        monkeypatch.setenv("PUSHER_URL", URL)
        assert result_of(txpusher.close()) is None
        assert isinstance(error_of(default.trigger("a", "e", "x")), txpusher.ClosedError)
        assert txpusher.default_client() is not default

    def test_close_without_a_default_client_succeeds(self):
        assert result_of(txpusher.close()) is None


class TestWire:
    def test_request_is_signed_as_of_now(self, server, pusher):
        result_of(pusher.trigger("project-3", "foo", {"some": "data"}))
        [(method, path, query, body)] = server.requests
        assert body == (
            b'{"name":"foo","channels":["project-3"],"data":"{\\"some\\":\\"data\\"}"}'
        )
        assert (method, path, query) == (
            "POST",
            "/apps/3/events",
            {
                "auth_key": KEY,
                "auth_timestamp": str(NOW),
                "auth_version": "1.0",
                "body_md5": "ec365a775a4cd0599faeb73354201b6f",
                "auth_signature": (
                    "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
                ),
            },
        )

    def test_query_is_escaped_on_the_wire_and_signed_unescaped(self, server, pusher):
        value = "é&a=b c%20+/?#;"
        result_of(pusher.get("/x", {"p": value}))
        [(method, path, query, _)] = server.requests
        signature = query.pop("auth_signature")
        assert query["p"] == value
        assert signature == request_signature(SECRET, method, path, query)

    def test_headers_have_the_user_agent_and_the_media_type(self, server, pusher):
        result_of(pusher.trigger("a", "e", "x"))
        headers = {name.lower(): values for name, values in server.headers.items()}
        name = txpusher.__version__.encode()
        assert headers[b"x-pusher-library"] == [b"txpusher " + name]
        assert headers[b"user-agent"] == [b"txpusher/" + name]
        assert headers[b"content-type"] == [b"application/json"]

    def test_path_prefix_is_sent_and_not_signed(self, server):
        pusher = Pusher("3", KEY, SECRET, host="h", path_prefix="pre/fix", **stubbed(server))
        result_of(pusher.get("/x"))
        [(_, path, query, _)] = server.requests
        signature = query.pop("auth_signature")
        assert path == "/pre/fix/apps/3/x"
        assert signature == request_signature(SECRET, "GET", "/apps/3/x", query)

    def test_key_is_escaped(self, server):
        result_of(Pusher("3", "k&é=", "s", host="h", **stubbed(server)).get("/x"))
        assert server.requests[0][2]["auth_key"] == "k&é="


class TestStats:
    def test_stats_count_attempts_and_outcomes(self, server, pusher):
        result_of(pusher.trigger("a", "e", "x"))
        server.answer = (400, b"")
        error_of(pusher.trigger("a", "e", "x"))
        assert pusher.stats == txpusher.Stats(
            pending=0,
            in_flight=0,
            open_connections=0,
            sent=2,
            succeeded=1,
            failed=1,
            retried=0,
        )


class TestFailures:
    def test_error_of_the_server_arrives_without_secrets(self, server, pusher):
        signature = "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        server.answer = (401, f"Invalid signature: {signature}, {SECRET}".encode())
        error = error_of(pusher.trigger("a", "e", "x"))
        assert isinstance(error, AuthenticationError)
        assert str(error) == (
            "POST /apps/3/events: status 401: Invalid signature: [redacted], [redacted]"
        )

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("trigger", ("a b", "e", "x")),
            ("trigger", ("a", "", "x")),
            ("trigger", ("a", "e", {1})),
            ("trigger_batch", ([],)),
            ("send_to_user", ("", "e", "x")),
            ("channels", (None, 7)),
            ("channel_info", ("a b",)),
            ("channel_users", ("a b",)),
            ("terminate_user_connections", ("",)),
            ("get", ("x",)),
            ("post", ("/x", [1])),
        ],
    )
    def test_refused_argument_arrives_through_the_deferred(
        self, server, pusher, default, name, arguments
    ):
        for operation in (getattr(pusher, name), getattr(txpusher, name)):
            error = error_of(operation(*arguments))
            assert isinstance(error, InvalidRequestError)
            assert error.maybe_delivered is False
        assert server.requests == []

    def test_missing_encryption_key_arrives_through_the_deferred(self, server, pusher):
        error = error_of(pusher.trigger("private-encrypted-a", "e", "x"))
        assert isinstance(error, txpusher.ConfigurationError)
        assert server.requests == []

    @pytest.mark.parametrize("name", ["trigger", "trigger_batch"])
    def test_iterable_that_fails_arrives_through_the_deferred(self, pusher, name):
        def broken():
            yield "a" if name == "trigger" else Event("a", "e", "x")
            raise LookupError("the database is gone")

        rest = ("e", "x") if name == "trigger" else ()
        error = error_of(getattr(pusher, name)(broken(), *rest))
        assert isinstance(error, InvalidRequestError)
        assert "an argument could not be read: LookupError" in str(error)
        assert isinstance(error.__cause__, LookupError)
        assert error.maybe_delivered is False

    def test_value_whose_repr_fails_arrives_through_the_deferred(self, pusher):
        class Unspeakable:
            def __repr__(self) -> str:
                raise LookupError("no repr")

        assert error_of(pusher.trigger(Unspeakable(), "e", "x"))

    @pytest.mark.parametrize("name", ["clock", "on_attempt"])
    def test_hook_that_is_not_callable_is_refused(self, name):
        message = misconfiguration(Pusher, "3", "k", "s", **{name: 7})
        assert message == f"{name} must be callable, not the int 7"

    @pytest.mark.parametrize("reactor", [7, object])
    def test_reactor_that_is_none_of_twisteds_is_refused(self, reactor):
        message = misconfiguration(Pusher, "3", "k", "s", reactor=reactor)
        assert message.startswith("reactor must be one of Twisted's, not ")

    def test_http_client_is_no_agent(self):
        message = misconfiguration(Pusher, "3", "k", "s", http_client=Agent(Clock()))
        assert "must be a treq client, not an agent" in message

    @pytest.mark.parametrize("client", [7, pytest])
    def test_http_client_can_send_requests(self, client):
        message = misconfiguration(Pusher, "3", "k", "s", http_client=client)
        assert message.startswith("http_client must be a treq client, not ")


class TestChannel:
    def test_channel_is_returned_by_call_and_by_index(self, pusher):
        assert pusher["a"].name == pusher.channel("a").name == "a"

    def test_channel_of_a_user_is_a_channel(self, pusher):
        assert pusher["#server-to-user-7"].name == "#server-to-user-7"

    @pytest.mark.parametrize("name", ["", "a b", None, "x" * 201])
    def test_bad_name_is_refused_at_once(self, pusher, name):
        assert "channel name" in refusal(pusher.channel, name)

    def test_channel_operations_send_what_the_client_sends(self, server, pusher):
        channel = pusher["presence-a"]
        for ours, theirs in [
            (
                channel.trigger("e", "x", socket_id="1.2", info="user_count"),
                pusher.trigger("presence-a", "e", "x", socket_id="1.2", info="user_count"),
            ),
            (channel.info("user_count"), pusher.channel_info("presence-a", "user_count")),
        ]:
            assert result_of(ours) == result_of(theirs) == {}
            assert server.requests[-1] == server.requests[-2]

    @pytest.mark.parametrize(
        ("body", "users"), [(b'{"users":[{"id":"7"}]}', [{"id": "7"}]), (b"{}", [])]
    )
    def test_users_are_a_list(self, server, pusher, body, users):
        server.answer = (200, body)
        assert result_of(pusher["presence-a"].users()) == users

    def test_trigger_quietly_fires_with_none(self, server, pusher):
        server.answer = (200, b'{"channels":{}}')
        assert result_of(pusher["a"].trigger_quietly("e", "x", info="user_count")) is None
        assert json.loads(server.requests[0][3])["info"] == "user_count"

    def test_trigger_quietly_logs_a_failure_and_fires_with_none(self, server, pusher):
        logged = []
        globalLogPublisher.addObserver(logged.append)
        server.answer = (400, b"no such thing")
        assert result_of(pusher["a"].trigger_quietly("e", "x")) is None
        globalLogPublisher.removeObserver(logged.append)
        [event] = [event for event in logged if event["log_level"].name == "error"]
        assert event["log_format"].format(**event) == (
            "an event was not published to a: POST /apps/3/events: status 400: no such thing"
        )
