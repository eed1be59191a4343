"""
README, documentation and changelog: they render, and what they say is so.

Whether the reference is complete is asked in :mod:`tests.unit.test_reference`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import attrs
import pytest
from docutils import nodes
from docutils.core import publish_doctree

import txpusher
from tests.benchmarks.targets import PAIRS, RATIO_HEADER, TIMES
from tests.support.pages import (
    AWAITING,
    DOCS,
    PAGES,
    README,
    ROOT,
    all_blocks,
    literal_blocks,
    literals,
    page,
    parsed,
    rows,
    without_sphinx,
)
from txpusher import errors
from txpusher._cli import make_parser
from txpusher.retry import may_have_been_delivered
from txpusher.server import ChannelsServer
from txpusher.testing import BlockingRunningServer, FakePusher, RunningServer

CHANGELOG = ROOT / "CHANGELOG.rst"

#: What a variable of the examples is; where it may be either, both.
VARIABLES: dict[str, tuple[Any, ...]] = {
    "txpusher": (txpusher,),
    "pusher": (txpusher.Pusher,),
    "blocking": (txpusher.BlockingPusher,),
    "publisher": (txpusher.BatchPublisher, txpusher.BlockingBatchPublisher),
    "lobby": (txpusher.Channel,),
    "webhook": (txpusher.WebHook,),
    "error": (txpusher.PusherError, txpusher.APIError, txpusher.HTTPError),
    "attempt": (txpusher.Attempt,),
    "server": (ChannelsServer, RunningServer),
    "channels_server": (RunningServer,),
    "blocking_channels_server": (BlockingRunningServer,),
    "fake": (FakePusher,),
}

#: The code on all pages, of other libraries left out.
TREES = [block.tree for block in all_blocks("python") if "import pusher\n" not in block.source]

#: What makes a client, and so takes every setting.
MAKE_CLIENTS = [
    txpusher.Pusher,
    txpusher.Pusher.from_url,
    txpusher.Pusher.from_env,
    txpusher.BlockingPusher.from_env,
    txpusher.configure,
]


@pytest.mark.parametrize("path", [*PAGES, CHANGELOG], ids=lambda path: path.name)
def test_page_renders_without_a_warning(path):
    assert parsed(path).astext()


@pytest.mark.parametrize("path", [*PAGES, CHANGELOG], ids=lambda path: path.name)
def test_no_underline_of_a_title_is_left_in_the_text(path):
    # An underline of two characters is none, and no warning either.
    texts = [paragraph.astext() for paragraph in parsed(path).findall(nodes.paragraph)]
    assert [text for text in texts if re.search(r"^[-=~]{4}", text, re.MULTILINE)] == []


def test_a_warning_would_be_noticed(tmp_path):
    wrong = tmp_path / "wrong.rst"
    wrong.write_text("Title\n====\n\nSee nowhere_.\n", "utf-8")
    with pytest.raises(Exception, match="Title underline too short"):
        parsed(wrong)


def test_the_changelog_tells_of_this_version():
    document = parsed(CHANGELOG)
    titles = [title.astext() for title in document.findall(nodes.title)]
    titles += [title.astext() for title in document.findall(nodes.subtitle)]
    assert txpusher.__version__ in titles


@pytest.mark.parametrize("name", ["demo", "test"])
def test_readme_command_is_one_line_that_makes_its_environment(name):
    text = README.read_text("utf-8")
    [block] = re.findall(rf"^\.\. command: {name}\n.*::.*\n\n((?:    .*\n)+)\n", text, re.M)
    assert re.fullmatch(r"    python3 -m venv \.venv && \S.*\n", block)


def test_every_example_compiles_and_its_imports_exist():
    imported = 0
    for tree in TREES:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("txpusher"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), ast.unparse(node)
                    imported += 1
    assert imported > 10


def test_every_attribute_in_the_examples_exists():
    checked = 0
    for tree in TREES:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                kinds = VARIABLES.get(node.value.id, ())
                checked += bool(kinds)
                assert not kinds or any(_has(kind, node.attr) for kind in kinds), ast.unparse(
                    node
                )
    assert checked > 40


def _has(kind: Any, name: str) -> bool:
    # What is set in __init__ is not on the class, but in its docstring.
    documented = f":ivar {name}:" in (kind.__doc__ or "")
    return hasattr(kind, name) or documented


def _callee(call: ast.Call, names: dict[str, Any]) -> list[Any]:
    """The functions that a call may mean, bound to no instance."""
    function = call.func
    if isinstance(function, ast.Name):
        return [names[function.id]] if function.id in names else []
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return []
    of = function.value.id
    kinds = (names[of],) if of in names else VARIABLES.get(of, ())
    return [getattr(kind, function.attr) for kind in kinds if hasattr(kind, function.attr)]


def _accepts(function: Any, call: ast.Call) -> bool:
    signature = inspect.signature(function)
    arguments = [None] * len(call.args)
    if next(iter(signature.parameters), None) == "self":
        arguments.insert(0, None)
    try:
        signature.bind(*arguments, **{keyword.arg: None for keyword in call.keywords})
    except TypeError:
        return False
    if function in MAKE_CLIENTS:
        settings = {field.name for field in attrs.fields(txpusher.Config) if field.init}
        settings |= {"reactor", "http_client", "clock", "on_attempt"}
        return {keyword.arg for keyword in call.keywords} <= settings
    return True


def test_every_call_in_the_examples_fits_the_signature():
    checked = 0
    names = {name: getattr(txpusher, name) for name in txpusher.__all__}
    for tree in TREES:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (functions := _callee(node, names)):
                assert any(_accepts(f, node) for f in functions), ast.unparse(node)
                checked += 1
    assert checked > 40


def test_the_retry_policy_has_the_defaults_told():
    fields = attrs.fields(txpusher.RetryPolicy)
    defaults = ", ".join(f"{field.name}={field.default!r}" for field in fields)
    assert f"RetryPolicy({defaults})" in page("explanation/delivery").astext()


@pytest.mark.parametrize("kind", [txpusher.Stats, txpusher.Attempt])
def test_page_names_every_field_of_the_metrics(kind):
    assert {field.name for field in attrs.fields(kind)} <= literals(page("howto/observe"))


def test_every_operation_has_an_example():
    text = "\n".join(block.source for block in all_blocks("python"))
    public = {
        name
        for name, _ in inspect.getmembers(txpusher.Pusher, inspect.isfunction)
        if not name.startswith("_")
    }
    assert {name for name in public - {"channel"} if f"pusher.{name}(" not in text} == set()
    on_a_channel = {"trigger", "trigger_quietly", "info", "users"}
    assert {name for name in on_a_channel if f"lobby.{name}(" not in text} == set()


def test_shell_commands_of_the_pages_exist():
    lines = "\n".join(block.source for block in all_blocks("sh")).splitlines()
    shown = [line.partition(" <")[0] for line in lines if line.startswith("txpusher ")]
    commands = [shlex.split(line)[1:] for line in shown]
    assert {"serve", "subscribe", "trigger"} <= {command[0] for command in commands}
    for command in commands:
        make_parser().parse_args(command)


def _says(yes: bool, unsafe: bool) -> str:
    return "yes" if yes else "if unsafe" if unsafe else "no"


@pytest.mark.parametrize(
    ("row", "statuses"),
    [
        ("429, too many requests; 408", [429, 408]),
        ("3xx, any other 4xx", [301, 307, 400, 401, 403, 404, 407, 409, 413, 422]),
        ("5xx", [500, 502, 503, 504, 599]),
    ],
)
def test_table_of_errors_agrees_with_the_code(row, statuses):
    table = {what: cells for what, *cells in rows(page("reference/errors"))}
    policies = txpusher.RetryPolicy(), txpusher.RetryPolicy(unsafe=True)
    for status in statuses:
        repeated = {}
        for method in ("GET", "POST"):
            maybe = may_have_been_delivered(method, sent=True, status=status)
            error = errors.error_class_for(status)("", status=status, maybe_delivered=maybe)
            repeated[method] = _says(*(p.delay(0, error) is not None for p in policies))
        assert table[row] == [repr(maybe), repeated["POST"], repeated["GET"]], status


def test_table_of_ratios_has_the_rows_of_the_benchmark():
    [table] = page("explanation/performance").findall(nodes.table)
    [header] = table.findall(nodes.thead)
    assert [cell.astext() for cell in header[0]] == list(RATIO_HEADER)
    printed = [pair.name.replace("``", "") for pair in PAIRS]
    shown = rows(page("explanation/performance"))
    assert [name for name in printed if name in {row[0] for row in shown}] == [
        name for name, *_ in shown
    ]
    for _, rate, cpu in shown:
        assert re.fullmatch(rf"\d+\.\d {TIMES}", rate)
        assert re.fullmatch(rf"\d+\.\d\d {TIMES}", cpu)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_named_on_a_page_exists(path):
    text = path.read_text("utf-8")
    folders = r"(?<![\w/-])(?:examples|tests|docs|txpusher|\.ci)/"
    paths = set(re.findall(folders + r"[\w/-]+(?:\.(?:conf|py|rst|png))?", text))
    made = {path for path in paths if path.startswith("docs/_build")}
    assert {path for path in paths - made if not (ROOT / path).exists()} == set()
    modules = set(re.findall(r"-m (tests[\w.]+)", text))
    assert {m for m in modules if not (ROOT / f"{m.replace('.', '/')}.py").exists()} == set()


def test_readme_fits_a_screen_or_two():
    assert len(README.read_text("utf-8").splitlines()) <= 250


def test_block_that_is_not_run_says_its_reason():
    not_run = [block for language in ("python", "sh") for block in all_blocks(language)]
    for block in not_run:
        assert not block.why_not or len(block.why_not.split()) >= 4, block.name


#: Languages of which the tests run nothing here: a page and its script, and a program of
#: another library.
NOT_OURS = ("html", "javascript", "ruby")


def escaping(text: str) -> list[str]:
    """Return what is code on a page and is not looked at by the tests that run it."""
    languages = r"(?m)^ *\.\. (?:code-block|code|sourcecode|highlight|doctest)::.*"
    run = [f".. code-block:: {one}" for one in ("python", "sh", *NOT_OURS)]
    found = [one.strip() for one in re.findall(languages, text) if one.strip() not in run]
    found += re.findall(r"(?m)^ *>>> .*", text)
    for block in literal_blocks(publish_doctree(without_sphinx(text))):
        first = block.split()[0]
        if first in ("$", "curl", "npm", "pip", "python", "python3", "twist", "txpusher"):
            found.append(block)
            continue
        try:
            compile(block, "block", "exec", AWAITING)
        except SyntaxError:
            continue
        found.append(block)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_code_of_a_page_escapes_the_tests_that_run_it(path):
    assert escaping(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        ".. code-block:: console\n\n    txpusher serve",
        ".. code-block:: python3\n\n    x = 1",
        ".. code:: python\n\n    x = 1",
        ">>> 1 + 1",
        "So::\n\n    await pusher.close()",
        "So::\n\n    txpusher serve",
    ],
)
def test_code_that_would_escape_is_noticed(text):
    assert len(escaping(text)) == 1


def test_block_is_run_by_a_test_that_exists():
    tests = "".join(path.read_text("utf-8") for path in ROOT.glob("tests/integration/*.py"))
    marked = [block for block in all_blocks("python") if block.how.startswith("by ")]
    assert len(marked) > 5
    for block in marked:
        assert re.search(rf"def {block.how[3:]}\(", tests), block.name
    ways = {block.how.partition(" ")[0] for block in all_blocks("python")}
    assert ways <= {"", "by", "program", "suite"}


def test_links_of_the_readme_lead_to_files():
    links = re.findall(r"^\.\. _.+: (docs/.+)$", README.read_text("utf-8"), re.MULTILINE)
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_example_is_shown_on_a_page():
    text = "".join(path.read_text("utf-8") for path in PAGES)
    shown = {Path(path).name for path in re.findall(r"examples/[\w/]+\.py", text)}
    examples = {path.name for path in (ROOT / "examples").rglob("*.py")}
    assert {name for name in examples if "node_modules" not in name} - shown == set()


def test_llms_txt_names_every_page():
    text = (DOCS / "llms.txt").read_text("utf-8")
    linked = {link.removesuffix(".html") for link in re.findall(r"\]\(([\w/-]+\.html)\)", text)}
    pages = {str(p.relative_to(DOCS).with_suffix("")) for p in PAGES if p.is_relative_to(DOCS)}
    indexes = {name for name in pages if name.endswith("index") or "inventories" in name}
    assert linked <= pages
    assert pages - indexes - linked == set()
