"""Plots of a result, each as PNG and SVG: throughput, latency, cost against size and connections, memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .implementations import IMPLEMENTATIONS
from .report import Figure, figures

__all__ = ["draw"]

Found = list[Figure]
ORDER = [implementation.id for implementation in IMPLEMENTATIONS]
TITLES = {implementation.id: implementation.title for implementation in IMPLEMENTATIONS}
FAMILIES = {
    "ours": ["#0b6e4f", "#16a06f", "#5cc99b", "#0a4d68", "#2a85b0", "#84c1df", "#5b3a8c", "#8d6bc0", "#bda6e0"],
    "node-ipc": ["#c1440e", "#e07a3f", "#f0b48a"],
    "": ["#4d4d4d", "#737373", "#999999", "#b3b3b3", "#c9c9c9", "#111111"],
}
MARKS = "os^Dv<>PX*hd"
STEMS = ("roundtrip-one", "roundtrip-two")
RATES = (
    "echo-256",
    "echo-2048",
    "blast",
    "oneway",
    "broadcast-burst",
    "broadcast-turn",
    "records-64k",
    "tcp-echo",
    "tcp-oneway",
)
CONNECTIONS = ("connections-1", "connections-10", "connections-100", "connections-1000")
EACH = ("each-1", "each-10", "each-100", "each-1000")
SIZES = ("size-64b", "size-1kib", "size-64kib", "size-1mib", "size-16mib")


def draw(result: dict[str, Any], folder: Path) -> list[str]:
    """Draw what the result has figures for; gives a line for each plot, or why there is none."""
    try:
        import matplotlib
    except ImportError:
        return ["no plots: they need matplotlib (pip install -r benchmarks/requirements.txt)"]
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "benchmarks", "font.size": 9, "axes.spines.top": False})
    found = list(figures(result))
    drawers: dict[str, Callable[[Found, dict[str, Any]], Any]] = {
        "throughput": _throughput,
        "latency": _latency,
        "size": _cost_of_size,
        "connections": _cost_of_connections,
        "memory": _memory,
    }
    notes = []
    for name, drawer in drawers.items():
        plot = drawer(found, result)
        if plot is not None:
            plot.text(0.995, 0.005, _caption(result), ha="right", va="bottom", fontsize=6, color="#666666")
            for suffix in ("png", "svg"):
                plot.savefig(folder / f"{name}.{suffix}", dpi=150)
            notes.append(f"{folder / name}.png and .svg")
    return notes


def _caption(result: dict[str, Any]) -> str:
    machine, settings = result["machine"], result["settings"]
    mode = f"{'quick' if settings['quick'] else 'full'} run, {settings['repetitions']} repetitions"
    return f"{result['date']} · {machine['processor']}, {machine['cores']} cores · {mode}"


def _colour(implementation: str) -> str:
    family = _family(implementation)
    members = [name for name in ORDER if _family(name) == family]
    shades = FAMILIES[family]
    return shades[members.index(implementation) % len(shades)]


def _family(implementation: str) -> str:
    return next(name for name in FAMILIES if implementation.startswith(name))


def _figure(count: int, height: float = 4.2, width: float = 5.0, columns: int = 3) -> tuple[Any, list[Any]]:
    """Axes in rows of ``columns``, with room for the caption below; sizes in inches."""
    from matplotlib import pyplot

    columns = min(count, columns)
    rows = -(-count // columns)
    plot: Any
    plot, grid = pyplot.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    plot.get_layout_engine().set(rect=(0, 0.03 / rows, 1, 1 - 0.03 / rows))
    axes = [axis for row in grid for axis in row]
    for unused in axes[count:]:
        unused.set_visible(False)
    return plot, axes[:count]


def _by_workload(found: Found, names: tuple[str, ...], measure: str) -> dict[str, Found]:
    """Figures of one measure under the workloads that were run, in the order of ``names``."""
    groups = {name: [f for f in found if f.workload.id == name and f.measure.id == measure] for name in names}
    return {name: group for name, group in groups.items() if group}


def _bars(axis: Any, group: Found, scale: float = 1.0) -> None:
    """Medians as bars, the range of the repetitions as a line; all on one logarithmic or linear axis."""
    group = group[::-1]
    values = [f.middle * scale for f in group]
    below = [max(0.0, f.middle - min(f.values)) * scale for f in group]
    above = [max(0.0, max(f.values) - f.middle) * scale for f in group]
    axis.barh(
        [TITLES[f.implementation] for f in group],
        values,
        xerr=[below, above],
        color=[_colour(f.implementation) for f in group],
        error_kw={"lw": 0.8, "ecolor": "#333333"},
    )
    axis.tick_params(axis="y", length=0, labelsize=7)


def _throughput(found: Found, result: dict[str, Any]) -> Any:
    groups = _by_workload(found, RATES, "rate")
    if not groups:
        return None
    rows = max(len(group) for group in groups.values())
    plot, axes = _figure(len(groups), height=1.2 + 0.22 * rows, width=4.4)
    for axis, group in zip(axes, groups.values(), strict=True):
        _bars(axis, [f for f in group if f.implementation != "c-echo"], 1e-3)
        axis.set_title(group[0].workload.title, fontsize=9)
        axis.set_xlabel("thousand messages a second")
    return plot


def _latency(found: Found, result: dict[str, Any]) -> Any:
    """Share of round trips that took longer, against the time they took."""
    groups = _by_workload(found, STEMS, "p50")
    if not groups:
        return None
    plot, axes = _figure(len(groups), height=5)
    for axis, (name, group) in zip(axes, groups.items(), strict=True):
        for index, figure in enumerate(group):
            points = _median_quantiles(result["results"][name][figure.implementation]["runs"])
            slower = [100 - q for q, _ in points]
            times = [t / 1000 for _, t in points]
            axis.plot(
                slower,
                times,
                color=_colour(figure.implementation),
                marker=MARKS[index % len(MARKS)],
                markevery=[i for i, (q, _) in enumerate(points) if q in (50, 99, 99.9)],
                label=TITLES[figure.implementation],
                lw=1.2,
                ms=5,
            )
        axis.set(xscale="log", yscale="log", xlabel="percentile", ylabel="µs", title=group[0].workload.title)
        axis.invert_xaxis()
        axis.set_xticks([50, 10, 1, 0.1, 0.01], ["p50", "p90", "p99", "p99.9", "p99.99"])
        axis.minorticks_off()
        axis.grid(alpha=0.25)
    axes[0].legend(fontsize=6)
    return plot


def _median_quantiles(runs: list[Any]) -> list[tuple[float, float]]:
    from statistics import median

    good = [run["quantiles"] for run in runs if run]
    return [(float(q), median(quantiles[q] for quantiles in good)) for q in good[0]]


def _lines(axis: Any, found: Found, xs: Callable[[Figure], float], ys: Callable[[Figure], float]) -> None:
    for index, name in enumerate(name for name in ORDER if any(f.implementation == name for f in found)):
        own = [f for f in found if f.implementation == name]
        axis.plot(
            [xs(f) for f in own],
            [ys(f) for f in own],
            color=_colour(name),
            marker=MARKS[index % len(MARKS)],
            label=TITLES[name],
            lw=1.2,
            ms=4,
        )
    axis.set(xscale="log", yscale="log")
    axis.grid(alpha=0.25)


def _cost_of_size(found: Found, result: dict[str, Any]) -> Any:
    groups = _by_workload(found, SIZES, "cpu")
    if len(groups) < 2:
        return None
    plot, (cost, rate) = _figure(2, height=5)
    sized = [f for group in groups.values() for f in group]
    _lines(cost, sized, lambda f: f.workload.size, lambda f: 1000 * f.middle / f.workload.size)
    cost.legend(fontsize=6)
    cost.set(xlabel="bytes of a message", ylabel="ns of CPU a byte, both ends", title="cost of a byte")
    rates = [f for group in _by_workload(found, SIZES, "rate").values() for f in group]
    _lines(rate, rates, lambda f: f.workload.size, lambda f: f.middle * f.workload.size / 2**20)
    rate.set(xlabel="bytes of a message", ylabel="MiB a second, echoed", title="throughput")
    return plot


def _cost_of_connections(found: Found, result: dict[str, Any]) -> Any:
    series = [(names, _by_workload(found, names, "cpu")) for names in (EACH, CONNECTIONS)]
    if all(len(groups) < 2 for _, groups in series):
        return None
    plot, axes = _figure(3, height=5)
    for axis, (names, groups) in zip(axes, series, strict=False):
        _lines(axis, [f for group in groups.values() for f in group], _connections, lambda f: f.middle)
        flight = "one in flight on each" if names is EACH else "1,024 in flight"
        axis.set(xlabel="connections", ylabel="µs of CPU a message, both ends", title=f"cost of a message, {flight}")
    axes[0 if series[0][1] else 1].legend(fontsize=6)
    rates = [f for group in _by_workload(found, CONNECTIONS, "rate").values() for f in group]
    _lines(axes[2], rates, _connections, lambda f: f.middle / 1000)
    axes[2].set(xlabel="connections", ylabel="thousand messages a second", title="1,024 in flight")
    return plot


def _connections(figure: Figure) -> int:
    return figure.workload.connections


def _memory(found: Found, result: dict[str, Any]) -> Any:
    idle, each = (_by_workload(found, ("memory",), measure).get("memory", []) for measure in ("idle", "connection"))
    if not idle:
        return None
    plot, axes = _figure(2, height=1.2 + 0.25 * len(idle))
    for axis, group, title in zip(axes, (idle, each), ("idle server", "idle connection"), strict=True):
        _bars(axis, group)
        axis.set(title=title, xlabel=group[0].measure.unit)
    return plot
