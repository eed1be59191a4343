"""Two soketi processes joined by Redis, as examples/ has them: what arrives when one dies."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

import txpusher
from tests.support.pages import DOCS

from .requirements import HERE, import_or_skip, missing, node_command

EXAMPLE = Path(__file__).parents[2] / "examples" / "scale_out"

#: Seconds that all three scenes may take.
PATIENCE = 150

#: The page that shows what the example prints, and says what it means.
PAGE = DOCS / "howto" / "scale-out.rst"


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


def shown() -> str:
    """Return what the page says that the example prints."""
    block = re.search(r"::\n\n((?:    .*\n|\n)+)", PAGE.read_text("utf-8"))
    assert block
    return textwrap.dedent(block[1])


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
    # The third scene depends on when it is that a process dies.
    assert printed.strip() == shown().partition("3. ")[0].strip()
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
