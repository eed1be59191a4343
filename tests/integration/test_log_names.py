"""In a program without a reactor of its own, log lines have the name of their library."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.support.misbehaving import OK, answering
from tests.support.programs import Program
from tests.support.waiting import within

SET_UP_BY_OURSELVES = """
import logging
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(levelname)s", stream=sys.stdout)
blocking = client()
"""

SET_UP_BY_THE_APPLICATION = "import crochet; crochet.setup()" + SET_UP_BY_OURSELVES


@pytest.mark.parametrize(
    "set_up",
    [
        pytest.param(SET_UP_BY_OURSELVES, id="ours"),
        pytest.param(SET_UP_BY_THE_APPLICATION, id="the application's"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_lines_of_blocking_calls_are_named_txpusher(set_up, serve):
    server = serve(answering(OK))
    program = Program(set_up + "trigger(blocking)", server.port)
    lines = (await within(program.end(), 40)).said()
    assert lines.count("txpusher DEBUG") == 1


@pytest_twisted.ensureDeferred
async def test_lines_of_blocking_calls_are_turned_down_by_name(serve):
    server = serve(answering(OK))
    program = Program(
        SET_UP_BY_OURSELVES
        + "logging.getLogger('txpusher').setLevel(logging.INFO); trigger(blocking)",
        server.port,
    )
    lines = (await within(program.end(), 40)).said()
    assert [line for line in lines if line.startswith("txpusher")] == []
    assert len(server.requests) == 1
