"""
BlockingRunningServer in suites without Twisted; its calls never need a reactor.

Most tests are plain functions on purpose: under pytest-twisted they run in the thread of
the running reactor, where a call that waited for the reactor could only hang.
"""

from __future__ import annotations

import gc
import inspect
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.support.credentials import MASTER_KEY_BASE64
from txpusher.errors import ClosedError, ConfigurationError, InvalidRequestError
from txpusher.server import App
from txpusher.testing import (
    AcceptedEvent,
    BlockingRunningServer,
    RunningServer,
    SignedInClient,
    SubscribedClient,
)

from .blocking_page import Page, publish


def server_processes() -> set[int]:
    """The ids of the server processes that this process has made and that are not gone."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == os.getpid() and b"_testing_child" in command:
            found.add(int(stat.parent.name))
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def readers() -> list[threading.Thread]:
    """The threads that read what the processes write."""
    return [thread for thread in threading.enumerate() if thread.name == "txpusher-testing"]


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail where a test leaves a process, a thread or a file behind."""
    gc.collect()
    before = (server_processes(), open_files(), readers())
    yield
    assert (server_processes(), open_files(), readers()) == before


@pytest.fixture
def server(nothing_left: None) -> Iterator[BlockingRunningServer]:
    with BlockingRunningServer.start() as server:
        yield server


def test_operations_are_those_of_running_server() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(BlockingRunningServer) == public(RunningServer)
    for name in public(RunningServer) - {"start", "pusher"}:
        ours, theirs = (
            inspect.getattr_static(kind, name)
            for kind in (BlockingRunningServer, RunningServer)
        )
        if callable(ours):
            parameters = [inspect.signature(method).parameters for method in (ours, theirs)]
            assert parameters[0] == parameters[1]


def test_wait_for_no_number_of_seconds_is_refused(server: BlockingRunningServer) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        server.wait_for_event(timeout="1")  # type: ignore[arg-type]
    assert str(caught.value) == "timeout must be a number of seconds >= 0, not the str '1'"


def test_published_event_is_seen_at_once_and_handed_out_once(
    server: BlockingRunningServer,
) -> None:
    publish(server, "a", "e", {"n": 1})
    expected = AcceptedEvent("a", "e", {"n": 1}, '{"n": 1}')
    assert server.events == [expected]
    assert server.wait_for_event("a", timeout=0) == expected
    with pytest.raises(
        AssertionError, match="no event within 0 seconds; accepted so far: 'e' on 'a'"
    ):
        server.wait_for_event(timeout=0)
    server.forget_events()
    assert server.events == []
    assert server.url == f"http://app-key:app-secret@127.0.0.1:{server.port}/apps/1"
    assert repr(server) == f"<BlockingRunningServer app 1 on 127.0.0.1:{server.port}>"


def test_page_is_waited_for_at_each_step(server: BlockingRunningServer) -> None:
    page = Page(server)
    page.subscribe("private-a")
    [client] = server.wait_for_subscription("private-a")
    assert client == SubscribedClient("private-a", page.socket_id)
    publish(server, "private-a", "created", {"n": 1})
    assert page.read("created")["data"] == '{"n": 1}'
    page.send("client-x", {"n": 2}, channel="private-a")
    event = server.wait_for_client_event("private-a", "client-x")
    assert (event.data, event.socket_id) == ({"n": 2}, page.socket_id)
    assert server.client_events == [event]
    page.sign_in("alice")
    assert server.wait_for_sign_in("alice") == SignedInClient("alice", page.socket_id)
    page.close()
    assert server.wait_for_subscription("private-a", count=0) == ()
    with pytest.raises(AssertionError, match="no 2 subscriptions to 'private-a'"):
        server.wait_for_subscription("private-a", timeout=0.01, count=2)
    with pytest.raises(InvalidRequestError, match="count must be"):
        server.wait_for_subscription("private-a", count=-1)


@pytest_twisted.ensureDeferred
async def test_blocking_client_publishes_from_a_thread(nothing_left: None) -> None:
    server = BlockingRunningServer.start(encryption_master_key_base64=MASTER_KEY_BASE64)
    pusher = server.pusher()
    server.pusher(max_pending=1)  # never used, and closed without a thread of its own
    await deferToThread(pusher.trigger, "private-encrypted-a", "e", {"n": 1})
    [event] = server.events
    assert event.data == {"n": 1}
    assert "ciphertext" in event.raw_data
    await deferToThread(server.stop)
    with pytest.raises(ClosedError):
        await deferToThread(pusher.channels)


@pytest_twisted.ensureDeferred
async def test_stop_in_the_reactor_thread_closes_clients_that_were_used() -> None:
    server = BlockingRunningServer.start()
    pusher = server.pusher()
    await deferToThread(pusher.channels)
    server.stop()
    with pytest.raises(ClosedError):
        await deferToThread(pusher.channels)
    assert pusher.stats.open_connections == 0


def test_threads_that_wait_get_an_event_each(server: BlockingRunningServer) -> None:
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(server.wait_for_event, "a") for _ in range(4)]
        for number in range(4):
            publish(server, "a", "e", number)
        assert sorted(future.result().data for future in waiting) == [0, 1, 2, 3]
    assert len(server.events) == 4


