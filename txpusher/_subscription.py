"""
:class:`Subscription`: one channel of a :class:`~txpusher.Subscriber`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed

from txpusher._handlers import Handler, Inbox
from txpusher._protocol.incoming import Message
from txpusher._protocol.joining import Channel

Trigger = Callable[[Channel, str, Any], Deferred[None]]


class Subscription:
    """
    A channel that the subscriber is subscribed to, on this connection and all that follow.

    :meth:`Subscriber.subscribe` makes it.  Its events go to handlers, and to ``async for``::

        async for message in subscription:
            print(message.event, message.data)

    A loop keeps the events that come while its body waits for something else, up to the
    ``max_buffered`` of the subscriber.  An event that does not fit ends the loop with a
    :class:`~txpusher.QueueFullError`, after the events that were kept.  The loop ends without
    an error after :meth:`unsubscribe`, with a :class:`~txpusher.ClosedError` after the
    subscriber's ``close()``, and with a :class:`~txpusher.ConnectionClosedError` where the
    server wants no connection any more.  What is told beside the events themselves, the
    ``pusher:`` events, goes to handlers alone.
    """

    def __init__(
        self,
        channel: Channel,
        inbox: Inbox,
        trigger: Trigger,
        unsubscribe: Callable[[Channel], None],
    ) -> None:
        self._channel = channel
        self._inbox = inbox
        self._trigger = trigger
        self._unsubscribe = unsubscribe

    def __repr__(self) -> str:
        return f"<Subscription {self.name!r}>"

    @property
    def name(self) -> str:
        """Return the name of the channel."""
        return self._channel.name

    @property
    def members(self) -> dict[str, Any]:
        """
        Return the info of each member of a presence channel by id, always a str.

        It is a copy, and empty for other channels.  While the connection is lost it has the
        members who were there last; when the subscriber is back, handlers are told who has
        come and gone in between.  Source: "Presence channels".
        """
        return dict(self._channel.members)

    @property
    def me(self) -> dict[str, Any] | None:
        """Return the ``id`` and ``info`` of this subscriber as a member; None without one."""
        return None if self._channel.me is None else dict(self._channel.me)

    @property
    def subscription_count(self) -> int | None:
        """
        Return how many connections are subscribed, None until the server has told.

        Source: "Subscription count events"; presence channels have none.
        """
        return self._channel.subscription_count

    def bind(self, event: str, handler: Handler) -> None:
        """
        Call *handler* with each :class:`Message` of *event* on this channel.

        :param handler: May return a Deferred or a coroutine; nothing waits for it.  What it
            raises is logged, and stops neither the other handlers nor the connection.
        :raises InvalidRequestError: *event* is not a str, or *handler* cannot be called.
        """
        self._inbox.bind(event, handler)

    def bind_all(self, handler: Handler) -> None:
        """Call *handler* as :meth:`bind` does, with each message on this channel."""
        self._inbox.bind_all(handler)

    def unbind(self, event: str | None = None, handler: Handler | None = None) -> None:
        """
        Call handlers no more: of *event*, or *handler*, or both; without arguments, all.
        """
        self._inbox.unbind(event, handler)

    def trigger(self, event: str, data: Any) -> Deferred[None]:
        """
        Send a client event to the other subscribers of the channel.

        The protocol has no answer to a client event that is accepted: the Deferred fires when
        a pong after it shows that it was not refused.  Source: "Client events".

        :param event: Begins with ``client-``.
        :param data: Anything that can be JSON.
        :return: A Deferred that fires with None.  It fails with an
            :class:`~txpusher.InvalidRequestError` where the name, the data or the kind of
            channel does not allow a client event (private and presence channels do, but for
            encrypted ones); with an :class:`~txpusher.APIError` where the server refuses it
            (the status is the code: 4301 switched off, or too many a second); with an
            :class:`~txpusher.HTTPError` at once without a connection, and, ``maybe_delivered``,
            where the connection is lost before the pong; with a
            :class:`~txpusher.SubscriptionError` while the subscription is not confirmed; with
            a :class:`~txpusher.ClosedError` or :class:`~txpusher.ConnectionClosedError` after
            the end.
        """
        return self._trigger(self._channel, event, data)

    def unsubscribe(self) -> Deferred[None]:
        """
        Leave the channel: its handlers are called no more, and loops end.

        That holds for the message of the moment too, where a handler leaves the channel.

        :return: A Deferred that has fired with None: the protocol has no answer to this.
        """
        self._unsubscribe(self._channel)
        return succeed(None)

    def __aiter__(self) -> AsyncIterator[Message]:
        """Return an iterator over the events of the channel from now on."""
        return self._inbox.iterate()
