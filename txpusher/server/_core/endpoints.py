"""
The endpoints of the HTTP API as plain values: a call in, a reply and outputs out.

No I/O and no clock.  Source: "HTTP API reference" in the Pusher Channels
documentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import attrs

from txpusher._protocol.names import check_target, check_user_id
from txpusher.errors import InvalidRequestError
from txpusher.server._core.auth import NotAuthenticError, authenticate
from txpusher.server._core.cache import REPLY_LIFETIME, Expiring
from txpusher.server._core.channels import is_cache, is_presence, is_user_channel
from txpusher.server._core.connection import AppState
from txpusher.server._core.events import (
    RefusedError,
    Trigger,
    json_body,
    parse_batch,
    parse_event,
    parse_info,
)
from txpusher.server._core.hub import Hub
from txpusher.server._core.outputs import Activity, Output

#: The most characters of an idempotency key.
MAX_IDEMPOTENCY_KEY = 255
_MAX_PARAMS = 100


@attrs.frozen
class Call:
    """
    A request as it came.

    :ivar path: The path as it was sent, escapes included.
    :ivar query: The query as it was sent.
    :ivar now: The hub's clock.
    :ivar wall: Seconds since the epoch.
    """

    method: str
    path: str
    query: str
    body: bytes
    now: float
    wall: float
    idempotency_key: str | None = None


@attrs.frozen
class Reply:
    """What is answered."""

    status: int
    body: bytes
    allow: str | None = None

    def __len__(self) -> int:
        return len(self.body)

    @property
    def content_type(self) -> bytes:
        """JSON where all went well, else plain text, as the hosted service has it."""
        return b"application/json" if self.status == 200 else b"text/plain; charset=utf-8"


@attrs.frozen
class _Ask:
    """An authentic call: whose, the path below the app's, the parameters."""

    state: AppState
    path: list[str]
    params: Mapping[str, str]
    call: Call
    out: list[Output]


Endpoint = Callable[[_Ask], Any]


