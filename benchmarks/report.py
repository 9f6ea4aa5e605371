"""Tables: medians, spread and ratios of one result, and two results side by side.

Ratios are taken within one repetition, where both ran within seconds of each other; the table shows their median
and their range. Absolute figures of two results mean nothing unless the machine and its load were the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from .implementations import IMPLEMENTATIONS, REFERENCE
from .workloads import CPU, WORKLOADS, Measure, Workload

__all__ = ["Figure", "comparison", "figures", "markdown", "pages", "tables"]

Result = dict[str, Any]
TITLES = {implementation.id: implementation.title for implementation in IMPLEMENTATIONS}
SHOWN_TOO = ("connection", "lost")
"""Measures that the summary shows although they are not the first of their workload."""
GROWTH = (
    ("each-1", "each-1000", "CPU per message, 1,000 connections to 1, one in flight on each", 1.3),
    ("connections-1", "connections-1000", "the same, 1,024 in flight over all (batches of 1,024 to 1)", 1.3),
    ("size-1kib", "size-16mib", "CPU per byte, 16 MiB to 1 KiB", 1.5),
)


@dataclass(frozen=True)
class Figure:
    """One measure of one implementation under one workload, over the repetitions."""

    workload: Workload
    measure: Measure
    implementation: str
    values: tuple[float, ...]
    ratios: tuple[float, ...]
    """To the reference, per repetition; empty without one."""

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None

    @property
    def goal(self) -> float | None:
        first = self.measure is self.workload.measures[0]
        key = self.implementation if first else f"{self.implementation}/{self.measure.id}"
        return self.workload.goals.get(key)

    @property
    def meets_goal(self) -> bool | None:
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio <= self.goal if self.measure.better == "cost" else self.ratio >= self.goal


def figures(result: Result, reference: str = REFERENCE) -> Iterator[Figure]:
    """Every figure of a result, in the order of the tables."""
    for workload in WORKLOADS:
        cells = result["results"].get(workload.id, {})
        base = cells.get(reference, {"runs": []})["runs"]
        for measure in workload.measures:
            for implementation in (i.id for i in IMPLEMENTATIONS if i.id in cells):
                runs = cells[implementation]["runs"]
                values = tuple(measure.of(run) for run in runs if run)
                pairs = [(run, other) for run, other in zip(runs, base, strict=False) if run and other]
                ratios = tuple(measure.ratio(measure.of(run), measure.of(other)) for run, other in pairs)
                if values:
                    yield Figure(workload, measure, implementation, values, ratios)


def tables(result: Result) -> str:
    """The whole report, in Markdown that reads well in a terminal."""
    found = list(figures(result))
    parts = [_head(result), _behind(found), _summary(found)]
    for workload in WORKLOADS:
        own = [figure for figure in found if figure.workload is workload]
        if own:
            parts.append(_detail(workload, own, result["results"][workload.id]))
    parts += [_growth(found), _missing(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


SHORT = {
    "ours-asyncio": "asyncio",
    "ours-asyncio-native": "asyncio, native",
    "ours-uvloop": "uvloop",
    "ours-uvloop-native": "uvloop, native",
    "ours-uvloop-native-raw": "the same, `Raw`",
    "ours-blocking": "blocking",
    "ours-blocking-native": "blocking, native",
    "c-echo": "bytes in C",
}
"""The columns of the documentation's first table; the others that were measured are in its second."""


def pages(result: Result) -> str:
    """The two tables of the documentation: this library and the limit, then the others; a line per workload."""
    found = [f for f in figures(result) if f.ratio is not None and f.implementation != REFERENCE]
    found = [f for f in found if f.measure is f.workload.measures[0] or f.measure.id in SHOWN_TOO]
    others = [i.id for i in IMPLEMENTATIONS if i.id not in SHORT and any(f.implementation == i.id for f in found)]
    tables = [_page(found, list(SHORT), SHORT), _page(found, others, {})]
    return "\n\n".join([_head(result), *tables, _behind(found)]) + "\n"


def _page(found: list[Figure], names: list[str], titles: dict[str, str]) -> str:
    rows = [["", *(titles.get(name, name) for name in names)]]
    for workload, measure in dict.fromkeys((f.workload.id, f.measure) for f in found):
        cells = {f.implementation: f for f in found if (f.workload.id, f.measure) == (workload, measure)}
        if any(name in cells for name in names):
            title = next(iter(cells.values())).workload.title
            label = f"{title}: {measure.unit}" if measure.better == "cost" else title
            rows.append([label, *(_times(cells[name].ratio) if name in cells else "" for name in names)])
    return markdown(rows)


