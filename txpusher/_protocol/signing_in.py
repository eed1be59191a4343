"""
The sign-in of a subscriber: as whom, and how far it is on the present connection.

Source: "User authentication" in the Pusher Channels documentation.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from txpusher._protocol.actions import (
    Action,
    Authorize,
    Forget,
    Level,
    Note,
    Send,
    SignedIn,
    SignInRefused,
    Tell,
)
from txpusher._protocol.incoming import Message, decode_data, encode_again, write_message
from txpusher._protocol.joining import Standing
from txpusher._protocol.names import USER_CHANNEL_PREFIX
from txpusher._protocol.unanswered import Unanswered
from txpusher.errors import InvalidRequestError, PusherError, SubscriptionError


class Step(enum.Enum):
    """How far a sign-in is on the present connection."""

    #: The program has not asked for a sign-in.
    NONE = "none"
    #: There is no connection to sign in on.
    WAITING = "waiting"
    #: The authorizer has been asked.
    AUTHORIZING = "authorizing"
    #: ``pusher:signin`` has been sent.
    ASKED = "asked"
    #: The server knows the user, and was asked for the events to the user.
    ENTERING = "entering"
    #: The events to the user arrive.
    DONE = "done"
    #: The sign-in was refused; the next connection tries it again.
    REFUSED = "refused"


class SignIn:
    """
    One user, or none yet.

    :param tickets: Gives the numbers of questions to the authorizer.
    :param redact: Replaces what must not be seen in the words of others.
    :param unanswered: Takes note of what the server has to answer.
    :ivar step: How far the sign-in is.
    :ivar confirmed: The user_data that the server has confirmed.
    """

    def __init__(
        self, tickets: Iterator[int], redact: Callable[[str], str], unanswered: Unanswered
    ) -> None:
        self.step = Step.NONE
        self.confirmed: dict[str, Any] = {}
        self._tickets = tickets
        self._redact = redact
        self._unanswered = unanswered
        self._standing = Standing.NEW
        self._wanted: Mapping[str, Any] | None = None
        self._ticket = 0

    @property
    def awaited(self) -> bool:
        """Whether the server may still come to know the user of this connection."""
        return self.step in (Step.AUTHORIZING, Step.ASKED)

    @property
    def known(self) -> bool:
        """Whether the server knows the user of this connection."""
        return self.step in (Step.ENTERING, Step.DONE)

    @property
    def user_id(self) -> str:
        """Return the id that the server has confirmed, empty without one."""
        return str(self.confirmed.get("id", ""))

    @property
    def channel(self) -> str:
        """Return the name of the channel of the events to the user."""
        return f"{USER_CHANNEL_PREFIX}{self.user_id}"

    def want(self, user_data: Mapping[str, Any], *, connected: bool) -> list[Action]:
        """
        Sign in with *user_data*, now and after each reconnection.

        :raises InvalidRequestError: Another sign-in is under way or done.
        """
        if self.step not in (Step.NONE, Step.REFUSED):
            if user_data != self._wanted:
                raise InvalidRequestError(
                    "the subscriber signs in with other user_data already; "
                    "a connection has one user"
                )
            return [SignedIn(self.confirmed)] if self.step is Step.DONE else []
        self._wanted = user_data
        self._standing = Standing.NEW
        self.step = Step.WAITING
        return self.connected() if connected else []

    def withdraw(self) -> list[Action]:
        """Sign in no more, unless the server has been asked already."""
        if self._standing is Standing.KEPT or self.step not in (Step.WAITING, Step.AUTHORIZING):
            return []
        self.step = Step.NONE
        return self._forget()

    def connected(self) -> list[Action]:
        """Begin, where the program wants it."""
        if self.step is not Step.WAITING:
            return []
        self.step = Step.AUTHORIZING
        self._ticket = next(self._tickets)
        return [Authorize(self._ticket, None, self._wanted)]

    def disconnected(self) -> list[Action]:
        """Take note that the connection is gone."""
        if self.step is not Step.NONE:
            self.step = Step.WAITING
        return self._forget()

    def _forget(self) -> list[Action]:
        ticket, self._ticket = self._ticket, 0
        return [Forget(ticket)] if ticket else []

    def asked_with(self, ticket: int) -> bool:
        """Tell whether *ticket* is the question that is open."""
        return ticket == self._ticket != 0

    def authorized(self, answer: object) -> list[Action]:
        """Take the authorizer's answer."""
        self._ticket = 0
        fields = answer if isinstance(answer, Mapping) else {}
        auth, user_data = fields.get("auth"), fields.get("user_data")
        if not isinstance(auth, str) or not isinstance(user_data, str):
            return self.refused(
                self._error("the user_authorizer must give a mapping with auth and user_data")
            )
        try:
            text = write_message("pusher:signin", {"auth": auth, "user_data": user_data})
        except ValueError as error:
            return self.refused(self._error(f"the answer of the user_authorizer: {error}"))
        self.step = Step.ASKED
        self._unanswered.add_sign_in()
        return [Send(text)]

    def refused(self, error: PusherError) -> list[Action]:
        """Take note that the sign-in was refused."""
        self._ticket = 0
        if self._standing is Standing.NEW:
            self.step = Step.NONE
            return [SignInRefused(error)]
        self.step = Step.REFUSED
        data = {"type": "AuthError", "error": getattr(error, "reason", "") or str(error)}
        return [
            Note(Level.WARN, f"{error}; the next connection tries again"),
            Tell(Message(None, "pusher:signin_error", data, encode_again(data))),
            SignInRefused(error),
        ]

    def turned_down(self, reason: str) -> list[Action]:
        """Take the server's refusal of the sign-in."""
        if self.step is not Step.ASKED:
            return []
        return self.refused(self._error(self._redact(reason)))

    def succeeded(self, data: Any) -> list[Action]:
        """Take ``pusher:signin_success``."""
        if self.step is not Step.ASKED:
            return []
        text = data.get("user_data") if isinstance(data, dict) else None
        user_data = decode_data(text) if isinstance(text, str) else text
        user_id = user_data.get("id") if isinstance(user_data, dict) else None
        if not (isinstance(user_id, str) and user_id):
            return self.refused(
                self._error("the server confirmed user_data without an id, a non-empty str")
            )
        channel = f"{USER_CHANNEL_PREFIX}{user_id}"
        try:
            entering = write_message("pusher:subscribe", {"channel": channel, "auth": ""})
        except ValueError as error:
            return self.refused(self._error(f"the id that the server confirmed: {error}"))
        self.confirmed = cast("dict[str, Any]", user_data)
        self.step = Step.ENTERING
        self._unanswered.add_subscription(channel)
        return [Send(entering)]

    def entered(self) -> list[Action]:
        """Take the confirmation of the user's own channel."""
        if self.step is not Step.ENTERING:
            return []
        self.step, self._standing = Step.DONE, Standing.KEPT
        return [SignedIn(self.confirmed)]

    def kept_out(self, reason: str) -> list[Action]:
        """Take the refusal of the user's own channel."""
        if self.step is not Step.ENTERING:
            return []
        return self.refused(self._error(f"the events to the user: {self._redact(reason)}"))

    def _error(self, reason: str) -> SubscriptionError:
        return SubscriptionError(f"the sign-in was refused: {reason}", reason=reason)


def watchlist_changes(message: Message) -> list[Action]:
    """Return who of the user's watchlist has come or gone ("Watchlist events")."""
    events = message.data.get("events") if isinstance(message.data, dict) else None
    told: list[Action] = []
    for event in events if isinstance(events, list) else []:
        name = event.get("name") if isinstance(event, dict) else None
        if isinstance(name, str):
            data = {"user_ids": event.get("user_ids", [])}
            told.append(Tell(Message(None, name, data, encode_again(data))))
    return told
