"""
Users without mypy's plugin for zope.interface, and without our configuration, get types.

``accepted.py`` is a program without a mistake; ``refused.py`` has one mistake on each line.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

pytest.importorskip("mypy")


def mypy(name: str) -> dict[int, str]:
    """What ``mypy --strict`` says about a file, by line."""
    cache = ROOT / ".mypy_cache" / "users"
    # The package's own errors without the plugin are silent: its own check has the plugin.
    options = ["--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={cache}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(HERE / name)],
        cwd=HERE,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == ""
    said: dict[int, str] = {}
    for line in done.stdout.splitlines():
        found = re.fullmatch(rf".*{re.escape(name)}:(\d+): error: (.*)", line)
        if found:
            number = int(found[1])
            said[number] = f"{said.get(number, '')}{found[2]}\n"
    return said


def test_program_without_a_mistake_is_accepted() -> None:
    said = mypy("accepted.py")
    assert said == {}


def test_each_mistake_is_refused_where_it_stands() -> None:
    lines = (HERE / "refused.py").read_text("utf-8").splitlines()
    wanted = {
        number: line.rpartition("  # ")[2]
        for number, line in enumerate(lines, 1)
        if "  # " in line
    }
    said = mypy("refused.py")
    assert sorted(said) == sorted(wanted)
    assert {n: said[n] for n, part in wanted.items() if part not in said[n]} == {}
