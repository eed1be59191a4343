"""
The Channels HTTP API as plain values: the request of each endpoint, the value of each reply.

The module does no I/O and knows no clock and no reactor: :mod:`txpusher._http.transport`
signs, sends and repeats the requests.  Together with :mod:`txpusher._protocol.signing` this
module decides everything that goes over the wire.
Source of the limits: "HTTP API reference" and "Server library reference specification" in
the Pusher Channels documentation.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from txpusher._event import Event, encode_json, event_arguments, event_data, master_key
from txpusher._json import KnownNames, encode_text
from txpusher._protocol import encryption, signing
from txpusher._protocol.names import (
    MAX_CHANNELS,
    USER_CHANNEL_PREFIX,
    check_event_name,
    check_idempotency_key,
    check_presence_user_id,
    check_socket_id,
    check_subscribable,
    check_target,
    check_user_id,
    info_text,
    is_presence,
)
from txpusher._reply import ApiReply, decode_reply, redactor
from txpusher._request import (
    ApiRequest,
    check_method,
    exact_body,
    json_body,
    query_params,
    signed_query,
)
from txpusher._text import (
    is_str,
    take_parts,
    utf8,
    with_type,
    with_wrong_type,
)
from txpusher._urls import check_path, quote_segment
from txpusher.config import Config
from txpusher.errors import InvalidRequestError


class Api:
    """
    The endpoints of one app.

    Each method that builds a request raises an InvalidRequestError where an argument is
    not what the API accepts, and a ConfigurationError where a channel is encrypted and
    there is no key.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._base = config.app_path
        self._events_path = f"{self._base}/events"
        self._batch_path = f"{self._base}/batch_events"
        self._redact = redactor(config)
        self._event_names = KnownNames(check_event_name)
        self._channel_names = KnownNames(check_target)

    # Requests

    def trigger(
        self,
        channels: str | Iterable[str],
        event: str,
        data: Any,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
        idempotency_key: str | None = None,
    ) -> ApiRequest:
        """Build POST /events: one event to up to 100 channels."""
        names = [channels] if type(channels) is str else _targets(channels)
        # A single name is checked here, where it is looked up.
        targets = ",".join([self._channel_names.encoded(name) for name in names])
        text = (
            f'{{"name":{self._event_names.encoded(event)}'
            f',"channels":[{targets}]'
            f',"data":{encode_text(event_data(self._config, names[0], data))}'
            f"{_options(socket_id, info)}}}"
        )
        body = utf8("the event", text)
        key = None if idempotency_key is None else check_idempotency_key(idempotency_key)
        return ApiRequest("POST", self._events_path, body=body, idempotency_key=key)

    def trigger_batch(self, events: Iterable[Event | Mapping[str, Any]]) -> ApiRequest:
        """Build POST /batch_events: up to ``max_batch_size`` events."""
        limit = self._config.max_batch_size
        taken = take_parts("events", events, limit)
        if taken is None:
            raise InvalidRequestError(
                f"a batch must be several events, not {with_type(events)}"
            )
        given, count = taken
        if not 0 < len(given) <= limit:
            raise InvalidRequestError(
                f"a batch must have 1 to {limit} events, not {count}; "
                "BatchPublisher takes any number"
            )
        return self.batch([self._batch_member(*entry) for entry in enumerate(given)])

    def _batch_member(self, place: int, given: object) -> bytes:
        try:
            return self.batch_item(*event_arguments(given))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"events[{place}]: {error}") from error

    def batch_item(
        self,
        channel: str,
        event: str,
        data: Any,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
        idempotency_key: str | None = None,
    ) -> bytes:
        """
        Encode one event as JSON, for :meth:`batch`.

        The object is written out piece by piece: with one dict and one json_dumps this
        method takes three times as long.
        """
        text = (
            f'{{"name":{self._event_names.encoded(event)}'
            f',"channel":{self._channel_names.encoded(channel)}'
            f',"data":{encode_text(event_data(self._config, channel, data))}'
        )
        if socket_id is not None or info is not None:
            text += _options(socket_id, info)
        if idempotency_key is not None:
            key = check_idempotency_key(idempotency_key)
            text += f',"idempotency_key":{encode_text(key)}'
        return utf8("the event", f"{text}}}")

    def batch(self, items: Sequence[bytes]) -> ApiRequest:
        """Build POST /batch_events of events that :meth:`batch_item` has encoded."""
        body = b'{"batch":[%b]}' % b",".join(items)
        return ApiRequest("POST", self._batch_path, body=body)

    def send_to_user(
        self, user_id: str, event: str, data: Any, idempotency_key: str | None = None
    ) -> ApiRequest:
        """Build POST /events: one event to every connection of a user."""
        channel = USER_CHANNEL_PREFIX + check_user_id(user_id)
        return self.trigger(channel, event, data, idempotency_key=idempotency_key)

    def channels(
        self, filter_by_prefix: str | None = None, info: str | Iterable[str] | None = None
    ) -> ApiRequest:
        """Build GET /channels: the occupied channels."""
        return self._get("/channels", {"filter_by_prefix": filter_by_prefix, "info": info})

    def channel_info(self, channel: str, info: str | Iterable[str] | None = None) -> ApiRequest:
        """Build GET /channels/<name>: the state of one channel."""
        return self._get(f"/channels/{quote_segment(check_target(channel))}", {"info": info})

    def channel_users(self, channel: str) -> ApiRequest:
        """Build GET /channels/<name>/users: the members of a presence channel."""
        return self._get(f"/channels/{quote_segment(check_target(channel))}/users", {})

    def terminate_user_connections(self, user_id: str) -> ApiRequest:
        """Build POST /users/<id>/terminate_connections: the end of a user's connections."""
        user = quote_segment(check_user_id(user_id))
        return self._post(f"/users/{user}/terminate_connections", {})

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> ApiRequest:
        """Build a GET of any path below the app's; params that are None are left out."""
        return self._get(check_path(path), {} if params is None else params)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> ApiRequest:
        """Build a POST of a JSON object to any path below the app's, of ``{}`` without one."""
        if body is not None and not isinstance(body, Mapping):
            raise InvalidRequestError(f"a body must be a mapping, not {with_type(body)}")
        return self._post(check_path(path), {} if body is None else dict(body))

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | str | bytes | None = None,
    ) -> ApiRequest:
        """
        Build a request of any method for any path below the app's.

        A mapping is sent as JSON, str and bytes are sent as they are.  A POST without a
        body sends ``{}``, because soketi hashes an empty one so.
        """
        name = check_method(method)
        if body is None and name == "POST":
            body = b"{}"
        if body is not None and name == "GET":
            raise InvalidRequestError("a GET has no body; params go into its query")
        if isinstance(body, Mapping) and not isinstance(body, str):
            content: bytes | None = json_body(dict(body))
        else:
            content = exact_body(body, "a mapping, a str or bytes")
        return ApiRequest(
            name,
            f"{self._base}{check_path(path)}",
            query_params({} if params is None else params),
            content,
        )

    def sign(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        *,
        timestamp: int,
    ) -> str:
        """
        Return the whole signed URL of a request that another program sends.

        :param timestamp: Seconds since the epoch.
        """
        config = self._config
        path = f"{self._base}{check_path(path)}"
        query = signed_query(
            config,
            check_method(method),
            path,
            query_params({} if params is None else params),
            # Servers look for body_md5 where there is a body, and only there.
            exact_body(body, "the exact str or bytes that will be sent") or None,
            timestamp,
        )
        return f"{config.scheme}://{config.netloc}{config.path_prefix}{path}?{query}"

    # Replies

    def decode(self, request: ApiRequest, reply: ApiReply) -> dict[str, Any]:
        """
        Return the JSON object of a reply, ``{}`` for an empty one.

        :raises APIError: The server refused the request or failed.
        :raises HTTPError: The reply is a success that is no JSON object.
        """
        return decode_reply(request.method, request.path, reply, self._config, self._redact)

    # What a server signs for its subscribers

    def authenticate(
        self, channel: str, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """Sign the answer to a client that asks to subscribe to a channel."""
        config = self._config
        channel, socket_id = check_subscribable(channel), check_socket_id(socket_id)
        if custom_data is not None and not isinstance(custom_data, Mapping):
            raise InvalidRequestError(
                f"custom_data must be a mapping, not {with_type(custom_data)}"
            )
        # Servers that verify take an empty object for no data, or the other way round.
        text = None
        if custom_data:
            if is_presence(channel):
                check_presence_user_id(custom_data.get("user_id"))
            text = _signable(config, "custom_data", custom_data)
        signature = signing.channel_signature(config.secret, socket_id, channel, text)
        answer = {"auth": f"{config.key}:{signature}"}
        if text is not None:
            answer["channel_data"] = text
        if encryption.is_encrypted(channel):
            secret = encryption.shared_secret(channel, master_key(config, channel))
            answer["shared_secret"] = base64.b64encode(secret).decode("ascii")
        return answer

    def authenticate_user(self, socket_id: str, user_data: Mapping[str, Any]) -> dict[str, str]:
        """Sign the answer to a client that asks to sign in."""
        config, socket_id = self._config, check_socket_id(socket_id)
        if not isinstance(user_data, Mapping):
            raise InvalidRequestError(
                f"user_data must be a mapping, not {with_type(user_data)}"
            )
        user_id = user_data.get("id")
        if not is_str(user_id) or not user_id:
            raise InvalidRequestError(
                "user_data must have an id that is a non-empty str, "
                f"not {with_wrong_type(str, user_id)}"
            )
        text = _signable(config, "user_data", user_data)
        signature = signing.user_signature(config.secret, socket_id, text)
        return {"auth": f"{config.key}:{signature}", "user_data": text}

    def event_data(self, channel: str, data: Any) -> str:
        """Return the ``data`` of an event to *channel* as it goes over the wire."""
        return event_data(self._config, channel, data)

    # Helpers

    def _get(self, path: str, params: Mapping[str, Any]) -> ApiRequest:
        return ApiRequest("GET", f"{self._base}{path}", query_params(params))

    def _post(self, path: str, fields: dict[str, Any]) -> ApiRequest:
        return ApiRequest("POST", f"{self._base}{path}", body=json_body(fields))


def _signable(config: Config, what: str, value: Mapping[str, Any]) -> str:
    text = encode_json(config, what, dict(value))
    utf8(what, text)
    return text


def _options(socket_id: str | None, info: str | Iterable[str] | None) -> str:
    """Return the members of an event that most events are without, a comma before each."""
    text = ""
    if socket_id is not None:
        text += f',"socket_id":{encode_text(check_socket_id(socket_id))}'
    if wanted := info_text(info):
        text += f',"info":{encode_text(wanted)}'
    return text


def _targets(channels: object) -> list[str]:
    if is_str(channels):
        return [check_target(channels)]
    taken = take_parts("channels", channels, MAX_CHANNELS)
    if taken is None:
        raise InvalidRequestError(
            f"channels must be a str or an iterable of str, not {with_type(channels)}"
        )
    given, count = taken
    if not 0 < len(given) <= MAX_CHANNELS:
        raise InvalidRequestError(f"an event goes to 1 to {MAX_CHANNELS} channels, not {count}")
    names = [check_target(name) for name in given]
    if len(names) > 1 and any(map(encryption.is_encrypted, names)):
        raise InvalidRequestError(
            f"an encrypted channel must be the only one of an event, not one of {len(names)}"
        )
    return names
