"""
The bodies of the HTTP API's POSTs: checked whole, or refused whole.

Source of the limits: "HTTP API reference" in the Pusher Channels documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from txpusher._protocol.encryption import is_encrypted
from txpusher._protocol.names import (
    MAX_CHANNELS,
    check_event_name,
    check_socket_id,
    check_target,
)
from txpusher._text import short_repr
from txpusher.server._core.channels import is_presence
from txpusher.server._core.client_events import MAX_DATA_BYTES
from txpusher.server._core.hub import Publication
from txpusher.server._core.json import load_object

#: The most events of one batch.
MAX_BATCH = 10


class RefusedError(Exception):
    """A request that is answered with an error: its status, and what is wrong."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@attrs.frozen
class Trigger:
    """An event to publish, and what its sender wants to know of the channels."""

    publication: Publication
    info: frozenset[str]


def json_body(body: bytes) -> dict[str, Any]:
    """
    The JSON object of a body.

    :raises RefusedError: It is something else.
    """
    try:
        return load_object(body)
    except ValueError as error:
        raise RefusedError(400, f"the body must be a JSON object: {error}") from None


def parse_event(fields: Mapping[str, Any]) -> Trigger:
    """
    The event in the body of POST /events.

    :raises RefusedError: A field is missing, malformed or too large.
    :raises InvalidRequestError: So is a name.
    """
    channels = fields.get("channels")
    if channels is None:
        channels = [fields.get("channel")]
    elif not isinstance(channels, list):
        raise RefusedError(
            400, f"channels must be an array of names, not {short_repr(channels)}"
        )
    if not 0 < len(channels) <= MAX_CHANNELS:
        raise RefusedError(
            400, f"an event goes to 1 to {MAX_CHANNELS} channels, not {len(channels)}"
        )
    names = list(dict.fromkeys([check_target(name) for name in channels]))
    if len(names) > 1 and any(map(is_encrypted, names)):
        raise RefusedError(400, "an encrypted channel must be the only one of an event")
    return _trigger(fields, names)


def parse_batch(fields: Mapping[str, Any]) -> list[Trigger]:
    """
    The events in the body of POST /batch_events.

    :raises RefusedError: One of them, or the batch, is missing, malformed or too large.
    :raises InvalidRequestError: So is a name.
    """
    batch = fields.get("batch")
    if not isinstance(batch, list):
        raise RefusedError(400, f"batch must be an array of events, not {short_repr(batch)}")
    if not 0 < len(batch) <= MAX_BATCH:
        raise RefusedError(400, f"a batch must have 1 to {MAX_BATCH} events, not {len(batch)}")
    for event in batch:
        if not isinstance(event, dict):
            raise RefusedError(
                400, f"an event of a batch must be an object, not {short_repr(event)}"
            )
    return [_trigger(event, [check_target(event.get("channel"))]) for event in batch]


def parse_info(
    info: object, allowed: frozenset[str], channels: Iterable[str] = ()
) -> frozenset[str]:
    """
    The attributes that an ``info`` asks for.

    :param allowed: Those that there are here.
    :param channels: The names of those that are asked about.
    :raises RefusedError: One of them has no such attribute.
    """
    if info is None:
        return frozenset()
    if not isinstance(info, str):
        raise RefusedError(
            400, f"info must be a string, names with commas between, not {short_repr(info)}"
        )
    names = frozenset(name.strip() for name in info.split(",")) - {""}
    if not names <= allowed:
        raise RefusedError(
            400,
            f"info may ask for {', '.join(sorted(allowed))} here, not for "
            f"{short_repr(', '.join(sorted(names - allowed)))}",
        )
    if "user_count" in names and not all(map(is_presence, channels)):
        raise RefusedError(400, "user_count is an attribute of presence channels alone")
    return names


def _trigger(fields: Mapping[str, Any], channels: list[str]) -> Trigger:
    name = check_event_name(fields.get("name"))
    data = fields.get("data")
    if not isinstance(data, str):
        raise RefusedError(
            400, f"data must be a string, such as JSON in one, not {short_repr(data)}"
        )
    socket_id = fields.get("socket_id")
    if socket_id is not None:
        check_socket_id(socket_id)
    info = parse_info(
        fields.get("info"), frozenset({"subscription_count", "user_count"}), channels
    )
    try:
        size = len(data) if data.isascii() else len(data.encode("utf-8"))
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise RefusedError(400, "name and data must be text that UTF-8 can express") from None
    if size > MAX_DATA_BYTES:
        raise RefusedError(413, f"data may have {MAX_DATA_BYTES} bytes of UTF-8, not {size}")
    return Trigger(Publication(name, channels, data, socket_id), info)
