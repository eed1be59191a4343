# -*- test-case-name: tests.unit.test_server_trouble -*-
"""
Trouble on demand: what the server does wrong because somebody has asked for it.

:class:`Trouble` has the wishes, :func:`mishap_of` decides what befalls one request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from txpusher._text import is_really, with_wrong_type
from txpusher._validators import boolean, seconds
from txpusher.errors import ConfigurationError

#: The reason of a refusal that ``refuse_auth`` asks for.
REFUSED_ON_REQUEST = "the server refuses every auth on request (trouble.refuse_auth)"


def _check_rate(instance: object, attribute: Any, value: Any) -> None:
    if not is_really((int, float), value) or not 0 <= value <= 1:
        raise ConfigurationError(
            f"{attribute.name} must be a number from 0 to 1, "
            f"not {with_wrong_type((int, float), value)}"
        )


def _check_status(instance: object, attribute: Any, value: Any) -> None:
    if not is_really(int, value) or not 400 <= value <= 599:
        raise ConfigurationError(
            f"{attribute.name} must be an int from 400 to 599, "
            f"not {with_wrong_type(int, value)}"
        )


def check_close_code(code: object) -> None:
    """
    Refuse what no close frame may hold (RFC 6455, section 7.4).

    :raises ConfigurationError: *code* is none of 1000 to 1003, 1007 to 1014, 3000 to 4999.
    """
    if not (
        isinstance(code, int)
        and not isinstance(code, bool)
        and (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999)
    ):
        raise ConfigurationError(
            "a close code must be an int from 1000 to 1003, 1007 to 1014 or 3000 to 4999, "
            f"not {with_wrong_type(int, code)}"
        )


@attrs.define(eq=False)
class Trouble:
    """
    The faults that a server shows on request, so that programs can test their bad days.

    The attributes may be set at any time, and hold from the next request on.  They are about
    the HTTP API below ``/apps``; ``refuse_auth`` and :meth:`close_all` are about WebSockets.
    Nothing is wrong at first.

    :ivar delay: Seconds before each reply.  The server acts on the request at once.
    :ivar error_rate: The share of requests, 0 to 1, that the server answers with
        ``error_status``, and does not act on.
    :ivar error_status: The HTTP status of those answers, 400 to 599.
    :ivar drop_reply_rate: The share of the other requests, 0 to 1, that the server acts on and
        never answers: it closes the connection.
    :ivar refuse_auth: Whether the server refuses every subscription that needs an ``auth``,
        and every sign-in.
    :raises ConfigurationError: From the setting of an attribute: the value is not as above.
    """

    delay: float = attrs.field(default=0.0, validator=seconds(zero=True))
    error_rate: float = attrs.field(default=0.0, validator=_check_rate)
    error_status: int = attrs.field(default=500, validator=_check_status)
    drop_reply_rate: float = attrs.field(default=0.0, validator=_check_rate)
    refuse_auth: bool = attrs.field(default=False, validator=boolean())
    _close: Callable[[int], int] = attrs.field(default=lambda code: 0, repr=False)

    def close_all(self, code: int) -> int:
        """
        Close every WebSocket connection.

        What a client does next is in the code ("Pusher Channels Protocol", connection
        closure): with 4000 to 4099 the client stays away, with 4100 to 4199 it comes back
        after a while, with 4200 to 4299 at once.  With one of those, the client is sent a
        ``pusher:error`` first, as by the hosted service.

        :param code: The close code: 1000 to 1003, 1007 to 1014, or 3000 to 4999.
        :return: How many connections that were; 0 where the server does not listen.
        :raises ConfigurationError: *code* is none of those.
        """
        check_close_code(code)
        return self._close(code)


@attrs.frozen
class Mishap:
    """
    The faults that one request meets.

    :ivar status: The status to answer with, without acting on the request; None for none.
    :ivar is_reply_dropped: Whether the connection closes in place of the reply.
    :ivar delay: Seconds before the reply, or before the connection closes.
    """

    status: int | None = None
    is_reply_dropped: bool = False
    delay: float = 0.0

    def in_words(self) -> str:
        """Return what befalls the request, in words; empty for nothing."""
        wrong = []
        if self.status is not None:
            wrong.append(f"answered with {self.status}, not acted on")
        if self.is_reply_dropped:
            wrong.append("acted on, and never answered")
        if self.delay:
            wrong.append(f"after {self.delay:g} seconds")
        return ", ".join(wrong)


#: The fate of most requests.
NO_MISHAP = Mishap()


def mishap_of(trouble: Trouble, path: str, chance: Callable[[], float]) -> Mishap:
    """
    Decide what befalls a request.

    :param path: The path of the request, without a prefix: of the server's own paths, such
        as ``/up``, nothing is ever wrong.
    :param chance: Returns a random number, at least 0 and less than 1.
    """
    wished = trouble.error_rate or trouble.drop_reply_rate or trouble.delay
    if not wished or not path.startswith("/apps/"):
        return NO_MISHAP
    if chance() < trouble.error_rate:
        return Mishap(status=trouble.error_status, delay=trouble.delay)
    is_reply_dropped = chance() < trouble.drop_reply_rate
    if not is_reply_dropped and not trouble.delay:
        return NO_MISHAP
    return Mishap(is_reply_dropped=is_reply_dropped, delay=trouble.delay)
