"""
Broken copies of a module: each differs from the original in one place.

Constants are changed, statements and arguments left out, arguments and
operators swapped, calls skipped, one variable read for another.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterator
from types import ModuleType

import attrs

OTHER_OPERATOR = {ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
UNORDERED = (ast.Module, ast.arguments, ast.Set)
OTHER_METHOD = {"lower": "upper", "md5": "sha1", "hexdigest": "digest", "digest": "new"}


@attrs.frozen
class Mutant:
    """A broken module: its source, the lines it has lost and those in their place."""

    source: str
    old: list[str]
    new: list[str]

    def load(self) -> ModuleType:
        """The broken module, imported under a name of its own."""
        module = ModuleType("mutant")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            code = compile(self.source, "<mutant>", "exec")
        exec(code, module.__dict__)
        return module


def mutants_of(source: str) -> list[Mutant]:
    """Every broken copy, no two the same."""
    tree = _without_hints(ast.parse(source))
    original = ast.unparse(tree)
    sources = {original: None}
    for container, place in _places(tree):
        whole = container[place]
        for replacement in _replacements(whole):
            container[place] = replacement
            sources[ast.unparse(ast.fix_missing_locations(tree))] = None
        container[place] = whole
    del sources[original]
    return [Mutant(mutated, *_difference(original, mutated)) for mutated in sources]


def lines_of(source: str) -> set[str]:
    """The lines that :func:`mutants_of` breaks."""
    return set(filter(None, ast.unparse(_without_hints(ast.parse(source))).splitlines()))


def _difference(original: str, mutated: str) -> tuple[list[str], list[str]]:
    lines = list(difflib.unified_diff(original.splitlines(), mutated.splitlines(), n=0))[3:]
    old = [line[1:] for line in lines if line.startswith("-")]
    return old, [line[1:] for line in lines if line.startswith("+")]


class _Hints(ast.NodeTransformer):
    """Removes docstrings and annotations, which change nothing."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module in ("__future__", "collections.abc") else node


def _without_hints(tree: ast.Module) -> ast.Module:
    bare = _Hints().visit(tree)
    assert isinstance(bare, ast.Module)
    return bare


def _places(tree: ast.AST) -> Iterator[tuple[dict | list, str | int]]:
    """Where each node below *tree* hangs: a container and a key or an index."""
    for parent in list(ast.walk(tree)):
        for field, value in ast.iter_fields(parent):
            if isinstance(value, ast.AST):
                yield vars(parent), field
            elif isinstance(value, list):
                yield from (
                    (value, at) for at, item in enumerate(value) if isinstance(item, ast.AST)
                )
                if len(value) > 1 and not isinstance(parent, UNORDERED):
                    yield vars(parent), field


def _replacements(node: ast.AST | list) -> Iterator[ast.AST | list]:
    """What stands in for *node* in a broken copy."""
    if isinstance(node, list):
        # Arguments, elements, the parts of an f-string, the lines of a body: one
        # left out, the first two swapped.
        yield from (node[:at] + node[at + 1 :] for at in range(len(node)))
        yield [node[1], node[0], *node[2:]]
    elif isinstance(node, ast.Return):
        yield from (ast.Return(ast.Constant(value)) for value in (None, "", True))
    elif isinstance(node, ast.FunctionDef):
        yield ast.Pass()
        yield from _with_another_variable(node)
    elif isinstance(node, ast.stmt):
        yield ast.Pass()
        if isinstance(node, ast.If):
            yield from (ast.If(ast.Constant(on), node.body, []) for on in (True, False))
    elif isinstance(node, ast.Constant):
        yield from map(ast.Constant, _other_values(node.value))
    elif isinstance(node, ast.Compare):
        yield ast.Compare(node.left, [OTHER_OPERATOR[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.DictComp):
        yield ast.DictComp(node.value, node.key, node.generators)
    elif isinstance(node, ast.Call):
        yield from _other_calls(node)


def _other_values(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return ["", f"{value}x"]
    return ["", 1]


def _other_calls(call: ast.Call) -> Iterator[ast.AST]:
    function, arguments, keywords = call.func, call.args, call.keywords
    if keywords:
        yield ast.Call(function, arguments, keywords[1:])
    if len(arguments) == 1:
        yield from (arguments[0], ast.Call(function, [], keywords))
    if len(arguments) == 2:
        yield from (
            ast.Compare(arguments[0], [op()], [arguments[1]]) for op in (ast.Eq, ast.Is)
        )
    if isinstance(function, ast.Attribute):
        yield function.value
        if function.attr in OTHER_METHOD:
            other = ast.Attribute(function.value, OTHER_METHOD[function.attr], ast.Load())
            yield ast.Call(other, arguments, keywords)
    elif isinstance(function, ast.Name) and function.id == "sorted":
        yield ast.Call(function, arguments, [ast.keyword("reverse", ast.Constant(True))])


def _with_another_variable(function: ast.FunctionDef) -> Iterator[ast.AST]:
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    own = {argument.arg for argument in function.args.args}
    own |= {name.id for name in names if isinstance(name.ctx, ast.Store)}
    for name in names:
        before = name.id
        for other in sorted(own - {before}) if before in own else ():
            name.id = other
            yield function
        name.id = before
