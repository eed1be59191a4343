"""
What the hub wants done, as plain values.

Each input to the hub gives a list of these; the server carries them out in
order.  ``peer`` is whatever the server gave to the hub for a connection: the
hub hands it back and never looks at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs


@attrs.frozen
class Send:
    """One message, encoded once, for every one of *to*."""

    to: Sequence[Any]
    message: bytes


@attrs.frozen
class Close:
    """An end to the connection of *peer*, with a WebSocket close code."""

    peer: Any
    code: int
    reason: str


@attrs.frozen
class Notify:
    """An event for the webhooks of an app."""

    app_id: str
    event: Mapping[str, Any]


@attrs.frozen
class Activity:
    """
    Something that happened on the server, for whoever watches it.

    :ivar kind: One of ``"connected"``, ``"disconnected"``, ``"refused"``,
        ``"subscribed"``, ``"unsubscribed"``, ``"signed_in"``, ``"event"`` (from
        the HTTP API), ``"client_event"``, ``"error"`` (a client was told of one),
        ``"webhook"``, ``"webhook_failed"``.
    :ivar app_id: The app's id, empty where none of the server's was named.
    :ivar socket_id: The connection; of an ``"event"``, the one left out.
    :ivar channel: The channel's name.
    :ivar event: The event's name.
    :ivar data: The event's data, the text on the wire.
    :ivar user_id: The user of a presence channel or a sign-in.
    :ivar detail: A sentence for people; it holds no secret and no signature.
    """

    kind: str
    app_id: str
    socket_id: str | None = None
    channel: str | None = None
    event: str | None = None
    data: str | None = None
    user_id: str | None = None
    detail: str | None = None


Output = Send | Close | Notify | Activity
