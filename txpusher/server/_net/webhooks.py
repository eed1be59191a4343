# -*- test-case-name: tests.integration.test_server_webhooks -*-
"""
Webhooks: what happens on the server, sent to the URLs of an app.

Events gather for a moment and go out together, signed, in order, one request at a time for
each URL.  A request that fails is repeated, with back-off, for five minutes.
Source: "Webhooks" in the Pusher Channels documentation.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from http.cookiejar import CookieJar
from typing import Any, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from treq.client import HTTPClient
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred
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
from txpusher.server._app import App
from txpusher.server._core.json import dump_bytes
from txpusher.server._core.outputs import Activity, Notify

log = Logger()

Report = Callable[[Activity], None]


class _Target:
    """
    One URL of one app, and the events that wait for it.

    :ivar url: The URL without credentials, which go into a header.
    :ivar place: The URL without credentials and query, as it may be shown.
    """

    def __init__(self, app: App, url: str) -> None:
        self.app = app
        parts = urlsplit(url)
        credentials, _, netloc = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=netloc, fragment=""))
        self.place = f"{parts.scheme}://{netloc}{parts.path}"
        self.headers = {
            b"Content-Type": b"application/json",
            b"User-Agent": b"txpusher webhooks",
            b"X-Pusher-Key": app.key.encode("utf-8"),
        }
        if credentials:
            basic = b64encode(unquote(credentials).encode("utf-8"))
            self.headers[b"Authorization"] = b"Basic " + basic
        self.waiting: deque[Mapping[str, Any]] = deque(maxlen=limits.WEBHOOKS_WAITING)
        self.sending: Deferred[None] | None = None


class WebHookSender:
    """
    Sends the webhooks of all apps.

    :param apps: The apps, which name the URLs.
    :param reactor: Keeps the time, and connects.
    :param clock: Returns the time in seconds since the epoch.
    :param report: Told of every request, and of every request that is given up.
    """

    def __init__(
        self, apps: tuple[App, ...], reactor: Any, clock: Callable[[], float], report: Report
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._report = report
        self._targets = {app.id: [_Target(app, url) for url in app.webhooks] for app in apps}
        self._backoff = backoffPolicy(
            limits.WEBHOOK_FIRST_DELAY, limits.WEBHOOK_LONGEST_DELAY, 2.0
        )
        agent = Agent(reactor, connectTimeout=limits.WEBHOOK_REQUEST, pool=_NoPool(reactor))
        self._client = HTTPClient(agent, cast(Any, _NoCookies()))
        self._stopped = False

    def queue(self, notification: Notify) -> None:
        """Queue an event for the URLs of its app."""
        for target in self._targets[notification.app_id]:
            target.waiting.append(notification.event)
            if target.sending is None and not self._stopped:
                target.sending = Deferred.fromCoroutine(self._send_all(target))
                target.sending.addErrback(self._failed)

    def stop(self) -> None:
        """End every request and every retry, and drop the events that wait."""
        self._stopped = True
        for targets in self._targets.values():
            for target in targets:
                target.waiting.clear()
                if target.sending is not None:
                    target.sending.cancel()

    def _failed(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            log.failure("A webhook could not be sent", failure=failure)

    async def _send_all(self, target: _Target) -> None:
        try:
            while not self._stopped:
                await deferLater(self._reactor, limits.WEBHOOK_GATHERING)
                if not target.waiting:
                    return
                count = min(limits.WEBHOOK_EVENTS, len(target.waiting))
                await self._send(target, [target.waiting.popleft() for _ in range(count)])
        finally:
            target.sending = None

    async def _send(self, target: _Target, events: list[Mapping[str, Any]]) -> None:
        body = dump_bytes({"time_ms": int(self._clock() * 1000), "events": events})
        signature = hmac_hex(target.app.secret, body).encode("ascii")
        headers = {**target.headers, b"X-Pusher-Signature": signature}
        names = ", ".join(event["name"] for event in events)
        give_up_at = self._reactor.seconds() + limits.WEBHOOK_GIVE_UP
        attempt = 0
        while True:
            problem = await self._attempt(target.url, body, headers)
            if problem is None:
                self._report_request("webhook", target, names)
                return
            delay = self._backoff(attempt)
            attempt += 1
            if self._reactor.seconds() + delay > give_up_at:
                self._report_request("webhook_failed", target, f"{names}: given up: {problem}")
                return
            self._report_request("webhook_failed", target, f"{names}: {problem}; trying again")
            await deferLater(self._reactor, delay)

    def _report_request(self, kind: str, target: _Target, text: str) -> None:
        self._report(Activity(kind, target.app.id, detail=f"{target.place}: {text}"))

    async def _attempt(
        self, url: str, body: bytes, headers: Mapping[bytes, bytes]
    ) -> str | None:
        """Send a request once: return None where it is accepted, else why it is not."""
        started = self._reactor.seconds()
        try:
            posting = Deferred.fromCoroutine(self._post(url, body, headers))
            status = await posting.addTimeout(limits.WEBHOOK_REQUEST, self._reactor)
        except Exception as error:
            if self._stopped:
                # An aborted request fails in ways of its own.
                raise CancelledError from None
            if self._reactor.seconds() - started >= limits.WEBHOOK_REQUEST:
                return f"no reply within {limits.WEBHOOK_REQUEST:g} seconds"
            return type(error).__name__
        return None if 200 <= status < 300 else f"status {status}"

    async def _post(self, url: str, body: bytes, headers: Mapping[bytes, bytes]) -> int:
        """Send a request, and return the status of the reply once all of it has come."""
        response = await self._client.post(
            url,
            data=body,
            headers=Headers({name: [value] for name, value in headers.items()}),
            allow_redirects=False,
            unbuffered=True,
        )
        ignored = _IgnoredBody()
        response.deliverBody(ignored)
        await ignored.ended
        return int(response.code)


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
