"""Runs: one server and one client process each, interleaved over the repetitions."""

from __future__ import annotations

import resource
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import machine, prepare
from .implementations import Implementation
from .processes import Child, RunFailed, on_cores
from .workloads import Workload

__all__ = ["Settings", "Step", "observed_run", "one_run", "run_all", "steps"]

QUANTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99)
WARM_UP = 10
"""The warm-up has a tenth of the messages, at least one for each connection, at most ``WARM_UP_MOST``."""
WARM_UP_MOST = 10_000
FILES_NEEDED = 8192


@dataclass(frozen=True)
class Settings:
    """How a whole measurement is made."""

    quick: bool
    repetitions: int
    limit_seconds: float
    """What a run may take before it is a failed one."""
    scale: float = 1.0
    """Share of each workload's messages."""
    tables: bool = False
    """Only what the tables show: each workload with whom it is for."""


@dataclass(frozen=True)
class Step:
    """One run to come."""

    repetition: int
    workload: Workload
    implementation: Implementation

    def __str__(self) -> str:
        return f"{self.workload.id} {self.implementation.id}"


Results = dict[str, dict[str, dict[str, list[Any]]]]
"""Workload id → implementation id → ``runs`` (one a repetition, ``None`` where it failed) and ``errors``."""


def steps(workloads: list[Workload], implementations: list[Implementation], settings: Settings) -> Iterator[Step]:
    """Repetitions outermost, so that a slow hour of the machine hits everybody; who begins changes each time."""
    for repetition in range(settings.repetitions):
        for workload in workloads:
            able = [i for i in implementations if workload.suits(i.can)]
            if settings.tables:
                able = [i for i in able if i.part == "leads" or (i.part == "compares" and workload.compares)]
            for position in range(len(able)):
                yield Step(repetition, workload, able[(position + repetition) % len(able)])


def run_all(plan: list[Step], settings: Settings, before: Callable[[Step], None]) -> Iterator[Results]:
    """Carry out all steps; yields the results so far after each, so that an interrupted run keeps what it has."""
    _raise_file_limit()
    results: Results = {}
    for step in plan:
        before(step)
        cells = results.setdefault(step.workload.id, {})
        cell = cells.setdefault(step.implementation.id, {"runs": [], "errors": []})
        try:
            cell["runs"].append(one_run(step.workload, step.implementation, settings))
        except RunFailed as error:
            cell["runs"].append(None)
            cell["errors"].append(str(error))
        yield results


def one_run(workload: Workload, implementation: Implementation, settings: Settings) -> dict[str, Any]:
    """Start the processes, let them work, and take the figures.

    Raises:
        RunFailed: when a message was lost, doubled or out of order, or a process ended or hung.
    """
    if workload.kind == "import":
        return _import(implementation)
    return observed_run(workload, implementation, settings, lambda children: nullcontext())


Observe = Callable[[dict[str, Child]], AbstractContextManager[None]]
"""Looks at both processes, by the names of their ends, while the measured part of a run is under way."""


def observed_run(
    workload: Workload, implementation: Implementation, settings: Settings, observe: Observe
) -> dict[str, Any]:
    """``one_run`` of anything but an import, under ``observe``."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        arguments = _arguments(workload, implementation, settings, Path(folder))
        return _exchange(workload, implementation, settings, arguments, observe)


def _exchange(
    workload: Workload,
    implementation: Implementation,
    settings: Settings,
    arguments: dict[str, Any],
    observe: Observe,
) -> dict[str, Any]:
    server_core, client_core = machine.cores()
    if workload.same_core:
        client_core = server_core
    plan = [f"{name}={value}" for name, value in arguments.items()]
    limit = settings.limit_seconds
    with Child([*implementation.command("server"), *plan], server_core, implementation.environment) as server:
        server.line(limit)
        rss_before = server.rss_bytes()
        command = [*implementation.command("client"), *plan]
        began = time.perf_counter()
        with Child(command, client_core, implementation.environment) as client:
            if workload.kind == "first":
                client.line(limit)
                return {"seconds": time.perf_counter() - began, "messages": 1}
            client.line(limit)
            rss = server.rss_bytes()
            with observe({"server": server, "client": client}):
                cpu = server.cpu_seconds() + client.cpu_seconds()
                client.go()
                said = client.line(limit)
                cpu = server.cpu_seconds() + client.cpu_seconds() - cpu
            return _run(workload, arguments, said) | {
                "cpu_seconds": cpu,
                "server_rss_before": rss_before,
                "server_rss": rss,
                "server_rss_after": server.rss_bytes(),
                "client_rss_after": client.rss_bytes(),
            }


def _run(workload: Workload, arguments: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = {key: said[key] for key in ("seconds", "messages", "lost") if key in said}
    run["connections"] = arguments["connections"]
    if workload.kind == "broadcast":
        run["messages"] *= run["connections"]
    if said.get("latencies"):
        ordered = sorted(said["latencies"])
        run["quantiles"] = {f"{q:g}": _quantile(ordered, q) for q in QUANTILES}
    return run


def _quantile(ordered: list[int], percent: float) -> int:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _arguments(workload: Workload, implementation: Implementation, settings: Settings, folder: Path) -> dict[str, Any]:
    messages, connections = workload.full, workload.connections
    if settings.quick:
        messages, connections = workload.quick or messages, workload.quick_connections or connections
    if workload.kind not in ("idle", "first"):
        messages = max(min(10, messages), int(messages * implementation.pace * settings.scale))
    if workload.kind == "echo":
        messages = max(1, messages // connections) * connections
    warmup = max(1, min(WARM_UP_MOST, messages // WARM_UP), connections)
    return {
        "kind": workload.kind,
        "transport": workload.transport,
        "path": folder / "bench.sock",
        "host": "127.0.0.1",
        "port": _free_port(workload.transport),
        "reply_port": _free_port(workload.transport),
        "messages": messages,
        "warmup": 0 if workload.kind in ("first", "udp") else warmup,
        "size": workload.size,
        "shape": workload.shape,
        "window": min(workload.window, messages),
        "connections": connections,
        "mode": workload.mode,
        "spin": workload.spin,
        **(prepare.certificates(folder) if workload.transport == "tls" else {}),
    }


def _free_port(transport: str) -> int:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _import(implementation: Implementation) -> dict[str, Any]:
    """The difference between two processes: one that imports and one that does not."""
    whole, bare = (_seconds_of(command, implementation.environment) for command in implementation.import_commands())
    return {"seconds": whole - bare, "messages": 1}


def _seconds_of(command: list[str], environment: dict[str, str]) -> float:
    with on_cores({machine.cores()[1]}):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RunFailed(done.stderr.strip().splitlines()[-1])
    return time.perf_counter() - began


def _raise_file_limit() -> None:
    """A thousand connections need two thousand descriptors; children inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_NEEDED if hard == resource.RLIM_INFINITY else min(FILES_NEEDED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
