"""Each page of the site can be read in one go, says first what it is for, and is in a table of contents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import DOCS, PAGES, ROOT

WORDS_A_MINUTE = 240
"""How fast people read silently; code and tables count like text."""
TOGETHER = sorted(path for path in PAGES if path.read_text("utf-8").strip() and path != DOCS / "examples" / "index.md")
"""All but those that are a file of the project's root."""


def text_of(page: Path) -> str:
    """Without the comment that says what made it."""
    return re.sub(r"^<!--.*?-->", "", page.read_text("utf-8"), flags=re.S)


every_page = pytest.mark.parametrize("page", TOGETHER, ids=lambda page: page.relative_to(DOCS).as_posix())


@every_page
def test_it_is_read_in_ten_minutes(page: Path) -> None:
    words = [word for word in text_of(page).split() if word.strip("|-`#*")]  # a table's bars are not read
    assert len(words) <= 10 * WORDS_A_MINUTE, "split it: nobody reads for more than ten minutes"


@every_page
def test_it_begins_with_a_title_and_a_paragraph(page: Path) -> None:
    title, paragraph = re.split(r"\n\n+", text_of(page).strip(), maxsplit=2)[:2]
    assert re.fullmatch(r"# \S[^\n]*", title)
    assert re.match(r"[`A-Z*]", paragraph), "a heading, a list, code or a table is no beginning"
    assert paragraph.rstrip().endswith((".", ":")) and len(paragraph.split()) >= 7


def test_every_page_is_in_one_table_of_contents() -> None:
    found: list[Path] = []
    for page in PAGES:
        for table in re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text("utf-8"), re.S | re.M):
            for line in table.splitlines():
                if line and not line.startswith(":"):
                    found += sorted(page.parent.glob(f"{line}.md"))
    listed = sorted(path.resolve() for path in found)
    assert listed == sorted({*PAGES} - {DOCS / "index.md"})
    assert ROOT / "docs" / "tutorials" / "daemon.md" in listed
