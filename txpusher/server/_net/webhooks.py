# -*- test-case-name: tests.integration.test_server_webhooks -*-
"""
Webhooks: what happens on the server, sent to the URLs of an app.

The events of one channel go out in order, one request each, and, where an app has batches,
the events of all channels together.  A request that fails is repeated, with back-off, for five
minutes, while the events after it go on their way.
Source: "Webhooks" in the Pusher Channels documentation.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from http.cookiejar import CookieJar
from itertools import count
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit, urlunsplit

import attrs
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from zope.interface import implementer

from txpusher._protocol.signing import hmac_hex
from txpusher.server import _limits as limits
from txpusher.server._app import App, WebHookTarget
from txpusher.server._core.json import dump_bytes
from txpusher.server._core.outputs import Activity, Notify
from txpusher.server._net.deliveries import Deliveries

if TYPE_CHECKING:
    from treq.client import HTTPClient

log = Logger(namespace="txpusher")

Report = Callable[[Activity], None]


Event = Mapping[str, Any]


@attrs.frozen
class _Request:
    """A request to a webhook, which is the same in each attempt."""

    body: bytes
    headers: Mapping[str, str]
    what: str
    give_up_at: float
    number: int


class _Target:
    """
    One URL of one app, and the events that wait for it.

    :ivar url: The URL without credentials, which go into a header.
    :ivar place: The URL without credentials and query, as it may be shown.
    :ivar queues: The events that wait for their first attempt: by channel, or, where the app
        has batches, all in one queue.  A queue exists as long as a task sends its events.
    :ivar repeated: How many failed requests are being repeated.
    """

    def __init__(self, app: App, settings: WebHookTarget) -> None:
        self.app = app
        self.wants = settings.wants
        parts = urlsplit(settings.url)
        credentials, _, netloc = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=netloc, fragment=""))
        self.place = f"{parts.scheme}://{netloc}{parts.path}"
        self.headers = {"User-Agent": "txpusher webhooks", **settings.headers}
        if credentials:
            basic = b64encode(unquote(credentials).encode("utf-8"))
            self.headers["Authorization"] = f"Basic {basic.decode('ascii')}"
        self.headers["Content-Type"] = "application/json"
        self.headers["X-Pusher-Key"] = app.key
        self.queues: dict[str, deque[Event]] = {}
        self.tasks: set[Deferred[None]] = set()
        self.room = DeferredSemaphore(limits.WEBHOOK_REQUESTS)
        self.repeated = 0
        self._waiting = 0

    def make_room(self) -> Event | None:
        """Drop an event, and return it, if too many wait for one more."""
        if self._waiting < limits.WEBHOOKS_WAITING:
            return None
        self._waiting -= 1
        return next(queue for queue in self.queues.values() if queue).popleft()

    def add(self, event: Event) -> str | None:
        """
        Queue *event*.

        :return: The name of the queue where a task is to be started for it, else None.
        """
        name = "" if self.app.webhook_batches else event.get("channel", "")
        begins = name not in self.queues
        self.queues.setdefault(name, deque()).append(event)
        self._waiting += 1
        return name if begins else None

    def take(self, name: str) -> list[Event]:
        """Take the events of the next request out of a queue."""
        queue = self.queues[name]
        most = limits.WEBHOOK_EVENTS if self.app.webhook_batches else 1
        events = [queue.popleft() for _ in range(min(most, len(queue)))]
        self._waiting -= len(events)
        return events


class WebHookSender:
    """
    Sends the webhooks of all apps.

    :param apps: The apps, which name the URLs.
    :param reactor: Keeps the time, and connects.
    :param clock: Returns the time in seconds since the epoch.
    :param report: Told of every attempt, of every request that is given up, and of every event
        that is dropped.
    :param kept: How many of the newest requests are kept in ``deliveries``.
    """

    def __init__(
        self,
        apps: tuple[App, ...],
        reactor: Any,
        clock: Callable[[], float],
        report: Report,
        kept: int = 0,
    ) -> None:
        self.deliveries = Deliveries(kept, clock)
        self._reactor = reactor
        self._clock = clock
        self._report = report
        self._targets = {app.id: [_Target(app, one) for one in app.webhooks] for app in apps}
        self._backoff = backoffPolicy(
            limits.WEBHOOK_FIRST_DELAY, limits.WEBHOOK_LONGEST_DELAY, 2.0
        )
        self._client = _client(reactor) if any(self._targets.values()) else None
        self._stopped = False

    def queue(self, notification: Notify) -> None:
        """Queue an event for the URLs of its app."""
        for target in self._targets[notification.app_id]:
            if not self._stopped and target.wants(notification.event):
                dropped = target.make_room()
                if dropped is not None:
                    text = f"dropped: {limits.WEBHOOKS_WAITING} events wait already"
                    self._report_attempt("webhook_failed", target, f"{_names(dropped)}: {text}")
                queue = target.add(notification.event)
                if queue is not None:
                    self._start(target, self._send_queue(target, queue))

    def stop(self) -> None:
        """End every request and every repetition, and drop the events that wait."""
        self._stopped = True
        for targets in self._targets.values():
            for target in targets:
                for task in list(target.tasks):
                    task.cancel()

    def _start(self, target: _Target, coroutine: Coroutine[Deferred[Any], Any, None]) -> None:
        task = Deferred.fromCoroutine(coroutine)
        target.tasks.add(task)

        def ended(result: Any) -> Any:
            target.tasks.discard(task)
            return result

        task.addBoth(ended).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            log.failure("A webhook could not be sent", failure=failure)

    async def _send_queue(self, target: _Target, name: str) -> None:
        """Send the events of a queue, each request once the first attempt before has ended."""
        try:
            while target.queues[name]:
                if target.app.webhook_batches:
                    await deferLater(self._reactor, limits.WEBHOOK_GATHERING)
                request = self._request(target, target.take(name))
                if not await self._attempt(target, request):
                    self._repeat_later(target, request)
        finally:
            del target.queues[name]

    def _request(self, target: _Target, events: list[Event]) -> _Request:
        body = dump_bytes({"time_ms": int(self._clock() * 1000), "events": events})
        signature = hmac_hex(target.app.secret, body)
        what = _names(*events)
        number = self.deliveries.add(
            target.app.id,
            target.place,
            what,
            body,
            lambda: self._start(target, self._send_again(target, request)),
        )
        request = _Request(
            body,
            {**target.headers, "X-Pusher-Signature": signature},
            what,
            self._reactor.seconds() + limits.WEBHOOK_GIVE_UP,
            number,
        )
        return request

    async def _send_again(self, target: _Target, request: _Request) -> None:
        await self._attempt(target, request, "; it was asked for again")

    def _repeat_later(self, target: _Target, request: _Request) -> None:
        """Repeat a request by itself, so that it holds up no other."""
        if target.repeated >= limits.WEBHOOKS_REPEATED:
            self.deliveries.given_up(request.number)
            self._report_attempt(
                "webhook_failed",
                target,
                f"{request.what}: given up: {target.repeated} requests are being repeated",
            )
        else:
            self._start(target, self._repeat(target, request))

    async def _repeat(self, target: _Target, request: _Request) -> None:
        target.repeated += 1
        try:
            for attempt in count():
                delay = self._backoff(attempt)
                if self._reactor.seconds() + delay > request.give_up_at:
                    self.deliveries.given_up(request.number)
                    self._report_attempt("webhook_failed", target, f"{request.what}: given up")
                    return
                await deferLater(self._reactor, delay)
                if await self._attempt(target, request):
                    return
        finally:
            target.repeated -= 1

    def _report_attempt(self, kind: str, target: _Target, text: str) -> None:
        self._report(Activity(kind, target.app.id, detail=f"{target.place}: {text}"))

    async def _attempt(
        self, target: _Target, request: _Request, next_step: str = "; trying again"
    ) -> bool:
        """
        Send a request once, report it, and return whether it was accepted.

        :param next_step: What to add to the report where it was not.
        """
        await target.room.acquire()
        started = self._reactor.seconds()
        try:
            posting = Deferred.fromCoroutine(self._post(target.url, request))
            status = await posting.addTimeout(limits.WEBHOOK_REQUEST, self._reactor)
            accepted, result = 200 <= status < 300, f"status {status}"
        except Exception as error:
            if self._stopped:
                # An aborted request fails in ways of its own.
                raise CancelledError from None
            accepted, result = False, _in_words(error)
            if self._reactor.seconds() - started >= limits.WEBHOOK_REQUEST:
                result = f"no reply within {limits.WEBHOOK_REQUEST:g} seconds"
        finally:
            target.room.release()
        milliseconds = (self._reactor.seconds() - started) * 1000
        self.deliveries.attempted(request.number, accepted, result, milliseconds)
        self._report_attempt(
            "webhook" if accepted else "webhook_failed",
            target,
            f"{request.what}: {result} after {milliseconds:.0f} ms"
            + ("" if accepted else next_step),
        )
        return accepted

    async def _post(self, url: str, request: _Request) -> int:
        """Send a request, and return the status of the reply once all of it has come."""
        # Who has a target has a client.
        response = await cast("HTTPClient", self._client).post(
            url,
            data=request.body,
            headers=Headers({name: [value] for name, value in request.headers.items()}),
            allow_redirects=False,
            unbuffered=True,
        )
        ignored = _IgnoredBody()
        response.deliverBody(ignored)
        await ignored.ended
        return int(response.code)


def _names(*events: Event) -> str:
    return ", ".join(f"{event['name']} {event.get('channel', '')}" for event in events)


def _in_words(error: Exception) -> str:
    """Return why a request has failed, without a word of what it or the reply said."""
    # Most servers have no webhooks that fail.
    from txpusher._http.failures import innermost, meaning_of

    reason = innermost(error)
    return " ".join(meaning_of(reason).text(reason).split()).rstrip(".")


def _client(reactor: Any) -> HTTPClient:
    # Most servers have no webhooks, and treq is a thirtieth of the memory of a server.
    from treq.client import HTTPClient

    agent = Agent(reactor, connectTimeout=limits.WEBHOOK_REQUEST, pool=_NoPool(reactor))
    return HTTPClient(agent, cast(Any, _NoCookies()))


class _NoCookies(CookieJar):
    """Keeps no cookie, whatever a reply sets."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Extract nothing."""


class _IgnoredBody(Protocol):
    """
    Takes the body of a reply, of which nothing matters but that it ends.

    treq's ``collect`` would leave the connection open where it is cancelled.

    :ivar ended: Fires with None when the body has ended, however it did; to cancel it closes
        the connection.
    """

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred(lambda _: self._close())

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended.called:
            self.ended.callback(None)


class _NoPool(HTTPConnectionPool):
    """Opens a connection for each request, without a line in the log."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, persistent=False)

    def getConnection(self, key: Any, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        return super().getConnection(key, _QuietEndpoint(endpoint))


@implementer(IStreamClientEndpoint)
class _QuietEndpoint:
    """Connects by way of another endpoint, whose factory is not to log that it starts."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        factory: Any = protocolFactory
        factory.noisy = False
        connecting: Deferred[IProtocol] = self._endpoint.connect(factory)
        return connecting
