"""
The Pusher Channels server library for Twisted.

Publish events to browsers and phones, ask which channels are occupied and by
whom, authorise subscribers, verify webhooks.  :class:`Pusher` has the
operations, each returning a Deferred; :class:`BlockingPusher` has them as
blocking calls for threads.  The functions here do the same with one client
that all share: :func:`configure` makes it, else the environment variable
``PUSHER_URL`` does.

A name's module is imported when the name is first used: ``import txpusher`` alone
takes no time, and imports neither Twisted nor treq nor OpenSSL.  The plug-in for pytest
rests on that, as every pytest imports it, in suites that have no use for it too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from txpusher._version import __version__

if TYPE_CHECKING:
    from txpusher._channel import Channel as Channel
    from txpusher._default import (
        authenticate as authenticate,
        authenticate_user as authenticate_user,
        channel as channel,
        channel_info as channel_info,
        channel_users as channel_users,
        channels as channels,
        close as close,
        configure as configure,
        default_client as default_client,
        get as get,
        post as post,
        request as request,
        send_to_user as send_to_user,
        sign as sign,
        terminate_user_connections as terminate_user_connections,
        trigger as trigger,
        trigger_batch as trigger_batch,
        webhook as webhook,
    )
    from txpusher._event import Event as Event
    from txpusher._http.stats import (
        Attempt as Attempt,
        Stats as Stats,
    )
    from txpusher._publication import Published as Published
    from txpusher._reply import (
        BatchReply as BatchReply,
        ChannelInfoReply as ChannelInfoReply,
        ChannelsReply as ChannelsReply,
        ChannelUsersReply as ChannelUsersReply,
        TriggerReply as TriggerReply,
    )
    from txpusher._webhook import WebHook as WebHook
    from txpusher.blocking import (
        BlockingBatchPublisher as BlockingBatchPublisher,
        BlockingChannel as BlockingChannel,
        BlockingPusher as BlockingPusher,
    )
    from txpusher.client import Pusher as Pusher
    from txpusher.config import Config as Config
    from txpusher.errors import (
        APIError as APIError,
        AuthenticationError as AuthenticationError,
        BadRequestError as BadRequestError,
        BlockingCallError as BlockingCallError,
        ClosedError as ClosedError,
        ConfigurationError as ConfigurationError,
        ConnectionClosedError as ConnectionClosedError,
        ForbiddenError as ForbiddenError,
        HTTPError as HTTPError,
        InvalidRequestError as InvalidRequestError,
        NotFoundError as NotFoundError,
        PayloadTooLargeError as PayloadTooLargeError,
        ProxyAuthenticationError as ProxyAuthenticationError,
        PusherError as PusherError,
        QueueFullError as QueueFullError,
        RateLimitedError as RateLimitedError,
        RequestTimeoutError as RequestTimeoutError,
        ServerError as ServerError,
        SubscriptionError as SubscriptionError,
        WebHookError as WebHookError,
    )
    from txpusher.publisher import BatchPublisher as BatchPublisher
    from txpusher.retry import RetryPolicy as RetryPolicy
    from txpusher.subscriber import Subscriber as Subscriber

#: The public names of each module, as the imports above have them.
_NAMES = {
    "txpusher._channel": ("Channel",),
    "txpusher._default": (
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
        "request",
        "send_to_user",
        "sign",
        "terminate_user_connections",
        "trigger",
        "trigger_batch",
        "webhook",
    ),
    "txpusher._event": ("Event",),
    "txpusher._http.stats": ("Attempt", "Stats"),
    "txpusher._publication": ("Published",),
    "txpusher._reply": (
        "BatchReply",
        "ChannelInfoReply",
        "ChannelUsersReply",
        "ChannelsReply",
        "TriggerReply",
    ),
    "txpusher._webhook": ("WebHook",),
    "txpusher.blocking": ("BlockingBatchPublisher", "BlockingChannel", "BlockingPusher"),
    "txpusher.client": ("Pusher",),
    "txpusher.config": ("Config",),
    "txpusher.errors": (
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
    ),
    "txpusher.publisher": ("BatchPublisher",),
    "txpusher.retry": ("RetryPolicy",),
    "txpusher.subscriber": ("Subscriber",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
#: The modules that are attributes of the package without an import of their own.
_MODULES = ("blocking", "client", "config", "errors", "publisher", "retry", "subscriber")

__all__ = ["__version__", *_HOMES]

if not TYPE_CHECKING:
    # A type checker that sees this function takes every misspelt name for a good one.
    def __getattr__(name: str) -> object:
        """Import the module that *name* stands in, and keep *name* for the next time."""
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        """Name what is there and what will be, for completion and documentation."""
        return sorted({*globals(), *__all__, *_MODULES})
