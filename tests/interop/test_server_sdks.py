"""Our own server's HTTP API, for the official server SDKs."""

from __future__ import annotations

import json

import attrs
import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.support.credentials import MASTER_KEY_BASE64
from txpusher import Pusher

from . import servers
from .requirements import import_or_skip

#: The Python SDK takes only digits.
APP_ID = "42"


@pytest_twisted.async_yield_fixture(scope="module")
async def server():
    async with servers.embedded(APP_ID) as address:
        yield address


class PythonSdk:
    """The operations of the Python SDK, in threads; an error of the server is its status."""

    def __init__(self, address):
        self._sdk = import_or_skip("pusher")
        self._client = self._sdk.Pusher(
            address.app_id,
            address.key,
            address.secret,
            ssl=False,
            host=address.host,
            port=address.port,
            encryption_master_key_base64=MASTER_KEY_BASE64,
        )

    async def trigger(self, channels, event, data, socket_id=None):
        return await self._call("trigger", channels, event, data, socket_id)

    async def trigger_batch(self, events):
        return await self._call("trigger_batch", [dict(event) for event in events])

    async def send_to_user(self, user_id, event, data):
        return await self._call("send_to_user", user_id, event, data)

    async def channels(self, prefix=None, info=()):
        return await self._call("channels_info", prefix, info)

    async def channel(self, name, info=()):
        return await self._call("channel_info", name, info)

    async def users(self, name):
        return await self._call("users_info", name)

    async def terminate(self, user_id):
        return await self._call("terminate_user_connections", user_id)

    async def _call(self, operation, *args):
        errors = self._sdk.errors
        try:
            return await deferToThread(getattr(self._client, operation), *args)
        except errors.PusherBadRequest:
            return 400
        except errors.PusherBadAuth:
            return 401
        except errors.PusherForbidden:
            return 403
        except errors.PusherBadStatus as error:
            return int(str(error).partition(":")[0])


class NodeSdk:
    """The operations of the Node.js SDK; an error of the server is its status."""

    def __init__(self, script, address):
        self._script = script
        self._settings = {
            "appId": address.app_id,
            "key": address.key,
            "secret": address.secret,
            "host": address.host,
            "port": str(address.port),
            "encryptionMasterKeyBase64": MASTER_KEY_BASE64,
            "timeout": 5000,
        }

    async def trigger(self, channels, event, data, socket_id=None):
        params = {} if socket_id is None else {"socket_id": socket_id}
        return await self._call("trigger", channels, event, data, params)

    async def trigger_batch(self, events):
        return await self._call("triggerBatch", events)

    async def send_to_user(self, user_id, event, data):
        return await self._call("sendToUser", user_id, event, data)

    async def channels(self, prefix=None, info=()):
        params = {"filter_by_prefix": prefix, "info": ",".join(info)}
        params = {name: value for name, value in params.items() if value}
        return await self._call("get", {"path": "/channels", "params": params})

    async def channel(self, name, info=()):
        params = {"info": ",".join(info)} if info else {}
        return await self._call("get", {"path": f"/channels/{name}", "params": params})

    async def users(self, name):
        return await self._call("get", {"path": f"/channels/{name}/users"})

    async def terminate(self, user_id):
        return await self._call("terminateUserConnections", user_id)

    async def _call(self, operation, *args):
        reply = await self._script.call(
            "method", settings=self._settings, name=operation, args=args
        )
        return json.loads(reply["body"]) if reply["status"] < 300 else reply["status"]


@pytest.fixture(params=["python", "node"])
def make_sdk(request, node_sdk):
    """Makes an official SDK for the app at an address."""
    if request.param == "python":
        return PythonSdk
    return lambda address: NodeSdk(node_sdk, address)


@pytest.fixture
def sdk(make_sdk, server):
    return make_sdk(server)


