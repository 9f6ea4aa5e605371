"""Every test can fail by what it looks at: it asserts something itself, or by what it calls or asks for.

A test that only runs what it is about says less than its name: "a broadcast before the start reaches nobody" has to
look who was reached. What it calls counts where it is written in the tests: in its module or one that this imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
RAISING = {"raises", "fail", "warns", "deprecated_call", "timeout", "wait_for", "validate", "replay"}
"""What ends a test by being called: of pytest, of asyncio where it waits for something with a deadline, and others."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def module(path: Path) -> Module:
    return Module(path)


class Module:
    """The functions of one file of the tests, methods and fixtures too, by name, and what it imports."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text("utf-8"))
        self.functions: dict[str, list[Function]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                self.functions.setdefault(node.name, []).append(node)

    @cached_property
    def _imported(self) -> list[Module]:
        return list(dict.fromkeys(self._imports()))

    def _imports(self) -> Iterator[Module]:
        for node in self.tree.body:
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            for name in names:
                for folder in (TESTS, TESTS / "native", TESTS / "syscalls", self.path.parent):
                    if (path := folder / f"{name.replace('.', '/')}.py").exists():
                        yield module(path)

    @cached_property
    def reach(self) -> list[Module]:
        """Itself, and what it imports of the tests, and what those import."""
        found = {self: None}
        waiting = [self]
        while waiting:
            new = [each for each in waiting.pop()._imported if each not in found]
            found |= dict.fromkeys(new)
            waiting += new
        return list(found)


def silent_tests(paths: list[Path]) -> list[str]:
    """Those in these files that look at nothing."""
    modules = list(dict.fromkeys(each for path in paths for each in module(path).reach))
    looking = {
        each: {name for name, found in each.functions.items() if any(read(one)[0] for one in found)} for each in modules
    }
    size = 0
    while size != (size := sum(map(len, looking.values()))):
        for each in modules:
            known = set().union(*(looking[other] for other in each.reach))
            looking[each] |= {
                name for name, found in each.functions.items() if any(read(one)[1] & known for one in found)
            }
    return [
        f"{each.path.relative_to(TESTS.parent)}::{name}"
        for each in map(module, paths)
        for name in each.functions
        if name.startswith("test_") and name not in looking[each]
    ]


@cache
def read(function: Function) -> tuple[bool, frozenset[str]]:
    """Whether it asserts; and the names that it calls, or hands on, or has as fixtures."""
    nodes = list(ast.walk(function))
    names = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.func.attr for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    return any(map(is_assertion, nodes)), frozenset(names - {function.name})


def is_assertion(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.Raise):
        return isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == "AssertionError"
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in RAISING or any(each.arg == "check" for each in node.keywords)  # a program's end is looked at


@pytest.mark.row(52)
def test_every_test_looks_at_something() -> None:
    assert silent_tests(sorted(TESTS.rglob("test_*.py"))) == []


@pytest.mark.row(52)
@pytest.mark.parametrize(
    ("source", "silent"),
    [
        ("def test_a():\n    assert 1", []),
        ("def test_a():\n    run()", ["test_a"]),
        ("def run():\n    assert 1\ndef test_a():\n    run()", []),
        ("class Bench:\n    def run(self):\n        assert 1\ndef test_a(bench):\n    bench.run()", []),
        ("@fixture\ndef bench():\n    yield 1\n    assert 1\ndef test_a(bench):\n    pass", []),
        ("@fixture\ndef bench():\n    yield 1\ndef test_a(bench):\n    bench.run()", ["test_a"]),
        ("def test_a():\n    with pytest.raises(ValueError):\n        run()", []),
        ("def run():\n    raise AssertionError('no')\nasync def test_a():\n    await run()", []),
        ("def run():\n    run()\ndef test_a():\n    run()", ["test_a"]),
    ],
)
def test_what_looking_is(source: str, silent: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test_made_up.py"
    path.write_text(source)
    monkeypatch.setitem(globals(), "TESTS", tmp_path)
    assert [name.partition("::")[2] for name in silent_tests([path])] == silent
