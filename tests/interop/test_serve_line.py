"""The line for pusher-js that ``txpusher serve`` prints, pasted as it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .requirements import HERE

pytest.importorskip("wsproto")

#: Runs the line with every host that is no address of this machine out of reach, and tells
#: when it has connected and where it has turned to.
PROGRAM = """
const net = require("net"), Pusher = require("pusher-js");
const tried = new Set(), connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
  const to = (Array.isArray(args[0]) ? args[0][0] : args[0]) || {};
  if (to.host) tried.add(to.host);
  if (to.host && to.host !== "127.0.0.1") {
    process.nextTick(() => this.destroy(new Error("out of reach")));
    return this;
  }
  return connect.apply(this, args);
};
const end = (connected) => {
  console.log(JSON.stringify({ connected, tried: [...tried] }));
  process.exit();
};
const pusher = LINE;
pusher.connection.bind("connected", () => end(true));
pusher.connection.bind("unavailable", () => end(false));
"""


@contextmanager
def serving(*options: str) -> Iterator[Iterator[str]]:
    """The lines after the first one of a server that serves as long as the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "txpusher", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Ready")
    yield iter(process.stdout.readline, "")
    process.terminate()
    process.communicate()


@pytest.fixture
def line() -> Iterator[str]:
    """The line of a server that serves as long as the test."""
    with serving() as lines:
        yield next(lines).removeprefix("In pusher-js: ").strip()


def run(node: str, line: str, **environment: str) -> dict[str, object]:
    done = subprocess.run(
        [node, "-e", PROGRAM.replace("LINE", line)],
        cwd=HERE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_pasted_line_connects(node: str, line: str) -> None:
    assert run(node, line) == {"connected": True, "tried": ["127.0.0.1"]}


def test_pasted_line_connects_with_tls_below_a_prefix(node: str) -> None:
    name = "NODE_EXTRA_CA_CERTS"
    with serving("--tls", "--path-prefix", "/channels") as lines:
        line = next(lines).removeprefix("In pusher-js: ").strip()
        assert 'wsPath: "/channels"' in line
        trust = next(one for one in lines if name in one).split()[-1].partition("=")[2]
        assert run(node, line, **{name: trust}) == {"connected": True, "tried": ["127.0.0.1"]}


def test_pasted_line_turns_to_no_other_host_where_no_server_answers(
    node: str, line: str
) -> None:
    nobody = re.sub(r"wsPort: \d+", "wsPort: 1", line)
    # pusher-js tells that it is unavailable after ten seconds.
    assert run(node, nobody) == {"connected": False, "tried": ["127.0.0.1"]}
