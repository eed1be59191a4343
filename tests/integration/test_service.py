"""PusherService: an application ends when its events are sent, or its time is up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyObject

import txpusher
from tests.support.asserting import error_of, kinds, outcomes_of
from tests.support.credentials import APP_ID, KEY, SECRET
from tests.support.misbehaving import OK, answering, never_answer
from tests.support.observing import timers
from tests.support.waiting import pause, until, within
from txpusher import BatchPublisher, BlockingPusher, ClosedError, ConfigurationError, Pusher
from txpusher.service import PusherService


async def slowly(peer):
    """Answer each request after a while."""
    while True:
        await peer.request()
        await pause(0.05)
        peer.send(OK)


def warnings(log):
    return [event for event in log.events if event["log_level"].name == "warn"]


class TestSettings:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"flush_timeout": -1}, "flush_timeout must be a number of seconds >= 0"),
            ({"flush_timeout": "5"}, "flush_timeout must be a number of seconds >= 0"),
            ({"publisher": 3}, "publisher must be a BatchPublisher, not the int 3"),
            ({"pusher": 3}, "pusher must be a Pusher, not the int 3"),
        ],
    )
    def test_malformed_argument_is_refused(self, options, message):
        arguments = {"pusher": Pusher(APP_ID, KEY, SECRET), **options}
        with pytest.raises(ConfigurationError) as caught:
            PusherService(arguments.pop("pusher"), **arguments)
        assert message in str(caught.value)

    def test_service_is_an_iservice(self):
        assert verifyObject(IService, PusherService(Pusher(APP_ID, KEY, SECRET)))

    def test_blocking_pusher_is_refused(self):
        with pytest.raises(ConfigurationError, match="not the BlockingPusher"):
            PusherService(BlockingPusher(APP_ID, KEY, SECRET))


class TestStopping:
    @pytest_twisted.ensureDeferred
    async def test_operations_that_wait_are_sent_before_the_client_closes(self, serve, connect):
        server = serve(slowly)
        pusher = connect(server, max_connections=1)
        service = PusherService(pusher)
        service.startService()
        operations = [pusher.trigger("c", "e", number) for number in range(5)]
        await within(service.stopService())
        assert await within(gatherResults(operations)) == [{}] * 5
        assert pusher.stats.open_connections == 0
        await error_of(pusher.trigger("c", "e", "d"), ClosedError)

    @pytest_twisted.ensureDeferred
    async def test_events_of_the_publisher_are_sent_before_it_closes(self, serve, connect):
        server = serve(slowly)
        pusher = connect(server, max_connections=1)
        publisher = BatchPublisher(pusher)
        service = PusherService(pusher, publisher=publisher)
        service.startService()
        operations = [publisher.trigger("c", "e", number) for number in range(25)]
        await within(service.stopService())
        assert await within(gatherResults(operations)) == [{}] * 25
        await error_of(publisher.trigger("c", "e", "d"), ClosedError)

    @pytest.mark.parametrize("flush_timeout", [0, 0.1])
    @pytest_twisted.ensureDeferred
    async def test_operations_left_at_the_timeout_fail_and_are_counted(
        self, flush_timeout, serve, connect, log
    ):
        server = serve(never_answer)
        pusher = connect(server, max_connections=1)
        service = PusherService(pusher, flush_timeout=flush_timeout)
        service.startService()
        operations = [pusher.trigger("c", "e", number) for number in range(3)]
        outcomes = outcomes_of(operations)
        before = timers()
        await within(service.stopService(), 2.0)
        assert kinds(outcomes) == [[ClosedError]] * 3
        assert [event["operations"] for event in warnings(log)] == [3]
        assert "3 operations of app 3 not settled" in log.text
        assert not set(timers()) - set(before)

    @pytest_twisted.ensureDeferred
    async def test_events_left_at_the_timeout_fail_and_are_counted(self, serve, connect, log):
        server = serve(never_answer)
        pusher = connect(server, max_connections=1)
        publisher = BatchPublisher(pusher)
        service = PusherService(pusher, publisher=publisher, flush_timeout=0.1)
        service.startService()
        outcomes = outcomes_of([publisher.trigger("c", "e", number) for number in range(12)])
        await within(service.stopService(), 2.0)
        assert kinds(outcomes) == [[ClosedError]] * 12
        assert [(one["events"], one["operations"]) for one in warnings(log)] == [(12, 1)]
        assert "12 events and 1 operation of app 3 not settled" in log.text

    @pytest_twisted.ensureDeferred
    async def test_idle_client_is_closed_without_a_word(self, serve, connect, log):
        server = serve(answering(OK))
        pusher = connect(server)
        service = PusherService(pusher, publisher=BatchPublisher(pusher), flush_timeout=60)
        service.startService()
        await within(pusher.trigger("c", "e", "d"))
        await within(service.stopService(), 2.0)
        assert pusher.stats.open_connections == 0
        assert warnings(log) == []

    @pytest_twisted.ensureDeferred
    async def test_service_that_was_not_started_leaves_the_client_open(self, serve, connect):
        pusher = connect(serve(answering(OK)))
        service = PusherService(pusher)
        await within(service.stopService())
        service.privilegedStartService()
        service.startService()
        assert await within(pusher.trigger("c", "e", "d")) == {}

    @pytest_twisted.ensureDeferred
    async def test_second_stop_waits_for_the_first(self, serve, connect):
        pusher = connect(serve(slowly))
        service = PusherService(pusher)
        service.startService()
        operation = pusher.trigger("c", "e", "d")
        first, second = service.stopService(), service.stopService()
        assert not first.called
        assert not second.called
        await within(gatherResults([first, second]))
        assert operation.called
        assert await within(service.stopService()) is None

    @pytest_twisted.ensureDeferred
    async def test_stopped_service_does_not_start_again(self, serve, connect):
        service = PusherService(connect(serve(answering(OK))))
        service.startService()
        await within(service.stopService())
        with pytest.raises(ClosedError, match="the service was stopped"):
            service.startService()

    @pytest_twisted.ensureDeferred
    async def test_last_event_of_another_service_is_sent(self, serve, connect):
        server = serve(answering(OK))
        pusher = connect(server)

        class SayingGoodbye(Service):
            def stopService(self):
                super().stopService()
                self.said = pusher.trigger("c", "goodbye", "d")

        application = MultiService()
        goodbye = SayingGoodbye()
        goodbye.setServiceParent(application)
        # The service added last is stopped first.
        PusherService(pusher).setServiceParent(application)
        application.startService()
        await within(application.stopService())
        assert await within(goodbye.said) == {}


SERVICES = """
from twisted.application.service import Application, MultiService, Service
from txpusher import BatchPublisher, Pusher
from txpusher.service import PusherService

