"""
:class:`FakeTransport`: answers requests as a server that nobody is connected to.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from txpusher._api import Api
from txpusher._http.stats import Attempt, Stats
from txpusher._protocol.names import (
    check_event_name,
    check_socket_id,
    check_target,
    is_cache,
    is_presence,
)
from txpusher._reply import ApiReply
from txpusher._request import ApiRequest
from txpusher._text import short_repr
from txpusher.errors import InvalidRequestError, PusherError

if TYPE_CHECKING:
    from txpusher._http.transport import Transport
    from txpusher._interfaces import OnAttempt

_log = Logger(namespace="txpusher")

#: Seconds for which the hosted service keeps the event of a cache channel.
_CACHE_SECONDS = 1800


@attrs.frozen
class SentEvent:
    """
    An event that a :class:`FakePusher` was given and has accepted.

    :ivar channel: The channel's name.  An event to several channels is recorded once for
        each channel; an event to a user has the channel ``#server-to-user-<id>``.
    :ivar name: The event's name.
    :ivar data: A copy of the data as it was given, before encoding and encryption.
    :ivar socket_id: The connection that the event is not sent to, None for none.
    """

    channel: str
    name: str
    data: Any
    socket_id: str | None = None


class FakeTransport:
    """
    Answers requests in the place of a :class:`~txpusher._http.transport.Transport`.

    :ivar failures: The errors of the next operations.
    :ivar record: Called with each event that is accepted.
    """

    def __init__(self, real: Transport, api: Api, on_attempt: OnAttempt | None) -> None:
        self.config = real.config
        self.failures: deque[BaseException] = deque()
        self.record: Callable[[SentEvent], None]
        # It has never sent anything: it knows what a closed client says, and how to close.
        self._real = real
        self._api = api
        self._on_attempt = on_attempt
        self._closed = False
        self._cached: dict[str, str] = {}
        self._infos: dict[object, dict[str, Any]] = {}
        self._succeeded = self._failed = 0

    @property
    def reactor(self) -> Any:
        """The reactor that was given, else the running one, which is imported now."""
        return self._real.reactor

    def send(self, request: ApiRequest) -> Deferred[dict[str, Any]]:
        """Return a Deferred that has fired with the reply or the error."""
        if self._closed:
            self._failed += 1
            return self._real.send(request)
        if self.failures:
            return self._fail(request, None, self.failures.popleft())
        try:
            status, body = 200, self._answer_in_json(request)
        except _RefusedError as refused:
            status, body = refused.status, str(refused)
        try:
            reply = self._api.decode(request, ApiReply(status, body.encode()))
        except PusherError as error:
            return self._fail(request, status, error)
        self._succeeded += 1
        self._report(request, status, None)
        return succeed(reply)

    send_unbounded = send

    def close(self, timeout: float | None = None) -> Deferred[None]:
        """Refuse what comes from now on."""
        return self._real.close(timeout).addCallback(self._close)

    def _close(self, result: None) -> None:
        self._closed = True

    def stats(self) -> Stats:
        """Return the totals; nothing is ever pending."""
        return Stats(
            pending=0,
            in_flight=0,
            open_connections=0,
            sent=self._succeeded + self._failed,
            succeeded=self._succeeded,
            failed=self._failed,
            retried=0,
        )

    def _fail(
        self, request: ApiRequest, status: int | None, error: BaseException
    ) -> Deferred[dict[str, Any]]:
        self._failed += 1
        self._report(request, status, error)
        return fail(error)

    def _report(
        self, request: ApiRequest, status: int | None, error: BaseException | None
    ) -> None:
        if self._on_attempt is None:
            return
        failure = error if isinstance(error, PusherError) else None
        try:
            self._on_attempt(Attempt(request.method, request.path, 1, status, failure, 0.0))
        except Exception:
            _log.failure("on_attempt failed")

    # The server that nobody is connected to

    def _answer_in_json(self, request: ApiRequest) -> str:
        path = request.path.removeprefix(self.config.app_path)
        segments = [unquote(segment) for segment in path.split("/")[1:]]
        return json.dumps(self._answer(request, segments))

    def _answer(self, request: ApiRequest, segments: list[str]) -> dict[str, Any]:
        match segments:
            case ["events"]:
                _check_method(request, "POST")
                return self._accept_event(request)
            case ["batch_events"]:
                _check_method(request, "POST")
                return self._accept_batch(request)
            case ["channels"]:
                _check_method(request, "GET")
                prefix = request.params.get("filter_by_prefix", "")
                _attributes(request.params.get("info"), prefix)
                return {"channels": {}}
            case ["channels", name]:
                _check_method(request, "GET")
                return self._answer_channel(name, request.params.get("info"))
            case ["channels", name, "users"]:
                _check_method(request, "GET")
                _refuse_unless(is_presence(name), "only presence channels have users")
                return {"users": []}
            case ["users", _, "terminate_connections"]:
                _check_method(request, "POST")
                return {}
        raise _RefusedError(404, "there is no such path")

    def _accept_event(self, request: ApiRequest) -> dict[str, Any]:
        event = _json_object(request)
        names = _checked(event, event.get("channels", [event.get("channel")]))
        info = {name: _attributes(event.get("info"), name) for name in names}
        [data] = getattr(request, "given", ()) or [event["data"]]
        info = self._accept(event, names, data, info, request.idempotency_key)
        return {"channels": info} if any(info.values()) else {}

    def _accept_batch(self, request: ApiRequest) -> dict[str, Any]:
        events = _json_object(request).get("batch")
        _refuse_unless(
            isinstance(events, list) and all(isinstance(event, dict) for event in events),
            "batch must be a list of events",
        )
        events = cast("list[dict[str, Any]]", events)
        keys = [event.get("idempotency_key") for event in events]
        _refuse_unless(
            all(key is None or (isinstance(key, str) and key) for key in keys),
            "an idempotency_key must be a string of at least one character",
        )
        limit = self.config.max_batch_size
        _refuse_unless(0 < len(events) <= limit, f"a batch must have 1 to {limit} events")
        names = [name for event in events for name in _checked(event, [event.get("channel")])]
        info = [
            _attributes(event.get("info"), name)
            for event, name in zip(events, names, strict=True)
        ]
        given = getattr(request, "given", ()) or [event["data"] for event in events]
        info = [
            self._accept(event, [name], data, {name: one}, key)[name]
            for event, name, data, one, key in zip(
                events, names, given, info, keys, strict=True
            )
        ]
        return {"batch": info} if any(info) else {}

    def _accept(
        self,
        event: Mapping[str, Any],
        channels: list[str],
        data: Any,
        info: dict[str, Any],
        key: str | None,
    ) -> dict[str, Any]:
        """Accept an event unless it is a copy; return what to answer, to a copy as before."""
        scope = (key, event["name"], *sorted(channels))
        if key is not None and scope in self._infos:
            return self._infos[scope]
        for channel in channels:
            if is_cache(channel):
                self._cached[channel] = event["data"]
            self.record(SentEvent(channel, event["name"], data, event.get("socket_id")))
        if key is not None:
            self._infos[scope] = info
        return info

    def _answer_channel(self, name: str, info: str | None) -> dict[str, Any]:
        value: dict[str, Any] = {"occupied": False}
        if info is not None and "cache" in info.split(","):
            _refuse_unless(is_cache(name), "cache is an attribute of cache channels alone")
            info = ",".join(part for part in info.split(",") if part != "cache")
            if name in self._cached:
                value["cache"] = {"data": self._cached[name], "ttl": _CACHE_SECONDS}
        return {**value, **_attributes(info, name)}


class _RefusedError(Exception):
    """The answer to a request that no server accepts."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _refuse_unless(right: bool, text: str) -> None:
    if not right:
        raise _RefusedError(400, text)


