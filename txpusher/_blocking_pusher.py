"""
:class:`BlockingPusher`: the operations of a client as blocking calls, for threads.

How a call gets to the reactor's thread and back is :mod:`txpusher._reactor_thread`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec

from txpusher._channel import Channel, log_quietly, users_in
from txpusher._event import Event
from txpusher._offline import OfflineOperations
from txpusher._reactor_thread import reactor_thread, wait_for, wait_for_query
from txpusher._request import ApiRequest, build_request
from txpusher._text import with_type
from txpusher.client import Pusher
from txpusher.errors import BlockingCallError, ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from txpusher._http.stats import Stats
    from txpusher._reply import (
        BatchReply,
        ChannelInfoReply,
        ChannelsReply,
        ChannelUser,
        ChannelUsersReply,
        TriggerReply,
    )
    from txpusher.client import ClientOptions

P = ParamSpec("P")
Reply = dict[str, Any]


class BlockingPusher(OfflineOperations):
    """
    A client of one Channels app for threads: each operation waits, and returns its value.

    It takes the arguments of :class:`~txpusher.Pusher`.  It works in a program without a
    reactor (the first call starts one in a thread of its own), in threads beside a running
    reactor (``deferToThread``, Scrapy, twistd), and beside an application's own
    ``crochet.setup()`` or ``crochet.no_setup()``.  Threads may share it.  Ctrl-C in a call
    cancels the request.

    **Errors.**  An operation raises the error with which the Deferred of
    :class:`~txpusher.Pusher` would fail, a :class:`~txpusher.PusherError` whose
    ``maybe_delivered`` says whether the server may have acted.  It raises a
    :class:`~txpusher.BlockingCallError` at once in the reactor thread, and in a process
    that was forked after that thread began; ``sign``, ``authenticate``,
    ``authenticate_user``, ``webhook`` and ``channel`` wait for nothing and do not.

    ::

        pusher = BlockingPusher(app_id="3", key="k", secret="s", cluster="eu")
        pusher.trigger("my-channel", "my-event", {"hello": "world"})
    """

    # Without this, "for ... in pusher" would ask for the channel 0, then 1, and so on.
    __iter__ = None

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
        Make a blocking client that shares an existing client, its connections and limits.

        :raises ConfigurationError: *pusher* is no :class:`~txpusher.Pusher`.
        """
        if not isinstance(pusher, Pusher):
            raise ConfigurationError(f"pusher must be a Pusher, not {with_type(pusher)}")
        blocking: Self = cls.__new__(cls)
        blocking._use(pusher)
        return blocking

    def _use(self, pusher: Pusher) -> None:
        super().__init__(pusher.config, pusher.clock)
        # A FakePusher's notes what the events were before they were encoded.
        self.api = pusher.api
        self._pusher = pusher

    @property
    def client(self) -> Pusher:
        """The client that sends, as the package's own modules use it."""
        return self._pusher

    @classmethod
    def from_url(cls, url: str, **options: Unpack[ClientOptions]) -> Self:
        """
        Make a client for ``https://KEY:SECRET@HOST[:PORT][/prefix]/apps/APP_ID``.

        :param options: Any other argument; it wins over the URL.
        :raises ConfigurationError: The URL is malformed.  The message does not quote it.
        """
        return cls.wrap(Pusher.from_url(url, **options))

    @classmethod
    def from_env(cls, name: str = "PUSHER_URL", **options: Unpack[ClientOptions]) -> Self:
        """
        Make a client for the URL in the environment variable *name*.

        :raises ConfigurationError: The variable is not set, or the URL is malformed.
        """
        return cls.wrap(Pusher.from_env(name, **options))

    def __repr__(self) -> str:
        return repr(self._pusher).replace("<Pusher", f"<{type(self).__name__}", 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _send(
        self, build: Callable[P, ApiRequest], *arguments: P.args, **options: P.kwargs
    ) -> Any:
        reactor_thread.check()
        # In the caller's thread: what an iterable does there may be long, or bound to
        # it, and encoding is not for the reactor to wait for.
        request = build_request(build, *arguments, **options)
        wait = wait_for_query if request.method == "GET" else wait_for
        return wait(self._pusher.transport.send, request)

    @property
    def stats(self) -> Stats:
        """The numbers of operations so far and at present, as a snapshot."""
        return self._pusher.stats

    def trigger(
        self,
        channels: str | Iterable[str],
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
        idempotency_key: str | None = None,
    ) -> TriggerReply:
        """
        Publish one event to one channel, or to up to 100.

        The arguments are those of :meth:`Pusher.trigger`.

        :return: Once the server has accepted the event, ``{}`` or
            ``{"channels": {name: {attribute: value}}}``.
        """
        reply: TriggerReply = self._send(
            self.api.trigger, channels, event, data, socket_id, info, idempotency_key
        )
        return reply

    def trigger_batch(self, events: Iterable[Event | Mapping[str, Any]]) -> BatchReply:
        """
        Publish up to ``max_batch_size`` events in one request.

        The argument is that of :meth:`Pusher.trigger_batch`.

        :return: ``{}``, or ``{"batch": [{attribute: value}]}`` in the order of the events.
        """
        reply: BatchReply = self._send(self.api.trigger_batch, events)
        return reply

    def send_to_user(
        self, user_id: str, event: str, data: Any, *, idempotency_key: str | None = None
    ) -> TriggerReply:
        """
        Publish one event to every connection of a signed-in user.

        The arguments are those of :meth:`Pusher.send_to_user`.

        :return: ``{}``, whether the user has a connection or not.
        """
        reply: TriggerReply = self._send(
            self.api.send_to_user, user_id, event, data, idempotency_key
        )
        return reply

    def channels(
        self, filter_by_prefix: str | None = None, info: str | Iterable[str] | None = None
    ) -> ChannelsReply:
        """
        Ask for the occupied channels.

        The arguments are those of :meth:`Pusher.channels`.

        :return: ``{"channels": {name: {attribute: value}}}``.
        """
        reply: ChannelsReply = self._send(self.api.channels, filter_by_prefix, info)
        return reply

    def channel_info(
        self, channel: str, info: str | Iterable[str] | None = None
    ) -> ChannelInfoReply:
        """
        Ask for the state of one channel.

        The arguments are those of :meth:`Pusher.channel_info`.

        :return: ``{"occupied": True, ...}``.
        """
        reply: ChannelInfoReply = self._send(self.api.channel_info, channel, info)
        return reply

    def channel_users(self, channel: str) -> ChannelUsersReply:
        """
        Ask for the members of a presence channel.

        :return: ``{"users": [{"id": "..."}]}``.
        """
        reply: ChannelUsersReply = self._send(self.api.channel_users, channel)
        return reply

    def terminate_user_connections(self, user_id: str) -> Reply:
        """
        End every connection of a signed-in user.

        :param user_id: The user's id, a str of 1 to 200 characters.
        :return: ``{}``.
        """
        reply: Reply = self._send(self.api.terminate_user_connections, user_id)
        return reply

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Reply:
        """
        Send a signed GET of any path below the app's, such as ``"/channels"``.

        The arguments are those of :meth:`Pusher.get`.

        :return: The decoded reply.
        """
        reply: Reply = self._send(self.api.get, path, params)
        return reply

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """
        Send a signed POST to any path below the app's, such as ``"/events"``.

        The arguments are those of :meth:`Pusher.post`.

        :return: The decoded reply.
        """
        reply: Reply = self._send(self.api.post, path, body)
        return reply

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | str | bytes | None = None,
    ) -> Reply:
        """
        Send a signed request of any method for any path below the app's.

        The arguments are those of :meth:`Pusher.request`.

        :return: The decoded reply.
        """
        reply: Reply = self._send(self.api.request, method, path, params, body)
        return reply

    def close(self, timeout: float | None = None) -> None:
        """
        Let requests in flight end, and leave nothing in the reactor.

        :param timeout: The seconds after which a request that is still in flight fails with
            a ClosedError; None waits as long as it takes.
        """
        wait_for_query(self._pusher.close, timeout)

    def channel(self, name: str) -> BlockingChannel:
        """
        Bind the client to the channel called *name*, for several operations on it.

        :raises InvalidRequestError: No channel can be called so.
        """
        return BlockingChannel(self, self._pusher.channel(name))

    __getitem__ = channel


