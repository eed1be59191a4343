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
    from txpusher._reply import ChannelInfoReply, ChannelUser, ChannelUsersReply, TriggerReply
    from txpusher.client import Pusher


_log = Logger(namespace="txpusher")


class Channel:
    """
    One channel of an app: ``pusher["my-channel"]`` makes it.

    Each method is an operation of :class:`~txpusher.Pusher` without its first argument.

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
        idempotency_key: str | None = None,
    ) -> Deferred[TriggerReply]:
        """
        Publish one event to this channel.

        The arguments, and the errors, are those of :meth:`Pusher.trigger`.

        :return: A Deferred that fires once the server has accepted the event, with ``{}``
            or ``{"channels": {name: {attribute: value}}}``.
        """
        return self._pusher.trigger(
            self.name,
            event,
            data,
            socket_id=socket_id,
            info=info,
            idempotency_key=idempotency_key,
        )

    def trigger_quietly(
        self,
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
        info: str | Iterable[str] | None = None,
        idempotency_key: str | None = None,
    ) -> Deferred[None]:
        """
        Publish one event to this channel, and log a failure as an error.

        This is for events whose outcome nobody waits for.  The arguments are those of
        :meth:`Pusher.trigger`.

        :return: A Deferred that fires with None when the operation has ended, whatever its
            outcome.  It fails where it is cancelled, and only there.
        """

        def log_failure(failure: Failure) -> None:
            failure.trap(Exception)
            if failure.check(CancelledError):
                failure.raiseException()
            log_quietly(self.name, failure.value)

        triggered = self.trigger(
            event, data, socket_id=socket_id, info=info, idempotency_key=idempotency_key
        )
        return triggered.addCallbacks(lambda _: None, log_failure)

    def info(self, info: str | Iterable[str] | None = None) -> Deferred[ChannelInfoReply]:
        """
        Ask for the state of this channel.

        The argument, and the errors, are those of :meth:`Pusher.channel_info`.

        :return: A Deferred that fires with ``{"occupied": True, ...}``.
        """
        return self._pusher.channel_info(self.name, info)

    def users(self) -> Deferred[list[ChannelUser]]:
        """
        Ask for the members of this presence channel.

        The errors are those of :meth:`Pusher.channel_users`.

        :return: A Deferred that fires with a list, ``[{"id": "..."}]``.
        """
        return self._pusher.channel_users(self.name).addCallback(users_in)

    def authenticate(
        self, socket_id: str, custom_data: Mapping[str, Any] | None = None
    ) -> dict[str, str]:
        """
        Sign the answer to a client that asks to subscribe to this channel.

        The arguments, and the errors, are those of :meth:`Pusher.authenticate`.

        :return: ``{"auth": ..., "channel_data"?: ..., "shared_secret"?: ...}``.
        """
        return self._pusher.authenticate(self.name, socket_id, custom_data)


def users_in(reply: ChannelUsersReply) -> list[ChannelUser]:
    """Return the list in the reply to a query for the members of a channel."""
    # A server that is not Pusher's may leave it out where it is empty.
    return reply.get("users", [])


def log_quietly(channel: str, error: BaseException | None) -> None:
    """Log the failure of an event whose outcome nobody waits for."""
    _log.error("an event was not published to {channel}: {error}", channel=channel, error=error)
