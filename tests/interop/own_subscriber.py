"""
Our own Subscriber behind the interface of a pusher-js connection.

The same tests then run with either, side by side.  Where the two differ on purpose, it says so.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.interop.inbox import Inbox
from tests.interop.subscriber import Subscriber as Interface
from txpusher import (
    APIError,
    ClosedError,
    ConnectionClosedError,
    InvalidRequestError,
    Pusher,
    Subscriber,
    SubscriptionError,
)
from txpusher._protocol.incoming import read_message, write_message
from txpusher.subscriber import Message, Subscription


class OwnSubscriber(Interface):
    """One connection of ``txpusher.Subscriber``."""

    def __init__(self, name: str, reactor: Any, pusher: Pusher, member: Any, user: Any) -> None:
        super().__init__(None, name, Inbox(name, reactor), pusher, member, user)  # type: ignore[arg-type]
        self._subscriber: Subscriber | None = None
        self._subscriptions: dict[str, Subscription] = {}

    def call(self, operation: str, **args: Any) -> Deferred[Any]:
        """An operation of ``subscriber.js``."""
        return maybeDeferred(getattr(self, f"do_{operation}"), **args)

    @property
    def subscriber(self) -> Any:
        """The subscriber, once it was opened."""
        assert self._subscriber is not None
        return self._subscriber

    def _put(self, kind: str, **fields: Any) -> None:
        self.inbox.put({"type": kind, **fields})

    # Operations

    def do_open(self, key: str, host: str, port: int, options: Any, library: str) -> None:
        milliseconds = options.get("activityTimeout", 120_000)
        subscriber = self._subscriber = Subscriber(
            key,
            host=host,
            port=port,
            use_tls=False,
            authorizer=self._sign_channel,
            user_authorizer=self._sign_user,
            activity_timeout=milliseconds / 1000,
        )
        subscriber.on_state_change(self._state_changed)
        subscriber.bind_all(self._told)
        self._record(subscriber)
        subscriber.connect().addErrback(self._ended)

    def _record(self, subscriber: Any) -> None:
        """Report each message as the server sent it, too."""
        machine = subscriber._machine
        receive = machine.receive

        def record(text: str) -> Any:
            message = read_message(text)
            fields = {"event": message.event, "channel": message.channel, "data": message.data}
            self._put("message", **fields)
            return receive(text)

        machine.receive = record

    def _sign_channel(self, channel: str, socket_id: str) -> Any:
        question = {"type": "channel", "channel": channel, "socket_id": socket_id}
        return self.authorize(question)

    def _sign_user(self, socket_id: str, user_data: Any) -> Any:
        return self.authorize({"type": "user", "socket_id": socket_id})

    def do_subscribe(self, channel: str) -> None:
        def joined(subscription: Subscription) -> None:
            self._subscriptions[channel] = subscription

        def refused(failure: Failure) -> None:
            failure.trap(SubscriptionError, ConnectionClosedError)
            error: Any = failure.value
            status = getattr(error, "status", None)
            data = {"type": "AuthError", "error": str(error), "status": status}
            self._put("event", channel=channel, event="pusher:subscription_error", data=data)

        self.subscriber.subscribe(channel).addCallbacks(joined, refused)

    def do_send_subscribe(self, channel: str) -> None:
        auth = self._sign_channel(channel, self.subscriber.socket_id)
        text = write_message("pusher:subscribe", {"channel": channel, **auth})
        self.subscriber._engine._line.send(text)

    def do_unsubscribe(self, channel: str) -> Any:
        # Handlers are told of the confirmation before the subscription is given out.
        return self.subscriber.subscribe(channel).addCallback(Subscription.unsubscribe)

    def do_trigger(self, channel: str, event: str, data: Any) -> bool:
        def refused(failure: Failure) -> None:
            # On a public channel pusher-js sends all the same, and the server refuses.
            # And one whose pong is awaited when the test ends has been sent.
            failure.trap(APIError, InvalidRequestError, ClosedError)
            self._put("error", code=getattr(failure.value, "status", None), message="")

        self._subscriptions[channel].trigger(event, data).addErrback(refused)
        return True

    def do_signin(self) -> None:
        self.subscriber.sign_in(self.user).addErrback(self._ended)

    def do_user_data(self) -> Any:
        return self.subscriber.sign_in(self.user)

    def do_leave_pings_to_the_server(self) -> Any:
        from twisted.internet import reactor

        # The watch begins when the handlers have been told of the connection.
        return deferLater(reactor, 0, self.subscriber._engine._stop_liveness)

    def do_members(self, channel: str) -> Any:
        return self._members(channel)

    def do_subscription_count(self, channel: str) -> Any:
        return self._subscriptions[channel].subscription_count

    def do_disconnect(self) -> Any:
        return None if self._subscriber is None else self._subscriber.close()

    # What it is told

    def _state_changed(self, old: str, new: str) -> None:
        # pusher-js has no state for the end that the server wants.
        current = "disconnected" if new == "failed" else new
        self._put("state", previous=old, current=current)
        if new == "connected":
            self._put("connected", socket_id=self.subscriber.socket_id)
        if new == "failed":
            self.subscriber.connect().addErrback(self._ended)

    def _ended(self, failure: Failure) -> None:
        error: Any = failure.value
        self._put("error", code=getattr(error, "code", None), message=str(error))

    def _told(self, message: Message) -> None:
        channel, event, data = message.channel, message.event, message.data
        if event == "pusher:error":
            self._put("error", code=data.get("code"), message=data.get("message"))
        elif channel is None and event in ("online", "offline"):
            self._put("watchlist", event=event, data=data)
        elif channel is None or channel.startswith("#"):
            self._put("user_event", event=event, data=data)
        elif event.startswith("client-"):
            metadata = {} if message.user_id is None else {"user_id": message.user_id}
            self._put("event", channel=channel, event=event, data=data, metadata=metadata)
        else:
            if event == "pusher:subscription_succeeded" and channel.startswith("presence-"):
                data = self._members(channel)
            self._put("event", channel=channel, event=event, data=data)

    def _members(self, channel: str) -> dict[str, Any]:
        record = self.subscriber._machine.channels.get(channel)
        members = dict(record.members)
        return {"members": members, "count": len(members), "me": record.me}
