"""A short run of the soak of ``publish()``, with and without faults of the server."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.benchmarks.publication_soak import faulty_sink, publish


@pytest.mark.parametrize("seed", [None, 1])
@pytest_twisted.ensureDeferred
async def test_events_of_publication_keep_order_and_outcomes_say_truly_what_happened(seed):
    with faulty_sink(5000, seed) as (port, report):
        run = await publish(5000, port, report)
    assert list(run.violations()) == []
    assert bool(run.sums["faults"]) is bool(run.published.failed) is (seed is not None)
