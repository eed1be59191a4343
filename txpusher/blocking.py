"""
:class:`BlockingPusher`: the operations of a client as blocking calls, for threads.

How a call gets to the reactor's thread and back is :mod:`txpusher._threads`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.web.iweb import IRequest

from txpusher._api import Event
from txpusher._threads import wait_for, wait_for_query
from txpusher.channel import Channel
from txpusher.client import Pusher
from txpusher.webhook import WebHook

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from txpusher._stats import Stats
    from txpusher.client import ClientOptions
    from txpusher.config import Config

T = TypeVar("T")
Reply = dict[str, Any]


class BlockingPusher:
    """
    :class:`~txpusher.Pusher` for threads: each operation returns its value, or
    raises its error.

    It takes the same arguments, and works in a program without a reactor (one
    is started in a thread of its own by the first call), in threads beside a
    running reactor (``deferToThread``, Scrapy, twistd), and beside an
    application's own ``crochet.setup()`` or ``crochet.no_setup()``.  Threads
    may share it.  Ctrl-C in a call cancels the request.

    Each operation, but not those without I/O, raises a
    :class:`~txpusher.BlockingCallError` at once in the reactor thread, and in
    a process that was forked after that thread began.
    """

    def __init__(
        self,
        app_id: str = "",
        key: str = "",
        secret: str = "",
        **options: Unpack[ClientOptions],
    ) -> None:
        self._pusher = Pusher(app_id, key, secret, **options)

    @classmethod
    def wrap(cls, pusher: Pusher) -> Self:
        """The operations of an existing client, with its connections and its limits."""
        blocking = cls.__new__(cls)
        blocking._pusher = pusher
        return blocking

    @classmethod
    def from_url(cls, url: str, **options: Unpack[ClientOptions]) -> Self:
        """:meth:`Pusher.from_url`."""
        return cls.wrap(Pusher.from_url(url, **options))

    @classmethod
    def from_env(cls, name: str = "PUSHER_URL", **options: Unpack[ClientOptions]) -> Self:
        """:meth:`Pusher.from_env`."""
        return cls.wrap(Pusher.from_env(name, **options))

    def __repr__(self) -> str:
        return repr(self._pusher).replace("<Pusher", f"<{type(self).__name__}", 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def config(self) -> Config:
        """The settings."""
        return self._pusher.config

    @property
    def stats(self) -> Stats:
        """:attr:`Pusher.stats`."""
        return self._pusher.stats

    def trigger(
        self,
        channels: str | Iterable[str],
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Reply:
        """:meth:`Pusher.trigger`."""
        return wait_for(
            self._pusher.trigger, channels, event, data, socket_id=socket_id, info=info
        )

    def trigger_batch(self, events: Iterable[Event | Mapping[str, Any]]) -> Reply:
        """:meth:`Pusher.trigger_batch`."""
        return wait_for(self._pusher.trigger_batch, events)

    def send_to_user(self, user_id: str, event: str, data: Any) -> Reply:
        """:meth:`Pusher.send_to_user`."""
        return wait_for(self._pusher.send_to_user, user_id, event, data)

    def channels(
        self, filter_by_prefix: str | None = None, info: str | Iterable[str] | None = None
    ) -> Reply:
        """:meth:`Pusher.channels`."""
        return wait_for_query(self._pusher.channels, filter_by_prefix, info)

    def channel_info(self, channel: str, info: str | Iterable[str] | None = None) -> Reply:
        """:meth:`Pusher.channel_info`."""
        return wait_for_query(self._pusher.channel_info, channel, info)

    def channel_users(self, channel: str) -> Reply:
        """:meth:`Pusher.channel_users`."""
        return wait_for_query(self._pusher.channel_users, channel)

    def terminate_user_connections(self, user_id: str) -> Reply:
        """:meth:`Pusher.terminate_user_connections`."""
        return wait_for(self._pusher.terminate_user_connections, user_id)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Reply:
        """:meth:`Pusher.get`."""
        return wait_for_query(self._pusher.get, path, params)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """:meth:`Pusher.post`."""
        return wait_for(self._pusher.post, path, body)

    def close(self, timeout: float | None = None) -> None:
        """:meth:`Pusher.close`."""
        wait_for_query(self._pusher.close, timeout)

    def authenticate(
        self, channel: str, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """:meth:`Pusher.authenticate`."""
        return self._pusher.authenticate(channel, socket_id, custom_data)

    def authenticate_user(self, socket_id: str, user_data: Mapping[str, Any]) -> dict[str, str]:
        """:meth:`Pusher.authenticate_user`."""
        return self._pusher.authenticate_user(socket_id, user_data)

    def webhook(
        self,
        request: IRequest | None = None,
        *,
        key: str | None = None,
        signature: str | None = None,
        body: bytes | str | None = None,
        content_type: str = "application/json",
        extra_tokens: Iterable[tuple[str, str]] = (),
    ) -> WebHook:
        """:meth:`Pusher.webhook`."""
        return self._pusher.webhook(
            request,
            key=key,
            signature=signature,
            body=body,
            content_type=content_type,
            extra_tokens=extra_tokens,
        )

    def channel(self, name: str) -> BlockingChannel:
        """:meth:`Pusher.channel`, its operations blocking too."""
        return BlockingChannel(self._pusher.channel(name))

    __getitem__ = channel


class BlockingChannel:
    """
    :class:`~txpusher.Channel` for threads.

    :ivar name: The channel's name.
    """

    def __init__(self, channel: Channel) -> None:
        self.name = channel.name
        self._channel = channel

    def __repr__(self) -> str:
        return f"<BlockingChannel {self.name}>"

    def trigger(
        self,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Reply:
        """:meth:`Channel.trigger`."""
        return wait_for(self._channel.trigger, event, data, socket_id=socket_id, info=info)

    def trigger_quietly(
        self,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> None:
        """:meth:`Channel.trigger_quietly`."""
        wait_for(self._channel.trigger_quietly, event, data, socket_id=socket_id, info=info)

    def info(self, info: str | Iterable[str] | None = None) -> Reply:
        """:meth:`Channel.info`."""
        return wait_for_query(self._channel.info, info)

    def users(self) -> list[dict[str, Any]]:
        """:meth:`Channel.users`."""
        return wait_for_query(self._channel.users)

    def authenticate(
        self, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """:meth:`Channel.authenticate`."""
        return self._channel.authenticate(socket_id, custom_data)
