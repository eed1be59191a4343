"""
How Sphinx builds the documentation.

::

    python -m sphinx -n -W --keep-going docs docs/_build/html
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from sphinx.addnodes import desc_addname
from sphinx.ext.intersphinx import missing_reference
from sphinx.util.nodes import make_refnode

if TYPE_CHECKING:
    from docutils.nodes import TextElement, reference
    from sphinx.addnodes import desc_content, pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from txpusher import __version__  # noqa: E402

project = "txpusher"
author = "The txpusher developers"
copyright = author  # noqa: A001
version = release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.intersphinx"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"txpusher {version}"
html_extra_path = ["llms.txt"]
highlight_language = "none"
default_role = "any"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True

#: The inventories are in the repository, so that a build needs no network;
#: ``inventories/README.rst`` says where they are from.
intersphinx_mapping = {
    name: (url, str(HERE / "inventories" / f"{name}.inv"))
    for name, url in {
        "python": "https://docs.python.org/3/",
        "twisted": "https://docs.twisted.org/en/stable/api/",
        "treq": "https://treq.readthedocs.io/en/latest/",
    }.items()
}

#: What is not public and has no entry: parts of the package that docstrings tell developers
#: of, variables of types, and what Scrapy has, of which there is no inventory here.
nitpick_ignore_regex = [
    (r"py:.*", r"txpusher(\.\w+)*\._\w+(\..*)?"),
    (r"py:class", r"(\w+\.)*_\w+|[A-Z]"),
    (r"py:.*", r"(scrapy\.\w+\.)?(BaseSettings|Crawler|NotConfigured)"),
]

#: What annotations call by its last name, and where it is documented.
ELSEWHERE = {
    "Deferred": "twisted.internet.defer.Deferred",
    "Failure": "twisted.python.failure.Failure",
    "IAgent": "twisted.web.iweb.IAgent",
    "IDelayedCall": "twisted.internet.interfaces.IDelayedCall",
    "IPolicyForHTTPS": "twisted.web.iweb.IPolicyForHTTPS",
    "IRequest": "twisted.web.iweb.IRequest",
    "IStreamClientEndpoint": "twisted.internet.interfaces.IStreamClientEndpoint",
    "concurrent.futures._base.Future": "concurrent.futures.Future",
}


def resolve_short_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: TextElement
) -> reference | None:
    """
    Find the entry of a public name that a docstring or an annotation names as its module does.

    A class is defined in a private module and published by a public one.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip("~.")
    if target in ELSEWHERE:
        node["reftarget"] = ELSEWHERE[target]
        return missing_reference(app, env, node, contnode)
    objects: dict[str, Any] = env.domaindata["py"]["objects"]
    parts = target.split(".")
    names = [".".join(parts[-2:])] if "." in target else [target]
    if target.startswith("txpusher."):
        names.append(parts[-1])
    for wanted in names:
        found = [name for name in objects if name.endswith(f".{wanted}")]
        if found and (len(found) == 1 or wanted == target):
            entry = objects[min(found, key=len)]
            return make_refnode(
                app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, target
            )
    return None


#: What the package makes, and nobody else: how is not public.
MADE_BY_THE_PACKAGE = {
    "txpusher.WebHook",
    "txpusher.scrapy.PusherExtension",
    "txpusher.scrapy.PusherPipeline",
    "txpusher.subscriber.Subscription",
    "txpusher.testing.BlockingRunningServer",
    "txpusher.testing.RunningServer",
    "txpusher.server._core.trouble.Trouble",
}

#: How autodoc shows a default of attrs, and an annotation that says nothing.
OF_ATTRS = re.compile(r"attr_dict\['(\w+)'\]\.default|\bNOTHING\b|: object(?= = )")

#: How autodoc shows an annotation that is an interface.
INTERFACE = re.compile(r"<InterfaceClass (?:\w+\.)*(\w+)>")


def show_signature_as_called(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """
    Show the defaults of attrs as values, and no signature of what is not to be called.

    An annotation that is an interface is shown by its name.
    """
    signature = INTERFACE.sub(r"\1", signature) if signature else signature
    if what == "method":
        return signature, returns
    if what != "class" or not signature:
        return None
    if name in MADE_BY_THE_PACKAGE or getattr(obj, "_is_protocol", False):
        return "", ""

    def shown(found: re.Match[str]) -> str:
        if found[0].startswith(":"):
            return ""
        if found[0] == "NOTHING":
            return "RetryPolicy()"
        field = found[1] if hasattr(attrs.fields(obj), found[1]) else found[1].lstrip("_")
        default = getattr(attrs.fields(obj), field).default
        if callable(default):
            public = not default.__module__.startswith("txpusher._")
            return f"{default.__module__}.{default.__name__}" if public else "..."
        return repr(default)

    return (OF_ATTRS.sub(shown, signature) if attrs.has(obj) else signature), returns


def leave_out_parts_of_the_package(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out a member whose docstring says that it is the package's own."""
    text = " ".join((getattr(obj, "__doc__", None) or "").split())
    own = "part of the package, not of its API", "for the package's own modules only"
    return True if any(words in text for words in own) else None


def leave_out_private_bases(
    app: Sphinx, name: str, obj: type, options: dict[str, Any], bases: list[type]
) -> None:
    """Name only those bases of a class that a reader can look up."""

    def is_public(base: type) -> bool:
        return "._" not in f"{base.__module__}.{base.__qualname__}"

    # Such as twisted.web's Resource, behind a base of the package's own.
    bases[:] = [
        base if is_public(base) else next(filter(is_public, base.__mro__)) for base in bases
    ]


def leave_out_private_module(
    app: Sphinx, domain: str, objtype: str, content: desc_content
) -> None:
    """
    Show the name of a type that only annotations use without its module.

    Nobody is to import the name from there.
    """
    for part in content.parent.findall(desc_addname):
        if part.astext().startswith("txpusher.") and "._" in part.astext():
            part.parent.remove(part)


def setup(app: Sphinx) -> None:
    """Have Sphinx resolve public names and show no private ones."""
    app.connect("missing-reference", resolve_short_name)
    app.connect("autodoc-process-signature", show_signature_as_called)
    app.connect("autodoc-skip-member", leave_out_parts_of_the_package)
    app.connect("autodoc-process-bases", leave_out_private_bases)
    app.connect("object-description-transform", leave_out_private_module)
