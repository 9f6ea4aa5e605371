"""The machine a result was taken on, and which of its cores are used."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["cores", "description"]


@cache
def cores() -> tuple[int, int]:
    """The core of the server and the core of the client: not two threads of one core where that can be had.

    On a machine with one core, both are that one.
    """
    allowed = sorted(os.sched_getaffinity(0))
    first = allowed[0]
    others = [core for core in allowed[1:] if core not in _siblings(first)] or allowed[1:] or [first]
    return first, others[0]


def _siblings(core: int) -> set[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    found = {core}
    for part in _read(path).split(","):
        low, _, high = part.partition("-")
        if low.isdigit():
            found.update(range(int(low), int(high or low) + 1))
    return found


def description() -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    return {
        "system": platform.platform(),
        "processor": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) or "unknown",
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def _field(path: str, name: str) -> str:
    for line in _read(Path(path)).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
