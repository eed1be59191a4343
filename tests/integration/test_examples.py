"""Every example, run as its reader would run it, against a server on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import pytest_twisted
import treq
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.support.observing import Log
from tests.support.waiting import within
from txpusher import Pusher
from txpusher._protocol.signing import hmac_hex

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

#: Seconds that an example may take.
PATIENCE = 30

#: Whether the embedded server can run.
HAVE_WEBSOCKETS = importlib.util.find_spec("wsproto") is not None


class Published(NamedTuple):
    """An event that reached the server."""

    channel: str
    name: str
    data: Any


class Sink(Resource):
    """
    Takes every request for a good one, where the embedded server cannot run.

    Two people are on every channel.
    """

    isLeaf = True

    def __init__(self) -> None:
        from twisted.internet import reactor

        super().__init__()
        self.events: list[Published] = []
        self._listening: Any = reactor.listenTCP(0, Site(self), interface="127.0.0.1")
        port = cast(Any, self._listening.getHost()).port
        self.url = f"http://app-key:app-secret@127.0.0.1:{port}/apps/1"

    def stop(self) -> Any:
        return self._listening.stopListening()

    def render_POST(self, request: Any) -> bytes:
        body = json.load(request.content)
        for event in body.get("batch", [body]):
            for channel in event.get("channels", [event.get("channel")]):
                data = _decoded(event["data"])
                self.events.append(Published(channel, event["name"], data))
        return b"{}"

    def render_GET(self, request: Any) -> bytes:
        users = [{"id": "alice"}, {"id": "bob"}]
        return json.dumps({"occupied": True, "channels": {}, "users": users}).encode()


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def published(server: Any) -> list[Published]:
    """What has reached the server."""
    return [Published(event.channel, event.name, event.data) for event in server.events]


@pytest_twisted.async_yield_fixture
async def server(log: Log, clean_reactor: None) -> AsyncIterator[Any]:
    """A Channels server: the embedded one where it can run, else a sink."""
    if HAVE_WEBSOCKETS:
        from txpusher.testing import RunningServer

        server: Any = await RunningServer.start()
    else:
        server = Sink()
    yield server
    await server.stop()


#: Twisted holds a descriptor in reserve while it listens, and leaves it to the interpreter.
WARNINGS = (
    "error::ResourceWarning,"
    "ignore:unclosed file <_io.TextIOWrapper name='/dev/null' mode='r':ResourceWarning"
)


def process(example: str | Path, url: str, *arguments: str) -> dict[str, Any]:
    """How an example is started."""
    return {
        "args": [sys.executable, EXAMPLES / example, *arguments],
        "env": {**os.environ, "PUSHER_URL": url, "PYTHONWARNINGS": WARNINGS},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }


def assert_quiet(errors: str) -> None:
    """Nothing went wrong behind the example's back."""
    for word in ("Traceback", "Unhandled", "Warning"):
        assert word not in errors, errors


async def run(example: str | Path, url: str, *arguments: str, exit_code: int = 0) -> str:
    """What an example prints, once it has ended as it should."""
    ended = await deferToThread(
        subprocess.run, timeout=PATIENCE, **process(example, url, *arguments)
    )
    assert_quiet(ended.stderr)
    assert ended.returncode == exit_code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


class Service:
    """An example that serves: where it listens, and what it prints."""

    def __init__(self, example: str, url: str) -> None:
        self._process = subprocess.Popen(**process(example, url, "0"))

    def readline(self) -> Deferred[str]:
        """The next line that it prints."""
        return within(deferToThread(self._process.stdout.readline), PATIENCE)

    async def ready(self) -> str:
        """Its URL, once it listens."""
        line = await self.readline()
        assert line.startswith("ready: http://127.0.0.1:"), line
        return line.removeprefix("ready: ").strip()

    def end(self) -> None:
        """Stop it as a terminal would."""
        self._process.terminate()
        try:
            _, errors = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, errors = self._process.communicate()
        assert_quiet(errors)
        assert self._process.returncode == 0, errors


@pytest.fixture
def service(server: Any) -> Iterator[Any]:
    """Starts an example that serves; it is ended after the test."""
    services: list[Service] = []

    def start(example: str) -> Service:
        services.append(Service(example, server.url))
        return services[-1]

    yield start
    for started in services:
        started.end()


async def request(method: str, url: str, **options: Any) -> tuple[int, str]:
    """The status and the text of a reply."""
    from twisted.internet import reactor

    response = await within(treq.request(method, url, agent=Agent(reactor), **options))
    return response.code, await response.text()


