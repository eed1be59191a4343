"""
The reference is complete and right: each public name, setting, option, variable, error and log
event has an entry, and nothing has one that does not exist.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import attrs
import pytest
from docutils import nodes

import txpusher
from tests.support.pages import (
    DOCS,
    ROOT,
    literal_blocks,
    literals,
    page,
    rows,
    section,
    tables,
)
from txpusher import errors
from txpusher._cli import make_parser
from txpusher._cli.parser import Parser
from txpusher._server_options import (
    APP_OPTIONS,
    APPS,
    CONSOLE_OPTIONS,
    PLACE_OPTIONS,
    SERVER_OPTIONS,
    TROUBLE,
    WEBHOOKS,
)
from txpusher._subscriber_settings import Settings

pytest.importorskip("scrapy")
pytest.importorskip("wsproto")

from txpusher import server, service
from txpusher.server._console.feed import Entry
from txpusher.server._core.outputs import Activity
from txpusher.server._core.refusals import Means, Refusal

REFERENCE = DOCS / "reference"
PACKAGE = ROOT / "txpusher"


# Names


def public_modules() -> list[ModuleType]:
    """Return the modules without an underscore in their names."""
    found = pkgutil.walk_packages(txpusher.__path__, "txpusher.")
    names = [one.name for one in found if "._" not in one.name and "__" not in one.name]
    return [txpusher, *map(importlib.import_module, names)]


def found_in(text: str) -> Iterator[str]:
    """Generate the whole names that a page has an entry for."""
    module = ""
    for line in text.splitlines():
        if inside := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
            module = f"{inside[1]}."
        elif entry := re.fullmatch(r" *\.\. (?:auto|py:)\w+:: (\S+)", line):
            yield entry[1] if entry[1].startswith("txpusher.") else module + entry[1]


def without_entry(pages: dict[str, str]) -> set[str]:
    """Return the public names that no page has an entry for."""
    entries = {name for text in pages.values() for name in found_in(text)}
    missing = set()
    at_home = {getattr(txpusher, name).__module__ for name in txpusher.__all__[1:]}
    for module in public_modules():
        # Such a module defines what the package offers, under its own name.
        assert hasattr(module, "__all__") or module.__name__ in at_home, module.__name__
        for name in getattr(module, "__all__", ()):
            whole = {f"{module.__name__}.{name}", f"txpusher.{name}"}
            if not whole & entries:
                missing.add(f"{module.__name__}.{name}")
    return missing


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    """The pages of the reference by name."""
    return {path.stem: path.read_text("utf-8") for path in REFERENCE.glob("*.rst")}


def test_every_public_name_has_an_entry(reference):
    assert without_entry(reference) == set()


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("client", "txpusher.Attempt"),
        ("compatibility", "txpusher.__version__"),
        ("errors", "txpusher.ClosedError"),
        ("publishing", "txpusher.scrapy.Addon"),
        ("publishing", "txpusher.service.PusherService"),
        ("server", "txpusher.server.HOSTED_LIMITS"),
        ("subscriber", "txpusher.subscriber.Message"),
        ("testing", "txpusher.testing.ANYTHING"),
        ("web", "txpusher.web.Identify"),
    ],
)
def test_public_name_without_an_entry_is_noticed(reference, name, entry):
    last = entry.rpartition(".")[2]
    left_out = re.sub(rf"(?m)^\.\. (auto|py:)\w+:: ([\w.]+\.)?{last}$", "", reference[name])
    assert entry in without_entry({**reference, name: left_out})


def test_every_entry_is_of_something_that_exists(reference):
    for text in reference.values():
        for line in re.findall(r"(?m)^ *\.\. auto\w+:: (txpusher\S+)", text):
            module, _, name = line.rpartition(".")
            assert hasattr(importlib.import_module(module), name), line


def test_compatibility_names_every_public_module():
    named = literals(page("reference/compatibility"))
    modules = {one.__name__ for one in public_modules() if hasattr(one, "__all__")}
    assert modules - named == set()


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Generate the public members of a class that the package defines."""
    for owner in kind.__mro__:
        if owner.__module__.startswith("txpusher"):
            for name, value in vars(owner).items():
                if not name.startswith("_"):
                    yield f"{owner.__qualname__}.{name}", value


