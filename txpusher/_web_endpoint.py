# -*- test-case-name: tests.integration.test_web -*-
"""
The HTTP of the resources in :mod:`txpusher.web`: bounds, origins, bodies and answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Any, cast
from urllib.parse import parse_qsl

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from txpusher._text import short_repr, with_type
from txpusher.client import Pusher
from txpusher.errors import ConfigurationError

#: How many fields of a form are read.
_MAX_FIELDS = 100
#: How long a browser may remember the answer to a preflight, in seconds.
_PREFLIGHT_SECONDS = 600

#: An origin as browsers write it.  Source: the HTML standard, "Origin" ("serialization of an
#: origin"), and the URL standard: of a web page, the host in lower case and ASCII, and a port
#: that is not the default; of an extension, the host as it is.
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(?P<port>:[1-9][0-9]{0,4})?"
    # Printable ASCII but / ? # @ , *
    r"|(?!https?:)[a-z][a-z0-9+.-]*://[!\"$-)+.0->A-~-]+"
).fullmatch
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1000}").fullmatch

_log = Logger(namespace="txpusher")


class RefusalError(Exception):
    """The request is answered with an error: its status, and what the client may know."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AnswerState(Enum):
    """The state of the answer to one request."""

    #: The client waits for the answer.
    DUE = auto()
    #: The answer has been written.
    WRITTEN = auto()
    #: The client has gone: there is nobody to write to.
    UNWANTED = auto()


class Answer:
    """The answer to one request, which is written once, unless the client has gone."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self.state = AnswerState.DUE

    def write(self, status: int, value: Mapping[str, Any] | None = None) -> None:
        """Write *value* as JSON, or an answer without a body, and end the request."""
        if self.state is not AnswerState.DUE:
            return
        self.state = AnswerState.WRITTEN
        request = self._request
        request.setResponseCode(status)
        # An answer is good for one connection alone.
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-content-type-options", b"nosniff")
        if value is not None:
            body = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
            request.setHeader(b"content-type", b"application/json")
            request.setHeader(b"content-length", b"%d" % len(body))
            if request.method != b"HEAD":
                request.write(body)
        request.finish()


def _failed(failure: Failure, request: Any, answer: Answer) -> None:
    """Answer a request that was refused, or whose callable has failed."""
    path = request.path.decode("latin-1")
    if failure.check(RefusalError):
        refusal = cast(RefusalError, failure.value)
        _log.info(
            "refused {method} {path}: {status} {reason}",
            method=request.method.decode("latin-1"),
            path=path,
            status=refusal.status,
            reason=str(refusal),
        )
        answer.write(refusal.status, {"error": str(refusal)})
    elif not (failure.check(CancelledError) and answer.state is AnswerState.UNWANTED):
        _log.failure("{path} cannot be answered", failure=failure, path=path)
        answer.write(500, {"error": "the server failed"})


class Endpoint(Resource):
    """
    A leaf that takes POSTs of a bounded size, and answers with JSON.

    :param max_bytes: The largest body, in bytes.
    :param allowed_origins: The origins of pages on other hosts that may use the resource.
    :param gives_up: Whether the application's callable is cancelled where the client goes
        away.
    """

    isLeaf = True  # noqa: N815

    def __init__(
        self,
        pusher: Pusher,
        max_bytes: int,
        allowed_origins: object = (),
        *,
        gives_up: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(pusher, Pusher):
            raise ConfigurationError(f"pusher must be a Pusher, not {with_type(pusher)}")
        self.pusher = pusher
        self._max_bytes = max_bytes
        self._origins = _checked_origins(allowed_origins)
        self._gives_up = gives_up

    def render(self, request: Any) -> int:
        """Answer *request*, now or when the application's callable is done."""
        answer = Answer(request)
        answering = Deferred.fromCoroutine(self._answer(request, answer))
        request.notifyFinish().addErrback(self._client_has_gone, answer, answering)
        answering.addErrback(_failed, request, answer)
        return NOT_DONE_YET

    def _client_has_gone(
        self, failure: Failure, answer: Answer, answering: Deferred[None]
    ) -> None:
        answer.state = AnswerState.UNWANTED
        if self._gives_up:
            answering.cancel()

    async def _answer(self, request: Any, answer: Answer) -> None:
        self._allow_origin(request)
        if request.method == b"OPTIONS" and self._origins:
            _permit_post(request)
            answer.write(204)
            return
        if request.method != b"POST":
            request.setHeader(b"allow", b"POST, OPTIONS" if self._origins else b"POST")
            raise RefusalError(405, "the method must be POST")
        self._check_size(request)
        answer.write(200, await self._respond(request))

    async def _respond(self, request: Any) -> Mapping[str, Any]:
        """Return what a request is answered with; raise a RefusalError to refuse it."""
        raise NotImplementedError

    def _allow_origin(self, request: Any) -> None:
        """
        Tell the browser whether the page may read the answer; refuse a foreign page.

        A page on the host of the resource needs no permission.  Source: the Fetch
        standard, "HTTP extensions" ("CORS protocol").
        """
        if not self._origins:
            return
        # A cache must not give one origin's answer to another.
        request.setHeader(b"vary", b"Origin")
        given = request.getHeader(b"origin")
        if given is None:
            return
        origin = given.decode("latin-1")
        if origin in self._origins:
            request.setHeader(b"access-control-allow-origin", given)
            request.setHeader(b"access-control-allow-credentials", b"true")
        elif origin.partition("://")[2].encode("latin-1") != request.getHeader(b"host"):
            raise RefusalError(403, f"the origin {short_repr(origin)} is not allowed")

    def _check_size(self, request: Any) -> None:
        content = request.content
        size = content.seek(0, 2)
        # Older files return None.
        size = content.tell() if size is None else size
        content.seek(0)
        if size > self._max_bytes:
            raise RefusalError(413, f"the body may have {self._max_bytes} bytes, not {size}")


