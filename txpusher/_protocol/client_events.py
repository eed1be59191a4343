"""
The names of client events, and the channels that take them.

The protocol has no answer to a client event but the ``pusher:error`` of one that is refused.
So a ping follows each: a pong without an error before it means that the client event was not
refused (see :mod:`txpusher._protocol.unanswered`).
"""

from __future__ import annotations

from collections.abc import Callable

from txpusher._protocol.incoming import Message, code_and_text
from txpusher._protocol.names import check_event_name, takes_client_events
from txpusher._text import short_repr
from txpusher.errors import APIError, InvalidRequestError

#: What the name of a client event begins with.
PREFIX = "client-"


def check_client_event(channel: str, event: object) -> str:
    """
    Return *event* where it can be the name of a client event on *channel*.

    :raises InvalidRequestError: The name is not one, or the channel takes no client events.
    """
    name = check_event_name(event)
    if not name.startswith(PREFIX):
        raise InvalidRequestError(
            f"the name of a client event must begin with {PREFIX!r}, not be {short_repr(name)}"
        )
    if not takes_client_events(channel):
        raise InvalidRequestError(
            "client events are for private and presence channels without encryption, "
            f"not for {short_repr(channel)}"
        )
    return name


def event_refused(error: Message, redact: Callable[[str], str]) -> APIError:
    """Return what a client event fails with that *error*, a ``pusher:error``, refuses."""
    code, text = code_and_text(error)
    why = redact(f"the server refused the client event: {text}")
    return APIError(why, status=code, body=text)
