#!/usr/bin/env python3
"""Would the tests notice? Small mistakes are made in the core, one at a time, and the tests that ought to see them run.

    python mutants/run.py --minutes 55 --mutants 1500 --seed 0 --result build/nightly-mutants.json
    python mutants/run.py --mutants 50 wire/framing core/requests
    python mutants/run.py wire/costs --line 67

``table.toml`` says which modules, which tests are to notice each, and which part of the mutants they have to;
``equivalent.toml`` lists those that change nothing that anybody could see, with the reason. The mutants are a sample,
chosen by the seed, of every module alike. A mutant is noticed where a test fails or the tests take too long. Those that
nobody noticed are printed with their lines. The exit code is 1 if a module's part is below its goal, if the tests fail
without a mutant, or if the time was not enough for half of the sample.

Of a module's tests, those run that call the function that the mistake is in: they run twice without a mutant, to see
that they succeed, and then to see what they call.

The mutant is only in the memory of the process that runs its tests: no file is changed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import tomllib
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from made import Module, Mutant, path_of  # noqa: E402 - this folder is no installed package

OPTIONS = ["-q", "--tb=line", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-m", "not slow"]
OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # what is there already
CALLS = "calls"
MEMORY = 8 << 30
"""Bytes of addresses that a mutant may have: a loop without an end is not to take the machine."""


@dataclass
class Row:
    """A module of the table, and what came of its mutants."""

    name: str
    goal: float
    tests: list[str]
    slow: list[str] = field(default_factory=list)
    """Of the tests, those that take seconds: left out."""
    is_sound: bool = False
    """Its tests succeed without a mutant."""
    callers: dict[str, set[str]] = field(default_factory=dict, repr=False)
    """By the name of a function, the tests that call one of that name: no other could notice what is wrong in it."""
    seconds: dict[str, float] = field(default_factory=dict, repr=False)
    """What each test takes."""
    possible: int = 0
    killed: int = 0
    equivalent: int = 0
    survived: list[Mutant] = field(default_factory=list)

    @property
    def score(self) -> float:
        judged = self.killed + len(self.survived)
        return 100 * self.killed / judged if judged else 100

    def interval(self) -> tuple[float, float]:
        """Where the score of all its mutants is, with 95 % confidence (Wilson)."""
        n, z = self.killed + len(self.survived), 1.96
        if not n:
            return 0, 100
        part = self.killed / n
        middle = (part + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(part * (1 - part) / n + z * z / (4 * n * n))
        return 100 * (middle - half), 100 * (middle + half)

    def judges(self, mutant: Mutant | None) -> set[str] | None:
        """The tests that are run with a mutant; None: all, since it is outside of all functions or no test calls it."""
        return self.callers.get(mutant.where) if mutant else None

    def limit(self, mutant: Mutant | None) -> float:
        """Seconds that they may take, on a busy machine."""
        if mutant is None:
            return 400
        judges = self.judges(mutant)
        return 30 + 5 * sum(self.seconds.values() if judges is None else map(self.seconds.__getitem__, judges))


class Calls:
    """Notes which functions of a module each test calls, and how long that takes."""

    def __init__(self, row: Row) -> None:
        self._path = str(path_of(row.name))
        self._outside: set[CodeType] = set()  # of all tests: as the module is imported
        self._codes = self._outside
        self._tests: dict[str, tuple[float, set[CodeType]]] = {}
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code.co_filename == self._path:
            self._codes.add(frame.f_code)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._codes, began = set(), time.monotonic()
        result = yield
        self._tests[item.nodeid] = (time.monotonic() - began, self._codes)
        self._codes = self._outside
        return result  # type: ignore[return-value]

    def write(self, path: Path) -> None:
        outside, callers = names(self._outside), {}
        for test, (_, codes) in self._tests.items():
            for name in names(codes) - outside:
                callers.setdefault(name, []).append(test)
        seconds = {test: seconds for test, (seconds, _) in self._tests.items()}
        path.write_text(json.dumps({"callers": callers, "seconds": seconds}))


def names(codes: set[CodeType]) -> set[str]:
    """Of the functions, and of those that they are defined in."""
    return {name for code in codes for name in code.co_qualname.split(".")}


class Only:
    """Lets pytest run these tests alone."""

    def __init__(self, tests: set[str]) -> None:
        self._tests = tests

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self._tests]


class Wrong(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutant in its module's place."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = self.name_of(mutant)
        self._path, self._source = str(path_of(mutant.module)), mutant.source

    @staticmethod
    def name_of(mutant: Mutant) -> str:
        return "node_ipc." + mutant.module.replace("/", ".")

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self._path, loader=self) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, self._path, "exec"), module.__dict__)


Task = tuple[Row, Mutant | None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="of the table; all of them if none is named")
    parser.add_argument("--minutes", type=float, default=55)
    parser.add_argument("--mutants", type=int, default=1500, help="of all modules together")
    parser.add_argument("--seed", type=int, default=0, help="chooses them")
    parser.add_argument("--line", type=int, action="append", help="only the mutants of this one, which may be repeated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--result", type=Path)
    given = parser.parse_args()
    ends = time.monotonic() + given.minutes * 60
    os.environ["NODE_IPC_PURE"] = "1"  # else the native twin, if it is here, would run in place of what is made wrong
    table = tomllib.loads((HERE / "table.toml").read_text("utf-8"))["module"]
    rows = [Row(**each) for each in table if not given.modules or each["name"] in given.modules]
    for name in ("hypothesis", "asyncio", "msgspec"):
        importlib.import_module(name)  # once, for all the processes that are forked; of node_ipc nothing
    broken: list[str] = []
    for (row, _), code in run(deque((row, None) for row in rows), given.jobs, ends):
        if code:
            broken.append(row.name)
            print(f"{row.name}: its tests fail without a mutant, exit code {code}", flush=True)
        row.is_sound = not code
    sound = [row for row in rows if row.is_sound]
    for _ in run(deque((row, None) for row in sound), given.jobs, ends):
        pass  # what takes long while it is looked at may fail
    tasks = sampled(sound, given.mutants, given.seed, given.line)
    wanted = len(tasks)
    for (row, mutant), code in run(tasks, given.jobs, ends):
        assert mutant is not None
        if code:
            row.killed += 1
        else:
            row.survived.append(mutant)
            where = f"{path_of(row.name)}:{mutant.line}: in {mutant.where or 'the module'}"
            print(f"{where}: {mutant.operator}\n{mutant.diff}", flush=True)
    return judge(rows, broken, wanted, given)


def sampled(rows: list[Row], count: int, seed: int, lines: list[int] | None) -> deque[Task]:
    """As many of every module, or all that it has, by turns: what the time does not suffice for is of each alike."""
    listed = tomllib.loads((HERE / "equivalent.toml").read_text("utf-8"))["mutant"]
    equivalent = {(each["module"], each["where"], each["was"], each["becomes"]) for each in listed}
    turns: list[tuple[int, Task]] = []
    for row in rows:
        module = Module(row.name)
        numbers = random.Random(f"{seed} {row.name}").sample(range(len(module)), len(module))
        chosen: list[Mutant] = []
        while numbers and len(chosen) < math.ceil(count / len(rows)):
            mutant = module.mutant(numbers.pop())
            if mutant and lines and mutant.line not in lines:
                continue
            if mutant and (row.name, mutant.where, *mutant.change) in equivalent:
                row.equivalent += 1
            elif mutant:
                chosen.append(mutant)
        row.possible = len(module)
        turns += ((turn, (row, mutant)) for turn, mutant in enumerate(chosen))
    return deque(task for _, task in sorted(turns, key=lambda each: each[0]))


def run(tasks: deque[Task], jobs: int, ends: float) -> Iterator[tuple[Task, int]]:
    """Each task with its exit code, until the time is over."""
    running: dict[int, tuple[Task, float, str]] = {}
    while running or (tasks and time.monotonic() < ends):
        while tasks and len(running) < jobs and time.monotonic() < ends:
            task = tasks.popleft()
            folder = tempfile.mkdtemp(prefix="m-")  # short: paths of sockets are made in it
            running[start(*task, folder)] = (task, time.monotonic(), folder)
        now = time.monotonic()
        for pid, (task, began, _) in running.items():
            if now > began + task[0].limit(task[1]):
                os.killpg(pid, signal.SIGKILL)
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            task, _, folder = running.pop(pid)
            with contextlib.suppress(ProcessLookupError):  # what its tests started and did not end
                os.killpg(pid, signal.SIGKILL)
            if (calls := Path(folder, CALLS)).exists():
                found = json.loads(calls.read_text())
                task[0].callers = {name: set(tests) for name, tests in found["callers"].items()}
                task[0].seconds = found["seconds"]
            shutil.rmtree(folder, ignore_errors=True)
            yield task, os.waitstatus_to_exitcode(status)
        else:
            time.sleep(0.02)


def start(row: Row, mutant: Mutant | None, folder: str) -> int:
    """A process, leader of its group, that runs the tests of a module with the mutant in the module's place."""
    if pid := os.fork():
        with contextlib.suppress(OSError):  # it has done so itself
            os.setpgid(pid, pid)
        return pid
    code, kept = 70, os.dup(1)
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if mutant:
            sys.meta_path.insert(0, Wrong(mutant))
            importlib.import_module(Wrong.name_of(mutant))  # now: pytest would put its own importer before this one
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        output = os.open(os.path.join(folder, "output"), os.O_CREAT | os.O_WRONLY)
        os.dup2(output, 1)
        os.dup2(output, 2)
        judges, tests = row.judges(mutant), row.tests
        if judges is not None:
            files = {file_of(test) for test in judges}
            tests = [each for each in tests if file_of(each) in files]
        calls = Calls(row) if row.is_sound and not mutant else None
        plugins = [calls] if calls else [Only(judges)] if judges is not None else []
        first = [] if calls else ["-x"]
        code = int(pytest.main([*first, *OPTIONS, *(f"--deselect={each}" for each in row.slow), *tests], plugins))
        sys.stdout.flush()
        if calls:
            calls.write(Path(folder, CALLS))
        if code and not (mutant or calls):
            os.write(kept, Path(folder, "output").read_bytes()[-3000:])
    except BaseException:
        if not mutant:
            os.write(kept, traceback.format_exc().encode())
    finally:
        os._exit(code)