class TestOperations:
    @pytest.mark.parametrize("data", [{"hello": ["☃", 1, None]}, "text", [], "x" * 10000])
    @pytest_twisted.ensureDeferred
    async def test_trigger(self, sdk, connect, name, data):
        channels = [name("room"), name("private-room")]
        subscriber = await connect()
        await subscriber.subscribe(*channels)
        assert await sdk.trigger(channels, "event", data) == {}
        for channel in channels:
            assert await subscriber.event(channel, "event") == data

    @pytest_twisted.ensureDeferred
    async def test_trigger_on_an_encrypted_channel(self, sdk, connect, name):
        channel = name("private-encrypted-room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        assert await sdk.trigger(channel, "event", {"hello": "☃"}) == {}
        assert await subscriber.event(channel, "event") == {"hello": "☃"}

    @pytest_twisted.ensureDeferred
    async def test_trigger_excludes_a_connection(self, sdk, connect, name):
        channel = name("room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        await sdk.trigger(channel, "event", 1, subscriber.socket_id)
        await sdk.trigger(channel, "last", 2)
        await subscriber.event(channel, "last")
        assert subscriber.events(channel) == [("last", 2)]

    @pytest_twisted.ensureDeferred
    async def test_trigger_batch(self, sdk, connect, name):
        channel = name("room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        batch = [{"channel": channel, "name": "event", "data": {"n": n}} for n in range(10)]
        assert await sdk.trigger_batch(batch) == {}
        arrived = [await subscriber.event(channel, "event") for _ in batch]
        assert arrived == [{"n": n} for n in range(10)]

    @pytest_twisted.ensureDeferred
    async def test_send_to_user(self, sdk, connect, name):
        user_id = name("user")
        subscriber = await connect(user={"id": user_id})
        await subscriber.sign_in()
        assert await sdk.send_to_user(user_id, "event", {"to": "you"}) == {}
        assert await subscriber.user_event("event") == {"to": "you"}

    @pytest_twisted.ensureDeferred
    async def test_queries(self, sdk, connect, name):
        prefix = name("presence-room")
        channel = f"{prefix}-a"
        for user_id in ("1", "2"):
            subscriber = await connect(member={"user_id": user_id})
            await subscriber.subscribe(channel, name("room"))
        assert set((await sdk.channels())["channels"]) >= {channel}
        listed = await sdk.channels(prefix, ["user_count"])
        assert listed == {"channels": {channel: {"user_count": 2}}}
        info = await sdk.channel(channel, ["user_count", "subscription_count"])
        assert info == {"occupied": True, "user_count": 2, "subscription_count": 2}
        users = await sdk.users(channel)
        assert sorted(user["id"] for user in users["users"]) == ["1", "2"]

    @pytest_twisted.ensureDeferred
    async def test_terminate_user_connections(self, sdk, connect, name):
        user_id = name("user")
        subscriber = await connect(user={"id": user_id})
        await subscriber.sign_in()
        if isinstance(sdk, PythonSdk):
            # It posts to a path outside of /apps, which Pusher's servers do not know either.
            assert await sdk.terminate(user_id) == 404
        else:
            assert await sdk.terminate(user_id) == {}
            await subscriber.error(4009)


@pytest_twisted.ensureDeferred
async def test_the_url_that_the_server_gives_is_understood(server, node_sdk):
    assert await node_sdk.call("channels_for_url", url=server.url) == 200
    pusher = Pusher.from_url(server.url)
    assert "channels" in await pusher.channels()
    await pusher.close()


class TestErrorsOfTheSdks:
    @pytest_twisted.ensureDeferred
    async def test_a_wrong_secret_is_401(self, make_sdk, server):
        sdk = make_sdk(attrs.evolve(server, secret="wrong"))
        assert await sdk.trigger("room", "event", 1) == 401
        assert await sdk.channels() == 401

    @pytest_twisted.ensureDeferred
    async def test_a_wrong_key_is_401(self, make_sdk, server):
        assert await make_sdk(attrs.evolve(server, key="wrong")).channels() == 401

    @pytest_twisted.ensureDeferred
    async def test_an_unknown_app_is_404(self, make_sdk, server):
        sdk = make_sdk(attrs.evolve(server, app_id="43"))
        assert await sdk.trigger("room", "event", 1) == 404

    @pytest_twisted.ensureDeferred
    async def test_data_over_10_kb_is_413(self, sdk):
        assert await sdk.trigger("room", "event", "x" * 10241) == 413

    @pytest_twisted.ensureDeferred
    async def test_a_batch_over_10_is_400(self, sdk):
        event = {"channel": "room", "name": "event", "data": "text"}
        assert await sdk.trigger_batch([event] * 11) == 400

    @pytest_twisted.ensureDeferred
    async def test_users_of_a_channel_without_presence_are_400(self, sdk):
        assert await sdk.users("room") == 400

    @pytest_twisted.ensureDeferred
    async def test_user_counts_of_channels_without_presence_are_400(self, sdk):
        assert await sdk.channels("room", ["user_count"]) == 400
        assert await sdk.channels(None, ["user_count"]) == 400
        assert await sdk.channel("room", ["user_count"]) == 400
