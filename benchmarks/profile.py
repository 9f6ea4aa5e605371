"""``python -m benchmarks profile``: where the time of a workload goes, at each end, in nanoseconds a message.

``perf`` takes samples of both processes while they work (of every thread, in user and kernel) and counts their system
calls; what the processes used of the processor is divided among the families below by the samples' shares. *Its own
handlers* is what the run itself does with a message (``impl/role.py``: numbers, checks, the next payload), measured
without anything to carry it, and a part of the interpreter's share.

Of ``import`` and ``first`` the table shows the time of each module's own code instead (``-X importtime``, the least of
several starts).
"""

from __future__ import annotations

import argparse
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from . import report
from .implementations import REFERENCE, Implementation, chosen
from .prepare import Unavailable
from .processes import Child, RunFailed
from .runner import Settings, observed_run
from .workloads import WORKLOADS, Workload

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
SAMPLES = 1999
"""A second, and no multiple of what timers tick by."""
STARTS = 12
PATIENCE = 20.0
"""Seconds that a tool may take to begin and to end."""
FAMILIES = (
    ("kernel", r"\[kernel|\[vdso\]|\[vsyscall\]|\[guest"),
    ("the twin in C", r"node_ipc_native"),
    ("msgspec", r"_core\.cpython"),
    ("uvloop", r"^loop\.cpython"),
    ("libc", r"^(libc|ld|libpthread)[.-]"),
    ("interpreter", r"python|_asyncio|select|_socket|lib-dynload|^_\w+\.cpython"),
    ("node", r"node|jitted|perf-\d+\.map|\[anon|//anon"),
)
"""By the file that a sample's code is in; the first that fits."""
CALLS = {
    "reads": ("recvfrom", "recvmsg", "read", "readv"),
    "writes": ("sendto", "sendmsg", "write", "writev"),
    "waits": ("epoll_wait", "epoll_pwait", "poll", "futex"),
    "epoll_ctl": ("epoll_ctl",),
}


@dataclass
class End:
    """One process of a run: what it used, and on what."""

    seconds: float = 0.0
    shares: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)


