"""What these tests need beyond Python packages, and what happens where it is missing."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

HERE = Path(__file__).parent

INSTALL_TIMEOUT = 300


def missing(reason: str) -> NoReturn:
    """Skip what needs it, or fail where everything has to run."""
    if os.environ.get("TXPUSHER_REQUIRE_INTEROP") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def import_or_skip(name: str) -> ModuleType:
    """The module *name*, which not every installation has."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing(f"{name} cannot be imported: {error}")


def node_command() -> str:
    """The path of Node.js, once the packages of ``package.json`` are installed."""
    node = shutil.which("node")
    if node is None:
        missing("Node.js is not installed")
    # Two test runs that begin together must not install at the same time.
    with open(HERE / "package.json", encoding="utf-8") as manifest:
        fcntl.flock(manifest, fcntl.LOCK_EX)
        # An alias has the name of the package before its version.
        wanted = {
            name: version.rpartition("@")[2]
            for name, version in json.load(manifest)["dependencies"].items()
        }
        if wanted != _installed(wanted):
            _install()
    return node


def _installed(names: dict[str, str]) -> dict[str, str]:
    versions = {}
    for name in names:
        manifest = HERE / "node_modules" / name / "package.json"
        if manifest.exists():
            versions[name] = json.loads(manifest.read_text("utf-8"))["version"]
    return versions


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        missing("npm is not installed")
    # How it installs is in the directory's .npmrc.
    command = [npm, "install", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            command,
            cwd=HERE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INSTALL_TIMEOUT,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        missing(f"npm install did not end within {INSTALL_TIMEOUT} seconds")
    if done.returncode:
        missing(f"npm install failed:\n{done.stdout[-2000:]}")
