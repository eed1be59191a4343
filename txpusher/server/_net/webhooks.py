"""
Webhooks: what happens on the server, told to the URLs of an app.

Events gather for a moment and go out together, signed, in order, one request
at a time for each URL.  A request that fails is repeated, with back-off, for
five minutes.
Source: "Webhooks" in the Pusher Channels documentation.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from txpusher._protocol.signing import hmac_hex
from txpusher.server._app import App
from txpusher.server._core.json import dump_bytes
from txpusher.server._core.outputs import Activity, Notify
from txpusher.server._net.posting import Poster

#: Seconds that events gather before they are sent.
GATHERING = 0.05
#: The most events of one request.
MAX_EVENTS = 100
#: The most events that wait for one URL; the oldest give way.
MAX_WAITING = 10_000
#: Seconds for one request, to the last byte of the reply.
REQUEST_TIMEOUT = 10.0
#: Seconds after which a request that keeps failing is given up.
GIVE_UP_AFTER = 300.0

log = Logger()

Report = Callable[[Activity], None]


class _Target:
    """
    One URL of one app, and what waits for it.

    :ivar url: The URL without credentials: they go into a header.
    :ivar place: The URL as it may be shown: without the query too.
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
        self.waiting: deque[Mapping[str, Any]] = deque(maxlen=MAX_WAITING)
        self.sending: Deferred[None] | None = None


class WebHookSender:
    """
    :param apps: Whose webhooks to send.
    :param reactor: Keeps the time, and connects.
    :param wall: The time in seconds since the epoch.
    :param report: Is told of every request, and of those given up.
    """

    def __init__(
        self, apps: tuple[App, ...], reactor: Any, wall: Callable[[], float], report: Report
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._report = report
        self._targets = {app.id: [_Target(app, url) for url in app.webhooks] for app in apps}
        self._backoff = backoffPolicy(0.5, 30.0, 2.0)
        self._poster = Poster(reactor, REQUEST_TIMEOUT)
        self._stopped = False

    def notify(self, notification: Notify) -> None:
        """Send an event to the URLs of its app, soon."""
        for target in self._targets[notification.app_id]:
            target.waiting.append(notification.event)
            if target.sending is None and not self._stopped:
                target.sending = Deferred.fromCoroutine(self._send_all(target))
                target.sending.addErrback(self._failed)

    def stop(self) -> None:
        """End every request and every retry; what waits is dropped."""
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
                await deferLater(self._reactor, GATHERING)
                if not target.waiting:
                    return
                count = min(MAX_EVENTS, len(target.waiting))
                await self._send(target, [target.waiting.popleft() for _ in range(count)])
        finally:
            target.sending = None

    async def _send(self, target: _Target, events: list[Mapping[str, Any]]) -> None:
        body = dump_bytes({"time_ms": int(self._wall() * 1000), "events": events})
        signature = hmac_hex(target.app.secret, body).encode("ascii")
        headers = {**target.headers, b"X-Pusher-Signature": signature}
        names = ", ".join(event["name"] for event in events)
        give_up_at = self._reactor.seconds() + GIVE_UP_AFTER
        attempt = 0
        while True:
            problem = await self._attempt(target.url, body, headers)
            if problem is None:
                self._tell("webhook", target, names)
                return
            delay = self._backoff(attempt)
            attempt += 1
            if self._reactor.seconds() + delay > give_up_at:
                self._tell("webhook_failed", target, f"{names}: given up: {problem}")
                return
            self._tell("webhook_failed", target, f"{names}: {problem}; trying again")
            await deferLater(self._reactor, delay)

    def _tell(self, kind: str, target: _Target, text: str) -> None:
        self._report(Activity(kind, target.app.id, detail=f"{target.place}: {text}"))

    async def _attempt(
        self, url: str, body: bytes, headers: Mapping[bytes, bytes]
    ) -> str | None:
        """Send it once: None where it was taken, else what is wrong."""
        started = self._reactor.seconds()
        try:
            posting = self._poster.post(url, body, headers)
            status = await posting.addTimeout(REQUEST_TIMEOUT, self._reactor)
        except Exception as error:
            if self._stopped:
                # An aborted request fails in ways of its own.
                raise CancelledError from None
            if self._reactor.seconds() - started >= REQUEST_TIMEOUT:
                return f"no reply within {REQUEST_TIMEOUT:g} seconds"
            return type(error).__name__
        return None if 200 <= status < 300 else f"status {status}"