def public_classes() -> list[type]:
    """Return the public classes."""
    return [
        value
        for module in public_modules()
        for name in getattr(module, "__all__", ())
        if inspect.isclass(value := getattr(module, name))
    ]


@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: kind.__qualname__)
def test_every_public_member_has_a_docstring(kind):
    # A member without one is left out by autodoc.
    assert kind.__doc__
    for name, value in members(kind):
        if inspect.isroutine(value) or isinstance(value, property):
            assert inspect.getdoc(value), name
    if attrs.has(kind):
        told = set(re.findall(r":(?:param|ivar) (\w+):", kind.__doc__))
        fields = {field.name for field in attrs.fields(kind) if field.init}
        assert {name for name in fields if not name.startswith("_")} - told == set()


def test_every_argument_in_seconds_says_so():
    said = 0
    for kind in public_classes():
        for name, value in [(kind.__qualname__, kind), *members(kind)]:
            for argument, text in re.findall(
                r":(?:param|ivar) (\w*(?:timeout|delay|duration|linger|grace|max_age|seconds)):"
                r"((?:.|\n)*?)(?=\n *:|\n\n|$)",
                value.__doc__ or "",
            ):
                said += 1
                words = r"(?i)second|Limits|See :class:|As for :meth:"
                assert re.search(words, text), f"{name}: {argument}"
    assert said > 20


# Errors


def test_the_list_of_errors_is_the_tree_of_errors():
    [tree] = [
        block
        for block in literal_blocks(page("reference/errors"))
        if block.startswith("PusherError")
    ]
    above: list[str] = ["Exception"]
    listed = []
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 4
        kind = getattr(errors, name)
        assert kind.__bases__[0].__name__ == above[depth]
        if re.match(r" *\w+ +\d{3}", line):
            assert errors.error_class_for(int(line.split()[1].rstrip(":"))) is kind
        above[depth + 1 :] = [name]
        listed.append(name)
    assert sorted(listed) == sorted(errors.__all__)


def test_every_error_has_a_cause_and_a_cure():
    text = (REFERENCE / "errors.rst").read_text("utf-8")
    _, *entries = re.split(r"^\.\. autoexception:: ", text, flags=re.MULTILINE)
    assert sorted(entry.split()[0] for entry in entries) == sorted(errors.__all__)
    for entry in entries:
        assert re.search(r"^   \*\*Cause:\*\* \S", entry, re.MULTILINE), entry
        assert re.search(r"^   \*\*Cure:\*\* \S", entry, re.MULTILINE), entry


# Settings

ILLUSTRATED = {"json_dumps": "compact, UTF-8 kept", "retry": "RetryPolicy()"}


def shown(name: str, default: Any) -> str:
    """Return what a table has for a default."""
    if name in ILLUSTRATED:
        return ILLUSTRATED[name]
    if inspect.isroutine(default):
        return f"{default.__module__}.{default.__name__}"
    return repr(default).replace("'", '"')


def settings_of(kind: Callable[..., Any]) -> list[tuple[str, str]]:
    """Return the arguments that have a default, with it."""
    return [
        (name, shown(name, parameter.default))
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is not parameter.empty
    ]


def test_the_table_of_options_is_config():
    table, of_pusher = tables(section(page("reference/settings"), "Pusher"))
    required = [(name, "") for name in ("app_id", "key", "secret")]
    expected = required + settings_of(txpusher.Config)[3:]
    assert [(name, default) for name, default, _ in table] == expected
    own = [
        one for one in settings_of(txpusher.Pusher) if one not in settings_of(txpusher.Config)
    ]
    assert [(name, default) for name, default, _ in of_pusher] == own[-4:]


@pytest.mark.parametrize(
    ("title", "kinds"),
    [
        ("RetryPolicy", [txpusher.RetryPolicy]),
        ("BatchPublisher", [txpusher.BatchPublisher]),
        ("BlockingBatchPublisher", [txpusher.BlockingBatchPublisher]),
        ("PusherService", [service.PusherService]),
        ("Subscriber", [txpusher.Subscriber, Settings]),
        ("ChannelsServer", [server.ChannelsServer]),
        ("App", [server.App]),
        ("WebHookTarget", [server.WebHookTarget]),
        ("Limits", [server.Limits]),
    ],
)
def test_table_of_settings_has_each_with_its_default(title, kinds):
    table = rows(section(page("reference/settings"), title))
    expected = [setting for kind in kinds for setting in settings_of(kind)]
    assert [(name, default) for name, default, _ in table] == expected


