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
    │   └── RequestTimeoutError       a phase of the request took too long
    ├── APIError                      the server answered with an error, 3xx and 422 among them
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

Each error says in ``maybe_delivered`` whether the server may have acted on the operation that
failed.  No message and no repr holds a key, a secret or a signature.
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

    :ivar maybe_delivered: False where the server provably did not act on the operation,
        True where it may have.  It is always False for a query, which changes nothing.
    :ivar transient: True where the same operation may succeed a little later.  Transient
        errors are retried as far as the :class:`~txpusher.RetryPolicy` allows.
    """

    transient: bool = False

    def __init__(self, message: str, *, maybe_delivered: bool = False) -> None:
        super().__init__(message)
        self.maybe_delivered = maybe_delivered


class ConfigurationError(PusherError):
    """
    A setting is missing, is malformed or cannot be used; the message names the setting.

    Constructors raise it.  Operations fail with it where a setting is first used by the
    operation: a reactor that cannot be imported, the key of an encrypted channel.
    """


class InvalidRequestError(PusherError, ValueError):
    """
    The Channels API would not accept an argument.

    The argument is refused before any I/O.  The message has the limit, the value and, where
    the type is wrong, the type.
    """


class ClosedError(PusherError):
    """The client or the publisher was closed before the operation began, or while it ran."""


class QueueFullError(PusherError):
    """The queue is full: as many operations wait as ``max_pending`` allows."""


class BlockingCallError(PusherError, RuntimeError):
    """
    A blocking call was made where it could only hang.

    It would wait for a reactor that cannot run: in the reactor thread itself, and in a
    process that was forked after the reactor thread began.
    """


class HTTPError(PusherError):
    """
    There was no usable answer.

    The name was not found, the connection was refused or lost, TLS failed, or the reply
    was none that the API gives.

    :ivar original_error: The exception that was the cause, None where there was none.
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
    """
    A phase of the request took too long; the message says which.

    Looking up the name, connecting, the proxy and the TLS handshake have
    ``connect_timeout`` together; the reply has ``timeout``.
    """


class APIError(PusherError):
    """
    The server answered with an error.

    A status without a class of its own is an APIError itself: a redirect (3xx), which is
    never followed because the signature is for one host, and 422, with which Laravel Reverb
    refuses an event for its content.  Servers that send an error with status 200 and
    ``{"error": ..., "code": ...}`` are understood too; *status* is then that code.

    :ivar status: The HTTP status, an int.
    :ivar body: The text of the reply, as it came.  It may quote a signature.
    :ivar path: The path of the request, without the query.
    :ivar retry_after: Seconds after which the server wants to be asked again, None where
        it did not say.
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
    """400: the server took the request for malformed."""

    default_status = 400


class AuthenticationError(APIError):
    """
    401: the server did not accept the signature.

    The key or the secret is wrong, the local clock is more than 600 seconds off, or the
    server sees another path than the one that was signed (``sign_path_prefix``).
    """

    default_status = 401


class ForbiddenError(APIError):
    """403: the app is disabled or over its quota."""

    default_status = 403


class NotFoundError(APIError):
    """404: there is no such app, or no such path."""

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
    """5xx: the server failed.  It may have acted on the request before."""

    default_status = 500
    transient = True


class WebHookError(PusherError):
    """A webhook is not valid, or its body cannot be read."""


class SubscriptionError(PusherError):
    """
    A subscription or a sign-in was refused, by the server or by the authorizer.

    Some servers do not say what they refuse.  They answer in order, so such an error is the
    answer to the oldest message without one that the code of the error can refuse.

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
    """Return the class of the error that an HTTP status stands for."""
    if 500 <= status <= 599:
        return ServerError
    return _BY_STATUS.get(status, APIError)
