"""What is measured: the table of workloads, and how a figure is taken from a run.

A run is the dict that ``runner.py`` makes. Goals are ratios to the reference, as ``report.py`` forms them, for the
implementations that have one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CPU", "WORKLOADS", "Measure", "Workload"]

Run = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """One figure of a run, and which way is better."""

    id: str
    unit: str
    better: str
    """``higher``; ``lower`` for latencies, whose ratios are inverted; ``cost`` for costs, whose ratios are not."""
    of: Callable[[Run], float]

    def ratio(self, value: float, reference: float) -> float:
        """Above 1 is better for ``higher`` and ``lower``, below 1 for ``cost``."""
        upper, lower = (reference, value) if self.better == "lower" else (value, reference)
        return upper / lower if lower else float("nan")


def _quantile(name: str) -> Callable[[Run], float]:
    return lambda run: run["quantiles"][name] / 1000


RATE = Measure("rate", "messages/s", "higher", lambda run: run["messages"] / run["seconds"])
P50 = Measure("p50", "µs p50", "lower", _quantile("50"))
P99 = Measure("p99", "µs p99", "lower", _quantile("99"))
P999 = Measure("p99.9", "µs p99.9", "lower", _quantile("99.9"))
CPU = Measure("cpu", "µs CPU/message", "cost", lambda run: 1e6 * run["cpu_seconds"] / run["messages"])
LOSS = Measure("lost", "% lost", "cost", lambda run: 100 * run["lost"] / (run["messages"] + run["lost"]))
IDLE = Measure("idle", "MiB RSS", "cost", lambda run: run["server_rss_before"] / 2**20)
PER_CONNECTION = Measure(
    "connection",
    "KiB/connection",
    "cost",
    lambda run: (run["server_rss"] - run["server_rss_before"]) / run["connections"] / 1024,
)
MILLISECONDS = Measure("time", "ms", "cost", lambda run: 1000 * run["seconds"])

Goals = Mapping[str, float]


@dataclass(frozen=True)
class Workload:
    """One line of the table."""

    id: str
    title: str
    kind: str
    """What the processes do; see ``impl/role.py``. ``import`` runs no server."""
    full: int
    """Messages in a run (for ``broadcast``: to each connection)."""
    quick: int = 0
    """The same in a quick run; 0 leaves the workload out of it."""
    window: int = 1
    """Messages in flight; at least ``full`` when all are emitted in one go."""
    size: int = 64
    shape: str = "text"
    connections: int = 1
    quick_connections: int = 0
    """Connections in a quick run, when they differ."""
    transport: str = "unix"
    same_core: bool = False
    mode: str = "burst"
    measures: tuple[Measure, ...] = (RATE, CPU)
    """The first is the one that the summary shows."""
    goals: Goals = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    """What an implementation must be able to do, besides its transport."""
    spin: int = 0
    """Microseconds that both ends look on before they wait, where they can."""
    tabled: bool = True
    """Whether a full run without ``--only`` measures it: it is in the tables of the documentation."""
    compares: bool = False
    """Whether it does so for everybody, and not just for those that lead."""

    def suits(self, can: frozenset[str]) -> bool:
        """Whether an implementation that can do this much can be measured under it."""
        return self.needs | {self.transport} <= can


ALL_AT_ONCE = 1 << 30
_TRIP = (P50, P99, P999, CPU)


def _many(number: int, goals: Goals | None = None, quick: int = 0) -> Workload:
    return Workload(
        f"connections-{number}",
        f"echo over {number:,} connection{'s' if number > 1 else ''}, 1,024 in flight",
        "echo",
        full=200_000,
        quick=quick,
        window=1024,
        connections=number,
        goals=goals or {},
        needs=frozenset({"echo", "many"} if number > 1 else {"echo"}),
        tabled=number >= 100,
    )


def _each(number: int) -> Workload:
    """What another connection costs by itself: beside ``_many`` the loss of batches is not in it."""
    return Workload(
        f"each-{number}",
        f"echo over {number:,} connection{'s' if number > 1 else ''}, one in flight on each",
        "echo",
        full=50_000,
        window=number,
        connections=number,
        needs=frozenset({"echo", "many"} if number > 1 else {"echo"}),
        tabled=False,
    )


def _sized(title: str, size: int, window: int, full: int, goals: Goals | None = None) -> Workload:
    return Workload(
        f"size-{title.replace(' ', '').lower()}",
        f"echo of one string of {title}, {window} in flight",
        "echo",
        full=full,
        window=window,
        size=size,
        goals=goals or {},
        needs=frozenset({"echo"}),
        tabled=bool(goals),
        compares=bool(goals),
    )


def _broadcast(mode: str, title: str, goals: Goals, quick: int) -> Workload:
    return Workload(
        f"broadcast-{mode}",
        f"broadcast to 200, {title}",
        "broadcast",
        full=1_000,
        quick=quick,
        connections=200,
        mode=mode,
        goals=goals,
        needs=frozenset({"broadcast"}),
        compares=mode == "burst",
    )


WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "roundtrip-one",
        "round trip, both on one core",
        "roundtrip",
        full=30_000,
        quick=3_000,
        same_core=True,
        measures=_TRIP,
        goals={"ours-asyncio-native": 1.35, "ours-uvloop-native": 1.5, "ours-blocking-native": 1.45},
        needs=frozenset({"echo"}),
        compares=True,
    ),
    Workload(
        "roundtrip-two",
        "round trip, across cores",
        "roundtrip",
        full=30_000,
        quick=3_000,
        measures=_TRIP,
        goals={"ours-asyncio-native": 1.05, "ours-uvloop-native": 1.08, "ours-blocking-native": 1.15},
        needs=frozenset({"echo"}),
        compares=True,
    ),
    Workload(
        "roundtrip-spin",
        "round trip, across cores, spinning for 10 µs",
        "roundtrip",
        full=30_000,
        measures=_TRIP,
        goals={"ours-asyncio-native": 6, "ours-uvloop-native": 6, "ours-blocking-native": 10},
        needs=frozenset({"echo", "spin"}),
        spin=10,
    ),
    Workload(
        "echo-256",
        "pipelined echo, 256 in flight",
        "echo",
        full=200_000,
        quick=15_000,
        window=256,
        goals={"ours-uvloop-native": 4.5},
        needs=frozenset({"echo"}),
        compares=True,
    ),
    Workload(
        "echo-2048",
        "pipelined echo, 2,048 in flight",
        "echo",
        full=200_000,
        window=2048,
        goals={"ours-uvloop-native": 4.2},
        needs=frozenset({"echo"}),
    ),
    Workload(
        "blast",
        "echo, all emitted in one go",
        "echo",
        full=200_000,
        window=ALL_AT_ONCE,
        goals={"ours-uvloop-native": 4.8},
        needs=frozenset({"echo"}),
    ),
    Workload(
        "oneway",
        "one way, client to server",
        "oneway",
        full=200_000,
        quick=30_000,
        goals={"ours-uvloop-native": 4.4},
        needs=frozenset({"oneway"}),
        compares=True,
    ),
    Workload(
        "oneway-batch",
        "one way, inside batch()",
        "oneway",
        full=200_000,
        mode="batch",
        goals={"ours-blocking-native": 5.3},
        needs=frozenset({"batch"}),
    ),
    _broadcast("burst", "in one burst", {"ours-uvloop-native": 5.2}, quick=150),
    _broadcast("turn", "one per turn", {"ours-uvloop-native": 1.4}, quick=0),
    _many(1),
    _many(10),
    _many(100, {"ours-uvloop-native": 4}, quick=15_000),
    _many(1000, {"ours-uvloop-native": 1.8}),
    _each(1),
    _each(10),
    _each(100),
    _each(1000),
    _sized("64 B", 64, 256, 200_000),
    _sized("1 KiB", 1 << 10, 256, 100_000),
    _sized("64 KiB", 1 << 16, 16, 10_000),
    _sized("1 MiB", 1 << 20, 2, 600, goals={"ours-uvloop-native": 6}),
    _sized("16 MiB", 1 << 24, 1, 5),
    Workload(
        "records-64k",
        "echo of 64 KiB of records, 16 in flight",
        "echo",
        full=4_000,
        quick=100,
        window=16,
        size=1 << 16,
        shape="records",
        goals={"ours-uvloop-native": 1.3},
        needs=frozenset({"echo"}),
        compares=True,
    ),
    Workload(
        "records-1m",
        "echo of 1 MiB of records, 2 in flight",
        "echo",
        full=250,
        window=2,
        size=1 << 20,
        shape="records",
        goals={"ours-uvloop-native": 1.2},
        needs=frozenset({"echo"}),
        tabled=False,
    ),
    Workload(
        "tcp-echo",
        "TCP, pipelined echo, 256 in flight",
        "echo",
        full=200_000,
        window=256,
        transport="tcp",
        goals={"ours-uvloop-native": 9.5},
        needs=frozenset({"echo"}),
        compares=True,
    ),
    Workload(
        "tcp-oneway",
        "TCP, one way",
        "oneway",
        full=200_000,
        transport="tcp",
        goals={"ours-uvloop-native": 2.5},
        needs=frozenset({"oneway"}),
        tabled=False,
    ),
    Workload(
        "tls-echo",
        "TLS, pipelined echo, 256 in flight",
        "echo",
        full=100_000,
        window=256,
        transport="tls",
        needs=frozenset({"echo"}),
        tabled=False,
    ),
    Workload(
        "tls-oneway",
        "TLS, one way",
        "oneway",
        full=100_000,
        transport="tls",
        needs=frozenset({"oneway"}),
        tabled=False,
    ),
    Workload(
        "udp",
        "UDP, one way, in bursts of 32",
        "udp",
        full=100_000,
        transport="udp",
        measures=(RATE, LOSS, CPU),
        tabled=False,
    ),
    Workload(
        "memory",
        "memory of the server",
        "idle",
        full=1,
        quick=1,
        connections=1000,
        quick_connections=400,
        measures=(IDLE, PER_CONNECTION),
        goals={
            "ours-asyncio-native": 0.45,
            "ours-uvloop-native": 0.5,
            "ours-asyncio-native/connection": 0.28,
            "ours-uvloop-native/connection": 0.35,
        },
        needs=frozenset({"many"}),
        compares=True,
    ),
    Workload(
        "first",
        "process start to the first answer",
        "first",
        full=1,
        quick=1,
        measures=(MILLISECONDS,),
        goals={"ours-asyncio-native": 1.1, "ours-uvloop-native": 1.1, "ours-blocking-native": 0.7},
        needs=frozenset({"echo"}),
        compares=True,
    ),
    Workload(
        "import",
        "import, without the bare interpreter",
        "import",
        full=1,
        quick=1,
        measures=(MILLISECONDS,),
        needs=frozenset({"import"}),
    ),
)
