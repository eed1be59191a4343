"""Blocking calls where warnings are errors, under -X dev, and where imports fail."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from tests.support.misbehaving import OK, answering
from tests.support.programs import Ended, Program

#: Every kind of call, each of which must return.
CALLS = """
blocking = client()
say(trigger(blocking), blocking.channels())
publisher = BlockingBatchPublisher(blocking)
say(publisher.submit("c", "e", "d").result(10), publisher.trigger("c", "e", "d"))
say(publisher.publish([Event("c", "e", "d")]).accepted)
say(publisher.flush(), publisher.close())
publisher = BlockingBatchPublisher(blocking)
publisher.submit("c", "e", "at the end")
"""
SAID = ["{} {}", "{} {}", "1", "0 0"]


@pytest.fixture
def run(serve: Any) -> Any:
    """Runs a program with arguments for Python; gives the server and how it ended."""
    programs: list[Program] = []

    async def run(source: str, *arguments: str) -> tuple[Any, Ended]:
        server = serve(answering(OK))
        programs.append(Program(source, server.port, *arguments))
        return server, await programs[-1].end()

    yield run
    for started in programs:
        started.kill()


@pytest.mark.parametrize("arguments", [("-W", "error"), ("-X", "dev")])
@pytest_twisted.ensureDeferred
async def test_every_call_returns_and_the_program_says_nothing(
    run: Any, arguments: Any
) -> None:
    server, ended = await run(CALLS, *arguments)
    assert ended.said() == SAID
    assert b"at the end" in server.bodies[-1]


@pytest_twisted.ensureDeferred
async def test_calls_return_beside_a_reactor_of_the_application(run: Any) -> None:
    _, ended = await run(
        """
from twisted.internet import defer, reactor, threads
async def main():
    blocking = BlockingPusher.wrap(Pusher(**settings()))
    say(await threads.deferToThread(trigger, blocking))
    await threads.deferToThread(blocking.close)
    reactor.stop()
reactor.callWhenRunning(lambda: defer.ensureDeferred(main()))
reactor.run()
""",
        "-W",
        "error",
    )
    assert ended.said() == ["{}"]


FORBID = """
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise ImportError("import of " + name + " is forbidden here")
sys.meta_path.insert(0, Forbid())
def call():
    try:
        trigger(client())
    except PusherError as error:
        say(type(error).__name__, error)
"""


@pytest.mark.parametrize("arguments", [(), ("-W", "error")])
@pytest_twisted.ensureDeferred
async def test_reactor_that_cannot_be_imported_is_the_same_error_each_time(
    run: Any, arguments: Any
) -> None:
    source = FORBID.format(name="twisted.internet.reactor")
    _, ended = await run(source + "for _ in range(3): call()", *arguments)
    expected = (
        "ConfigurationError reactor: twisted.internet.reactor cannot be imported: "
        "import of twisted.internet.reactor is forbidden here"
    )
    assert ended.said() == [expected] * 3


@pytest_twisted.ensureDeferred
async def test_reactor_that_can_be_imported_later_is_used(run: Any) -> None:
    source = FORBID.format(name="twisted.internet.reactor")
    _, ended = await run(source + "call(); del sys.meta_path[0]; say(trigger(client()))")
    assert ended.said()[1:] == ["{}"]


@pytest_twisted.ensureDeferred
async def test_crochet_that_cannot_be_imported_is_an_error_in_words(run: Any) -> None:
    source = FORBID.format(name="crochet")
    _, ended = await run(source + "for _ in range(2): call()")
    [line] = set(ended.said())
    assert line.startswith("ConfigurationError reactor: crochet, which runs the reactor")


@pytest_twisted.ensureDeferred
async def test_thread_that_cannot_be_started_is_the_same_error_each_time(run: Any) -> None:
    """Crochet takes itself for set up after a set-up that failed half-way."""
    _, ended = await run(
        FORBID.format(name="nothing")
        + """
import crochet
def set_up_nothing():
    pass
def fail_once():
    crochet.setup = set_up_nothing
    raise RuntimeError("can't start new thread")
crochet.setup = fail_once
call()
thread = threading.Thread(target=call)
thread.start()
thread.join(5)
say(thread.is_alive())
"""
    )
    failed = (
        "ConfigurationError reactor: crochet could not run the reactor in a thread: "
        "RuntimeError: can't start new thread"
    )
    assert ended.said() == [failed, failed, "False"]


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()", "GeneratorExit()"])
@pytest_twisted.ensureDeferred
async def test_callback_that_raises_no_exception_ends_the_wait(run: Any, error: str) -> None:
    """Whatever lies between the Deferred and the thread: the thread hears of it."""
    _, ended = await run(
        f"""
from txpusher import _reactor_thread
from twisted.internet.defer import succeed
def raising():
    def callback(_):
        raise {error}
    return succeed(None).addCallback(callback)
def at_once():
    raise {error}
for function in (raising, at_once):
    try:
        _reactor_thread.wait_for(function)
    except BaseException as error:
        say(type(error).__name__)
say(trigger(client()))
"""
    )
    name = error.partition("(")[0]
    assert ended.said() == [name, name, "{}"]