def test_every_setting_says_what_it_is_and_in_which_unit():
    for table in tables(page("reference/settings")):
        for name, default, what in table:
            assert what, name
            in_seconds = re.search(r"timeout|delay|duration|linger|grace", name)
            if in_seconds or re.fullmatch(r"\d+\.\d+", default):
                assert "second" in what, name


def test_hosted_limits_are_told_beside_the_limits():
    for name, _, what in rows(section(page("reference/settings"), "Limits")):
        told = re.search(r"\(([\d ]+)\)$", what)
        hosted = getattr(server.HOSTED_LIMITS, name)
        expected = hosted if told else getattr(server.Limits(), name)
        assert hosted == (int(told[1].replace(" ", "")) if told else expected), name


# What the server refuses, what a crawl counts


def test_page_has_every_refusal_with_its_code():
    titles = {"STATUS": "Requests", "CLOSE": "Connections", "ERROR": "Messages"}
    titles["CUT"] = "In silence"
    document = page("reference/server")
    for means in Means:
        told = [tuple(row) for row in rows(section(document, titles[means.name]))]
        none = "" if means is Means.CUT else "—"
        assert told == [
            (one.label, str(one.code or none), one.meaning)
            for one in Refusal
            if one.means is means
        ]


def test_page_has_every_figure_of_a_crawl():
    text = (PACKAGE / "_scrapy_session.py").read_text("utf-8")
    counted = re.findall(r"count\(f?\"([\w{}/]+)\"|\"pusher/(\w+)\"", text)
    figures = {f"pusher/{one or other}" for one, other in counted}
    told = {name for name, _ in rows(section(page("reference/publishing"), "Scrapy"))}
    assert {name.replace("{kind}", "CLASS") for name in figures} == told


def test_page_has_every_field_of_the_entries_of_the_console():
    told = literals(section(page("howto/local-server"), "What it has seen, as JSON"))
    fields = set(Entry(1, 0.0, Activity("event", "1")).fields())
    assert fields - told == set()


def test_page_has_every_message_that_handlers_are_told():
    told = literals(section(page("reference/subscriber"), "What handlers are told"))
    text = "".join(one.read_text("utf-8") for one in (PACKAGE / "_protocol").glob("*.py"))
    named = r"(?:Message\([\w.]+|_renamed\(\w+), f?\"([\w:{}]+)\""
    made = set(re.findall(named, text))
    assert {"pusher:subscription_error", "pusher:member_{change}"} <= made
    for name in made:
        ends = ("added", "removed") if "{change}" in name else ("",)
        assert {name.replace("{change}", end) for end in ends} <= told


# Command line and environment


def commands(parser: Parser, above: str = "") -> Iterator[tuple[str, Parser]]:
    """Generate the commands by name, ``webhook verify`` too."""
    for name, command in parser.commands.items():
        yield from commands(command, f"{name} ")
        if not command.commands:
            yield above + name, command


def options_of(command: Parser) -> set[str]:
    """Return the options of a command that its help names."""
    return set(re.findall(r"(?m)^  (?:-\w, )?(--[\w-]+)", command.format_help())) - {"--help"}


def options_told(part: nodes.Element) -> set[str]:
    """Return the options that a part of the page has a row for."""
    cells = [row[0] for table in tables(part) for row in table]
    return {cell.split()[0] for cell in cells if cell.startswith("--")}


def test_page_names_every_command_with_its_options():
    whole = section(page("reference/command-line"), "Options")
    common, *parts = [part for part in whole if isinstance(part, nodes.section)]
    existing = set()
    for name, command in commands(make_parser()):
        options = options_of(command)
        existing |= options
        told = {
            option
            for part in parts
            if name in part[0].astext().split(", ")
            for option in options_told(part)
        }
        if name in literals(common):
            told |= options_told(common)
        if name in ("serve", "listen"):
            told.add("--json")
        assert options - told == set(), name
    assert options_told(whole) - existing == set()
    words = {literal.split()[0] for literal in literals(page("reference/command-line"))}
    assert set(make_parser().commands) - words == set()