def _check_method(request: ApiRequest, method: str) -> None:
    if request.method != method:
        raise _RefusedError(405, f"this path takes {method} alone")


def _json_object(request: ApiRequest) -> dict[str, Any]:
    try:
        value = json.loads(request.body or b"")
    except ValueError:
        value = None
    _refuse_unless(isinstance(value, dict), "the body must be a JSON object")
    return cast("dict[str, Any]", value)


def _checked(event: Mapping[str, Any], names: object) -> list[str]:
    """Check what a Pusher has checked already, for requests of get, post and request."""
    _refuse_unless(isinstance(names, list) and bool(names), "channels must be a list of names")
    try:
        check_event_name(event.get("name"))
        channels = [check_target(name) for name in cast("list[object]", names)]
        if event.get("socket_id") is not None:
            check_socket_id(event["socket_id"])
    except InvalidRequestError as error:
        raise _RefusedError(400, str(error)) from None
    _refuse_unless(isinstance(event.get("data"), str), "data must be a string")
    return channels


def _attributes(info: str | None, name: str) -> dict[str, int]:
    """Return the attributes of a channel that nobody is subscribed to."""
    wanted = [part for part in (info or "").split(",") if part]
    for part in wanted:
        known = part in ("user_count", "subscription_count")
        _refuse_unless(known, f"there is no attribute {short_repr(part)} here")
        if part == "user_count":
            _refuse_unless(
                is_presence(name), "user_count is an attribute of presence channels alone"
            )
    return dict.fromkeys(wanted, 0)
