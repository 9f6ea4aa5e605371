"""The site's pages as text: sections, tables, blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_" not in path.parent.name)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, and the line that it begins in."""

    page: str
    line: int
    language: str
    text: str
    caption: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name in its first line: ``# server.py`` or ``// client.mjs``."""
        found = re.match(r"(?:#|//) ([\w.-]+\.\w+)\n", self.text)
        return found[1] if found else None


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str) -> list[Block]:
    """Also those with a caption: ```{code-block} console, and :caption: in the next line."""
    text = read(page)
    found = re.finditer(
        r"^```(?:\{code-block\} )?(\S*)[^\n]*\n(?::caption: ([^\n]+)\n\n?)?(.*?)^```$", text, re.S | re.M
    )
    return [
        Block(page, text.count("\n", 0, block.start(3)) + 1, block[1], block[3], block[2] or "")
        for block in found
        if "`" not in block[1] and not block[1].startswith("{")
    ]


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next of the same level or a higher one."""
    level = heading.partition(" ")[0]
    after = read(page).split(f"\n{heading}\n", 1)[1]
    return re.split(rf"\n#{{2,{len(level)}}} ", after, maxsplit=1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines[2:]]


def names(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))
