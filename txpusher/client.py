"""
:class:`Pusher`: one method for each operation of the Channels API.

Each method returns a Deferred.  What a request says is decided in :mod:`txpusher._api`, how
it is sent in :mod:`txpusher._http`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent

from txpusher._channel import Channel
from txpusher._event import Event
from txpusher._http.stats import Stats
from txpusher._http.transport import Transport
from txpusher._offline import OfflineOperations
from txpusher._reply import (
    BatchReply,
    ChannelInfoReply,
    ChannelsReply,
    ChannelUsersReply,
    TriggerReply,
)
from txpusher._request import ApiRequest, build_request
from txpusher._text import with_type
from txpusher._urls import env_settings, url_settings
from txpusher._validators import check_callable
from txpusher.config import Config, Options
from txpusher.errors import ConfigurationError, PusherError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from txpusher._interfaces import AnyHTTPClient, AnyReactor, Clock, OnAttempt

P = ParamSpec("P")


class ClientOptions(Options, total=False):
    """The keyword arguments of :class:`Pusher`, and of every function that makes one."""

    reactor: AnyReactor | None
    http_client: AnyHTTPClient | None
    clock: Clock
    on_attempt: OnAttempt | None


class Pusher(OfflineOperations):
    """
    A client of one Channels app.

    The constructor starts nothing: no reactor, thread or socket exists before the first
    operation.  Each operation returns a Deferred, which may be cancelled at any time.

    **Errors.**  Every failure arrives through the Deferred, a refused argument included, as
    a :class:`~txpusher.PusherError` whose ``maybe_delivered`` says whether the server may
    have acted.  Any operation may fail with

    * an InvalidRequestError, before anything is sent, where an argument is not what the API
      accepts; a ConfigurationError, where the reactor, the TLS policy or the host cannot be
      used; a ClosedError after :meth:`close`; a QueueFullError past ``max_pending``;
    * an HTTPError, where there is no usable answer, among them RequestTimeoutError;
    * an APIError, where the server answers with an error: AuthenticationError (401),
      ForbiddenError (403), NotFoundError (404), RateLimitedError (429), ServerError (5xx)
      and so on;
    * Twisted's CancelledError, where the caller has cancelled the Deferred.

    Each operation names the errors that it has beside these.

    With ``async with``, the client is closed at the end.

    ::

        pusher = Pusher(app_id="3", key="k", secret="s", cluster="eu")
        d = pusher.trigger("my-channel", "my-event", {"hello": "world"})

    :param app_id: The app's id.
    :param key: The app's key.
    :param secret: The app's secret.
    :param reactor: The reactor to use.  Without one, the global reactor is imported when
        the first request is sent.
    :param http_client: A treq client (``treq.client.HTTPClient``,
        ``treq.testing.StubTreq``) to send with.  It decides on connections, proxies and
        TLS; ``max_connections`` then bounds the requests.
    :param clock: A function that returns the seconds since the epoch, for the timestamps of
        signatures and the age of webhooks.
    :param on_attempt: A function that is called with an :class:`~txpusher.Attempt` after
        each attempt to send a request, for metrics.  An exception of it is logged.
    :param options: Every other setting: see :class:`~txpusher.Config`.
    :raises ConfigurationError: A setting is missing or malformed.
    """

    # Without this, "for ... in pusher" would ask for the channel 0, then 1, and so on.
    __iter__ = None

    def __init__(
        self,
        app_id: str = "",
        key: str = "",
        secret: str = "",
        *,
        reactor: AnyReactor | None = None,
        http_client: AnyHTTPClient | None = None,
        clock: Clock = time.time,
        on_attempt: OnAttempt | None = None,
        **options: Unpack[Options],
    ) -> None:
        for name, given in (("clock", clock), ("on_attempt", on_attempt)):
            if given is not None:
                check_callable(name, given)
        if reactor is not None and not IReactorTime.providedBy(reactor):
            raise ConfigurationError(
                f"reactor must be one of Twisted's, not {with_type(reactor)}"
            )
        if http_client is not None:
            _check_http_client(http_client)
        super().__init__(Config(app_id, key, secret, **options), clock)
        self._transport = Transport(
            self.config,
            self.api,
            reactor=reactor,
            http_client=http_client,
            clock=clock,
            on_attempt=on_attempt,
        )

    @classmethod
    def from_url(cls, url: str, **options: Unpack[ClientOptions]) -> Self:
        """
        Make a client for ``https://KEY:SECRET@HOST[:PORT][/prefix]/apps/APP_ID``.

        :param options: Any other argument.  An argument that is given here wins over the
            URL.  ``cluster`` stands for a host, and wins over the URL's host and port.
        :raises ConfigurationError: The URL is malformed.  The message does not quote it.
        """
        return cls(**url_settings(url, cast("dict[str, Any]", options)))

    @classmethod
    def from_env(cls, name: str = "PUSHER_URL", **options: Unpack[ClientOptions]) -> Self:
        """
        Make a client for the URL in the environment variable *name*, as :meth:`from_url`.

        :raises ConfigurationError: The variable is not set, or the URL is malformed.
        """
        return cls(**env_settings(name, cast("dict[str, Any]", options)))

    def __repr__(self) -> str:
        config = self.config
        return f"<{type(self).__name__} app {config.app_id} on {config.host}:{config.port}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def transport(self) -> Transport:
        """The transport that sends the requests; for the package's own modules only."""
        return self._transport

    def _send(
        self, build: Callable[P, ApiRequest], *arguments: P.args, **options: P.kwargs
    ) -> Deferred[Any]:
        try:
            request = build_request(build, *arguments, **options)
        except PusherError:
            return fail()
        return self._transport.send(request)

    # Publishing

    def trigger(
        self,
        channels: str | Iterable[str],
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
        idempotency_key: str | None = None,
    ) -> Deferred[TriggerReply]:
        """
        Publish one event to one channel, or to up to 100.

        :param channels: The name of a channel, or several.  ``#server-to-user-<id>``
            reaches a user.  An encrypted channel must be the only one.
        :param event: The event's name, 1 to 200 characters.
        :param data: The event's data, at most ``max_payload_bytes`` when encoded.  A str is
            sent as it is, bytes as the UTF-8 that they are, any other value as JSON.
        :param socket_id: The id of the connection that does not get the event.
        :param info: The attributes of the channels to return: ``"subscription_count"``,
            ``"user_count"``, or several.
        :param idempotency_key: 1 to 128 printable ASCII characters, sent as
            ``X-Idempotency-Key`` with each attempt.  A server that honours it delivers
            events with one key once; Pusher's own ignores it.
        :return: A Deferred that fires once the server has accepted the event, with ``{}``
            or ``{"channels": {name: {attribute: value}}}``.  It may also fail with a
            PayloadTooLargeError (413), and with a ConfigurationError where a channel is
            encrypted and there is no key.

        Source: "HTTP API reference", POST event; "Excluding event recipients".
        """
        return self._send(
            self.api.trigger, channels, event, data, socket_id, info, idempotency_key
        )

    def trigger_batch(
        self, events: Iterable[Event | Mapping[str, Any]]
    ) -> Deferred[BatchReply]:
        """
        Publish up to ``max_batch_size`` events in one request.

        :param events: The events.  Each is an :class:`~txpusher.Event`, or a mapping with
            ``channel``, ``name``, ``data`` and, if wanted, ``socket_id``, ``info`` and
            ``idempotency_key``.
        :return: A Deferred that fires with ``{}``, or with
            ``{"batch": [{attribute: value}]}`` in the order of the events.  It may fail as
            that of :meth:`trigger`; then nothing of the batch was published, unless
            ``maybe_delivered`` is True.

        Source: "HTTP API reference", POST batch events.
        """
        return self._send(self.api.trigger_batch, events)

    def send_to_user(
        self, user_id: str, event: str, data: Any, *, idempotency_key: str | None = None
    ) -> Deferred[TriggerReply]:
        """
        Publish one event to every connection of a signed-in user.

        :param user_id: The user's id, a str of 1 to 200 characters.
        :param event: As for :meth:`trigger`.
        :param data: As for :meth:`trigger`.
        :param idempotency_key: As for :meth:`trigger`.
        :return: A Deferred that fires with ``{}``, whether the user has a connection or
            not.  It may fail as that of :meth:`trigger`.

        Source: "Sending events to authenticated users".
        """
        return self._send(self.api.send_to_user, user_id, event, data, idempotency_key)

    # Queries

    def channels(
        self, filter_by_prefix: str | None = None, info: str | Iterable[str] | None = None
    ) -> Deferred[ChannelsReply]:
        """
        Ask for the occupied channels.

        :param filter_by_prefix: The beginning of the names of the channels, None for all.
        :param info: The attributes to return: ``"user_count"`` (with the prefix
            ``presence-`` only), ``"subscription_count"``, or both.
        :return: A Deferred that fires with ``{"channels": {name: {attribute: value}}}``.
            It may also fail with a BadRequestError (400), where the server has no such
            attribute, and with an HTTPError where the reply is larger than
            ``max_reply_bytes``.

        Source: "HTTP API reference", GET channels.
        """
        return self._send(self.api.channels, filter_by_prefix, info)

    def channel_info(
        self, channel: str, info: str | Iterable[str] | None = None
    ) -> Deferred[ChannelInfoReply]:
        """
        Ask for the state of one channel.

        :param info: The attributes to return: ``"user_count"``, ``"subscription_count"``,
            ``"cache"``, or several.
        :return: A Deferred that fires with ``{"occupied": True, ...}``.  It may also fail
            with a BadRequestError (400), where the channel has no such attribute.

        Source: "HTTP API reference", GET channel.
        """
        return self._send(self.api.channel_info, channel, info)

    def channel_users(self, channel: str) -> Deferred[ChannelUsersReply]:
        """
        Ask for the members of a presence channel.

        :return: A Deferred that fires with ``{"users": [{"id": "..."}]}``.  It may also
            fail with a BadRequestError (400), where the channel is no presence channel.

        Source: "HTTP API reference", GET users.
        """
        return self._send(self.api.channel_users, channel)

    def terminate_user_connections(self, user_id: str) -> Deferred[dict[str, Any]]:
        """
        End every connection of a signed-in user.

        The user's clients connect again, unless the application refuses their sign-in.

        :param user_id: The user's id, a str of 1 to 200 characters.
        :return: A Deferred that fires with the decoded reply, ``{}``.

        Source: "Terminating user connections".
        """
        return self._send(self.api.terminate_user_connections, user_id)

    # Other requests

    def get(
        self, path: str, params: Mapping[str, Any] | None = None
    ) -> Deferred[dict[str, Any]]:
        """
        Send a signed GET of any path below the app's.

        :param path: A path such as ``"/channels"``, percent-escaped where it needs to be.
        :param params: The query parameters, str or int.  A parameter that is None is left
            out.
        :return: A Deferred that fires with the decoded reply.

        Source: "HTTP API reference".
        """
        return self._send(self.api.get, path, params)

    def post(
        self, path: str, body: Mapping[str, Any] | None = None
    ) -> Deferred[dict[str, Any]]:
        """
        Send a signed POST to any path below the app's.

        :param path: A path such as ``"/events"``, percent-escaped where it needs to be.
        :param body: A mapping, which is sent as a JSON object; None sends ``{}``.
        :return: A Deferred that fires with the decoded reply.

        Source: "HTTP API reference".
        """
        return self._send(self.api.post, path, body)

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | str | bytes | None = None,
    ) -> Deferred[dict[str, Any]]:
        """
        Send a signed request of any method for any path below the app's.

        :param method: An HTTP method such as ``"POST"``.  Only a GET counts as one that
            changes nothing, and is retried as such.
        :param path: As for :meth:`get`.
        :param params: As for :meth:`get`.
        :param body: A mapping, which is sent as a JSON object, or the exact str or bytes to
            send.  A POST without a body sends ``{}``; a GET has none.
        :return: A Deferred that fires with the decoded reply.

        Source: "HTTP API reference".
        """
        return self._send(self.api.request, method, path, params, body)

    def channel(self, name: str) -> Channel:
        """
        Bind the client to the channel called *name*, for several operations on it.

        :raises InvalidRequestError: No channel can be called so.
        """
        return Channel(self, name)

    __getitem__ = channel

    @property
    def stats(self) -> Stats:
        """The numbers of operations so far and at present, as a snapshot."""
        return self._transport.stats()

    def close(self, timeout: float | None = None) -> Deferred[None]:
        """
        Let requests in flight end, and leave nothing in the reactor.

        An operation that waits for a connection or for a retry fails with a ClosedError, as
        does every later operation.

        :param timeout: The seconds after which a request that is still in flight fails with
            a ClosedError too; None waits as long as it takes.
        :return: A Deferred that fires with None when every connection is closed.  It fails
            with an InvalidRequestError where *timeout* is no number of seconds >= 0.
        """
        return self._transport.close(timeout)


def _check_http_client(http_client: Any) -> None:
    if IAgent.providedBy(http_client):
        raise ConfigurationError(
            "http_client must be a treq client, not an agent: "
            "treq.client.HTTPClient(agent) makes one of it"
        )
    if not callable(getattr(http_client, "request", None)):
        raise ConfigurationError(
            f"http_client must be a treq client, not {with_type(http_client)}"
        )
