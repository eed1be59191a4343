# -*- test-case-name: tests.integration.test_cli_listen -*-
"""
Requests that are handed on to another URL just as they came.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.web.client import Agent
from twisted.web.http_headers import Headers

from txpusher._http.agents import NoCookies
from txpusher._http.failures import innermost, meaning_of
from txpusher.errors import ConfigurationError, HTTPError

#: Headers that belong to one connection, or that the client sets itself.
_LEFT_OUT = frozenset(
    {b"host", b"connection", b"content-length", b"transfer-encoding", b"accept-encoding"}
)


class Forwarder:
    """
    Sends requests to one URL.

    :param url: Where to; user and password in it go into a header.
    :param timeout: Seconds for each request, the reply included.
    :raises ConfigurationError: *url* is no URL.  The message does not quote it: it may hold a
        password.
    """

    def __init__(self, url: str, reactor: Any, timeout: float) -> None:
        try:
            parts = urlsplit(url)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname)
            fits = fits and url.isascii() and url.isprintable() and parts.port != 0
        except ValueError:
            fits = False
        if not fits or " " in url:
            raise ConfigurationError(
                "--forward-to must be a URL such as http://127.0.0.1:8000/webhook"
            )
        credentials, _, netloc = parts.netloc.rpartition("@")
        self._url = urlunsplit(parts._replace(netloc=netloc, fragment=""))
        #: The URL as it may be shown.
        self.place = f"{parts.scheme}://{netloc}{parts.path}"
        self._authorization = b"Basic " + b64encode(unquote(credentials).encode("utf-8"))
        self._has_credentials = bool(credentials)
        self._reactor = reactor
        self._timeout = timeout

    async def post(self, headers: Iterable[tuple[bytes, list[bytes]]], body: bytes) -> int:
        """
        Post *body*, and return the status of the reply.

        :param headers: Names and values; those of a connection are left out.
        :raises HTTPError: There is no reply.
        """
        kept = Headers({name: values for name, values in headers if _is_kept(name)})
        if self._has_credentials:
            kept.setRawHeaders(b"Authorization", [self._authorization])
        client = HTTPClient(
            Agent(self._reactor, connectTimeout=self._timeout), cast(Any, NoCookies())
        )
        sending = Deferred.fromCoroutine(self._send(client, kept, body))

        def late(result: object, seconds: float) -> None:
            raise HTTPError(f"no reply within {seconds:g} seconds")

        try:
            return await sending.addTimeout(self._timeout, self._reactor, cast(Any, late))
        except HTTPError:
            raise
        except Exception as error:
            reason = innermost(error)
            raise HTTPError(meaning_of(reason).text(reason), original_error=reason) from error

    async def _send(self, client: HTTPClient, headers: Headers, body: bytes) -> int:
        response = await client.post(
            self._url, data=body, headers=headers, allow_redirects=False
        )
        await response.content()
        return int(response.code)


def _is_kept(name: bytes) -> bool:
    return name.lower() not in _LEFT_OUT