def test_page_names_the_variable_of_every_option_of_the_server():
    groups = PLACE_OPTIONS, (APPS, WEBHOOKS), APP_OPTIONS, SERVER_OPTIONS, CONSOLE_OPTIONS
    options = [option for group in groups for option in group] + [TROUBLE]
    table = rows(section(page("reference/command-line"), "serve, listen"))
    expected = [(f"--{one.name} {one.metavar}".strip(), one.variable) for one in options]
    assert [(option, variable) for option, variable, _ in table] == expected


def test_page_has_the_exit_codes_of_the_help():
    from txpusher._cli.codes import TABLE

    told = [row[0] for row in rows(section(page("reference/command-line"), "Exit codes"))]
    assert told == re.findall(r"(?m)^  (\d+)", TABLE)


def test_page_names_every_variable_of_the_environment():
    sources = "".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    name = r"[\"']((?:TX)?PUSHER_[A-Z_]+|NO_COLOR|TERM|SCRAPY_CHECK)[\"']"
    read = set(re.findall(name, sources))
    pages = REFERENCE / "environment.rst", DOCS / "howto" / "scrapy.rst"
    text = "".join(path.read_text("utf-8") for path in pages)
    assert {"PUSHER_URL", "PUSHER_URL_FILE", "NO_COLOR", "TXPUSHER_TRACEBACK"} <= read
    assert {name for name in read if not re.search(rf"\b{name}\b", text)} == set()


# Log events


class Logged(NamedTuple):
    """One place of the package that logs."""

    level: str
    format: str
    fields: frozenset[str]


def logged() -> set[Logged]:
    """Return the places that log with a format of their own."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in ("_log", "log")
            ):
                [text, *_] = node.args
                assert isinstance(text, ast.Constant), path
                level = node.func.attr.replace("failure", "critical")
                fields = {str(keyword.arg) for keyword in node.keywords} - {"failure"}
                found.add(Logged(level, str(text.value), frozenset(fields)))
    return found


#: What a Subscriber notes has its level and its words from elsewhere.
NOTED = ("debug, warn, error", "{text}")


def test_page_has_every_log_event_and_its_level():
    document = page("reference/log-events")
    told = {(row[0], row[1]) for table in tables(document) for row in table if len(row) == 3}
    assert told == {(event.level, event.format) for event in logged()} | {NOTED}
    assert len(told) > 20


def test_page_explains_every_field_of_the_log_events():
    told = {name for name, _ in rows(section(page("reference/log-events"), "Fields"))}
    used = {field for event in logged() for field in event.fields}
    assert told == used | {"text", "log_failure"}


def test_namespace_of_every_log_event_is_as_told():
    made = [
        call
        for path in PACKAGE.rglob("*.py")
        for call in re.findall(
            r"= ((?:Logger|\w+\.getLogger)\([^)]*\))", path.read_text("utf-8")
        )
    ]
    own = {'Logger(namespace="txpusher")', 'logging.getLogger("txpusher.scrapy")'}
    # For Twisted's parser: it writes nothing.
    own.add('Logger(namespace="txpusher", observer=cast(Any, lambda event: None)')
    # Twisted's records are handed on by their namespace.
    assert set(made) - own == {"logging.getLogger(namespace)", "logging.getLogger(TWISTED)"}


# The house


def test_house_shows_every_folder_and_every_module_beside_the_doors():
    [tree] = [b for b in literal_blocks(page("explanation/house")) if b.startswith("txpusher/")]
    told = re.findall(r"(?<![\w/])(\w+(?:\.py|/))(?!\w)", tree)
    folders = {
        f"{path.name}/"
        for path in (PACKAGE, *PACKAGE.rglob("*"))
        if path.is_dir() and path.name != "__pycache__"
    }
    modules = {path.name for path in PACKAGE.glob("*.py")}
    assert sorted(told) == sorted(folders | modules)


def test_house_tells_the_way_of_an_event_by_modules_that_exist():
    _, *ways = literal_blocks(page("explanation/house"))
    told = re.findall(r"(?m)^ *(_\w+(?:\.\w+)?) +\w", "\n".join(ways))
    assert len(told) > 6
    for module in told:
        path = Path(PACKAGE, *module.split("."))
        assert path.is_dir() or path.with_suffix(".py").exists(), module
