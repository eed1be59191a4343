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

from txpusher._protocol.redaction import may_authorize, redact_signatures
from txpusher._urls import check_endpoint_url
from txpusher.errors import SubscriptionError

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
    :class:`~txpusher.SubscriptionError` has the endpoint's status, and the beginning of an
    answer that holds no signature.  Source: "Authorizing users", "User authentication".

    :param url: The endpoint, such as ``https://example.com/pusher/auth``, without a user and
        a password.
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
        self._url = check_endpoint_url("url of HTTPAuthorizer", url)
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
        received = await body.whole
        if len(received) > MAX_ANSWER:
            reason = f"the endpoint's answer is over {MAX_ANSWER} bytes"
            raise _refusal(channel, response.code, reason)
        text = received.decode("utf-8", "replace")
        if response.code != 200:
            raise _refusal(channel, response.code, _quoted(response.code, text))
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

    :ivar whole: Fires with all bytes of it, or with the first ones where it is too long.
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
        too_long = len(self._received) > MAX_ANSWER
        if too_long or reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._received))
        else:
            self.whole.errback(reason)


def _quoted(status: int, text: str) -> str:
    """Return the beginning of an answer that is no 200; a signature in it is for nobody."""
    if 200 <= status < 300:
        return "the endpoint must answer with 200"
    if may_authorize(text):
        return "an answer that may hold a signature, and is not quoted"
    return " ".join(redact_signatures(text).split())[:_QUOTED] or "an empty answer"


def _refusal(channel: str | None, status: int | None, reason: str) -> SubscriptionError:
    what = "the sign-in" if channel is None else f"the subscription to {channel!r}"
    code = "" if status is None else f" with {status}"
    return SubscriptionError(
        f"{what} was refused{code}: {reason}", channel=channel, status=status, reason=reason
    )
