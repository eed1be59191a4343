# -*- test-case-name: tests.integration.test_console -*-
"""
The console over HTTP: the page and its files, a stream of what happens, questions, actions.

What the guard refuses is answered with 403.  Nothing that clients have sent is ever part of the
page: it goes out as JSON, and the page shows it as text.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

import attrs
from twisted.internet.address import UNIXAddress
from twisted.web.server import NOT_DONE_YET

from txpusher.server import _limits as limits
from txpusher.server._console.desk import Desk, RefusedError
from txpusher.server._console.feed import Feed
from txpusher.server._console.guard import Asker, Guard
from txpusher.server._console.stream import Stream
from txpusher.server._core.endpoints import below
from txpusher.server._core.json import dump_bytes, load_object

#: The files of the page, by path.
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/console/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/console/console.css": ("console.css", "text/css; charset=utf-8"),
    "/console/icon.svg": ("icon.svg", "image/svg+xml"),
}
#: Scripts, styles and connections of the page's own origin, and nothing else; no frames around
#: it; no text that becomes markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: What proxies add to a request that they pass on for another client.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@attrs.frozen
class _Answer:
    """An answer: bytes, their type, and what other headers there are."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)


_Action = Callable[[dict[str, Any]], Any]


class Console:
    """
    Answers the requests for the console.

    :param feed: The newest of what has happened.
    :param desk: Answers questions about the server, and acts on it.
    :param guard: Decides who may use the console.
    :param reactor: Keeps the time.
    :param refused: Called with a sentence where a request is refused.
    :param path_prefix: The path that may stand before every path, empty or ``"/..."``.
    """

    def __init__(
        self,
        feed: Feed,
        desk: Desk,
        guard: Guard,
        reactor: Any,
        refused: Callable[[str], None],
        path_prefix: str = "",
    ) -> None:
        self._prefix = path_prefix
        self._feed = feed
        self._desk = desk
        self._guard = guard
        self._reactor = reactor
        self._refused = refused
        self._streams: dict[Stream, Any] = {}
        folder = files("txpusher.server._console")
        self._files = {
            path: _Answer(folder.joinpath(name).read_bytes(), content_type)
            for path, (name, content_type) in _FILES.items()
        }
        # By the path: what may be asked there, and what may be done.
        self._questions: dict[str, Callable[[dict[str, str]], Any]] = {
            "/console/events": self._events,
            "/console/state": self._state,
            "/console/channels": self._channels,
            "/console/connections": self._connections,
            "/console/webhooks": self._webhooks,
        }
        self._commands: dict[str, tuple[str, _Action]] = {
            "/console/events": ("DELETE", self._clear),
            "/console/publish": ("POST", desk.publish),
            "/console/client-event": ("POST", desk.send_client_event),
            "/console/terminate": ("POST", desk.terminate),
            "/console/webhooks/repeat": ("POST", desk.repeat),
        }

    def owns(self, path: str) -> bool:
        """Return whether a path, as it was sent, is the console's to answer."""
        path = below(self._prefix, path)
        return path == "/" or path == "/console" or path.startswith("/console/")

    def render(self, request: Any, path: str, query: str) -> bytes | int:
        """
        Answer a request, as a resource of twisted.web does.

        :param path: The path as it was sent.
        :param query: The query as it was sent.
        """
        is_prefix = bool(self._prefix) and path == self._prefix
        path = below(self._prefix, path)
        method = request.method.decode("ascii")
        try:
            refusal = self._guard.refusal(_asker(request, path, method))
            if refusal is not None:
                raise RefusedError(403, refusal)
            if is_prefix:
                # The page names its files relative to itself.
                return self._redirect(request, f"{self._prefix.rpartition('/')[2]}/")
            if path in ("/console", "/console/"):
                return self._redirect(request, "." if path == "/console" else "..")
            if path == "/console/stream" and method == "GET":
                return self._stream(request, _params(query, {"run", "since"}))
            answer = self._answer(request, method, path, query)
        except RefusedError as error:
            self._refused(f"{method} {path}: {error.status} {error}")
            answer = _Answer(dump_bytes({"error": str(error)}), status=error.status)
        _write_head(request, answer)
        return b"" if method == "HEAD" else answer.body

    def _redirect(self, request: Any, location: str) -> bytes:
        _write_head(request, _Answer(b"", status=302, headers={"Location": location}))
        return b""

    def tick(self) -> None:
        """Keep the streams alive; to be called now and then."""
        for stream in list(self._streams):
            stream.keep_alive()

    def stop(self) -> None:
        """End every stream."""
        for stream, request in list(self._streams.items()):
            stream.stop()
            request.finish()

    def _answer(self, request: Any, method: str, path: str, query: str) -> _Answer:
        found = self._files.get(path)
        question = self._questions.get(path)
        action_method, action = self._commands.get(path, (None, None))
        if method in ("GET", "HEAD") and found is not None:
            return found
        if method in ("GET", "HEAD") and question is not None:
            names = {"/console/events": {"channel", "event", "kind", "since"}}
            params = _params(query, names.get(path, {"app", "text"}))
            return _Answer(dump_bytes(question(params)))
        if method == action_method and action is not None:
            fields = {} if method == "DELETE" else _fields(request)
            return _Answer(dump_bytes(action(fields)))
        if found is None and question is None and action is None and path != "/console/stream":
            raise RefusedError(404, "the console has no such path")
        raise RefusedError(405, f"{method} is not for this path")

    # Questions

    def _events(self, params: dict[str, str]) -> Any:
        entries = self._feed.after(_number("since", params.get("since", "0")))
        wanted = {name: params[name] for name in ("channel", "event", "kind") if name in params}
        return [
            entry.fields()
            for entry in entries
            if all(getattr(entry.activity, name) == text for name, text in wanted.items())
        ]

    def _state(self, params: dict[str, str]) -> Any:
        return {"run": self._feed.run, "apps": self._desk.apps(), **self._desk.counts()}

    def _channels(self, params: dict[str, str]) -> Any:
        return self._desk.channels(params.get("app"), params.get("text", ""))

    def _connections(self, params: dict[str, str]) -> Any:
        return self._desk.connections(params.get("app"), params.get("text", ""))

    def _webhooks(self, params: dict[str, str]) -> Any:
        return self._desk.deliveries()

    def _clear(self, fields: dict[str, Any]) -> Any:
        self._feed.clear()
        return {}

    # The stream

    def _stream(self, request: Any, params: dict[str, str]) -> int:
        if len(self._streams) >= limits.CONSOLE_STREAMS:
            raise RefusedError(503, f"{limits.CONSOLE_STREAMS} pages look on already")
        since = _number("since", params.get("since", "0"))
        position = since if params.get("run") == self._feed.run else 0
        _write_head(request, _Answer(b"", "text/event-stream; charset=utf-8"))
        # nginx would gather the answer before it passes any of it on.
        request.setHeader("X-Accel-Buffering", "no")
        stream = Stream(request, self._feed, self._reactor, self._desk.counts, position)
        self._streams[stream] = request

        def ended(result: Any) -> None:
            stream.stop()
            del self._streams[stream]

        request.notifyFinish().addBoth(ended)
        stream.start()
        return NOT_DONE_YET


