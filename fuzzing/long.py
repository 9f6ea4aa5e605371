#!/usr/bin/env python3
"""The long search: every target at once on all cores, for an hour at most; see ``NIGHTLY=fuzz .ci/run``.

    python fuzzing/long.py --minutes 55 --result build/nightly-fuzz.json --kept build/fuzz-corpus

Each target gets the same time. It begins with the files of ``corpus/`` and ``crashes/`` and what the last search kept;
afterwards libFuzzer merges what it found into the fewest files that reach as much, which are kept. What breaks a target
is in ``fuzzing/crashes/<target>/`` as Base64 in the output too: give the file a name that says what was wrong, and the
tests replay it from then on. The exit code is 1 if something was found, or if fewer inputs ran than were asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fuzzing.mutation import TARGETS  # noqa: E402 - this folder is no installed package
from fuzzing.run import LIMITS  # noqa: E402

TWINS = "twins"
MERGING = 0.1
"""The part of the time that is left for merging."""
STARTING = 300
"""Seconds that starting, and the last input, may take more on a busy machine."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=55)
    parser.add_argument("--executions", type=int, default=10_000_000, help="of all targets together, at least")
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    given = parser.parse_args()
    targets, cores = (*TARGETS, TWINS), os.cpu_count() or 1
    share = given.minutes * 60 * cores / len(targets)
    with ThreadPoolExecutor(cores) as searches:
        figures = dict(zip(targets, searches.map(lambda each: search(each, share, given.kept), targets), strict=True))
    executions = sum(each["executions"] for each in figures.values())
    found = [name for each in figures.values() for name in each["found"]]
    for target, each in figures.items():
        print(f"{target}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in each.items()))
    print(f"{executions:,} executions of {given.executions:,}, {len(found)} findings")
    given.result.parent.mkdir(parents=True, exist_ok=True)
    summary = {"executions": executions, "wanted": given.executions, "minutes": given.minutes, "targets": figures}
    given.result.write_text(json.dumps(summary, indent=1) + "\n")
    broken = any(each["exit_code"] or each["merge_exit_code"] or not each["kept"] for each in figures.values())
    return int(broken or bool(found) or executions < given.executions)


def search(target: str, seconds: float, kept: Path) -> dict[str, Any]:
    """One target's figures."""
    corpus, crashes = kept / target, HERE / "crashes" / target
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    before = set(crashes.iterdir())
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{target}-") as folder:
        new = Path(folder, "new")
        new.mkdir()
        begin = [corpus, crashes, chosen(target, Path(folder))]
        options = ["-verbosity=0", "-print_final_stats=1", f"-max_total_time={int(seconds * (1 - MERGING))}"]
        if target == TWINS:
            options.append("-len_control=0")  # an input is a whole conversation: short ones do nothing
        code, said = play(target, [*options, new, *begin], seconds + STARTING, crashes)
        merged = Path(folder, "merged")
        merged.mkdir()
        merging, also = play(target, ["-merge=1", merged, new, corpus], seconds * MERGING + STARTING, crashes)
        if merging == 0:
            for path in corpus.iterdir():
                path.unlink()
            for path in merged.iterdir():
                path.rename(corpus / path.name)
    if code or merging:
        print(said, also, sep="\n")
    found = sorted(path.name for path in set(crashes.iterdir()) - before)
    return {
        "executions": counted("number_of_executed_units", said),
        "new_inputs": counted("new_units_added", said),
        "peak_mib": counted("peak_rss_mb", said),
        "seconds": int(seconds * (1 - MERGING)),
        "kept": len(list(corpus.iterdir())),
        "found": found,
        "exit_code": code,
        "merge_exit_code": merging,
    }


def chosen(target: str, folder: Path) -> Path:
    """Where a target's first inputs are; a conversation of the twins is any bytes that are long enough."""
    if target != TWINS:
        return HERE / "corpus" / target
    place = folder / "chosen"
    place.mkdir()
    for number in range(20):
        (place / str(number)).write_bytes(random.Random(number).randbytes(3000))
    return place


def play(target: str, arguments: list[str | Path], seconds: float, crashes: Path) -> tuple[int, str]:
    command = [sys.executable, HERE / "run.py", target, "--", *arguments, *LIMITS]
    command += [f"-dict={HERE / 'words.dict'}", f"-artifact_prefix={crashes}/"]
    try:
        ended = subprocess.run(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        return 1, (error.stdout or b"").decode(errors="replace") + f"\nnot over after {seconds:.0f} s"
    return ended.returncode, ended.stdout.decode(errors="replace")


def counted(name: str, said: str) -> int:
    found = re.search(rf"stat::{name}:\s*(\d+)", said)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