class BlockingChannel:
    """
    One channel of an app for threads: ``blocking_pusher["my-channel"]`` makes it.

    Each method is an operation of :class:`BlockingPusher` without its first argument.

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
        idempotency_key: str | None = None,
    ) -> TriggerReply:
        """
        Publish one event to this channel, and wait until the server has accepted it.

        The arguments, and the errors, are those of :meth:`BlockingPusher.trigger`.

        :return: ``{}`` or ``{"channels": {name: {attribute: value}}}``.
        """
        return self._pusher.trigger(
            self.name,
            event,
            data,
            socket_id=socket_id,
            info=info,
            idempotency_key=idempotency_key,
        )

    def trigger_quietly(
        self,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """
        Publish one event to this channel, and log a failure as an error.

        :raises BlockingCallError: The call was made where it could only hang.
        """
        try:
            self.trigger(
                event, data, socket_id=socket_id, info=info, idempotency_key=idempotency_key
            )
        except BlockingCallError:
            raise
        except Exception as error:
            log_quietly(self.name, error)

    def info(self, info: str | Iterable[str] | None = None) -> ChannelInfoReply:
        """
        Ask for the state of this channel.

        The argument, and the errors, are those of :meth:`BlockingPusher.channel_info`.

        :return: ``{"occupied": True, ...}``.
        """
        return self._pusher.channel_info(self.name, info)

    def users(self) -> list[ChannelUser]:
        """
        Ask for the members of this presence channel.

        The errors are those of :meth:`BlockingPusher.channel_users`.

        :return: A list, ``[{"id": "..."}]``.
        """
        return users_in(self._pusher.channel_users(self.name))

    def authenticate(
        self, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """
        Sign the answer to a client that asks to subscribe to this channel.

        The arguments, and the errors, are those of :meth:`Pusher.authenticate`.

        :return: ``{"auth": ..., "channel_data"?: ..., "shared_secret"?: ...}``.
        """
        return self._channel.authenticate(socket_id, custom_data)
