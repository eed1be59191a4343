"""
The laws of the package's folders, as functions over the source of its modules.

A law takes the modules and yields what breaks it.  No law imports the package: a law reads
the syntax tree, and so judges any tree of sources, also one that a test has made up.  The
exception is :func:`imports_are_late`, which has a new interpreter import the package.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import attrs

PACKAGE = "txpusher"

#: Modules that do no I/O, read no clock and know nothing of Twisted but ``Failure``.
PURE = (
    "txpusher/_protocol/*",
    "txpusher/server/_core/*",
    "txpusher/_api.py",
    "txpusher/_event.py",
    "txpusher/_json.py",
    "txpusher/_request.py",
    "txpusher/_webhook_parts.py",
    "txpusher/_reply.py",
    "txpusher/_batching.py",
    "txpusher/_urls.py",
    "txpusher/_validators.py",
    "txpusher/_text.py",
)
#: Modules of settings, errors and types: pure modules may import them.  They do no I/O and
#: read no clock either, and may name Twisted's interfaces.
VALUES = (
    "txpusher/config.py",
    "txpusher/errors.py",
    "txpusher/retry.py",
    "txpusher/_interfaces.py",
    "txpusher/server/_app.py",
    "txpusher/server/_limits.py",
)
#: Modules that touch sockets or connect.
ROADS = (
    "txpusher/_http/*",
    "txpusher/server/_net/*",
    "txpusher/subscriber.py",
    "txpusher/_reactor_thread.py",
)
#: Modules that listen, through an endpoint or the reactor.
LISTENERS = ("txpusher/server/_server.py", "txpusher/server/_running.py", "txpusher/_cli/*")
#: Modules that may import the server; every other one belongs to the client.
SERVER_SIDE = (
    "txpusher/_server_options.py",
    "txpusher/server/*",
    "txpusher/testing.py",
    "txpusher/_testing_*.py",
    "txpusher/_cli/*",
)

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 40
#: Begins the sentence of a docstring that says why a function is long.
REASON = "Long because"

#: Libraries that pure modules may import: these compute, and do nothing else.
# fmt: off
COMPUTING = frozenset({
    "__future__", "abc", "attr", "attrs", "base64", "binascii", "bisect", "collections",
    "contextlib", "copy", "dataclasses", "datetime", "decimal", "email.utils", "enum",
    "functools", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math",
    "nacl", "numbers", "operator", "random", "re", "secrets", "string", "struct",
    "textwrap", "types", "typing", "typing_extensions", "unicodedata", "urllib.parse",
    "weakref", "zlib", "twisted.python.failure"
})
# fmt: on
#: What values may import besides.
NAMING = frozenset(
    {
        "twisted.internet.interfaces",
        "twisted.web.iweb",
        "twisted.application.internet.backoffPolicy",
    }
)
#: Functions of COMPUTING, and built-in ones, that do I/O or read a clock all the same.
IMPURE_CALLS = frozenset({"open", "print", "input", "breakpoint", "email.utils.make_msgid"})
CLOCK_METHODS = frozenset({"now", "utcnow", "today"})
#: Functions that read the clock unless they are given a time: that is their first argument.
CLOCK_WITHOUT_ARGUMENT = {"formatdate": "timeval", "localtime": "dt"}

# fmt: off
CONNECTING = frozenset({
    "socket", "ssl", "select", "selectors", "asyncio", "http.client", "urllib.request",
    "ftplib", "smtplib", "OpenSSL", "treq", "requests", "aiohttp", "httpx",
    "twisted.names", "twisted.internet.ssl", "twisted.internet.tcp",
    "twisted.internet.udp", "twisted.internet.unix", "twisted.internet.endpoints",
    "twisted.web.client", "twisted.web.websocket", "twisted.web._newclient", "wsproto",
    "twisted.application.internet.ClientService", "twisted.application.internet.SSLClient",
    "twisted.application.internet.TCPClient", "twisted.application.internet.UNIXClient"
})
# fmt: on
CONNECT_METHODS = frozenset(
    {"connectTCP", "connectSSL", "connectUNIX", "connectUDP", "adoptStreamConnection"}
)
LISTEN_METHODS = frozenset(
    {"listenTCP", "listenSSL", "listenUNIX", "listenUDP", "adoptStreamPort"}
)
ENDPOINTS = "twisted.internet.endpoints"
#: Services that connect and services that listen: the module is neither's alone.
SERVICES = "twisted.application.internet"
STRPORTS = "twisted.application.strports"

#: Private by their spelling, public by their documentation.
# fmt: off
PUBLIC_PRIVATE = frozenset({
    "_asdict", "_exit", "_field_defaults", "_fields", "_make", "_name_", "_replace",
    "_value_"
})
# fmt: on
BY_NAME = frozenset({"getattr", "setattr", "hasattr", "delattr"})

#: Modules that ``import txpusher`` leaves alone.
LATE = ("web", "scrapy", "subscriber", "server", "testing")


@attrs.frozen
class Module:
    """One module of the tree that is judged."""

    path: str
    name: str
    source: str
    tree: ast.Module

    @classmethod
    def parse(cls, path: str, source: str) -> Module:
        """The module of a file, from its path below the root of the checkout."""
        parts = path.removesuffix(".py").split("/")
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        return cls(path, name, source, ast.parse(source, path))

    def is_in(self, patterns: tuple[str, ...]) -> bool:
        """Whether the module is one of those that the patterns name."""
        return any(fnmatch(self.path, pattern) for pattern in patterns)

    @property
    def lines(self) -> list[str]:
        """The lines of the source."""
        return self.source.splitlines()


#: By dotted name.
Modules = Mapping[str, Module]


@attrs.frozen
class Breach:
    """One place at which a law is broken."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


