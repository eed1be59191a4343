"""Strings of other classes, such as enums, stand for what they hold wherever one is taken."""

from __future__ import annotations

from enum import Enum

import pytest

from tests.support.credentials import KEY, SECRET
from txpusher import Config, Event, Pusher, RetryPolicy
from txpusher.server import App

from .helpers import body_of, make_api


class Name(str, Enum):
    CHANNEL = "presence-a"
    EVENT = "happened"
    SOCKET = "1.2"
    USER = "alice"
    INFO = "user_count"
    PATH = "/channels"
    CLUSTER = "eu"
    KEY = KEY
    SECRET = SECRET


CALLS = {
    "trigger": lambda api, n: api.trigger(n.CHANNEL, n.EVENT, "x", n.SOCKET, n.INFO),
    "trigger to several": lambda api, n: api.trigger([n.CHANNEL], n.EVENT, "x", None, [n.INFO]),
    "trigger_batch": lambda api, n: api.trigger_batch(
        [Event(n.CHANNEL, n.EVENT, n.USER, n.SOCKET, n.INFO)]
    ),
    "send_to_user": lambda api, n: api.send_to_user(n.USER, n.EVENT, "x"),
    "channels": lambda api, n: api.channels(n.CHANNEL, n.INFO),
    "channel_info": lambda api, n: api.channel_info(n.CHANNEL, n.INFO),
    "channel_users": lambda api, n: api.channel_users(n.CHANNEL),
    "terminate": lambda api, n: api.terminate_user_connections(n.USER),
    "get": lambda api, n: api.get(n.PATH, {n.INFO: n.USER}),
    "post": lambda api, n: api.post(n.PATH, {n.INFO: n.USER}),
    "authenticate": lambda api, n: api.authenticate(
        n.CHANNEL, n.SOCKET, {"user_id": n.USER, "user_info": n.EVENT}
    ),
    "authenticate_user": lambda api, n: api.authenticate_user(n.SOCKET, {"id": n.USER}),
}


class Plain:
    """The same names as what they hold."""


for _name in Name:
    setattr(Plain, _name.name, _name.value)


@pytest.mark.parametrize("name", CALLS)
def test_operation_takes_subclasses_of_str(name):
    api = make_api()
    built, plain = CALLS[name](api, Name), CALLS[name](api, Plain)
    assert built == plain
    assert repr(built) == repr(plain)


def test_trigger_takes_subclasses_of_str():
    request = make_api().trigger(Name.CHANNEL, Name.EVENT, Name.USER)
    assert body_of(request) == {"name": "happened", "channels": ["presence-a"], "data": "alice"}


def test_settings_take_subclasses_of_str():
    config = Config(Name.USER, Name.KEY, Name.SECRET, cluster=Name.CLUSTER, retry=RetryPolicy())
    assert (config.app_id, config.host) == ("alice", "api-eu.pusher.com")
    assert config.app_path == "/apps/alice"
    auth = Pusher("3", Name.KEY, Name.SECRET).authenticate("private-a", "1.2")
    assert auth == Pusher("3", KEY, SECRET).authenticate("private-a", "1.2")
    assert f"{App(Name.USER, Name.KEY, Name.SECRET).id}" == "alice"


def test_server_of_a_host_given_so():
    assert Config("3", KEY, SECRET, host=Name.USER).netloc == "alice"
    assert Config("3", KEY, SECRET, path_prefix=Name.PATH).path_prefix == "/channels"
