"""
What the Channels API accepts: names, ids, and how they stand in a path.

Pure checks, each of which gives its argument back or raises an
:class:`~txpusher.InvalidRequestError` that names the limit and the value.
Source of the limits: "HTTP API reference" and "Server library reference
specification" in the Pusher Channels documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from txpusher._protocol.encryption import is_encrypted
from txpusher._text import as_plain_str, short_repr, utf8
from txpusher.errors import InvalidRequestError

MAX_CHANNELS = 100
MAX_NAME_LENGTH = 200
USER_CHANNEL_PREFIX = "#server-to-user-"

_CACHE_PREFIXES = ("cache-", "private-cache-", "private-encrypted-cache-", "presence-cache-")

_CHANNEL = re.compile(r"[A-Za-z0-9_\-=@,.;]{1,200}").fullmatch
_SOCKET_ID = re.compile(r"[0-9]+\.[0-9]+").fullmatch


def is_presence(channel: str) -> bool:
    """Tell whether the subscribers of *channel* learn of each other ("Presence channels")."""
    return channel.startswith("presence-")


def needs_auth(channel: str) -> bool:
    """Tell whether a subscription to *channel* needs a signature ("Private channels")."""
    return channel.startswith(("private-", "presence-"))


def is_cache(channel: str) -> bool:
    """Tell whether new subscribers of *channel* get its last event ("Cache channels")."""
    return channel.startswith(_CACHE_PREFIXES)


def is_user_channel(channel: str) -> bool:
    """Tell whether *channel* carries the events to one signed-in user."""
    return channel.startswith(USER_CHANNEL_PREFIX)


def takes_client_events(channel: str) -> bool:
    """Tell whether subscribers may send events to *channel* ("Client events")."""
    return needs_auth(channel) and not is_encrypted(channel)


def check_channel(name: object) -> str:
    """
    *name* where it is a channel's.

    :raises InvalidRequestError: It is not 1 to 200 of ``A-Za-z0-9_-=@,.;``.
    """
    if isinstance(name, str):
        if _CHANNEL(name):
            return as_plain_str(name)
        if len(name) > MAX_NAME_LENGTH:
            raise InvalidRequestError(
                f"channel name is over {MAX_NAME_LENGTH} characters: "
                f"{short_repr(name)} has {len(name)}"
            )
    raise InvalidRequestError(
        f"channel name must be 1 to {MAX_NAME_LENGTH} of A-Z a-z 0-9 _ - = @ , . ; "
        f"not {short_repr(name)}"
    )


def check_target(name: object) -> str:
    """*name* where events can be sent to it: a channel, or ``#server-to-user-<id>``."""
    if isinstance(name, str) and name.startswith(USER_CHANNEL_PREFIX):
        check_user_id(name[len(USER_CHANNEL_PREFIX) :])
        return as_plain_str(name)
    return check_channel(name)


def check_event_name(name: object) -> str:
    """*name* where it is 1 to 200 characters."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
        length = f" of {len(name)}" if isinstance(name, str) else ""
        raise InvalidRequestError(
            f"event name must be a str of 1 to {MAX_NAME_LENGTH} characters, "
            f"not {short_repr(name)}{length}"
        )
    return as_plain_str(name)


def check_socket_id(socket_id: object) -> str:
    """*socket_id* where it is digits, a dot, digits and nothing else."""
    if not isinstance(socket_id, str) or not _SOCKET_ID(socket_id):
        raise InvalidRequestError(
            f"socket_id must be two numbers with a dot between, not {short_repr(socket_id)}"
        )
    return as_plain_str(socket_id)


def check_user_id(user_id: object) -> str:
    """*user_id* where it is a str of 1 to 200 characters."""
    if not isinstance(user_id, str) or not 0 < len(user_id) <= MAX_NAME_LENGTH:
        length = f" of {len(user_id)}" if isinstance(user_id, str) else ""
        raise InvalidRequestError(
            f"user_id must be a str of 1 to {MAX_NAME_LENGTH} characters, "
            f"not {short_repr(user_id)}{length}"
        )
    utf8("user_id", user_id)
    return as_plain_str(user_id)


def info_text(info: object) -> str | None:
    """``info`` as the wire has it: names with commas between."""
    if info is None or isinstance(info, str):
        return as_plain_str(info)
    if isinstance(info, Iterable) and not isinstance(info, (bytes, Mapping)):
        names = list(info)
        if all(isinstance(name, str) for name in names):
            return ",".join(names)
    raise InvalidRequestError(f"info must be a str or several, not {short_repr(info)}")


def check_presence_user_id(user_id: object) -> None:
    """A member's ``user_id``: a non-empty str, or an int."""
    is_number = isinstance(user_id, int) and not isinstance(user_id, bool)
    if not is_number and not (isinstance(user_id, str) and user_id):
        raise InvalidRequestError(
            "custom_data of a presence channel must have a user_id, "
            f"a non-empty str or an int, not {short_repr(user_id)}"
        )
