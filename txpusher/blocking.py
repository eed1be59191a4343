"""
:class:`BlockingPusher` and :class:`BlockingBatchPublisher`: the operations of a client
and of a publisher as blocking calls, for threads.

How a call gets to the reactor's thread and back is :mod:`txpusher._reactor_thread`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from txpusher._api import ApiRequest, Event
from txpusher._channel import Channel, log_quietly, users_in
from txpusher._reactor_thread import call_in_reactor, check_thread, wait_for, wait_for_query
from txpusher._webhook import WebHook
from txpusher.client import Pusher, build_request
from txpusher.errors import BlockingCallError, ConfigurationError, PusherError
from txpusher.publisher import BatchPublisher

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from txpusher._http.stats import Stats
    from txpusher.client import ClientOptions
    from txpusher.config import Config

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
        self._use(Pusher(app_id, key, secret, **options))

    @classmethod
    def wrap(cls, pusher: Pusher) -> Self:
        """
        The operations of an existing client, with its connections and its limits.

        :raises ConfigurationError: It is no :class:`~txpusher.Pusher`.
        """
        if not isinstance(pusher, Pusher):
            raise ConfigurationError(f"pusher must be a Pusher, not a {type(pusher).__name__}")
        blocking = cls.__new__(cls)
        blocking._use(pusher)
        return blocking

    def _use(self, pusher: Pusher) -> None:
        self._pusher = pusher
        self._api = pusher.api

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

    def _send(self, build: Callable[..., ApiRequest], *arguments: Any) -> Reply:
        check_thread()
        # In the caller's thread: what an iterable does there may be long, or bound to
        # it, and encoding is not for the reactor to wait for.
        request = build_request(build, *arguments)
        wait = wait_for_query if request.method == "GET" else wait_for
        return wait(self._pusher.transport.send, request)

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
        return self._send(self._api.trigger, channels, event, data, socket_id, info)

    def trigger_batch(self, events: Iterable[Event | Mapping[str, Any]]) -> Reply:
        """:meth:`Pusher.trigger_batch`."""
        return self._send(self._api.trigger_batch, events)

    def send_to_user(self, user_id: str, event: str, data: Any) -> Reply:
        """:meth:`Pusher.send_to_user`."""
        return self._send(self._api.send_to_user, user_id, event, data)

    def channels(
        self, filter_by_prefix: str | None = None, info: str | Iterable[str] | None = None
    ) -> Reply:
        """:meth:`Pusher.channels`."""
        return self._send(self._api.channels, filter_by_prefix, info)

    def channel_info(self, channel: str, info: str | Iterable[str] | None = None) -> Reply:
        """:meth:`Pusher.channel_info`."""
        return self._send(self._api.channel_info, channel, info)

    def channel_users(self, channel: str) -> Reply:
        """:meth:`Pusher.channel_users`."""
        return self._send(self._api.channel_users, channel)

    def terminate_user_connections(self, user_id: str) -> Reply:
        """:meth:`Pusher.terminate_user_connections`."""
        return self._send(self._api.terminate_user_connections, user_id)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Reply:
        """:meth:`Pusher.get`."""
        return self._send(self._api.get, path, params)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """:meth:`Pusher.post`."""
        return self._send(self._api.post, path, body)

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
        key: bytes | str | None = None,
        signature: bytes | str | None = None,
        body: bytes | str | None = None,
        content_type: bytes | str | None = "application/json",
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
        return BlockingChannel(self, self._pusher.channel(name))

    __getitem__ = channel


class BlockingChannel:
    """
    :class:`~txpusher.Channel` for threads.

    :ivar name: The channel's name.
    """

    def __init__(self, pusher: BlockingPusher, channel: Channel) -> None:
        self.name = channel.name
        self._pusher = pusher
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
        return self._pusher.trigger(self.name, event, data, socket_id=socket_id, info=info)

    def trigger_quietly(
        self,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> None:
        """
        :meth:`Channel.trigger_quietly`.

        :raises BlockingCallError: Here one could only wait for ever.
        """
        try:
            self.trigger(event, data, socket_id=socket_id, info=info)
        except BlockingCallError:
            raise
        except Exception as error:
            log_quietly(self.name, error)

    def info(self, info: str | Iterable[str] | None = None) -> Reply:
        """:meth:`Channel.info`."""
        return self._pusher.channel_info(self.name, info)

    def users(self) -> list[dict[str, Any]]:
        """:meth:`Channel.users`."""
        return users_in(self._pusher.channel_users(self.name))

    def authenticate(
        self, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """:meth:`Channel.authenticate`."""
        return self._channel.authenticate(socket_id, custom_data)


class BlockingBatchPublisher:
    """
    :class:`BatchPublisher` for threads, of which many may share one.

    ::

        with BlockingBatchPublisher(blocking_pusher) as publisher:
            futures = [publisher.submit("prices", "tick", price) for price in prices]

    :param pusher: The client to send with; it stays open.
    :param max_pending: See :class:`BatchPublisher`.
    :param ordered: See :class:`BatchPublisher`.
    """

    def __init__(
        self, pusher: BlockingPusher, *, max_pending: int = 100_000, ordered: bool = True
    ) -> None:
        if not isinstance(pusher, BlockingPusher):
            raise ConfigurationError(
                f"pusher must be a BlockingPusher, not a {type(pusher).__name__}"
            )
        self._publisher = BatchPublisher(
            pusher._pusher, max_pending=max_pending, ordered=ordered
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def trigger(
        self,
        channel: str,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Reply:
        """:meth:`BatchPublisher.trigger`, waiting until the event is accepted."""
        check_thread()
        publisher = self._publisher
        # In the caller's thread, as for BlockingPusher.
        item = publisher._item(channel, event, data, socket_id, info)
        return wait_for(publisher._offer, channel, item)

    def submit(
        self,
        channel: str,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Future[Reply]:
        """
        :meth:`BatchPublisher.trigger` without waiting.

        :return: A Future of the reply, or of the error.
        :raises BlockingCallError: Here the result could never arrive.
        :raises ClosedError: The reactor has stopped.
        """
        check_thread()
        future: Future[Reply] = Future()
        future.set_running_or_notify_cancel()
        publisher = self._publisher
        try:
            item = publisher._item(channel, event, data, socket_id, info)
        except PusherError as error:
            # Without the frames, which know the future: it would wait for the collector.
            future.set_exception(error.with_traceback(None))
            return future

        def begin() -> None:
            publisher._offer(channel, item).addBoth(settle)

        def settle(outcome: Reply | Failure) -> None:
            if future.done():
                # The reactor is stopping, and has failed it.
                return
            if isinstance(outcome, Failure):
                future.set_exception(outcome.value)
            else:
                future.set_result(outcome)

        call_in_reactor(begin, future)
        return future

    def flush(self) -> None:
        """:meth:`BatchPublisher.flush`."""
        wait_for_query(self._publisher.flush)

    def close(self) -> None:
        """:meth:`BatchPublisher.close`."""
        wait_for_query(self._publisher.close)