def test_every_example_is_run_by_a_test():
    examples = {path.stem for path in EXAMPLES.glob("**/*.py")}
    assert examples
    here = Path(__file__).parent
    beside = here.parent / "interop"
    tests = (*here.glob("test_*examples.py"), *beside.glob("test_*_example.py"))
    text = "\n".join(path.read_text("utf-8") for path in tests)
    assert {name for name in examples if name not in text} == set()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("**/*.py")), ids=lambda path: path.name)
def test_example_says_its_subject_and_its_command(path):
    text = path.read_text("utf-8")
    assert text.startswith('"""\n')
    # A file of Python, or a module that a server imports.
    assert path.name in text or f"{path.stem}:" in text


@pytest_twisted.ensureDeferred
async def test_first_program_of_the_readme_runs(server, tmp_path):
    _, _, after = (ROOT / "README.rst").read_text("utf-8").partition("\nA first program\n")
    _, _, after = after.partition(".. code-block:: python\n\n")
    program = tmp_path / "first.py"
    program.write_text(textwrap.dedent(re.findall(r"\A(?:(?:    .*)?\n)+", after)[0]), "utf-8")
    assert await run(program, server.url) == ""
    assert published(server) == [Published("my-channel", "my-event", {"hello": "world"})]


@pytest_twisted.ensureDeferred
async def test_publish_with_callbacks(server):
    printed = await run("publish_with_callbacks.py", server.url)
    assert printed == "the server has accepted the event\n"
    assert published(server) == [Published("my-channel", "my-event", {"hello": "world"})]


@pytest_twisted.ensureDeferred
async def test_a_failure_is_told_with_callbacks(server):
    url = server.url.replace("app-secret", "wrong")
    if isinstance(server, Sink):
        pytest.skip("the sink believes everyone")
    printed = await run("publish_with_callbacks.py", url, exit_code=1)
    assert printed.startswith("not published: POST /apps/1/events: status 401")
    assert published(server) == []


@pytest_twisted.ensureDeferred
async def test_publish_with_await(server):
    printed = await run("publish_with_await.py", server.url)
    assert printed.splitlines() == ["one channel", "two channels", "a batch", "a user"]
    assert published(server) == [
        Published("news", "headline", {"text": "Twisted turns a page"}),
        Published("room-1", "notice", "back in 5 min"),
        Published("room-2", "notice", "back in 5 min"),
        Published("prices", "tick", {"symbol": "TX", "price": 41}),
        Published("prices", "tick", {"symbol": "PY", "price": 42}),
        Published("#server-to-user-alice", "reminder", {"at": "17:00"}),
    ]


@pytest_twisted.ensureDeferred
async def test_chain_operations(server):
    printed = (await run("chain_operations.py", server.url)).splitlines()
    assert printed[-1].startswith("a mistake in this program: channel name must be")
    begins, *cards = published(server)
    assert begins == Published("presence-table-7", "game-begins", {"game": "whist"})
    if not isinstance(server, Sink):
        assert printed[0] == "nobody is at the table"
        assert cards == []


@pytest_twisted.ensureDeferred
async def test_chain_operations_with_players():
    server = Sink()
    printed = await run("chain_operations.py", server.url)
    await server.stop()
    assert printed.startswith("dealt to alice, bob\n")
    assert sorted(published(server)[1:]) == [
        Published("#server-to-user-alice", "card", {"card": 0}),
        Published("#server-to-user-bob", "card", {"card": 1}),
    ]


@pytest_twisted.ensureDeferred
async def test_chain_operations_with_no_server():
    server = Sink()
    await server.stop()
    printed = await run("chain_operations.py", server.url)
    assert printed.startswith("it did not arrive, send it again: POST /apps/1/events: ")


@pytest_twisted.ensureDeferred
async def test_blocking_script(server):
    printed = await run("blocking_script.py", server.url)
    assert printed == "published\n"
    assert published(server) == [Published("reports", "ready", {"report": 12})]


@pytest_twisted.ensureDeferred
async def test_a_blocking_script_fails_in_one_line():
    server = Sink()
    await server.stop()
    printed = await run("blocking_script.py", server.url, exit_code=1)
    assert printed.startswith("not published: POST /apps/1/events: ")
    assert printed.count("\n") == 1


@pytest_twisted.ensureDeferred
async def test_blocking_threads(server):
    printed = await run("blocking_threads.py", server.url)
    assert printed == "20 threads have published\n"
    *computed, finished = published(server)
    assert {event.data["number"]: event.data["square"] for event in computed} == {
        number: number * number for number in range(20)
    }
    assert finished == Published("results", "finished", {"sum": 2470})


