"""What importing txpusher leaves alone: a program chooses its reactor later."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .helpers import MASTER_KEY_BASE64

LATE = ["twisted.internet.reactor", "nacl", "crochet"]


def loaded_by(code: str) -> list[str]:
    """Which of the modules that are imported late a new interpreter has after *code*."""
    check = f"import sys; print([name for name in {LATE!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return eval(done.stdout)


@pytest.mark.parametrize(
    "module",
    [
        "txpusher",
        "txpusher.blocking",
        "txpusher.client",
        "txpusher.publisher",
        "txpusher._webhook",
        "txpusher._http.transport",
    ],
)
def test_importing_starts_nothing(module):
    assert loaded_by(f"import {module}") == []


@pytest.mark.parametrize("kind", ["Pusher", "BlockingPusher"])
def test_making_a_client_starts_nothing(kind):
    code = f"import threading, txpusher; txpusher.{kind}('3', 'k', 's')['a']"
    assert loaded_by(f"{code}; assert threading.active_count() == 1") == []


def test_answering_a_subscriber_starts_nothing():
    code = "import txpusher; pusher = txpusher.Pusher('3', 'k', 's')"
    assert loaded_by(f"{code}; pusher.authenticate('private-a', '1.2')") == []


def test_encryption_alone_needs_pynacl():
    options = {"encryption_master_key_base64": MASTER_KEY_BASE64}
    code = f"import txpusher; txpusher.Pusher('3', 'k', 's', **{options!r})"
    assert loaded_by(code) == ["nacl"]


def test_public_names_exist():
    code = "import txpusher; assert all(hasattr(txpusher, name) for name in txpusher.__all__)"
    assert loaded_by(code) == []