def main(words: list[str]) -> int:
    """Exit status 2 where there is nothing to look at, or no ``perf``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks profile", description=__doc__)
    parser.add_argument("cells", metavar="WORKLOAD,..", help="names or shell patterns")
    parser.add_argument("--impl", metavar="NAME,..", default=f"{REFERENCE},ours-uvloop-native", help="the same")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the messages of a full run")
    options = parser.parse_args(words)
    workloads = [w for w in WORKLOADS if any(fnmatch(w.id, pattern) for pattern in options.cells.split(","))]
    implementations = list(chosen(options.impl.split(","), quick=False))
    if not workloads or not implementations:
        print("nothing to look at: python -m benchmarks --list shows the names", file=sys.stderr)
        return 2
    if shutil.which("perf") is None and any(w.kind not in ("import", "first") for w in workloads):
        print("perf is missing: on Debian apt install linux-perf, on Ubuntu linux-tools-generic", file=sys.stderr)
        return 2
    settings = Settings(quick=False, repetitions=1, limit_seconds=120, scale=options.scale)
    return max(_show(workload, implementations, settings) for workload in workloads)


def _show(workload: Workload, implementations: list[Implementation], settings: Settings) -> int:
    print(f"\n## {workload.title} (`{workload.id}`)\n")
    if workload.kind in ("import", "first"):
        print(_modules([i for i in implementations if i.runtime == "python"]))
        return 0
    rows, failed = [], 0
    for implementation in implementations:
        if workload.suits(implementation.can):
            try:
                implementation.version()
                rows += _rows(workload, implementation, settings)
            except (Unavailable, RunFailed, OSError) as error:
                failed = 1
                print(f"{implementation.id}: {error}", file=sys.stderr)
    if rows:
        print(report.markdown(_without_empty_columns(rows)))
    return failed


def _rows(workload: Workload, implementation: Implementation, settings: Settings) -> list[dict[str, str]]:
    ends = {"server": End(), "client": End()}

    @contextmanager
    def watch(children: dict[str, Child]) -> Iterator[None]:
        with ExitStack() as stack:
            for name, child in children.items():
                stack.enter_context(_watched(ends[name], child.pid))
            before = {name: child.cpu_seconds() for name, child in children.items()}
            yield
            for name, child in children.items():
                ends[name].seconds = child.cpu_seconds() - before[name]

    run = observed_run(workload, implementation, settings, watch)
    messages = run["messages"]
    handlers = _handlers(workload, messages) if implementation.runtime == "python" else {}
    return [
        {"": f"{implementation.id}, {name}"}
        | {"all": f"{1e9 * end.seconds / messages:,.0f}"}
        | {family: _part(end, family, messages) for family in (*dict(FAMILIES), "other")}
        | {"its own handlers": f"{handlers[name]:,.0f}" if name in handlers else ""}
        | {call: f"{end.calls[call] / messages:.3f}" if end.calls[call] else "" for call in CALLS}
        for name, end in ends.items()
    ]


def _part(end: End, family: str, messages: int) -> str:
    share = end.shares[family] / (sum(end.shares.values()) or 1)
    return f"{1e9 * end.seconds * share / messages:,.0f}" if share >= 0.002 else ""


def _without_empty_columns(rows: list[dict[str, str]]) -> list[list[str]]:
    used = [title for title in rows[0] if not title or any(row[title] for row in rows)]
    return [[f"{title}" for title in used], *([row[title] for title in used] for row in rows)]


# ---- perf


@contextmanager
def _watched(end: End, pid: int) -> Iterator[None]:
    """Samples and system calls of this process, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="bench-perf-") as folder:
        samples, counts = Path(folder) / "samples", Path(folder) / "counts"
        events = ",".join(f"syscalls:sys_enter_{name}" for names in CALLS.values() for name in names)
        record = ["record", "-q", "-F", str(SAMPLES), "-e", "cpu-clock", "-o", str(samples)]
        stat = ["stat", "-x", ",", "-e", events, "-o", str(counts)]
        with _Perf(record, pid, Path(folder) / "record"), _Perf(stat, pid, Path(folder) / "stat"):
            yield
        words = ["perf", "report", "-q", "--stdio", "-g", "none", "-F", "overhead,dso", "--sort", "dso"]
        said = subprocess.run([*words, "-i", str(samples)], capture_output=True, text=True, check=True).stdout
        for share, where in re.findall(r"^\s*([\d.]+)%\s+(\S+)", said, re.MULTILINE):
            end.shares[_family(where)] += float(share)  # type: ignore[assignment]
        for line in counts.read_text().splitlines():
            count, *rest = line.split(",")
            for kind, names in CALLS.items():
                if count.isdigit() and any(f"syscalls:sys_enter_{name}" in rest for name in names):
                    end.calls[kind] += int(count)


def _family(where: str) -> str:
    return next((name for name, pattern in FAMILIES if re.search(pattern, where)), "other")


