"""
The rules for retries: which failed attempts are repeated, and when.

The rules do no I/O and read no clock; the transport asks them after each attempt.
"""

from __future__ import annotations

import random

import attrs

from txpusher._validators import boolean, seconds, whole_number
from txpusher.errors import PusherError

#: The longest ``Retry-After``, in seconds, that is obeyed.
MAX_RETRY_AFTER = 30.0

_OWNER = "RetryPolicy"


def may_have_been_delivered(method: str, *, sent: bool, status: int | None = None) -> bool:
    """
    Tell whether the server may have acted on one attempt that failed.

    ======  =========================  ======  =================================
    method  what happened              may it  because
    ======  =========================  ======  =================================
    GET     anything                   no      a query changes nothing
    POST    never sent                 no      DNS, refused, connect timeout,
                                               TLS or proxy refused
    POST    sent, no status            yes     the reply was lost, not the event
    POST    2xx, reply unusable        yes     the status says that it was accepted
    POST    3xx, 4xx                   no      refused: nothing was published
    POST    5xx                        yes     the server may have failed half-way
    ======  =========================  ======  =================================

    :param method: The HTTP method.
    :param sent: Whether any byte of the request has left.
    :param status: The status of the reply, None where none was read.
    """
    if method == "GET" or not sent:
        return False
    return status is None or not 300 <= status < 500


@attrs.frozen
class RetryPolicy:
    """
    A policy says how often a failed attempt is repeated, and after which delay.

    A POST is repeated only where the server provably did not act on it (see
    ``may_have_been_delivered``) and trying again may help: no connection, no such name,
    connect timeout, a failed TLS handshake (but not a refused certificate), a proxy's
    refusal, 408, 429.  A GET is repeated after any transient failure.

    :param max_retries: The most attempts after the first; 0 tries once.
    :param initial_delay: Seconds before the first retry.  The delay doubles for each
        further retry.
    :param max_delay: The most seconds between two attempts.  Each delay is shortened by up
        to a half, at random, so that clients that failed together do not come back
        together.
    :param max_duration: The most seconds for all attempts and all waits of one
        operation together, from the moment of its first attempt; the time in
        the queue does not count.  None sets no bound.
    :param unsafe: Whether POSTs are repeated after every transient failure.  An event is
        then delivered at least once, and perhaps more often.
    :raises ConfigurationError: A setting is not what it must be.
    """

    max_retries: int = attrs.field(default=3, validator=whole_number(0, _OWNER))
    initial_delay: float = attrs.field(default=0.1, validator=seconds(zero=True, owner=_OWNER))
    max_delay: float = attrs.field(default=5.0, validator=seconds(zero=True, owner=_OWNER))
    max_duration: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(seconds(owner=_OWNER))
    )
    unsafe: bool = attrs.field(default=False, validator=boolean(_OWNER))

    def delay(self, retries: int, error: PusherError) -> float | None:
        """
        Return the seconds to wait before the next attempt, None to give up.

        :param retries: How many retries there have been.
        :param error: The error of the last attempt.  Its ``retry_after`` is obeyed up to
            30 seconds; where the server asks for more, the operation fails at once.
        """
        if retries >= self.max_retries or not error.transient:
            return None
        if error.maybe_delivered and not self.unsafe:
            return None
        retry_after: float = getattr(error, "retry_after", None) or 0.0
        if retry_after > MAX_RETRY_AFTER:
            return None
        return max(retry_after, self.backoff(retries))

    def backoff(self, retries: int) -> float:
        """
        Return the seconds to wait after *retries* repetitions have failed, with jitter.

        :param retries: 0 before the first repetition.
        """
        from twisted.application.internet import backoffPolicy

        longest = backoffPolicy(self.initial_delay, self.max_delay, 2.0, jitter=lambda: 0.0)
        return longest(retries) * random.uniform(0.5, 1.0)
