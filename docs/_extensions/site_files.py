"""What a site has beside its pages: robots.txt, llms.txt, in each page what a link to it shows, and a sitemap.xml.

A sitemap holds whole addresses, so there is one only where it is known where the site will be (``SITE_URL``).
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

CARD = "_static/card.png"


def describe(app: Sphinx, doctree: nodes.document) -> None:
    """The first paragraph of a page says what its reader gets: it is also how others hear of the page."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            _descriptions(app)[app.env.docname] = " ".join(paragraph.astext().split())
            return


def _descriptions(app: Sphinx) -> dict[str, str]:
    found: dict[str, str] = app.env.__dict__.setdefault("page_descriptions", {})
    return found


def tell_about(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    if doctree is None:
        return
    base = app.config.html_baseurl
    values = {
        "description": _descriptions(app).get(name, "")[:300],
        "og:type": "website",
        "og:site_name": app.config.project,
        "og:title": context["title"],
        "og:description": _descriptions(app).get(name, "")[:300],
        "og:image": f"{base}{CARD}" if base else context["pathto"](CARD, 1),
        "twitter:card": "summary_large_image",
    }
    if base:
        values["og:url"] = f"{base}{_address(app, name)}"
    for key, value in values.items():
        kind = "property" if key.startswith("og:") else "name"
        context["metatags"] += f'\n<meta {kind}="{key}" content="{escape(value)}">'


def _address(app: Sphinx, name: str) -> str:
    address: str = app.builder.get_target_uri(name)
    return "" if address == "index.html" else address


def write_files(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    folder, base = Path(app.outdir), app.config.html_baseurl
    (folder / "llms.txt").write_text(llms(app), "utf-8")
    robots = "User-agent: *\nAllow: /\n" + (f"Sitemap: {base}sitemap.xml\n" if base else "")
    (folder / "robots.txt").write_text(robots, "utf-8")
    if base:
        (folder / "sitemap.xml").write_text(sitemap(app, base), "utf-8")
    else:
        (folder / "sitemap.xml").unlink(missing_ok=True)  # of an earlier build


def sitemap(app: Sphinx, base: str) -> str:
    pages = sorted(app.env.found_docs)
    places = "".join(f"  <url><loc>{escape(base + _address(app, name))}</loc></url>\n" for name in pages)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{places}</urlset>\n'
    )


def llms(app: Sphinx) -> str:
    """The form of llmstxt.org: a title, a sentence, the pages by chapter, as Markdown where that holds their text."""
    lines = [f"# {app.config.project}", "", f"> {_descriptions(app)['index']}", ""]
    for chapter in app.env.toctree_includes["index"]:
        lines += ["", f"## {app.env.titles[chapter].astext()}", ""]
        lines += [_entry(app, name) for name in _below(app, chapter)]
    return "\n".join(lines) + "\n"


def _below(app: Sphinx, name: str) -> list[str]:
    inner = app.env.toctree_includes.get(name, [])
    return [name, *(each for child in inner for each in _below(app, child))]


def _entry(app: Sphinx, name: str) -> str:
    path = Path(app.env.doc2path(name))
    source = f"{app.config.html_baseurl}_sources/{name}{path.suffix}.txt"
    if "```{eval-rst}" in path.read_text("utf-8"):  # its text comes from docstrings, and is on the page only
        source = f"{app.config.html_baseurl}{_address(app, name)}"
    said = _descriptions(app).get(name, "")
    return f"- [{app.env.titles[name].astext()}]({source})" + (f": {said}" if said else "")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", describe)
    app.connect("html-page-context", tell_about)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
