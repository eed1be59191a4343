"""
:class:`HTTPAuthorizer`: asks an application's endpoint for signatures, as a browser would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast, overload
from urllib.parse import urlencode, urlsplit

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from twisted.web.http import PotentialDataLoss

from txpusher._protocol.subscribing import redact_signatures
from txpusher.errors import ConfigurationError, SubscriptionError

if TYPE_CHECKING:
    from txpusher._interfaces import AnyHTTPClient

#: Seconds for one answer, from the look-up of the name to the last byte.
TIMEOUT = 10.0
#: The most bytes of one answer.
MAX_ANSWER = 65536

_QUOTED = 200


class HTTPAuthorizer:
    """
    An authorizer, or user_authorizer, that posts to an endpoint, as pusher-js does.

    It sends the form fields ``socket_id`` and ``channel_name``, of a sign-in ``socket_id``
    alone, and takes the JSON of a 200.  Anything else refuses the subscription: the
    :class:`~txpusher.SubscriptionError` has the endpoint's status and the beginning of its
    answer.  Source: "Authorizing users", "User authentication".

    :param url: The endpoint, such as ``https://example.com/pusher/auth``.
    :param headers: Headers to send, for cookies or tokens.
    :param http_client: A treq client.  Without one, each request has a connection of its own,
        which is closed after it.
    :raises ConfigurationError: *url* is not the URL of an endpoint.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        http_client: AnyHTTPClient | None = None,
    ) -> None:
        if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
            raise ConfigurationError(
                "url of HTTPAuthorizer must begin with http:// or https://"
            )
        self._url = url
        self._headers = {
            **(headers or {}),
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        self._http_client = http_client

    def __repr__(self) -> str:
        return f"<HTTPAuthorizer {urlsplit(self._url).hostname}>"

    @overload
    def __call__(self, channel: str, socket_id: str, /) -> Deferred[dict[str, Any]]: ...

    @overload
    def __call__(
        self, socket_id: str, user_data: Mapping[str, Any], /
    ) -> Deferred[dict[str, Any]]: ...

    def __call__(
        self, first: str, second: str | Mapping[str, Any], /
    ) -> Deferred[dict[str, Any]]:
        """
        Ask for one signature.

        :return: A Deferred that fires with the endpoint's answer; it fails with a
            SubscriptionError.
        """
        if isinstance(second, str):
            return self._asked({"socket_id": second, "channel_name": first}, first)
        return self._asked({"socket_id": first}, None)

    def _asked(self, fields: dict[str, str], channel: str | None) -> Deferred[dict[str, Any]]:
        from twisted.internet import reactor

        def too_late(result: object, seconds: float) -> Failure:
            # A cancelled request fails in one of several ways.
            return Failure(
                _refusal(channel, None, f"the endpoint did not answer within {seconds:g} s")
            )

        asked = Deferred.fromCoroutine(self._ask(fields, channel))
        return asked.addTimeout(TIMEOUT, cast(Any, reactor), cast(Any, too_late))

    async def _ask(self, fields: dict[str, str], channel: str | None) -> dict[str, Any]:
        response = await maybeDeferred(
            self._client().request,
            "POST",
            self._url,
            headers=self._headers,
            data=urlencode(fields).encode("ascii"),
            allow_redirects=False,
            unbuffered=True,
        )
        body = _Body()
        response.deliverBody(body)
        text = (await body.whole).decode("utf-8", "replace")
        if response.code != 200:
            quoted = " ".join(redact_signatures(text[:_QUOTED]).split())
            raise _refusal(channel, response.code, quoted or "an empty answer")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise _refusal(channel, 200, "the endpoint's answer is not a JSON object")
        return answer

    def _client(self) -> Any:
        if self._http_client is None:
            from treq.client import HTTPClient
            from twisted.internet import reactor

            # An Agent without a pool keeps no connection.
            self._http_client = HTTPClient(Agent(cast(Any, reactor)))
        return self._http_client


class _Body(Protocol):
    """
    Reads the body of a response.

    :ivar whole: Fires with all bytes of it.
    """

    def __init__(self) -> None:
        self._received = bytearray()
        self.whole: Deferred[bytes] = Deferred(lambda _: self._stop())

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > MAX_ANSWER:
            self._stop()

    def _stop(self) -> None:
        cast(Any, self.transport).stopProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if len(self._received) > MAX_ANSWER:
            error = SubscriptionError(f"the endpoint's answer is over {MAX_ANSWER} bytes")
            self.whole.errback(error)
        elif reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._received))
        else:
            self.whole.errback(reason)


def _refusal(channel: str | None, status: int | None, reason: str) -> SubscriptionError:
    what = "the sign-in" if channel is None else f"the subscription to {channel!r}"
    code = "" if status is None else f" with {status}"
    return SubscriptionError(
        f"{what} was refused{code}: {reason}", channel=channel, status=status, reason=reason
    )