class _Perf:
    """``perf`` on one process: begun when it says so, and not a moment later."""

    def __init__(self, words: list[str], pid: int, pipe: Path) -> None:
        self._asked, self._said = Path(f"{pipe}.asked"), Path(f"{pipe}.said")
        os.mkfifo(self._asked)
        os.mkfifo(self._said)
        self._answers = os.open(self._said, os.O_RDWR)
        self._orders = os.open(self._asked, os.O_RDWR)
        control = [f"--control=fifo:{self._asked},{self._said}", "-D", "-1", "-p", str(pid)]
        self._process = subprocess.Popen(
            ["perf", words[0], *control, *words[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> None:
        self._tell("enable")

    def __exit__(self, *exc: object) -> None:
        try:
            if exc[0] is None:
                self._tell("disable")
        finally:
            self._process.send_signal(signal.SIGINT)
            self._process.communicate(timeout=PATIENCE)
            os.close(self._orders)
            os.close(self._answers)

    def _tell(self, what: str) -> None:
        os.write(self._orders, f"{what}\n".encode())
        deadline = time.monotonic() + PATIENCE
        while not select.select([self._answers], (), (), 0.1)[0]:
            if self._process.poll() is not None:
                raise RunFailed(f"perf ended: {self._process.communicate()[1].strip()[-200:]}")
            if time.monotonic() > deadline:
                raise RunFailed("perf does not answer")
        os.read(self._answers, 64)


# ---- what the run does by itself


def _handlers(workload: Workload, messages: int) -> dict[str, float]:
    """Nanoseconds of processor time that the run's own part in a message takes, by end."""
    if workload.kind not in ("echo", "oneway", "broadcast", "roundtrip"):
        return {}
    sys.path.insert(0, str(HERE / "impl"))
    try:
        import role
    finally:
        sys.path.pop(0)
    count = max(workload.connections, min(messages, 20_000))
    words = {"kind": workload.kind, "size": workload.size, "shape": workload.shape, "messages": count}
    words |= {"connections": 1, "window": min(workload.window, count)}
    plan = role.Plan(["client", *(f"{name}={value}" for name, value in words.items())])
    make, wrong = role.payloads(plan)
    payloads = list(map(make, range(count)))
    if workload.kind == "oneway":
        return {"server": _nanoseconds(lambda: map(role.answering(plan, make, wrong), payloads), count)}

    def client() -> Iterator[Any]:
        (lane,) = role.Load(plan, count, make, wrong).lanes
        yield from lane.opening
        yield from map(lane.received, payloads)

    return {"client": _nanoseconds(client, count)}


def _nanoseconds(work: Any, count: int) -> float:
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in work():
            pass
        best = min(best, time.process_time() - began)
    return 1e9 * best / count


# ---- starts


def _modules(implementations: list[Implementation]) -> str:
    """Milliseconds of the modules' own code, for whom they are imported first."""
    groups: dict[str, Counter[str]] = {i.id: _import_times(i) for i in implementations}
    names = list(dict.fromkeys(name for times in groups.values() for name in times))
    head = ["ms", "all", *names]
    lines = [[who, f"{sum(t.values()):.1f}", *(f"{t[name]:.1f}" for name in names)] for who, t in groups.items()]
    return report.markdown([head, *lines])


def _import_times(implementation: Implementation) -> Counter[str]:
    least: dict[tuple[str, str], float] = {}
    command = [sys.executable, "-X", "importtime", "-c", f"import {implementation.module}"]
    for _ in range(STARTS):
        said = subprocess.run(command, capture_output=True, text=True, env=implementation.environment).stderr
        for name, group, milliseconds in _attributed(said):
            key = name, group
            least[key] = min(least.get(key, milliseconds), milliseconds)
    times: Counter[str] = Counter()
    for (_, group), milliseconds in least.items():
        times[group] += milliseconds  # type: ignore[assignment]
    return times


def _attributed(said: str) -> Iterator[tuple[str, str, float]]:
    """Each module with the one at whose wish it came: itself, or the first of ours, msgspec's or asyncio's above it."""
    known = {"node_ipc": "node_ipc", "node_ipc_native": "node_ipc", "msgspec": "msgspec", "asyncio": "asyncio"}
    above: list[tuple[int, str]] = []
    for own, indent, name in reversed(re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|( +)(\S+)$", said, re.MULTILINE)):
        while above and above[-1][0] >= len(indent):
            above.pop()
        top = name.partition(".")[0]
        if top in known:
            group = known[top]
        elif above:
            group = above[-1][1]
            if group in known.values():
                group = f"the standard library for {group}"
        else:
            group = "the bare interpreter"
        above.append((len(indent), group))
        yield name, group, int(own) / 1000
