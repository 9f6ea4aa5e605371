"""``python -m benchmarks``: measure, print the tables, keep the result and draw the plots."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from . import machine, plots, profile, report, twins
from .implementations import IMPLEMENTATIONS, REFERENCE, Implementation, chosen
from .prepare import Unavailable
from .progress import Progress
from .runner import Settings, run_all, steps
from .workloads import WORKLOADS, Workload

HERE = Path(__file__).resolve().parent
QUICK = Settings(quick=True, repetitions=3, limit_seconds=30)
FULL = Settings(quick=False, repetitions=5, limit_seconds=120)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 when a run failed, 2 when nothing could be run."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["compare"]:
        return _compare(words[1:])
    if words[:1] == ["pages"]:
        return _pages(words[1:])
    if words[:1] == ["profile"]:
        return profile.main(words[1:])
    if words[:1] == ["twins"]:
        return twins.main(words[1:])
    options = _parser().parse_args(words)
    if options.list:
        return _list()
    settings = _settings(options)
    workloads = [w for w in WORKLOADS if _wanted(w, options)]
    available, versions, unavailable = _look_around(
        [i for i in chosen(options.impl, settings.quick) if not settings.tables or i.part != "named"]
    )
    for name, reason in unavailable.items():
        print(f"not measured: {name}: {reason}", file=sys.stderr)
    if not workloads or not available:
        print("nothing to measure: see --list for the names", file=sys.stderr)
        return 2
    result = {
        "schema": 1,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join(["python -m benchmarks", *words]),
        "machine": machine.description(),
        "settings": _told(settings, workloads, available),
        "versions": versions,
        "unavailable": unavailable,
        "results": {},
    }
    _measure(result, workloads, available, settings)
    return _publish(result, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="the main workloads, few messages (default)")
    mode.add_argument("--full", action="store_true", help="what the tables show, at full length: under an hour")
    parser.add_argument("--only", type=_names, metavar="WORKLOAD,..", help="these (names or shell patterns)")
    parser.add_argument("--impl", type=_names, metavar="NAME,..", help="these (names or shell patterns)")
    parser.add_argument("--repetitions", type=int, help=f"{QUICK.repetitions}, with --full {FULL.repetitions}")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the messages; below 1 to try things out")
    parser.add_argument("--out", type=Path, help="where results and plots go (default benchmarks/results/…)")
    parser.add_argument("--no-plots", action="store_true", help="draw nothing")
    parser.add_argument("--list", action="store_true", help="show the names of workloads and implementations")
    parser.epilog = (
        "python -m benchmarks compare A.json B.json shows two results side by side, python -m benchmarks pages "
        "RESULT.json the tables of the documentation, and python -m benchmarks profile WORKLOAD where its time goes."
    )
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _settings(options: argparse.Namespace) -> Settings:
    base = FULL if options.full else QUICK
    named = options.only is not None or options.impl is not None
    repetitions = options.repetitions or base.repetitions
    return Settings(base.quick, repetitions, base.limit_seconds, options.scale, options.full and not named)


def _wanted(workload: Workload, options: argparse.Namespace) -> bool:
    if options.only is not None:
        return any(fnmatch(workload.id, pattern) for pattern in options.only)
    return bool(workload.tabled if options.full else workload.quick)


def _look_around(
    wanted: list[Implementation],
) -> tuple[list[Implementation], dict[str, str], dict[str, str]]:
    """Those that can run here with their versions, and why the others cannot."""
    versions: dict[str, str] = {}
    unavailable: dict[str, str] = {}
    for implementation in wanted:
        try:
            versions[implementation.id] = implementation.version()
        except Unavailable as error:
            unavailable[implementation.id] = str(error)
    return [i for i in wanted if i.id in versions], versions, unavailable


def _told(settings: Settings, workloads: list[Workload], available: list[Implementation]) -> dict[str, Any]:
    return {
        "quick": settings.quick,
        "repetitions": settings.repetitions,
        "scale": settings.scale,
        "cores": {"server": machine.cores()[0], "client": machine.cores()[1]},
        "reference": REFERENCE,
        "pace": {i.id: i.pace for i in available},
        "workloads": {
            w.id: {
                "title": w.title,
                "messages": w.quick if settings.quick and w.quick else w.full,
                "window": w.window,
                "size": w.size,
                "shape": w.shape,
                "transport": w.transport,
                "connections": w.connections,
                "same_core": w.same_core,
            }
            for w in workloads
        },
    }


def _measure(
    result: dict[str, Any], workloads: list[Workload], available: list[Implementation], settings: Settings
) -> None:
    plan = list(steps(workloads, available, settings))
    with _progress(len(plan)) as progress:
        for results in run_all(plan, settings, lambda step: progress.next(str(step))):
            result["results"] = results


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    """An interrupted measurement is reported as far as it came."""
    progress = Progress(total)
    try:
        yield progress
    except KeyboardInterrupt:
        print("\nbroken off: the tables hold what was measured until now", file=sys.stderr)
    finally:
        progress.end()


def _publish(result: dict[str, Any], options: argparse.Namespace) -> int:
    mode = "full" if options.full else "quick"
    folder = options.out or HERE / "results" / f"{result['date'].replace(' ', '-').replace(':', '')}-{mode}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    text = report.tables(result)
    (folder / "report.md").write_text(text)
    print(text)
    if not options.no_plots:
        for note in plots.draw(result, folder):
            print(note)
    print(f"kept in {folder}")
    cells = (cell for cells in result["results"].values() for cell in cells.values())
    return 1 if any(cell["errors"] for cell in cells) else 0


def _compare(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare")
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    options = parser.parse_args(words)
    before, after = (json.loads(path.read_text()) for path in (options.before, options.after))
    print(report.comparison(before, after))
    return 0


def _pages(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks pages", description="The tables of the documentation.")
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    print(report.pages(json.loads(parser.parse_args(words).result.read_text())))
    return 0


def _list() -> int:
    named: tuple[Workload | Implementation, ...] = (*WORKLOADS, *IMPLEMENTATIONS)
    for each in named:
        print(f"{each.id:26} {each.title}{_when(each)}")
    return 0


def _when(each: Workload | Implementation) -> str:
    if each.quick:
        return ""
    tabled = each.tabled if isinstance(each, Workload) else each.part != "named"
    return " (full runs only)" if tabled else " (when named)"


if __name__ == "__main__":
    sys.exit(main())
