"""The messages of the hosted service, as it sends them, replayed to the Subscriber."""

from __future__ import annotations

import json

import pytest
import pytest_twisted

from tests.support.credentials import MASTER_KEY, MASTER_KEY_BASE64
from tests.support.scripted_websocket import WebSocketPeer
from tests.support.waiting import until, within
from txpusher import APIError, ConnectionClosedError, SubscriptionError
from txpusher._protocol.encryption import encrypt

from .subscribers import Told

ESTABLISHED = (
    r'{"event":"pusher:connection_established","data":"{\"socket_id\":\"205871.4830187\",'
    r'\"activity_timeout\":120}"}'
)
SECRET_ROOM = "private-encrypted-vault"


class Hosted:
    """A server that answers each kind of message with the texts of the hosted service."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str]] = {}
        self.received: list[dict] = []
        self.there: WebSocketPeer

    async def script(self, peer):
        self.there = await WebSocketPeer.accept(peer)
        self.there.text(ESTABLISHED)
        while True:
            message = await self.there.message()
            self.received.append(message)
            name = message["event"]
            if name == "pusher:subscribe":
                name = message["data"]["channel"]
            for text in self.answers.get(name, []):
                self.there.text(text)


@pytest.fixture
def hosted() -> Hosted:
    return Hosted()


@pytest_twisted.async_yield_fixture
async def subscriber(hosted, serve, make_subscriber):
    def authorizer(channel, socket_id):
        answer = {"auth": "key:signature"}
        if channel.startswith("presence-"):
            answer["channel_data"] = '{"user_id":"1","user_info":{"name":"Ada"}}'
        return answer

    subscriber = make_subscriber(
        serve(hosted.script).port,
        authorizer=authorizer,
        user_authorizer=lambda socket_id, data: {"auth": "a", "user_data": json.dumps(data)},
        encryption_master_key_base64=MASTER_KEY_BASE64,
    )
    assert await within(subscriber.connect()) == "205871.4830187"
    yield subscriber


@pytest_twisted.ensureDeferred
async def test_public_channel(hosted, subscriber):
    hosted.answers["news"] = [
        '{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"news"}',
        r'{"event":"pusher_internal:subscription_count","data":"{\"subscription_count\":2}",'
        r'"channel":"news"}',
        r'{"event":"headline","data":"{\"text\":\"\u00fc \ud83d\udc0d\"}","channel":"news"}',
        '{"event":"headline","data":"plain text","channel":"news"}',
    ]
    told = Told(subscriber)
    subscription = await within(subscriber.subscribe("news"))
    assert await told.wait_for("headline", 2) == [{"text": "ü 🐍"}, "plain text"]
    assert subscription.subscription_count == 2
    assert hosted.received == [{"event": "pusher:subscribe", "data": {"channel": "news"}}]


@pytest_twisted.ensureDeferred
async def test_presence_channel(hosted, subscriber):
    room = "presence-room"
    hosted.answers[room] = [
        r'{"event":"pusher_internal:subscription_succeeded","data":"{\"presence\":{\"count\":2,'
        r"\"ids\":[\"1\",\"11ff\"],\"hash\":{\"1\":{\"name\":\"Ada\"},\"11ff\":{}}}}"
        r'","channel":"presence-room"}',
        r'{"event":"pusher_internal:member_added","data":"{\"user_id\":\"7\",\"user_info\":'
        r'{\"name\":\"Bob\"}}","channel":"presence-room"}',
        r'{"event":"pusher_internal:member_removed","data":"{\"user_id\":\"11ff\"}",'
        r'"channel":"presence-room"}',
        r'{"event":"client-typing","data":"{\"who\":\"Bob\"}","channel":"presence-room",'
        r'"user_id":"7"}',
    ]
    told = Told(subscriber)
    subscription = await within(subscriber.subscribe(room))
    await told.wait_for("client-typing")
    assert told.named("pusher:member_added") == [{"id": "7", "info": {"name": "Bob"}}]
    assert told.named("pusher:member_removed") == [{"id": "11ff", "info": {}}]
    assert told.messages[-1].user_id == "7"
    assert subscription.members == {"1": {"name": "Ada"}, "7": {"name": "Bob"}}
    assert subscription.me == {"id": "1", "info": {"name": "Ada"}}


@pytest_twisted.ensureDeferred
async def test_cache_channel(hosted, subscriber):
    hosted.answers["cache-a"] = [
        '{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"cache-a"}',
        '{"event":"pusher:cache_miss","channel":"cache-a"}',
    ]
    told = Told(subscriber)
    await within(subscriber.subscribe("cache-a"))
    assert await told.wait_for("pusher:cache_miss") == [None]


@pytest_twisted.ensureDeferred
async def test_encrypted_channel(hosted, subscriber):
    sealed = json.dumps(encrypt(SECRET_ROOM, '{"blood_type":"0+"}', MASTER_KEY))
    hosted.answers[SECRET_ROOM] = [
        '{"event":"pusher_internal:subscription_succeeded","data":"{}",'
        f'"channel":"{SECRET_ROOM}"}}',
        f'{{"event":"result","data":{sealed},"channel":"{SECRET_ROOM}"}}',
    ]
    told = Told(subscriber)
    await within(subscriber.subscribe(SECRET_ROOM))
    assert await told.wait_for("result") == [{"blood_type": "0+"}]


@pytest_twisted.ensureDeferred
async def test_user_and_watchlist(hosted, subscriber):
    hosted.answers["pusher:signin"] = [
        r'{"event":"pusher:signin_success","data":{"user_data":"{\"id\":\"7\",'
        r'\"watchlist\":[\"8\",\"9\"]}"}}',
        r'{"event":"pusher_internal:watchlist_events","data":{"events":['
        r'{"name":"online","user_ids":["8"]},{"name":"offline","user_ids":["9"]}]}}',
    ]
    hosted.answers["#server-to-user-7"] = [
        '{"event":"pusher_internal:subscription_succeeded","data":"{}",'
        '"channel":"#server-to-user-7"}',
        r'{"event":"mail","data":"{\"from\":\"8\"}","channel":"#server-to-user-7"}',
    ]
    told = Told(subscriber)
    assert (await within(subscriber.sign_in({"id": "7"})))["watchlist"] == ["8", "9"]
    await told.wait_for("mail")
    assert told.named("online") == [{"user_ids": ["8"]}]
    assert told.named("offline") == [{"user_ids": ["9"]}]
    assert told.messages[-1].channel == "#server-to-user-7"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (
            '{"event":"pusher:subscription_error","data":{"type":"AuthError","error":'
            '"The connection is unauthorized.","status":401},"channel":"private-a"}',
            401,
        ),
        (
            '{"event":"pusher:error","data":{"code":null,"message":"Invalid signature: '
            "Expected HMAC SHA256 hex digest of 205871.4830187:private-a, but got "
            '0123456789abcdef0123456789abcdef"}}',
            None,
        ),
        (
            '{"event":"pusher:error","data":{"code":null,"message":'
            '"Existing subscription to channel private-a"}}',
            None,
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_refused_subscription(hosted, subscriber, answer, status):
    hosted.answers["private-a"] = [answer]
    with pytest.raises(SubscriptionError) as caught:
        await within(subscriber.subscribe("private-a"))
    assert caught.value.status == status
    assert "0123456789abcdef" not in str(caught.value) + caught.value.reason
    assert subscriber.state == "connected"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (4301, "Client event rejected: rate limit of 10 a second exceeded"),
        (None, "Client event rejected - only supported on private and presence channels"),
        (None, "To send client events, you must enable this feature in the Settings page"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_refused_client_event(hosted, subscriber, code, text):
    hosted.answers["private-a"] = [
        '{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"private-a"}'
    ]
    error = {"event": "pusher:error", "data": {"code": code, "message": text}}
    hosted.answers["client-a"] = [json.dumps(error)]
    hosted.answers["pusher:ping"] = ['{"event":"pusher:pong","data":"{}"}']
    room = await within(subscriber.subscribe("private-a"))
    with pytest.raises(APIError) as caught:
        await within(room.trigger("client-a", {}))
    assert caught.value.status == (code or 0)
    assert await within(room.trigger("client-b", {})) is None


@pytest.mark.parametrize("announced", [False, True])
@pytest_twisted.ensureDeferred
async def test_key_of_another_cluster(serve, make_subscriber, announced):
    text = "App key k not in this cluster. Did you forget to specify the cluster?"

    async def script(peer):
        there = await WebSocketPeer.accept(peer)
        if announced:
            there.send("pusher:error", {"code": 4001, "message": text})
        there.close(4001, text)
        await peer.stall()

    subscriber = make_subscriber(serve(script).port)
    with pytest.raises(ConnectionClosedError, match="cluster") as caught:
        await within(subscriber.connect())
    assert caught.value.code == 4001
    await until(lambda: subscriber.state == "failed")
