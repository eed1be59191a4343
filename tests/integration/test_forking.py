"""Blocking calls in processes that were forked, before the reactor began or after."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.support.misbehaving import OK, answering
from tests.support.programs import Program


@pytest.fixture
def run(serve):
    """Runs a program beside a server that answers; gives both."""
    programs = []

    async def run(source):
        server = serve(answering(OK))
        programs.append(Program(source, server.port))
        return server, await programs[-1].end()

    yield run
    for started in programs:
        started.kill()


FORK = """
def fork(call, *arguments):
    child = os.fork()
    if not child:
        say("child", call(*arguments))
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest_twisted.ensureDeferred
async def test_call_in_a_fork_after_a_call_is_refused_and_the_parent_goes_on(run):
    _, ended = await run(
        f"""{FORK}
blocking = client()
say(trigger(blocking))
fork(attempt, trigger, blocking)
fork(attempt, trigger, client())
fork(attempt, blocking.close)
say(trigger(blocking))
"""
    )
    refused = "child BlockingCallError False"
    assert ended.said() == ["{}", refused, refused, refused, "{}"]


@pytest_twisted.ensureDeferred
async def test_fork_before_any_call_works_in_parent_and_child(run):
    server, ended = await run(
        f"""{FORK}
blocking = client()
fork(attempt, trigger, blocking)
fork(attempt, trigger, blocking)
say(trigger(blocking))
"""
    )
    assert ended.said() == ["child {}", "child {}", "{}"]
    assert server.connections == 3


@pytest_twisted.ensureDeferred
async def test_fork_with_an_imported_idle_reactor_works(run):
    _, ended = await run(
        f"""{FORK}
from twisted.internet import reactor
fork(attempt, trigger, client())
say(trigger(client()))
"""
    )
    assert ended.said() == ["child {}", "{}"]


@pytest_twisted.ensureDeferred
async def test_call_in_a_fork_of_a_worker_thread_is_refused(run):
    _, ended = await run(
        f"""{FORK}
from twisted.internet import reactor
def work():
    fork(attempt, trigger, client())
    say(trigger(client()))
    reactor.callFromThread(reactor.stop)
reactor.callWhenRunning(threading.Thread(target=work).start)
reactor.run()
"""
    )
    assert ended.said() == ["child BlockingCallError False", "{}"]


SLOW_SETUP = """
import crochet, time
from twisted.internet import reactor
run, begin = reactor.run, threading.Event()
def run_slowly(**options):
    begin.wait()
    run(**options)
reactor.run = run_slowly
crochet.setup()
"""


@pytest_twisted.ensureDeferred
async def test_call_in_a_fork_made_while_crochet_starts_is_refused(run):
    _, ended = await run(
        f"""{FORK}{SLOW_SETUP}
fork(attempt, trigger, client())
begin.set()
say(trigger(client()))
fork(attempt, trigger, client())
say(trigger(client()))
"""
    )
    refused = "child BlockingCallError False"
    assert ended.said() == [refused, "{}", refused, "{}"]


@pytest_twisted.ensureDeferred
async def test_a_thread_of_the_child_is_refused_too(run):
    _, ended = await run(
        f"""{FORK}{SLOW_SETUP}
def in_thread():
    said = []
    thread = threading.Thread(target=lambda: said.append(attempt(trigger, client())))
    thread.daemon = True
    thread.start()
    thread.join(5)
    return said
fork(in_thread)
begin.set()
say(trigger(client()))
fork(in_thread)
"""
    )
    refused = "child ['BlockingCallError False']"
    assert ended.said() == [refused, "{}", refused]


@pytest_twisted.ensureDeferred
async def test_refusal_after_a_fork_says_what_to_do(run):
    _, ended = await run(
        f"""{FORK}
def call():
    try:
        trigger(client())
    except BlockingCallError as error:
        return error
trigger(client())
fork(call)
"""
    )
    [line] = ended.said()
    assert "fork" in line
    assert "first call after the fork" in line


@pytest_twisted.ensureDeferred
async def test_the_operations_without_io_work_anywhere(run):
    _, ended = await run(
        f"""{FORK}
blocking = client()
trigger(blocking)
fork(lambda: sorted(blocking.authenticate("private-c", "1.2")))
"""
    )
    assert ended.said() == ["child ['auth']"]


@pytest.mark.parametrize("first", ["", "trigger(client())"], ids=["before", "after"])
@pytest_twisted.ensureDeferred
async def test_calls_in_a_pool_of_forked_processes_end(run, first):
    _, ended = await run(
        f"""
import multiprocessing
def work(number):
    return attempt(trigger, client(), number)
{first}
with multiprocessing.get_context("fork").Pool(2) as pool:
    say(set(map(str, pool.map_async(work, range(6)).get(15))))
"""
    )
    expected = "{'BlockingCallError False'}" if first else "{'{}'}"
    assert ended.said() == [expected]


@pytest_twisted.ensureDeferred
async def test_a_child_that_called_ends_by_itself(run):
    _, ended = await run(
        """
child = os.fork()
say("child" if not child else "parent", trigger(client()))
if child:
    say(os.waitpid(child, 0)[1])
"""
    )
    assert sorted(ended.said()) == ["0", "child {}", "parent {}"]
