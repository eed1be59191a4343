"""
The laws of the package's folders, and for each law a deliberate breach that it must see.

``python -m tests.unit.test_laws`` prints the patterns of the modules without I/O, for the
coverage that asks for every branch of them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import laws
from tests.support.laws import LAWS, PURE, VALUES, Modules, imports_are_late, parse, read

ROOT = Path(__file__).resolve().parents[2]


def breaches(name: str, sources: dict[str, str]) -> list[str]:
    """What a law says about a made-up tree, without the line numbers."""
    return [f"{found.path}: {found.what}" for found in LAWS[name](parse(sources))]


@pytest.fixture(scope="module")
def package() -> Modules:
    """The modules of the package as it is."""
    return read(ROOT)


class TestPackage:
    @pytest.mark.parametrize("name", LAWS)
    def test_package_keeps_law(self, package: Modules, name: str) -> None:
        assert [str(found) for found in LAWS[name](package)] == []

    def test_import_of_package_loads_no_reactor_and_no_optional_module(self) -> None:
        assert imports_are_late(ROOT) == []

    def test_header_of_module_names_tests_that_exist(self, package: Modules) -> None:
        headers = [module.lines[0] for module in package.values() if module.lines]
        named = [
            name
            for header in headers
            for names in re.findall(r"-\*- test-case-name: (\S+) -\*-", header)
            for name in names.split(",")
        ]
        assert named
        places = [ROOT.joinpath(*name.split(".")) for name in named]
        missing = [place for place in places if not place.with_suffix(".py").exists()]
        assert [place for place in missing if not place.is_dir()] == []

    @pytest.mark.parametrize("pattern", [*PURE, *VALUES, *laws.ROADS, *laws.LISTENERS])
    def test_pattern_of_law_names_a_module(self, package: Modules, pattern: str) -> None:
        assert any(module.is_in((pattern,)) for module in package.values())


#: For each law, sources that break it and what the law says about them.
DELIBERATE = [
    ("pure_modules_compute", "_api.py", "import socket", "imports socket"),
    ("pure_modules_compute", "_api.py", "from time import time", "imports time.time"),
    ("pure_modules_compute", "_api.py", "def f():\n    import ssl", "imports ssl"),
    ("pure_modules_compute", "_api.py", "import importlib", "imports importlib"),
    ("pure_modules_compute", "_api.py", "__import__('io')", "imports io"),
    ("pure_modules_compute", "_api.py", "open('file')", "calls open()"),
    ("pure_modules_compute", "_api.py", "datetime.now(UTC)", "calls datetime.now()"),
    ("pure_modules_compute", "_api.py", "formatdate()", "calls formatdate()"),
    ("pure_modules_compute", "_api.py", "import os; os.environ", "uses os.environ"),
    ("pure_modules_compute", "_urls.py", "import os; os.getpid()", "uses os.getpid"),
    ("pure_modules_compute", "_urls.py", "from os import path", "uses os.path"),
    (
        "pure_modules_compute",
        "_api.py",
        "from datetime import datetime as when\nwhen.now()",
        "calls datetime.datetime.now()",
    ),
    ("pure_modules_compute", "_api.py", "formatdate(usegmt=True)", "calls formatdate()"),
    ("pure_modules_compute", "_api.py", "formatdate(timeval=None)", "calls formatdate()"),
    (
        "pure_modules_compute",
        "_api.py",
        "from email.utils import make_msgid as id\nid('a')",
        "calls email.utils.make_msgid()",
    ),
    ("pure_modules_compute", "_urls.py", "import os as o; o.listdir()", "uses os.listdir"),
    ("pure_modules_compute", "config.py", "import treq", "imports treq"),
    (
        "pure_modules_compute",
        "server/_core/hub.py",
        "from twisted.internet import reactor",
        "imports twisted.internet.reactor",
    ),
    (
        "pure_modules_compute",
        "_protocol/names.py",
        "from txpusher.client import Pusher",
        "imports txpusher.client.Pusher",
    ),
    (
        "protocol_knows_errors_and_text_only",
        "_protocol/names.py",
        "from txpusher.config import Config",
        "imports txpusher.config.Config",
    ),
    ("roads_alone_connect", "client.py", "import treq", "imports treq"),
    ("roads_alone_connect", "web.py", "def f():\n    import socket", "imports socket"),
    (
        "roads_alone_connect",
        "server/_server.py",
        "from twisted.internet.endpoints import clientFromString",
        "imports twisted.internet.endpoints.clientFromString",
    ),
    (
        "roads_alone_connect",
        "service.py",
        "from twisted.application.internet import ClientService",
        "imports twisted.application.internet.ClientService",
    ),
    (
        "roads_alone_connect",
        "_cli/serve.py",
        "from twisted.application.internet import TCPClient",
        "imports twisted.application.internet.TCPClient",
    ),
    (
        "roads_alone_connect",
        "service.py",
        "reactor.connectTCP('a', 1, f)",
        "calls reactor.connectTCP()",
    ),
    (
        "roads_alone_connect",
        "_channel.py",
        "self._endpoint.connect(factory)",
        "calls self._endpoint.connect()",
    ),
    (
        "listeners_alone_listen",
        "testing.py",
        "reactor.listenTCP(0, site)",
        "calls reactor.listenTCP()",
    ),
    (
        "listeners_alone_listen",
        "server/_net/http.py",
        "from twisted.internet.endpoints import serverFromString",
        "imports twisted.internet.endpoints.serverFromString",
    ),
    (
        "listeners_alone_listen",
        "service.py",
        "from twisted.application import strports",
        "imports twisted.application.strports",
    ),
    (
        "listeners_alone_listen",
        "service.py",
        "from twisted.application.internet import StreamServerEndpointService",
        "imports twisted.application.internet.StreamServerEndpointService",
    ),
    (
        "listeners_alone_listen",
        "service.py",
        "endpoint.listen(factory)",
        "calls endpoint.listen()",
    ),
    (
        "nothing_imports_the_command_line",
        "testing.py",
        "def f():\n    from txpusher._cli import main",
        "imports txpusher._cli.main",
    ),
    (
        "client_knows_no_server",
        "client.py",
        "if TYPE_CHECKING:\n    from txpusher.server import App",
        "imports txpusher.server.App",
    ),
    (
        "private_members_are_their_objects_own",
        "client.py",
        "def f(pusher):\n    return pusher._api",
        "reads _api of another object",
    ),
    (
        "private_members_are_their_objects_own",
        "client.py",
        "def f(pusher):\n    return getattr(pusher, '_api')",
        "reads _api of another object",
    ),
    (
        "private_members_are_their_objects_own",
        "client.py",
        "class A:\n    def __init__(self):\n        self._b = self.c._b  # noqa: SLF001",
        "reads _b of another object",
    ),
    (
        "private_members_are_their_objects_own",
        "client.py",
        "attrgetter('transport._queue')",
        "reads _queue of another object",
    ),
    (
        "private_members_are_their_objects_own",
        "client.py",
        "match pusher:\n    case Pusher(_api=api):\n        pass",
        "reads _api of another object",
    ),
    (
        "private_members_are_their_objects_own",
        "client.py",
        "from txpusher.config import _check",
        "imports txpusher.config._check",
    ),
    ("modules_are_short", "client.py", "\n" * 401, "has 401 lines"),
    (
        "functions_are_short",
        "client.py",
        "async def f():\n" + "    g()\n" * 40,
        "f has 41 lines, no reason",
    ),
]

OTHERS = {f"txpusher/{name}": "" for name in ("__init__.py", "config.py", "server/__init__.py")}


@pytest.mark.parametrize(
    ("law", "path", "source", "said"),
    DELIBERATE,
    ids=[f"{law}-{number}" for number, (law, *_) in enumerate(DELIBERATE)],
)
def test_deliberate_breach_is_seen(law: str, path: str, source: str, said: str) -> None:
    found = breaches(law, {**OTHERS, "txpusher/client.py": "", f"txpusher/{path}": source})
    assert found == [f"txpusher/{path}: {said}"]


def test_every_law_has_a_deliberate_breach() -> None:
    circle = "modules_import_in_no_circle"
    assert {law for law, *_ in DELIBERATE} | {circle} == set(LAWS)


#: What the laws allow: each would be a breach if a word of it were different.
ALLOWED = [
    ("pure_modules_compute", "_api.py", "if TYPE_CHECKING:\n    import socket"),
    ("pure_modules_compute", "_api.py", "from twisted.python.failure import Failure"),
    ("pure_modules_compute", "_api.py", "from email.utils import formatdate\nformatdate(0)"),
    ("pure_modules_compute", "_api.py", "formatdate(timeval=0, usegmt=True)"),
    ("pure_modules_compute", "_api.py", "from txpusher.config import Config"),
    ("pure_modules_compute", "_urls.py", "import os\nos.environ['PUSHER_URL']"),
    ("pure_modules_compute", "client.py", "import time, socket"),
    ("roads_alone_connect", "_http/pool.py", "import socket"),
    ("roads_alone_connect", "client.py", "if TYPE_CHECKING:\n    import treq"),
    ("roads_alone_connect", "_cli/query.py", "await subscriber.connect()"),
    (
        "roads_alone_connect",
        "_cli/serve.py",
        "from twisted.internet.endpoints import serverFromString",
    ),
    ("listeners_alone_listen", "server/_server.py", "endpoint.listen(site)"),
    ("listeners_alone_listen", "testing.py", "server.listen(0)"),
    ("nothing_imports_the_command_line", "__main__.py", "from txpusher._cli import main"),
    ("client_knows_no_server", "testing.py", "from txpusher.server import App"),
    (
        "private_members_are_their_objects_own",
        "client.py",
        "class A:\n"
        "    def make(cls, other: A):\n"
        "        made = cls.__new__(cls)\n"
        "        made._b = other._b\n"
        "        again: Self = cls.__new__(cls)\n"
        "        again._b = 1\n"
        "        return A._c, super()._d, row._asdict()\n",
    ),
    (
        "private_members_are_their_objects_own",
        "_http/pool.py",
        "connection._parser  # noqa: SLF001",
    ),
    (
        "functions_are_short",
        "client.py",
        'def f():\n    """Do.\n\n    Long because it is one table.\n    """\n'
        + "    g()\n" * 40,
    ),
    (
        "functions_are_short",
        "client.py",
        'def f():\n    """' + "Text.\n    " * 40 + '"""\n    g()\n',
    ),
]


@pytest.mark.parametrize(
    ("law", "path", "source"),
    ALLOWED,
    ids=[f"{law}-{number}" for number, (law, *_) in enumerate(ALLOWED)],
)
def test_source_that_a_law_allows_is_no_breach(law: str, path: str, source: str) -> None:
    assert breaches(law, {**OTHERS, f"txpusher/{path}": source}) == []


class TestCircles:
    law = "modules_import_in_no_circle"

    def circle(self, **sources: str) -> list[str]:
        return breaches(self.law, {f"txpusher/{name}.py": of for name, of in sources.items()})

    def test_circle_of_three_at_import_is_seen_from_each(self) -> None:
        found = self.circle(
            a="import txpusher.b",
            b="from txpusher import c",
            c="try:\n    from txpusher.a import A\nfinally:\n    pass",
        )
        assert "txpusher/a.py: imports itself over txpusher.b, txpusher.c" in found
        assert {breach.split(":")[0] for breach in found} == {
            "txpusher/a.py",
            "txpusher/b.py",
            "txpusher/c.py",
        }

    def test_circle_over_the_public_names_is_seen(self) -> None:
        found = self.circle(__init__="from txpusher.a import A", a="from txpusher import B")
        assert "txpusher/a.py: imports itself over txpusher" in found

    def test_circle_for_types_is_seen(self) -> None:
        found = self.circle(a="if TYPE_CHECKING:\n    import txpusher.b", b="import txpusher.a")
        assert found == [
            "txpusher/a.py: imports itself, types too: txpusher.b",
            "txpusher/b.py: imports itself, types too: txpusher.a",
        ]

    def test_client_and_channel_may_know_each_other_for_types(self) -> None:
        found = self.circle(
            client="from txpusher._channel import Channel",
            _channel="if TYPE_CHECKING:\n    from txpusher.client import Pusher",
        )
        assert found == []

    def test_import_inside_a_function_makes_no_circle(self) -> None:
        assert self.circle(a="import txpusher.b", b="def f():\n    import txpusher.a") == []

    def test_relative_import_counts(self) -> None:
        assert self.circle(a="from . import b", b="from .a import A") != []


@pytest.mark.parametrize("name", ["txpusher.server", "twisted.internet.reactor"])
def test_module_that_import_of_package_loads_is_seen(tmp_path: Path, name: str) -> None:
    package = tmp_path / "txpusher"
    (package / "server").mkdir(parents=True)
    (package / "server" / "__init__.py").touch()
    (package / "__init__.py").write_text(f"import {name}\n")
    assert imports_are_late(tmp_path) == [name]


if __name__ == "__main__":
    print(",".join([*PURE, *VALUES]))
