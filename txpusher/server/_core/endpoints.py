"""
The endpoints of the HTTP API: a call in, a response and outputs out.

Source: "HTTP API reference" in the Pusher Channels documentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, AnyStr
from urllib.parse import parse_qsl, unquote

import attrs

from txpusher._protocol.names import check_target, check_user_id
from txpusher.errors import InvalidRequestError
from txpusher.server import _limits as limits
from txpusher.server._core.cache import ExpiringCache
from txpusher.server._core.hub import Hub
from txpusher.server._core.outputs import Activity, Output
from txpusher.server._core.refusals import Refusal
from txpusher.server._core.requests import (
    HTTPRefusedError,
    Trigger,
    authenticate,
    check_idempotency_key,
    json_body,
    parse_batch,
    parse_event,
    parse_info,
    scope_of_event,
    scope_of_request,
)
from txpusher.server._core.state import AppState, is_cache, is_presence, is_user_channel


@attrs.frozen
class ApiCall:
    """
    A request of the HTTP API, as it came in.

    :ivar path: The path as it was sent, escapes included.
    :ivar query: The query as it was sent.
    :ivar now: The time of the hub's clock, in seconds.
    :ivar unix_time: Seconds since the epoch.
    :ivar headers: Returns the headers, as they may be shown where the call is refused.
    """

    method: str
    path: str
    query: str
    body: bytes
    now: float
    unix_time: float
    idempotency_key: str | None = None
    headers: Callable[[], tuple[tuple[str, str], ...]] | None = None


@attrs.frozen
class Response:
    """
    The answer to a request.

    :ivar headers: What other headers the answer has than the type.
    :ivar delay: Seconds after which the answer is sent.
    :ivar is_dropped: Whether the connection closes in place of the answer.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.field(factory=dict)
    delay: float = 0.0
    is_dropped: bool = False

    @property
    def content_type(self) -> bytes:
        """JSON for a 200, else plain text, as the hosted service has it."""
        return b"application/json" if self.status == 200 else b"text/plain; charset=utf-8"


@attrs.frozen
class _AuthenticCall:
    """
    A call whose signature is right.

    :ivar state: The app that the call is about.
    :ivar path: The segments of the path below the app's, unescaped.
    :ivar params: The parameters of the query.
    :ivar out: Takes the outputs.
    :ivar key: The idempotency key of the request, None where it has none or only reads.
    """

    state: AppState
    path: list[str]
    params: Mapping[str, str]
    request: ApiCall
    out: list[Output]
    key: str | None


#: What the sender of an event has asked to know of its channels.
Info = dict[str, dict[str, Any]]
Endpoint = Callable[[_AuthenticCall], Any]


_NO_UPGRADE = (
    "this path is for WebSockets, and the request asks for none: a proxy between client and "
    "server must speak HTTP/1.1 and pass the headers Upgrade and Connection on"
)


