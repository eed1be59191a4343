"""
The Channels HTTP API as plain values: each endpoint's request, each reply's value.

No I/O, no clock, no reactor: :mod:`txpusher._http.transport` signs, sends and
repeats what is built here.  With :mod:`txpusher._protocol.signing` this module is all
that decides what goes over the wire.
Source of the limits: "HTTP API reference" and "Server library reference
specification" in the Pusher Channels documentation.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import attrs

from txpusher._protocol import encryption, signing
from txpusher._protocol.names import (
    MAX_CHANNELS,
    USER_CHANNEL_PREFIX,
    check_channel,
    check_event_name,
    check_presence_user_id,
    check_socket_id,
    check_target,
    check_user_id,
    info_text,
)
from txpusher._reply import ApiReply, decode_reply, redactor
from txpusher._text import as_plain_str, short_repr, take_at_most, utf8
from txpusher._urls import check_param_name, check_path, quote_segment
from txpusher.config import Config, json_dumps
from txpusher.errors import ConfigurationError, InvalidRequestError


@attrs.frozen
class ApiRequest:
    """
    One call of the HTTP API, complete but for its signature.

    :ivar method: ``"GET"`` or ``"POST"``.
    :ivar path: The path as signed: percent-escaped, without the path prefix.
    :ivar params: Query parameters, not escaped.
    :ivar body: The JSON body of a POST.
    :ivar idempotency_key: The value of ``X-Idempotency-Key``, the same for every
        attempt; None where the caller gave none.
    """

    method: str
    path: str
    params: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | None = None
    idempotency_key: str | None = None


def signed_query(config: Config, request: ApiRequest, timestamp: int) -> str:
    """
    Return the query of *request*, percent-escaped, with the signature at its end.

    :param timestamp: Seconds since the epoch.
    """
    params = signing.signed_params(
        config.key,
        config.secret,
        request.method,
        f"{config.signed_prefix}{request.path}",
        request.params,
        request.body,
        timestamp,
    )
    # quote() costs more than the signature's digest where a value is plain, as most are.
    return "&".join(
        [
            f"{name}={value if value.isascii() and value.isalnum() else quote(value, '')}"
            for name, value in params.items()
        ]
    )


@attrs.frozen
class Event:
    """
    One event of a batch.

    :param channel: The channel's name.
    :param name: The event's name, 1 to 200 characters.
    :param data: A str is sent as it is, anything else as JSON.
    :param socket_id: The connection that does not get the event.
    :param info: Channel attributes to return, a str or several.
    """

    channel: str
    name: str
    data: Any
    socket_id: str | None = None
    info: str | Iterable[str] | None = None


class Api:
    """The endpoints of one app, as described by a :class:`Config`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._base = config.app_path
        self._events_path = f"{self._base}/events"
        self._batch_path = f"{self._base}/batch_events"
        self._redact = redactor(config)

    # Requests

    def trigger(
        self,
        channels: str | Iterable[str],
        event: str,
        data: Any,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> ApiRequest:
        """POST /events: one event to up to 100 channels."""
        names = self._targets(channels)
        text = (
            f'{{"name":{json_dumps(check_event_name(event))}'
            f',"channels":{json_dumps(names)}'
            f',"data":{json_dumps(self.event_data(names[0], data))}'
            f"{_options(socket_id, info)}}}"
        )
        return ApiRequest("POST", self._events_path, body=utf8("the event", text))

    def trigger_batch(self, events: Iterable[Event | Mapping[str, Any]]) -> ApiRequest:
        """POST /batch_events: up to ``max_batch_size`` events."""
        if isinstance(events, (str, bytes, Mapping, Event)) or not isinstance(events, Iterable):
            raise InvalidRequestError(
                f"a batch must be several events, not {short_repr(events)}"
            )
        limit = self._config.max_batch_size
        given, count = take_at_most(limit, events)
        if not 0 < len(given) <= limit:
            raise InvalidRequestError(
                f"a batch must have 1 to {limit} events, not {count}; "
                "BatchPublisher takes any number"
            )
        return self.batch([self._batch_member(*entry) for entry in enumerate(given)])

    def _batch_member(self, place: int, given: Event | Mapping[str, Any]) -> bytes:
        try:
            event = as_event(given)
            return self.batch_item(
                event.channel, event.name, event.data, event.socket_id, event.info
            )
        except InvalidRequestError as error:
            raise InvalidRequestError(f"events[{place}]: {error}") from error

    def batch_item(
        self,
        channel: str,
        event: str,
        data: Any,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> bytes:
        """One event as JSON, for :meth:`batch`."""
        text = (
            f'{{"name":{json_dumps(check_event_name(event))}'
            f',"channel":{json_dumps(check_target(channel))}'
            f',"data":{json_dumps(self.event_data(channel, data))}'
            f"{_options(socket_id, info)}}}"
        )
        return utf8("the event", text)

    def batch(self, items: Sequence[bytes]) -> ApiRequest:
        """POST /batch_events: what :meth:`batch_item` made, as one request."""
        body = b'{"batch":[%b]}' % b",".join(items)
        return ApiRequest("POST", self._batch_path, body=body)

    def send_to_user(self, user_id: str, event: str, data: Any) -> ApiRequest:
        """POST /events: one event to every connection of a user."""
        return self.trigger(USER_CHANNEL_PREFIX + check_user_id(user_id), event, data)

    def channels(
        self, filter_by_prefix: str | None = None, info: str | Iterable[str] | None = None
    ) -> ApiRequest:
        """GET /channels: the occupied channels."""
        return self._get("/channels", {"filter_by_prefix": filter_by_prefix, "info": info})

    def channel_info(self, channel: str, info: str | Iterable[str] | None = None) -> ApiRequest:
        """GET /channels/<name>: one channel's state."""
        return self._get(f"/channels/{quote_segment(check_target(channel))}", {"info": info})

    def channel_users(self, channel: str) -> ApiRequest:
        """GET /channels/<name>/users: who is on a presence channel."""
        return self._get(f"/channels/{quote_segment(check_target(channel))}/users", {})

    def terminate_user_connections(self, user_id: str) -> ApiRequest:
        """POST /users/<id>/terminate_connections: a user's connections end."""
        return self._post(
            f"/users/{quote_segment(check_user_id(user_id))}/terminate_connections", {}
        )

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> ApiRequest:
        """GET any path below the app's; params that are None are left out."""
        return self._get(check_path(path), {} if params is None else params)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> ApiRequest:
        """POST a JSON object to any path below the app's, ``{}`` without one."""
        if body is not None and not isinstance(body, Mapping):
            raise InvalidRequestError(f"a body must be a mapping, not {short_repr(body)}")
        return self._post(check_path(path), {} if body is None else dict(body))

    # Replies

    def decode(self, request: ApiRequest, reply: ApiReply) -> dict[str, Any]:
        """
        The JSON object of a reply, ``{}`` for an empty one.

        :raises APIError: The server refused the request or failed.
        :raises HTTPError: The reply is a success that is no JSON object.
        """
        return decode_reply(
            request.method, request.path, reply, self._config.json_loads, self._redact
        )

    # What a server signs for its subscribers

    def authenticate(
        self, channel: str, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """The reply to a client that asks to subscribe to a channel."""
        config = self._config
        channel, socket_id = check_channel(channel), check_socket_id(socket_id)
        if custom_data is not None and not isinstance(custom_data, Mapping):
            raise InvalidRequestError(
                f"custom_data must be a mapping, not {short_repr(custom_data)}"
            )
        if channel.startswith("presence-"):
            check_presence_user_id((custom_data or {}).get("user_id"))
        text = None if custom_data is None else self._signable("custom_data", custom_data)
        signature = signing.channel_signature(config.secret, socket_id, channel, text)
        answer = {"auth": f"{config.key}:{signature}"}
        if text is not None:
            answer["channel_data"] = text
        if encryption.is_encrypted(channel):
            secret = encryption.shared_secret(channel, self._master_key(channel))
            answer["shared_secret"] = base64.b64encode(secret).decode("ascii")
        return answer

    def authenticate_user(self, socket_id: str, user_data: Mapping[str, Any]) -> dict[str, str]:
        """The reply to a client that asks to sign in."""
        socket_id = check_socket_id(socket_id)
        if not isinstance(user_data, Mapping):
            raise InvalidRequestError(
                f"user_data must be a mapping, not {short_repr(user_data)}"
            )
        user_id = user_data.get("id")
        if not isinstance(user_id, str) or not user_id:
            raise InvalidRequestError(
                f"user_data must have an id that is a non-empty str, not {short_repr(user_id)}"
            )
        text = self._signable("user_data", user_data)
        signature = signing.user_signature(self._config.secret, socket_id, text)
        return {"auth": f"{self._config.key}:{signature}", "user_data": text}

    # Data

    def event_data(self, channel: str, data: Any) -> str:
        """The ``data`` of an event on the wire: encoded, encrypted, not too long."""
        text = data if isinstance(data, str) else self.encode_json("data", data)
        if encryption.is_encrypted(channel):
            utf8("data", text)
            text = encryption.encrypt(channel, text, self._master_key(channel))
        limit = self._config.max_payload_bytes
        size = len(text) if text.isascii() else len(utf8("data", text))
        if size > limit:
            raise InvalidRequestError(
                f"data must be at most {limit} bytes of UTF-8 after encoding, not {size}"
            )
        return text

    def encode_json(self, what: str, value: Any) -> str:
        """*value* as JSON text, by the user's ``json_dumps`` or ours."""
        try:
            encoded = self._config.json_dumps(value)
            text = encoded.decode("utf-8") if isinstance(encoded, bytes) else encoded
        except Exception as error:
            raise InvalidRequestError(
                f"{what} cannot be expressed as JSON: {short_repr(str(error), 200)}"
            ) from error
        if not isinstance(text, str):
            raise InvalidRequestError(
                f"json_dumps must give str or bytes, not {type(text).__name__}"
            )
        return text

    # Helpers

    def _targets(self, channels: object) -> list[str]:
        if isinstance(channels, str):
            return [check_target(channels)]
        if not isinstance(channels, Iterable) or isinstance(channels, (bytes, Mapping)):
            raise InvalidRequestError(
                f"channels must be a name or several names, not {short_repr(channels)}"
            )
        given, count = take_at_most(MAX_CHANNELS, channels)
        if not 0 < len(given) <= MAX_CHANNELS:
            raise InvalidRequestError(
                f"an event goes to 1 to {MAX_CHANNELS} channels, not {count}"
            )
        names = [check_target(name) for name in given]
        if len(names) > 1 and any(map(encryption.is_encrypted, names)):
            raise InvalidRequestError(
                "an encrypted channel must be the only one of an event, "
                f"not one of {len(names)}"
            )
        return names

    def _signable(self, what: str, value: Mapping[str, Any]) -> str:
        text = self.encode_json(what, dict(value))
        utf8(what, text)
        return text

    def _master_key(self, channel: str) -> bytes:
        key = self._config.master_key
        if key is None:
            raise ConfigurationError(
                f"encryption_master_key_base64 is missing: {channel} is an encrypted channel"
            )
        return key

    def _get(self, path: str, params: Mapping[str, Any]) -> ApiRequest:
        return ApiRequest("GET", f"{self._base}{path}", _query(params))

    def _post(self, path: str, fields: dict[str, Any]) -> ApiRequest:
        try:
            text = json_dumps(fields)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequestError(
                f"the body cannot be expressed as JSON: {short_repr(str(error), 200)}"
            ) from error
        return ApiRequest("POST", f"{self._base}{path}", body=utf8("the body", text))


def _options(socket_id: str | None, info: str | Iterable[str] | None) -> str:
    """The optional members of an event's JSON; the rest is written out: the hot path."""
    text = ""
    if socket_id is not None:
        text = f',"socket_id":{json_dumps(check_socket_id(socket_id))}'
    if wanted := info_text(info):
        text += f',"info":{json_dumps(wanted)}'
    return text


def as_event(event: object) -> Event:
    """*event* as an :class:`Event`; a mapping's keys are its arguments."""
    if isinstance(event, Event):
        return event
    if not isinstance(event, Mapping):
        raise InvalidRequestError(
            f"an event must be an Event or a mapping, not {short_repr(event)}"
        )
    try:
        return Event(**event)
    except TypeError:
        raise InvalidRequestError(
            "an event has channel, name and data, and may have socket_id and info; "
            f"not {short_repr(sorted(map(str, event)))}"
        ) from None


def _query(params: Mapping[str, Any]) -> dict[str, str]:
    if not isinstance(params, Mapping):
        raise InvalidRequestError(f"params must be a mapping, not {short_repr(params)}")
    query: dict[str, str] = {}
    for name, value in params.items():
        lower = check_param_name(name)
        if lower in signing.RESERVED_PARAMS:
            raise InvalidRequestError(f"the param {lower} is reserved for the signature")
        if lower in query:
            raise InvalidRequestError(f"the param {lower} is given twice")
        if value is not None:
            text = _param(lower, value)
            if text or lower != "info":
                query[lower] = text
    return query


def _param(name: str, value: Any) -> str:
    text = as_plain_str(value)
    number = isinstance(value, int) and not isinstance(value, bool)
    if name == "info":
        text = info_text(value)
    elif number:
        # Python writes out no number of very many digits.
        with contextlib.suppress(ValueError):
            text = str(int(value))
    if not isinstance(text, str):
        given = "one too long to write out" if number else short_repr(value)
        raise InvalidRequestError(f"the param {name} must be a str or an int, not {given}")
    utf8(f"the param {name}", text)
    return text
