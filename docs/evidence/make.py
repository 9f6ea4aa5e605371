"""Makes the page ``last-run.md`` from what pytest wrote: ``python docs/evidence/make.py RUN.xml [RUN.xml ...]``.

A run is written by ``pytest --junitxml=RUN.xml``; ``.ci/run`` does so, and makes the page before it builds the site.
Which test shows which promise is read off the marks in the tests (``@pytest.mark.row(19)``), what became of it off the
run. What is not in the run is said to be missing, never to have passed.
"""

from __future__ import annotations

import ast
import datetime
import os
import platform
import re
import subprocess  # nosec B404 # fixed commands
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree  # nosec B405 # reads what pytest wrote here

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = HERE / "last-run.md"

VERSIONS = {"v9": "9.2.1", "v10": "@achrinza 10.1.11", "v14": "14.0.0"}
TRANSPORTS = {"unix": "Unix socket", "tcp": "TCP", "tls": "TLS", "udp4": "UDP over IPv4", "udp6": "UDP over IPv6"}


@dataclass(frozen=True)
class Case:
    """One test of a run, with its parameters."""

    module: str
    function: str
    parameters: str
    outcome: str


# ---- the run


def cases(path: Path) -> Iterator[Case]:
    for case in ElementTree.parse(path).iter("testcase"):  # nosec B314 # pytest's own, written here
        module = case.get("classname", "").replace(".", "/") + ".py"
        function, _, parameters = case.get("name", "").partition("[")
        yield Case(module, function, parameters.removesuffix("]"), outcome(case))


def outcome(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


# ---- which test shows what


def marked() -> dict[int, set[tuple[str, str]]]:
    """For each promise the tests that are marked with its number, as module and function."""
    found: dict[int, set[tuple[str, str]]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        module = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text("utf-8"))
        whole = {n for node in tree.body if isinstance(node, ast.Assign) and _is_pytestmark(node) for n in _rows(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for number in whole | {n for mark in node.decorator_list for n in _rows(mark)}:
                    found.setdefault(number, set()).add((module, node.name))
    return found


def _is_pytestmark(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)


def _rows(node: ast.AST) -> Iterator[int]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "row":
            for argument in call.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, int):
                    yield argument.value


# ---- the page


def page(run: list[Case]) -> str:
    counts = Counter(case.outcome for case in run)
    lines = [
        "<!-- Made by docs/evidence/make.py from a run of the tests. -->",
        "",
        "# The last run",
        "",
        "What became of each promise and of each pairing with npm's node-ipc when the tests were last run: you see",
        "which test to read, and what was not run.",
        "",
        f"{counts['passed']:,} cases passed, {counts['failed']:,} failed, {counts['skipped']:,} were skipped,",
        f"on {today()}: {platform.system()} on {platform.machine()}, Python {platform.python_version()},",
        f"commit `{commit()}`.",
        "",
        "## With npm's node-ipc",
        "",
        "Cases that passed with each version, of those that ran.",
        "",
        *interop(run),
        "",
        "Named pipes are run by a Windows Python, apart from this run: see [Platforms](platforms.md).",
        "",
        *promises(run),
    ]
    return "\n".join(lines)


def today() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")


def commit() -> str:
    """What was tested: .ci/run says it, since what it tests is no repository."""
    if os.environ.get("TESTED_COMMIT"):
        return os.environ["TESTED_COMMIT"]
    command = ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]
    said = subprocess.run(command, capture_output=True, text=True)  # nosec B603 # a fixed command
    return said.stdout.strip() or "unknown"


def interop(run: list[Case]) -> list[str]:
    table: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    for case in run:
        pairing = re.search(r"(v\d+|python)_serves_(v\d+|python)", case.parameters)
        if not case.module.startswith("tests/interop/") or pairing is None or pairing[1] == pairing[2]:
            continue
        spoken = re.search(r"\b(unix|tcp|udp4|udp6)$", case.parameters)
        transport = spoken[1] if spoken else "tls" if case.module.endswith("test_tls.py") else ""
        if transport:
            role, version = ("server", pairing[2]) if pairing[1] == "python" else ("client", pairing[1])
            table.setdefault((transport, role), {}).setdefault(version, Counter())[case.outcome] += 1
    head = [f"| transport | Python is the | {' | '.join(VERSIONS.values())} |", "|---" * (2 + len(VERSIONS)) + "|"]
    return head + [
        f"| {TRANSPORTS[transport]} | {role} | {' | '.join(share(by.get(version)) for version in VERSIONS)} |"
        for (transport, role), by in sorted(
            table.items(), key=lambda item: ([*TRANSPORTS].index(item[0][0]), item[0][1])
        )
    ]


def share(outcomes: Counter[str] | None) -> str:
    return f"{outcomes['passed']} of {outcomes.total()}" if outcomes else "not run"


def promises(run: list[Case]) -> list[str]:
    shown = marked()
    by_test: dict[tuple[str, str], Counter[str]] = {}
    for case in run:
        by_test.setdefault((case.module, case.function), Counter())[case.outcome] += 1
    lines = []
    for part in tomllib.loads((HERE / "promises.toml").read_text("utf-8"))["part"]:
        lines += [f"## {part.pop('title')}", "", "| | promise | cases | shown by |", "|---|---|---|---|"]
        for number, sentence in part.items():
            tests = shown.get(int(number), set())
            outcomes = sum((by_test.get(test, Counter()) for test in tests), Counter())
            lines.append(f"| {number} | {sentence} | {verdict(tests, outcomes)} | {where(tests)} |")
        lines.append("")
    return lines


def verdict(tests: set[tuple[str, str]], outcomes: Counter[str]) -> str:
    if not tests:
        return "no test bears this number"
    if not outcomes:
        return "not in this run"
    others = "".join(f", {outcomes[what]} {what}" for what in ("failed", "skipped") if outcomes[what])
    return f"{outcomes['passed']} passed{others}"


def where(tests: set[tuple[str, str]]) -> str:
    modules = Counter(module for module, _ in tests)
    return ", ".join(f"`{module.removeprefix('tests/')}`" for module in sorted(modules)) or "–"


def main(arguments: list[str]) -> int:
    run = [case for name in arguments for case in cases(Path(name))]
    if not run:
        print("usage: python docs/evidence/make.py RUN.xml [RUN.xml ...]   (of pytest --junitxml)", file=sys.stderr)
        return 2
    PAGE.write_text(page(run), "utf-8")
    print(f"{PAGE.relative_to(ROOT)} written, of {len(run)} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
