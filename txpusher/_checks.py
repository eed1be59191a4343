"""
What the Channels API accepts: names, ids, and how they stand in a path.

Pure checks, each of which gives its argument back or raises an
:class:`~txpusher.InvalidRequestError` that names the limit and the value.
Source of the limits: "HTTP API reference" and "Server library reference
specification" in the Pusher Channels documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sized
from itertools import islice
from typing import TypeVar, cast
from urllib.parse import quote

from txpusher.errors import InvalidRequestError

T = TypeVar("T")

MAX_CHANNELS = 100
MAX_NAME_LENGTH = 200
USER_CHANNEL_PREFIX = "#server-to-user-"

_CHANNEL = re.compile(r"[A-Za-z0-9_\-=@,.;]{1,200}").fullmatch
_SOCKET_ID = re.compile(r"[0-9]+\.[0-9]+").fullmatch
_PARAM_NAME = re.compile(r"[A-Za-z0-9_\-.]+").fullmatch
_PATH_CHARS = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*"
_RAW_PATH = re.compile(rf"(?:/{_PATH_CHARS})+").fullmatch
_DOTS = re.compile(r"(?:\.|%2[Ee]){1,2}").fullmatch

#: What a path segment may hold as it is (RFC 3986, "pchar").
_SEGMENT_SAFE = "-._~!$&'()*+,;=:@"


def shown(value: object, most: int = 60) -> str:
    """*value* for an error message: its repr, shortened."""
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


def plain(text: T) -> T:
    """
    *text* as a plain str where it is one of another class; what is no str as it is.

    An enum of strings is its value to JSON and to ``+``, and in an f-string, from
    Python 3.11 on, the name of its member.
    """
    if type(text) is not str and isinstance(text, str):
        return cast(T, str.__str__(text))
    return text


def is_number(value: object) -> bool:
    """Whether *value* is a number to calculate with, which a bool is not meant as."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def first_of(limit: int, values: Iterable[T]) -> tuple[list[T], str]:
    """
    *values*, one more than *limit* at the most, and how many they are, in words.

    There may be no end of them.
    """
    first = list(islice(values, limit + 1))
    if isinstance(values, Sized):
        return first, str(len(values))
    return first, f"more than {limit}" if len(first) > limit else str(len(first))


def check_channel(name: object) -> str:
    """
    *name* where it is a channel's.

    :raises InvalidRequestError: It is not 1 to 200 of ``A-Za-z0-9_-=@,.;``.
    """
    if isinstance(name, str):
        if _CHANNEL(name):
            return plain(name)
        if len(name) > MAX_NAME_LENGTH:
            raise InvalidRequestError(
                f"channel name is over {MAX_NAME_LENGTH} characters: "
                f"{shown(name)} has {len(name)}"
            )
    raise InvalidRequestError(
        f"channel name must be 1 to {MAX_NAME_LENGTH} of A-Z a-z 0-9 _ - = @ , . ; "
        f"not {shown(name)}"
    )


def check_target(name: object) -> str:
    """*name* where events can be sent to it: a channel, or ``#server-to-user-<id>``."""
    if isinstance(name, str) and name.startswith(USER_CHANNEL_PREFIX):
        check_user_id(name[len(USER_CHANNEL_PREFIX) :])
        return plain(name)
    return check_channel(name)


def check_event_name(name: object) -> str:
    """*name* where it is 1 to 200 characters."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
        length = f" of {len(name)}" if isinstance(name, str) else ""
        raise InvalidRequestError(
            f"event name must be a str of 1 to {MAX_NAME_LENGTH} characters, "
            f"not {shown(name)}{length}"
        )
    return plain(name)


def check_socket_id(socket_id: object) -> str:
    """*socket_id* where it is digits, a dot, digits and nothing else."""
    if not isinstance(socket_id, str) or not _SOCKET_ID(socket_id):
        raise InvalidRequestError(
            f"socket_id must be two numbers with a dot between, not {shown(socket_id)}"
        )
    return plain(socket_id)


def check_user_id(user_id: object) -> str:
    """*user_id* where it is a str of 1 to 200 characters."""
    if not isinstance(user_id, str) or not 0 < len(user_id) <= MAX_NAME_LENGTH:
        length = f" of {len(user_id)}" if isinstance(user_id, str) else ""
        raise InvalidRequestError(
            f"user_id must be a str of 1 to {MAX_NAME_LENGTH} characters, "
            f"not {shown(user_id)}{length}"
        )
    utf8("user_id", user_id)
    return plain(user_id)


def info_text(info: object) -> str | None:
    """``info`` as the wire has it: names with commas between."""
    if info is None or isinstance(info, str):
        return plain(info)
    if isinstance(info, Iterable) and not isinstance(info, (bytes, Mapping)):
        names = list(info)
        if all(isinstance(name, str) for name in names):
            return ",".join(names)
    raise InvalidRequestError(f"info must be a str or several, not {shown(info)}")


def segment(text: str) -> str:
    """*text* escaped as one segment of a path, and nothing that a path allows."""
    if text in (".", ".."):
        return text.replace(".", "%2E")
    return _keep_last_semicolon(quote(text, safe=_SEGMENT_SAFE))


def _keep_last_semicolon(path: str) -> str:
    # Twisted's Agent drops a lone ';' at the end of a path.
    return f"{path[:-1]}%3B" if path.endswith(";") else path


def is_raw_path(path: str) -> bool:
    """
    Whether *path* can be sent as it is: absolute, percent-escaped, without ``.``
    and ``..`` segments, escaped ones included.
    """
    return _RAW_PATH(path) is not None and not any(map(_DOTS, path.split("/")))


def check_path(path: object) -> str:
    """*path* where it can be sent as it is."""
    if not isinstance(path, str) or not is_raw_path(path):
        raise InvalidRequestError(
            "path must begin with / and hold only what a URL path may, "
            f"percent-escaped and without . and .. segments, not {shown(path)}"
        )
    return _keep_last_semicolon(plain(path))


def check_param_name(name: object) -> str:
    """The name of a query parameter, in lower case as it is signed."""
    if not isinstance(name, str):
        raise InvalidRequestError(f"the name of a param must be a str, not {shown(name)}")
    if not _PARAM_NAME(name):
        raise InvalidRequestError(
            f"the name of a param must be of A-Z a-z 0-9 _ - . only, not {shown(name)}"
        )
    return name.lower()


def check_presence_user_id(user_id: object) -> None:
    """A member's ``user_id``: a non-empty str, or an int."""
    is_number = isinstance(user_id, int) and not isinstance(user_id, bool)
    if not is_number and not (isinstance(user_id, str) and user_id):
        raise InvalidRequestError(
            "custom_data of a presence channel must have a user_id, "
            f"a non-empty str or an int, not {shown(user_id)}"
        )


def utf8(what: str, text: str) -> bytes:
    """*text* as UTF-8; *what* names it where that cannot be."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"{what} has a lone surrogate at character {error.start}, "
            "which UTF-8 cannot express"
        ) from None
