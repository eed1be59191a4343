"""
The pages that users read, README and documentation, and the blocks of code and tables on them.

A comment above a block says how it is run, where it is not the body of a coroutine::

    .. run: program                 a program in a process of its own
    .. run: above                   goes on where the block above on its page has ended
    .. run: by test_some_name       by that test
    .. not run: REASON              by nobody
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import attrs
from docutils import nodes
from docutils.core import publish_doctree

from tests.support.credentials import MASTER_KEY_BASE64
from txpusher._protocol.signing import hmac_hex

ROOT = Path(__file__).parents[2]
README = ROOT / "README.rst"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(p for p in DOCS.rglob("*.rst") if "_build" not in p.parts)]

#: How the body of a coroutine is compiled.
AWAITING = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

_BLOCK = re.compile(r"( *)\.\. code-block:: (python|ruby|sh)")
_MARK = re.compile(r" *\.\. (run|not run): (.+)")
_COMMAND = re.compile(r" *\.\. command: (.+)")


@attrs.frozen
class Block:
    """
    A block of code.

    :ivar page: The path of the page, from the root of the project.
    :ivar line: The number of the line of its directive.
    :ivar how: The words after ``run:``, empty where there are none.
    :ivar why_not: The words after ``not run:``, empty where there are none.
    """

    page: str
    line: int
    language: str
    source: str
    how: str = ""
    why_not: str = ""

    @property
    def tree(self) -> ast.Module:
        """Return the syntax tree, for a block of Python."""
        flags = AWAITING | ast.PyCF_ONLY_AST
        tree = compile(self.source, self.name, "exec", flags)
        assert isinstance(tree, ast.Module)
        return tree

    @property
    def name(self) -> str:
        """Return what a test of this block is called."""
        return f"{self.page}:{self.line}"

    def source_for(self, host: str, port: int) -> str:
        """Return the source with a server of a test, without TLS, in the place of a cluster."""
        if self.language == "ruby":
            there = f'Pusher.host, Pusher.port, Pusher.scheme = "{host}", {port}, "http"'
            return self.source.replace('Pusher.cluster = "eu"', there)
        tls = "ssl" if "import pusher\n" in self.source else "use_tls"
        return self.source.replace('cluster="eu"', f'host="{host}", port={port}, {tls}=False')


def _marks(lines: list[str], number: int) -> dict[str, str]:
    """Return the comments right above a line."""
    said = {}
    while number and (lines[number - 1].lstrip().startswith(".. ")):
        number -= 1
        if mark := _MARK.fullmatch(lines[number]):
            said[mark[1]] = mark[2]
        elif command := _COMMAND.fullmatch(lines[number]):
            said["not run"] = f"'.ci/run readme' runs the command {command[1]}"
    return said


def blocks(path: Path) -> Iterator[Block]:
    """Generate the blocks of Python, of Ruby and of shell on a page, in order."""
    lines = path.read_text("utf-8").splitlines()
    for number, line in enumerate(lines):
        if not (directive := _BLOCK.fullmatch(line)):
            continue
        inside = []
        for one in lines[number + 1 :]:
            if one and len(one) - len(one.lstrip()) <= len(directive[1]):
                break
            inside.append(one)
        said = _marks(lines, number)
        yield Block(
            str(path.relative_to(ROOT)),
            number + 1,
            directive[2],
            textwrap.dedent("\n".join(inside)).strip() + "\n",
            said.get("run", ""),
            said.get("not run", ""),
        )


def all_blocks(language: str) -> list[Block]:
    """Return the blocks in a language on all pages."""
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def environment(key: str, secret: str, body: str) -> dict[str, str]:
    """
    Return what programs on the pages find in their environment.

    That is the key of encrypted channels, and what a CGI program is told of a webhook with
    *body*, which comes on its standard input.
    """
    return {
        "PUSHER_ENCRYPTION_MASTER_KEY": MASTER_KEY_BASE64,
        "CONTENT_TYPE": "application/json",
        "HTTP_X_PUSHER_KEY": key,
        "HTTP_X_PUSHER_SIGNATURE": hmac_hex(secret, body.encode()),
    }


_ROLE = re.compile(r":[a-z:]+:`([^`]+)`")
_SPHINX = re.compile(
    r"^( *)\.\. (toctree|auto\w+|py:\w+|currentmodule|literalinclude|seealso)::", re.MULTILINE
)


def without_sphinx(text: str) -> str:
    """
    Return a page as docutils alone can read it.

    Roles become literals of the same width, as they stand in tables; Sphinx's directives
    become comments.
    """

    def literal(found: re.Match[str]) -> str:
        return f"``{found[1]}``".ljust(len(found[0]))

    return _SPHINX.sub(r"\1.. \2", _ROLE.sub(literal, text))


def parsed(path: Path) -> nodes.document:
    """Return the document as an index of packages would read it; a warning is an error."""
    strict = {
        "report_level": 2,
        "halt_level": 2,
        "raw_enabled": False,
        "file_insertion_enabled": False,
        # Whether Pygments is installed is not what is asked here.
        "syntax_highlight": "none",
    }
    text = path.read_text("utf-8")
    if path.is_relative_to(DOCS):
        text = without_sphinx(text)
    return publish_doctree(text, settings_overrides=strict)


def page(name: str) -> nodes.document:
    """Return a page of the documentation."""
    return parsed(DOCS / f"{name}.rst")


def literal_blocks(document: nodes.document) -> list[str]:
    """Return the literal blocks that are in no language: diagrams."""
    return [
        block.astext()
        for block in document.findall(nodes.literal_block)
        if not block["classes"]
    ]


def literals(part: nodes.Element) -> set[str]:
    """Return what stands as a literal in a part of a page."""
    return {" ".join(found.astext().split()) for found in part.findall(nodes.literal)}


def section(document: nodes.document, title: str) -> nodes.Element:
    """Return the section of a page that has a title."""
    # A section that is the only one of its page has been made the subtitle.
    if any(one.astext() == title for one in document.findall(nodes.subtitle)):
        return document
    [found] = [one for one in document.findall(nodes.section) if one[0].astext() == title]
    return found


def tables(part: nodes.Element) -> list[list[list[str]]]:
    """Return the tables of a part of a page, each as its rows, without its header."""
    found = []
    for table in part.findall(nodes.table):
        [body] = table.findall(nodes.tbody)
        found.append([[" ".join(cell.astext().split()) for cell in row] for row in body])
    return found


def rows(part: nodes.Element) -> list[list[str]]:
    """Return the rows of the first table of a part of a page."""
    return tables(part)[0]
