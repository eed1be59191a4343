"""Requests to the HTTP API that no SDK would send."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from .servers import Address

TIMEOUT = 10


@attrs.frozen
class Reply:
    status: int
    text: str


def request(
    address: Address,
    method: str,
    path: str,
    body: Any = None,
    *,
    query: Mapping[str, str] | None = None,
    seconds_off: int = 0,
    **overrides: str | None,
) -> Deferred[Reply]:
    """
    A request, signed after the overrides are made, so that they are all that is wrong.

    :param path: Below the app's own.
    :param body: Bytes are sent as they are, anything else as JSON.
    :param seconds_off: How much the clock is fast.
    :param overrides: Parameters to send in place of the right ones, None to
        leave one out.
    """
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    full_path = f"/apps/{address.app_id}{path}"
    params = {
        "auth_key": address.key,
        "auth_timestamp": str(int(time.time()) + seconds_off),
        "auth_version": "1.0",
        **(query or {}),
    }
    if body is not None:
        params["body_md5"] = hashlib.md5(body).hexdigest()
    params.update(overrides)
    params = {name: value for name, value in params.items() if value is not None}
    query_string = "&".join(f"{name}={params[name]}" for name in sorted(params))
    text = f"{method}\n{full_path}\n{query_string}"
    signature = hmac.new(address.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    target = f"{full_path}?{urlencode({'auth_signature': signature, **params})}"
    return deferToThread(_send, address, method, target, body)


def _send(address: Address, method: str, target: str, body: bytes | None) -> Reply:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT)
    try:
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return Reply(response.status, response.read().decode("utf-8", "replace"))
    finally:
        connection.close()
