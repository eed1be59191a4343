"""The pure subscriber with everything around it played by a test."""

from __future__ import annotations

import base64
import json
from typing import Any, TypeVar

from tests.support.credentials import MASTER_KEY
from txpusher._protocol import encryption
from txpusher._protocol.actions import (
    Action,
    Authorize,
    Send,
    Settled,
    State,
    StateChange,
    Tell,
)
from txpusher._protocol.incoming import Message
from txpusher._protocol.subscribing import Subscribing

T = TypeVar("T")

SOCKET_ID = "123.456"


def frame(event: str, data: Any = None, channel: str | None = None, **fields: Any) -> str:
    """A message of the server as it is on the wire."""
    message = {"event": event, **fields}
    if data is not None:
        message["data"] = data
    if channel is not None:
        message["channel"] = channel
    return json.dumps(message)


def greeting(socket_id: Any = SOCKET_ID, **data: Any) -> str:
    """The first message of the server."""
    data = {"socket_id": socket_id, "activity_timeout": 120, **data}
    return frame("pusher:connection_established", json.dumps(data))


def succeeded(channel: str, data: Any = None) -> str:
    """The confirmation of a subscription."""
    return frame(
        "pusher_internal:subscription_succeeded", json.dumps(data or {}), channel=channel
    )


def present(channel: str, members: dict[str, Any]) -> str:
    """The confirmation of a subscription to a presence channel."""
    presence = {"ids": list(members), "hash": members, "count": len(members)}
    return succeeded(channel, {"presence": presence})


def secret_of(channel: str, master_key: bytes = MASTER_KEY) -> str:
    """The shared secret of an encrypted channel, in base64."""
    return base64.b64encode(encryption.shared_secret(channel, master_key)).decode("ascii")


class Driver:
    """
    A subscriber, and every action that it has asked for.

    :ivar actions: Those that came since :meth:`take` was called last.
    """

    def __init__(self) -> None:
        self.machine = Subscribing()
        self.actions: list[Action] = []

    def __call__(self, actions: list[Action]) -> list[Action]:
        """Take note of actions, and return them."""
        self.actions += actions
        return actions

    def receive(self, *frames: str) -> list[Action]:
        """Receive messages; return the actions of all of them."""
        return [action for text in frames for action in self(self.machine.receive(text))]

    def connect(self, *channels: str) -> None:
        """Connect and subscribe to public channels, all of it confirmed."""
        self(self.machine.connect())
        self.receive(greeting())
        for channel in channels:
            self(self.machine.subscribe(channel))
            self.receive(succeeded(channel))
        self.take()

    def join(self, channel: str, **answer: str) -> None:
        """Subscribe to a channel that the authorizer signs; it is confirmed."""
        [ticket] = tickets(self(self.machine.subscribe(channel)))
        self(self.machine.authorized(ticket, {"auth": "key:signature", **answer}))
        self.receive(succeeded(channel))
        self.take()

    def sign_in(self, user_id: str = "7") -> None:
        """Sign in, confirmed."""
        [ticket] = tickets(self(self.machine.sign_in({"id": user_id})))
        self.machine.authorized(ticket, {"auth": "key:signature", "user_data": "{}"})
        user_data = json.dumps({"id": user_id, "user_info": {"name": "Ada"}})
        self.receive(
            frame("pusher:signin_success", {"user_data": user_data}),
            succeeded(f"#server-to-user-{user_id}"),
        )
        self.take()

    def reconnect(self) -> list[Action]:
        """Lose the connection and get another one."""
        self(self.machine.lost(1006, "lost", 60.0))
        self.take()
        return self.receive(greeting("9.9"))

    def take(self) -> list[Action]:
        """Return the actions, and begin anew."""
        actions, self.actions = self.actions, []
        return actions


def of(kind: type[T], actions: list[Action]) -> list[T]:
    """The actions of one kind."""
    return [action for action in actions if isinstance(action, kind)]


def sent(actions: list[Action]) -> list[dict[str, Any]]:
    """The messages that are sent, decoded."""
    return [json.loads(action.text) for action in of(Send, actions)]


def told(actions: list[Action]) -> list[Message]:
    """The messages to the handlers."""
    return [action.message for action in of(Tell, actions)]


def tickets(actions: list[Action]) -> list[int]:
    """The questions to the authorizer."""
    return [action.ticket for action in of(Authorize, actions)]


def states(actions: list[Action]) -> list[State]:
    """The states that it has changed to."""
    return [action.new for action in of(StateChange, actions)]


def outcomes(actions: list[Action]) -> dict[int, Any]:
    """The outcomes of client events, by their numbers."""
    return {action.number: action.error for action in of(Settled, actions)}