class Endpoints:
    """All endpoints of all apps of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._replies: Expiring[Reply] = Expiring(REPLY_LIFETIME)
        # By the path below the app's, None standing for any one segment.
        self._routes: dict[tuple[str | None, ...], tuple[str, Endpoint]] = {
            ("events",): ("POST", self._events),
            ("batch_events",): ("POST", self._batch_events),
            ("channels",): ("GET", self._channels),
            ("channels", None): ("GET", self._channel),
            ("channels", None, "users"): ("GET", self._channel_users),
            ("users", None, "terminate_connections"): ("POST", self._terminate),
        }

    def answer(self, call: Call) -> tuple[Reply, list[Output]]:
        """The reply to *call*, and what is to be done before it is sent."""
        out: list[Output] = []
        try:
            reply = self._answer(call, out)
        except RefusedError as refused:
            reply = _plain(refused.status, str(refused))
        except NotAuthenticError as failed:
            reply = _plain(401, str(failed))
        except InvalidRequestError as error:
            reply = _plain(400, str(error))
        return reply, out if reply.status == 200 else [self._refused(call, reply)]

    def _refused(self, call: Call, reply: Reply) -> Activity:
        # What is wrong may be the path: it names an app all the same.
        parts = [unquote(part) for part in call.path.split("/")[:3]]
        state = self._hub.app(parts[2]) if parts[:2] == ["", "apps"] and parts[2:] else None
        first_line = reply.body.decode("utf-8").partition("\n")[0]
        return Activity(
            "refused",
            "" if state is None else state.app.id,
            detail=f"{call.method} {call.path}: {reply.status} {first_line}",
        )

    def _answer(self, call: Call, out: list[Output]) -> Reply:
        app_id, segments = _split(call.path)
        found = self._find(segments)
        if found is None:
            raise RefusedError(404, "there is no such path")
        method, endpoint = found
        if call.method != method:
            return attrs.evolve(_plain(405, f"this path takes {method} alone"), allow=method)
        state = self._hub.app(app_id)
        if state is None:
            raise RefusedError(404, "there is no app with this id on this server")
        params = _params(call.query)
        authenticate(state.app, call.method, call.path, params, call.body, call.wall)
        if not state.app.enabled:
            raise RefusedError(403, "the app is disabled")
        key = self._idempotency_key(state, call)
        if key is not None:
            first = self._replies.get(key, call.now)
            if first is not None:
                return first
        value = endpoint(_Ask(state, segments, params, call, out))
        # Names may hold what UTF-8 cannot express: escaped, all is well.
        body = b"{}" if not value else json.dumps(value, separators=(",", ":")).encode("ascii")
        reply = Reply(200, body)
        if key is not None:
            self._replies.set(key, reply, call.now)
        return reply

    def _find(self, segments: list[str]) -> tuple[str, Endpoint] | None:
        shape = tuple(None if at == 1 else segment for at, segment in enumerate(segments))
        return self._routes.get(shape)

    def _idempotency_key(self, state: AppState, call: Call) -> str | None:
        key = call.idempotency_key
        if key is None or call.method != "POST":
            return None
        if not 0 < len(key) <= MAX_IDEMPOTENCY_KEY:
            raise RefusedError(
                400, f"X-Idempotency-Key must be 1 to {MAX_IDEMPOTENCY_KEY} characters"
            )
        # No app's id has a space.
        return f"{state.app.id} {key}"

    # Events

    def _events(self, ask: _Ask) -> Any:
        trigger = parse_event(json_body(ask.call.body))
        ask.out.extend(self._hub.publish(ask.state, [trigger.publication], ask.call.now))
        if not trigger.info:
            return {}
        channels = trigger.publication.channels
        return {
            "channels": {name: _attributes(ask.state, name, trigger.info) for name in channels}
        }

    def _batch_events(self, ask: _Ask) -> Any:
        batch = parse_batch(json_body(ask.call.body))
        ask.out.extend(
            self._hub.publish(ask.state, [one.publication for one in batch], ask.call.now)
        )
        if not any(one.info for one in batch):
            return {}
        return {"batch": [_batch_info(ask.state, one) for one in batch]}

    # Channels

    def _channels(self, ask: _Ask) -> Any:
        info = parse_info(
            ask.params.get("info"), frozenset({"user_count", "subscription_count"})
        )
        prefix = ask.params.get("filter_by_prefix", "")
        if "user_count" in info and not is_presence(prefix):
            raise RefusedError(
                400, "user_count needs a filter_by_prefix that begins with presence-"
            )
        return {
            "channels": {
                name: _attributes(ask.state, name, info)
                for name in ask.state.channels
                if name.startswith(prefix) and not is_user_channel(name)
            }
        }

    def _channel(self, ask: _Ask) -> Any:
        name = check_target(ask.path[1])
        info = parse_info(
            ask.params.get("info"),
            frozenset({"user_count", "subscription_count", "cache"}),
            [name],
        )
        if "cache" in info and not is_cache(name):
            raise RefusedError(400, "cache is an attribute of cache channels alone")
        value = {"occupied": name in ask.state.channels, **_attributes(ask.state, name, info)}
        cached = ask.state.cache.get(name, ask.call.now) if "cache" in info else None
        if cached is not None:
            remaining = int(ask.state.cache.remaining(name, ask.call.now))
            value["cache"] = {"data": cached.data, "ttl": remaining}
        return value

    def _channel_users(self, ask: _Ask) -> Any:
        name = check_target(ask.path[1])
        if not is_presence(name):
            raise RefusedError(400, "only presence channels have users")
        channel = ask.state.channels.get(name)
        ids = [] if channel is None or channel.members is None else channel.members.ids()
        return {"users": [{"id": user_id} for user_id in ids]}

    # Users

    def _terminate(self, ask: _Ask) -> Any:
        ask.out.extend(self._hub.terminate(ask.state, check_user_id(ask.path[1])))
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


def _batch_info(state: AppState, trigger: Trigger) -> dict[str, Any]:
    return _attributes(state, trigger.publication.channels[0], trigger.info)


def _plain(status: int, text: str) -> Reply:
    return Reply(status, f"{text}\n".encode("utf-8", "replace"))


def _split(path: str) -> tuple[str, list[str]]:
    """The app's id and the segments after it, unescaped."""
    parts = path.split("/")
    try:
        parts = [unquote(part, errors="strict") for part in parts]
    except UnicodeDecodeError:
        raise RefusedError(400, "the path must be UTF-8, percent-escaped") from None
    if len(parts) < 4 or parts[:2] != ["", "apps"]:
        raise RefusedError(404, "there is no such path")
    return parts[2], parts[3:]


def _params(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMS
        )
    except ValueError:
        raise RefusedError(
            400, f"the query must be up to {_MAX_PARAMS} parameters in UTF-8, percent-escaped"
        ) from None
    return {name.lower(): value for name, value in pairs}