def _asker(request: Any, path: str, method: str) -> Asker:
    def values(name: str) -> tuple[str, ...]:
        found = request.requestHeaders.getRawHeaders(name.encode("ascii")) or []
        return tuple(value.decode("latin-1") for value in found)

    client, host = request.getClientAddress(), request.getHost()
    navigates = (
        path == "/"
        and method == "GET"
        and values("sec-fetch-mode") == ("navigate",)
        and values("sec-fetch-dest") == ("document",)
    )
    return Asker(
        values("host"),
        values("origin"),
        ", ".join(values("sec-fetch-site")) or None,
        navigates,
        None if isinstance(client, UNIXAddress) else getattr(client, "host", ""),
        getattr(host, "port", None),
        any(values(name) for name in _FORWARDED),
    )


def _write_head(request: Any, answer: _Answer) -> None:
    request.setResponseCode(answer.status, HTTPStatus(answer.status).phrase.encode("ascii"))
    headers = {"Content-Type": answer.content_type, **_HEADERS, **answer.headers}
    for name, value in headers.items():
        request.setHeader(name, value)


def _params(query: str, allowed: set[str]) -> dict[str, str]:
    try:
        params = dict(
            parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=20)
        )
    except ValueError:
        raise RefusedError(400, "the query must be some parameters, percent-escaped") from None
    unknown = sorted(params.keys() - allowed)
    if unknown:
        # A filter that is misspelt would otherwise look like one that finds everything.
        raise RefusedError(
            400, f"the query may have {', '.join(sorted(allowed))}, not {unknown[0][:50]!r}"
        )
    return params


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise RefusedError(400, f"{name} must be the id of an entry")
    return int(text)


def _fields(request: Any) -> dict[str, Any]:
    # A form of another page could not send this type without asking first.
    if request.content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise RefusedError(415, "the body must be application/json")
    try:
        return load_object(request.content.read())
    except ValueError as error:
        raise RefusedError(400, f"the body must be a JSON object: {error}") from None