Law = Callable[[Modules], Iterator[Breach]]


def parse(sources: Mapping[str, str]) -> Modules:
    """The modules of a tree of sources, which are given by path."""
    modules = [Module.parse(path, source) for path, source in sources.items()]
    return {module.name: module for module in modules}


def read(root: Path) -> Modules:
    """The modules of the package in a checkout."""
    files = sorted((root / PACKAGE).rglob("*.py"))
    return parse({file.relative_to(root).as_posix(): file.read_text("utf-8") for file in files})


# Imports


@attrs.frozen
class Import:
    """
    One imported name.

    :ivar name: Dotted; with ``from a import b``, ``a.b``.
    :ivar when: ``"module"``: when the module is imported; ``"function"``: when a function
        is called; ``"types"``: for the type checker only.
    """

    name: str
    line: int
    when: str

    def is_of(self, names: frozenset[str]) -> bool:
        """Whether the name is one of these, or below one of them."""
        return any(self.name == name or self.name.startswith(f"{name}.") for name in names)


class _ImportFinder(ast.NodeVisitor):
    def __init__(self, module: Module) -> None:
        self.found: list[Import] = []
        self._package = module.name.split(".")
        if not module.path.endswith("/__init__.py"):
            self._package.pop()
        self._when = "module"

    def _add(self, node: ast.AST, name: str) -> None:
        self.found.append(Import(name, getattr(node, "lineno", 0), self._when))

    def _visit_when(self, when: str, nodes: list[ast.stmt]) -> None:
        before = self._when
        if before != "types":
            self._when = when
        for node in nodes:
            self.visit(node)
        self._when = before

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        parts = [node.module] if node.module else []
        if node.level:
            parts = self._package[: len(self._package) - node.level + 1] + parts
        for alias in node.names:
            self._add(node, ".".join([*parts, alias.name]))

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func)
        if called in ("__import__", "import_module", "importlib.import_module") and node.args:
            of = node.args[0]
            name = str(of.value) if isinstance(of, ast.Constant) else f"{called}(...)"
            self._add(node, name)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            self._visit_when("types", node.body)
            self._visit_when(self._when, node.orelse)
        else:
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_when("function", node.body)

    visit_AsyncFunctionDef = visit_FunctionDef


def imports(module: Module) -> list[Import]:
    """All that a module imports, wherever the import stands."""
    finder = _ImportFinder(module)
    finder.visit(module.tree)
    return finder.found


def target(modules: Modules, imported: Import) -> str | None:
    """The module of the package that an import is from; None where it is another library's."""
    name = imported.name
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def _spelled_out(module: Module) -> Callable[[ast.expr], str]:
    """Make what tells an expression's dotted name, whatever its module calls the imported."""
    names: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            within = f"{node.module}."
            names |= {alias.asname or alias.name: within + alias.name for alias in node.names}

    def spelled_out(node: ast.expr) -> str:
        first, dot, rest = ast.unparse(node).partition(".")
        return names.get(first, first) + dot + rest

    return spelled_out


