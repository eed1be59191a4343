"""The process of a BlockingRunningServer ends with the program that made it, however."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

HEAD = """
import os, signal, sys, time
from txpusher.testing import BlockingRunningServer
from tests.integration.blocking_page import publish
server = BlockingRunningServer.start()
print(server.port, flush=True)
"""

#: Python 3.12 and later warn of every fork beside a thread.
FORKING = ("-W", "ignore::DeprecationWarning")


def start(script: str, *options: str) -> tuple[subprocess.Popen[str], int]:
    """Run *script* after HEAD in a program of its own; return it and the server's port."""
    program = subprocess.Popen(
        [sys.executable, *options, "-c", HEAD + textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        raise AssertionError(program.communicate(timeout=60))
    return program, int(line)


def wait_until_nobody_listens(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionError:
            return
        assert time.monotonic() < deadline, "the server's process is still there"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("os._exit(4)", 4),
        ("raise ZeroDivisionError", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT),
        # A process that was forked meanwhile does not hold the pipe open.
        (
            "if os.fork() == 0: time.sleep(300)\\nos.kill(os.getpid(), signal.SIGKILL)",
            -signal.SIGKILL,
        ),
    ],
    ids=["end", "exit", "_exit", "error", "killed", "terminated", "interrupted", "forked"],
)
def test_server_ends_with_the_program(script: str, status: int) -> None:
    program, port = start(script.replace("\\n", "\n"))
    try:
        assert program.wait(60) == status
        wait_until_nobody_listens(port)
    finally:
        # The program's session, with what it has forked.
        if b"fork" in script.encode():
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()


def run(script: str, *options: str) -> str:
    program, port = start(script, *options)
    printed, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, "")
    wait_until_nobody_listens(port)
    return printed.strip()


def test_ctrl_c_in_the_terminal_leaves_the_server_to_the_program() -> None:
    script = """
    try:
        os.killpg(os.getpid(), signal.SIGINT)
        server.wait_for_event(timeout=60)
    except KeyboardInterrupt:
        publish(server, "a", "e", 1)
        print(server.wait_for_event("a").data)
    server.stop()
    """
    assert run(script, "-W", "error") == "1"


def test_forked_process_has_the_place_and_cannot_stop_the_server() -> None:
    script = """
    child = os.fork()
    if child == 0:
        publish(server, "a", "from the child", 1)
        for call in ("events", "client_events"):
            try:
                getattr(server, call)
            except RuntimeError as error:
                print(type(error).__name__, "forked" in str(error), flush=True)
        server.stop()
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(server.wait_for_event("a").name)
    server.stop()
    """
    printed = ["BlockingCallError True", "BlockingCallError True", "7", "from the child"]
    assert run(script, *FORKING).splitlines() == printed


def test_forked_process_starts_a_server_of_its_own_and_publishes() -> None:
    script = """
    if os.fork() == 0:
        with BlockingRunningServer.start() as mine:
            server.pusher().trigger("a", "e", "to the parent's")
            mine.pusher().trigger("a", "e", "to the child's")
            print([event.data for event in mine.events], flush=True)
        os._exit(0)
    os.wait()
    print([event.data for event in server.events])
    server.stop()
    """
    printed = ['["to the child\'s"]', '["to the parent\'s"]']
    assert run(script, *FORKING).splitlines() == printed


def test_program_without_a_reactor_starts_none_for_a_client_that_was_not_used() -> None:
    script = """
    import threading
    server.pusher()
    server.stop()
    print("twisted.internet.reactor" in sys.modules, threading.active_count())
    """
    assert run(script, "-W", "error") == "False 1"
