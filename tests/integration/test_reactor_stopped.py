"""Blocking calls once the reactor stops, or has stopped: none of them waits for ever."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.support.misbehaving import OK, answering, never_answer, reply
from tests.support.programs import Program
from tests.support.waiting import until


@pytest.fixture
def program():
    """Starts programs, and ends those that are left."""
    programs = []

    def start(source, server):
        programs.append(Program(source, server.port))
        return programs[-1]

    yield start
    for started in programs:
        started.kill()


#: Works in a thread while the reactor runs, and is late in that or in the main thread.
AFTER_WORK = """
    made = {made}
    def late():
        say(attempt({late[0]}))
        say(attempt({late[1]}))
    def work():
        say({work})
        reactor.callFromThread(reactor.stop)
        if {thread!r} == "other":
            stopped.wait()
            late()
    stopped = threading.Event()
    worker = threading.Thread(target=work)
    from twisted.internet import reactor
    reactor.callWhenRunning(worker.start)
    reactor.run()
    stopped.set()
    worker.join()
    if {thread!r} == "main":
        late()
"""


class TestAfterRunHasReturned:
    @pytest.mark.parametrize("thread", ["main", "other"])
    @pytest_twisted.ensureDeferred
    async def test_a_first_call_is_refused_at_once_and_the_program_ends(
        self, serve, program, thread
    ):
        source = f"""
            import time
            from twisted.internet import reactor
            reactor.callWhenRunning(reactor.stop)
            reactor.run()
            def work():
                began = time.monotonic()
                say(attempt(trigger, client()))
                say(time.monotonic() - began < 2)
            if {thread!r} == "main":
                work()
            else:
                worker = threading.Thread(target=work)
                worker.start()
                worker.join()
        """
        server = serve(answering(OK))
        assert (await program(source, server).end()).said() == ["ClosedError False", "True"]
        assert server.connections == 0

    @pytest.mark.parametrize("thread", ["main", "other"])
    @pytest_twisted.ensureDeferred
    async def test_a_client_that_has_worked_is_refused_too(self, serve, program, thread):
        server = serve(answering(OK))
        source = AFTER_WORK.format(
            thread=thread,
            made="client()",
            work="trigger(made)",
            late=("trigger, made", "made.channels"),
        )
        ended = await program(source, server).end()
        assert ended.said() == ["{}", "ClosedError False", "ClosedError False"]
        assert len(server.requests) == 1

    @pytest.mark.parametrize("thread", ["main", "other"])
    @pytest_twisted.ensureDeferred
    async def test_a_publisher_that_has_worked_takes_no_event(self, serve, program, thread):
        server = serve(answering(OK))
        event = '"c", "e", "d"'
        source = AFTER_WORK.format(
            thread=thread,
            made="BlockingBatchPublisher(client())",
            work=f"made.submit({event}).result(10)",
            late=(f"made.submit, {event}", f"made.trigger, {event}"),
        )
        ended = await program(source, server).end()
        assert ended.said() == ["{}", "ClosedError False", "ClosedError False"]
        assert len(server.requests) == 1

    @pytest_twisted.ensureDeferred
    async def test_a_publisher_that_was_never_used_takes_no_event(self, serve, program):
        source = """
            from twisted.internet import reactor
            reactor.callWhenRunning(reactor.stop)
            reactor.run()
            publisher = BlockingBatchPublisher(client())
            say(attempt(publisher.submit, "c", "e", "d"))
            say(attempt(publisher.trigger, "c", "e", "d"))
        """
        server = serve(answering(OK))
        ended = await program(source, server).end()
        assert ended.said() == ["ClosedError False", "ClosedError False"]
        assert server.connections == 0


class TestWhileItStops:
    @pytest.mark.parametrize("phase", ["before", "during"])
    @pytest_twisted.ensureDeferred
    async def test_the_first_call_of_a_pool_thread_is_refused(self, serve, program, phase):
        """The reactor waits for its pool, whose thread must not wait for the reactor."""
        source = f"""
            from twisted.internet import reactor, threads
            stopping = threading.Event()
            reactor.addSystemEventTrigger({phase!r}, "shutdown", stopping.set)
            def work():
                stopping.wait()
                say(attempt(trigger, client()).split()[0])
            reactor.callWhenRunning(lambda: threads.deferToThread(work))
            reactor.callWhenRunning(reactor.callLater, 0, reactor.stop)
            reactor.run()
            say("stopped")
        """
        server = serve(answering(OK))
        assert (await program(source, server).end()).said() == ["ClosedError", "stopped"]
        assert server.connections == 0

    @pytest_twisted.ensureDeferred
    async def test_event_that_is_submitted_as_the_reactor_begins_to_stop_arrives(
        self, serve, program
    ):
        source = """
            from twisted.internet import reactor
            publisher = BlockingBatchPublisher(client())
            futures = []
            def submit():
                futures.append(publisher.submit("c", "e", "d"))
            def hold_up():
                thread = threading.Thread(target=submit)
                thread.start()
                thread.join()
            reactor.addSystemEventTrigger("before", "shutdown", hold_up)
            reactor.callWhenRunning(reactor.stop)
            reactor.run()
            say(futures[0].result(2))
        """
        server = serve(answering(OK))
        assert (await program(source, server).end()).said() == ["{}"]
        assert len(server.requests) == 1


IN_FLIGHT = """
    from twisted.internet import reactor
    publisher = BlockingBatchPublisher(client({options}), exit_timeout=0.2)
    futures = []
    def work():
        for number in range({events}):
            futures.append(publisher.submit("c", "e", number))
    worker = threading.Thread(target=work)
    def begin():
        # Nothing is sent, and so nothing interrupted, before all of them are submitted.
        worker.start()
        worker.join()
    reactor.callWhenRunning(begin)
    reactor.run()
    for future in futures:
        # It can be settled by the reactor only.
        say(type(future.exception(0)).__name__ if future.done() else "never")
"""


class TestInFlight:
    """What :meth:`BlockingBatchPublisher.submit` has under way when the reactor stops."""

    @pytest_twisted.ensureDeferred
    async def test_an_event_that_was_sent_fails(self, serve, program):
        server = serve(never_answer)
        running = program(IN_FLIGHT.format(options="", events=1), server)
        await until(lambda: server.requests)
        running.interrupt()
        [said] = (await running.end()).said()
        assert said in ("HTTPError", "ClosedError")

    @pytest_twisted.ensureDeferred
    async def test_events_that_wait_for_the_batch_before_them_fail(self, serve, program):
        server = serve(never_answer)
        running = program(IN_FLIGHT.format(options="max_connections=1", events=3), server)
        await until(lambda: server.requests)
        running.interrupt()
        said = (await running.end()).said()
        assert len(said) == 3
        assert "never" not in said

    @pytest_twisted.ensureDeferred
    async def test_an_event_that_waits_for_its_connection_fails(self, serve, program):
        async def silent(peer):
            await peer.stall()

        server = serve(silent)
        running = program(IN_FLIGHT.format(options="use_tls=True", events=1), server)
        await until(lambda: server.peers)
        running.interrupt()
        [said] = (await running.end()).said()
        assert said in ("HTTPError", "ClosedError")

    @pytest_twisted.ensureDeferred
    async def test_an_event_that_waits_to_be_repeated_fails(self, serve, program):
        server = serve(answering(reply(429, "", "Retry-After: 30")))
        running = program(IN_FLIGHT.format(options="", events=1), server)
        await until(lambda: server.requests)
        await server.peers[0].pause(0.1)
        running.interrupt()
        [said] = (await running.end()).said()
        assert said in ("RateLimitedError", "ClosedError")