def _breach(module: Module, at: ast.AST | Import, what: str) -> Breach:
    return Breach(module.path, getattr(at, "lineno", getattr(at, "line", 0)), what)


# The laws


def pure_modules_compute(modules: Modules) -> Iterator[Breach]:
    """A pure module does no I/O, reads no clock and imports nothing that might."""
    for module in modules.values():
        is_pure = module.is_in(PURE)
        if not is_pure and not module.is_in(VALUES):
            continue
        allowed = COMPUTING if is_pure else COMPUTING | NAMING
        for imported in imports(module):
            if imported.when == "types" or imported.is_of(allowed):
                continue
            within = target(modules, imported)
            if within is None and imported.name.split(".")[0] == "os":
                continue
            if within is None or not modules[within].is_in((*PURE, *VALUES)):
                yield _breach(module, imported, f"imports {imported.name}")
        yield from _impure_calls(module)
        yield from _uses_of_os(module)


def _impure_calls(module: Module) -> Iterator[Breach]:
    spelled_out = _spelled_out(module)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            called = spelled_out(node.func)
            if called in IMPURE_CALLS or _reads_clock(called, node):
                yield _breach(module, node, f"calls {called}()")


def _reads_clock(called: str, node: ast.Call) -> bool:
    of, name = ["", *called.split(".")][-2:]
    if name in CLOCK_METHODS:
        return of in ("date", "datetime")
    if name not in CLOCK_WITHOUT_ARGUMENT:
        return False
    keyword = CLOCK_WITHOUT_ARGUMENT[name]
    times = [*node.args[:1], *(given.value for given in node.keywords if given.arg == keyword)]
    return all(isinstance(time, ast.Constant) and time.value is None for time in times)


def _uses_of_os(module: Module) -> Iterator[Breach]:
    # ``os`` may be imported for the environment, and that by one module.
    allowed = {"environ", "getenv"} if module.path == "txpusher/_urls.py" else set()
    spelled_out = _spelled_out(module)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and spelled_out(node.value) == "os":
            used = [node.attr]
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "os.path"):
            used = [alias.name for alias in node.names]
        else:
            continue
        for name in used:
            if name not in allowed:
                yield _breach(module, node, f"uses os.{name}")


def protocol_knows_errors_and_text_only(modules: Modules) -> Iterator[Breach]:
    """``_protocol/`` imports of the package itself, ``errors`` and ``_text``, nothing else."""
    allowed = ("txpusher/_protocol/*", "txpusher/errors.py", "txpusher/_text.py")
    for module in modules.values():
        if module.is_in(("txpusher/_protocol/*",)):
            for imported in imports(module):
                within = target(modules, imported)
                if within is not None and not modules[within].is_in(allowed):
                    yield _breach(module, imported, f"imports {imported.name}")


def roads_alone_connect(modules: Modules) -> Iterator[Breach]:
    """Only the roads touch sockets, connect, or import what does."""
    for module in modules.values():
        if module.is_in(ROADS):
            continue
        for imported in imports(module):
            connects = imported.is_of(CONNECTING) or imported.name == SERVICES
            if imported.when == "types" or not connects:
                continue
            if not (_is_of_listening(imported.name) and module.is_in(LISTENERS)):
                yield _breach(module, imported, f"imports {imported.name}")
        for node in _method_calls(module, CONNECT_METHODS, "connect"):
            yield _breach(module, node, f"calls {ast.unparse(node.func)}()")


def listeners_alone_listen(modules: Modules) -> Iterator[Breach]:
    """Only the listeners listen."""
    for module in modules.values():
        if module.is_in(LISTENERS):
            continue
        for imported in imports(module):
            if imported.when != "types" and _is_of_listening(imported.name):
                yield _breach(module, imported, f"imports {imported.name}")
        for node in _method_calls(module, LISTEN_METHODS, "listen"):
            yield _breach(module, node, f"calls {ast.unparse(node.func)}()")


