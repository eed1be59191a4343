"""The table of refusals, walked: each has its code, and a line in ``serve``."""

from __future__ import annotations

import pytest

from tests.support.credentials import SECRET
from txpusher._cli.serve import line_of
from txpusher.server._core.refusals import Means, Refusal

from .endpoints_client import Client
from .refusal_scenarios import AT_THE_SOCKETS, SCENARIOS


def test_every_refusal_has_a_scenario() -> None:
    assert set(SCENARIOS) | AT_THE_SOCKETS == set(Refusal)
    assert not set(SCENARIOS) & AT_THE_SOCKETS
    # Two entries with the same value would be one refusal with two names.
    assert len(Refusal.__members__) == len(Refusal)


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
