"""
Messages of the WebSocket protocol, as a subscriber reads and writes them.

Source: "Pusher Channels Protocol" in the Pusher Channels documentation.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from txpusher._text import utf8

#: The version of the protocol that subscribers speak.
PROTOCOL = 7


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@attrs.frozen
class Message:
    """
    One message to a subscriber: an event, or what the server says of a channel.

    :ivar channel: The name of the channel; ``#server-to-user-<id>`` for an event to the
        user, None for a message that belongs to no channel.
    :ivar event: The name of the event.
    :ivar data: The value where the data is JSON, else the text; None without data.
    :ivar raw_data: The text of the data, decrypted on encrypted channels.  It is None without
        data, and where the server has not sent data as text and it is no JSON in Python: a
        number out of range, such as 1e400, is infinite.
    :ivar user_id: The member who sent a client event on a presence channel, else None.
    """

    channel: str | None
    event: str
    data: Any = None
    raw_data: str | None = None
    user_id: str | None = None


def decode_data(text: str) -> Any:
    """Return the value of *text* where it is JSON, else *text* itself."""
    try:
        return _decode(text)
    except (ValueError, RecursionError):
        return text


def encode_again(value: Any) -> str | None:
    """
    Return *value*, which came as JSON, as JSON.

    :return: None where it is nested too deeply, and where a number in it is out of range.
    """
    try:
        return _encode(value)
    except (RecursionError, ValueError):
        return None


def read_message(text: str) -> Message:
    """
    Return the message in one WebSocket message.

    Most data is JSON in a string; some servers and some messages have it unwrapped.

    :raises ValueError: It is not a JSON object with the name of an event.
    """
    try:
        fields = _decode(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("event"), str):
        raise ValueError("it must be a JSON object with an event, the name of one")
    data = fields.get("data")
    raw: str | None
    if isinstance(data, str):
        raw, data = data, decode_data(data)
    else:
        raw = None if data is None else encode_again(data)
    channel, user_id = fields.get("channel"), fields.get("user_id")
    return Message(
        channel if isinstance(channel, str) else None,
        fields["event"],
        data,
        raw,
        None if user_id is None else str(user_id),
    )


def code_and_text(error: Message) -> tuple[int, str]:
    """Return the code of a ``pusher:error``, 0 without one, and its text."""
    data = error.data if isinstance(error.data, dict) else {}
    code = data.get("code")
    return code if isinstance(code, int) else 0, str(data.get("message", ""))


def write_message(event: str, data: Any, channel: str | None = None) -> str:
    """
    Return the text that sends *event*.

    :raises ValueError: *data* contains NaN or itself, or there is a lone surrogate, which no
        WebSocket message can hold.
    :raises TypeError: *data* is of a type that JSON does not have.
    """
    fields = {"event": event, "data": data}
    if channel is not None:
        fields["channel"] = channel
    text = _encode(fields)
    utf8("the message", text)
    return text


PING = write_message("pusher:ping", {})
PONG = write_message("pusher:pong", {})
