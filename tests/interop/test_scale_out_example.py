"""Two soketi processes joined by Redis, as examples/ has them: what arrives when one dies."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

import txpusher

from .requirements import HERE, import_or_skip, missing, node_command

EXAMPLE = Path(__file__).parents[2] / "examples" / "scale_out"

#: Seconds that all three scenes may take.
PATIENCE = 150

FIRST_TWO_SCENES = """
1. Published at A, subscribed at B: B is killed
    published: 1-5
    B is killed
    the subscriber has lost its connection
    subscribers that A knows of: 0
    published: 6-10
    B is started again
    the subscriber is back
    published: 11-15
  accepted: 1-15
  arrived: 1-5, 11-15
  missed: 6-10; twice: none

2. Published at A, subscribed at B: A is killed
    published: 1-5
    A is killed
    published: 6
    published: 7
    A is started again
    published: 8
    published: 9-10
  accepted: 1-5, 8-10
  failed: 6, HTTPError, maybe_delivered=True
  failed: 7, HTTPError, maybe_delivered=False
  arrived: 1-5, 8-10
  missed: none; twice: none

"""


@pytest.fixture
def programs() -> str:
    """The folder of the npm packages, where all programs are installed."""
    import_or_skip("wsproto")
    node_command()
    for program in ("redis-server", "nginx"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            missing(f"{program} is not installed")
    return str(HERE / "node_modules")


def run(modules: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the example, whose programs end with it."""
    return subprocess.run(
        [sys.executable, str(EXAMPLE / "scale_out.py"), modules],
        env={**os.environ, "PYTHONPATH": str(Path(txpusher.__file__).parents[1]), **env},
        stdin=subprocess.DEVNULL,
        # A program that were left over would keep these pipes open, and the test waiting.
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def numbers(account: str, line: str) -> set[int]:
    """Return the numbers of one line of an account."""
    found = re.search(rf"{line}: ([^;\n]*)", account)
    assert found, account
    if found[1] == "none":
        return set()
    ends = [part.split("-") for part in found[1].split(", ")]
    return {number for part in ends for number in range(int(part[0]), int(part[-1]) + 1)}


@pytest_twisted.ensureDeferred
async def test_events_arrive_but_those_of_the_moment_of_a_death(programs):
    ended = await deferToThread(run, programs)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr
    printed, _, balanced = ended.stdout.partition("3. ")
    assert printed == FIRST_TWO_SCENES
    published = set(range(1, 206))
    accepted, arrived = numbers(balanced, "accepted"), numbers(balanced, "arrived")
    failed = re.findall(r"failed: (\d+), (\w+), maybe_delivered=(\w+)", balanced)
    # At most the one that was under way when the process died.
    assert len(failed) <= 1, balanced
    assert accepted == published - {int(number) for number, _, _ in failed}
    assert [(kind, maybe) for _, kind, maybe in failed] in ([], [("ServerError", "True")])
    # Those of the gap, until the subscriber has come back to the other process.
    assert numbers(balanced, "missed") == accepted - arrived
    assert {*range(1, 51), *range(201, 206)} <= arrived
    assert numbers(balanced, "twice") == set()


@pytest.mark.parametrize("name", ["redis-server", "node", "nginx"])
def test_program_that_is_missing_is_named(monkeypatch, tmp_path, name):
    spec = importlib.util.spec_from_file_location("programs", EXAMPLE / "programs.py")
    programs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(programs)
    monkeypatch.setattr(programs, "find", lambda wanted: "" if wanted == name else wanted)
    assert programs.missing(tmp_path) == f"{name} is not installed"


def test_example_says_where_packages_are_missing(programs, tmp_path):
    ended = run(str(tmp_path))
    assert ended.returncode == 1
    assert ended.stderr == f"soketi is not in {tmp_path}: run npm install in {EXAMPLE}\n"
