# -*- test-case-name: tests.integration.test_web -*-
"""
Resources for twisted.web: authorise subscribers, sign users in, receive webhooks.

Each resource is a leaf that goes into any ``Site``, and into Klein by returning it from a
route.  The HTTP of the endpoint is here; who may subscribe, who the user is and what a
webhook means are callables of the application's, which return a value, a Deferred or a
coroutine.

Source: "Authorizing users", "Authenticating users" and "Webhooks" in the Pusher Channels
documentation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import CoroutineType
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.web.iweb import IRequest

from txpusher._protocol.names import check_channel, check_socket_id, needs_auth
from txpusher._text import with_type
from txpusher._validators import check_callable
from txpusher._web_endpoint import Endpoint, RefusalError, read_fields
from txpusher._webhook import WebHook
from txpusher.client import Pusher
from txpusher.errors import InvalidRequestError, WebHookError

__all__ = [
    "Authorize",
    "ChannelAuthResource",
    "HandleEvent",
    "Identify",
    "UserAuthResource",
    "WebHookResource",
]

#: The largest body of an authorisation, in bytes.  A browser sends some hundred.
MAX_AUTH_BYTES = 64 * 1024
#: The largest body of a webhook, in bytes.
MAX_WEBHOOK_BYTES = 1024 * 1024


class Authorize(Protocol):
    """Decides whether the client behind a request may subscribe to a channel."""

    def __call__(
        self, request: IRequest, channel: str, socket_id: str, /
    ) -> (
        bool
        | Mapping[str, Any]
        | Deferred[Any]
        | Coroutine[Any, Any, bool | Mapping[str, Any] | None]
        | None
    ):
        """
        Decide about one subscription.

        :return: False or None to refuse; True to allow; on a presence channel the member, a
            mapping with ``user_id`` and perhaps ``user_info``.  True on a presence channel
            is for a client that has signed in.
        """


class Identify(Protocol):
    """Tells who the user behind a request is."""

    def __call__(
        self, request: IRequest, /
    ) -> (
        Mapping[str, Any] | Deferred[Any] | Coroutine[Any, Any, Mapping[str, Any] | None] | None
    ):
        """
        Find the user of one request.

        :return: The user's data, a mapping with a non-empty str ``id``; None where nobody
            is logged in.
        """


class HandleEvent(Protocol):
    """Acts on one event of a webhook."""

    def __call__(self, event: dict[str, Any], webhook: WebHook, /) -> object:
        """
        Act on *event*; an exception makes the sender repeat the whole webhook.

        :param event: A mapping with ``name`` and, most often, ``channel``.
        :param webhook: The webhook that brought the event.  A repeated webhook has the same
            ``signature``.
        :return: A Deferred or a coroutine to wait for; any other value counts for nothing,
            but a generator or an awaitable of another kind, such as an asyncio Future, is a
            failure: nobody would learn of its outcome.
        """


class ChannelAuthResource(Endpoint):
    """
    Answers clients that ask to subscribe to private and presence channels.

    pusher-js is told of it by ``channelAuthorization: {endpoint: "..."}``, Laravel Echo by
    ``authEndpoint``.  The body is a form or JSON with ``socket_id`` and ``channel_name``.

    200 with what :meth:`Pusher.authenticate` gives; 400 for a malformed request; 403 where
    *authorize* refuses or a foreign page asks; 405 for another method than POST; 413 for a
    body of more than 64 KiB; 500 where *authorize* fails, which is logged and not told to
    the client.  Where the client goes away, the Deferred of *authorize* is cancelled.

    :param pusher: The client whose app the channels belong to.
    :param authorize: Called with the request, the channel's name and the socket id; see
        :class:`Authorize` for what it returns.
    :param allowed_origins: An origin such as ``"https://example.com"``, or several, whose
        pages may ask with cookies.  Origins are compared whole.
    :raises ConfigurationError: An argument is not what it must be.
    """

    def __init__(
        self,
        pusher: Pusher,
        authorize: Authorize,
        *,
        allowed_origins: str | Iterable[str] = (),
    ) -> None:
        super().__init__(pusher, MAX_AUTH_BYTES, allowed_origins, gives_up=True)
        check_callable("authorize", authorize)
        self._authorize = authorize

    async def _respond(self, request: Any) -> Mapping[str, Any]:
        fields = read_fields(request)
        try:
            socket_id = check_socket_id(fields.get("socket_id"))
            channel = check_channel(fields.get("channel_name"))
        except InvalidRequestError as error:
            raise RefusalError(400, str(error)) from None
        if not needs_auth(channel):
            raise RefusalError(400, "only private- and presence- channels are authorised")
        verdict = await _outcome(self._authorize, request, channel, socket_id)
        if verdict is None or verdict is False:
            raise RefusalError(403, "the subscription is refused")
        if verdict is True:
            return self.pusher.authenticate(channel, socket_id)
        if not isinstance(verdict, Mapping):
            raise TypeError(
                f"authorize must return True, False or a mapping, not {with_type(verdict)}"
            )
        return self.pusher.authenticate(channel, socket_id, verdict)


class UserAuthResource(Endpoint):
    """
    Answers clients that ask to sign a user in.

    pusher-js is told of it by ``userAuthentication: {endpoint: "..."}``.  The body is a form
    or JSON with ``socket_id``.  The answers are those of :class:`ChannelAuthResource`, 403
    where *identify* knows nobody.

    :param pusher: The client whose app the users belong to.
    :param identify: Called with the request; returns the user's data, a mapping with a
        non-empty str ``id``, or None (see :class:`Identify`).
    :param allowed_origins: As for :class:`ChannelAuthResource`.
    :raises ConfigurationError: An argument is not what it must be.
    """

    def __init__(
        self,
        pusher: Pusher,
        identify: Identify,
        *,
        allowed_origins: str | Iterable[str] = (),
    ) -> None:
        super().__init__(pusher, MAX_AUTH_BYTES, allowed_origins, gives_up=True)
        check_callable("identify", identify)
        self._identify = identify

    async def _respond(self, request: Any) -> Mapping[str, Any]:
        try:
            socket_id = check_socket_id(read_fields(request).get("socket_id"))
        except InvalidRequestError as error:
            raise RefusalError(400, str(error)) from None
        user_data = await _outcome(self._identify, request)
        if user_data is None:
            raise RefusalError(403, "nobody is logged in")
        if not isinstance(user_data, Mapping):
            raise TypeError(
                f"identify must return a mapping or None, not {with_type(user_data)}"
            )
        return self.pusher.authenticate_user(socket_id, user_data)


class WebHookResource(Endpoint):
    """
    Receives webhooks, and calls *handler* for each event, one after another.

    200 once every event has been handled; 400 where the body is not a webhook's; 401 where
    key, signature or age are wrong; 405; 413 for a body of more than 1 MiB; 500 where
    *handler* fails, which is logged.  The events after the failed one are not handled: the
    sender repeats the webhook, with all its events and the same signature, so *handler*
    may see an event twice.  A sender that goes away cancels nothing.

    :param pusher: The client whose app sends the webhooks.
    :param handler: Called with the event and the :class:`~txpusher.WebHook`; see
        :class:`HandleEvent`.
    :param extra_tokens: (key, secret) pairs that are accepted beside the app's own.
    :param max_age: The most seconds between the webhook's time and now, either way; None
        for any.
    :raises ConfigurationError: An argument is not what it must be.
    :raises InvalidRequestError: *extra_tokens* or *max_age* is malformed.
    """

    def __init__(
        self,
        pusher: Pusher,
        handler: HandleEvent,
        *,
        extra_tokens: Iterable[tuple[str, str]] = (),
        max_age: float | None = None,
    ) -> None:
        super().__init__(pusher, MAX_WEBHOOK_BYTES)
        check_callable("handler", handler)
        self._handler = handler
        # Read once: an iterator would be empty for the second webhook.
        self._tokens = (
            list(extra_tokens) if isinstance(extra_tokens, Iterable) else extra_tokens
        )
        self._max_age = max_age
        # Refuses what is malformed now, not at the first webhook.
        pusher.webhook(body=b"", extra_tokens=self._tokens, max_age=max_age)

    async def _respond(self, request: Any) -> Mapping[str, Any]:
        webhook = self.pusher.webhook(request, extra_tokens=self._tokens, max_age=self._max_age)
        if not webhook.is_valid:
            raise RefusalError(401, f"the webhook is not valid: {webhook.reason}")
        try:
            events = webhook.events
        except WebHookError as error:
            raise RefusalError(400, str(error)) from None
        for event in events:
            await _outcome(self._handler, event, webhook)
        return {}


async def _outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """
    Call *function*, and wait for the Deferred or the coroutine that it may return.

    :raises TypeError: *function* returns something else that is not done yet.
    """
    result = function(*arguments)
    is_awaited = isinstance(result, (Deferred, CoroutineType))
    is_awaitable = hasattr(result, "__await__") or inspect.isasyncgen(result)
    if not is_awaited and (is_awaitable or inspect.isgenerator(result)):
        raise TypeError(
            "a callable must return a value, a Deferred or a coroutine, not a "
            f"{type(result).__name__} (Deferred.fromFuture adapts an asyncio Future)"
        )
    return await maybeDeferred(lambda: result)