def _is_origin(text: str) -> bool:
    found = _ORIGIN(text)
    return found is not None and found["port"] != _DEFAULT_PORTS.get(found["scheme"], "")


def _checked_origins(origins: object) -> frozenset[str]:
    """Return *origins*, one or several, as a set."""
    several = [origins] if isinstance(origins, str) else origins
    if not isinstance(several, Iterable) or isinstance(several, (bytes, Mapping)):
        raise ConfigurationError(
            f"allowed_origins must be one origin or several, not {with_type(origins)}"
        )
    checked = set()
    for origin in several:
        if not isinstance(origin, str) or not _is_origin(origin):
            raise ConfigurationError(
                "allowed_origins must hold origins as browsers send them, such as "
                "https://example.com: in lower case and ASCII, without a path, a wildcard "
                f"or the default port, not {with_type(origin)}"
            )
        checked.add(str.__str__(origin))
    return frozenset(checked)


def _permit_post(request: Any) -> None:
    """Tell a browser that the page may send its POST, with the headers that it asks for."""
    request.setHeader(b"vary", b"Origin, Access-Control-Request-Headers")
    request.setHeader(b"access-control-allow-methods", b"POST")
    wanted = request.getHeader(b"access-control-request-headers")
    if wanted is not None and _HEADER_NAMES(wanted):
        request.setHeader(b"access-control-allow-headers", wanted)
    request.setHeader(b"access-control-max-age", b"%d" % _PREFLIGHT_SECONDS)


def read_fields(request: Any) -> Mapping[str, Any]:
    """Return the fields of a body, which is a form or a JSON object."""
    media_type = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
    body = request.content.read()
    try:
        if media_type == b"application/x-www-form-urlencoded":
            return _form(body.decode("utf-8"))
        if media_type == b"application/json":
            value = json.loads(body)
            if isinstance(value, dict):
                return value
            raise ValueError("it is not an object")
    except (ValueError, RecursionError) as error:
        # UnicodeDecodeError quotes nothing of the body but a byte.
        raise RefusalError(400, f"the body is malformed: {type(error).__name__}") from None
    raise RefusalError(
        400,
        "the body must be application/x-www-form-urlencoded or application/json, "
        f"not {short_repr(media_type.decode('latin-1'))}",
    )


def _form(text: str) -> Mapping[str, Any]:
    fields: dict[str, str] = {}
    for name, value in parse_qsl(
        text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
    ):
        if name in fields and name in ("socket_id", "channel_name"):
            # Two readers of the form could take different ones.
            raise ValueError("a field is given twice")
        fields[name] = value
    return fields
