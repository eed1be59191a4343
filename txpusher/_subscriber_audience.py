"""
The program's side of a subscriber: who listens, and who waits for what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from txpusher._handlers import Handlers, Inbox, call_handler
from txpusher._protocol import actions
from txpusher._protocol.joining import Channel
from txpusher._subscription import Subscription
from txpusher._waiters import Waiters
from txpusher.errors import PusherError

#: Called with the old state and the new one.
StateHandler = Callable[[str, str], object]


class Audience:
    """
    The handlers and the Deferreds of one subscriber.

    :ivar handlers: The handlers of all channels.
    :ivar state_handlers: The handlers of states.
    :ivar places: The channels of the program, by name, as the machine knows them.
    :ivar connecting: The Deferreds of connect().
    :ivar signing_in: The Deferreds of sign_in().
    :ivar triggered: The Deferreds of client events, by their numbers.
    """

    def __init__(self) -> None:
        self.handlers = Handlers()
        self.state_handlers: tuple[StateHandler, ...] = ()
        self.places: dict[str, Place] = {}
        self.connecting: Waiters[str] = Waiters()
        self.signing_in: Waiters[dict[str, Any]] = Waiters()
        self.triggered: dict[int, Deferred[None]] = {}

    @property
    def outcomes(self) -> dict[type, Callable[[Any], None]]:
        """Return what carries out the actions that concern the program, by their types."""
        return {
            actions.Tell: self._tell,
            actions.StateChange: self._state_changed,
            actions.Connected: self._connected,
            actions.Settled: self._settled,
            actions.Ended: self._ended,
        }

    @property
    def answers(self) -> dict[type, Callable[[Any], Callable[[], None]]]:
        """
        Return what takes note of the answers to the program, by the types of the actions.

        Each is called as soon as the answer is known, and returns the function that gives
        it, for the turn of the action.  Who asks once more before that waits for the next
        answer.
        """
        return {
            actions.Joined: self._joined,
            actions.Refused: self._refused,
            actions.SignedIn: self._signed_in,
            actions.SignInRefused: self._sign_in_refused,
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
        self.connecting.fire(action.socket_id)

    def _joined(self, action: actions.Joined) -> Callable[[], None]:
        place = self.places[action.channel]
        waiters = place.waiters.take()
        return lambda: place.confirm(waiters)

    def _refused(self, action: actions.Refused) -> Callable[[], None]:
        error = action.error
        if action.gone:
            place = self.places.pop(action.channel)
            return lambda: place.end(error, error)
        waiters = self.places[action.channel].waiters.take()
        return lambda: waiters.fail(error)

    def _signed_in(self, action: actions.SignedIn) -> Callable[[], None]:
        waiters = self.signing_in.take()

        def fire() -> None:
            for waiter in waiters.drain():
                waiter.callback(dict(action.user_data))

        return fire

    def _sign_in_refused(self, action: actions.SignInRefused) -> Callable[[], None]:
        waiters = self.signing_in.take()
        return lambda: waiters.fail(action.error)

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
        # Client events are settled before.
        places, self.places = list(self.places.values()), {}
        self.connecting.fail(error)
        self.signing_in.fail(error)
        for place in places:
            place.end(error, error)


class Place:
    """
    One channel of a subscriber: its Subscription, and who waits for it.

    :ivar waiters: The Deferreds of subscribe() that have no answer.
    """

    def __init__(self, channel: Channel, inbox: Inbox, subscription: Subscription) -> None:
        self.channel = channel
        self.inbox = inbox
        self.subscription = subscription
        self.waiters: Waiters[Subscription] = Waiters()
        self._over: PusherError | None = None

    def confirm(self, waiters: Waiters[Subscription]) -> None:
        """Give the Subscription to *waiters*, unless the channel has been left since."""
        if self._over is None:
            waiters.fire(self.subscription)
        else:
            waiters.fail(self._over)

    def end(self, reason: PusherError | None, error: PusherError) -> None:
        """End the iterators with *reason*, None for no error, and the waiters with *error*."""
        self._over = error
        self.inbox.end(reason)
        self.waiters.fail(error)
