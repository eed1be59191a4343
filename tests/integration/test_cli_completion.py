"""``txpusher completion``, in the shells that are there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import run
from txpusher._cli import completion, make_parser

COMMANDS = completion.commands_of(make_parser())


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bash") / "txpusher"
    file.write_text(run("completion", "bash").out)
    return file


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tr", {"trigger"}),
        ("trigger --", {"--lines", "--dry-run", "--to-user", "--retries"}),
        ("trigger --url-file x --li", {"--lines"}),
        ("webhook ", {"verify"}),
        ("webhook verify --max", {"--max-age"}),
        ("completion ", {"bash", "zsh", "fish"}),
        ("--ver", {"--version"}),
    ],
)
def test_bash_completes_commands_and_options(
    bash: Path, words: str, expected: set[str]
) -> None:
    program = (
        f"set -eu; source {bash}; COMP_WORDS=(txpusher {words.rpartition(' ')[0]} "
        f"'{words.rpartition(' ')[2]}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        'COMPREPLY=(); _txpusher; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    found = set(done.stdout.split())
    assert expected <= found
    prefix = words.rpartition(" ")[2]
    assert all(word.startswith(prefix) for word in found)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_option_is_in_the_text(shell: str) -> None:
    text = completion.SHELLS[shell](COMMANDS)
    for command in COMMANDS:
        for word in command.words:
            assert word in text
        for option in command.options:
            for name in option.names[-1:]:
                assert name.lstrip("-") in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_itself_takes_the_text(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    file = tmp_path / "completion"
    file.write_text(run("completion", shell).out)
    subprocess.run([shell, "-n", str(file)], check=True, timeout=30)


def test_other_shell_is_wrong_usage() -> None:
    done = run("completion", "tcsh")
    assert (done.code, done.out) == (2, "")
    assert "tcsh" in done.error
