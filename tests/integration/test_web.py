"""The resources for twisted.web, as browsers and senders of webhooks use them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from tests.support.observing import text_of
from tests.support.waiting import until, within
from txpusher import ConfigurationError
from txpusher.web import ChannelAuthResource, UserAuthResource

from .web_client import (
    FORM,
    PUSHER,
    SUBSCRIBE,
    UNDONE,
    ask,
    connect,
    header,
    never,
    serve_resource,
)

serve = serve_resource
#: A form as a browser sends one with a file.
MULTIPART = b'--x\r\nContent-Disposition: form-data; name="socket_id"\r\n\r\n1.2\r\n--x--\r\n'
PAGE = "https://shop.example"
JSON = {"Content-Type": "application/json"}


def allow(request: Any, channel: str, socket_id: str) -> bool:
    return True


class TestChannelAuth:
    @pytest_twisted.ensureDeferred
    async def test_form_gets_the_signature_of_its_channel(self, serve):
        seen = []

        def authorize(request, channel, socket_id):
            seen.append((request.getHeader("cookie"), channel, socket_id))
            return True

        url = serve(ChannelAuthResource(PUSHER, authorize))
        status, reply, headers = await ask(url, headers={**FORM, "Cookie": "session=7"})
        assert (status, reply) == (200, PUSHER.authenticate("private-a", "1.2"))
        assert seen == [("session=7", "private-a", "1.2")]
        assert header(headers, "content-type") == "application/json"
        assert header(headers, "cache-control") == "no-store"

    @pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=x"])
    @pytest_twisted.ensureDeferred
    async def test_json_body_gets_the_signature_of_its_channel(self, serve, media_type):
        body = json.dumps({"socket_id": "1.2", "channel_name": "private-a"}).encode()
        url = serve(ChannelAuthResource(PUSHER, allow))
        status, reply, _ = await ask(url, body, {"Content-Type": media_type})
        assert (status, reply) == (200, PUSHER.authenticate("private-a", "1.2"))

    @pytest_twisted.ensureDeferred
    async def test_presence_member_is_signed_into_the_reply(self, serve):
        member = {"user_id": "7", "user_info": {"name": "Zoë"}}
        url = serve(ChannelAuthResource(PUSHER, lambda *_: member))
        status, reply, _ = await ask(url, b"socket_id=1.2&channel_name=presence-a")
        assert (status, reply) == (200, PUSHER.authenticate("presence-a", "1.2", member))
        assert json.loads(reply["channel_data"]) == member

    @pytest_twisted.ensureDeferred
    async def test_true_on_presence_channel_signs_without_data(self, serve):
        url = serve(ChannelAuthResource(PUSHER, allow))
        status, reply, _ = await ask(url, b"socket_id=1.2&channel_name=presence-a")
        assert status == 200
        assert list(reply) == ["auth"]

    @pytest.mark.parametrize("way", ["value", "Deferred", "coroutine"])
    @pytest_twisted.ensureDeferred
    async def test_callable_may_answer_later(self, serve, way):
        from twisted.internet import reactor

        async def later(*arguments):
            await deferLater(reactor, 0.001)
            return True

        ways = {
            "value": allow,
            "Deferred": lambda *_: deferLater(reactor, 0.001, lambda: True),
            "coroutine": later,
        }
        url = serve(ChannelAuthResource(PUSHER, ways[way]))
        assert (await ask(url))[0] == 200

    @pytest.mark.parametrize("returned", UNDONE)
    @pytest.mark.parametrize("resource", [ChannelAuthResource, UserAuthResource])
    @pytest_twisted.ensureDeferred
    async def test_callable_that_returns_what_nobody_waits_for_is_a_500(
        self, serve, log, resource, returned
    ):
        status, reply, _ = await ask(serve(resource(PUSHER, lambda *_: returned())))
        assert (status, reply) == (500, {"error": "the server failed"})
        [failure] = log.flush()
        assert "must return a value, a Deferred or a coroutine" in text_of(failure)

    @pytest.mark.parametrize("verdict", [False, None])
    @pytest_twisted.ensureDeferred
    async def test_refusal_is_a_403(self, serve, verdict):
        url = serve(ChannelAuthResource(PUSHER, lambda *_: verdict))
        status, reply, _ = await ask(url)
        assert (status, reply) == (403, {"error": "the subscription is refused"})

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (b"", FORM),
            (b"channel_name=private-a", FORM),
            (b"socket_id=1.2", FORM),
            (b"socket_id=1.2:x&channel_name=private-a", FORM),
            (b"socket_id=1.2&channel_name=private%20a", FORM),
            (b"socket_id=1.2&channel_name=orders", FORM),
            (b"socket_id=1.2&socket_id=1.3&channel_name=private-a", FORM),
            (b"socket_id=1.2&channel_name=private-a&x=%ff", FORM),
            (b"\xff", FORM),
            (SUBSCRIBE, {"Content-Type": "text/plain"}),
            (MULTIPART, {"Content-Type": "multipart/form-data; boundary=x"}),
            (SUBSCRIBE, {}),
            (b"[]", JSON),
            (b"{", JSON),
            (b"[" * 60_000, JSON),
            (
                b'{"socket_id": 1.2, "channel_name": "private-a"}',
                JSON,
            ),
            (
                b'{"socket_id": "1.2", "channel_name": ["private-a"]}',
                JSON,
            ),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_malformed_request_is_a_400_before_anyone_is_asked(
        self, serve, body, headers
    ):
        url = serve(ChannelAuthResource(PUSHER, never))
        status, reply, _ = await ask(url, body, headers)
        assert status == 400
        assert reply["error"]

    @pytest_twisted.ensureDeferred
    async def test_fields_of_the_query_are_not_those_of_the_form(self, serve):
        url = serve(ChannelAuthResource(PUSHER, never))
        assert (await ask(f"{url}?socket_id=1.2&channel_name=private-a", b""))[0] == 400

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
    @pytest_twisted.ensureDeferred
    async def test_other_method_is_a_405_that_names_post(self, serve, method):
        url = serve(ChannelAuthResource(PUSHER, never))
        status, _, headers = await ask(url, b"", method=method)
        assert (status, header(headers, "allow")) == (405, "POST")

    @pytest_twisted.ensureDeferred
    async def test_body_over_64_kib_is_a_413(self, serve):
        url = serve(ChannelAuthResource(PUSHER, never))
        status, reply, _ = await ask(url, SUBSCRIBE + b"&x=" + b"x" * 65536)
        assert status == 413
        assert "65536" in reply["error"]
        url = serve(ChannelAuthResource(PUSHER, allow))
        fits = SUBSCRIBE + b"&x="
        assert (await ask(url, fits + b"x" * (65536 - len(fits))))[0] == 200

    @pytest.mark.parametrize(
        "authorize",
        [
            lambda *_: 1 / 0,
            lambda *_: "yes",
            lambda *_: 1,
            lambda *_: {"user_id": ""},
            lambda *_: {"user_id": "7", "user_info": object()},
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_failing_callable_is_a_500_that_tells_the_log_alone(
        self, serve, log, authorize
    ):
        url = serve(ChannelAuthResource(PUSHER, authorize))
        status, reply, _ = await ask(url, b"socket_id=1.2&channel_name=presence-a")
        assert (status, reply) == (500, {"error": "the server failed"})
        assert len(log.flush()) == 1

    @pytest_twisted.ensureDeferred
    async def test_encrypted_channel_without_key_is_a_500(self, serve, log):
        url = serve(ChannelAuthResource(PUSHER, allow))
        status, reply, _ = await ask(url, b"socket_id=1.2&channel_name=private-encrypted-a")
        assert (status, reply) == (500, {"error": "the server failed"})
        [failure] = log.flush()
        assert "encryption_master_key_base64" in text_of(failure)

    @pytest_twisted.ensureDeferred
    async def test_authorisation_is_cancelled_when_its_client_goes_away(self, serve):
        ended: list[Any] = []
        asked: Deferred[None] = Deferred()

        def authorize(*arguments):
            asked.callback(None)
            waiting: Deferred[bool] = Deferred()
            return waiting.addErrback(lambda failure: ended.append(failure.value))

        connection = await connect(serve(ChannelAuthResource(PUSHER, authorize)))
        connection.transport.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(SUBSCRIBE), SUBSCRIBE)
        )
        await asked
        connection.transport.abortConnection()
        await until(lambda: ended)
        assert isinstance(ended[0], CancelledError)

    @pytest_twisted.ensureDeferred
    async def test_body_that_never_comes_is_ended_by_the_site(self, serve):
        url = serve(ChannelAuthResource(PUSHER, never), timeout=0.1)
        connection = await connect(url)
        closed: Deferred[None] = Deferred()
        connection.connectionLost = lambda reason: closed.callback(None)
        connection.transport.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 60000\r\n\r\n{"
        )
        await within(closed)

    @pytest_twisted.ensureDeferred
    async def test_klein_route_may_return_the_resource(self, serve):
        klein = pytest.importorskip("klein")
        app = klein.Klein()
        resource = ChannelAuthResource(PUSHER, allow)
        app.route("/pusher/auth", methods=["POST"])(lambda request: resource)
        url = serve(app.resource())
        status, reply, _ = await ask(f"{url}pusher/auth")
        assert (status, reply) == (200, PUSHER.authenticate("private-a", "1.2"))

    def test_arguments_are_checked_when_the_resource_is_made(self):
        for arguments in [("pusher", allow), (PUSHER, "allow")]:
            with pytest.raises(ConfigurationError, match="not the str"):
                ChannelAuthResource(*arguments)


class TestOrigins:
    @pytest_twisted.ensureDeferred
    async def test_named_origin_may_read_the_reply_with_cookies(self, serve):
        url = serve(ChannelAuthResource(PUSHER, allow, allowed_origins=PAGE))
        status, _, headers = await ask(url, headers={**FORM, "Origin": PAGE})
        assert status == 200
        assert header(headers, "access-control-allow-origin") == PAGE
        assert header(headers, "access-control-allow-credentials") == "true"
        assert header(headers, "vary") == "Origin"

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "https://shop.example.evil.example",
            "http://shop.example",
            "https://shop.example:8443",
            "https://sub.shop.example",
            "null",
            "https://SHOP.example",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_foreign_origin_is_a_403_before_anyone_is_asked(self, serve, origin):
        url = serve(ChannelAuthResource(PUSHER, never, allowed_origins=[PAGE]))
        status, _, headers = await ask(url, headers={**FORM, "Origin": origin})
        assert status == 403
        assert header(headers, "access-control-allow-origin") is None
        assert header(headers, "vary") == "Origin"

    @pytest_twisted.ensureDeferred
    async def test_page_of_the_same_host_needs_no_permission(self, serve):
        url = serve(ChannelAuthResource(PUSHER, allow, allowed_origins=[PAGE]))
        status, _, headers = await ask(url, headers={**FORM, "Origin": url.rstrip("/")})
        assert status == 200
        assert header(headers, "access-control-allow-origin") is None

    @pytest_twisted.ensureDeferred
    async def test_no_origin_gets_permission_where_none_is_named(self, serve):
        url = serve(ChannelAuthResource(PUSHER, allow))
        _, _, headers = await ask(url, headers={**FORM, "Origin": PAGE})
        assert header(headers, "access-control-allow-origin") is None

    @pytest_twisted.ensureDeferred
    async def test_named_origin_may_read_errors_too(self, serve):
        url = serve(ChannelAuthResource(PUSHER, lambda *_: False, allowed_origins=[PAGE]))
        status, _, headers = await ask(url, headers={**FORM, "Origin": PAGE})
        assert status == 403
        assert header(headers, "access-control-allow-origin") == PAGE
        assert header(headers, "vary") == "Origin"

    @pytest_twisted.ensureDeferred
    async def test_preflight_permits_the_post_and_the_headers_asked_for(self, serve):
        url = serve(UserAuthResource(PUSHER, never, allowed_origins=[PAGE]))
        wanted = {
            "Origin": PAGE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-csrf-token",
        }
        status, _, headers = await ask(url, b"", wanted, "OPTIONS")
        assert status == 204
        assert header(headers, "access-control-allow-origin") == PAGE
        assert header(headers, "access-control-allow-methods") == "POST"
        assert header(headers, "access-control-allow-headers") == "content-type,x-csrf-token"
        assert header(headers, "access-control-allow-credentials") == "true"

    @pytest_twisted.ensureDeferred
    async def test_preflight_of_a_foreign_page_is_a_403(self, serve):
        url = serve(UserAuthResource(PUSHER, never, allowed_origins=[PAGE]))
        wanted = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        status, _, headers = await ask(url, b"", wanted, "OPTIONS")
        assert status == 403
        assert header(headers, "access-control-allow-methods") is None

    @pytest.mark.parametrize(
        "origins",
        [
            "*",
            ["*"],
            "shop.example",
            "https://shop.example/",
            "https://*.example",
            "",
            [None],
            7,
            {PAGE: True},
            "HTTPS://shop.example",
            "https://Shop.example",
            "https://shop.example:443",
            "http://shop.example:80",
            "https://shop.example:",
            "https://shop.example:0443",
            "https://shop.example:web",
            "https://bücher.example",
            "capacitor://localhost/",
            "capacitor://*",
            "capacitor://bücher",
        ],
    )
    def test_origin_that_no_browser_sends_is_refused_when_the_resource_is_made(self, origins):
        with pytest.raises(ConfigurationError, match="allowed_origins"):
            ChannelAuthResource(PUSHER, allow, allowed_origins=origins)

    @pytest.mark.parametrize(
        "origin",
        [
            "http://127.0.0.1:8000",
            "https://[::1]:8443",
            "http://shop.example:443",
            "https://xn--bcher-kva.example",
            "capacitor://localhost",
            "safari-web-extension://E2F3A7B0-1111-4B94-A42F-C28F71DD5AF7",
            "ms-browser-extension://EdgeExtension_abc",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_origin_as_browsers_send_it_is_permitted(self, serve, origin):
        url = serve(ChannelAuthResource(PUSHER, allow, allowed_origins=origin))
        _, _, headers = await ask(url, headers={**FORM, "Origin": origin})
        assert header(headers, "access-control-allow-origin") == origin


class TestUserAuth:
    @pytest_twisted.ensureDeferred
    async def test_user_gets_the_signature_of_the_sign_in(self, serve):
        user = {"id": "7", "user_info": {"name": "Zoë"}}
        url = serve(UserAuthResource(PUSHER, lambda request: user))
        status, reply, _ = await ask(url, b"socket_id=1.2")
        assert (status, reply) == (200, PUSHER.authenticate_user("1.2", user))

    @pytest_twisted.ensureDeferred
    async def test_stranger_is_a_403(self, serve):
        url = serve(UserAuthResource(PUSHER, lambda request: None))
        assert (await ask(url, b"socket_id=1.2"))[0] == 403

    @pytest.mark.parametrize("body", [b"", b"socket_id=", b"socket_id=12", b"socket_id=1.2%0A"])
    @pytest_twisted.ensureDeferred
    async def test_malformed_socket_id_is_a_400(self, serve, body):
        url = serve(UserAuthResource(PUSHER, never))
        assert (await ask(url, body))[0] == 400

    @pytest.mark.parametrize("user", [True, False, "7", {}, {"id": 7}, {"id": ""}])
    @pytest_twisted.ensureDeferred
    async def test_user_data_that_cannot_be_signed_is_a_500(self, serve, log, user):
        url = serve(UserAuthResource(PUSHER, lambda request: user))
        assert (await ask(url, b"socket_id=1.2"))[0] == 500
        assert len(log.flush()) == 1
