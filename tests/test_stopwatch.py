"""The stopwatch of the tests leaves out what other programs had of the processor, and nothing else.

And who measures time with it, or without it, is among the tests that nox -s steady runs again and again.
"""

from __future__ import annotations

import ast
import os
import sys
import time
from pathlib import Path

import pytest

from children import Child
from stopwatch import Stopwatch

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no kernel tells, and all time counts")

TESTS = Path(__file__).parent
TIMED = {line.removeprefix("tests/") for line in (TESTS.parent / ".ci/timed").read_text().split()}
NOT_TIMED = {
    "interop/": "node-ipc itself answers",
    "windows/": "elsewhere there is none",
    "cluster/test_many_nodes.py": "its time is printed, and nothing is bounded",
    "reliability/test_delivery.py": "five to ten seconds each, with bounds that are as generous",
    "reliability/test_runtime.py::test_starts_and_stops_by_hundreds_leave_nothing": "as long as they take",
    "reliability/test_runtime.py::test_out_of_descriptors_it_stays_calm_and_recovers": "five seconds idle",
    "schedules/test_schedules.py::test_many_schedules": "as long as they take",
    "test_every_value.py": "all that is refused, with a bound of five seconds for what takes none",
    "test_examples_fronts.py": "a program as a user runs it, with a bound as generous",
}
"""What measures time and is not run again and again, and why."""


def work(seconds: float) -> None:
    """Keep the processor busy until this process itself has had so much of it."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def asleep_and_at_work() -> float:
    watch = Stopwatch()
    time.sleep(0.1)
    work(0.1)
    return watch.seconds


@needs_linux
def test_sleeping_and_computing_count() -> None:
    """In a process of its own: another thread of this one that waits meanwhile would be left out, too."""
    assert Child(asleep_and_at_work).result() >= 0.19


def beside_four_others() -> list[float]:
    """On one processor with four busy processes: seconds on the wall and on the watch for 0.2 s of work."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    others = [Child(lambda: work(60)) for _ in range(4)]
    try:
        begun, watch = time.monotonic(), Stopwatch()
        work(0.2)
        return [time.monotonic() - begun, watch.seconds]
    finally:
        for other in others:
            other.kill()


@needs_linux
def test_what_others_had_of_the_processor_does_not_count() -> None:
    wall, ours = Child(beside_four_others).result()
    assert wall > 0.4, "there were others"
    assert 0.19 <= ours < 0.3


@needs_linux
def test_another_process_may_be_held_up_too() -> None:
    child = Child(lambda: time.sleep(0.2))
    watch = Stopwatch(child.pid)
    child.result()
    assert 0 <= watch.seconds < 20
    assert Stopwatch(child.pid).seconds < 1, "one that has ended has not waited"


def measures(code: ast.AST) -> bool:
    """Whether it looks how long something took: by a stopwatch, or by the clock and when it began."""
    return any(
        (isinstance(node, ast.Call) and ast.unparse(node.func) == "Stopwatch")
        or (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Sub)
            and ast.unparse(node.left) in ("time.monotonic()", "time.perf_counter()")
        )
        for node in ast.walk(code)
    )


def measuring(path: Path) -> list[str]:
    """The tests of a module that measure time, by themselves or by a function of the module that they name."""
    functions = {
        node.name: node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    found = {name for name, function in functions.items() if measures(function)}
    while more := {
        name
        for name, function in functions.items()
        if name not in found and any(isinstance(node, ast.Name) and node.id in found for node in ast.walk(function))
    }:
        found |= more
    module = path.relative_to(TESTS).as_posix()
    return [f"{module}::{name}" for name in found if name.startswith("test_")]


def test_what_measures_time_is_run_again_and_again() -> None:
    tests = [test for path in sorted(TESTS.rglob("test_*.py")) for test in measuring(path)]
    assert len(tests) > 50, "else nothing is held"
    left = [
        test for test in tests if not {test, test.partition("::")[0]} & TIMED and not test.startswith(tuple(NOT_TIMED))
    ]
    assert not left, "add them to .ci/timed, or say in NOT_TIMED why they are not there"
    unknown = [one for one in NOT_TIMED if not any(test.startswith(one) for test in tests)]
    assert not unknown, "what is left out is there, and measures time"
    gone = [
        line
        for line in TIMED
        if f"def {line.partition('::')[2]}" not in (TESTS / line.partition("::")[0]).read_text("utf-8")
    ]
    assert not gone, "what is to be run is there"
