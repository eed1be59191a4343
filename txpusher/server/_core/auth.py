"""
Whether a request of the HTTP API is authentic.

Source: "Generating authentication signatures" in the Pusher Channels "HTTP API
reference".
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from txpusher._protocol import signing
from txpusher.server._app import App

#: Seconds that the clocks of client and server may differ.
MAX_CLOCK_DIFFERENCE = 600


class NotAuthenticError(Exception):
    """401: says what to look at; holds neither the secret nor a signature."""


def authenticate(
    app: App, method: str, path: str, params: Mapping[str, str], body: bytes, wall: float
) -> None:
    """
    Accept a request, or raise.

    :param path: The path as it was sent, escapes included.
    :param params: The query's parameters, names in lower case, values unescaped.
    :param wall: Seconds since the epoch.
    :raises NotAuthenticError: What is wrong.
    """
    for name in ("auth_key", "auth_version", "auth_timestamp", "auth_signature"):
        if not params.get(name):
            raise NotAuthenticError(f"{name} is missing from the query")
    if not _same(params["auth_key"], app.key):
        raise NotAuthenticError("unknown auth_key: it is not the key of this app")
    if params["auth_version"] != "1.0":
        raise NotAuthenticError("auth_version must be 1.0")
    _check_time(params["auth_timestamp"], wall)
    _check_body(params.get("body_md5"), method, body)
    signed = {name: value for name, value in params.items() if name != "auth_signature"}
    right = signing.request_signature(app.secret, method, path, signed)
    if not signing.same_signature(params["auth_signature"], right):
        query = "&".join(f"{name}={signed[name]}" for name in sorted(signed))
        raise NotAuthenticError(
            "invalid signature: it must be the HMAC-SHA256 in hex, with the secret of the "
            f"app with id {app.id}, of these three lines:\n{method}\n{path}\n{query}"
        )


def _check_time(text: str, wall: float) -> None:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise NotAuthenticError("auth_timestamp must be seconds since the epoch")
    difference = int(text) - wall
    if abs(difference) > MAX_CLOCK_DIFFERENCE:
        direction = "ahead of" if difference > 0 else "behind"
        raise NotAuthenticError(
            f"auth_timestamp is {abs(difference):.0f} seconds {direction} this server's "
            f"clock, and {MAX_CLOCK_DIFFERENCE} are allowed"
        )


def _check_body(given: str | None, method: str, body: bytes) -> None:
    # The official Python SDK sends a body_md5 with its GETs too.
    if given is None:
        if method == "POST" and body:
            raise NotAuthenticError("body_md5 is missing from the query")
    elif not _same(given, signing.body_md5(body)):
        raise NotAuthenticError("body_md5 is not the MD5 of the body in lower-case hex")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
