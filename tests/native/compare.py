"""The two twins on the same conversations: what differs is printed, and the exit code is 1.

    python compare.py FIRST COUNT

Each twin plays in processes of its own, as many at a time as there are cores. What sanitizers need (``LD_PRELOAD``,
``ASAN_OPTIONS`` …) is taken from ``NATIVE_ENVIRONMENT``, as ``NAME=value`` parted by spaces, for the native one only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PLAYER = Path(__file__).parent / "differential.py"
AT_ONCE = 1000
"""Conversations that a process plays; starting one costs as much as fifty."""


def play(first: int, count: int, pure: bool) -> tuple[list[str], int]:
    """The lines of one twin, and its exit code."""
    environment = {**os.environ, "NODE_IPC_PURE": "1" if pure else "0"}
    if not pure:
        environment |= dict(each.split("=", 1) for each in os.environ.get("NATIVE_ENVIRONMENT", "").split())
    command = [sys.executable, "-W", "ignore", str(PLAYER), str(first), str(count)]
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    return ended.stdout.splitlines(), abs(ended.returncode)


def played(first: int, count: int) -> tuple[list[str], list[str], int]:
    """The lines of the Python twin and of the native one, and the worst of their exit codes."""
    parts = [(at, min(AT_ONCE, first + count - at)) for at in range(first, first + count, AT_ONCE)]
    with ThreadPoolExecutor(os.cpu_count()) as players:
        pure = [players.submit(play, *part, True) for part in parts]
        native = [players.submit(play, *part, False) for part in parts]
    lines = [[line for player in twin for line in player.result()[0]] for twin in (pure, native)]
    return lines[0], lines[1], max(player.result()[1] for player in pure + native)


def main(first: int, count: int) -> int:
    pure, native, code = played(first, count)
    differ = [line.split()[0] for line, other in zip(pure, native, strict=False) if line != other]
    print(f"{len(pure)} and {len(native)} of {count} conversations, {len(differ)} differ: {' '.join(differ[:20])}")
    if differ:
        print(f"look at one: python {PLAYER.name} {differ[0]} 1 keep, with NODE_IPC_PURE=1 and without")
    return int(bool(differ) or code != 0 or not len(pure) == len(native) == count)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
