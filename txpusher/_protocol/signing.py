"""
The signatures of the Channels protocol: of requests, subscriptions, sign-ins and webhooks.

The functions are pure; the caller decides what is signed and when.
Source: "Authentication and authorization signatures", "HTTP API reference"
and "Webhooks" in the Pusher Channels documentation.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

#: The query parameters that authenticate a request; a caller cannot give them.
RESERVED_PARAMS = frozenset(
    {"auth_key", "auth_timestamp", "auth_version", "auth_signature", "body_md5"}
)


def hmac_hex(secret: str, message: bytes) -> str:
    """Return the HMAC-SHA256 of *message* in lower-case hex."""
    return hmac.digest(secret.encode("utf-8"), message, "sha256").hex()


def same_signature(one: str, other: str) -> bool:
    """Tell in constant time whether two hex signatures are equal, whatever their case."""
    return hmac.compare_digest(
        one.lower().encode("utf-8", "replace"), other.lower().encode("utf-8", "replace")
    )


def body_md5(body: bytes) -> str:
    """Return the parameter ``body_md5``: the MD5 of the exact bytes sent, in hex."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def request_signature(secret: str, method: str, path: str, params: Mapping[str, str]) -> str:
    """
    Return the parameter ``auth_signature`` of a request.

    :param path: The path as the server sees it, percent-escapes included: without a
        prefix that a proxy strips.
    :param params: All other query parameters, their values not escaped.
    """
    return _signature(
        secret, method, path, {name.lower(): value for name, value in params.items()}
    )


def _signature(secret: str, method: str, path: str, params: Mapping[str, str]) -> str:
    return hmac_hex(secret, string_to_sign(method, path, params).encode())


def string_to_sign(method: str, path: str, params: Mapping[str, str]) -> str:
    """
    Return the text that the signature of a request is made of.

    :param path: As for :func:`request_signature`.
    :param params: All query parameters but the signature, by their names in lower case.
    """
    query = "&".join([f"{name}={params[name]}" for name in sorted(params)])
    return f"{method}\n{path}\n{query}"


def signed_params(
    key: str,
    secret: str,
    method: str,
    path: str,
    params: Mapping[str, str],
    body: bytes | None,
    timestamp: int,
) -> dict[str, str]:
    """
    Return *params* with the parameters that authenticate a request, the signature last.

    :param body: The exact body, None where the request has none.
    :param timestamp: Seconds since the epoch.  The server refuses a request whose
        timestamp is more than 600 seconds off its own clock.
    """
    signed = {name.lower(): value for name, value in params.items()}
    signed["auth_key"] = key
    signed["auth_timestamp"] = str(timestamp)
    signed["auth_version"] = "1.0"
    if body is not None:
        signed["body_md5"] = body_md5(body)
    signed["auth_signature"] = _signature(secret, method, path, signed)
    return signed


def channel_signature(
    secret: str, socket_id: str, channel: str, channel_data: str | None = None
) -> str:
    """
    Return the signature with which one connection may subscribe to one channel.

    :param channel_data: The JSON text that the subscriber is given too.
    """
    parts = [socket_id, channel]
    if channel_data is not None:
        parts.append(channel_data)
    return hmac_hex(secret, ":".join(parts).encode())


def user_signature(secret: str, socket_id: str, user_data: str) -> str:
    """
    Return the signature with which one connection may sign in as a user.

    :param user_data: The JSON text that the subscriber is given too.
    """
    return hmac_hex(secret, f"{socket_id}::user::{user_data}".encode())