class Endpoints:
    """Answers requests about all apps of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        # What was answered to an event, or to a request, that has an idempotency key.
        self._replies: ExpiringCache[Any] = ExpiringCache(limits.REPLY_LIFETIME)
        # By the path below the app's, None standing for any one segment.
        self._routes: dict[tuple[str | None, ...], tuple[str, Endpoint]] = {
            ("events",): ("POST", self._events),
            ("batch_events",): ("POST", self._once(self._batch_events)),
            ("channels",): ("GET", self._channels),
            ("channels", None): ("GET", self._channel),
            ("channels", None, "users"): ("GET", self._channel_users),
            ("users", None, "terminate_connections"): ("POST", self._once(self._terminate)),
        }

    def answer(self, call: ApiCall) -> tuple[Response, list[Output]]:
        """Return the response to *call*, and the outputs to carry out before it is sent."""
        out: list[Output] = []
        try:
            return self._answer(call, out), out
        except HTTPRefusedError as error:
            refused = error
        except InvalidRequestError as error:
            refused = HTTPRefusedError(Refusal.NAME, str(error))
        body = f"{refused}\n".encode("utf-8", "replace")
        response = Response(refused.refusal.code or 500, body, refused.headers)
        return response, [self._refused(call, response, refused.refusal)]

    def app_id_in(self, path: str) -> str:
        """Return the id of the app that a path names, empty where there is no such app."""
        # What is wrong may be the path: it names an app all the same.
        parts = [unquote(part) for part in path.split("/")[:3]]
        state = self._hub.app(parts[2]) if parts[:2] == ["", "apps"] and parts[2:] else None
        return "" if state is None else state.app.id

    def _refused(self, call: ApiCall, response: Response, refusal: Refusal) -> Activity:
        text = response.body.decode("utf-8").strip()
        first_line = text.partition("\n")[0]
        return Activity(
            "refused",
            self.app_id_in(call.path),
            detail=f"{call.method} {call.path}: {response.status} {first_line}",
            explanation=text,
            headers=None if call.headers is None else call.headers(),
            refusal=refusal.label,
        )

    def _answer(self, call: ApiCall, out: list[Output]) -> Response:
        if call.path in ("/", "/up") and call.method in ("GET", "HEAD"):
            # For whoever waits until the server is there, or checks its health.
            return Response(200, b'{"ok":true}')
        if call.path.startswith("/app/"):
            raise HTTPRefusedError(Refusal.NO_UPGRADE, _NO_UPGRADE, Upgrade="websocket")
        app_id, segments = _split(call.path)
        found = self._find(segments)
        if found is None:
            raise HTTPRefusedError(Refusal.NO_SUCH_PATH, "there is no such path")
        method, endpoint = found
        if call.method != method:
            raise HTTPRefusedError(
                Refusal.WRONG_METHOD, f"this path takes {method} alone", Allow=method
            )
        state = self._hub.app(app_id)
        if state is None:
            raise HTTPRefusedError(
                Refusal.NO_SUCH_APP, "there is no app with this id on this server"
            )
        params = _params(call.query)
        authenticate(state.app, call.method, call.path, params, call.body, call.unix_time)
        if not state.app.enabled:
            raise HTTPRefusedError(Refusal.DISABLED, "the app is disabled")
        key = None
        if method == "GET":
            state.usage.count(1, call.now)
        else:
            key = check_idempotency_key("X-Idempotency-Key", call.idempotency_key)
        value = endpoint(_AuthenticCall(state, segments, params, call, out, key))
        # Names may hold what UTF-8 cannot express: escaped, all is well.
        body = b"{}" if not value else json.dumps(value, separators=(",", ":")).encode("ascii")
        return Response(200, body)

    def _find(self, segments: list[str]) -> tuple[str, Endpoint] | None:
        shape = tuple(None if at == 1 else segment for at, segment in enumerate(segments))
        return self._routes.get(shape)

    def _once(self, endpoint: Endpoint) -> Endpoint:
        """Have *endpoint* act on a request, and on none of its copies."""

        def answer(call: _AuthenticCall) -> Any:
            if call.key is None:
                return endpoint(call)
            scope = scope_of_request(call.state.app, call.key, call.path)
            value = self._replies.get(scope, call.request.now)
            if value is None:
                value = endpoint(call)
                self._remember(scope, value, call.request.now)
            return value

        return answer

    def _remember(self, scope: str, value: Any, now: float) -> None:
        self._replies.set(scope, value, len(str(value)), now)

    # Events

    def _events(self, call: _AuthenticCall) -> Any:
        body = json_body(call.request.body)
        [info] = self._publish_once(call, [parse_event(body, call.state.app.limits, call.key)])
        return {"channels": info} if info else {}

    def _batch_events(self, call: _AuthenticCall) -> Any:
        batch = parse_batch(json_body(call.request.body), call.state.app.limits)
        infos = self._publish_once(call, batch)
        if not any(infos):
            return {}
        # Each event of a batch has one channel.
        return {"batch": [next(iter(info.values()), {}) for info in infos]}

    def _publish(self, call: _AuthenticCall, triggers: Collection[Trigger]) -> list[Info]:
        """Publish events, and return what the sender of each has asked to know."""
        self._count(call, triggers)
        publications = [one.publication for one in triggers]
        call.out.extend(self._hub.publish(call.state, publications, call.request.now))
        return [_info(call.state, one) for one in triggers]

    def _publish_once(self, call: _AuthenticCall, triggers: list[Trigger]) -> list[Info]:
        """Publish events, but no copies; of a copy, return what was told of the first."""
        if not [one for one in triggers if one.idempotency_key is not None]:
            return self._publish(call, triggers)
        app, now = call.state.app, call.request.now
        scopes = [scope_of_event(app, one) or str(n) for n, one in enumerate(triggers)]
        infos: dict[str, Any] = {scope: self._replies.get(scope, now) for scope in scopes}
        fresh: dict[str, Trigger] = {}
        for scope, one in zip(scopes, triggers, strict=True):
            if infos[scope] is None:
                fresh.setdefault(scope, one)
        # What publishes nothing has no quota to keep to.
        published = self._publish(call, fresh.values()) if fresh else []
        for (scope, one), info in zip(fresh.items(), published, strict=True):
            infos[scope] = info
            if one.idempotency_key is not None:
                self._remember(scope, info, now)
        return [infos[scope] for scope in scopes]

    def _count(self, call: _AuthenticCall, triggers: Iterable[Trigger]) -> None:
        """
        Count events, each of its channels, and what is asked about them.

        :raises HTTPRefusedError: The app is over its quota.
        """
        usage, now = call.state.usage, call.request.now
        if not usage.is_limited:
            return
        problem = usage.problem_today(now)
        if problem is not None:
            raise HTTPRefusedError(Refusal.OVER_QUOTA, problem)
        published = sum(len(one.publication.channels) for one in triggers)
        problem = usage.problem_this_second(published, now)
        if problem is not None:
            raise HTTPRefusedError(Refusal.OVER_RATE, problem, Retry_After="1")
        # Each attribute that is asked for counts as a message more ("HTTP API reference").
        asked = sum(len(one.publication.channels) * len(one.info) for one in triggers)
        usage.count(published + asked, now)

    # Channels

    def _channels(self, call: _AuthenticCall) -> Any:
        info = parse_info(
            call.params.get("info"), frozenset({"user_count", "subscription_count"})
        )
        prefix = call.params.get("filter_by_prefix", "")
        if "user_count" in info and not is_presence(prefix):
            raise HTTPRefusedError(
                Refusal.INFO, "user_count needs a filter_by_prefix that begins with presence-"
            )
        return {
            "channels": {
                name: _attributes(call.state, name, info)
                for name in call.state.channels
                if name.startswith(prefix) and not is_user_channel(name)
            }
        }

    def _channel(self, call: _AuthenticCall) -> Any:
        name = check_target(call.path[1])
        info = parse_info(
            call.params.get("info"),
            frozenset({"user_count", "subscription_count", "cache"}),
            [name],
        )
        if "cache" in info and not is_cache(name):
            raise HTTPRefusedError(
                Refusal.INFO, "cache is an attribute of cache channels alone"
            )
        value = {"occupied": name in call.state.channels, **_attributes(call.state, name, info)}
        cached = call.state.cache.get(name, call.request.now) if "cache" in info else None
        if cached is not None:
            remaining = int(call.state.cache.remaining(name, call.request.now))
            value["cache"] = {"data": cached.data, "ttl": remaining}
        return value

    def _channel_users(self, call: _AuthenticCall) -> Any:
        name = check_target(call.path[1])
        if not is_presence(name):
            raise HTTPRefusedError(Refusal.NO_USERS, "only presence channels have users")
        channel = call.state.channels.get(name)
        ids = [] if channel is None or channel.members is None else channel.members.ids()
        return {"users": [{"id": user_id} for user_id in ids]}

    # Users

    def _terminate(self, call: _AuthenticCall) -> Any:
        call.state.usage.count(1, call.request.now)
        call.out.extend(
            self._hub.terminate(call.state, check_user_id(call.path[1]), call.request.now)
        )
        return {}


def _attributes(state: AppState, name: str, info: frozenset[str]) -> dict[str, Any]:
    channel = state.channels.get(name)
    attributes: dict[str, Any] = {}
    if "user_count" in info:
        members = None if channel is None else channel.members
        attributes["user_count"] = 0 if members is None else len(members)
    if "subscription_count" in info:
        attributes["subscription_count"] = 0 if channel is None else len(channel.subscribers)
    return attributes


def _info(state: AppState, trigger: Trigger) -> Info:
    if not trigger.info:
        return {}
    channels = trigger.publication.channels
    return {name: _attributes(state, name, trigger.info) for name in channels}


def below(prefix: AnyStr, path: AnyStr) -> AnyStr:
    """
    Return *path* without *prefix*, be it there or stripped by a proxy.

    :param prefix: Empty, or a path that begins with a slash and does not end with one.
    """
    if not prefix:
        return path
    rest = path[len(prefix) :]
    slash = path[:1]
    if not path.startswith(prefix) or rest[:1] not in (slash, rest[:0]):
        return path
    return rest or slash


def _split(path: str) -> tuple[str, list[str]]:
    """Return the app's id and the segments of the path below the app's, unescaped."""
    parts = path.split("/")
    try:
        parts = [unquote(part, errors="strict") for part in parts]
    except UnicodeDecodeError:
        raise HTTPRefusedError(
            Refusal.UNESCAPED_URL, "the path must be UTF-8, percent-escaped"
        ) from None
    if len(parts) < 4 or parts[:2] != ["", "apps"]:
        raise HTTPRefusedError(Refusal.NO_SUCH_PATH, "there is no such path")
    return parts[2], parts[3:]


def _params(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=limits.QUERY_PARAMETERS,
        )
    except ValueError:
        raise HTTPRefusedError(
            Refusal.UNESCAPED_URL,
            f"the query must be up to {limits.QUERY_PARAMETERS} parameters in UTF-8, "
            "percent-escaped",
        ) from None
    return {name.lower(): value for name, value in pairs}