class Announcing(Service):
    def startService(self):
        super().startService()
        for number in range(200):
            publisher.trigger("c", "batch", number)
            if number < 40:
                pusher.trigger("c", "single", number)

    def stopService(self):
        super().stopService()
        publisher.trigger("c", "goodbye", "d")

pusher = Pusher({id!r}, {key!r}, {secret!r}, host="127.0.0.1", port={port}, use_tls=False,
                max_connections=1)
publisher = BatchPublisher(pusher)

def add_to(parent):
    Announcing().setServiceParent(parent)
    PusherService(pusher, publisher=publisher, flush_timeout=30).setServiceParent(parent)
    return parent
"""

TAC = "application = add_to(Application('announcing'))"

PLUGIN = """
from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin
from twisted.python.usage import Options
from zope.interface import implementer

@implementer(IServiceMaker, IPlugin)
class Maker:
    tapname = "announcing"
    description = "Announces."
    options = Options

    def makeService(self, options):
        return add_to(MultiService())

maker = Maker()
"""


def twistd(directory, source):
    """Command line of twistd, running a .tac file."""
    (directory / "announcing.tac").write_text(source + TAC)
    run = "from twisted.scripts.twistd import run; run()"
    return [sys.executable, "-c", run, "--nodaemon", "--python", "announcing.tac", "--pidfile="]


def twist(directory, source):
    """Command line of twist, running a plug-in."""
    plugins = directory / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "announcing.py").write_text(source + PLUGIN)
    return [sys.executable, "-m", "twisted", "announcing"]


@pytest.mark.parametrize("runner", [twistd, twist])
@pytest_twisted.ensureDeferred
async def test_application_that_is_terminated_has_sent_its_events(runner, serve, tmp_path):
    async def at_leisure(peer):
        while True:
            request = await peer.request()
            await pause(0.01)
            events.extend(json.loads(request.body).get("batch", [request]))
            peer.send(OK)

    events = []
    server = serve(at_leisure)
    source = SERVICES.format(id=APP_ID, key=KEY, secret=SECRET, port=server.port)
    root = Path(txpusher.__file__).parents[1]
    process = subprocess.Popen(
        runner(tmp_path, source),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        await until(lambda: server.requests)
        process.send_signal(signal.SIGTERM)
        output, _ = await within(deferToThread(process.communicate, timeout=30), 40)
    finally:
        process.kill()
    assert len(events) == 241, output
    assert "settled" not in output
    assert "Traceback" not in output
