"""What rests on private parts of crochet, in the version in which it was seen."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import pytest_twisted

from tests.support.misbehaving import OK, answering
from tests.support.programs import Program

#: The version of crochet whose private parts txpusher/_crochet.py was written for.
SEEN = "2.1.1"


@pytest_twisted.ensureDeferred
async def test_private_parts_of_crochet_are_as_they_were_seen(serve):
    """Where this fails with another version of crochet, look at txpusher/_crochet.py."""
    server = serve(answering(OK))
    program = Program(
        """
        from txpusher._crochet import crochet_runs_reactor, import_crochet
        import crochet._shutdown as shutdown
        say(crochet_runs_reactor(), shutdown._watchdog._canary is threading.main_thread())
        say(trigger(client()))
        say(crochet_runs_reactor(), shutdown._watchdog.is_alive())
        say([thread.name for thread in threading.enumerate() if thread.daemon])
        """,
        server.port,
    )
    try:
        said = (await program.end()).said()
    finally:
        program.kill()
    assert said == ["False True", "{}", "True True", "[]"], f"crochet {version('crochet')}"


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("imported", ["", "import crochet"], ids=["before", "after"])
async def test_process_forked_in_a_thread_has_crochet_watch_its_own_main_thread(
    serve, imported
):
    """Seen in 2.1.1: its import fails there, or it watches a thread that is gone."""
    server = serve(answering(OK))
    program = Program(
        f"""
        {imported}
        def fork():
            child = os.fork()
            if not child:
                say(trigger(client()), trigger(client()))
                os._exit(0)
            os.waitpid(child, 0)
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        """,
        server.port,
    )
    try:
        said = (await program.end()).said()
    finally:
        program.kill()
    assert said == ["{} {}"], f"seen in crochet {SEEN}, this is {version('crochet')}"