def file_of(test: str) -> str:
    return test.partition("::")[0]


def judge(rows: list[Row], broken: list[str], wanted: int, given: argparse.Namespace) -> int:
    print(f"\n{'module':20} {'goal':>4} {'score':>6}   95 % between  noticed  survived  equivalent  of all")
    for row in rows:
        low, high = row.interval()
        print(
            f"{row.name:20} {row.goal:4.0f} {row.score:6.1f}   {low:5.1f} {high:5.1f}   {row.killed:7}"
            f" {len(row.survived):9} {row.equivalent:11} {row.possible:7}"
        )
    total = Row("all", 80, [], killed=sum(row.killed for row in rows))
    total.survived = [each for row in rows for each in row.survived]
    tried = total.killed + len(total.survived)
    low, high = total.interval()
    print(
        f"{tried} mutants of {wanted}, seed {given.seed}: {total.score:.1f} % noticed (95 %: {low:.1f} to {high:.1f})"
    )
    below = [row.name for row in rows if row.score < row.goal]
    print(f"below their goal: {', '.join(below) or 'none'}")
    if given.result:
        given.result.parent.mkdir(parents=True, exist_ok=True)
        modules = {row.name: {**asdict(row), "score": row.score, "interval": row.interval()} for row in rows}
        for module in modules.values():
            del module["callers"], module["seconds"]
            for mutant in module["survived"]:
                del mutant["source"]
        summary = {"seed": given.seed, "tried": tried, "wanted": wanted, "score": total.score, "modules": modules}
        given.result.write_text(json.dumps(summary, indent=1) + "\n")
    return int(bool(broken or below) or tried * 2 < wanted)


if __name__ == "__main__":
    sys.exit(main())
