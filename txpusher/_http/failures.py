"""
From the reasons of Twisted, OpenSSL and the proxy to the errors of txpusher: one table.

No I/O: each row is a type of reason and what it means for a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from OpenSSL.SSL import Error as TLSError
from service_identity.exceptions import VerificationError
from twisted.internet import error

from txpusher._http.agents import SigningError
from txpusher._http.host import ConnectTimeoutError, LookupTimeoutError
from txpusher._http.proxy import TunnelError
from txpusher.errors import HTTPError, ProxyAuthenticationError, RequestTimeoutError
from txpusher.retry import may_have_been_delivered

Text = Callable[[Any], str]


@attrs.frozen
class Meaning:
    """
    The meaning of one type of reason.

    :ivar text: Says what went wrong, in one line without a secret.
    :ivar kind: The class of the error.
    :ivar never_sent: Whether the reason proves that nothing of the request has left.
    :ivar transient: Says whether another attempt may fare better.
    """

    text: Text
    kind: type[HTTPError] = HTTPError
    never_sent: bool = False
    transient: Callable[[Any], bool] = lambda reason: True


def _own_words(reason: BaseException) -> str:
    return str(reason) or type(reason).__name__


def _name_only(reason: BaseException) -> str:
    # A text that is not known may quote the request or the reply.
    return f"no usable reply ({type(reason).__name__})"


def _tls_texts(reason: TLSError) -> list[str]:
    queue = reason.args[0] if reason.args else ()
    return [str(entry[-1]) for entry in queue] if isinstance(queue, list) else []


def _tls_text(reason: TLSError) -> str:
    texts = ", ".join(_tls_texts(reason)) or "the server ended the handshake"
    # The text depends on how the bytes of the answer look as a TLS record.
    is_http = any(word in texts for word in ("wrong version", "http request", "too long"))
    return f"TLS failed: {texts}{' (is it a port for HTTP?)' if is_http else ''}"


def _is_refused_certificate(reason: TLSError) -> bool:
    return "certificate verify failed" in _tls_texts(reason)


_REFUSED_CERTIFICATE = Meaning(_tls_text, never_sent=True, transient=lambda reason: False)

#: The first row that fits counts: a row of a subclass stands before its base class.
TABLE: tuple[tuple[type[BaseException], Meaning], ...] = (
    (SigningError, Meaning(_own_words, never_sent=True, transient=lambda reason: False)),
    (
        TunnelError,
        Meaning(
            _own_words,
            never_sent=True,
            transient=lambda reason: reason.status >= 500 or reason.status in (408, 429),
        ),
    ),
    (
        VerificationError,
        Meaning(
            lambda reason: "TLS failed: the certificate is not valid for the host name",
            never_sent=True,
            transient=lambda reason: False,
        ),
    ),
    (TLSError, Meaning(_tls_text)),
    (LookupTimeoutError, Meaning(_own_words, RequestTimeoutError, never_sent=True)),
    (ConnectTimeoutError, Meaning(_own_words, RequestTimeoutError, never_sent=True)),
    (
        error.TimeoutError,
        Meaning(lambda reason: "no connection in time", RequestTimeoutError, never_sent=True),
    ),
    (
        error.TCPTimedOutError,
        Meaning(lambda reason: "no connection in time", RequestTimeoutError, never_sent=True),
    ),
    (error.ConnectError, Meaning(_own_words, never_sent=True)),
    (error.DNSLookupError, Meaning(_own_words, never_sent=True)),
    (error.ConnectionDone, Meaning(_own_words)),
    (error.ConnectionLost, Meaning(_own_words)),
    (BaseException, Meaning(_name_only)),
)

#: Timeouts whose own text says neither what was waited for nor for how long.
_WITHOUT_WORDS = (error.TimeoutError, error.TCPTimedOutError)


def innermost(reason: BaseException) -> BaseException:
    """Return the first of the reasons inside *reason*: Twisted wraps them, in lists."""
    while reasons := getattr(reason, "reasons", None):
        reason = reasons[0].value
    return reason


def meaning_of(reason: BaseException) -> Meaning:
    """Return the row of the table that fits *reason*."""
    if isinstance(reason, TLSError) and _is_refused_certificate(reason):
        return _REFUSED_CERTIFICATE
    return next(meaning for kind, meaning in TABLE if isinstance(reason, kind))


def error_for(
    reason: BaseException,
    method: str,
    path: str,
    *,
    sent: bool,
    status: int | None = None,
    timed_out: str = "",
    hint: str = "",
) -> HTTPError | ProxyAuthenticationError:
    """
    Return the error that an operation fails with.

    :param reason: The exception that an attempt ended with.
    :param sent: Whether a byte of the request may have left.
    :param status: The status of the reply, None where none was read.
    :param timed_out: The text for a timeout, where a better one than the table's is known.
    :param hint: A text that follows the reason's.
    """
    reason = innermost(reason)
    meaning = meaning_of(reason)
    text = meaning.text(reason)
    if timed_out and type(reason) in _WITHOUT_WORDS:
        text = timed_out
    message = f"{method} {path}: {text}{hint}"
    if isinstance(reason, TunnelError) and reason.status in (401, 407):
        return ProxyAuthenticationError(
            message, status=reason.status, body=reason.body, path=path
        )
    return meaning.kind(
        message,
        maybe_delivered=may_have_been_delivered(
            method, sent=sent and not meaning.never_sent, status=status
        ),
        original_error=reason.original if isinstance(reason, SigningError) else reason,
        transient=meaning.transient(reason),
    )
