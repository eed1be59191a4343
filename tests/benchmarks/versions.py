"""What was measured with: a figure says nothing without."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from .harness import NotInstalledError, nginx_program, node_modules

#: From PyPI.
DISTRIBUTIONS = ("txpusher", "Twisted", "treq", "crochet", "pusher", "aiohttp", "requests")


def tools(*packages: str) -> str:
    """
    One line: this machine, Python, what it runs.

    :param packages: Those from npm.
    """
    parts = [f"{os.cpu_count()} CPUs", platform.system(), _python()]
    return ", ".join([*parts, *_distributions(), *_node(packages), *_nginx()])


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _distributions() -> Iterator[str]:
    for name in DISTRIBUTIONS:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"no {name}"


def _node(packages: tuple[str, ...]) -> Iterator[str]:
    for name in packages:
        try:
            place = node_modules(name)
        except NotInstalledError:
            yield f"no {name} for Node.js"
            continue
        about = json.loads((place / name / "package.json").read_text("utf-8"))
        yield f"{name} {about['version']} on Node.js {_output('node', '--version')}"


def _nginx() -> Iterator[str]:
    try:
        program = nginx_program()
    except NotInstalledError:
        yield "no nginx"
    else:
        yield _output(program, "-v").removeprefix("nginx version: ")


def _output(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True)
    return (ended.stdout or ended.stderr).strip()
