"""What importing txpusher leaves alone: a program chooses its reactor later."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import txpusher
from tests.support.credentials import MASTER_KEY_BASE64

LATE = ["twisted.internet.reactor", "nacl", "crochet"]
HEAVY = ["twisted", "treq", "OpenSSL", "cryptography", "attr", "asyncio", *LATE]


def loaded_by(code: str, names: list[str] = LATE) -> list[str]:
    """Which modules of *names* a new interpreter has after *code*."""
    check = f"import sys; print([name for name in {names!r} if name in sys.modules])"
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
def test_import_of_module_loads_no_reactor(module):
    assert loaded_by(f"import {module}") == []


@pytest.mark.parametrize("kind", ["Pusher", "BlockingPusher"])
def test_making_a_client_loads_no_reactor(kind):
    code = f"import threading, txpusher; txpusher.{kind}('3', 'k', 's')['a']"
    assert loaded_by(f"{code}; assert threading.active_count() == 1") == []


def test_authenticating_a_subscriber_loads_no_reactor():
    code = "import txpusher; pusher = txpusher.Pusher('3', 'k', 's')"
    assert loaded_by(f"{code}; pusher.authenticate('private-a', '1.2')") == []


def test_encryption_alone_needs_pynacl():
    options = {"encryption_master_key_base64": MASTER_KEY_BASE64}
    code = f"import txpusher; txpusher.Pusher('3', 'k', 's', **{options!r})"
    assert loaded_by(code) == ["nacl"]


def test_public_names_exist():
    code = "import txpusher; assert all(hasattr(txpusher, name) for name in txpusher.__all__)"
    assert loaded_by(code) == []


def test_package_alone_imports_nothing_heavy():
    code = "import txpusher; txpusher.__version__, dir(txpusher), txpusher.__all__"
    assert loaded_by(code, HEAVY) == []


def test_errors_alone_import_neither_twisted_nor_treq():
    assert loaded_by("from txpusher import PusherError", ["twisted", "treq"]) == []


def test_package_imports_none_of_the_places_of_use():
    names = [
        f"txpusher.{name}" for name in ("web", "scrapy", "subscriber", "server", "testing")
    ]
    assert loaded_by("from txpusher import Pusher, trigger", names) == []
    # Each public name at once is the subscriber too.
    code = "from txpusher import *; assert Pusher and trigger"
    assert loaded_by(code, names) == ["txpusher.subscriber"]


def test_subscriber_starts_nothing_and_needs_wsproto_when_it_is_made():
    code = "import txpusher; txpusher.Subscriber"
    assert loaded_by(code, [*LATE, "wsproto"]) == []
    assert loaded_by(f"{code}('key')", [*LATE, "wsproto"]) == ["wsproto"]


def test_type_checkers_are_told_the_same_names_as_python():
    tree = ast.parse(Path(txpusher.__file__).read_text(encoding="utf-8"))
    [checked] = [
        node.body
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    told = {
        str(alias.asname): str(node.module)
        for node in checked
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(told) == sorted({*txpusher.__all__} - {"__version__"})
    for name, module in told.items():
        value = getattr(import_module(module), name)
        assert txpusher.__getattr__(name) is value


@pytest.mark.parametrize(
    "module", ["blocking", "client", "config", "errors", "publisher", "retry", "subscriber"]
)
def test_public_module_is_an_attribute_of_the_package(module):
    assert loaded_by(f"import txpusher; txpusher.{module}.__name__") == []


#: The public modules, and the names that each is the door of.
DOORS = {
    "blocking": ["BlockingBatchPublisher", "BlockingChannel", "BlockingPusher"],
    "client": ["Pusher"],
    "config": ["Config"],
    "errors": ["APIError", "ConnectionClosedError", "PusherError", "SubscriptionError"],
    "publisher": ["BatchPublisher"],
    "retry": ["RetryPolicy"],
    "server": ["App", "ChannelsServer", "WebHookTarget"],
    "service": ["PusherService"],
    "subscriber": ["HTTPAuthorizer", "Message", "Subscriber", "Subscription"],
    "testing": ["BlockingRunningServer", "FakePusher", "RunningServer"],
    "web": ["ChannelAuthResource", "UserAuthResource", "WebHookResource"],
}


@pytest.mark.parametrize("door", DOORS)
def test_names_of_door_are_imported_from_it_first(door):
    # Each in a new interpreter: a circle of imports shows only where it is entered.
    names = ", ".join(DOORS[door])
    assert loaded_by(f"from txpusher.{door} import {names}") in ([], ["crochet"])


@pytest.mark.parametrize("door", DOORS)
def test_name_of_door_and_of_package_is_the_same_object(door):
    module = import_module(f"txpusher.{door}")
    for name in DOORS[door]:
        assert getattr(module, name) is getattr(txpusher, name, getattr(module, name))


def test_unknown_name_is_an_attribute_error_with_the_name():
    with pytest.raises(AttributeError, match="module 'txpusher' has no attribute 'Pushr'"):
        txpusher.Pushr  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Pushr'"):
        from txpusher import Pushr  # type: ignore[attr-defined]  # noqa: F401


def test_dir_lists_names_and_modules():
    assert {"__version__", "errors", *txpusher.__all__} <= {*dir(txpusher)}
