"""
Asking for the signatures of channels and sign-ins, whoever gives them.
"""

from __future__ import annotations

import base64
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from txpusher._protocol.encryption import is_encrypted, shared_secret
from txpusher._protocol.names import needs_auth
from txpusher._protocol.redaction import redact_signatures
from txpusher._text import short_repr
from txpusher._validators import check_callable
from txpusher.errors import (
    ConfigurationError,
    InvalidRequestError,
    PusherError,
    SubscriptionError,
)

if TYPE_CHECKING:
    from txpusher.client import Pusher

    # No other awaitable: a task of asyncio is none that Twisted waits for.  What a Deferred
    # fires with is not compared, as Deferred[dict] is no Deferred[Mapping].
    Answer = Mapping[str, Any] | Deferred[Any] | Coroutine[Any, Any, Mapping[str, Any]]


class Authorizer(Protocol):
    """A callable that signs subscriptions to private and presence channels."""

    def __call__(self, channel: str, socket_id: str, /) -> Answer:
        """
        Return what ``Pusher.authenticate`` does: ``auth``, ``channel_data``, ``shared_secret``.

        :return: A mapping, or a Deferred or a coroutine of one.  An exception refuses the
            subscription; its ``status``, where it has one, is that of the SubscriptionError.
        """


class UserAuthorizer(Protocol):
    """A callable that signs the sign-ins of users."""

    def __call__(self, socket_id: str, user_data: Mapping[str, Any], /) -> Answer:
        """
        Return what ``Pusher.authenticate_user`` does: ``auth`` and ``user_data``.

        :return: A mapping, or a Deferred or a coroutine of one.  An exception refuses the
            sign-in.
        """


class PusherAuthorizer:
    """Signs subscriptions with the secret of a Pusher, custom_data too."""

    def __init__(self, pusher: Pusher) -> None:
        self._pusher = pusher

    def __call__(
        self, channel: str, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Sign a subscription."""
        return self._pusher.authenticate(channel, socket_id, custom_data)


class PusherUserAuthorizer:
    """Signs sign-ins with the secret of a Pusher."""

    def __init__(self, pusher: Pusher) -> None:
        self._pusher = pusher

    def __call__(self, socket_id: str, user_data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Sign a sign-in."""
        return self._pusher.authenticate_user(socket_id, user_data)


class Authorization:
    """
    The authorizers of one subscriber.

    :param master_key: Makes the keys of encrypted channels where the authorizer gives none.
    """

    def __init__(
        self,
        authorizer: Authorizer | None,
        user_authorizer: UserAuthorizer | None,
        master_key: bytes | None,
    ) -> None:
        for name, given in (("authorizer", authorizer), ("user_authorizer", user_authorizer)):
            if given is not None:
                check_callable(name, given)
        self._authorizer = authorizer
        self._user_authorizer = user_authorizer
        self._master_key = master_key

    def check_channel(self, name: str) -> None:
        """
        Refuse a channel that nobody can sign for.

        :raises ConfigurationError: It is private, and there is no authorizer.
        """
        if needs_auth(name) and self._authorizer is None:
            raise ConfigurationError(
                f"channel {name!r} needs an authorizer: give Subscriber one, "
                "or make it with Subscriber.for_pusher"
            )

    def check_sign_in(self) -> None:
        """
        Refuse a sign-in that nobody can sign.

        :raises ConfigurationError: There is no user_authorizer.
        """
        if self._user_authorizer is None:
            raise ConfigurationError(
                "sign_in needs a user_authorizer: give Subscriber one, "
                "or make it with Subscriber.for_pusher"
            )

    def ask(
        self, channel: str | None, socket_id: str, data: Mapping[str, Any] | None
    ) -> Deferred[Mapping[str, Any]]:
        """
        Ask for one signature.

        :param channel: None for a sign-in, whose user_data is *data*.
        :return: A Deferred that fires with the answer; it fails with a PusherError, or with
            CancelledError where it was cancelled.
        """
        asked: Deferred[Any]
        if channel is None:
            asked = maybeDeferred(cast(Any, self._user_authorizer), socket_id, data or {})
            return asked.addErrback(_as_refusal, channel)
        authorizer = cast(Any, self._authorizer)
        # Other authorizers know what to sign by themselves.
        custom = (data,) if isinstance(authorizer, PusherAuthorizer) else ()
        asked = maybeDeferred(authorizer, channel, socket_id, *custom)
        asked.addCallback(self._with_secret, channel)
        return asked.addErrback(_as_refusal, channel)

    def _with_secret(self, answer: Any, channel: str) -> Any:
        if self._master_key is None or not is_encrypted(channel):
            return answer
        if not isinstance(answer, Mapping) or answer.get("shared_secret") is not None:
            return answer
        secret = base64.b64encode(shared_secret(channel, self._master_key)).decode("ascii")
        return {**answer, "shared_secret": secret}


def _as_refusal(failure: Failure, channel: str | None) -> Failure:
    """Make a SubscriptionError of what an authorizer has raised."""
    error = failure.value
    if isinstance(error, (ConfigurationError, InvalidRequestError, SubscriptionError)):
        return failure
    if not isinstance(error, Exception):
        return failure
    status = getattr(error, "status", None)
    words = short_repr(redact_signatures(str(error)), 200)
    reason = f"the authorizer failed: {type(error).__name__}: {words}"
    what = "the sign-in" if channel is None else f"the subscription to {channel!r}"
    refusal: PusherError = SubscriptionError(
        f"{what} was refused: {reason}",
        channel=channel,
        status=status if isinstance(status, int) else None,
        reason=reason,
    )
    refusal.__cause__ = error
    return Failure(refusal)
