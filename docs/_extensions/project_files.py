"""Pages that are a file of the project's root, ``CHANGELOG.md`` and others, their links led to the site's pages."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PAGES = {
    "project/changes": "CHANGELOG.md",
    "project/contributing": "CONTRIBUTING.md",
    "project/security": "SECURITY.md",
    "project/benchmarks": "benchmarks/README.md",
    "examples/index": "examples/README.md",
}
"""A page's name, and the file that it is. The page itself holds what comes after the file."""


NOT_SEARCHED = {"project/changes"}
"""Names every word of the project, and would come first for each."""


def put_in(app: Sphinx, name: str, source: list[str]) -> None:
    if name in PAGES:
        path = ROOT / PAGES[name]
        app.env.note_dependency(str(path))
        above = "---\nnosearch: true\n---\n" if name in NOT_SEARCHED else ""
        source[0] = above + lead(path.read_text("utf-8"), path.parent, name) + "\n" + source[0]


def lead(text: str, folder: Path, page: str) -> str:
    """The text with each link to a page of the site as seen from ``page``; others are left for Sphinx to judge."""
    return re.sub(r"\]\(([^)#:]+)((?:#[^)]*)?)\)", lambda link: f"]({_target(link[1], folder, page)}{link[2]})", text)


def _target(link: str, folder: Path, page: str) -> str:
    path = (folder / link).resolve().relative_to(ROOT).as_posix()
    for name, file in PAGES.items():
        if path == file:
            path = f"docs/{name}.md"
    return "../" * page.count("/") + path.removeprefix("docs/") if path.startswith("docs/") else link


def show_sources(app: Sphinx, exception: Exception | None) -> None:
    """The copies of the sources hold the pages as they were read: llms.txt leads to them."""
    if exception is None and app.builder.format == "html":
        for name, file in PAGES.items():
            path = ROOT / file
            copy = Path(app.outdir) / "_sources" / f"{name}.md.txt"
            copy.write_text(lead(path.read_text("utf-8"), path.parent, name), "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", put_in)
    app.connect("build-finished", show_sources)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
