# -*- test-case-name: tests.integration.test_server_service -*-
"""
:class:`ChannelsService`: the server as a service of a Twisted application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpusher.server._core.outputs import more_of

if TYPE_CHECKING:
    from txpusher._interfaces import AnyReactor
    from txpusher.server._core.outputs import Activity
    from txpusher.server._server import ChannelsServer

_log = Logger(namespace="txpusher")
#: What the log tells of.  It has neither events nor who is subscribed.
_LOGGED = ("refused", "error", "webhook_failed", "trouble")


class ChannelsService(Service):
    """
    A service that listens while its application runs.

    ::

        application = Application("channels")
        server = ChannelsServer([App("3", "key", "secret")])
        ChannelsService(server, "unix:/run/channels.sock").setServiceParent(application)

    The log tells where the server listens, and what it refuses.

    :param server: The server.
    :param endpoint: An endpoint or its description, as ``ChannelsServer.listen_on`` takes it.
    :param reactor: The reactor, by default the one that is installed.
    """

    def __init__(
        self, server: ChannelsServer, endpoint: Any, reactor: AnyReactor | None = None
    ) -> None:
        self.server = server
        self._endpoint = endpoint
        self._reactor = reactor
        self._listening: Deferred[Any] | None = None

    def privilegedStartService(self) -> None:
        """Listen, before the process gives up its rights: a port below 1024 takes them."""
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        """
        Listen, unless :meth:`privilegedStartService` has.

        :raises: Whatever ``ChannelsServer.listen_on`` fails with at once; what it fails with
            later is logged.
        """
        super().startService()
        self._listen()

    def stopService(self) -> Deferred[None]:
        """
        Stop the server.

        :return: A Deferred that fires with None when the reactor has nothing left of it.
        """
        super().stopService()
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            self.server.remove_observer(self._note)
        return self.server.stop()

    def _listen(self) -> None:
        if self._listening is not None:
            return
        self.server.add_observer(self._note)
        listening = self._listening = self.server.listen_on(self._endpoint, self._reactor)
        listening.addCallback(self._say_where)
        result = listening.result if listening.called else None
        if isinstance(result, Failure):
            # Whoever starts the application is told, instead of the log.
            listening.addErrback(lambda _: None)
            self._listening = None
            self.server.remove_observer(self._note)
            result.raiseException()
        listening.addErrback(self._failed)

    def _say_where(self, server: ChannelsServer) -> None:
        try:
            place = f"{server.host}:{server.port}"
        except RuntimeError:
            place = str(self._endpoint)
        _log.info("A Channels server listens on {place}", place=place)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("The Channels server cannot listen", failure=failure)

    def _note(self, activity: Activity) -> None:
        if activity.kind in _LOGGED:
            _log.info(
                "{kind} {app_id} {detail}",
                kind=activity.kind,
                app_id=activity.app_id,
                detail="\n".join([activity.detail or "", *more_of(activity)]),
            )
