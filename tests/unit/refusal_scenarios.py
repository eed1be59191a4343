"""
How each refusal comes about, for the tests that walk the server's table of refusals.

A scenario has the settings of the app, and what a client does.  The refusals of
``AT_THE_SOCKETS`` never reach the hub or the endpoints: the tests over sockets have those.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs

from tests.support.credentials import KEY
from txpusher.server import Limits
from txpusher.server._core.refusals import Refusal

from .endpoints_client import EVENT, Client
from .hub_driver import WALL, Browser


@attrs.frozen
class Scenario:
    """
    What leads to a refusal.

    :ivar act: Does it, as a client of the HTTP API or with a browser.
    :ivar app: Settings of the driver, most of them its app's.
    """

    act: Callable[[Client], Any]
    app: dict[str, Any] = attrs.field(factory=dict)


def browsing(act: Callable[[Browser], None], **app: Any) -> Scenario:
    """What a browser does that is subscribed to ``a`` and ``private-a``."""

    def browse(client: Client) -> None:
        client.browser.subscribe("private-a")
        act(client.browser)

    return Scenario(browse, app)


def calling(path: str, body: Any = None, method: str = "POST", **options: Any) -> Scenario:
    """A call of the HTTP API."""
    return Scenario(lambda client: client.call(method, f"/apps/3{path}", body, **options))


def connecting(key: str = KEY, protocol: str | None = "7", **app: Any) -> Scenario:
    """One more connection."""
    return Scenario(lambda client: client.driver.browser(key, protocol), app)


def changed(act: Callable[[Client], Any], **app: Any) -> Scenario:
    """What a client does once settings of the app have changed, which lets it in at first."""

    def change(client: Client) -> Any:
        client.driver.state.app = attrs.evolve(client.driver.app, **app)
        return act(client)

    return Scenario(change)


def sending(event: str, data: Any = None, **app: Any) -> Scenario:
    """A message of a browser."""
    return browsing(lambda browser: browser.send({"event": event, "data": data}), **app)


def subscribing(channel: str, member: Any = None, **app: Any) -> Scenario:
    """A subscription, signed where it must be."""
    return browsing(lambda browser: browser.subscribe(channel, member), **app)


def client_event(
    data: Any = "",
    channel: str = "private-a",
    event: str = "client-x",
    times: int = 1,
    **app: Any,
) -> Scenario:
    """A client event, some times."""

    def send(browser: Browser) -> None:
        for _ in range(times):
            browser.send({"event": event, "channel": channel, "data": data})

    return browsing(send, **app)


def passing(*seconds: float, **app: Any) -> Scenario:
    """Time, in which nobody does anything."""

    def wait(client: Client) -> None:
        for some in seconds:
            client.driver.pass_time(some)

    return Scenario(wait, app)


def _signing_in_twice(browser: Browser) -> None:
    browser.sign_in("one")
    browser.sign_in("other")


def _terminating(client: Client) -> None:
    client.browser.sign_in("u")
    client.post("/users/u/terminate_connections", {})


def _ill_signed(browser: Browser) -> None:
    data = {"auth": f"{KEY}:{'0' * 64}", "user_data": json.dumps({"id": "u"})}
    browser.send({"event": "pusher:signin", "data": data})


def _filling(channel: Callable[[int], str], members: int) -> Callable[[Client], None]:
    def fill(client: Client) -> None:
        for number in range(members):
            client.driver.browser().subscribe(channel(number), {"user_id": number})

    return fill


def _twice(client: Client) -> None:
    for _ in range(2):
        client.post("/events", EVENT)


def _in_trouble(act: Callable[[Browser], None]) -> Scenario:
    def browse(client: Client) -> None:
        client.driver.state.trouble.refuse_auth = True
        act(client.browser)

    return Scenario(browse)


def _one_more_channel(client: Client) -> None:
    for number in range(10_000):
        client.browser.subscribe(f"c{number}")


AUTHENTIC = {
    "auth_key": KEY,
    "auth_version": "1.0",
    "auth_timestamp": str(int(WALL)),
    "auth_signature": "0" * 64,
}

SCENARIOS: dict[Refusal, Scenario] = {
    Refusal.UNESCAPED_URL: calling("/events%ff"),
    Refusal.NO_UPGRADE: Scenario(lambda client: client.send("GET", f"/app/{KEY}", "")),
    Refusal.NO_SUCH_PATH: calling("/nothing"),
    Refusal.WRONG_METHOD: calling("/events", method="GET"),
    Refusal.NO_SUCH_APP: Scenario(lambda client: client.call("GET", "/apps/4/channels")),
    Refusal.AUTH_MISSING: Scenario(
        lambda client: client.send("GET", "/apps/3/channels", "auth_key=x")
    ),
    Refusal.AUTH_KEY: calling("/channels", method="GET", signed={"auth_key": "other"}),
    Refusal.AUTH_VERSION: calling("/channels", method="GET", signed={"auth_version": "2.0"}),
    Refusal.AUTH_TIMESTAMP: calling("/channels", method="GET", timestamp=WALL - 601),
    Refusal.AUTH_BODY: calling("/events", EVENT, signed={"body_md5": "0" * 32}),
    Refusal.AUTH_SIGNATURE: calling("/channels", method="GET", secret="other"),
    Refusal.DISABLED: changed(
        lambda client: client.call("GET", "/apps/3/channels"), enabled=False
    ),
    Refusal.OVER_QUOTA: Scenario(_twice, {"limits": Limits(messages_per_day=1)}),
    Refusal.OVER_RATE: Scenario(_twice, {"limits": Limits(messages_per_second=1)}),
    Refusal.IDEMPOTENCY_KEY: calling("/events", EVENT, key=""),
    Refusal.BODY: calling("/events", b"nonsense"),
    Refusal.NAME: calling("/events", {**EVENT, "channels": ["a b"]}),
    Refusal.INFO: calling("/events", {**EVENT, "info": "colour"}),
    Refusal.NO_USERS: calling("/channels/a/users", method="GET"),
    Refusal.LARGE_EVENT: calling("/events", {**EVENT, "data": "x" * 10_241}),
    Refusal.UNKNOWN_APP: connecting("other"),
    Refusal.APP_DISABLED: changed(lambda client: client.driver.browser(), enabled=False),
    Refusal.APP_FULL: changed(lambda client: client.driver.browser(), max_connections=1),
    Refusal.SERVER_FULL: connecting(max_connections=1),
    Refusal.INVALID_PROTOCOL: connecting(protocol="seven"),
    Refusal.UNSUPPORTED_PROTOCOL: connecting(protocol="3"),
    Refusal.NO_PROTOCOL: connecting(protocol=None),
    Refusal.NOT_AUTHORIZED: passing(30, authorization_timeout=30),
    Refusal.TERMINATED: Scenario(_terminating),
    Refusal.NO_PONG: passing(120, 30),
    Refusal.SIGN_IN_OFF: browsing(lambda one: one.sign_in("u"), user_authentication=False),
    Refusal.SIGN_IN_DATA: browsing(lambda one: one.sign_in("")),
    Refusal.SIGN_IN_AUTH: browsing(_ill_signed),
    Refusal.SIGN_IN_TROUBLE: _in_trouble(lambda one: one.sign_in("u")),
    Refusal.SIGNED_IN_ALREADY: browsing(_signing_in_twice),
    Refusal.MESSAGE: browsing(lambda one: one.send("nonsense")),
    Refusal.UNKNOWN_EVENT: sending("other"),
    Refusal.WATCHLIST: browsing(lambda one: one.sign_in("u", watchlist="a")),
    Refusal.LONG_WATCHLIST: browsing(
        lambda one: one.sign_in("u", watchlist=[str(n) for n in range(101)])
    ),
    Refusal.SUBSCRIBED_ALREADY: subscribing("a"),
    Refusal.TOO_MANY_CHANNELS: Scenario(_one_more_channel, {"subscription_counts": False}),
    Refusal.CHANNEL_NAME: subscribing("a b"),
    Refusal.SUBSCRIPTION_AUTH: sending(
        "pusher:subscribe", {"channel": "private-b", "auth": f"{KEY}:{'0' * 64}"}
    ),
    Refusal.SUBSCRIPTION_TROUBLE: _in_trouble(lambda one: one.subscribe("private-b")),
    Refusal.OTHER_USER: subscribing("#server-to-user-u"),
    Refusal.NO_MEMBER: subscribing("presence-a"),
    Refusal.MEMBER: subscribing("presence-a", {"name": "u"}),
    Refusal.LONG_USER_ID: subscribing(
        "presence-a", {"user_id": "xxx"}, limits=Limits(presence_user_id_length=2)
    ),
    Refusal.LARGE_USER_INFO: subscribing(
        "presence-a", {"user_id": "1", "user_info": "xx"}, limits=Limits(user_info_bytes=3)
    ),
    Refusal.CHANNEL_FULL: Scenario(
        _filling(lambda _: "presence-a", 3), {"limits": Limits(presence_members=2)}
    ),
    Refusal.CLIENT_EVENTS_OFF: client_event(client_events=False),
    Refusal.NOT_SUBSCRIBED: client_event(channel="private-b"),
    Refusal.PUBLIC_CHANNEL: client_event(channel="a"),
    Refusal.CLIENT_EVENT_NAME: client_event(event="client-" + "x" * 200),
    Refusal.CLIENT_EVENT_RATE: client_event(times=11),
    Refusal.CLIENT_EVENT_QUOTA: client_event(times=2, limits=Limits(messages_per_day=1)),
    Refusal.LARGE_CLIENT_EVENT: client_event("x" * 10_241),
}

#: What happens to bytes and frames before anything reaches the hub or the endpoints.
AT_THE_SOCKETS = frozenset(
    {
        Refusal.TLS,
        Refusal.NO_REQUEST,
        Refusal.SLOW_REQUEST,
        Refusal.LARGE_REQUEST,
        Refusal.NO_HANDSHAKE,
        Refusal.NO_SOCKET_PATH,
        Refusal.LARGE_MESSAGE,
        Refusal.BINARY_MESSAGE,
        Refusal.BROKEN_FRAME,
        Refusal.SLOW_READER,
        Refusal.CONSOLE,
    }
)
