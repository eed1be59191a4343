"""
The client that a program shares, and one function for each of its operations.

:func:`configure` makes the client, else the environment variable ``PUSHER_URL`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.iweb import IRequest

from txpusher._api import Event
from txpusher._channel import Channel
from txpusher._webhook import WebHook
from txpusher.client import Pusher
from txpusher.errors import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from txpusher.client import ClientOptions

_default: Pusher | None = None


def configure(
    app_id: str = "", key: str = "", secret: str = "", **options: Unpack[ClientOptions]
) -> Pusher:
    """
    Set the default client, and return it.

    Takes the arguments of :class:`Pusher`.  A default client that there was
    before is left as it is, open.

    :raises ConfigurationError: A setting is missing or malformed.
    """
    global _default
    _default = Pusher(app_id, key, secret, **options)
    return _default


def default_client() -> Pusher:
    """
    The client that :func:`configure` set, else one for ``PUSHER_URL``.

    :raises ConfigurationError: Neither is there.
    """
    global _default
    if _default is None:
        _default = Pusher.from_env()
    return _default


def _delegate(operation: str, *arguments: Any, **options: Any) -> Deferred[Any]:
    try:
        client = default_client()
    except ConfigurationError:
        return fail()
    deferred: Deferred[Any] = getattr(client, operation)(*arguments, **options)
    return deferred


def trigger(
    channels: str | Iterable[str],
    event: str,
    data: Any,
    *,
    socket_id: str | None = None,
    info: str | Iterable[str] | None = None,
) -> Deferred[dict[str, Any]]:
    """:meth:`Pusher.trigger` of the default client."""
    return _delegate("trigger", channels, event, data, socket_id=socket_id, info=info)


def trigger_batch(events: Iterable[Event | Mapping[str, Any]]) -> Deferred[dict[str, Any]]:
    """:meth:`Pusher.trigger_batch` of the default client."""
    return _delegate("trigger_batch", events)


def send_to_user(user_id: str, event: str, data: Any) -> Deferred[dict[str, Any]]:
    """:meth:`Pusher.send_to_user` of the default client."""
    return _delegate("send_to_user", user_id, event, data)


def channels(
    filter_by_prefix: str | None = None, info: str | Iterable[str] | None = None
) -> Deferred[dict[str, Any]]:
    """:meth:`Pusher.channels` of the default client."""
    return _delegate("channels", filter_by_prefix, info)


def channel_info(
    channel: str, info: str | Iterable[str] | None = None
) -> Deferred[dict[str, Any]]:
    """:meth:`Pusher.channel_info` of the default client."""
    return _delegate("channel_info", channel, info)


def channel_users(channel: str) -> Deferred[dict[str, Any]]:
    """:meth:`Pusher.channel_users` of the default client."""
    return _delegate("channel_users", channel)


def terminate_user_connections(user_id: str) -> Deferred[dict[str, Any]]:
    """:meth:`Pusher.terminate_user_connections` of the default client."""
    return _delegate("terminate_user_connections", user_id)


def get(path: str, params: Mapping[str, Any] | None = None) -> Deferred[dict[str, Any]]:
    """:meth:`Pusher.get` of the default client."""
    return _delegate("get", path, params)


def post(path: str, body: Mapping[str, Any] | None = None) -> Deferred[dict[str, Any]]:
    """:meth:`Pusher.post` of the default client."""
    return _delegate("post", path, body)


def close(timeout: float | None = None) -> Deferred[None]:
    """:meth:`Pusher.close` of the default client; the next operation makes a new one."""
    global _default
    client, _default = _default, None
    return succeed(None) if client is None else client.close(timeout)


def authenticate(
    channel: str, socket_id: str, custom_data: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """:meth:`Pusher.authenticate` of the default client."""
    return default_client().authenticate(channel, socket_id, custom_data)


def authenticate_user(socket_id: str, user_data: Mapping[str, Any]) -> dict[str, str]:
    """:meth:`Pusher.authenticate_user` of the default client."""
    return default_client().authenticate_user(socket_id, user_data)


def webhook(
    request: IRequest | None = None,
    *,
    key: bytes | str | None = None,
    signature: bytes | str | None = None,
    body: bytes | str | None = None,
    content_type: bytes | str | None = "application/json",
    extra_tokens: Iterable[tuple[str, str]] = (),
) -> WebHook:
    """:meth:`Pusher.webhook` of the default client."""
    return default_client().webhook(
        request,
        key=key,
        signature=signature,
        body=body,
        content_type=content_type,
        extra_tokens=extra_tokens,
    )


def channel(name: str) -> Channel:
    """:meth:`Pusher.channel` of the default client."""
    return default_client().channel(name)
