"""
The types of the things that users pass in: reactor, HTTP client, clock, hooks, JSON.

Each type is a Protocol, so that a class of the user's need not derive from anything.  This
module holds no code that runs, and imports Twisted and treq for the type checker only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from types import ModuleType
    from typing import TypeAlias

    from treq.testing import StubTreq
    from twisted.internet.interfaces import (
        IDelayedCall,
        IReactorTCP,
        IReactorThreads,
        IReactorTime,
    )

    from txpusher._http.stats import Attempt

    class INetworkReactor(IReactorTCP, IReactorTime, IReactorThreads):
        """
        The interfaces of the reactor that our own connections use.

        The type checker alone knows this class: a reactor provides its interfaces one
        by one.
        """


class ReactorClock(Protocol):
    """
    A reactor, as far as every client needs one: a clock that calls functions later.

    ``twisted.internet.task.Clock`` is enough together with an ``http_client``; connections
    of our own need the network of a real reactor.
    """

    @property
    def seconds(self) -> Callable[[], float]:
        """Return the reactor's time, in seconds since any moment that stays the same."""

    @property
    def callLater(self) -> Callable[..., IDelayedCall]:
        """Call a function after a number of seconds; return a call that can be cancelled."""


class RequestingClient(Protocol):
    """An HTTP client, as far as txpusher calls it: ``treq.client.HTTPClient`` is one."""

    def request(
        self,
        method: str,
        url: str,
        /,
        *,
        headers: dict[str | bytes, str | bytes],
        data: bytes | None,
        allow_redirects: bool,
        unbuffered: bool,
    ) -> Awaitable[Any]:
        """
        Send one request.

        :param method: ``"GET"`` or ``"POST"``.
        :param url: The whole signed URL; it must be sent as it is.
        :param headers: The headers to send, beside Host and Content-Length.
        :param data: The exact bytes of the body, None for no body.
        :param allow_redirects: False: a redirect is an error of the API.
        :param unbuffered: True: the body is read once, as it arrives.
        :return: A Deferred, or another awaitable, of a response such as
            ``twisted.web.iweb.IResponse``.
        """


if TYPE_CHECKING:
    # Twisted's interfaces stand beside the Protocol: they have no self in their methods,
    # so without mypy-zope the type checker cannot compare one with a Protocol.
    # In Twisted 24.7 the global reactor is a module for the type checker.
    AnyReactor: TypeAlias = IReactorTime | ReactorClock | ModuleType
    # StubTreq gets its methods when it is made: the type checker sees none of them.
    AnyHTTPClient: TypeAlias = RequestingClient | StubTreq


class Clock(Protocol):
    """A clock that signatures and webhooks are timed with, such as ``time.time``."""

    def __call__(self) -> float:
        """Return the seconds since the epoch."""


class OnAttempt(Protocol):
    """A hook that is told how each attempt to send a request ended, for metrics."""

    def __call__(self, attempt: Attempt, /) -> object:
        """
        Take note of *attempt*.

        The return value is ignored.  An exception is logged and changes nothing, because
        metrics must not fail a request.
        """


class JsonDumps(Protocol):
    """An encoder of data, such as ``json.dumps`` or ``orjson.dumps``."""

    def __call__(self, data: Any, /) -> str | bytes:
        """Return *data* as JSON, str or UTF-8."""


class JsonLoads(Protocol):
    """A decoder of replies and webhooks, such as ``json.loads`` or ``orjson.loads``."""

    def __call__(self, text: bytes, /) -> Any:
        """
        Return the value of *text*, JSON in UTF-8.

        Any exception says that *text* is not JSON.
        """
