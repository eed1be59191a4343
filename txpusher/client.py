"""
:class:`Pusher`: one method per operation of the Channels API, each a Deferred.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent, IRequest

from txpusher._api import Api, ApiRequest, Event
from txpusher._channel import Channel
from txpusher._http.stats import Stats
from txpusher._http.transport import Transport
from txpusher._text import short_repr
from txpusher._urls import env_settings, url_settings
from txpusher._validators import check_callable
from txpusher._webhook import WebHook, read_webhook
from txpusher.config import Config, Options
from txpusher.errors import ConfigurationError, InvalidRequestError, PusherError

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from txpusher._interfaces import AnyHTTPClient, AnyReactor, Clock, OnAttempt

Reply = Deferred[dict[str, Any]]
T = TypeVar("T")


class ClientOptions(Options, total=False):
    """The keyword arguments of :class:`Pusher`, and of all that makes one."""

    reactor: AnyReactor | None
    http_client: AnyHTTPClient | None
    clock: Clock
    on_attempt: OnAttempt | None


class Pusher:
    """
    A client of one Channels app.

    Making one starts nothing: no reactor, thread or socket before the first
    operation.  Each operation returns a Deferred; whatever goes wrong, a
    refused argument included, arrives through it as a
    :class:`~txpusher.PusherError` whose ``maybe_delivered`` says whether the
    server may have acted.  A Deferred may be cancelled at any time.

    With ``async with``, the client is closed at the end.

    ::

        pusher = Pusher(app_id="3", key="k", secret="s", cluster="eu")
        d = pusher.trigger("my-channel", "my-event", {"hello": "world"})

    :param app_id: The app's id.
    :param key: The app's key.
    :param secret: The app's secret.
    :param reactor: The reactor to use; else the running one is looked up when
        the first request is sent.
    :param http_client: A treq client (``treq.client.HTTPClient``,
        ``treq.testing.StubTreq``) to send with.  Connections, proxies and TLS
        are then its affair; ``max_connections`` bounds the requests.
    :param clock: Seconds since the epoch, for the timestamps of signatures.
    :param on_attempt: Called with an :class:`~txpusher.Attempt` after each
        attempt to send a request, for metrics.  What it raises is logged.
    :param options: Every other setting: see :class:`~txpusher.Config`.
    :raises ConfigurationError: A setting is missing or malformed.
    """

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
                f"reactor must be one of Twisted's, not {short_repr(reactor)}"
            )
        if http_client is not None:
            _check_http_client(http_client)
        self.config = Config(app_id, key, secret, **options)
        self._api = Api(self.config)
        self._transport = Transport(
            self.config,
            self._api,
            reactor=reactor,
            http_client=http_client,
            clock=clock,
            on_attempt=on_attempt,
        )

    @classmethod
    def from_url(cls, url: str, **options: Unpack[ClientOptions]) -> Self:
        """
        A client for ``https://KEY:SECRET@HOST[:PORT][/prefix]/apps/APP_ID``.

        :param options: Any other argument; one given here wins over the URL.
            ``cluster`` stands for a host, and wins over the URL's host and port.
        :raises ConfigurationError: The URL is malformed; it is not quoted.
        """
        return cls(**url_settings(url, cast("dict[str, Any]", options)))

    @classmethod
    def from_env(cls, name: str = "PUSHER_URL", **options: Unpack[ClientOptions]) -> Self:
        """
        :meth:`from_url` of the environment variable *name*.

        :raises ConfigurationError: It is not set, or malformed.
        """
        return cls(**env_settings(name, cast("dict[str, Any]", options)))

    def __repr__(self) -> str:
        config = self.config
        return f"<{type(self).__name__} app {config.app_id} on {config.host}:{config.port}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # For the modules of this package; no part of what users may rely on.

    @property
    def api(self) -> Api:
        """The endpoints of the app, as the package's own modules use them."""
        return self._api

    @property
    def transport(self) -> Transport:
        """The transport that sends the requests, as the package's own modules use it."""
        return self._transport

    def _send(self, build: Callable[..., ApiRequest], *arguments: Any) -> Reply:
        try:
            request = build_request(build, *arguments)
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
    ) -> Reply:
        """
        Publish one event to one channel, or to up to 100.

        :param channels: A channel's name, or several; ``#server-to-user-<id>``
            reaches a user.  An encrypted channel must be the only one.
        :param event: The event's name, 1 to 200 characters.
        :param data: A str is sent as it is, anything else as JSON; at most
            ``max_payload_bytes`` of UTF-8.
        :param socket_id: The connection that does not get the event.
        :param info: Attributes of the channels to return:
            ``"subscription_count"``, ``"user_count"``, or several.
        :return: A Deferred that fires once the server has accepted the event,
            with ``{}`` or ``{"channels": {name: {attribute: value}}}``.
        """
        return self._send(self._api.trigger, channels, event, data, socket_id, info)

    def trigger_batch(self, events: Iterable[Event | Mapping[str, Any]]) -> Reply:
        """
        Publish up to ``max_batch_size`` events in one request.

        :param events: Each an :class:`~txpusher.Event` or a mapping with
            ``channel``, ``name``, ``data`` and, if wanted, ``socket_id``, ``info``.
        :return: A Deferred that fires with ``{}``, or with
            ``{"batch": [{attribute: value}]}`` in the order of the events.
        """
        return self._send(self._api.trigger_batch, events)

    def send_to_user(self, user_id: str, event: str, data: Any) -> Reply:
        """
        Publish one event to every connection of a signed-in user.

        :param user_id: A str of 1 to 200 characters.
        :return: A Deferred that fires with ``{}``.
        """
        return self._send(self._api.send_to_user, user_id, event, data)

    # Queries

    def channels(
        self, filter_by_prefix: str | None = None, info: str | Iterable[str] | None = None
    ) -> Reply:
        """
        The occupied channels.

        :param filter_by_prefix: Only those whose names begin so.
        :param info: ``"user_count"`` (with the prefix ``presence-``),
            ``"subscription_count"``, or both.
        :return: A Deferred that fires with ``{"channels": {name: {attribute: value}}}``.
        """
        return self._send(self._api.channels, filter_by_prefix, info)

    def channel_info(self, channel: str, info: str | Iterable[str] | None = None) -> Reply:
        """
        The state of one channel.

        :param info: ``"user_count"``, ``"subscription_count"``, ``"cache"``, or several.
        :return: A Deferred that fires with ``{"occupied": True, ...}``.
        """
        return self._send(self._api.channel_info, channel, info)

    def channel_users(self, channel: str) -> Reply:
        """
        Who is on a presence channel.

        :return: A Deferred that fires with ``{"users": [{"id": "..."}]}``.
        """
        return self._send(self._api.channel_users, channel)

    def terminate_user_connections(self, user_id: str) -> Reply:
        """
        End every connection of a signed-in user.

        :param user_id: A str of 1 to 200 characters.
        :return: A Deferred that fires with ``{}``.
        """
        return self._send(self._api.terminate_user_connections, user_id)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Reply:
        """
        A signed GET of any path below the app's, such as ``"/channels"``.

        :param path: Percent-escaped where it needs to be.
        :param params: Query parameters, str or int; None leaves one out.
        :return: A Deferred that fires with the decoded reply.
        """
        return self._send(self._api.get, path, params)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Reply:
        """
        A signed POST to any path below the app's, such as ``"/events"``.

        :param body: Sent as a JSON object, ``{}`` without one.
        :return: A Deferred that fires with the decoded reply.
        """
        return self._send(self._api.post, path, body)

    # Without I/O

    def authenticate(
        self, channel: str, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """
        What to answer a client that asks to subscribe to a private channel.

        :param custom_data: Signed and given to the subscriber; on a presence
            channel it must have a ``user_id``, a non-empty str or an int, and
            may have ``user_info``.
        :return: ``{"auth": ..., "channel_data"?: ..., "shared_secret"?: ...}``,
            to be sent as JSON.
        :raises InvalidRequestError: An argument is not what the API accepts.
        :raises ConfigurationError: An encrypted channel, and no key.
        """
        return self._api.authenticate(channel, socket_id, custom_data)

    def authenticate_user(self, socket_id: str, user_data: Mapping[str, Any]) -> dict[str, str]:
        """
        What to answer a client that asks to sign in.

        :param user_data: Must have an ``id``, a non-empty str.
        :return: ``{"auth": ..., "user_data": ...}``, to be sent as JSON.
        :raises InvalidRequestError: An argument is not what the API accepts.
        """
        return self._api.authenticate_user(socket_id, user_data)

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
        """
        A webhook, to be verified and read.

        :param request: The twisted.web request that brought it, or else:
        :param key: Its ``X-Pusher-Key`` header.
        :param signature: Its ``X-Pusher-Signature`` header.
        :param body: Its body, exactly as received.
        :param content_type: Its ``Content-Type`` header; with *request*, that
            of the request counts.
        :param extra_tokens: (key, secret) pairs that are accepted beside the
            app's own, while keys are changed.
        :raises InvalidRequestError: A part is neither str nor bytes, or a token
            no pair of two str that are not empty.
        """
        return read_webhook(
            self.config,
            request,
            key=key,
            signature=signature,
            body=body,
            content_type=content_type,
            extra_tokens=extra_tokens,
        )

    def channel(self, name: str) -> Channel:
        """
        The channel called *name*, for several operations on it.

        :raises InvalidRequestError: No channel can be called so.
        """
        return Channel(self, name)

    __getitem__ = channel

    @property
    def stats(self) -> Stats:
        """What the client is doing and has done, as a snapshot."""
        return self._transport.stats()

    def close(self, timeout: float | None = None) -> Deferred[None]:
        """
        Let what is in flight end, and leave nothing in the reactor.

        What waits for a connection or for a retry fails with a ClosedError, as
        does every later operation.

        :param timeout: Seconds after which what is still in flight fails with
            a ClosedError too; None waits as long as it takes.
        :return: A Deferred that fires with None when every connection is closed.
        """
        return self._transport.close(timeout)


def build_request(build: Callable[..., T], *arguments: Any) -> T:
    """
    What *build* makes of the arguments of an operation.

    :raises PusherError: It refuses one; or an iterable or a mapping of the
        caller's has raised something, which is then the error's cause.
    """
    try:
        return build(*arguments)
    except PusherError:
        raise
    except Exception as error:
        raise InvalidRequestError(
            f"an argument could not be read: {type(error).__name__}: "
            f"{short_repr(str(error), 200)}"
        ) from error


def _check_http_client(http_client: Any) -> None:
    if IAgent.providedBy(http_client):
        raise ConfigurationError(
            "http_client must be a treq client, not an agent: "
            "treq.client.HTTPClient(agent) makes one of it"
        )
    if not callable(getattr(http_client, "request", None)):
        raise ConfigurationError(
            f"http_client must be a treq client, not {short_repr(http_client)}"
        )
