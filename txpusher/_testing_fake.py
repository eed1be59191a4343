"""
:class:`FakePusher`: a client that sends nothing and remembers what it was given.

The arguments are checked and encoded by :mod:`txpusher._api`, and the replies are read by
:mod:`txpusher._reply`, as those of any client; the transport alone is another.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs

from txpusher._api import Api
from txpusher._request import ApiRequest
from txpusher._testing_transport import FakeTransport, SentEvent
from txpusher._text import short_repr
from txpusher.client import Pusher

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from txpusher._http.transport import Transport
    from txpusher.client import ClientOptions

#: The number of events that a failure message lists, the latest ones.
_LISTED = 10
_QUOTED = 200


class _Anything:
    """Stands for data that a test does not look at."""

    def __repr__(self) -> str:
        return "ANYTHING"


ANYTHING: Any = _Anything()


class FakePusher(Pusher):
    """
    A :class:`~txpusher.Pusher` without sockets, for the tests of programs that publish.

    Every operation is there.  Arguments are refused as by a Pusher, replies are those of a
    server without any subscriber, and each Deferred has fired when it is returned; nothing
    is tried again.  A :class:`~txpusher.BatchPublisher` takes a FakePusher, and
    ``BlockingPusher.wrap`` does.

    ::

        pusher = FakePusher()
        announce_order(pusher, number=7)
        pusher.assert_sent("orders", "created", data={"number": 7})

    :param options: Every other setting of a Pusher; settings of the network have no effect.
    :raises ConfigurationError: A setting is malformed.

    :ivar sent: The :class:`SentEvent` of each event and channel, in order.
    """

    def __init__(
        self,
        app_id: str = "1",
        key: str = "app-key",
        secret: str = "app-secret",  # noqa: S107
        **options: Unpack[ClientOptions],
    ) -> None:
        super().__init__(app_id, key, secret, **options)
        self.sent: list[SentEvent] = []
        self.api = _RememberingApi(self.config)
        self._fake = FakeTransport(self._transport, self.api, options.get("on_attempt"))
        self._fake.record = self.sent.append
        # The methods that Pusher and BatchPublisher call are those of FakeTransport.
        self._transport = cast("Transport", self._fake)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} app {self.config.app_id}, {len(self.sent)} events sent>"

    def assert_sent(self, channel: str, name: str, data: Any = ANYTHING) -> SentEvent:
        """
        Assert that an event was sent, and return the first that fits.

        :param channel: The channel's name.
        :param name: The event's name.
        :param data: What the data must be equal to; left out, any data fits.
        :raises AssertionError: No such event was sent; the message lists those that were.
        """
        there = [event for event in self.sent if (event.channel, event.name) == (channel, name)]
        for event in there:
            if data is ANYTHING or event.data == data:
                return event
        wanted = f"no event {name!r} on channel {channel!r} was sent"
        if there:
            others = "".join(f"\n  {short_repr(event.data, _QUOTED)}" for event in there)
            raise AssertionError(
                f"{wanted} with the data\n  {short_repr(data, _QUOTED)}\n"
                f"but it was sent with{others}"
            )
        raise AssertionError(f"{wanted}; {self._all_sent()}")

    def _all_sent(self) -> str:
        lines = [
            f"\n  {event.name!r} on {event.channel!r}: {short_repr(event.data, _QUOTED)}"
            for event in self.sent[-_LISTED:]
        ]
        if not lines:
            return "nothing was sent"
        more = "" if len(self.sent) <= _LISTED else f", the latest {_LISTED} of them"
        return f"{len(self.sent)} events were sent{more}:{''.join(lines)}"

    def fail_next(self, error: BaseException) -> None:
        """
        Let the next operation that would be sent fail; what it would publish is not sent.

        Called twice, the next two operations fail, in this order.  The error is the one
        that a Pusher ends with after its retries.  An operation with a refused argument is
        not sent and does not count; a batch of a BatchPublisher is one operation.

        :param error: The error, such as ``RateLimitedError("slow down")``.
        :raises TypeError: *error* is no exception.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception, not {short_repr(error)}")
        self._fake.failures.append(error)


# From the arguments to the request


@attrs.frozen
class _RememberingRequest(ApiRequest):
    """A request that knows the data of its events as the data were given."""

    given: tuple[Any, ...] = ()


class _RememberingItem(bytes):
    """An encoded event of a batch that knows its data as the data were given."""

    given: Any


class _RememberingApi(Api):
    """Builds the requests of an :class:`Api`, and lets each know what it was made from."""

    def trigger(
        self, channels: str | Iterable[str], event: str, data: Any, *rest: Any, **options: Any
    ) -> ApiRequest:
        request = super().trigger(channels, event, data, *rest, **options)
        return _remembering(request, [_snapshot(data)])

    def batch_item(
        self, channel: str, event: str, data: Any, *rest: Any, **options: Any
    ) -> bytes:
        item = _RememberingItem(super().batch_item(channel, event, data, *rest, **options))
        item.given = _snapshot(data)
        return item

    def batch(self, items: Sequence[bytes]) -> ApiRequest:
        given = [item.given for item in items if isinstance(item, _RememberingItem)]
        return _remembering(super().batch(items), given)


def _remembering(request: ApiRequest, given: Iterable[Any]) -> ApiRequest:
    fields = {field.name: getattr(request, field.name) for field in attrs.fields(ApiRequest)}
    return _RememberingRequest(**fields, given=tuple(given))


def _snapshot(data: Any) -> Any:
    """Copy *data*, because the program may change its own object before the test looks."""
    try:
        return copy.deepcopy(data)
    except Exception:
        return data
