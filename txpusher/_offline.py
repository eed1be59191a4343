"""
:class:`OfflineOperations`: the operations of a client that need no server.

They sign and verify.  :class:`~txpusher.Pusher` and :class:`~txpusher.BlockingPusher` have
them alike, because nothing waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from txpusher._api import Api
from txpusher._request import build_request
from txpusher._webhook import WebHook
from txpusher._webhook_parts import HeaderValue, Parts, parts_of_headers, parts_of_request
from txpusher.config import Config
from txpusher.errors import ConfigurationError

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

    from txpusher._interfaces import Clock


class OfflineOperations:
    """
    The operations of a client that need no server.

    :ivar config: The settings, a :class:`~txpusher.Config`.
    :ivar clock: A function that returns the seconds since the epoch.
    :ivar api: The endpoints of the app; for the package's own modules only.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.api = Api(config)
        self.clock = clock

    def _now(self) -> float:
        """Read the clock, which is the caller's and may raise anything."""
        try:
            return float(self.clock())
        except Exception as error:
            raise ConfigurationError(
                f"clock cannot be used: {type(error).__name__}: {error}"
            ) from error

    def sign(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
    ) -> str:
        """
        Sign a request that another program sends, such as curl.

        :param method: The HTTP method.
        :param path: As for :meth:`get`.
        :param params: As for :meth:`get`.
        :param body: The exact str or bytes that will be sent, None for no body.
        :return: The whole URL.  Servers accept it for 600 seconds.
        :raises InvalidRequestError: An argument is not what a request can have.
        :raises ConfigurationError: ``clock`` raises.

        Source: "HTTP API reference", authentication.
        """
        now = int(self._now())
        return build_request(self.api.sign, method, path, params, body, timestamp=now)

    def authenticate(
        self, channel: str, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """
        Sign the answer to a client that asks to subscribe to a private or presence channel.

        Whether the client may subscribe is for the caller to decide before.

        :param channel: The channel's name, which begins with ``private-`` or ``presence-``.
        :param socket_id: The id of the client's connection.
        :param custom_data: A mapping that is signed and given to the subscriber.  On a
            presence channel it must have a ``user_id``, a non-empty str, or an int from
            -(2**53 - 1) to 2**53 - 1, and may have ``user_info``.  None or an empty mapping
            signs without data; on a presence channel that is for a client that has signed
            in, and is its member by that.
        :return: ``{"auth": ..., "channel_data"?: ..., "shared_secret"?: ...}``, to be sent
            as JSON.
        :raises InvalidRequestError: An argument is not what the API accepts, or the channel
            is public.
        :raises ConfigurationError: The channel is encrypted, and there is no key.

        Source: "Authorizing users"; "Authentication and authorization signatures".
        """
        return build_request(self.api.authenticate, channel, socket_id, custom_data)

    def authenticate_user(self, socket_id: str, user_data: Mapping[str, Any]) -> dict[str, str]:
        """
        Sign the answer to a client that asks to sign in.

        :param socket_id: The id of the client's connection.
        :param user_data: A mapping that must have an ``id``, a non-empty str, and may have
            ``user_info`` and ``watchlist``.
        :return: ``{"auth": ..., "user_data": ...}``, to be sent as JSON.
        :raises InvalidRequestError: An argument is not what the API accepts.

        Source: "Authenticating users"; "Authentication and authorization signatures".
        """
        return build_request(self.api.authenticate_user, socket_id, user_data)

    def webhook(
        self,
        request: IRequest | None = None,
        *,
        headers: Mapping[str, str] | Iterable[tuple[Any, Any]] | None = None,
        key: HeaderValue = None,
        signature: HeaderValue = None,
        body: bytes | str | None = None,
        content_type: HeaderValue = "application/json",
        extra_tokens: Iterable[tuple[str, str]] = (),
        max_age: float | None = None,
    ) -> WebHook:
        """
        Take a webhook, to be verified and read.

        An argument that is given wins over *headers*, and *headers* over *request*.

        :param request: The twisted.web request that brought the webhook.  The requests of
            other frameworks have *headers* and *body* to pass.
        :param headers: The headers: a mapping, anything else with ``items()``, or pairs of
            name and value.  Names may be in any case of letters, and ``HTTP_X_PUSHER_KEY``
            as in a WSGI environment.
        :param key: The header ``X-Pusher-Key``.
        :param signature: The header ``X-Pusher-Signature``.
        :param body: The body, exactly as received.
        :param content_type: The header ``Content-Type``.  The one of *headers* or of
            *request* counts where there is one.
        :param extra_tokens: (key, secret) pairs that are accepted beside the app's own,
            while keys are changed.
        :param max_age: The most seconds between the webhook's ``time_ms`` and ``clock``,
            either way; None for any age.  Repeats of a webhook, which the server sends for
            5 minutes after a failure, are as old as the first.
        :return: A :class:`~txpusher.WebHook`.
        :raises InvalidRequestError: *request* is none of twisted.web's, a part is neither
            str nor bytes, *max_age* is no number of seconds, or a token is no pair of two
            str that are not empty.
        :raises ConfigurationError: *max_age* is given, and ``clock`` raises.

        Source: "Webhooks".
        """
        found = Parts() if request is None else parts_of_request(request)
        if headers is not None:
            found = parts_of_headers(headers).before(found)
        if request is None and found.content_type is None:
            found = Parts(content_type=content_type).before(found)
        found = Parts(key=key, signature=signature, body=body).before(found)
        return WebHook(
            self.config,
            found,
            extra_tokens=extra_tokens,
            max_age=max_age,
            now=0.0 if max_age is None else self._now(),
        )
