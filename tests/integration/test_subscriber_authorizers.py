"""Authorizers of one's own, and HTTPAuthorizer over a real endpoint."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
import pytest_twisted
from treq.client import HTTPClient
from twisted.internet.defer import succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.task import Clock, deferLater
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS

from tests.support.credentials import KEY, MASTER_KEY_BASE64, SECRET
from tests.support.misbehaving import answering, reply
from tests.support.waiting import pause, within
from txpusher import (
    ConfigurationError,
    InvalidRequestError,
    Pusher,
    RetryPolicy,
    Subscriber,
    SubscriptionError,
)
from txpusher._http import authorizer as http_authorizer
from txpusher._subscriber_settings import SubscriberOptions
from txpusher.subscriber import HTTPAuthorizer

from .subscribers import pusher_of, serve_well

SIGNER = Pusher("3", KEY, SECRET)
SIGNER_OF_KEYS = Pusher("3", KEY, SECRET, encryption_master_key_base64=MASTER_KEY_BASE64)


def plain(channel, socket_id):
    return SIGNER.authenticate(channel, socket_id)


def deferred(channel, socket_id):
    return succeed(plain(channel, socket_id))


async def coroutine(channel, socket_id):
    await pause(0.001)
    return plain(channel, socket_id)


class TestCallables:
    @pytest.mark.parametrize("authorizer", [plain, deferred, coroutine])
    @pytest_twisted.ensureDeferred
    async def test_authorizer_may_answer_in_three_ways(
        self, server, make_subscriber, authorizer
    ):
        subscriber = make_subscriber(server.port, authorizer=authorizer)
        await within(subscriber.connect())
        await within(subscriber.subscribe("private-room"))

    @pytest_twisted.ensureDeferred
    async def test_user_authorizer_gets_the_user_data(self, server, make_subscriber):
        def user_authorizer(socket_id, user_data):
            return SIGNER.authenticate_user(socket_id, {"id": user_data["session"]})

        subscriber = make_subscriber(server.port, user_authorizer=user_authorizer)
        await within(subscriber.connect())
        assert await within(subscriber.sign_in({"session": "7"})) == {"id": "7"}

    @pytest.mark.parametrize("filler", [0, 175])
    @pytest_twisted.ensureDeferred
    async def test_what_an_authorizer_raises_is_the_reason(
        self, server, make_subscriber, filler
    ):
        class BannedError(Exception):
            status = 403

        def authorizer(channel, socket_id):
            raise BannedError("-" * filler + "0123456789abcdef" * 4)

        subscriber = make_subscriber(
            server.port, authorizer=authorizer, user_authorizer=authorizer
        )
        await within(subscriber.connect())
        with pytest.raises(SubscriptionError, match="BannedError") as caught:
            await within(subscriber.subscribe("private-room"))
        assert (caught.value.status, caught.value.channel) == (403, "private-room")
        assert isinstance(caught.value.__cause__, BannedError)
        assert "0123" not in str(caught.value)
        with pytest.raises(SubscriptionError, match="BannedError") as caught:
            await within(subscriber.sign_in({"id": "7"}))
        assert caught.value.channel is None

    @pytest.mark.parametrize("wait", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_answer_that_utf8_cannot_express_refuses_and_leaves_the_connection(
        self, serve, make_subscriber, wait
    ):
        def authorizer(channel, socket_id):
            answer = {"auth": "\ud800" if channel == "private-bad" else "key:signature"}
            return deferLater(reactor, 0, lambda: answer) if wait else answer

        def user_authorizer(socket_id, user_data):
            return {"auth": "\ud800", "user_data": "{}"}

        from twisted.internet import reactor

        server = serve(serve_well)
        subscriber = make_subscriber(
            server.port, authorizer=authorizer, user_authorizer=user_authorizer
        )
        await within(subscriber.connect())
        with pytest.raises(SubscriptionError, match="surrogate"):
            await within(subscriber.subscribe("private-bad"))
        with pytest.raises(SubscriptionError, match="surrogate"):
            await within(subscriber.sign_in({"id": "7"}))
        room = await within(subscriber.subscribe("private-room"))
        with pytest.raises(InvalidRequestError):
            await within(room.trigger("client-e", "\ud800"))
        await within(room.trigger("client-e", 1))
        assert server.connections == 1

    @pytest.mark.parametrize("name", ["authorizer", "user_authorizer"])
    def test_authorizer_that_cannot_be_called_is_refused(self, name):
        with pytest.raises(ConfigurationError, match=name):
            Subscriber(KEY, **{name: 7})


class TestHTTPAuthorizer:
    @pytest_twisted.ensureDeferred
    async def test_endpoint_signs_channels_and_users(self, serve, server, make_subscriber):
        async def script(peer):
            while True:
                request = await peer.request()
                fields = {k: v for k, [v] in parse_qs(request.body.decode()).items()}
                if "channel_name" in fields:
                    answer = SIGNER.authenticate(fields["channel_name"], fields["socket_id"])
                else:
                    answer = SIGNER.authenticate_user(fields["socket_id"], {"id": "7"})
                peer.send(reply(200, json.dumps(answer)))

        endpoint = serve(script)
        authorizer = HTTPAuthorizer(
            f"http://127.0.0.1:{endpoint.port}/auth?a=1", headers={"Cookie": "session=7"}
        )
        subscriber = make_subscriber(
            server.port, authorizer=authorizer, user_authorizer=authorizer
        )
        await within(subscriber.connect())
        await within(subscriber.subscribe("private-room"))
        assert await within(subscriber.sign_in({"id": "7"})) == {"id": "7"}
        first = endpoint.requests[0]
        assert (first.method, first.target) == ("POST", "/auth?a=1")
        assert first.headers["content-type"] == "application/x-www-form-urlencoded"
        assert first.headers["cookie"] == "session=7"
        # No connection is kept.
        assert endpoint.connections == 2

    @pytest.mark.parametrize(
        ("answer", "status", "reason"),
        [
            (reply(403, "banned"), 403, "banned"),
            (reply(500, "f" * 64), 500, "redacted"),
            (reply(404, ""), 404, "empty"),
            (reply(302, "", "Location: http://127.0.0.1:1/"), 302, "empty"),
            (reply(200, "no json"), 200, "not a JSON object"),
            (reply(200, "[]"), 200, "not a JSON object"),
            (reply(200, "x" * 70_000), 200, "over 65536 bytes"),
            (reply(201, "{}"), 201, "must answer with 200"),
            (reply(403, "you are not authorized"), 403, "you are not authorized"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", None, "authorizer failed"),
            (b"nonsense", None, "authorizer failed"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_unusable_answer_refuses_the_subscription(
        self, serve, server, make_subscriber, answer, status, reason
    ):
        async def script(peer):
            await peer.request()
            peer.send(answer)

        authorizer = HTTPAuthorizer(f"http://127.0.0.1:{serve(script).port}/")
        subscriber = make_subscriber(server.port, authorizer=authorizer)
        await within(subscriber.connect())
        with pytest.raises(SubscriptionError, match=reason) as caught:
            await within(subscriber.subscribe("private-room"))
        assert (caught.value.status, caught.value.channel) == (status, "private-room")

    @pytest.mark.parametrize("status", [201, 302, 403, 500])
    @pytest_twisted.ensureDeferred
    async def test_answer_with_a_signature_is_neither_quoted_nor_logged(
        self, serve, server, make_subscriber, log, status
    ):
        secret = SIGNER_OF_KEYS.authenticate("private-encrypted-a", "1.1")

        async def script(peer):
            await peer.request()
            peer.send(reply(status, json.dumps(secret)))

        authorizer = HTTPAuthorizer(f"http://127.0.0.1:{serve(script).port}/")
        subscriber = make_subscriber(server.port, authorizer=authorizer)
        await within(subscriber.connect())
        with pytest.raises(SubscriptionError) as caught:
            await within(subscriber.subscribe("private-encrypted-a"))
        for text in (str(caught.value), caught.value.reason, log.text):
            assert secret["shared_secret"] not in text
            assert secret["auth"].partition(":")[2] not in text

    @pytest.mark.parametrize("place", [150, 175, 190])
    @pytest_twisted.ensureDeferred
    async def test_signature_where_the_answer_is_cut_is_replaced(
        self, serve, server, make_subscriber, place
    ):
        async def script(peer):
            await peer.request()
            peer.send(reply(403, "-" * place + "0123456789abcdef" * 4))

        authorizer = HTTPAuthorizer(f"http://127.0.0.1:{serve(script).port}/")
        subscriber = make_subscriber(server.port, authorizer=authorizer)
        await within(subscriber.connect())
        with pytest.raises(SubscriptionError) as caught:
            await within(subscriber.subscribe("private-room"))
        assert "0123" not in str(caught.value)

    @pytest_twisted.ensureDeferred
    async def test_endpoint_that_is_silent_refuses_in_time(
        self, serve, server, make_subscriber, monkeypatch
    ):
        monkeypatch.setattr(http_authorizer, "TIMEOUT", 0.1)
        endpoint = serve(lambda peer: peer.stall())
        authorizer = HTTPAuthorizer(f"http://127.0.0.1:{endpoint.port}/")
        subscriber = make_subscriber(
            server.port, authorizer=authorizer, user_authorizer=authorizer
        )
        await within(subscriber.connect())
        for operation in (
            subscriber.subscribe("private-room"),
            subscriber.sign_in({"id": "7"}),
        ):
            with pytest.raises(SubscriptionError, match=r"within 0\.1 s"):
                await within(operation)

    @pytest_twisted.ensureDeferred
    async def test_close_ends_a_question_to_the_endpoint(self, serve, server, make_subscriber):
        endpoint = serve(lambda peer: peer.stall())
        authorizer = HTTPAuthorizer(f"http://127.0.0.1:{endpoint.port}/")
        subscriber = make_subscriber(server.port, authorizer=authorizer)
        await within(subscriber.connect())
        waiting = subscriber.subscribe("private-room").addErrback(lambda _: None)
        await pause(0.05)
        await within(subscriber.close())
        await within(waiting)

    @pytest_twisted.ensureDeferred
    async def test_client_of_the_users_sends(self, serve, server, make_subscriber):
        from twisted.internet import reactor

        answer = json.dumps({"auth": "key:signature"})
        endpoint = serve(answering(reply(200, answer)))
        authorizer = HTTPAuthorizer(
            f"http://127.0.0.1:{endpoint.port}/", http_client=HTTPClient(Agent(reactor))
        )
        assert await within(authorizer("private-room", "1.1")) == {"auth": "key:signature"}

    @pytest.mark.parametrize(
        "url",
        [
            None,
            7,
            "",
            "example.com/auth",
            "http://",
            "http:///auth",
            "https://exa mple/",
            "https://example.com:99999/",
            "https://[::1/",
        ],
    )
    def test_url_of_no_endpoint_is_refused(self, url):
        with pytest.raises(ConfigurationError, match="url"):
            HTTPAuthorizer(url)

    @pytest.mark.parametrize(
        ("url", "quoted"),
        [
            ("ftp://example.com/auth?token=secret", "ftp://example.com"),
            ("ftp://secret:secret@example.com/", "ftp://example.com"),
            ("ftp://secret:12/secret@example.com/", "http://"),
            ("secret:secret@example.com/auth", "http://"),
            ("https://secret:secret@example.com/auth", "no user"),
        ],
    )
    def test_refused_url_is_quoted_without_its_secrets(self, url, quoted):
        with pytest.raises(ConfigurationError, match=quoted) as caught:
            HTTPAuthorizer(url)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("url", ["http://[::1]:8000/auth", "https://b\u00fccher.example/"])
    def test_url_of_an_endpoint_is_taken(self, url):
        HTTPAuthorizer(url)

    def test_repr_has_the_host_alone(self):
        authorizer = HTTPAuthorizer("https://example.com/auth?token=7")
        assert repr(authorizer) == "<HTTPAuthorizer example.com>"


class TestForPusher:
    def test_settings_are_those_of_the_pusher(self):
        pusher = Pusher("3", KEY, SECRET, cluster="eu", retry=RetryPolicy(max_delay=1))
        assert "ws-eu.pusher.com:443" in repr(Subscriber.for_pusher(pusher))

    @pytest.mark.parametrize(
        "way",
        [
            {"http_proxy": "http://user:password@proxy:8080"},
            {"endpoint": UNIXClientEndpoint(Clock(), "/run/sockudo")},
        ],
    )
    def test_each_setting_that_a_pusher_has_too_is_handed_over(self, way):
        class Noting(Subscriber):
            def __init__(self, key, **options):
                self.given = {"key": key, **options}

        pusher = Pusher(
            "3",
            KEY,
            SECRET,
            host="sockets.example.com",
            port=7001,
            use_tls=False,
            path_prefix="/behind",
            encryption_master_key_base64=MASTER_KEY_BASE64,
            connect_timeout=7.0,
            retry=RetryPolicy(max_delay=1),
            tls_policy=BrowserLikePolicyForHTTPS(),
            **way,
        )
        # The host stands for the cluster.
        names = SubscriberOptions.__annotations__.keys() - {"cluster"}
        shared = {"key", *(name for name in names if hasattr(pusher.config, name))}
        assert len(shared) == 11
        given = Noting.for_pusher(pusher).given
        assert {name: given.get(name) for name in shared} == {
            name: getattr(pusher.config, name) for name in shared
        }

    @pytest.mark.parametrize(
        ("options", "host"),
        [
            ({"host": "api-eu.example.com"}, "api-eu.example.com:443"),
            ({"host": "ws.example.com", "port": 6001}, "ws.example.com:6001"),
            ({"use_tls": False}, "ws-mt1.pusher.com:80"),
        ],
    )
    def test_other_host_stands_for_itself(self, options, host):
        assert host in repr(Subscriber.for_pusher(Pusher("3", KEY, SECRET, **options)))

    def test_host_for_websockets_may_be_another_one(self):
        pusher = pusher_of(6001)
        subscriber = Subscriber.for_pusher(pusher, host="ws.example.com", port=7001)
        assert "ws.example.com:7001" in repr(subscriber)


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("key", ""),
            ("key", 7),
            ("cluster", "a.b"),
            ("host", "http://a"),
            ("port", 0),
            ("use_tls", 1),
            ("path_prefix", "a b"),
            ("encryption_master_key_base64", "AAAA"),
            ("activity_timeout", 0),
            ("pong_timeout", "1"),
            ("connect_timeout", -1),
            ("max_buffered", 0),
            ("retry", 3),
            ("tls_policy", 7),
            ("http_proxy", "socks://a"),
            ("endpoint", 7),
            ("reactor", 7),
        ],
    )
    def test_wrong_setting_is_refused_by_its_name(self, name, value):
        with pytest.raises(ConfigurationError, match=name):
            Subscriber(**{"key": KEY, name: value})

    def test_endpoint_and_proxy_exclude_each_other(self):
        from twisted.internet import reactor
        from twisted.internet.endpoints import UNIXClientEndpoint

        with pytest.raises(ConfigurationError, match="exclude"):
            Subscriber(KEY, http_proxy="http://a:1", endpoint=UNIXClientEndpoint(reactor, "a"))

    def test_defaults_are_those_of_the_hosted_service(self):
        assert repr(Subscriber(KEY)) == "<Subscriber ws-mt1.pusher.com:443 initialized>"
        assert ":80" in repr(Subscriber(KEY, cluster="eu", use_tls=False))
