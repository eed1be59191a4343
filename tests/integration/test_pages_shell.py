"""
Every block of shell in README and documentation, run against a server on this machine.

Each is a script of bash with ``PUSHER_URL`` in its environment, in a folder of its own that has
the files which the pages name.  A block that is marked ``run: serves`` has a server in each of
its lines: that is started, on a free port, and stopped once it has told its URL; one that is
marked ``run: console`` finds the console of a server.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.support.pages import ROOT, Block, all_blocks

pytest.importorskip("wsproto")

from txpusher.server import App, ChannelsServer
from txpusher.testing import RunningServer

#: Seconds that a block may take.
PATIENCE = 60

BLOCKS = [block for block in all_blocks("sh") if not block.why_not]
FILES = {
    "prices.ndjson": '{"symbol": "TX", "price": 41}\n{"symbol": "TX", "price": 42}\n',
    # What would be activated is in the PATH already.
    ".venv/bin/activate": "",
}


def environment(folder: Path, url: str) -> dict[str, str]:
    """Return the environment of a reader, in which ``txpusher`` and ``python`` are ours."""
    programs = folder / "bin"
    programs.mkdir()
    for name, words in {"python": "", "txpusher": " -m txpusher"}.items():
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n', "utf-8")
        script.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PUSHER_URL": url, "PYTHONPATH": str(ROOT)}


def served(line: str, folder: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Return the exit code and the first lines of a server that is stopped when it serves."""
    command = ["bash", "-c", f"exec {line} --port 0"]
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        for one in process.stdout:
            said += one
            if "http://" in one and "/apps/" in one:
                break
        process.terminate()
        try:
            return process.wait(PATIENCE), said
        finally:
            process.kill()


@pytest.mark.parametrize("block", BLOCKS, ids=[block.name for block in BLOCKS])
@pytest_twisted.ensureDeferred
async def test_block_of_shell_runs(tmp_path: Path, block: Block, clean_reactor: Any) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    server = await RunningServer.start()
    variables = environment(tmp_path, server.url)
    serving = [line for line in block.source.splitlines() if block.how == "serves"]
    for line in serving:
        code, said = await deferToThread(served, line, tmp_path, variables)
        assert "/apps/" in said, said
        assert code == 0
    script = "" if serving else block.source
    watched = ChannelsServer([App("1", "app-key", "app-secret")], console=True)
    if block.how == "console":
        await watched.listen(0)
        script = script.replace(":6001/", f":{watched.port}/").replace("curl ", "curl -sSf ")
    ended = await deferToThread(
        subprocess.run,
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    await watched.stop()
    await server.stop()
    assert ended.returncode == 0, ended.stdout + ended.stderr
