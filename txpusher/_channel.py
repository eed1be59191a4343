"""
:class:`Channel`: a client bound to the name of one channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpusher._protocol.names import check_target

if TYPE_CHECKING:
    from txpusher.client import Pusher


_log = Logger(namespace="txpusher")


class Channel:
    """
    One channel of an app, as ``pusher["my-channel"]`` gives it.

    :ivar name: The channel's name.
    :raises InvalidRequestError: No channel can be called so.
    """

    def __init__(self, pusher: Pusher, name: str) -> None:
        self.name = check_target(name)
        self._pusher = pusher

    def __repr__(self) -> str:
        return f"<Channel {self.name}>"

    def trigger(
        self,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Deferred[dict[str, Any]]:
        """:meth:`Pusher.trigger` to this channel."""
        return self._pusher.trigger(self.name, event, data, socket_id=socket_id, info=info)

    def trigger_quietly(
        self,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
    ) -> Deferred[None]:
        """
        :meth:`trigger` for events that nobody waits for.

        :return: A Deferred that fires with None in any case; a failure is
            logged as an error.  Only cancelling it makes it fail.
        """

        def log_failure(failure: Failure) -> None:
            failure.trap(Exception)
            if failure.check(CancelledError):
                failure.raiseException()
            log_quietly(self.name, failure.value)

        triggered = self.trigger(event, data, socket_id=socket_id, info=info)
        return triggered.addCallbacks(lambda _: None, log_failure)

    def info(self, info: str | Iterable[str] | None = None) -> Deferred[dict[str, Any]]:
        """:meth:`Pusher.channel_info` of this channel."""
        return self._pusher.channel_info(self.name, info)

    def users(self) -> Deferred[list[dict[str, Any]]]:
        """
        Who is on this presence channel.

        :return: A Deferred that fires with a list, ``[{"id": "..."}]``.
        """
        return self._pusher.channel_users(self.name).addCallback(users_in)

    def authenticate(
        self, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """:meth:`Pusher.authenticate` for this channel."""
        return self._pusher.authenticate(self.name, socket_id, custom_data)


def users_in(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """The list in the reply to a query for the users of a channel."""
    users: list[dict[str, Any]] = reply.get("users", [])
    return users


def log_quietly(channel: str, error: BaseException | None) -> None:
    """What becomes of an error that nobody waits for."""
    _log.error("an event was not published to {channel}: {error}", channel=channel, error=error)
