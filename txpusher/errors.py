"""
The exceptions of txpusher, in one tree.

::

    PusherError
    ├── ConfigurationError            a setting is missing or malformed
    ├── InvalidRequestError           (ValueError) refused before any I/O
    ├── ClosedError                   the client has been closed
    ├── QueueFullError                max_pending operations wait already
    ├── BlockingCallError             (RuntimeError) a blocking call in the wrong place
    ├── HTTPError                     no usable answer
    │   └── RequestTimeoutError       none in time
    ├── APIError                      the server answered with an error
    │   ├── BadRequestError           400
    │   ├── AuthenticationError       401
    │   ├── ForbiddenError            403
    │   ├── NotFoundError             404
    │   ├── ProxyAuthenticationError  407
    │   ├── PayloadTooLargeError      413
    │   ├── RateLimitedError          429
    │   └── ServerError               5xx
    ├── WebHookError                  a webhook that cannot be trusted or read
    ├── SubscriptionError             a subscription or a sign-in was refused
    └── ConnectionClosedError         the server has ended a Subscriber for good

Every one says in ``maybe_delivered`` whether the server may have acted on the
operation that failed.  No message or repr holds a key, a secret or a
signature.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "BlockingCallError",
    "ClosedError",
    "ConfigurationError",
    "ConnectionClosedError",
    "ForbiddenError",
    "HTTPError",
    "InvalidRequestError",
    "NotFoundError",
    "PayloadTooLargeError",
    "ProxyAuthenticationError",
    "PusherError",
    "QueueFullError",
    "RateLimitedError",
    "RequestTimeoutError",
    "ServerError",
    "SubscriptionError",
    "WebHookError",
]


class PusherError(Exception):
    """
    The base of all errors that txpusher raises.

    :ivar maybe_delivered: False where the server provably did not act on the
        operation, True where it may have.  Always False for a query.
    :ivar transient: True where the same operation may well succeed a little
        later.
    """

    transient: bool = False

    def __init__(self, message: str, *, maybe_delivered: bool = False) -> None:
        super().__init__(message)
        self.maybe_delivered = maybe_delivered


class ConfigurationError(PusherError):
    """A setting is missing or malformed; the message names it."""


class InvalidRequestError(PusherError, ValueError):
    """
    An argument that the Channels API would not accept.

    Raised before any I/O; the message has the limit and the value given.
    """


class ClosedError(PusherError):
    """The client was closed before or while the operation ran."""


class QueueFullError(PusherError):
    """As many operations as ``max_pending`` allows are waiting already."""


class BlockingCallError(PusherError, RuntimeError):
    """A blocking call where it could only hang: in the reactor thread, or after a fork."""


class HTTPError(PusherError):
    """
    No usable answer: the name was not found, the connection was refused or
    lost, TLS failed, or the reply made no sense.

    :ivar original_error: The exception that was the cause, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        maybe_delivered: bool = False,
        original_error: BaseException | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(message, maybe_delivered=maybe_delivered)
        self.original_error = original_error
        self.transient = transient


class RequestTimeoutError(HTTPError):
    """No connection within ``connect_timeout``, or no reply within ``timeout``."""


class APIError(PusherError):
    """
    The server answered with an error.

    :ivar status: The HTTP status, an int.
    :ivar body: The text of the reply, as it came.
    :ivar path: The path of the request, without the query.
    :ivar retry_after: Seconds after which the server wants to be asked again,
        or None where it did not say.
    """

    default_status: ClassVar[int] = 0

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        body: str = "",
        path: str = "",
        retry_after: float | None = None,
        maybe_delivered: bool = False,
    ) -> None:
        super().__init__(message, maybe_delivered=maybe_delivered)
        self.status = self.default_status if status is None else status
        # The server has given up waiting for a request, such as one that it did not
        # see coming while it closed an idle connection.
        self.transient = self.transient or self.status == 408
        self.body = body
        self.path = path
        self.retry_after = retry_after


class BadRequestError(APIError):
    """400: the request was malformed."""

    default_status = 400


class AuthenticationError(APIError):
    """401: wrong app key or secret, or a clock that is more than 600 seconds off."""

    default_status = 401


class ForbiddenError(APIError):
    """403: the app is disabled or over its quota."""

    default_status = 403


class NotFoundError(APIError):
    """404: no such app, or no such path."""

    default_status = 404


class ProxyAuthenticationError(APIError):
    """407: the HTTP proxy refused the user or the password."""

    default_status = 407


class PayloadTooLargeError(APIError):
    """413: the data of an event is over the limit of the server."""

    default_status = 413


class RateLimitedError(APIError):
    """429: too many requests or messages."""

    default_status = 429
    transient = True


class ServerError(APIError):
    """5xx: the server failed; it may have acted on the request or not."""

    default_status = 500
    transient = True


class WebHookError(PusherError):
    """A webhook whose signature is not valid, or whose body cannot be read."""


class SubscriptionError(PusherError):
    """
    A subscription or a sign-in was refused, by the server or by the authorizer.

    :ivar channel: The name of the channel, None for a sign-in.
    :ivar status: The HTTP status that the refusal came with, None without one.
    :ivar reason: The words of the server or of the authorizer, signatures replaced.
    """

    def __init__(
        self,
        message: str,
        *,
        channel: str | None = None,
        status: int | None = None,
        reason: str = "",
        maybe_delivered: bool = False,
    ) -> None:
        super().__init__(message, maybe_delivered=maybe_delivered)
        self.channel = channel
        self.status = status
        self.reason = reason


class ConnectionClosedError(PusherError):
    """
    The server has ended the connection of a Subscriber and wants no other one.

    :ivar code: The close code of the WebSocket, 4000 to 4099; 0 where there was none.
    """

    def __init__(self, message: str, *, code: int = 0, maybe_delivered: bool = False) -> None:
        super().__init__(message, maybe_delivered=maybe_delivered)
        self.code = code


_BY_STATUS: dict[int, type[APIError]] = {
    kind.default_status: kind
    for kind in (
        BadRequestError,
        AuthenticationError,
        ForbiddenError,
        NotFoundError,
        ProxyAuthenticationError,
        PayloadTooLargeError,
        RateLimitedError,
    )
}


def error_class_for(status: int) -> type[APIError]:
    """The class of the error that an HTTP status stands for."""
    if 500 <= status <= 599:
        return ServerError
    return _BY_STATUS.get(status, APIError)