def test_two_servers_run_side_by_side(server: BlockingRunningServer) -> None:
    app = App("7", "my-key", "my-secret", client_events=False)
    with BlockingRunningServer.start(app) as other:
        assert other.app == app
        assert other.port != server.port
        publish(other, "a", "e", 1)
        assert (len(server.events), len(other.events)) == (0, 1)


def test_events_stay_after_stop_and_nothing_more_is_waited_for(nothing_left: None) -> None:
    with BlockingRunningServer.start() as server:
        publish(server, "a", "e", 1)
        port = server.port
    server.stop()
    assert [event.data for event in server.events] == [1]
    assert server.wait_for_event("a").data == 1
    with pytest.raises(ClosedError, match="stopped"):
        server.wait_for_event("a")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_stop_ends_the_waits_of_other_threads(nothing_left: None) -> None:
    server = BlockingRunningServer.start()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(server.wait_for_event, "a", timeout=60)
        while not waiting.running():
            time.sleep(0.001)
        server.stop()
        with pytest.raises(ClosedError):
            waiting.result(10)


def test_forgotten_server_ends_with_its_object(nothing_left: None) -> None:
    server = BlockingRunningServer.start()
    assert len(server_processes()) == 1
    del server
    gc.collect()
    deadline = time.monotonic() + 10
    while readers():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_process_that_is_killed_is_an_error_in_each_call(nothing_left: None) -> None:
    with BlockingRunningServer.start() as server:
        [process] = server_processes()
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(server.wait_for_event, "a", timeout=60)
            while not waiting.running():
                time.sleep(0.001)
            os.kill(process, signal.SIGKILL)
            with pytest.raises(ClosedError):
                waiting.result(10)
        with pytest.raises(ClosedError, match="has ended with status -9"):
            _ = server.events
        with pytest.raises(ClosedError, match="has ended with status -9"):
            server.wait_for_event("a")


def test_process_that_hangs_is_an_error_and_is_killed(
    nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("txpusher._testing_process.ANSWER_TIMEOUT", 0.1)
    monkeypatch.setattr("txpusher._testing_process.END_TIMEOUT", 0.1)
    server = BlockingRunningServer.start()
    [process] = server_processes()
    os.kill(process, signal.SIGSTOP)
    with pytest.raises(TimeoutError, match=r"does not answer within 0\.1 seconds"):
        _ = server.events
    server.stop()


# Starting


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="Python 3.10 looks where txpusher is installed first, and the true module is there",
)
def test_missing_extra_is_a_configuration_error(
    nothing_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wsproto.py").write_text("raise ImportError('no wsproto here')")
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys; sys.path.remove({str(tmp_path)!r}); sys.path.insert(0, {str(tmp_path)!r})"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ConfigurationError, match=r"no wsproto here.*pip install"):
        BlockingRunningServer.start()


def test_malformed_encryption_key_starts_no_process(nothing_left: None) -> None:
    with pytest.raises(ConfigurationError, match="base64"):
        BlockingRunningServer.start(encryption_master_key_base64="nonsense!")


@pytest.mark.parametrize("timeout", ["1", None, -1, float("nan")])
def test_timeout_that_is_no_number_of_seconds_starts_no_process(
    timeout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(InvalidRequestError, match="timeout must be a number of seconds >= 0"):
        BlockingRunningServer.start(timeout=timeout)


def interpreter(tmp_path: Path, script: str) -> str:
    """A program that stands for Python."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_process_that_fails_is_an_error_with_its_own_words(
    nothing_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path, "echo broken >&2; exit 3"))
    with pytest.raises(RuntimeError, match=r"did not start: .*ended with status 3:\nbroken"):
        BlockingRunningServer.start()


def test_process_that_does_not_listen_is_an_error_and_is_killed(
    nothing_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("txpusher._testing_process.END_TIMEOUT", 0.1)
    monkeypatch.setattr(
        sys, "executable", interpreter(tmp_path, "echo slow >&2; exec sleep 60")
    )
    with pytest.raises(TimeoutError, match=r"did not listen within 0\.2 seconds:\nslow"):
        BlockingRunningServer.start(timeout=0.2)


def test_python_that_is_not_there_is_an_error(
    nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        BlockingRunningServer.start()


def test_output_of_the_process_is_shown_at_the_end(
    nothing_left: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys; print('noise', flush=True); print('a warning', file=sys.stderr)\n"
        "atexit.register(print, 'at the end')"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with BlockingRunningServer.start() as server:
        publish(server, "a", "e", 1)
        assert len(server.events) == 1
    assert capsys.readouterr().err.endswith("standard error:\na warning\nat the end\n")


def test_warnings_as_errors_are_not_for_the_process(
    nothing_left: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; assert not sys.warnoptions")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    BlockingRunningServer.start().stop()
    assert capsys.readouterr().err == ""


def test_module_in_the_current_directory_hides_none_of_pythons(
    nothing_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise ImportError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    with BlockingRunningServer.start() as server:
        assert server.events == []


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_interrupted_wait_takes_no_event(server: BlockingRunningServer) -> None:
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            server.wait_for_event("a", timeout=60)
    finally:
        signal.signal(signal.SIGALRM, before)
    publish(server, "a", "e", 1)
    assert server.wait_for_event("a", timeout=0).data == 1


def test_interrupted_start_leaves_no_process(
    nothing_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("txpusher._testing_process.END_TIMEOUT", 0.1)
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path, "exec sleep 60"))
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            BlockingRunningServer.start()
    finally:
        signal.signal(signal.SIGALRM, before)