@pytest_twisted.ensureDeferred
async def test_many_events(server):
    printed = await run("many_events.py", server.url)
    said = re.fullmatch(r"1000 events in (\d+) requests, 0 failed\n", printed)
    assert said, printed
    # At first the publisher is idle, and sends some events by themselves.
    assert 100 <= int(said[1]) <= 200
    assert sorted(event.data["number"] for event in published(server)) == list(range(1000))
    of_one = [e.data["number"] for e in published(server) if e.channel == "sensor-7"]
    assert of_one == sorted(of_one)


@pytest_twisted.ensureDeferred
async def test_authorise_subscribers(server, service):
    url = await service("authorise_subscribers.py").ready()
    pusher = Pusher.from_url(server.url)
    alice = {"user": "alice"}

    async def post(url: str, cookies: Any, **form: str) -> tuple[int, Any]:
        status, text = await request("POST", url, cookies=cookies, data=form)
        return status, json.loads(text)

    asked = {"socket_id": "12.34", "channel_name": "presence-lobby"}
    member = pusher.authenticate("presence-lobby", "12.34", {"user_id": "alice"})
    assert await post(url, alice, **asked) == (200, member)
    asked["channel_name"] = "private-alice"
    subscriber = pusher.authenticate("private-alice", "12.34")
    assert await post(url, alice, **asked) == (200, subscriber)
    assert (await post(url, {"user": "bob"}, **asked))[0] == 403
    assert (await post(url, {}, **asked))[0] == 403
    assert (await post(url, alice, **{**asked, "socket_id": "12.34:x"}))[0] == 400

    user_url = url.replace("/auth", "/user-auth")
    user = pusher.authenticate_user("12.34", {"id": "alice"})
    assert await post(user_url, alice, socket_id="12.34") == (200, user)
    assert (await post(user_url, {}, socket_id="12.34"))[0] == 403
    assert (await post(user_url, alice))[0] == 400


@pytest_twisted.ensureDeferred
async def test_receive_webhooks(service):
    receiver = service("receive_webhooks.py")
    url = await receiver.ready()

    async def post(body: bytes, secret: str = "app-secret") -> int:
        headers = {
            "Content-Type": "application/json",
            "X-Pusher-Key": "app-key",
            "X-Pusher-Signature": hmac_hex(secret, body),
        }
        status, _ = await request("POST", url, headers=headers, data=body)
        return status

    event = {"name": "channel_occupied", "channel": "news"}
    body = json.dumps({"time_ms": 1327078148132, "events": [event]}).encode()
    assert await post(body, "wrong") == 401
    assert await post(b"not JSON") == 400
    assert await post(body) == 200
    assert await receiver.readline() == "16:49:08 channel_occupied news\n"


@pytest_twisted.ensureDeferred
async def test_receive_webhooks_from_a_server(service):
    pytest.importorskip("wsproto")
    pytest.importorskip("wsproto")
    from txpusher import Subscriber
    from txpusher.server import App
    from txpusher.testing import RunningServer

    receiver = service("receive_webhooks.py")
    url = await receiver.ready()
    app = App("1", "app-key", "app-secret", webhooks=[url])
    sender = await RunningServer.start(app)
    subscriber = Subscriber.for_pusher(sender.pusher())
    await subscriber.connect()
    await subscriber.subscribe("news")
    assert (await receiver.readline()).endswith(" channel_occupied news\n")
    await subscriber.close()
    await sender.stop()


@pytest_twisted.ensureDeferred
async def test_metrics(server):
    printed = await run("metrics.py", server.url, "--once")
    assert 'pusher_attempts_total{method="POST",outcome="ok"} 3.0\n' in printed
    assert 'pusher_attempt_seconds_count{method="POST"} 3.0\n' in printed
    assert "pusher_retries_total 0.0\n" in printed
    assert "pusher_connections 1.0\n" in printed
    assert [event.data for event in published(server)] == [{"number": n} for n in range(3)]


@pytest_twisted.ensureDeferred
async def test_metrics_are_served(service):
    url = await service("metrics.py").ready()
    status, text = await request("GET", url)
    assert status == 200
    assert "# TYPE pusher_attempts_total counter\n" in text


@pytest_twisted.ensureDeferred
async def test_testing_your_code(server):
    printed = await run("testing_your_code.py", server.url)
    assert printed.endswith("OK (skipped=1)\n" if isinstance(server, Sink) else "OK\n")