def _is_of_listening(name: str) -> bool:
    within, _, last = name.rpartition(".")
    of_endpoints = "ServerEndpoint" in last or last == "serverFromString"
    return (
        (within == ENDPOINTS and of_endpoints)
        or (within == SERVICES and "Server" in last)
        or name in (SERVICES, "socketserver", "http.server")
        or within == STRPORTS
        or name == STRPORTS
    )


def _method_calls(
    module: Module, names: frozenset[str], of_endpoint: str
) -> Iterator[ast.Call]:
    """Calls of these methods, and of one more where it is called on an endpoint."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called_on = ast.unparse(node.func.value).lower()
            name = node.func.attr
            if name in names or (name == of_endpoint and "endpoint" in called_on):
                yield node


def nothing_imports_the_command_line(modules: Modules) -> Iterator[Breach]:
    """Nothing imports ``_cli/`` but itself and ``__main__``."""
    for module in modules.values():
        if not module.is_in(("txpusher/_cli/*", "txpusher/__main__.py")):
            for imported in imports(module):
                if imported.is_of(frozenset({"txpusher._cli"})):
                    yield _breach(module, imported, f"imports {imported.name}")


def client_knows_no_server(modules: Modules) -> Iterator[Breach]:
    """The client imports nothing of ``server/``, for types neither."""
    for module in modules.values():
        if not module.is_in(SERVER_SIDE):
            for imported in imports(module):
                if imported.is_of(frozenset({"txpusher.server"})):
                    yield _breach(module, imported, f"imports {imported.name}")


class _PrivateReads(ast.NodeVisitor):
    """Finds the members with an underscore that are read of other objects, as ruff's SLF."""

    def __init__(self) -> None:
        self.found: list[tuple[ast.AST, str]] = []
        self._classes: list[str] = []
        self._own: list[set[str]] = [set()]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._classes.append(node.name)
        self.generic_visit(node)
        self._classes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        own = {
            argument.arg
            for argument in every
            if argument.annotation is not None and self._names_own_class(argument.annotation)
        }
        for inner in ast.walk(node):
            if isinstance(inner, ast.Assign) and self._makes_own(inner.value):
                own |= {name.id for name in inner.targets if isinstance(name, ast.Name)}
            elif isinstance(inner, ast.AnnAssign) and self._names_own_class(inner.annotation):
                own.add(ast.unparse(inner.target))
        self._own.append(own | self._own[-1])
        self.generic_visit(node)
        self._own.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def _names_own_class(self, node: ast.expr) -> bool:
        text = str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)
        return text.split("[")[0] in {"Self", *self._classes}

    def _is_own_class(self, node: ast.expr) -> bool:
        return ast.unparse(node) in {
            "cls",
            "mcs",
            "type(self)",
            "self.__class__",
            *self._classes,
        }

    def _makes_own(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Call):
            return False
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr == "__new__":
            function = function.value
        return self._is_own_class(function)

    def _is_free(self, node: ast.expr) -> bool:
        text = ast.unparse(node)
        return (
            text in {"self", "super()"}
            or self._is_own_class(node)
            or (isinstance(node, ast.Name) and node.id in self._own[-1])
            or self._makes_own(node)
        )

    def _read(self, node: ast.AST, of: ast.expr, name: str) -> None:
        is_dunder = name.startswith("__") and name.endswith("__")
        is_private = name.startswith("_") and not is_dunder and name not in PUBLIC_PRIVATE
        if is_private and not self._is_free(of):
            self.found.append((node, name))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._read(node, node.value, node.attr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        named = [arg for arg in node.args if isinstance(arg, ast.Constant)]
        if called in BY_NAME and len(node.args) > 1 and node.args[1] in named:
            self._read(node, node.args[0], str(named[0].value))
        elif called in ("attrgetter", "methodcaller"):
            for path in named:
                for name in str(path.value).split("."):
                    self._read(node, ast.Name("another"), name)
        self.generic_visit(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        for name in node.kwd_attrs:
            self._read(node, ast.Name("another"), name)
        self.generic_visit(node)


def private_members(modules: Modules) -> set[str]:
    """The names with an underscore that the package itself gives to attributes and methods."""
    names: set[str] = set()
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names |= {node.attr} if ast.unparse(node.value) == "self" else set()
            elif isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                        names.add(part.name)
                    elif isinstance(part, ast.AnnAssign):
                        names.add(ast.unparse(part.target))
    return {name for name in names if name.startswith("_")}


def private_members_are_their_objects_own(modules: Modules) -> Iterator[Breach]:
    """
    Nobody reads a member with an underscore of another object, nor imports such a name.

    The own class is free, and so is what a method has made of it.  A line with
    ``noqa: SLF001`` says that the member is another library's: that is for members only
    that the package itself has not.
    """
    ours = private_members(modules)
    for module in modules.values():
        reads = _PrivateReads()
        reads.visit(module.tree)
        for node, name in reads.found:
            line = module.lines[getattr(node, "end_lineno", 1) - 1]
            if "noqa: SLF001" not in line or name in ours:
                yield _breach(module, node, f"reads {name} of another object")
        for imported in imports(module):
            within, last = target(modules, imported), imported.name.rpartition(".")[2]
            if within not in (None, imported.name) and re.match("_[^_]", last):
                yield _breach(module, imported, f"imports {imported.name}")


def modules_import_in_no_circle(modules: Modules) -> Iterator[Breach]:
    """
    No module imports, over others, itself; for types only ``client`` and ``_channel`` do.

    An import inside a function makes no circle: it runs when both modules are complete.
    """
    circle_for_types = frozenset({"txpusher.client", "txpusher._channel"})
    at_import, for_types = _graph(modules, {"module"}), _graph(modules, {"module", "types"})
    for name, module in modules.items():
        circle = _circle(at_import, name)
        if circle:
            yield Breach(module.path, 1, f"imports itself over {_listed(circle, name)}")
        circle = _circle(for_types, name)
        if circle and circle != circle_for_types:
            yield Breach(module.path, 1, f"imports itself, types too: {_listed(circle, name)}")


def _listed(circle: frozenset[str], without: str) -> str:
    return ", ".join(sorted(circle - {without})) or "nothing else"


def _graph(modules: Modules, when: set[str]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, module in modules.items():
        for imported in imports(module):
            within = target(modules, imported)
            if within is not None and imported.when in when and within != name:
                graph[name].add(within)
    return graph


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def _circle(graph: Mapping[str, set[str]], name: str) -> frozenset[str]:
    """The modules that a module reaches and that reach it; empty without a circle."""
    return frozenset(other for other in _reached(graph, name) if name in _reached(graph, other))


def modules_are_short(modules: Modules) -> Iterator[Breach]:
    """No module is over 400 lines."""
    for module in modules.values():
        count = len(module.lines)
        if count > MAX_MODULE_LINES:
            yield Breach(module.path, count, f"has {count} lines")


def functions_are_short(modules: Modules) -> Iterator[Breach]:
    """No function is over 40 lines without its docstring, unless that gives the reason."""
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                docstring = ast.get_docstring(node)
                if docstring is not None:
                    count -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
                if count > MAX_FUNCTION_LINES and REASON not in (docstring or ""):
                    yield _breach(module, node, f"{node.name} has {count} lines, no reason")


#: The laws that judge the source, by what a breach of each is called.
LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        pure_modules_compute,
        protocol_knows_errors_and_text_only,
        roads_alone_connect,
        listeners_alone_listen,
        nothing_imports_the_command_line,
        client_knows_no_server,
        private_members_are_their_objects_own,
        modules_import_in_no_circle,
        modules_are_short,
        functions_are_short,
    )
}


def imports_are_late(root: Path) -> list[str]:
    """
    The modules that ``import txpusher``, and its public names, load and ought not to.

    A name whose own module is one of those is left out: who asks for it wants the module.

    :param root: The directory that has the package.
    """
    late = ["twisted.internet.reactor", *(f"{PACKAGE}.{name}" for name in LATE)]
    program = (
        f"import json, sys, {PACKAGE} as package; "
        "names = [name for name in getattr(package, '__all__', ()) "
        f"if getattr(package, '_HOMES', {{}}).get(name) not in {late!r}]; "
        "[getattr(package, name) for name in names]; "
        f"print(json.dumps([name for name in {late!r} if name in sys.modules]))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise AssertionError(done.stderr)
    loaded: list[str] = json.loads(done.stdout)
    return loaded
