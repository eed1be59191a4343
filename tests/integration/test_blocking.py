"""Blocking calls in programs of every kind, and where they are refused."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.support.misbehaving import OK, answering, in_turn, never_answer, reply
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


class TestPlainScript:
    @pytest_twisted.ensureDeferred
    async def test_plain_script_needs_no_reactor_and_ends_by_itself(self, serve, program):
        source = """
            blocking = client()
            assert "twisted.internet.reactor" not in sys.modules
            assert "crochet" not in sys.modules
            assert threading.active_count() == 1
            say(trigger(blocking), blocking.channels())
            say(blocking["c"].trigger("e", {"x": 1}))
        """
        server = serve(answering(OK, reply(200, '{"channels": {}}'), OK))
        ended = await program(source, server).end()
        assert ended.said() == ["{} {'channels': {}}", "{}"]
        assert server.connections == 1

    @pytest_twisted.ensureDeferred
    async def test_plain_script_may_close_its_client(self, serve, program):
        source = """
            with client() as blocking:
                say(trigger(blocking))
            say(attempt(trigger, blocking))
            blocking.close()
            say(blocking.stats.open_connections)
        """
        ended = await program(source, serve(answering(OK))).end()
        assert ended.said() == ["{}", "ClosedError False", "0"]

    @pytest_twisted.ensureDeferred
    async def test_error_is_raised_with_its_own_class(self, serve, program):
        source = """
            blocking = client(timeout=0.2, retry=RetryPolicy(max_retries=0))
            for _ in range(3):
                say(attempt(trigger, blocking))
            say(attempt(lambda: blocking.trigger("no such name", "e", "d")))
            say(attempt(lambda: blocking.channels()))
            try:
                trigger(blocking)
            except BadRequestError as error:
                say(error.status, error.body, error.path)
        """
        answers = answering(reply(401), reply(429), reply(500), reply(404), reply(400, "why"))
        ended = await program(source, serve(answers)).end()
        assert ended.said() == [
            "AuthenticationError False",
            "RateLimitedError False",
            "ServerError True",
            "InvalidRequestError False",
            "NotFoundError False",
            "400 why /apps/3/events",
        ]

    @pytest_twisted.ensureDeferred
    async def test_error_that_ends_a_script_has_the_traceback_of_the_call(self, serve, program):
        ended = await program("trigger(client())", serve(answering(reply(403)))).end()
        assert ended.code == 1
        assert ended.errors.startswith("Traceback")
        assert "return blocking.trigger(" in ended.errors or "in trigger" in ended.errors
        last = ended.errors.splitlines()[-1]
        assert last == "txpusher.errors.ForbiddenError: POST /apps/3/events: status 403: {}"
        assert "Unhandled" not in ended.errors

    @pytest_twisted.ensureDeferred
    async def test_threads_may_share_a_client(self, serve, program):
        source = """
            blocking = client(max_connections=4)
            results = []
            def work():
                for number in range(25):
                    results.append(trigger(blocking, number))
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            say(results == [{}] * 200, blocking.stats.succeeded)
        """
        server = serve(answering(OK))
        assert (await program(source, server).end()).said() == ["True 200"]
        assert len(server.requests) == 200
        assert server.connections <= 4

    @pytest_twisted.ensureDeferred
    async def test_reactor_installed_by_the_script_is_used(self, serve, program):
        source = """
            from twisted.internet import asyncioreactor
            asyncioreactor.install()
            say(trigger(client(host="localhost")))
            from twisted.internet import reactor
            say(type(reactor).__name__)
        """
        ended = await program(source, serve(answering(OK))).end()
        assert ended.said() == ["{}", "AsyncioSelectorReactor"]


class TestBesideAReactor:
    @pytest.mark.parametrize("made", ["client()", "BlockingPusher.wrap(Pusher(**settings()))"])
    @pytest_twisted.ensureDeferred
    async def test_workers_call_while_the_reactor_runs_in_the_main_thread(
        self, serve, program, made
    ):
        source = f"""
            from twisted.internet import defer, reactor, threads
            blocking = {made}
            async def main():
                work = [threads.deferToThread(trigger, blocking, n) for n in range(20)]
                say(await defer.gatherResults(work) == [{{}}] * 20)
                await threads.deferToThread(blocking.close)
                reactor.stop()
            reactor.callWhenRunning(lambda: defer.ensureDeferred(main()))
            reactor.run()
        """
        server = serve(answering(OK))
        assert (await program(source, server).end()).said() == ["True"]
        assert len(server.requests) == 20

    @pytest_twisted.ensureDeferred
    async def test_beside_crochets_setup(self, serve, program):
        source = """
            import crochet
            crochet.setup()
            say(trigger(client()))
            crochet.setup()
            say(trigger(client()))
        """
        assert (await program(source, serve(answering(OK))).end()).said() == ["{}", "{}"]

    @pytest_twisted.ensureDeferred
    async def test_call_before_the_applications_crochet_setup_works(self, serve, program):
        source = """
            say(trigger(client()))
            import crochet
            crochet.setup()
            @crochet.wait_for(5)
            def work():
                return Pusher(**settings()).trigger("c", "e", "d")
            say(work())
        """
        assert (await program(source, serve(answering(OK))).end()).said() == ["{}", "{}"]

    @pytest.mark.parametrize("where", ["before", "after"])
    @pytest_twisted.ensureDeferred
    async def test_beside_crochets_no_setup(self, serve, program, where):
        """The application runs the reactor; the worker starts before it, or after."""
        source = f"""
            import crochet
            crochet.no_setup()
            from twisted.internet import reactor
            def work():
                say(trigger(client()))
                reactor.callFromThread(reactor.stop)
            worker = threading.Thread(target=work)
            if {where!r} == "before":
                worker.start()
            else:
                reactor.callWhenRunning(worker.start)
            reactor.run()
        """
        assert (await program(source, serve(answering(OK))).end()).said() == ["{}"]

    @pytest_twisted.ensureDeferred
    async def test_the_reactor_may_run_in_a_thread_of_the_applications(self, serve, program):
        source = """
            from twisted.internet import reactor
            running = threading.Event()
            reactor.callWhenRunning(running.set)
            threading.Thread(target=reactor.run, args=(False,), name="ours").start()
            running.wait()
            say(trigger(client()))
            reactor.callFromThread(reactor.stop)
        """
        assert (await program(source, serve(answering(OK))).end()).said() == ["{}"]


class TestRefused:
    @pytest_twisted.ensureDeferred
    async def test_call_in_the_reactor_thread_is_refused(self, serve, program):
        source = """
            from twisted.internet import reactor
            def work():
                say(attempt(trigger, client()), attempt(client().close))
                reactor.stop()
            reactor.callWhenRunning(work)
            reactor.run()
        """
        server = serve(answering(OK))
        [line] = (await program(source, server).end()).said()
        assert line == "BlockingCallError False BlockingCallError False"
        assert server.connections == 0

    @pytest_twisted.ensureDeferred
    async def test_call_in_the_thread_of_crochets_reactor_is_refused(self, serve, program):
        source = """
            import crochet
            blocking = client()
            say(trigger(blocking))
            crochet.run_in_reactor(lambda: say(attempt(trigger, blocking)))().wait(5)
        """
        ended = await program(source, serve(answering(OK))).end()
        assert ended.said() == ["{}", "BlockingCallError False"]

    @pytest_twisted.ensureDeferred
    async def test_call_before_the_application_runs_its_reactor_is_refused(
        self, serve, program
    ):
        source = """
            import crochet
            crochet.no_setup()
            for _ in range(2):
                say(attempt(trigger, client()))
        """
        ended = await program(source, serve(answering(OK))).end()
        assert ended.said() == ["BlockingCallError False"] * 2

    @pytest_twisted.ensureDeferred
    async def test_refusal_of_a_blocking_call_is_a_runtime_error(self, serve, program):
        source = """
            import crochet
            crochet.no_setup()
            try:
                trigger(client())
            except RuntimeError as error:
                say(error)
        """
        ended = await program(source, serve(answering(OK))).end()
        assert "no_setup()" in ended.said()[0]


class TestStopping:
    @pytest_twisted.ensureDeferred
    async def test_reactor_that_stops_ends_the_call_in_flight(self, serve, program):
        source = """
            from twisted.internet import reactor
            def work():
                say(attempt(trigger, client()))
                say(attempt(trigger, client()))
            reactor.callWhenRunning(threading.Thread(target=work).start)
            reactor.run()
        """

        async def wait_to_be_stopped(peer):
            await peer.request()
            running.interrupt()
            await peer.stall()

        server = serve(wait_to_be_stopped)
        running = program(source, server)
        ended = await running.end()
        assert ended.said() == ["ClosedError True", "ClosedError False"]

    @pytest_twisted.ensureDeferred
    async def test_ctrl_c_ends_the_call_the_request_and_the_program(self, serve, program):
        source = """
            say("begun")
            trigger(client(timeout=300))
            say("never said")
        """
        server = serve(never_answer)
        running = program(source, server)
        await until(lambda: server.requests)
        [peer] = server.peers
        running.interrupt()
        await until(lambda: peer.is_gone)
        ended = await running.end()
        assert ended.code != 0
        assert ended.output == "begun\n"
        assert ended.errors.splitlines()[-1] == "KeyboardInterrupt"
        assert "Unhandled" not in ended.errors
        assert "CancelledError" not in ended.errors

    @pytest_twisted.ensureDeferred
    async def test_a_program_may_go_on_after_ctrl_c(self, serve, program):
        source = """
            blocking = client(timeout=300, max_connections=1)
            try:
                trigger(blocking)
            except KeyboardInterrupt:
                say("interrupted")
            say(trigger(blocking))
        """
        server = serve(in_turn(never_answer, answering(OK)))
        running = program(source, server)
        await until(lambda: server.requests)
        running.interrupt()
        assert (await running.end()).said() == ["interrupted", "{}"]
        assert server.connections == 2

    @pytest_twisted.ensureDeferred
    async def test_ctrl_c_takes_the_waiting_operation_out_of_the_queue(self, serve, program):
        source = """
            blocking = client(timeout=300, max_connections=1)
            holder = threading.Thread(target=attempt, args=(trigger, blocking, "first"))
            holder.start()
            while not blocking.stats.in_flight: pass
            try:
                trigger(blocking, "second")
            except KeyboardInterrupt:
                say("interrupted")
            while blocking.stats.pending: pass
            blocking.close(timeout=0.1)
            holder.join()
        """
        server = serve(never_answer)
        running = program(source, server)
        await until(lambda: server.requests)
        await server.peers[0].pause(0.3)
        running.interrupt()
        assert (await running.end()).said() == ["interrupted"]
        assert [b"second" in body for body in server.bodies] == [False]
