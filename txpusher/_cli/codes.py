# -*- test-case-name: tests.unit.test_cli -*-
"""
Exit codes, and errors in one line with what to do about them.

The module does no more than print: it imports neither Twisted nor anything that does.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback

from txpusher._cli.output import one_line
from txpusher.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ClosedError,
    ConnectionClosedError,
    ForbiddenError,
    HTTPError,
    NotFoundError,
    PayloadTooLargeError,
    ProxyAuthenticationError,
    PusherError,
    RateLimitedError,
    ServerError,
    SubscriptionError,
)

#: The command did what it was asked to do.
DONE = 0
#: The command failed on this side: a refused argument, a setting, a file, a webhook.
FAILED = 1
#: The arguments make no sense together.
USAGE = 2
#: The server has refused: 4xx, a subscription.
REFUSED = 3
#: There is no usable answer: nobody is there, a redirect, 5xx.
NO_ANSWER = 4
#: Whether the server acted on it is unknown.
UNKNOWN = 5
#: Ctrl-C has ended the command, as shells have it: 128 and SIGINT's 2.
INTERRUPTED = 130

#: What the help says of the codes.
TABLE = """\
exit codes:
  0    done
  1    failed on this side: a refused argument, no PUSHER_URL, a bad webhook
  2    wrong usage
  3    refused by the server (4xx)
  4    no usable answer: unreachable, or 5xx
  5    unknown outcome: the event may have been delivered (a lost reply)
  130  interrupted"""


def code_of(error: PusherError) -> int:
    """
    Return the exit code for *error*.

    A 5xx is an answer, if not a usable one; its hint says that a POST may have been acted on
    all the same.  Without an answer, an unknown outcome comes first: whoever repeats a command
    needs to know of it.
    """
    if isinstance(error, ServerError):
        return NO_ANSWER
    if error.maybe_delivered:
        return UNKNOWN
    if isinstance(error, APIError):
        return REFUSED if 400 <= error.status < 500 else NO_ANSWER
    if isinstance(error, HTTPError):
        return NO_ANSWER
    if isinstance(error, (SubscriptionError, ConnectionClosedError)):
        return REFUSED
    return FAILED


#: User and password in a URL, as it is or percent-escaped, or quoted up to the middle of them;
#: not those that a message has as an example.
_LOGIN = re.compile(r"(//|%2[Ff]%2[Ff])(?!KEY:SECRET@|\[)(?:\S*@|[^\s/@]*:\S*\.\.\.)")

_DOCTOR = "'txpusher doctor' looks closer"
#: The first class that fits counts.
_HINTS: tuple[tuple[type[PusherError], str], ...] = (
    (ProxyAuthenticationError, "check user and password of the proxy"),
    (AuthenticationError, "check key and secret in PUSHER_URL; " + _DOCTOR),
    (ForbiddenError, "the app may be disabled or over its quota"),
    (NotFoundError, "check the app id and the host in PUSHER_URL"),
    (PayloadTooLargeError, "send less data in one event"),
    (RateLimitedError, "wait a little, or send fewer requests"),
    (ServerError, "the server failed: try again later"),
    (BadRequestError, ""),
    (APIError, _DOCTOR),
    (HTTPError, "check the host and the port in PUSHER_URL; " + _DOCTOR),
    (ConnectionClosedError, "check key, host and cluster in PUSHER_URL; " + _DOCTOR),
    (ClosedError, ""),
)


def hint_for(error: PusherError) -> str:
    """Return what to do about *error*, empty where its message says it all."""
    if error.maybe_delivered:
        return "it may have been delivered all the same: look before you repeat it"
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), "")


def fail(message: str, code: int = FAILED, hint: str = "") -> int:
    """
    Print what went wrong on the standard error, in one line, and return *code*.

    A URL in it is shown without user and password: PUSHER_URL, among the arguments by
    mistake, holds the secret.

    :param hint: What to do about it.
    """
    text = _LOGIN.sub(r"\1...@", f"{message.rstrip('.')}; {hint}" if hint else message)
    # Closed before the program began, or full: the exit code has to do.
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"txpusher: {one_line(text)}", file=sys.stderr, flush=True)
    return code


def fail_with(error: PusherError, what: str = "") -> int:
    """
    Print *error* as :func:`fail` does, and return its exit code.

    :param what: What the error is about, such as ``"line 3"``.
    """
    return fail(f"{what}: {error}" if what else str(error), code_of(error), hint_for(error))


def unforeseen(error: Exception) -> int:
    """
    Print an error that no command is meant to have, in one line, and return its code.

    Where ``TXPUSHER_TRACEBACK`` is set, the traceback stands before it.
    """
    if os.environ.get("TXPUSHER_TRACEBACK"):
        traceback.print_exception(error)
    return fail(
        f"unexpected {type(error).__name__}: {error}",
        FAILED,
        "a defect of txpusher: TXPUSHER_TRACEBACK=1 shows where",
    )
