"""The table from the reasons of Twisted, TLS and the proxy to the errors of txpusher."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL.SSL import Error as TLSError
from service_identity.exceptions import VerificationError
from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from txpusher import HTTPError, ProxyAuthenticationError, RequestTimeoutError
from txpusher._http.agents import SigningError
from txpusher._http.failures import TABLE, error_for, meaning_of
from txpusher._http.host import ConnectTimeoutError, LookupTimeoutError
from txpusher._http.proxy import TunnelError

NO_CERTIFICATE = TLSError([("SSL routines", "", "certificate verify failed")])

#: A reason, then: class, whether the server may have acted on a POST that was sent,
#: transient, a part of the text.
MEANINGS: list[tuple[BaseException, type, bool, bool, str]] = [
    (error.ConnectionRefusedError(), HTTPError, False, True, "refused"),
    (error.NoRouteError(), HTTPError, False, True, "No route"),
    (error.DNSLookupError("no such name"), HTTPError, False, True, "no such name"),
    (error.TimeoutError(), RequestTimeoutError, False, True, "no connection in time"),
    (error.TCPTimedOutError(), RequestTimeoutError, False, True, "no connection in time"),
    (LookupTimeoutError(string="no name"), RequestTimeoutError, False, True, "no name"),
    (ConnectTimeoutError(string="no TCP"), RequestTimeoutError, False, True, "no TCP"),
    (error.ConnectionDone(), HTTPError, True, True, "closed cleanly"),
    (error.ConnectionLost("reset"), HTTPError, True, True, "reset"),
    (TLSError([]), HTTPError, True, True, "the server ended the handshake"),
    (TLSError([("", "", "wrong version number")]), HTTPError, True, True, "a port for HTTP?"),
    (NO_CERTIFICATE, HTTPError, False, False, "certificate verify failed"),
    (VerificationError(errors=[]), HTTPError, False, False, "not valid for the host name"),
    (TunnelError(503), HTTPError, False, True, "status 503"),
    (TunnelError(403), HTTPError, False, False, "status 403"),
    (TunnelError(429), HTTPError, False, True, "status 429"),
    (SigningError(KeyError("x")), HTTPError, False, False, "could not be signed (KeyError)"),
    (CancelledError(), HTTPError, True, True, "no usable reply (CancelledError)"),
    (ValueError("auth_signature=0"), HTTPError, True, True, "no usable reply (ValueError)"),
]


@pytest.mark.parametrize(
    ("reason", "kind", "maybe", "transient", "text"),
    MEANINGS,
    ids=[f"{type(row[0]).__name__}-{row[4]}" for row in MEANINGS],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_reason_has_its_error(
    reason: Any, kind: type, maybe: bool, transient: bool, text: str, wrapped: bool
) -> None:
    given = reason
    if wrapped:
        given = ResponseFailed([Failure(ResponseNeverReceived([Failure(reason)]))])
    found = error_for(given, "POST", "/apps/3/events", sent=True)
    assert type(found) is kind
    assert isinstance(found, HTTPError)
    assert str(found).startswith("POST /apps/3/events: ")
    assert text in str(found)
    assert "auth_signature" not in str(found)
    assert found.maybe_delivered is maybe
    assert found.transient is transient
    assert found.original_error is getattr(reason, "original", reason)


@pytest.mark.parametrize(("reason", "kind", "maybe", "transient", "text"), MEANINGS)
def test_reason_of_request_that_never_left_is_no_delivery(
    reason: Any, kind: type, maybe: bool, transient: bool, text: str
) -> None:
    assert error_for(reason, "POST", "/p", sent=False).maybe_delivered is False
    assert error_for(reason, "GET", "/p", sent=True).maybe_delivered is False


@pytest.mark.parametrize("status", [401, 407])
def test_proxy_that_refuses_the_user_is_an_authentication_error(status: int) -> None:
    found = error_for(TunnelError(status, body="who?"), "POST", "/p", sent=True)
    assert isinstance(found, ProxyAuthenticationError)
    assert (found.status, found.body, found.path) == (status, "who?", "/p")
    assert found.maybe_delivered is False


def test_timeout_without_words_gets_the_words_of_the_phase() -> None:
    for reason in (error.TimeoutError(), error.TCPTimedOutError()):
        found = error_for(reason, "POST", "/p", sent=False, timed_out="too slow")
        assert str(found) == "POST /p: too slow"
    found = error_for(ConnectTimeoutError(string="x"), "POST", "/p", sent=False, timed_out="y")
    assert str(found) == "POST /p: x"


def test_status_that_was_read_counts() -> None:
    lost = error.ConnectionLost()
    assert error_for(lost, "POST", "/p", sent=True, status=404).maybe_delivered is False
    assert error_for(lost, "POST", "/p", sent=True, status=500).maybe_delivered is True


def test_no_row_hides_a_row_after_it() -> None:
    for place, (kind, _) in enumerate(TABLE):
        assert not any(issubclass(kind, earlier) for earlier, _ in TABLE[:place])
    assert meaning_of(BaseException()) is TABLE[-1][1]
