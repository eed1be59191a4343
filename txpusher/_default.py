"""
The client that a program shares, and one function for each of its operations.

:func:`configure` makes the client; else the environment variable ``PUSHER_URL`` says which
app it is for.  The arguments of a function, and its errors, are those of the method of
:class:`~txpusher.Pusher` of the same name.  Where there is no client and none can be made,
the Deferred of an operation fails with the ConfigurationError, and so does each later one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed

from txpusher._channel import Channel
from txpusher._event import Event
from txpusher._webhook import WebHook
from txpusher._webhook_parts import HeaderValue
from txpusher.client import Pusher
from txpusher.errors import PusherError

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest
    from typing_extensions import Unpack

    from txpusher._reply import (
        BatchReply,
        ChannelInfoReply,
        ChannelsReply,
        ChannelUsersReply,
        TriggerReply,
    )
    from txpusher.client import ClientOptions

T = TypeVar("T")

_default: Pusher | None = None


def configure(
    app_id: str = "", key: str = "", secret: str = "", **options: Unpack[ClientOptions]
) -> Pusher:
    """
    Make the default client, and return it.

    The arguments are those of :class:`~txpusher.Pusher`.  A default client that there was
    before stays open.

    :raises ConfigurationError: A setting is missing or malformed.
    """
    global _default
    _default = Pusher(app_id, key, secret, **options)
    return _default


def default_client() -> Pusher:
    """
    Return the client that :func:`configure` has made, else one for ``PUSHER_URL``.

    :raises ConfigurationError: Neither is there, or the URL is malformed.
    """
    global _default
    if _default is None:
        _default = Pusher.from_env()
    return _default


def _delegate(operation: Callable[[Pusher], Deferred[T]]) -> Deferred[T]:
    try:
        client = default_client()
    except PusherError:
        return fail()
    return operation(client)


def trigger(
    channels: str | Iterable[str],
    event: str,
    data: Any,
    *,
    socket_id: str | None = None,
    info: str | Iterable[str] | None = None,
    idempotency_key: str | None = None,
) -> Deferred[TriggerReply]:
    """
    Publish one event to one channel, or to up to 100; see :meth:`Pusher.trigger`.

    :return: A Deferred that fires with ``{}`` or ``{"channels": {...}}``.
    """
    return _delegate(
        lambda client: client.trigger(
            channels,
            event,
            data,
            socket_id=socket_id,
            info=info,
            idempotency_key=idempotency_key,
        )
    )


def trigger_batch(events: Iterable[Event | Mapping[str, Any]]) -> Deferred[BatchReply]:
    """
    Publish several events in one request; see :meth:`Pusher.trigger_batch`.

    :return: A Deferred that fires with ``{}`` or ``{"batch": [...]}``.
    """
    return _delegate(lambda client: client.trigger_batch(events))


def send_to_user(
    user_id: str, event: str, data: Any, *, idempotency_key: str | None = None
) -> Deferred[TriggerReply]:
    """
    Publish one event to every connection of a user; see :meth:`Pusher.send_to_user`.

    :return: A Deferred that fires with ``{}``.
    """
    return _delegate(
        lambda client: client.send_to_user(
            user_id, event, data, idempotency_key=idempotency_key
        )
    )


def channels(
    filter_by_prefix: str | None = None, info: str | Iterable[str] | None = None
) -> Deferred[ChannelsReply]:
    """
    Ask for the occupied channels; see :meth:`Pusher.channels`.

    :return: A Deferred that fires with ``{"channels": {name: {attribute: value}}}``.
    """
    return _delegate(lambda client: client.channels(filter_by_prefix, info))


def channel_info(
    channel: str, info: str | Iterable[str] | None = None
) -> Deferred[ChannelInfoReply]:
    """
    Ask for the state of one channel; see :meth:`Pusher.channel_info`.

    :return: A Deferred that fires with ``{"occupied": True, ...}``.
    """
    return _delegate(lambda client: client.channel_info(channel, info))


def channel_users(channel: str) -> Deferred[ChannelUsersReply]:
    """
    Ask for the members of a presence channel; see :meth:`Pusher.channel_users`.

    :return: A Deferred that fires with ``{"users": [{"id": "..."}]}``.
    """
    return _delegate(lambda client: client.channel_users(channel))


def terminate_user_connections(user_id: str) -> Deferred[dict[str, Any]]:
    """
    End every connection of a user; see :meth:`Pusher.terminate_user_connections`.

    :return: A Deferred that fires with ``{}``.
    """
    return _delegate(lambda client: client.terminate_user_connections(user_id))


def get(path: str, params: Mapping[str, Any] | None = None) -> Deferred[dict[str, Any]]:
    """
    Send a signed GET of any path below the app's; see :meth:`Pusher.get`.

    :return: A Deferred that fires with the decoded reply.
    """
    return _delegate(lambda client: client.get(path, params))


def post(path: str, body: Mapping[str, Any] | None = None) -> Deferred[dict[str, Any]]:
    """
    Send a signed POST to any path below the app's; see :meth:`Pusher.post`.

    :return: A Deferred that fires with the decoded reply.
    """
    return _delegate(lambda client: client.post(path, body))


def request(
    method: str,
    path: str,
    params: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | str | bytes | None = None,
) -> Deferred[dict[str, Any]]:
    """
    Send a signed request of any method; see :meth:`Pusher.request`.

    :return: A Deferred that fires with the decoded reply.
    """
    return _delegate(lambda client: client.request(method, path, params, body))


def close(timeout: float | None = None) -> Deferred[None]:
    """
    Close the default client; the next operation makes a new one.  See :meth:`Pusher.close`.

    :return: A Deferred that fires with None when every connection is closed.
    """
    global _default
    client, _default = _default, None
    return succeed(None) if client is None else client.close(timeout)


def sign(
    method: str,
    path: str,
    params: Mapping[str, Any] | None = None,
    body: str | bytes | None = None,
) -> str:
    """Return the whole signed URL of a request; see :meth:`Pusher.sign`."""
    return default_client().sign(method, path, params, body)


def authenticate(
    channel: str, socket_id: str, custom_data: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Sign the answer to a client that subscribes; see :meth:`Pusher.authenticate`."""
    return default_client().authenticate(channel, socket_id, custom_data)


def authenticate_user(socket_id: str, user_data: Mapping[str, Any]) -> dict[str, str]:
    """Sign the answer to a client that signs in; see :meth:`Pusher.authenticate_user`."""
    return default_client().authenticate_user(socket_id, user_data)


def webhook(
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
    """Take a webhook, to be verified and read; see :meth:`Pusher.webhook`."""
    return default_client().webhook(
        request,
        headers=headers,
        key=key,
        signature=signature,
        body=body,
        content_type=content_type,
        extra_tokens=extra_tokens,
        max_age=max_age,
    )


def channel(name: str) -> Channel:
    """Bind the default client to the channel called *name*; see :meth:`Pusher.channel`."""
    return default_client().channel(name)
