"""The view as lines of text, for terminals without the extra and for files."""

from __future__ import annotations

import sys

from ...config.logs import escape
from .view import ASCII_BARS, BARS, View, sparkline

__all__ = ["lines"]

MOST_ROWS = 12
"""Of each table, where the terminal's height is not known."""
FIXED_ROWS = 8
"""Lines that are no table's rows: the head, titles, the errors' title."""


def lines(view: View, width: int = 80, height: int | None = None) -> list[str]:
    """What is to be printed, no line longer than ``width``."""
    if view.look is None:
        return [_cut(escape(view.trouble, 500) or "waiting for the first look", width)]
    events, requests, links, errors = view.events(), view.requests(), view.links(), view.errors()
    fixed = FIXED_ROWS + len(view.remarks)
    room = MOST_ROWS if height is None else max((height - fixed) // 3, 2)
    found = [*_head(view, width), ""]
    found += _table("EVENT", [(row.name, row.cells[2:9]) for row in events], room, width)
    if requests:
        found += _table("METHOD", [(f"{row.name} ({row.side})", row.cells[2:]) for row in requests], room, width)
    found += _table("LINK", [(f"#{row.id} {row.peer}", (*row.cells[2:7], row.paused)) for row in links], room, width)
    if errors:
        found += ["ERRORS", *(_cut(line, width) for line in errors[-3:])]
    return found if height is None else found[: height - 1]


def bars() -> str:
    """What sparklines are drawn with: blocks where the output knows them."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    return BARS if encoding.startswith("utf") else ASCII_BARS


TABLES = {
    "EVENT": {"in/s": 7, "out/s": 7, "bytes/s": 8, "p50": 7, "p99": 7, "run": 4, "err": 4},
    "METHOD": {"1/s": 7, "in flight": 11, "p50": 11, "p99": 7, "err": 8},
    "LINK": {"in/s": 7, "out/s": 7, "bytes/s": 8, "pending": 8, "err": 4, "paused": 0},
}
"""The columns behind the name, and how wide each is; 0: as wide as need be, and the last."""
COLUMNS = 44


def _head(view: View, width: int) -> list[str]:
    head = view.head()
    spark = max(min(width - 66, 40), 8)
    head[-2] += f"  {sparkline(tuple(each.came + each.went for each in view.history), spark, bars())}"
    return [_cut(line, width) for line in (*head, *([escape(view.trouble, 500)] if view.trouble else []))]


def _table(title: str, rows: list[tuple[str, tuple[str, ...]]], room: int, width: int) -> list[str]:
    widths = TABLES[title]
    name_width = max(min(width - COLUMNS, 60), 12)
    left_out = len(rows) - room
    found = []
    for name, cells in [(title, tuple(widths)), *(rows if left_out <= 0 else rows[: room - 1])]:
        figures = [f"{cell:>{size}}" if size else f" {cell}" for cell, size in zip(cells, widths.values(), strict=True)]
        found.append(_cut(f"{_cut(name, name_width):<{name_width}}{''.join(figures)}", width).rstrip())
    return found if left_out <= 0 else [*found, _cut(f"… {left_out + 1} more", width)]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
