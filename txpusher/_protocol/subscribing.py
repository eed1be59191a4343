"""
The subscriber without its sockets: messages and calls go in, actions come out.

:class:`Subscribing` does no I/O and reads no clock.  Each call returns a list of actions (see
:mod:`txpusher._protocol.actions`) for the shell to carry out in order; a call may come at any
moment, while the shell still carries out the actions of another call too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, cast

from txpusher._protocol.actions import (
    Abandon,
    Action,
    Connected,
    Drop,
    Ended,
    HangUp,
    Level,
    Note,
    Open,
    Send,
    Settled,
    State,
    StateChange,
    Tell,
)
from txpusher._protocol.channels import UNSAID, Channels, refusal
from txpusher._protocol.client_events import event_refused
from txpusher._protocol.closing import (
    CLIENT_EVENT_REJECTED,
    OVER_CAPACITY_DELAY,
    Return,
    return_after,
)
from txpusher._protocol.incoming import (
    PING,
    PONG,
    Message,
    code_and_text,
    encode_again,
    read_message,
    write_message,
)
from txpusher._protocol.joining import Stage
from txpusher._protocol.names import check_socket_id
from txpusher._protocol.redaction import redact_signatures
from txpusher._protocol.signing_in import SignIn, watchlist_changes
from txpusher._protocol.unanswered import Kind, Sent, Unanswered
from txpusher._text import short_repr
from txpusher.errors import (
    ClosedError,
    ConnectionClosedError,
    HTTPError,
    InvalidRequestError,
    PusherError,
)

#: Seconds that a connection must last for its loss to be the first one in a row.
STABLE_AFTER = 1.0

_OPENING = (State.CONNECTING, State.UNAVAILABLE)


class Subscribing:
    """
    One subscriber, its connections one after another.

    :param redact: Replaces what must not be seen in the words of the server.
    :ivar state: The state as the program sees it.
    :ivar socket_id: The socket id of the present connection, None without one.
    :ivar end: The error of whatever is asked for from now on, None while there is none.
    """

    def __init__(self, redact: Callable[[str], str] = redact_signatures) -> None:
        self.state = State.INITIALIZED
        self.socket_id: str | None = None
        self.end: PusherError | None = None
        self._redact = redact
        tickets = itertools.count(1)
        self._unanswered = Unanswered()
        self.user = SignIn(tickets, redact, self._unanswered)
        self.channels = Channels(self.user, tickets, redact, self._unanswered)
        self._failures = 0
        self._established_before = False
        #: The code of a ``pusher:error`` that was the last message and may announce the end.
        self._announced = 0
        self._inputs: dict[str, Callable[[Message], list[Action]]] = {
            "pusher:connection_established": self._established,
            "pusher:error": self._error,
            "pusher:ping": lambda message: [Send(PONG)],
            "pusher:pong": self._pong,
            "pusher:signin_success": self._signed_in,
            "pusher:subscription_error": self._subscription_error,
            "pusher_internal:subscription_succeeded": self._subscription_succeeded,
            "pusher_internal:subscription_count": self.channels.internal,
            "pusher_internal:member_added": self.channels.internal,
            "pusher_internal:member_removed": self.channels.internal,
            "pusher_internal:watchlist_events": watchlist_changes,
        }

    @property
    def connected(self) -> bool:
        """Whether the server has given a socket id."""
        return self.state is State.CONNECTED

    # The program

    def connect(self) -> list[Action]:
        """Begin to connect, unless that has begun."""
        if self.state not in (State.INITIALIZED, State.DISCONNECTED) or self.end:
            return []
        self._failures = 0
        self._established_before = False
        return [self._become(State.CONNECTING), Open()]

    def abandon(self) -> list[Action]:
        """
        End the attempt to connect, where no connection has been established since connect().

        Afterwards the subscriber comes back by itself; who waits for that and gives up does
        not end it for everyone else.
        """
        if self.state not in _OPENING or self._established_before:
            return []
        return [self._become(State.DISCONNECTED), Abandon()]

    def close(self) -> list[Action]:
        """End everything; more often than once changes nothing."""
        if isinstance(self.end, ClosedError):
            return []
        self.end = ClosedError("the subscriber is closed")
        changed = self.state is not State.DISCONNECTED
        actions = self._disconnect(ClosedError, "the subscriber is closed")
        if changed:
            actions.append(self._become(State.DISCONNECTED))
        return [*actions, HangUp(), Ended(self.end)]

    def subscribe(
        self, channel: str, custom_data: Mapping[str, Any] | None = None
    ) -> list[Action]:
        """Subscribe to *channel* on this connection and on all that follow."""
        return self.channels.subscribe(channel, custom_data, connected=self.connected)

    def unsubscribe(self, channel: str) -> list[Action]:
        """Leave *channel*."""
        return self.channels.unsubscribe(channel)

    def sign_in(self, user_data: Mapping[str, Any]) -> list[Action]:
        """
        Sign in on this connection and on all that follow.

        :raises InvalidRequestError: The subscriber signs in with other user_data already.
        """
        return self.user.want(user_data, connected=self.connected)

    def withdraw_sign_in(self) -> list[Action]:
        """Sign in no more, where that was never confirmed."""
        return [*self.user.withdraw(), *self.channels.sign_in_settled()]

    def trigger(self, number: int, channel: str, event: str, data: Any) -> list[Action]:
        """
        Send a client event; its outcome is a :class:`Settled` with *number*.

        :raises InvalidRequestError: *data* cannot be JSON.
        """
        if not self.connected:
            why = f"{event!r} was not sent: there is no connection at present"
            return [Settled(number, HTTPError(why, transient=True))]
        joined = self.channels.get(channel)
        if joined is None or joined.stage is not Stage.JOINED:
            error = refusal(channel, "the subscriber is not subscribed at present")
            return [Settled(number, error)]
        try:
            text = write_message(event, data, channel)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequestError(
                f"the data of {event!r} cannot be JSON: {short_repr(str(error), 200)}"
            ) from error
        self._unanswered.add_client_event(number, channel)
        return [Send(text), Send(PING)]

    def forget_trigger(self, number: int) -> list[Action]:
        """Report nothing more of the client event *number*."""
        self._unanswered.forget_event(number)
        return []

    def authorized(self, ticket: int, answer: object) -> list[Action]:
        """Take the authorizer's answer to *ticket*."""
        if self.user.asked_with(ticket):
            return [*self.user.authorized(answer), *self.channels.sign_in_settled()]
        return self.channels.authorized(ticket, answer)

    def not_authorized(self, ticket: int, error: PusherError) -> list[Action]:
        """Take the authorizer's refusal of *ticket*."""
        if self.user.asked_with(ticket):
            return [*self.user.refused(error), *self.channels.sign_in_settled()]
        return self.channels.not_authorized(ticket, error)

    # The connection

    def quiet(self) -> list[Action]:
        """Ask whether the server lives: nothing has come for the activity timeout."""
        # The server has not ended the connection; if no pong comes, this side does.
        self._announced = 0
        return self._ping() if self.connected else []

    def lost(self, code: int, reason: str, lasted: float = 0.0) -> list[Action]:
        """
        Come back after the end of the connection or of the attempt, or give up.

        :param code: The close code, below 4000 where the server gave none of the protocol's.
        :param lasted: Seconds for which the connection was established.
        """
        if self.state not in (*_OPENING, State.CONNECTED):
            return []
        if not 4000 <= code < 5000 and self._announced:
            code = self._announced
        then = return_after(code)
        why = self._redact(f"{code} {reason}".strip())
        if then is Return.NEVER:
            text = f"the server has ended the connection for good: {why}"
            self.end = ConnectionClosedError(text, code=code)
            actions = self._disconnect(ConnectionClosedError, text, code=code)
            return [*actions, self._become(State.FAILED), Ended(self.end)]
        lost = f"the connection was lost: {why}"
        actions = self._disconnect(HTTPError, lost, transient=True)
        if self.state is State.CONNECTED:
            if lasted >= STABLE_AFTER:
                self._failures = 0
            actions.append(self._become(State.CONNECTING))
        elif self.state is State.CONNECTING:
            actions.append(self._become(State.UNAVAILABLE))
        delay = OVER_CAPACITY_DELAY if then is Return.LATER else 0.0
        actions.append(Note(Level.DEBUG, f"no connection any more: {why}"))
        actions.append(Open(self._failures, delay))
        self._failures += 1
        return actions

    def _disconnect(
        self, kind: Callable[..., PusherError], why: str, **fields: Any
    ) -> list[Action]:
        """Forget the connection; client events without a pong fail, and may be delivered."""
        self.socket_id = None
        self._announced = 0
        unanswered = self._unanswered.clear()
        return [
            *(a for sent in unanswered if sent.doubt for a in self._unclaimed(sent.doubt)),
            *self.user.disconnected(),
            *self.channels.disconnected(),
            *(
                Settled(sent.number, kind(why, maybe_delivered=True, **fields))
                for sent in unanswered
                if sent.number
            ),
        ]

    def _become(self, state: State) -> StateChange:
        old, self.state = self.state, state
        return StateChange(old, state)

    # Messages

    def receive(self, text: str) -> list[Action]:
        """Take a message from the server; whatever it is, it raises nothing."""
        if self.state not in (*_OPENING, State.CONNECTED):
            return []
        try:
            message = read_message(text)
        except ValueError as error:
            return [Note(Level.WARN, f"the server sent what is no message: {error}")]
        self._announced = 0
        take = self._inputs.get(message.event)
        if take is not None:
            return take(message)
        if message.event.startswith("pusher_internal:"):
            # The server may know more of these than this subscriber.
            return []
        if message.channel is None:
            return [Tell(message)]
        if message.channel == self.user.channel:
            return [Tell(message)] if self.user.known else []
        return self.channels.event(message)

    def _established(self, message: Message) -> list[Action]:
        if self.state not in _OPENING:
            return []
        data = message.data if isinstance(message.data, dict) else {}
        try:
            self.socket_id = check_socket_id(data.get("socket_id"))
        except InvalidRequestError as error:
            return [Drop(f"the server greets with a wrong socket id: {error}")]
        timeout = data.get("activity_timeout")
        told = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        self._established_before = True
        return [
            self._become(State.CONNECTED),
            Connected(self.socket_id, timeout if told and cast(float, timeout) > 0 else None),
            *self.user.connected(),
            *self.channels.connected(),
        ]

    def _ping(self) -> list[Action]:
        self._unanswered.add_ping()
        return [Send(PING)]

    def _pong(self, message: Message) -> list[Action]:
        return [
            action for sent in self._unanswered.ponged() for action in self._dealt_with(sent)
        ]

    def _dealt_with(self, sent: Sent) -> list[Action]:
        """Take note that the server has dealt with *sent*, and that the connection goes on."""
        if sent.kind is Kind.CLIENT_EVENT:
            error = None if sent.doubt is None else event_refused(sent.doubt, self._redact)
            return [Settled(sent.number, error)] if sent.number else []
        if sent.doubt is None:
            return []
        reason = code_and_text(sent.doubt)[1] or UNSAID
        if sent.kind is Kind.SIGN_IN:
            return [*self.user.turned_down(reason), *self.channels.sign_in_settled()]
        if sent.channel == self.user.channel:
            return self.user.kept_out(reason)
        return self.channels.rejected(sent.channel or "", reason, None, "AuthError")

    def _signed_in(self, message: Message) -> list[Action]:
        actions = self._answered(None)
        actions += self.user.succeeded(message.data)
        return [*actions, *self.channels.sign_in_settled()]

    def _subscription_succeeded(self, message: Message) -> list[Action]:
        actions = self._answered(message.channel or "")
        if message.channel == self.user.channel:
            return [*actions, *self.user.entered()]
        return [*actions, *self.channels.confirmed(message)]

    def _subscription_error(self, message: Message) -> list[Action]:
        data = message.data if isinstance(message.data, dict) else {}
        reason, kind, status = (data.get(name) for name in ("error", "type", "status"))
        actions = self._answered(message.channel or "")
        if message.channel == self.user.channel:
            return [*actions, *self.user.kept_out(str(reason))]
        refused = self.channels.rejected(
            message.channel or "",
            reason if isinstance(reason, str) else UNSAID,
            status if isinstance(status, int) else None,
            kind if isinstance(kind, str) else "AuthError",
        )
        return [*actions, *refused]

    def _answered(self, channel: str | None) -> list[Action]:
        """Take note of an answer; an error that seemed to be the answer is another's."""
        doubt = self._unanswered.answered(channel)
        if doubt is None:
            return []
        claimed = self._unanswered.doubted(code_and_text(doubt)[0], doubt)
        return self._in_doubt() if claimed else self._unclaimed(doubt)

    def _error(self, message: Message) -> list[Action]:
        """Find whom a ``pusher:error`` concerns; handlers are told of the rest."""
        code, text = code_and_text(message)
        if not code:
            waiting = self.channels.waiting_in(f"{message.channel or ''} {text}")
            if waiting is not None:
                actions = self._answered(waiting)
                return [*actions, *self.channels.rejected(waiting, text, None, "AuthError")]
        if code == CLIENT_EVENT_REJECTED or (not code and "client event" in text.lower()):
            number = self._unanswered.refused_event(message.channel)
            if number is not None:
                error = event_refused(message, self._redact)
                return [Settled(number, error)] if number else []
        if message.channel is not None:
            return self._unclaimed(message)
        if not self._unanswered.doubted(code, message):
            self._announced = code if 4000 <= code < 4300 else 0
            return self._unclaimed(message)
        return self._in_doubt()

    def _in_doubt(self) -> list[Action]:
        """Ask for a pong: an error that refuses a message may end the connection as well."""
        return [] if self._unanswered.pong_awaited else self._ping()

    def _unclaimed(self, error: Message) -> list[Action]:
        """Tell handlers of an error that concerns the connection, or nobody knows whom."""
        data = error.data if isinstance(error.data, dict) else {}
        code, text = code_and_text(error)
        told = {**data, "message": self._redact(text)}
        return [
            Note(Level.WARN, self._redact(f"the server reports an error: {code} {text}")),
            Tell(Message(error.channel, error.event, told, encode_again(told))),
        ]
