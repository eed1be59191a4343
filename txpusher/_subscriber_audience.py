"""
The program's side of a subscriber: who listens, and who waits for what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txpusher._handlers import Handlers, Inbox, call_handler
from txpusher._protocol import actions
from txpusher._protocol.joining import Channel
from txpusher._subscription import Subscription
from txpusher.errors import PusherError

#: Called with the old state and the new one.
StateHandler = Callable[[str, str], object]


class Audience:
    """
    The handlers and the Deferreds of one subscriber.

    :ivar handlers: The handlers of all channels.
    :ivar state_handlers: The handlers of states.
    :ivar places: The channels of the program, by name.
    :ivar connecting: The Deferreds of connect().
    :ivar signing_in: The Deferreds of sign_in().
    :ivar triggered: The Deferreds of client events, by their numbers.
    """

    def __init__(self) -> None:
        self.handlers = Handlers()
        self.state_handlers: tuple[StateHandler, ...] = ()
        self.places: dict[str, Place] = {}
        self.connecting: list[Deferred[str]] = []
        self.signing_in: list[Deferred[dict[str, Any]]] = []
        self.triggered: dict[int, Deferred[None]] = {}

    @property
    def outcomes(self) -> dict[type, Callable[[Any], None]]:
        """Return what carries out the actions that concern the program, by their types."""
        return {
            actions.Tell: self._tell,
            actions.StateChange: self._state_changed,
            actions.Connected: self._connected,
            actions.Joined: self._joined,
            actions.Refused: self._refused,
            actions.SignedIn: self._signed_in,
            actions.SignInRefused: self._sign_in_refused,
            actions.Settled: self._settled,
            actions.Ended: self._ended,
        }

    def _tell(self, action: actions.Tell) -> None:
        message = action.message
        place = self.places.get(message.channel or "")
        if place is not None:
            place.inbox.tell(message)
        self.handlers.tell(message)

    def _state_changed(self, action: actions.StateChange) -> None:
        for handler in self.state_handlers:
            call_handler(handler, action.old.value, action.new.value)

    def _connected(self, action: actions.Connected) -> None:
        waiters, self.connecting = self.connecting, []
        for waiter in waiters:
            waiter.callback(action.socket_id)

    def _joined(self, action: actions.Joined) -> None:
        place = self.places.get(action.channel)
        if place is not None:
            for waiter in place.take_waiters():
                waiter.callback(place.subscription)

    def _refused(self, action: actions.Refused) -> None:
        place = self.places.get(action.channel)
        if place is None:
            return
        if action.gone:
            del self.places[action.channel]
            place.end(Failure(action.error), action.error)
        else:
            place.fail_waiters(action.error)

    def _signed_in(self, action: actions.SignedIn) -> None:
        waiters, self.signing_in = self.signing_in, []
        for waiter in waiters:
            waiter.callback(dict(action.user_data))

    def _sign_in_refused(self, action: actions.SignInRefused) -> None:
        waiters, self.signing_in = self.signing_in, []
        for waiter in waiters:
            waiter.errback(action.error)

    def _settled(self, action: actions.Settled) -> None:
        waiter = self.triggered.pop(action.number, None)
        if waiter is None:
            return
        if action.error is None:
            waiter.callback(None)
        else:
            waiter.errback(action.error)

    def _ended(self, action: actions.Ended) -> None:
        error = action.error
        waiters: list[Deferred[Any]] = [
            *self.connecting,
            *self.signing_in,
            *self.triggered.values(),
        ]
        self.connecting, self.signing_in, self.triggered = [], [], {}
        places, self.places = list(self.places.values()), {}
        for waiter in waiters:
            waiter.errback(error)
        for place in places:
            place.end(Failure(error), error)


class Place:
    """
    One channel of a subscriber: its Subscription, and who waits for it.

    :ivar waiters: The Deferreds of subscribe() that have not fired.
    """

    def __init__(self, channel: Channel, inbox: Inbox, subscription: Subscription) -> None:
        self.channel = channel
        self.inbox = inbox
        self.subscription = subscription
        self.waiters: list[Deferred[Subscription]] = []

    def take_waiters(self) -> list[Deferred[Subscription]]:
        """Return the waiters, which wait no more."""
        waiters, self.waiters = self.waiters, []
        return waiters

    def fail_waiters(self, error: PusherError) -> None:
        """Fail every waiter."""
        for waiter in self.take_waiters():
            waiter.errback(error)

    def end(self, reason: Failure | None, error: PusherError) -> None:
        """End the iterators with *reason*, None for no error, and the waiters with *error*."""
        self.inbox.end(reason)
        self.fail_waiters(error)
