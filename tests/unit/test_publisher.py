"""BatchPublisher where everything happens at once: inside callbacks, inside sends."""

from __future__ import annotations

import pytest

from txpusher import BatchPublisher, HTTPError

from .held_client import held_pusher
from .helpers import error_of, result_of


class TestSendThatRaises:
    """No client is known to do so; one that does must not leave events waiting for ever."""

    @pytest.fixture
    def broken(self, monkeypatch):
        """A publisher whose next request raises a RuntimeError, and what it sends with."""
        pusher, client = held_pusher()
        transport = pusher.transport
        send = transport.send_unbounded

        def raise_once(*arguments, **options):
            monkeypatch.setattr(transport, "send_unbounded", send)
            raise RuntimeError("broken")

        monkeypatch.setattr(transport, "send_unbounded", raise_once)
        return BatchPublisher(pusher), client

    def test_events_of_the_batch_fail(self, broken):
        publisher, _ = broken
        error = error_of(publisher.trigger("c", "e", "d"))
        assert type(error) is HTTPError
        assert str(error) == "POST /apps/3/batch_events: it could not be sent (RuntimeError)"
        assert isinstance(error.original_error, RuntimeError)
        # Who knows how far it has got.
        assert error.maybe_delivered is True

    def test_next_events_go_on(self, broken):
        publisher, client = broken
        error_of(publisher.trigger("c", "first", "d"))
        second = publisher.trigger("c", "second", "d")
        closed = publisher.close()
        assert not closed.called
        assert client.names == [["second"]]
        client.held[0].answer()
        assert result_of(second) == {}
        assert result_of(closed) == 0


class Named(str):
    """A channel's name with an equality of its own, and so without a hash."""

    def __eq__(self, other):
        return self is other

    __hash__ = None  # type: ignore[assignment]


def test_channel_is_the_same_whatever_class_of_str_names_it():
    pusher, client = held_pusher(max_batch_size=1)
    publisher = BatchPublisher(pusher)
    for name in ("c", Named("c"), Named("c")):
        publisher.trigger(name, "e", "d")
    # At a time, for the sake of their order.
    for number in (1, 2, 3):
        assert [batch.events[0]["channel"] for batch in client.sent] == ["c"] * number
        client.held[0].answer()
