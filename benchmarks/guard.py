"""``python -m benchmarks.guard``: fails when the library became slower by a factor, and not on noise.

Only ratios within one repetition count: this library's fronts to asyncio streams with json, in the same layout
of processes, on the same machine, within seconds, now the one first and now the other. The median of them is judged,
and where it is near its bound there are more repetitions: what luck with the processor does to one is outvoted.

Each ratio has two bounds: the floor below, and the ratio in ``baseline.json`` divided by ``TOLERANCE``. ``--update``
writes what was measured as the new baseline; do that on a quiet machine, and only when a change is meant.

A round trip across cores has its floor alone. What it takes is the wait until a core that has nothing to do wakes up,
10 µs on one virtual machine and 60 on another, for both sides of the ratio: it was 4.1 on the one and 1.6 on the other,
with the same code. What the code takes shows where both processes share a core, and that is bound by the baseline.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

from . import report
from .implementations import Implementation, chosen, native_twin_runs
from .prepare import Unavailable
from .processes import RunFailed
from .runner import Settings, one_run
from .workloads import WORKLOADS, Workload

BASELINE = Path(__file__).resolve().parent / "baseline.json"
OPPONENT = "streams"
CANDIDATES = ["ours-asyncio", "ours-blocking"]
"""With the twin that is installed: ``-native`` is added where that is the native one."""
TOLERANCE = 2.5
"""A busy machine moved such a ratio by a half at most; a lost optimisation moves it by more than this."""
FLOORS = {"roundtrip-one": 1.0, "roundtrip-two": 0.8, "echo-256": 1.2, "oneway": 1.2}
"""Ratios to asyncio streams that must be reached on any machine (the blocking front: round trips only)."""
FLOOR_ALONE = {"roundtrip-two"}
"""What no baseline is kept of: such a ratio says more of the machine than of the code."""
FEWEST, MOST, CLEAR = 3, 11, 1.25
"""Repetitions, at least and at most, and by how much a median is clear of its bound: no more are needed then."""
SETTINGS = Settings(quick=True, repetitions=FEWEST, limit_seconds=60, scale=4)
"""Four times the messages of a quick run: what a hundredth of a second shows is who began when."""


def main() -> int:
    """Exit status 0 when all bounds hold, 1 when not or when nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the measured ratios to baseline.json")
    parser.add_argument(
        "--candidate", action="append", help=f"default {' and '.join(CANDIDATES)}, with the twin that is there"
    )
    options = parser.parse_args()
    try:
        ratios = _measure(options.candidate or _candidates())
    except (Unavailable, RunFailed) as error:
        print(f"the guard could not measure: {error}")
        print("0 passed, 1 failed")
        return 1
    if options.update:
        rounded = _baseline() | {name: round(ratio, 2) for name, ratio in ratios.items() if not _floor_alone(name)}
        BASELINE.write_text(json.dumps(rounded, indent=1) + "\n")
        print(f"wrote {BASELINE}")
    return _judge(ratios)


def _candidates() -> list[str]:
    return [f"{name}-native" if native_twin_runs() else name for name in CANDIDATES]


def _measure(candidates: list[str]) -> dict[str, float]:
    """The median ratio to the opponent for each ``implementation/workload``."""
    (opponent,) = chosen([OPPONENT], quick=True)
    found = {}
    for workload in (w for w in WORKLOADS if w.id in FLOORS):
        for candidate in chosen(candidates, quick=True):
            if candidate.id.startswith("ours-blocking") and workload.kind != "roundtrip":
                continue
            candidate.version()
            name = f"{candidate.id}/{workload.id}"
            found[name] = _ratio(workload, candidate, opponent, _bound(name))
    return found


def _bound(name: str) -> float:
    """What the ratio of an ``implementation/workload`` must reach."""
    return max(FLOORS[_workload(name)], _baseline().get(name, 0.0) / TOLERANCE)


def _floor_alone(name: str) -> bool:
    return _workload(name) in FLOOR_ALONE


def _workload(name: str) -> str:
    return name.rpartition("/")[2]


def _baseline() -> dict[str, float]:
    known: dict[str, float] = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    return known


def _ratio(workload: Workload, candidate: Implementation, opponent: Implementation, bound: float) -> float:
    measure = workload.measures[0]
    equal = replace(opponent, pace=1.0)
    ratios: list[float] = []
    while len(ratios) < FEWEST or (len(ratios) < MOST and median(ratios) < CLEAR * bound):
        order = [candidate, equal] if len(ratios) % 2 == 0 else [equal, candidate]
        values = {who.id: measure.of(one_run(workload, who, SETTINGS)) for who in order}
        ratios.append(measure.ratio(values[candidate.id], values[equal.id]))
    return median(ratios)


def _judge(ratios: dict[str, float]) -> int:
    baseline = _baseline()
    rows = [["implementation/workload", "ratio to " + OPPONENT, "floor", "baseline", "bound", "verdict"]]
    failed = 0
    for name, ratio in ratios.items():
        bound, known = _bound(name), baseline.get(name)
        judged = known is not None or _floor_alone(name)
        good = judged and ratio >= bound
        failed += not good
        verdict = "holds" if good else "TOO SLOW" if judged else "NO BASELINE: run with --update"
        shown = f"{known:g}" if known else ""
        rows.append([name, f"{ratio:.2f}", f"{FLOORS[_workload(name)]:g}", shown, f"{bound:.2f}", verdict])
    print(report.markdown(rows))
    print(f"{len(ratios) - failed} passed, {failed} failed")
    return 1 if failed or not ratios else 0


if __name__ == "__main__":
    sys.exit(main())
