"""Looks at a built site as a reader's browser does: ``python docs/check.py build/site``.

Every page can be reached from the first by links, every link within the site leads to a page and to a place on it,
every picture is there, each page says what it is about to those who link to it, and llms.txt names all, as does the
sitemap.xml that robots.txt leads to.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

CARD = "_static/card.png"
WITHOUT_CONTENT = {"search.html", "genindex.html", "py-modindex.html"}


class Page(HTMLParser):
    """What of a page others can refer to, and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.needs: list[str] = []
        self.told: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        self.needs += [values["src"]] if "src" in values else []
        if tag == "meta":
            self.told[values.get("property") or values.get("name", "")] = values.get("content", "")


def complaints(folder: Path) -> list[str]:
    pages = {
        path.relative_to(folder).as_posix(): Page(path.read_text("utf-8"))
        for path in folder.rglob("*.html")
        if "_static" not in path.parts
    }
    found = [fault for name, page in pages.items() for fault in faults(folder, pages, name, page)]
    found += [f"{name} cannot be reached from index.html" for name in sorted({*pages} - reached(pages))]
    found += [] if (folder / CARD).is_file() else [f"{CARD}, the picture of links, is not there"]
    has_map = "Sitemap:" in (folder / "robots.txt").read_text("utf-8")
    for file in ("sitemap.xml", "llms.txt") if has_map else ("llms.txt",):
        text = (folder / file).read_text("utf-8")
        for name in {*pages} - WITHOUT_CONTENT - {"index.html"}:
            if name.removesuffix(".html") not in text:
                found.append(f"{file} does not name {name}")
    return found + [fault for link in re.findall(r"\]\(([^)]*\.txt)\)", text) for fault in unreadable(folder, link)]


def unreadable(folder: Path, link: str) -> list[str]:
    """What llms.txt leads to is read as it stands."""
    path = folder / link[link.index("_sources/") :]
    if not path.is_file():
        return [f"llms.txt links to {link}, which is not there"]
    held = re.search(r"^```\{(example|eval-rst)\}", path.read_text("utf-8"), re.M)
    return [f"llms.txt links to {link}, where {held[0]} stands instead of a text"] if held else []


def faults(folder: Path, pages: dict[str, Page], name: str, page: Page) -> list[str]:
    found = []
    for link in page.links:
        target, place = target_of(name, link)
        if target is None:
            continue
        if target not in pages and not (folder / target).is_file():
            found.append(f"{name} links to {link}, which is not there")
        elif place and target in pages and place not in pages[target].places:
            found.append(f"{name} links to {link}: there is no such place on that page")
    for need in page.needs:
        if urlsplit(need).scheme in ("http", "https"):
            found.append(f"{name} needs {need} from another host")
        elif not (folder / (target_of(name, need)[0] or "")).is_file():
            found.append(f"{name} needs {need}, which is not there")
    if name not in WITHOUT_CONTENT:
        found += [f"{name} has no {key}" for key in ("description", "og:title", "og:image") if not page.told.get(key)]
    return found


def target_of(name: str, link: str) -> tuple[str | None, str]:
    """The file that a link leads to, None for another host's, and the place in it."""
    address, place = urldefrag(link)
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None, ""
    if not parts.path:
        return name, unquote(place)
    way = [*name.split("/")[:-1], *unquote(parts.path).split("/")]
    path: list[str] = []
    for step in way:
        path = path[:-1] if step == ".." else [*path, step] if step not in ("", ".") else path
    return "/".join(path), unquote(place)


def reached(pages: dict[str, Page]) -> set[str]:
    seen: set[str] = set()
    waiting = ["index.html"]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in pages:
            continue
        seen.add(name)
        waiting += [target for link in pages[name].links if (target := target_of(name, link)[0])]
    return seen | WITHOUT_CONTENT


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not re.search(r"\S", arguments[0]):
        print("usage: python docs/check.py FOLDER_OF_THE_BUILT_SITE", file=sys.stderr)
        return 2
    found = complaints(Path(arguments[0]))
    for fault in found:
        print(fault, file=sys.stderr)
    print(f"{len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
