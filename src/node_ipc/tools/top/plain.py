"""The view as lines of text, for terminals without the extra and for files."""

from __future__ import annotations

import sys
from typing import Any

from ...config.logs import escape
from .view import ASCII_BARS, BARS, View, amount, duration, short, size, sparkline

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
    found += _table(f"{'EVENT':<{_name(width)}}" + EVENT_HEAD, [_event(row, width) for row in events], room, width)
    if requests:
        found += _table(
            f"{'METHOD':<{_name(width)}}" + REQUEST_HEAD, [_request(r, width) for r in requests], room, width
        )
    found += _table(f"{'LINK':<{_name(width)}}" + LINK_HEAD, [_link(row, width) for row in links], room, width)
    if errors:
        found += ["ERRORS", *(_cut(line, width) for line in errors[-3:])]
    return found if height is None else found[: height - 1]


def bars() -> str:
    """What sparklines are drawn with: blocks where the output knows them."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    return BARS if encoding.startswith("utf") else ASCII_BARS


EVENT_HEAD = "   in/s  out/s bytes/s    p50    p99 run err"
REQUEST_HEAD = "    1/s  in flight        p50    p99     err"
LINK_HEAD = "   in/s  out/s bytes/s pending err paused"
COLUMNS = 44


def _name(width: int) -> int:
    return max(min(width - COLUMNS, 60), 12)


def _head(view: View, width: int) -> list[str]:
    look: dict[str, Any] = view.look or {}
    stats, totals = look["stats"], view.totals
    state = " PAUSED" if view.is_paused else ""
    state += f" filter {view.filter!r}" if view.filter else ""
    state += " (estimated)" if look["estimated"] else ""
    first = f"{escape(look['address'], 200)}  up {duration(stats['seconds'])}  {look['link_count']} links{state}"
    spark = max(min(width - 66, 40), 8)
    rates = (
        f"in {amount(totals.came):>5}/s {size(totals.bytes_in):>6}/s  out {amount(totals.went):>5}/s "
        f"{size(totals.bytes_out):>6}/s  "
        f"{sparkline(tuple(each.came + each.went for each in view.history), spark, bars())}"
    )
    counts = (
        f"pending {size(stats['pending_bytes'])}  errors {stats['errors']}  dropped {stats['dropped']}  "
        f"refused {stats['refused']}  p99 {duration(totals.p99)}"
    )
    trouble = [_cut(escape(view.trouble, 500), width)] if view.trouble else []
    return [_cut(line, width) for line in (first, *view.remarks, rates, counts)] + trouble


def _table(title: str, rows: list[str], room: int, width: int) -> list[str]:
    left_out = len(rows) - room
    shown = rows if left_out <= 0 else [*rows[: room - 1], f"… {left_out + 1} more"]
    return [_cut(line, width) for line in (title, *shown)]


def _event(row: Any, width: int) -> str:
    figures = f"{amount(row.came):>7}{amount(row.went):>7}{size(row.bytes):>8}"
    times = f"{short(row.p50):>7}{short(row.p99):>7}{row.running:>4}{row.failed:>4}"
    return f"{_cut(row.name, _name(width)):<{_name(width)}}{figures}{times}"


def _request(row: Any, width: int) -> str:
    name = f"{row.name} ({row.side})"
    figures = f"{amount(row.rate):>7}{row.in_flight:>11}"
    return f"{_cut(name, _name(width)):<{_name(width)}}{figures}{short(row.p50):>11}{short(row.p99):>7}{row.failed:>8}"


def _link(row: Any, width: int) -> str:
    name = f"#{row.id} {row.peer}"
    figures = f"{amount(row.came):>7}{amount(row.went):>7}{size(row.bytes):>8}{size(row.pending):>8}{row.errors:>4}"
    return f"{_cut(name, _name(width)):<{_name(width)}}{figures} {row.paused}".rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
