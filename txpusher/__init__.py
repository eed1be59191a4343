"""
The Pusher Channels server library for Twisted.

Publish events to browsers and phones, ask which channels are occupied and by
whom, authorise subscribers, verify webhooks.  :class:`Pusher` has the
operations, each returning a Deferred; :class:`BlockingPusher` has them as
blocking calls for threads.  The functions here do the same with one client
that all share: :func:`configure` makes it, else the environment variable
``PUSHER_URL`` does.
"""

from txpusher._api import Event
from txpusher._channel import Channel
from txpusher._default import (
    authenticate,
    authenticate_user,
    channel,
    channel_info,
    channel_users,
    channels,
    close,
    configure,
    default_client,
    get,
    post,
    send_to_user,
    terminate_user_connections,
    trigger,
    trigger_batch,
    webhook,
)
from txpusher._http.stats import Attempt, Stats
from txpusher._version import __version__
from txpusher._webhook import WebHook
from txpusher.blocking import BlockingBatchPublisher, BlockingChannel, BlockingPusher
from txpusher.client import Pusher
from txpusher.config import Config
from txpusher.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BlockingCallError,
    ClosedError,
    ConfigurationError,
    ForbiddenError,
    HTTPError,
    InvalidRequestError,
    NotFoundError,
    PayloadTooLargeError,
    ProxyAuthenticationError,
    PusherError,
    QueueFullError,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
    WebHookError,
)
from txpusher.publisher import BatchPublisher
from txpusher.retry import RetryPolicy

__all__ = [
    "APIError",
    "Attempt",
    "AuthenticationError",
    "BadRequestError",
    "BatchPublisher",
    "BlockingBatchPublisher",
    "BlockingCallError",
    "BlockingChannel",
    "BlockingPusher",
    "Channel",
    "ClosedError",
    "Config",
    "ConfigurationError",
    "Event",
    "ForbiddenError",
    "HTTPError",
    "InvalidRequestError",
    "NotFoundError",
    "PayloadTooLargeError",
    "ProxyAuthenticationError",
    "Pusher",
    "PusherError",
    "QueueFullError",
    "RateLimitedError",
    "RequestTimeoutError",
    "RetryPolicy",
    "ServerError",
    "Stats",
    "WebHook",
    "WebHookError",
    "__version__",
    "authenticate",
    "authenticate_user",
    "channel",
    "channel_info",
    "channel_users",
    "channels",
    "close",
    "configure",
    "default_client",
    "get",
    "post",
    "send_to_user",
    "terminate_user_connections",
    "trigger",
    "trigger_batch",
    "webhook",
]
