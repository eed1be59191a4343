"""What txpusher signs and encrypts, the official SDKs accept, and the other way round."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import parse_qsl, urlsplit

import nacl.secret
import pytest
import pytest_twisted

from tests.support.credentials import MASTER_KEY, MASTER_KEY_BASE64
from txpusher import Pusher
from txpusher._api import Api
from txpusher._protocol import encryption, signing
from txpusher._request import ApiRequest
from txpusher.config import Config

from .requirements import import_or_skip
from .servers import APP_ID, KEY, SECRET

SOCKET_ID = "1234.5678"
ENCRYPTED = "private-encrypted-room"

MEMBERS = [
    {"user_id": "7"},
    {"user_id": 7, "user_info": {"name": "Zoë", "likes": ["a", 1, True, None, 2.5]}},
    {"user_id": "<é>/☃/🐍", "user_info": {"quote": 'say "hi"\\\n\t', "empty": {}}},
]
USERS = [
    {"id": "7"},
    {"id": "zoë-☃", "user_info": {"name": "Zoë 🐍", "age": 40}},
]
TEXTS = ["", "text", '{"a":1}', "Grüße ☃ 🐍", "\x00\n\u2028", "x" * 5000]


@pytest.fixture
def api():
    return Api(Config(APP_ID, KEY, SECRET, encryption_master_key_base64=MASTER_KEY_BASE64))


@pytest.fixture
def python_sdk():
    # This SDK takes only digits for an app's id.
    sdk = import_or_skip("pusher")
    return sdk.Pusher("42", KEY, SECRET, encryption_master_key_base64=MASTER_KEY_BASE64)


@pytest.fixture
def node_settings():
    return {
        "appId": APP_ID,
        "key": KEY,
        "secret": SECRET,
        "encryptionMasterKeyBase64": MASTER_KEY_BASE64,
    }


class TestPythonSdk:
    @pytest.mark.parametrize("channel", ["private-room", "private-cache-a,b;c=d@e.f_g"])
    def test_authorizes_a_private_channel_as_we_do(self, api, python_sdk, channel):
        assert api.authenticate(channel, SOCKET_ID) == python_sdk.authenticate(
            channel, SOCKET_ID
        )

    def test_gives_the_shared_secret_of_an_encrypted_channel_that_we_give(
        self, api, python_sdk
    ):
        theirs = python_sdk.authenticate(ENCRYPTED, SOCKET_ID)
        theirs["shared_secret"] = theirs["shared_secret"].decode("ascii")
        assert api.authenticate(ENCRYPTED, SOCKET_ID) == theirs

    @pytest.mark.parametrize("member", MEMBERS)
    def test_signs_presence_data_as_we_do(self, api, python_sdk, member):
        theirs = python_sdk.authenticate("presence-room", SOCKET_ID, member)
        ours = api.authenticate("presence-room", SOCKET_ID, member)
        signature = signing.channel_signature(
            SECRET, SOCKET_ID, "presence-room", theirs["channel_data"]
        )
        assert theirs["auth"] == f"{KEY}:{signature}"
        assert json.loads(ours["channel_data"]) == json.loads(theirs["channel_data"])

    @pytest.mark.parametrize("user", USERS[:1])
    def test_signs_a_user_as_we_do(self, python_sdk, user):
        theirs = python_sdk.authenticate_user(SOCKET_ID, user)
        signature = signing.user_signature(SECRET, SOCKET_ID, theirs["user_data"])
        assert theirs["auth"] == f"{KEY}:{signature}"

    def test_python_sdk_accepts_our_signatures(self, api):
        verify = import_or_skip("pusher.signature").verify
        member = api.authenticate("presence-room", SOCKET_ID, MEMBERS[2])
        user = api.authenticate_user(SOCKET_ID, USERS[1])
        for text, answer in [
            (f"{SOCKET_ID}:presence-room:{member['channel_data']}", member),
            (f"{SOCKET_ID}::user::{user['user_data']}", user),
        ]:
            assert verify(SECRET, text, answer["auth"].removeprefix(f"{KEY}:"))

    @pytest.mark.parametrize(
        ("method", "params"),
        [
            ("GET", {}),
            ("GET", {"info": "user_count,subscription_count", "filter_by_prefix": "presence-"}),
            ("POST", {"name": "é", "channels": ["a", "b"], "data": "☃", "socket_id": "1.2"}),
        ],
    )
    def test_signs_a_request_as_we_do(self, python_sdk, method, params):
        http = import_or_skip("pusher.http")
        # It adds to the params that it is given.
        request = http.Request(
            python_sdk._pusher_client, method, "/apps/42/events", dict(params)
        )
        theirs = dict(request.query_params)
        ours = signing.signed_params(
            KEY,
            SECRET,
            method,
            "/apps/42/events",
            params if method == "GET" else {},
            request.body,
            int(theirs["auth_timestamp"]),
        )
        assert ours == theirs

    @pytest.mark.parametrize("text", TEXTS)
    def test_python_sdk_decrypts_our_events(self, api, text):
        crypto = import_or_skip("pusher.crypto")
        payload = json.loads(api.event_data(ENCRYPTED, text))
        key = crypto.generate_shared_secret(ENCRYPTED.encode(), MASTER_KEY)
        box = nacl.secret.SecretBox(key)
        plain = box.decrypt(
            base64.b64decode(payload["ciphertext"]), base64.b64decode(payload["nonce"])
        )
        assert plain.decode() == text

    @pytest.mark.parametrize("text", TEXTS)
    def test_python_sdk_events_are_decrypted_by_us(self, text):
        crypto = import_or_skip("pusher.crypto")
        key = MASTER_KEY
        payload = json.dumps(crypto.encrypt(ENCRYPTED, text, key))
        assert encryption.decrypt(ENCRYPTED, payload, key) == text

    @pytest.mark.parametrize(
        "params", [{}, {"info": "user_count,subscription_count", "filter_by_prefix": "é &+="}]
    )
    def test_signs_the_url_that_we_sign(self, python_sdk, params):
        http = import_or_skip("pusher.http")
        request = http.Request(
            python_sdk._pusher_client, "GET", "/apps/42/channels", dict(params)
        )
        theirs = dict(request.query_params)
        # This SDK digests the empty body of a GET too.
        del theirs["body_md5"], theirs["auth_signature"]
        pusher = Pusher("42", KEY, SECRET, clock=lambda: int(theirs["auth_timestamp"]))
        ours = dict(parse_qsl(urlsplit(pusher.sign("GET", "/channels", params)).query))
        signature = ours.pop("auth_signature")
        assert ours == theirs
        assert signature == signing.request_signature(
            SECRET, "GET", "/apps/42/channels", theirs
        )

    @pytest.mark.parametrize("data", [None, {}])
    @pytest.mark.parametrize("channel", ["private-room", "presence-room"])
    def test_authorizes_without_data_as_we_do(self, api, python_sdk, channel, data):
        theirs = python_sdk.authenticate(channel, SOCKET_ID, data)
        assert api.authenticate(channel, SOCKET_ID, data) == theirs

    @pytest.mark.parametrize("age", [0, 299, 302, -3600])
    def test_webhook_of_an_age_that_it_accepts_is_one_that_we_accept(
        self, python_sdk, pusher_without_server, age
    ):
        message = {"time_ms": int((time.time() - age) * 1000), "events": []}
        body = json.dumps(message).encode()
        signature = signing.hmac_hex(SECRET, body)
        headers = {"X-Pusher-Key": KEY, "X-Pusher-Signature": signature}
        theirs = python_sdk.validate_webhook(KEY, signature, body)
        ours = pusher_without_server.webhook(headers=headers, body=body, max_age=300)
        assert ours.is_valid is (theirs is not None and age >= 0)

    def test_accepts_a_webhook_with_our_signature(self, python_sdk):
        body = _webhook_body()
        signature = signing.hmac_hex(SECRET, body)
        accepted = python_sdk.validate_webhook(KEY, signature, body)
        assert accepted == json.loads(body)
        assert python_sdk.validate_webhook(KEY, signature, body + b" ") is None

    def test_signs_a_webhook_that_we_accept(self, pusher_without_server):
        sign = import_or_skip("pusher.signature").sign
        body = _webhook_body()
        webhook = pusher_without_server.webhook(
            key=KEY, signature=sign(SECRET, body.decode()), body=body
        )
        assert webhook.is_valid
        assert webhook.events == json.loads(body)["events"]
        assert webhook.time.timestamp() * 1000 == pytest.approx(json.loads(body)["time_ms"])


class TestNodeSdk:
    @pytest.mark.parametrize(
        ("channel", "data"),
        [
            ("private-room", None),
            (ENCRYPTED, None),
            *(("presence-room", member) for member in MEMBERS),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_authorizes_a_channel_as_we_do(
        self, api, node_sdk, node_settings, channel, data
    ):
        args = [SOCKET_ID, channel] if data is None else [SOCKET_ID, channel, data]
        theirs = await node_sdk.call(
            "method", settings=node_settings, name="authorizeChannel", args=args
        )
        assert api.authenticate(channel, SOCKET_ID, data) == theirs

    @pytest.mark.parametrize("user", USERS)
    @pytest_twisted.ensureDeferred
    async def test_signs_a_user_as_we_do(self, api, node_sdk, node_settings, user):
        theirs = await node_sdk.call(
            "method", settings=node_settings, name="authenticateUser", args=[SOCKET_ID, user]
        )
        assert api.authenticate_user(SOCKET_ID, user) == theirs

    @pytest.mark.parametrize(
        ("method", "params", "body"),
        [
            ("GET", {}, None),
            ("GET", {"filter_by_prefix": "presence-", "info": "user_count"}, None),
            ("POST", {}, '{"name":"é","channels":["a"],"data":"☃"}'),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_signs_a_request_as_we_do(
        self, node_sdk, node_settings, method, params, body
    ):
        path = f"/apps/{APP_ID}/channels"
        options = {"method": method, "path": path, "params": params}
        query = await node_sdk.call(
            "method",
            settings=node_settings,
            name="createSignedQueryString",
            args=[options if body is None else {**options, "body": body}],
        )
        theirs = dict(parse_qsl(query))
        ours = signing.signed_params(
            KEY,
            SECRET,
            method,
            path,
            params,
            None if body is None else body.encode(),
            int(theirs["auth_timestamp"]),
        )
        assert ours == theirs

    @pytest.mark.parametrize(
        ("method", "params", "body"),
        [
            ("GET", {}, None),
            ("GET", {"filter_by_prefix": "presence-é;@", "info": "user_count"}, None),
            ("POST", {}, '{"name":"é","channels":["a"],"data":"☃"}'),
            ("POST", {"b": "2", "A": "1"}, "not JSON: ☃"),
            ("DELETE", {}, ""),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_signs_the_url_that_we_sign(
        self, node_sdk, node_settings, method, params, body
    ):
        lower = {name.lower(): value for name, value in params.items()}
        options = {"method": method, "path": f"/apps/{APP_ID}/channels/a", "params": lower}
        query = await node_sdk.call(
            "method",
            settings=node_settings,
            name="createSignedQueryString",
            args=[options if body is None else {**options, "body": body}],
        )
        theirs = dict(parse_qsl(query))
        pusher = Pusher(APP_ID, KEY, SECRET, clock=lambda: int(theirs["auth_timestamp"]))
        for exact in (body, None if body is None else body.encode()):
            url = urlsplit(pusher.sign(method, "/channels/a", params, exact))
            assert (url.path, dict(parse_qsl(url.query))) == (options["path"], theirs)

    @pytest.mark.parametrize("channel", ["private-room", "presence-room", ENCRYPTED])
    @pytest_twisted.ensureDeferred
    async def test_authorizes_without_data_as_we_do(
        self, api, node_sdk, node_settings, channel
    ):
        theirs = await node_sdk.call(
            "method",
            settings=node_settings,
            name="authorizeChannel",
            args=[SOCKET_ID, channel],
        )
        assert api.authenticate(channel, SOCKET_ID) == theirs
        assert api.authenticate(channel, SOCKET_ID, {}) == theirs

    @pytest.mark.parametrize("data", [{"a": [1, None, "☃"]}, "text", 0, None])
    @pytest_twisted.ensureDeferred
    async def test_posts_the_body_that_we_post(self, api, node_sdk, node_settings, data):
        body = await node_sdk.call(
            "trigger_body", settings=node_settings, args=[["a", "b"], "event", data]
        )
        assert json.loads(_body(api.trigger(["a", "b"], "event", data))) == body

    @pytest.mark.parametrize("text", TEXTS)
    @pytest_twisted.ensureDeferred
    async def test_node_sdk_decrypts_our_events(self, api, node_sdk, text):
        secret = api.authenticate(ENCRYPTED, SOCKET_ID)["shared_secret"]
        plain = await node_sdk.call(
            "decrypt", shared_secret=secret, payload=api.event_data(ENCRYPTED, text)
        )
        assert plain == text

    @pytest.mark.parametrize("data", [{"a": [1, None, "☃"]}, "text", 0])
    @pytest_twisted.ensureDeferred
    async def test_node_sdk_events_are_decrypted_by_us(self, node_sdk, node_settings, data):
        body = await node_sdk.call(
            "trigger_body", settings=node_settings, args=[ENCRYPTED, "event", data]
        )
        plain = encryption.decrypt(ENCRYPTED, body["data"], MASTER_KEY)
        assert json.loads(plain) == data

    @pytest_twisted.ensureDeferred
    async def test_accepts_a_webhook_with_our_signature(self, node_sdk, node_settings):
        body = _webhook_body()
        headers = {
            "x-pusher-key": KEY,
            "x-pusher-signature": signing.hmac_hex(SECRET, body),
            "content-type": "application/json",
        }
        ours = Pusher(APP_ID, KEY, SECRET)
        for text, valid in [(body.decode(), True), (body.decode() + " ", False)]:
            assert ours.webhook(headers=headers, body=text).is_valid is valid
            read = await node_sdk.call(
                "webhook", settings=node_settings, headers=headers, body=text
            )
            assert read == {
                "valid": valid,
                "events": json.loads(body)["events"] if valid else None,
            }

    @pytest_twisted.ensureDeferred
    async def test_signs_a_webhook_that_we_accept(self, node_sdk, pusher_without_server):
        body = _webhook_body()
        signature = await node_sdk.call("sign", key=KEY, secret=SECRET, text=body.decode())
        webhook = pusher_without_server.webhook(key=KEY, signature=signature, body=body)
        assert webhook.is_valid
        assert webhook.events == json.loads(body)["events"]


@pytest.fixture
def pusher_without_server():
    return Pusher(APP_ID, KEY, SECRET)


def _webhook_body() -> bytes:
    events = [
        {"name": "channel_occupied", "channel": "room"},
        {"name": "member_added", "channel": "presence-room", "user_id": "zoë ☃"},
    ]
    # The Python SDK refuses a webhook that is more than five minutes old.
    message = {"time_ms": int(time.time() * 1000), "events": events}
    return json.dumps(message, ensure_ascii=False).encode()


def _body(request: ApiRequest) -> bytes:
    assert request.body is not None
    return request.body
