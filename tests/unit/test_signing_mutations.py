"""Whatever is broken in _signing.py, a test of test_signing notices."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

import pytest

from txpusher import _signing

from . import test_signing
from .mutation import Mutant, lines_of, mutants_of

SOURCE = Path(_signing.__file__).read_text(encoding="utf-8")
MUTANTS = mutants_of(SOURCE)
CHECKS = [check for name, check in inspect.getmembers(test_signing) if name.startswith("test_")]

#: What may be written in place of a line without a difference: UTF-8 is the
#: default, and two signatures can be compared either way round.
EQUIVALENT = ["hmac.digest(secret.encode(), message,", "compare_digest(other.lower()"]


def passes(module: ModuleType) -> bool:
    """Whether every check of test_signing accepts *module*."""
    try:
        for check in CHECKS:
            with pytest.MonkeyPatch.context() as monkeypatch:
                given = {"signing": module, "monkeypatch": monkeypatch}
                check(**{name: given[name] for name in inspect.signature(check).parameters})
    except Exception:
        return False
    return True


def survives(mutant: Mutant) -> bool:
    """Whether nobody notices that a module is broken."""
    try:
        module = mutant.load()
    except Exception:
        return False
    return passes(module)


def test_the_module_itself_passes():
    assert passes(_signing)


def test_each_line_is_broken():
    assert lines_of(SOURCE) - {line for mutant in MUTANTS for line in mutant.old} == set()


def test_no_broken_copy_passes():
    survivors = ["\n".join(mutant.new) for mutant in MUTANTS if survives(mutant)]
    explained = [text for text in survivors if any(part in text for part in EQUIVALENT)]
    assert survivors == explained
    assert len(explained) == len(EQUIVALENT)
