"""Plots how a bus's traffic grows with nodes and rooms: ``python docs/growth.py``, with matplotlib, takes minutes.

Nodes run on a bus in memory and a virtual clock (``tests/cluster/test_many_nodes.py``), ten of them in each room.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "tests" / "cluster")]

from test_many_nodes import World, cost_of_an_emit, cost_of_coming_back  # noqa: E402

from cluster_nodes import BEAT, at_scale  # noqa: E402

NODES = (10, 30, 100, 300, 1000)
ROOMS = (100, 10_000, 100_000)
IN_ROOM = 10
"""Nodes with somebody in a room."""
EMITS = 200
MOST_ROOMS = 10_000
"""Of one node; more are left out of the plot."""


def beats(world: World) -> float:
    """The heartbeats that one node hears in a second."""
    broker = world.group.broker
    before = broker.deliveries
    world.group.run(2 * BEAT)
    return (broker.deliveries - before) / (2 * BEAT) / len(world.group.processes)


def measure() -> dict[int, list[tuple[int, float, float, float]]]:
    """By number of rooms: nodes, and for these deliveries of an emit, heartbeats, bytes of a return."""
    found: dict[int, list[tuple[int, float, float, float]]] = {}
    for rooms in ROOMS:
        for nodes in NODES:
            each = IN_ROOM * rooms // nodes
            if each > MOST_ROOMS:
                continue
            with at_scale():
                world = World(nodes, rooms, each)
                figures = nodes, cost_of_an_emit(world, EMITS), beats(world), cost_of_coming_back(world, EMITS)
            found.setdefault(rooms, []).append(figures)
            print(
                "{0:>6} nodes, {4:>7} rooms: {1:6.2f} deliveries, {2:6.1f} beats/s, {3:10,.0f} bytes".format(
                    *figures, rooms
                )
            )
    return found


def draw(found: dict[int, list[tuple[int, float, float, float]]], picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "growth", "font.size": 9})
    from matplotlib import pyplot

    figure, plots = pyplot.subplots(1, 3, figsize=(11, 3.4))
    titles: list[dict[str, Any]] = [
        {"title": "An emit to a room with 10 nodes: deliveries", "ylim": (0, 15)},
        {"title": "Heartbeats that a node hears in a second", "yscale": "log"},
        {"title": "A node, when all come back: kilobytes", "yscale": "log"},
    ]
    for place, (axes, title) in enumerate(zip(plots, titles, strict=True), 1):
        for (rooms, rows), mark in zip(found.items(), "os^", strict=True):
            scale = 1000 if place == 3 else 1
            axes.plot(
                [row[0] for row in rows], [row[place] / scale for row in rows], marker=mark, label=f"{rooms:,} rooms"
            )
        axes.set(xscale="log", xlabel="nodes", **title)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    draw(measure(), HERE / "howto" / "many-machines.png")
