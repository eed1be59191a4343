"""The examples of suites, each run as its reader would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.suites import PLUGIN

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PUSHER_JS = ROOT / "tests/interop/node_modules/pusher-js/dist/web/pusher.min.js"


def run(*arguments: str) -> str:
    """Run Python in the directory of the examples; return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=EXAMPLES,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PUSHER_JS": str(PUSHER_JS),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def run_pytest(example: str, *options: str) -> str:
    # Without the settings of this suite.
    own = ["-q", "-ra", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider"]
    return run("-m", "pytest", *own, *PLUGIN, *options, example)


@pytest.mark.parametrize("reactor", ["default", "asyncio"])
def test_pytest_twisted_suite(reactor: str) -> None:
    printed = run_pytest("testing_with_pytest_twisted.py", f"--reactor={reactor}")
    assert "4 passed" in printed


def test_trial_suite(tmp_path: Path) -> None:
    printed = run(
        "-m", "twisted.trial", f"--temp-directory={tmp_path}/trial", "testing_your_code"
    )
    assert "PASSED (successes=5)" in printed


def test_flask_suite() -> None:
    pytest.importorskip("flask")
    assert "3 passed" in run_pytest("testing_with_flask.py", "-p", "no:twisted")


def test_django_suite() -> None:
    pytest.importorskip("django")
    printed = run("-W", "error::ResourceWarning", "testing_with_django.py")
    assert "Ran 2 tests" in printed
    assert "OK" in printed


def test_browser_suite() -> None:
    pytest.importorskip("playwright")
    if shutil.which("chromium") is None:
        pytest.skip("needs Chromium")
    if not PUSHER_JS.exists():
        pytest.skip("needs pusher-js: npm install --prefix tests/interop")
    assert "2 passed" in run_pytest("testing_with_playwright.py", "-p", "no:twisted")


@pytest.mark.parametrize("missing", ["CHROMIUM", "PUSHER_JS"])
def test_browser_suite_says_what_is_missing(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("playwright")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys.modules[__name__], "PUSHER_JS", Path("/nowhere"))
    if missing == "PUSHER_JS":
        monkeypatch.setenv("CHROMIUM", sys.executable)
    printed = run_pytest("testing_with_playwright.py", "-p", "no:twisted")
    assert "2 skipped" in printed
    assert f"set {missing}" in printed
