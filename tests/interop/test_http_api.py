"""Our own server's HTTP API, for requests that no SDK would send."""

from __future__ import annotations

import json

import pytest
import pytest_twisted

from .http_api import request

EVENT = {"name": "event", "channels": ["room"], "data": "text"}
BATCHED = {"name": "event", "channel": "room", "data": "text"}


@pytest.fixture(scope="module")
def server(embedded):
    return embedded


class TestAuthentication:
    @pytest.mark.parametrize(
        ("seconds", "status"), [(-700, 401), (700, 401), (-500, 200), (500, 200)]
    )
    @pytest_twisted.ensureDeferred
    async def test_a_timestamp_over_600_seconds_off_is_401(self, server, seconds, status):
        reply = await request(server, "GET", "/channels", seconds_off=seconds)
        assert reply.status == status

    @pytest.mark.parametrize(
        "overrides",
        [
            {"body_md5": "d41d8cd98f00b204e9800998ecf8427e"},
            {"body_md5": None},
            {"auth_timestamp": None},
            {"auth_timestamp": "soon"},
            {"auth_key": None},
            {"auth_version": "2.0"},
        ],
        ids=str,
    )
    @pytest_twisted.ensureDeferred
    async def test_a_wrong_or_missing_parameter_is_401(
        self, server, pusher, connect, name, overrides
    ):
        channel = name("room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        event = {**EVENT, "channels": [channel]}
        assert (await request(server, "POST", "/events", event, **overrides)).status == 401
        await pusher.trigger(channel, "last", None)
        await subscriber.event(channel, "last")
        assert subscriber.events(channel) == [("last", None)]

    @pytest_twisted.ensureDeferred
    async def test_a_replaced_signature_is_401(self, server):
        reply = await request(server, "POST", "/events", EVENT, auth_signature="0" * 64)
        assert reply.status == 401


class TestBadRequests:
    @pytest.mark.parametrize(
        "change",
        [
            {"channels": []},
            {"channels": [f"room-{number}" for number in range(101)]},
            {"channels": [""]},
            {"channels": ["x" * 201]},
            {"channels": ["with space"]},
            {"channels": ["with/slash"]},
            {"channels": ["newline\n"]},
            {"channels": ["ünïcode"]},
            {"channels": [7]},
            {"channels": {"room": 1}},
            {"channels": None},
            {"name": ""},
            {"name": "x" * 201},
            {"name": 7},
            {"data": {"not": "text"}},
            {"data": None},
            {"socket_id": "abc"},
            {"socket_id": "1.2\n"},
            {"socket_id": 1.2},
        ],
        ids=lambda change: ascii(change)[:40],
    )
    @pytest_twisted.ensureDeferred
    async def test_an_event_that_breaks_a_rule_is_400(self, server, change):
        reply = await request(server, "POST", "/events", {**EVENT, **change})
        assert reply.status == 400
        assert reply.text

    @pytest.mark.parametrize("missing", ["name", "channels", "data"])
    @pytest_twisted.ensureDeferred
    async def test_event_that_lacks_a_field_is_400(self, server, missing):
        event = {key: value for key, value in EVENT.items() if key != missing}
        assert (await request(server, "POST", "/events", event)).status == 400

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null", b"\xff", b"NaN"])
    @pytest.mark.parametrize("path", ["/events", "/batch_events"])
    @pytest_twisted.ensureDeferred
    async def test_a_body_that_is_no_json_object_is_400(self, server, path, body):
        assert (await request(server, "POST", path, body)).status == 400

    @pytest.mark.parametrize(
        "batch",
        [
            [],
            [BATCHED] * 11,
            {"0": BATCHED},
            None,
            [7],
            [BATCHED, {**BATCHED, "channel": "with space"}],
            [{**BATCHED, "name": ""}],
            [{**BATCHED, "data": 7}],
        ],
        ids=lambda batch: ascii(batch)[:40],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_batch_that_breaks_a_rule_is_400(self, server, batch):
        reply = await request(server, "POST", "/batch_events", {"batch": batch})
        assert reply.status == 400

    @pytest.mark.parametrize(
        ("data", "status"),
        [("x" * 10240, 200), ("x" * 10241, 413), ("é" * 5120, 200), ("é" * 5121, 413)],
        ids=["10240 bytes", "10241 bytes", "10240 bytes in UTF-8", "10242 bytes in UTF-8"],
    )
    @pytest_twisted.ensureDeferred
    async def test_data_is_limited_in_bytes(self, server, data, status):
        reply = await request(server, "POST", "/events", {**EVENT, "data": data})
        assert reply.status == status
        batch = {"batch": [BATCHED, {**BATCHED, "data": data}]}
        assert (await request(server, "POST", "/batch_events", batch)).status == status

    @pytest_twisted.ensureDeferred
    async def test_a_hundred_channels_and_ten_events_are_accepted(self, server):
        channels = [f"room-{number}" for number in range(100)]
        reply = await request(server, "POST", "/events", {**EVENT, "channels": channels})
        assert (reply.status, json.loads(reply.text)) == (200, {})
        reply = await request(server, "POST", "/batch_events", {"batch": [BATCHED] * 10})
        assert (reply.status, json.loads(reply.text)) == (200, {})

    @pytest_twisted.ensureDeferred
    async def test_a_single_channel_may_have_its_own_field(self, server, connect, name):
        channel = name("room")
        subscriber = await connect()
        await subscriber.subscribe(channel)
        event = {"name": "event", "channel": channel, "data": "text"}
        assert (await request(server, "POST", "/events", event)).status == 200
        assert await subscriber.event(channel, "event") == "text"

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/nothing", 404),
            ("GET", "/channels/room/nothing", 404),
            ("GET", "/channels/with%20space", 400),
            ("GET", "/channels/room/users", 400),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_unknown_path_is_refused(self, server, method, path, status):
        assert (await request(server, method, path)).status == status
