"""A program in which no reactor may be imported is told so, by every client and each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = '''
import sys

class Forbid:
    """A finder that keeps a program from importing the reactor, as Scrapy can."""

    def find_spec(self, name, path=None, target=None):
        if name == "twisted.internet.reactor":
            raise ImportError("import of the reactor is forbidden here")

sys.meta_path.insert(0, Forbid())
import txpusher
from txpusher import BatchPublisher, BlockingBatchPublisher, BlockingPusher, Pusher

URL = "http://key:secret@127.0.0.1:1/apps/1"

def told(deferred):
    deferred.addErrback(lambda failure: print(type(failure.value).__name__, failure.value))

def caught(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:
        print(type(error).__name__, error)

pusher, blocking = Pusher.from_url(URL), BlockingPusher.from_url(URL)
'''

CLIENTS = {
    "pusher": "told(pusher.trigger('a', 'e', {}))",
    "a query": "told(pusher.channels())",
    "a new pusher": "told(Pusher.from_url(URL).trigger('a', 'e', {}))",
    "default client": "txpusher.configure('1', 'k', 's'); told(txpusher.trigger('a', 'e', {}))",
    "blocking": "caught(blocking.trigger, 'a', 'e', {})",
    "a wrapped pusher": "caught(BlockingPusher.wrap(pusher).trigger, 'a', 'e', {})",
    "batches": "told(BatchPublisher(pusher).trigger('a', 'e', {}))",
    "many events": "told(BatchPublisher(pusher).publish([txpusher.Event('a', 'e', {})]))",
    "batches that linger": "told(BatchPublisher(pusher, linger=1.0).trigger('a', 'e', {}))",
}


def run(source: str) -> list[str]:
    """Run a program, and return the lines that it prints."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM + source], capture_output=True, text=True, timeout=30
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


@pytest.mark.parametrize("client", CLIENTS)
def test_each_operation_fails_alike_and_names_the_reactor(client):
    assert (
        run(f"for _ in range(3):\n    {CLIENTS[client]}\n")
        == [
            "ConfigurationError reactor: twisted.internet.reactor cannot be imported: "
            "import of the reactor is forbidden here"
        ]
        * 3
    )


def test_client_without_a_reactor_signs_and_closes():
    lines = run(
        "print(list(pusher.authenticate('private-a', '1.2')))\n"
        "pusher.close(timeout=1.0).addCallback(print)\n"
    )
    assert lines == ["['auth']", "None"]


def test_missing_reactor_can_be_imported_later():
    lines = run(
        "told(pusher.trigger('a', 'e', {}))\n"
        "del sys.meta_path[0]\n"
        "pusher.trigger('a', 'e', {}).addErrback(lambda failure: None)\n"
        "print('twisted.internet.reactor' in sys.modules)\n"
    )
    assert lines[1:] == ["True"]
