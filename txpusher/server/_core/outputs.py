"""
What the hub wants done, as plain values.

Each input to the hub gives a list of outputs; the server carries them out in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs


class Peer(Protocol):
    """
    The server's end of one WebSocket connection.

    The hub is given a peer for each connection, puts it into its outputs, and calls none
    of its methods.
    """

    @property
    def send(self) -> Callable[[bytes], None]:
        """Sends a whole WebSocket frame or several; an ended connection drops them."""

    def close(self, code: int, reason: str, /) -> None:
        """End the connection with a WebSocket close code."""


class Audience(tuple[Peer, ...]):
    """
    The peers that one message is for.

    A channel hands out the same Audience object until someone subscribes or leaves.  Two
    messages whose audiences are the same object (``is``) therefore have the same
    recipients, which :class:`~txpusher.server._net.outbox.Outbox` relies on to send both
    in one write; equal audiences that are two objects may be handled one by one.
    """

    __slots__ = ()


@attrs.frozen
class Send:
    """Send one message, encoded once, to every peer of an audience."""

    to: Audience
    message: bytes


@attrs.frozen
class Close:
    """End the connection of *peer* with a WebSocket close code."""

    peer: Any
    code: int
    reason: str


@attrs.frozen
class Notify:
    """Send an event to the webhooks of an app."""

    app_id: str
    event: Mapping[str, Any]


@attrs.frozen
class Wake:
    """Call :meth:`~txpusher.server._core.hub.Hub.due` at a time of the hub's clock."""

    at: float


@attrs.frozen
class Activity:
    """
    Something that happened on the server, for whoever watches the server.

    :ivar kind: One of ``"connected"``, ``"disconnected"``, ``"refused"``,
        ``"subscribed"``, ``"unsubscribed"``, ``"signed_in"``, ``"event"`` (from
        the HTTP API), ``"client_event"``, ``"error"`` (a client was sent one),
        ``"webhook"``, ``"webhook_failed"`` (an attempt failed, or a webhook was given up or
        dropped), ``"trouble"`` (what the server did wrong on request).
    :ivar app_id: The app's id, empty where the client named no app of this server.
    :ivar socket_id: The connection; of an ``"event"``, the connection that is left out.
    :ivar channel: The channel's name.
    :ivar event: The event's name.
    :ivar data: The event's data, the text on the wire.
    :ivar user_id: The user of a presence channel or a sign-in.
    :ivar detail: A sentence for people; it holds no secret and no signature.
    :ivar refusal: For programs, what was refused, such as ``"unknown_app"`` or
        ``"auth_signature"``; None where nothing was.
    :ivar explanation: Of a request that was refused, all that the answer says, the text that
        had to be signed among it; it holds no secret and no signature either.
    :ivar headers: The headers of a request that was refused; of those that may hold a secret or
        a signature, ``"(not shown)"`` in place of the value.
    """

    kind: str
    app_id: str
    socket_id: str | None = None
    channel: str | None = None
    event: str | None = None
    data: str | None = None
    user_id: str | None = None
    detail: str | None = None
    refusal: str | None = None
    explanation: str | None = None
    headers: tuple[tuple[str, str], ...] | None = attrs.field(default=None, repr=False)


def more_of(activity: Activity) -> list[str]:
    """Return the lines of the explanation below the first, which the detail has."""
    return [] if activity.explanation is None else activity.explanation.split("\n")[1:]


Output = Send | Close | Notify | Wake | Activity
