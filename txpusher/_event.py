"""
One event as it goes over the wire: its data encoded, encrypted and measured.

The functions are pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from txpusher._protocol import encryption
from txpusher._text import short_repr, utf8, with_type
from txpusher.config import Config
from txpusher.errors import ConfigurationError, InvalidRequestError


@attrs.frozen
class Event:
    """
    One event of a batch.

    :param channel: The channel's name.
    :param name: The event's name, 1 to 200 characters.
    :param data: The event's data.  A str is sent as it is, bytes as the UTF-8 that they
        are, any other value as JSON.
    :param socket_id: The id of the connection that does not get the event.
    :param info: The attributes of the channel to return, a str or several.
    :param idempotency_key: 1 to 128 printable ASCII characters, for servers that drop a
        second event with the same key.
    """

    channel: str
    name: str
    data: Any
    socket_id: str | None = None
    info: str | Iterable[str] | None = None
    idempotency_key: str | None = None


#: The keys that the mapping of an event may have.
_KEYS = frozenset({"channel", "name", "data", "socket_id", "info", "idempotency_key"})


def event_arguments(event: object) -> tuple[Any, ...]:
    """
    Return the arguments of :meth:`Api.batch_item` for an :class:`Event` or a mapping.

    A dict is read without an Event in between, which takes a tenth of the CPU time of an
    event of :meth:`BatchPublisher.publish`.

    :raises InvalidRequestError: *event* is neither, or the mapping has other keys.
    """
    if type(event) is dict:
        try:
            if len(event) == 3:
                return event["channel"], event["name"], event["data"]
            if event.keys() <= _KEYS:
                get = event.get
                return (
                    event["channel"],
                    event["name"],
                    event["data"],
                    get("socket_id"),
                    get("info"),
                    get("idempotency_key"),
                )
        except KeyError:
            # One is missing: Event says so.
            pass
    read = as_event(event)
    return (
        read.channel,
        read.name,
        read.data,
        read.socket_id,
        read.info,
        read.idempotency_key,
    )


def as_event(event: object) -> Event:
    """
    Return *event* as an :class:`Event`; the keys of a mapping are its arguments.

    :raises InvalidRequestError: *event* is neither, or the mapping has other keys.
    """
    if isinstance(event, Event):
        return event
    if not isinstance(event, Mapping):
        raise InvalidRequestError(
            f"an event must be an Event or a mapping, not {with_type(event)}"
        )
    try:
        return Event(**event)
    except TypeError:
        raise InvalidRequestError(
            "an event has channel, name and data, and may have socket_id, info and "
            f"idempotency_key; not {short_repr(sorted(map(str, event)))}"
        ) from None


def event_data(config: Config, channel: str, data: Any) -> str:
    """
    Return the ``data`` of an event as it goes over the wire: encoded, then encrypted.

    :raises InvalidRequestError: The data cannot be encoded, or is too long then.
    """
    kind = type(data)
    if issubclass(kind, str):
        text: str = data
    elif issubclass(kind, bytes):
        text = _decoded(data)
    else:
        text = encode_json(config, "data", data)
    if encryption.is_encrypted(channel):
        utf8("data", text)
        text = encryption.encrypt(channel, text, master_key(config, channel))
    limit = config.max_payload_bytes
    size = len(text) if text.isascii() else len(utf8("data", text))
    if size > limit:
        raise InvalidRequestError(
            f"data must be at most {limit} bytes of UTF-8 after encoding, not {size}"
        )
    return text


def _decoded(data: bytes) -> str:
    try:
        return bytes.decode(data)
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"data is bytes that are not UTF-8, at byte {error.start}: "
            "bytes are sent as they are"
        ) from None


def encode_json(config: Config, what: str, value: Any) -> str:
    """
    Encode *value* as JSON text with the ``json_dumps`` of the settings.

    :param what: The name of the value, for messages.
    :raises InvalidRequestError: The value cannot be encoded, or ``json_dumps`` returned
        neither str nor UTF-8.
    """
    try:
        encoded = config.json_dumps(value)
        if type(encoded) is str:
            return encoded
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


def master_key(config: Config, channel: str) -> bytes:
    """
    Return the key that the key of an encrypted channel is derived from.

    :raises ConfigurationError: The settings have none.
    """
    key = config.master_key
    if key is None:
        raise ConfigurationError(
            f"encryption_master_key_base64 is missing: {channel} is an encrypted channel"
        )
    return key
