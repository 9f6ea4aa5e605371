"""The two twins on the same conversations: what differs is printed, and the exit code is 1.

    python compare.py FIRST COUNT

Each twin plays in a process of its own. What sanitizers need (``LD_PRELOAD``, ``ASAN_OPTIONS`` …) is taken from
``NATIVE_ENVIRONMENT``, as ``NAME=value`` parted by spaces, for the native one only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PLAYER = Path(__file__).parent / "differential.py"


def start(first: int, count: int, pure: bool) -> subprocess.Popen[str]:
    environment = {**os.environ, "NODE_IPC_PURE": "1" if pure else "0"}
    if not pure:
        environment |= dict(each.split("=", 1) for each in os.environ.get("NATIVE_ENVIRONMENT", "").split())
    command = [sys.executable, "-W", "ignore", str(PLAYER), str(first), str(count)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def played(first: int, count: int) -> tuple[list[str], list[str], int]:
    """The lines of the Python twin and of the native one, and the worse of their exit codes."""
    players = [start(first, count, pure) for pure in (True, False)]
    lines = [player.communicate()[0].splitlines() for player in players]
    return lines[0], lines[1], max(abs(player.returncode) for player in players)


def main(first: int, count: int) -> int:
    pure, native, code = played(first, count)
    differ = [line.split()[0] for line, other in zip(pure, native, strict=False) if line != other]
    print(f"{len(pure)} and {len(native)} of {count} conversations, {len(differ)} differ: {' '.join(differ[:20])}")
    if differ:
        print(f"look at one: python {PLAYER.name} {differ[0]} 1 keep, with NODE_IPC_PURE=1 and without")
    return int(bool(differ) or code != 0 or not len(pure) == len(native) == count)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
