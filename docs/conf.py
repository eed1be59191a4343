"""
How Sphinx builds the documentation.

::

    python -m sphinx -n -W --keep-going docs docs/_build/html
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.ext.intersphinx import missing_reference
from sphinx.util.nodes import make_refnode

if TYPE_CHECKING:
    from docutils.nodes import TextElement, reference
    from sphinx.addnodes import pending_xref
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
#: of, and names of types that only annotations use.
nitpick_ignore_regex = [
    (r"py:.*", r"txpusher(\.\w+)*\._\w+(\..*)?"),
    (r"py:class", r"(\w+\.)*(Any|On|For)[A-Z]\w+|(\w+\.)*_\w+|[A-Z]"),
    (r"py:class", r"(\w+\.)*(Client|Subscriber)?Options"),
    (r"py:class", r"(\w+\.)*(Answer|ChannelUser|Clock|HeaderValue|JsonDumps|JsonLoads)"),
    (r"py:.*", r"(scrapy\.\w+\.)?(BaseSettings|Crawler|NotConfigured)"),
]

#: What annotations call by its last name, and where it is documented.
ELSEWHERE = {
    "Deferred": "twisted.internet.defer.Deferred",
    "Failure": "twisted.python.failure.Failure",
    "IAgent": "twisted.web.iweb.IAgent",
    "IPolicyForHTTPS": "twisted.web.iweb.IPolicyForHTTPS",
    "IRequest": "twisted.web.iweb.IRequest",
    "<InterfaceClass twisted.web.iweb.IRequest>": "twisted.web.iweb.IRequest",
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


def setup(app: Sphinx) -> None:
    """Have Sphinx resolve the names of public classes."""
    app.connect("missing-reference", resolve_short_name)
