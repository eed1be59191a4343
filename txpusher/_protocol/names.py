"""
The rules for names and ids of the Channels API, and what the name of a channel implies.

Each check is pure: it returns its argument, or raises an
:class:`~txpusher.InvalidRequestError` that names the limit, the value and, where the type
is wrong, the type.
Source of the limits: "HTTP API reference" and "Server library reference specification" in
the Pusher Channels documentation.
"""

from __future__ import annotations

import re
from typing import cast

from txpusher._protocol.encryption import is_encrypted
from txpusher._text import (
    as_plain_str,
    is_really,
    is_str,
    short_repr,
    take_parts,
    utf8,
    with_type,
    with_wrong_type,
)
from txpusher.errors import InvalidRequestError

#: The most channels that one event goes to.
MAX_CHANNELS = 100
#: The most characters of the name of a channel or of an event, and of a user's id.
MAX_NAME_LENGTH = 200
#: The most attributes of a channel that one request asks for; there are three so far.
MAX_ATTRIBUTES = 100
#: The largest number whose neighbours a JavaScript number can tell apart.
MAX_JAVASCRIPT_INT = 2**53 - 1
#: The beginning of the channel that carries the events to one user.
USER_CHANNEL_PREFIX = "#server-to-user-"

_CACHE_PREFIXES = ("cache-", "private-cache-", "private-encrypted-cache-", "presence-cache-")

_CHANNEL = re.compile(r"[A-Za-z0-9_\-=@,.;]{1,200}").fullmatch
_SOCKET_ID = re.compile(r"[0-9]+\.[0-9]+").fullmatch
_IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,128}").fullmatch


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
    Return *name* as a plain str where a channel can be called so.

    :raises InvalidRequestError: The name is not 1 to 200 of ``A-Za-z0-9_-=@,.;``.
    """
    if is_str(name):
        if _CHANNEL(name):
            return as_plain_str(name)
        if len(name) > MAX_NAME_LENGTH:
            raise InvalidRequestError(
                f"channel name is over {MAX_NAME_LENGTH} characters: "
                f"{short_repr(name)} has {len(name)}"
            )
    raise InvalidRequestError(
        f"channel name must be 1 to {MAX_NAME_LENGTH} of A-Z a-z 0-9 _ - = @ , . ; "
        f"not {with_wrong_type(str, name)}"
    )


def check_target(name: object) -> str:
    """
    Return *name* where events can be sent to it: a channel, or ``#server-to-user-<id>``.

    :raises InvalidRequestError: Neither a channel nor the channel of a user can be called so.
    """
    if is_str(name) and name.startswith(USER_CHANNEL_PREFIX):
        check_user_id(name[len(USER_CHANNEL_PREFIX) :])
        return as_plain_str(name)
    return check_channel(name)


def check_subscribable(name: object) -> str:
    """
    Return *name* where a subscription to the channel needs a signature.

    :raises InvalidRequestError: No channel can be called so, or the channel is public:
        everyone may subscribe, and a signature would protect nothing.
    """
    channel = check_channel(name)
    if not needs_auth(channel):
        raise InvalidRequestError(
            f"{short_repr(channel)} is a public channel, which needs no authorisation: "
            "only a channel whose name begins with private- or presence- does"
        )
    return channel


def check_event_name(name: object) -> str:
    """
    Return *name* as a plain str where an event can be called so.

    :raises InvalidRequestError: The name is not a str of 1 to 200 characters.
    """
    return _check_length("event name", name)


def check_user_id(user_id: object) -> str:
    """
    Return *user_id* as a plain str where events can be sent to a user of that id.

    :raises InvalidRequestError: The id is not a str of 1 to 200 characters that UTF-8 can
        express.
    """
    text = _check_length("user_id", user_id)
    utf8("user_id", text)
    return text


def _check_length(what: str, text: object) -> str:
    if not is_str(text):
        raise InvalidRequestError(
            f"{what} must be a str of 1 to {MAX_NAME_LENGTH} characters, not {with_type(text)}"
        )
    if not 0 < len(text) <= MAX_NAME_LENGTH:
        raise InvalidRequestError(
            f"{what} must be a str of 1 to {MAX_NAME_LENGTH} characters, "
            f"not {short_repr(text)} of {len(text)}"
        )
    return as_plain_str(text)


def check_socket_id(socket_id: object) -> str:
    """
    Return *socket_id* as a plain str where it is digits, a dot, digits and nothing else.

    :raises InvalidRequestError: The id of no connection looks so.
    """
    if not is_str(socket_id) or not _SOCKET_ID(socket_id):
        raise InvalidRequestError(
            "socket_id must be two numbers with a dot between, "
            f"not {with_wrong_type(str, socket_id)}"
        )
    return as_plain_str(socket_id)


def check_idempotency_key(key: object) -> str:
    """
    Return *key* as a plain str where it is 1 to 128 printable ASCII characters.

    A space is one of them.  The limits are those of the servers that honour the key.

    :raises InvalidRequestError: The key is none that they take.
    """
    if not is_str(key) or not _IDEMPOTENCY_KEY(key):
        length = f" of {len(key)}" if is_str(key) else ""
        raise InvalidRequestError(
            "idempotency_key must be 1 to 128 printable ASCII characters, "
            f"not {with_wrong_type(str, key)}{length}"
        )
    return as_plain_str(key)


def info_text(info: object) -> str | None:
    """
    Return ``info`` as it stands in a request: names with commas between, None for none.

    :raises InvalidRequestError: *info* is neither a str nor an iterable of str.
    """
    if info is None:
        return None
    if is_str(info):
        return as_plain_str(info)
    taken = take_parts("info", info, MAX_ATTRIBUTES)
    if taken is None:
        raise InvalidRequestError(
            f"info must be a str or an iterable of str, not {with_type(info)}"
        )
    names, count = taken
    if len(names) > MAX_ATTRIBUTES:
        raise InvalidRequestError(f"info has at most {MAX_ATTRIBUTES} names, not {count}")
    for name in names:
        if not is_str(name):
            raise InvalidRequestError(
                f"info must be a str or an iterable of str, not of {with_type(name)}"
            )
    return ",".join(str(as_plain_str(name)) for name in names)


def check_presence_user_id(user_id: object) -> None:
    """
    Refuse a *user_id* that a member of a presence channel cannot have.

    :raises InvalidRequestError: The id is neither a non-empty str nor an int that a
        JavaScript number can hold: the clients would take several users for one.
    """
    if is_really(int, user_id) and abs(cast(int, user_id)) > MAX_JAVASCRIPT_INT:
        raise InvalidRequestError(
            "a user_id that is an int must be one that JavaScript can hold, from "
            f"-{MAX_JAVASCRIPT_INT} to {MAX_JAVASCRIPT_INT}, not {short_repr(user_id)}"
        )
    if not is_really(int, user_id) and not (is_str(user_id) and user_id):
        raise InvalidRequestError(
            "custom_data of a presence channel must have a user_id, "
            f"a non-empty str or an int, not {with_wrong_type(str, user_id)}"
        )
