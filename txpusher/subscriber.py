# -*- test-case-name: tests.integration.test_subscriber -*-
"""
:class:`Subscriber`: receives events in a reactor, as pusher-js does in a page.

It needs wsproto, and PyNaCl for encrypted channels: ``pip install 'txpusher[subscriber]'``.
What the messages mean is decided in :mod:`txpusher._protocol.subscribing`, without a socket;
this module carries the decisions out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from txpusher._authorizing import (
    Authorization,
    Authorizer,
    PusherAuthorizer,
    PusherUserAuthorizer,
    UserAuthorizer,
)
from txpusher._handlers import Handler, Inbox
from txpusher._http.authorizer import HTTPAuthorizer
from txpusher._protocol.channels import refusal
from txpusher._protocol.client_events import check_client_event
from txpusher._protocol.incoming import Message
from txpusher._protocol.joining import Channel, Standing
from txpusher._protocol.names import check_channel
from txpusher._subscriber_audience import Audience, Place, StateHandler
from txpusher._subscriber_engine import Engine
from txpusher._subscriber_settings import (
    ForPusherOptions,
    Settings,
    SubscriberOptions,
    websocket_host,
)
from txpusher._subscription import Subscription
from txpusher._text import with_type
from txpusher._waiters import own_error
from txpusher.errors import ConfigurationError, InvalidRequestError, PusherError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from txpusher._interfaces import AnyReactor
    from txpusher.client import Pusher

__all__ = [
    "Authorizer",
    "HTTPAuthorizer",
    "Message",
    "Subscriber",
    "Subscription",
    "UserAuthorizer",
]


class Subscriber:
    """
    One connection to a Channels server that comes back, and the channels on it.

    ::

        subscriber = Subscriber.for_pusher(pusher)
        await subscriber.connect()
        orders = await subscriber.subscribe("private-orders")
        orders.bind("created", lambda message: print(message.data))
        ...
        await subscriber.close()

    After the loss of the connection it connects again, asks for fresh signatures, subscribes
    to every channel and signs in.  Events that were published in between are lost: the
    protocol does not repeat them (cache channels repeat the last one).  Making a Subscriber
    starts nothing.  With ``async with``, it is closed at the end.  Source: "Pusher Channels
    Protocol".

    :param key: The app's key.
    :param cluster: The Pusher cluster, which gives the host ``ws-<cluster>.pusher.com``.
    :param host: The host of another server that speaks the protocol.
    :param port: Its port; 443 with TLS, 80 without.
    :param use_tls: Whether to speak wss.
    :param path_prefix: A path before ``/app/``.
    :param authorizer: Signs private and presence channels: an :class:`Authorizer`, such as an
        :class:`HTTPAuthorizer`.
    :param user_authorizer: Signs sign-ins: a :class:`UserAuthorizer`, or an HTTPAuthorizer.
    :param encryption_master_key_base64: 32 bytes in base64, which make the keys of encrypted
        channels where the authorizer gives no ``shared_secret``.
    :param activity_timeout: Seconds of silence after which the server is asked whether it
        lives; the server's own value counts where it is less.
    :param pong_timeout: Seconds that it then has to send anything.
    :param connect_timeout: Seconds to look up, connect, shake hands and be greeted.
    :param max_buffered: The most events that wait in one ``async for``.
    :param retry: A RetryPolicy, of which the delays count: a connection that is lost is made
        again at once, then after these delays, however often it takes.
    :param tls_policy: An ``IPolicyForHTTPS`` in place of the default, which verifies against
        the platform's trust roots.
    :param http_proxy: ``http://[user:password@]host[:port]``, which must allow CONNECT.
    :param endpoint: An ``IStreamClientEndpoint`` that stands for the TCP connection.
    :param reactor: The reactor; else the installed one is used.
    :raises ConfigurationError: A setting is missing or malformed.
    """

    def __init__(
        self,
        key: str,
        *,
        authorizer: Authorizer | None = None,
        user_authorizer: UserAuthorizer | None = None,
        reactor: AnyReactor | None = None,
        **options: Unpack[SubscriberOptions],
    ) -> None:
        if reactor is not None and not IReactorTime.providedBy(reactor):
            raise ConfigurationError(
                f"reactor must be one of Twisted's, not {with_type(reactor)}"
            )
        self._settings = settings = Settings(key=key, **options)
        self._authorization = Authorization(authorizer, user_authorizer, settings.master_key)
        self._audience = Audience()
        self._engine = Engine(settings, self._authorization, self._audience, reactor)
        self._machine = self._engine.machine
        self._numbers = itertools.count(1)

    @classmethod
    def for_pusher(
        cls,
        pusher: Pusher,
        *,
        host: str | None = None,
        port: int | None = None,
        **options: Unpack[ForPusherOptions],
    ) -> Self:
        """
        Make a subscriber of the app of a Pusher, which signs for itself.

        :param pusher: Gives the key, the server, TLS, proxy, encryption key and delays of
            retries, and signs with its secret.
        :param host: The host for WebSockets, by default the Pusher's; ``api-X.pusher.com``
            stands for ``ws-X.pusher.com``.
        :param port: The port for WebSockets, by default the Pusher's.
        :param options: Any other argument of :class:`Subscriber`; one given here wins.
        :raises ConfigurationError: A setting is malformed.
        """
        config = pusher.config
        settings: dict[str, Any] = {
            "host": host or websocket_host(config.host),
            "port": port or config.port,
            "use_tls": config.use_tls,
            "path_prefix": config.path_prefix,
            "encryption_master_key_base64": config.encryption_master_key_base64,
            "connect_timeout": config.connect_timeout,
            "retry": config.retry,
            "tls_policy": config.tls_policy,
            "http_proxy": config.http_proxy,
            "endpoint": config.endpoint,
            "authorizer": PusherAuthorizer(pusher),
            "user_authorizer": PusherUserAuthorizer(pusher),
        }
        return cls(config.key, **{**settings, **options})

    def __repr__(self) -> str:
        settings = self._settings
        return f"<{type(self).__name__} {settings.host}:{settings.port} {self.state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # The connection

    @property
    def state(self) -> str:
        """
        Return the state of the connection.

        ``initialized`` before connect(); ``connecting`` at the first attempt, and when a
        connection has just been lost; ``unavailable`` once an attempt has failed, until one
        succeeds; ``connected``; ``disconnected`` after close(); ``failed`` where the server
        has said not to come back.
        """
        return self._machine.state.value

    @property
    def socket_id(self) -> str | None:
        """Return the id of the present connection, None without one."""
        return self._machine.socket_id

    def on_state_change(self, handler: StateHandler) -> None:
        """
        Call *handler* with the old state and the new one at each change, in order.

        What it raises is logged.
        """
        if not callable(handler):
            raise InvalidRequestError(f"handler must be callable, not {with_type(handler)}")
        self._audience.state_handlers += (handler,)

    def connect(self) -> Deferred[str]:
        """
        Connect, and stay connected until :meth:`close`.

        :return: A Deferred that fires with the socket id, once the server has greeted; at
            once where there is a connection.  It does not fail because a server cannot be
            reached: the attempts go on for as long as it takes.  It fails with a
            :class:`~txpusher.ConnectionClosedError` where the server says not to come back
            (close codes 4000 to 4099), with a ConfigurationError where TLS cannot be used,
            with a ClosedError after close().  Cancelling the last of these Deferreds ends the
            attempts, unless there has been a connection before.
        """
        if self._machine.end is not None:
            return fail(own_error(self._machine.end))
        if self._machine.socket_id is not None:
            return succeed(self._machine.socket_id)
        try:
            # Made now: an error of the settings is not one of the network.
            _ = self._engine.endpoint
        except PusherError:
            return fail()
        waiter: Deferred[str] = Deferred(self._stop_waiting_for_connection)
        self._audience.connecting.add(waiter)
        self._engine.perform(self._machine.connect())
        return waiter

    def _stop_waiting_for_connection(self, waiter: Deferred[str]) -> None:
        if self._audience.connecting.forget(waiter):
            self._engine.perform(self._machine.abandon())

    def close(self) -> Deferred[None]:
        """
        End everything: what waits fails with a ClosedError, as does every later operation.

        :return: A Deferred that fires with None when the connection is closed and nothing is
            left in the reactor: when the server has answered the goodbye, or after a second.
            Cancelling it closes the connection at once.
        """
        self._engine.perform(self._machine.close())
        return self._engine.closed()

    # Channels and users

    def subscribe(
        self, channel: str, *, custom_data: Mapping[str, Any] | None = None
    ) -> Deferred[Subscription]:
        """
        Subscribe to a channel, now or as soon as there is a connection.

        The same channel twice is the same Subscription.  A refusal when the subscriber comes
        back after the loss of a connection is logged, told to handlers as
        ``pusher:subscription_error``, and tried again at the next connection.

        :param channel: The name of the channel.
        :param custom_data: Signed by :meth:`for_pusher`; a presence channel needs a
            ``user_id``, and may have ``user_info``.  Other authorizers know by themselves.
        :return: A Deferred that fires with the :class:`Subscription` once the server has
            confirmed it.  It fails with a :class:`~txpusher.SubscriptionError` that has the
            reason of the server or the authorizer, with an InvalidRequestError or a
            ConfigurationError (no authorizer, no key) before anything is sent, and after the
            end with a ClosedError or ConnectionClosedError.  It waits for as long as it takes;
            ``addTimeout`` limits that.  Cancelling the last one before the confirmation
            unsubscribes.
        """
        try:
            name = check_channel(channel)
            self._authorization.check_channel(name)
            data = _checked_mapping("custom_data", custom_data)
        except PusherError:
            return fail()
        if self._machine.end is not None:
            return fail(own_error(self._machine.end))
        wanted = self._machine.subscribe(name, data)
        record = self._machine.channels.get(name)
        place = self._audience.places.get(name)
        if place is None:
            place = self._audience.places[name] = self._make_place(cast(Channel, record))
        waiter: Deferred[Subscription] = Deferred(
            lambda waiter: self._stop_waiting_for(place, waiter)
        )
        place.waiters.add(waiter)
        self._engine.perform(wanted)
        return waiter

    def _make_place(self, channel: Channel) -> Place:
        inbox = Inbox(self._settings.max_buffered)
        subscription = Subscription(channel, inbox, self._trigger, self._unsubscribe)
        return Place(channel, inbox, subscription)

    def _stop_waiting_for(self, place: Place, waiter: Deferred[Subscription]) -> None:
        if place.waiters.forget(waiter) and place.channel.standing is Standing.NEW:
            self._unsubscribe(place.channel)

    def sign_in(self, user_data: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """
        Sign in as a user, now or as soon as there is a connection, and at each one after it.

        Events to the user then are messages of the channel ``#server-to-user-<id>``, for the
        handlers of this subscriber; ``online`` and ``offline`` tell of the watchlist.  Source:
        "User authentication", "Server to user messages", "Watchlist events".

        :param user_data: Must have an ``id``, a non-empty str; may have ``user_info`` and
            ``watchlist``, up to 100 ids.
        :return: A Deferred that fires with the user_data that the server has confirmed, once
            events to the user arrive.  It fails with a ConfigurationError without a
            user_authorizer, with an InvalidRequestError where the subscriber has signed in
            with other user_data, with a SubscriptionError where it is refused, and with a
            ConnectionClosedError where the server ends the connection for it.  It waits for
            as long as it takes, for ever where the server does not answer (soketi, where the
            app has no user authentication); ``addTimeout`` limits that.
        """
        try:
            self._authorization.check_sign_in()
            data = _checked_mapping("user_data", user_data)
        except PusherError:
            return fail()
        if self._machine.end is not None:
            return fail(own_error(self._machine.end))
        try:
            wanted = self._machine.sign_in(data or {})
        except PusherError:
            return fail()
        waiter: Deferred[dict[str, Any]] = Deferred(self._stop_waiting_for_sign_in)
        self._audience.signing_in.add(waiter)
        self._engine.perform(wanted)
        return waiter

    def _stop_waiting_for_sign_in(self, waiter: Deferred[dict[str, Any]]) -> None:
        if self._audience.signing_in.forget(waiter):
            self._engine.perform(self._machine.withdraw_sign_in())

    # Handlers

    def bind(self, event: str, handler: Handler) -> None:
        """
        Call *handler* with each :class:`Message` of *event*, on whatever channel.

        :param handler: May return a Deferred or a coroutine; nothing waits for it.  What it
            raises is logged, and stops neither the other handlers nor the connection.
        :raises InvalidRequestError: *event* is not a str, or *handler* cannot be called.
        """
        self._audience.handlers.bind(event, handler)

    def bind_all(self, handler: Handler) -> None:
        """Call *handler* as :meth:`bind` does, with each message."""
        self._audience.handlers.bind_all(handler)

    def unbind(self, event: str | None = None, handler: Handler | None = None) -> None:
        """Call handlers no more: of *event*, or *handler*, or both; without arguments, all."""
        self._audience.handlers.unbind(event, handler)

    # What a Subscription asks for

    def _trigger(self, channel: Channel, event: str, data: Any) -> Deferred[None]:
        if self._machine.end is not None:
            return fail(own_error(self._machine.end))
        number = next(self._numbers)
        try:
            name = check_client_event(channel.name, event)
            if self._machine.channels.get(channel.name) is not channel:
                raise refusal(channel.name, "the subscriber has left it")
            wanted = self._machine.trigger(number, channel.name, name, data)
        except PusherError:
            return fail()
        waiter: Deferred[None] = Deferred(lambda _: self._forget_trigger(number))
        self._audience.triggered[number] = waiter
        self._engine.perform(wanted)
        return waiter

    def _forget_trigger(self, number: int) -> None:
        del self._audience.triggered[number]
        self._engine.perform(self._machine.forget_trigger(number))

    def _unsubscribe(self, channel: Channel) -> None:
        place = self._audience.places.get(channel.name)
        if place is None or place.channel is not channel:
            return
        del self._audience.places[channel.name]
        self._engine.perform(self._machine.unsubscribe(channel.name))
        place.end(None, refusal(channel.name, "the subscriber has left it"))


def _checked_mapping(name: str, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if value is None and name == "custom_data":
        return None
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{name} must be a mapping, not {with_type(value)}")
    return dict(value)
