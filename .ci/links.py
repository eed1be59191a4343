"""
Check the links between the pages of a site that has been built.

::

    python .ci/links.py docs/_build/html

Each link to a file of the site must lead to a file, and each anchor to an element.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors = {"", "top"}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember what an element links to, and its id."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif value and (name == "href" or (name == "src" and tag == "img")):
                self.links.add(value)


def broken(site: Path) -> list[str]:
    """Return a line for each link that leads nowhere."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    said = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fits = to.is_file() or to == site.resolve()
            if fits and to in pages:
                fits = unquote(parts.fragment) in pages[to].anchors
            if not fits:
                said.append(f"{path.relative_to(site.resolve())}: {link} leads nowhere")
    if not pages:
        said.append(f"there are no pages in {site}")
    return said


if __name__ == "__main__":
    lines = broken(Path(sys.argv[1]))
    print("\n".join(lines) or "all links between the pages lead somewhere")
    sys.exit(bool(lines))
