"""The table of refusals, walked: each has its code, and a line in ``serve``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.credentials import KEY, SECRET
from txpusher._cli.serve import line_of
from txpusher.server import Activity
from txpusher.server._core.refusals import Means, Refusal

from .endpoints_client import EVENT, Client
from .hub_driver import WALL
from .refusal_scenarios import AT_THE_SOCKETS, SCENARIOS


def test_every_refusal_has_a_scenario() -> None:
    assert set(SCENARIOS) | AT_THE_SOCKETS == set(Refusal)
    assert not set(SCENARIOS) & AT_THE_SOCKETS
    # Two entries with the same value would be one refusal with two names.
    assert len(Refusal.__members__) == len(Refusal)


def test_line_of_a_wrong_signature_has_the_text_that_had_to_be_signed() -> None:
    client = Client()
    client.call("POST", "/apps/3/events", EVENT, secret="another", timestamp=WALL)
    told = line_of(client.driver.activities[-1])
    first, *signed = told.split("\n")
    assert first.endswith("of these three lines:")
    method, path, query = (line.removeprefix("    ") for line in signed)
    assert (method, path) == ("POST", "/apps/3/events")
    assert query.startswith(
        f"auth_key={KEY}&auth_timestamp={int(WALL)}&auth_version=1.0&body_md5="
    )
    assert "auth_signature" not in told
    assert SECRET not in told


def test_text_below_a_line_does_not_steer_the_terminal() -> None:
    activity = Activity("refused", "3", detail="401 no", explanation="no\n\x1b[2J")
    assert line_of(activity).endswith("401 no\n    \\x1b[2J")


@pytest.mark.parametrize(
    ("message", "channel"),
    [
        ({"event": "pusher:subscribe", "data": {"channel": "private-b"}}, "private-b"),
        ({"event": "pusher:subscribe", "data": {"channel": "a"}}, "a"),
        ({"event": "client-x", "channel": "a", "data": {}}, "a"),
        # The text quotes the beginning of a malformed name.
        ({"event": "pusher:subscribe", "data": {"channel": "a b" * 1000}}, None),
    ],
)
def test_error_is_told_with_its_channel(message: dict[str, Any], channel: str | None) -> None:
    client = Client()
    client.browser.send(message)
    told = client.driver.activities[-1]
    assert (told.kind, told.channel) == ("error", channel)
    assert len(line_of(told)) < 300


def test_client_event_on_a_channel_not_subscribed_to_names_the_channel() -> None:
    client = Client()
    client.browser.send({"event": "client-x", "channel": "private-other", "data": {}})
    assert "'private-other'" in line_of(client.driver.activities[-1])


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ("pusher:subscribe", "auth"),
        ("pusher:subscribe", "channel_data"),
        ("pusher:subscribe", "channel"),
        ("pusher:signin", "auth"),
        ("pusher:signin", "user_data"),
    ],
)
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"auth": f"{KEY}:5ec2e7"}, "a JSON object"),
        ([f"{KEY}:5ec2e7"], "a JSON array"),
        (52.5, "a JSON number"),
        (True, "a JSON boolean"),
    ],
)
def test_field_that_may_hold_a_signature_is_named_by_its_kind_alone(
    event: str, field: str, value: Any, kind: str
) -> None:
    client = Client()
    data = {"channel": "private-b", "auth": f"{KEY}:5ec2e7", "user_data": "{}", field: value}
    client.browser.send({"event": event, "data": data})
    told = client.driver.activities
    assert any(f"must be a string, not {kind}" in (one.detail or "") for one in told)
    assert "5ec2e7" not in repr([told, client.browser.messages])


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (Refusal.INVALID_PROTOCOL, "protocol must be a number, such as 7, not 'seven'"),
        (Refusal.UNSUPPORTED_PROTOCOL, "protocol must be 4, 5, 6 or 7, not '3'"),
        (Refusal.AUTH_VERSION, "auth_version must be 1.0, not '2.0'"),
        (Refusal.OVER_RATE, "the app may publish 1 messages in a second, not 2"),
        (
            Refusal.IDEMPOTENCY_KEY,
            "X-Idempotency-Key must be a string of 1 to 255 characters, not '' of 0",
        ),
    ],
)
def test_refusal_names_the_limit_and_the_value(refusal: Refusal, words: str) -> None:
    scenario = SCENARIOS[refusal]
    client = Client(**scenario.app)
    scenario.act(client)
    assert any((one.detail or "").endswith(words) for one in client.driver.activities)


@pytest.mark.parametrize("parameter", ["auth_version", "auth_timestamp"])
def test_signature_in_place_of_another_parameter_is_not_quoted_whole(parameter: str) -> None:
    client = Client()
    refused = client.call("GET", "/apps/3/channels", signed={parameter: "5ec2e7" * 10})
    assert refused.status == 401
    assert f"{parameter} must be" in refused.body.decode()
    assert "not '5ec2e75ec2e75ec2e75..." in refused.body.decode()


@pytest.mark.parametrize("refusal", SCENARIOS, ids=lambda refusal: refusal.label)
def test_refusal_is_told_to_observers_and_to_whoever_is_refused(refusal: Refusal) -> None:
    scenario = SCENARIOS[refusal]
    client = Client(**scenario.app)
    driver, browser = client.driver, client.browser
    response = scenario.act(client)
    refused = [activity for activity in driver.activities if activity.refusal]
    # Where the app is disabled, so is the connection that a client has at first.
    told = [activity for activity in refused if activity.refusal == refusal.label]
    assert told, refused
    assert told[-1].kind in ("refused", "error")
    assert SECRET not in repr(refused)
    detail = told[-1].detail or ""
    assert detail.isprintable()
    assert detail in line_of(told[-1])
    if refusal.means is Means.STATUS:
        assert f" {refusal.code} " in f" {detail}"
        if response is not None:
            assert response.status == refusal.code
    elif refusal.means is Means.CLOSE:
        assert detail.startswith(f"{refusal.code}: ")
    else:
        codes = [m["data"]["code"] for b in driver.browsers for m in b.got("pusher:error")]
        assert refusal.code in codes
        assert all(one.closed is None for one in driver.browsers)
        texts = [m["data"]["message"] for b in driver.browsers for m in b.got("pusher:error")]
        assert any(detail in text for text in texts)
    if refusal.means is Means.CLOSE:
        closed = [one.closed for one in driver.browsers if one.closed is not None]
        assert refusal.code in [code for code, _ in closed]
        assert browser is driver.browsers[0]