def comparison(before: Result, after: Result) -> str:
    """What changed between two results, in ratios to the reference."""
    old = {(f.workload.id, f.measure.id, f.implementation): f for f in figures(before)}
    rows = [["workload", "measure", "implementation", "A", "B", "B/A", "ratio A", "ratio B", "change"]]
    for new in figures(after):
        was = old.get((new.workload.id, new.measure.id, new.implementation))
        if was is None:
            continue
        change = f"{new.ratio / was.ratio:.2f}" if new.ratio and was.ratio else "–"
        rows.append(
            [
                new.workload.id,
                new.measure.unit,
                new.implementation,
                _amount(was.middle),
                _amount(new.middle),
                _times(new.middle / was.middle if was.middle else None),
                _times(was.ratio),
                _times(new.ratio),
                change,
            ]
        )
    heads = [f"{name}: {_origin(result)}" for name, result in (("A", before), ("B", after))]
    note = "`change` is ratio B to ratio A: gaps under 25 % are noise on most machines."
    return "\n\n".join([*heads, markdown(rows), note]) + "\n"


def _origin(result: Result) -> str:
    machine, settings = result["machine"], result["settings"]
    mode = "quick" if settings["quick"] else "full"
    return (
        f"{result['date']}, {mode}, {settings['repetitions']} repetitions, {machine['processor']}, "
        f"{machine['cores']} cores, load {machine['load']:.1f} at the start, {machine['system']}, "
        f"Python {machine['python']}"
    )


def _head(result: Result) -> str:
    versions = [f"- {TITLES[name]}: {version}" for name, version in result["versions"].items()]
    return "\n".join([f"# {_origin(result)}", "", f"`{result['command']}`", "", *versions])


def _behind(found: list[Figure]) -> str:
    """Where this library is slower than the reference, or takes more; first, so that nobody has to look for it."""
    firsts = [f for f in found if f.implementation.startswith("ours-") and f.measure is f.workload.measures[0]]
    measured = [f for f in firsts if f.ratio is not None]
    behind = [f for f in measured if (f.ratio > 1 if f.measure.better == "cost" else f.ratio < 1)]  # type: ignore[operator]
    lines = [f"- {f.workload.title}: {TITLES[f.implementation]}: {_times(f.ratio)}" for f in behind]
    head = f"Behind {REFERENCE} in {len(behind)} of {len(measured)} cells"
    return "\n".join([f"{head}:", "", *lines]) if lines else f"{head}." if measured else ""


def _summary(found: list[Figure]) -> str:
    """Ratios to the reference, a line per workload."""
    shown = [f for f in found if f.measure is f.workload.measures[0] or f.measure.id in SHOWN_TOO]
    names = [i.id for i in IMPLEMENTATIONS if any(f.implementation == i.id for f in shown)]
    rows = [["ratio to " + REFERENCE, *names]]
    for workload, measure in dict.fromkeys((f.workload.id, f.measure) for f in shown):
        cells = {f.implementation: f for f in shown if (f.workload.id, f.measure) == (workload, measure)}
        label = f"{workload} {measure.id}" + (" (lower is better)" if measure.better == "cost" else "")
        rows.append([label, *(_times(cells[name].ratio) if name in cells else "–" for name in names)])
    return f"## Summary\n\n{markdown(rows)}"


def _detail(workload: Workload, own: list[Figure], cells: dict[str, Any]) -> str:
    rows = [["", "measure", "median", "min – max", "ratio", "min – max", "goal"]]
    for figure in own:
        rows.append(
            [
                TITLES[figure.implementation],
                figure.measure.unit,
                _amount(figure.middle),
                f"{_amount(min(figure.values))} – {_amount(max(figure.values))}",
                _times(figure.ratio),
                f"{min(figure.ratios):.2f} – {max(figure.ratios):.2f}" if figure.ratios else "–",
                _goal(figure),
            ]
        )
    errors = [f"- {TITLES[name]}: {error}" for name, cell in cells.items() for error in set(cell["errors"])]
    failed = "\n\nRuns that do not count:\n\n" + "\n".join(errors) if errors else ""
    return f"## {workload.title} (`{workload.id}`)\n\n{markdown(rows)}{failed}"


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return f"{figure.goal:g} {'met' if figure.meets_goal else 'MISSED'}"


def _growth(found: list[Figure]) -> str:
    cpu = {(f.workload.id, f.implementation): f for f in found if f.measure is CPU}
    rows = [["growth of cost", "ratio", "bound"]]
    for low, high, title, bound in GROWTH:
        for name in TITLES:
            one, many = cpu.get((low, name)), cpu.get((high, name))
            if one and many:
                ratio = many.middle / one.middle / (many.workload.size / one.workload.size)
                rows.append([f"{title}: {TITLES[name]}", _times(ratio), f"{bound:g}"])
    return f"## Growth\n\n{markdown(rows)}" if len(rows) > 1 else ""


def _missing(result: Result) -> str:
    lines = [f"- {TITLES[name]}: {reason}" for name, reason in result["unavailable"].items()]
    return "Not measured, since not available here:\n\n" + "\n".join(lines) if lines else ""


def _amount(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"


def markdown(rows: list[list[str]]) -> str:
    """A table whose first row is the head, padded so that it reads well as plain text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
