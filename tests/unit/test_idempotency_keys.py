"""Keys of the caller's own, by which a server knows an event that it has had already."""

from __future__ import annotations

import pytest

from txpusher import Event

from .helpers import body_of, make_api, named, refusal

GOOD = ["k", "a key ", "order-7/paid", "~" * 128, " "]
BAD = ["", "x" * 129, "é", "a\n", "\x7f", "a\tb", 7, b"k"]


@pytest.mark.parametrize("key", GOOD)
def test_key_of_a_trigger_goes_into_the_request(key):
    request = make_api().trigger("a", "e", "x", idempotency_key=key)
    assert request.idempotency_key == key
    assert "idempotency_key" not in body_of(request)
    assert make_api().send_to_user("u", "e", "x", key).idempotency_key == key


@pytest.mark.parametrize("key", GOOD)
def test_key_of_an_event_of_a_batch_goes_into_the_event(key):
    events = [
        Event("a", "e", "x", idempotency_key=key),
        {"channel": "b", "name": "e", "data": "x", "idempotency_key": key},
        Event("c", "e", "x"),
    ]
    request = make_api().trigger_batch(events)
    keys = [event.get("idempotency_key") for event in body_of(request)["batch"]]
    assert keys == [key, key, None]
    assert request.idempotency_key is None


def test_request_without_a_key_has_none():
    assert make_api().trigger("a", "e", "x").idempotency_key is None
    assert make_api().post("/events").idempotency_key is None


@pytest.mark.parametrize("key", BAD)
def test_key_that_servers_do_not_take_is_refused(key):
    length = f" of {len(key)}" if isinstance(key, str) else ""
    message = (
        "idempotency_key must be 1 to 128 printable ASCII characters, "
        f"not {named(key, str) if key != 'x' * 129 else repr(key)[:60] + '...'}{length}"
    )
    assert refusal(make_api().trigger, "a", "e", "x", None, None, key) == message
    assert refusal(make_api().send_to_user, "u", "e", "x", key) == message
    event = Event("a", "e", "x", idempotency_key=key)
    assert refusal(make_api().trigger_batch, [event]) == f"events[0]: {message}"
