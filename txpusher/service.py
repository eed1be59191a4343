"""
:class:`PusherService`: a client that is flushed and closed with a Twisted application.
"""

from __future__ import annotations

from enum import Enum

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from txpusher._text import with_type
from txpusher._validators import check_seconds
from txpusher.client import Pusher
from txpusher.errors import ClosedError, ConfigurationError
from txpusher.publisher import BatchPublisher

__all__ = ["PusherService"]

#: Seconds between two looks at whether a client is idle, at the end of a process only.
_POLL = 0.02

_log = Logger(namespace="txpusher")


class _State(Enum):
    #: Stopping has nothing to do: the client may yet be used.
    NEW = "not started"
    RUNNING = "running"
    #: The events are on their way; who stops the service again waits for the same end.
    STOPPING = "stopping"
    #: The client is closed, for good.
    STOPPED = "stopped"


class PusherService(Service):
    """
    A service that ends with every event sent, as far as the time allows.

    Twisted stops the services of an application before it stops the reactor, and waits for
    them.  This service uses the wait to send what the program has triggered, and closes the
    client then.

    ::

        application = Application("shop")
        pusher = Pusher.from_env()
        PusherService(pusher).setServiceParent(application)

    :param pusher: The client; the service closes it.
    :param publisher: A publisher over that client; the service closes it first.
    :param flush_timeout: The most seconds that the end may take, 0 or more.
    :raises ConfigurationError: An argument is not what it must be.
    """

    def __init__(
        self,
        pusher: Pusher,
        *,
        publisher: BatchPublisher | None = None,
        flush_timeout: float = 5.0,
    ) -> None:
        if not isinstance(pusher, Pusher):
            raise ConfigurationError(f"pusher must be a Pusher, not {with_type(pusher)}")
        if publisher is not None and not isinstance(publisher, BatchPublisher):
            raise ConfigurationError(
                f"publisher must be a BatchPublisher, not {with_type(publisher)}"
            )
        check_seconds("flush_timeout", flush_timeout, zero=True)
        self.pusher = pusher
        self.publisher = publisher
        self._flush_timeout = flush_timeout
        self._state = _State.NEW
        self._waiting: list[Deferred[None]] = []

    def startService(self) -> None:
        """
        Begin; the client connects by itself when it is used.

        :raises ClosedError: The service was stopped: its client stays closed.
        """
        if self._state in (_State.STOPPING, _State.STOPPED):
            raise ClosedError("the service was stopped, and its client is closed")
        super().startService()
        self._state = _State.RUNNING

    def stopService(self) -> Deferred[None]:
        """
        Send what the program has triggered, then close publisher and client.

        Both together take at most ``flush_timeout`` seconds.  What is unsettled by then
        fails with a :class:`~txpusher.ClosedError`, and the log says how many events that
        are.  A service that was not started has nothing to stop: the client stays open.

        :return: A Deferred that fires with None when every connection is closed; from the
            second call on when the first has ended.
        """
        super().stopService()
        if self._state in (_State.NEW, _State.STOPPED):
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._waiting.append(stopped)
        if self._state is _State.RUNNING:
            self._state = _State.STOPPING
            Deferred.fromCoroutine(self._stop()).addBoth(self._has_stopped)
        return stopped

    def _has_stopped(self, result: object) -> None:
        self._state = _State.STOPPED
        waiting, self._waiting = self._waiting, []
        for stopped in waiting:
            stopped.callback(result)  # type: ignore[arg-type]

    async def _stop(self) -> None:
        from twisted.internet import reactor

        deadline = reactor.seconds() + self._flush_timeout

        def left() -> float:
            return max(0.0, deadline - reactor.seconds())

        publisher = self.publisher
        # Begun at once: a publisher warns of events that nobody waits for at the end.
        flushed = succeed(0) if publisher is None else publisher.flush(timeout=left())
        # Services that stop in the same turn of the reactor trigger their last events.
        await deferLater(reactor, 0)
        await flushed
        events = 0 if publisher is None else await publisher.close(timeout=left())
        while (operations := self._operations()) and left():
            await deferLater(reactor, _POLL)
        if events or operations:
            _log.warn(
                "{what} of app {app_id} not settled after {timeout:g} seconds: the client "
                "is closed",
                what=_in_words(events, operations),
                events=events,
                operations=operations,
                app_id=self.pusher.config.app_id,
                timeout=self._flush_timeout,
            )
        await self.pusher.close(timeout=left())

    def _operations(self) -> int:
        stats = self.pusher.stats
        return stats.pending + stats.in_flight


def _in_words(events: int, operations: int) -> str:
    """Say how many events and operations are lost; the batches of events are operations."""
    counts = ((events, "event"), (operations, "operation"))
    return " and ".join(
        f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count
    )
