"""pusher-js connections, one object for each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from txpusher import Pusher

from .inbox import Inbox, Message
from .node import NodeScript
from .servers import Address

_NAMES = itertools.count(1)


class Browsers:
    """The Node.js program in which all connections of a test live."""

    def __init__(self, script: NodeScript, reactor: Any) -> None:
        self._script = script
        self._reactor = reactor
        self._subscribers: dict[str, Subscriber] = {}
        script.on_report = self._report
        script.on_question = self._question

    def subscriber(
        self,
        pusher: Pusher,
        member: Mapping[str, Any] | None,
        user: Mapping[str, Any] | None,
    ) -> Subscriber:
        """A subscriber that is not connected yet."""
        name = f"subscriber {next(_NAMES)}"
        inbox = Inbox(name, self._reactor)
        subscriber = Subscriber(self._script, name, inbox, pusher, member, user)
        self._subscribers[name] = subscriber
        return subscriber

    def _report(self, message: Message) -> None:
        self._subscribers[message["subscriber"]].inbox.put(message)

    def _question(self, question: Message) -> Any:
        return self._subscribers[question["subscriber"]].authorize(question)


class Subscriber:
    """
    One connection of pusher-js.

    Its requests for authorization are answered by *pusher*: on presence
    channels for *member*, at a sign-in for *user*.

    :ivar inbox: All that it was told: as pusher-js tells a program, and under
        the type ``"message"`` as the server sent it.
    :ivar socket_id: Of the latest connection.
    """

    def __init__(
        self,
        script: NodeScript,
        name: str,
        inbox: Inbox,
        pusher: Pusher,
        member: Mapping[str, Any] | None,
        user: Mapping[str, Any] | None,
    ) -> None:
        self.inbox = inbox
        self.socket_id = ""
        self._script = script
        self._name = name
        self.pusher = pusher
        self.member = member
        self.user: Any = user

    # What it does

    async def open(
        self,
        address: Address,
        *,
        echo: bool = False,
        library: str = "pusher-js",
        **options: Any,
    ) -> None:
        """
        Begin to connect; *echo* makes laravel-echo the one that does.

        :param library: The package, of ``package.json``, without *echo*.
        """
        await self.call(
            "open_echo" if echo else "open",
            key=address.key,
            host=address.host,
            port=address.port,
            options=options,
            library=library,
        )

    async def connect(self, address: Address, **options: Any) -> None:
        """Connect, and wait until that is done."""
        await self.open(address, **options)
        await self.connected()

    async def subscribe(self, *channels: str) -> Any:
        """
        Subscribe to each channel in turn.

        :returns: What pusher-js says of the last one's success: the members of
            a presence channel.
        """
        data = None
        for channel in channels:
            await self.ask_to_subscribe(channel)
            data = await self.event(channel, "pusher:subscription_succeeded")
        return data

    async def ask_to_subscribe(self, channel: str) -> None:
        """Subscribe, and wait for no answer."""
        await self.call("subscribe", channel=channel)

    async def unsubscribe(self, channel: str) -> None:
        await self.call("unsubscribe", channel=channel)

    async def trigger(self, channel: str, event: str, data: Any) -> None:
        """Send a client event."""
        assert await self.call("trigger", channel=channel, event=event, data=data)

    async def sign_in(self) -> None:
        """Sign in, and wait until events to the user would arrive."""
        await self.call("signin")
        await self.signed_in()

    async def members(self, channel: str) -> Any:
        """What pusher-js knows of a presence channel's members."""
        return await self.call("members", channel=channel)

    async def listen(
        self, kind: str, channel: str, *events: str, whispers: Sequence[str] = ()
    ) -> None:
        """
        Listen by laravel-echo, and wait until it has subscribed.

        :param kind: The method of Echo that enters the channel.
        """
        await self.call(
            "echo_listen", kind=kind, channel=channel, events=events, whispers=whispers
        )
        await self.echo_event(channel, "subscribed")

    def call(self, operation: str, **args: Any) -> Deferred[Any]:
        """An operation of ``subscriber.js``."""
        return self._script.call(operation, subscriber=self._name, **args)

    async def disconnect(self) -> None:
        await self.call("disconnect")

    # What it is told

    async def connected(self) -> str:
        """The socket id of the next connection."""
        self.socket_id = (await self.report("connected"))["socket_id"]
        return self.socket_id

    async def signed_in(self) -> None:
        """A sign-in succeeds, and the subscription to the user's events after it."""
        await self.report("message", event="pusher:signin_success")
        await self.report(
            "message",
            event="pusher_internal:subscription_succeeded",
            channel=f"#server-to-user-{self.user['id']}",
        )

    async def event(self, channel: str, event: str) -> Any:
        """The data of the next *event* on *channel*."""
        return (await self.report("event", channel=channel, event=event))["data"]

    async def user_event(self, event: str) -> Any:
        """The data of the next *event* to the user who signed in."""
        return (await self.report("user_event", event=event))["data"]

    async def watchlist_event(self, event: str) -> Any:
        """The users of the next *event* of the user's watchlist, ``online`` or ``offline``."""
        return (await self.report("watchlist", event=event))["data"]["user_ids"]

    async def echo_event(self, channel: str, event: str) -> Any:
        """What laravel-echo passes on next for *event*, in its own name for it."""
        return (await self.report("echo", channel=channel, event=event))["data"]

    async def error(self, code: int | None) -> Message:
        """The next connection error of that *code*."""
        return await self.report("error", code=code)

    async def state(self, current: str) -> None:
        """pusher-js changes to the state *current*."""
        await self.report("state", current=current)

    async def report(self, kind: str, **fields: Any) -> Message:
        """The next message of a *kind* with those *fields*."""
        wanted = {"type": kind, **fields}
        what = ", ".join(f"{name} {value!r}" for name, value in wanted.items())
        return await self.inbox.take(
            what, lambda message: wanted.items() <= dict(message).items()
        )

    def events(self, channel: str) -> list[tuple[str, Any]]:
        """Every event on *channel* so far, pusher-js's own left out."""
        return [
            (message["event"], message["data"])
            for message in self.inbox.received
            if message["type"] == "event"
            and message["channel"] == channel
            and not message["event"].startswith("pusher:")
        ]

    # What it asks for

    def authorize(self, question: Message) -> Any:
        """What the application's own server would answer."""
        if question["type"] == "user":
            return self.pusher.authenticate_user(question["socket_id"], self.user)
        channel = question["channel"]
        member = self.member if channel.startswith("presence-") else None
        return self.pusher.authenticate(channel, question["socket_id"], member)
