"""The tables of ``mutants/`` say what is there: modules, the tests that are to notice, lines of the sources."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src" / "node_ipc"
PROMISED = {"wire/framing", "wire/costs", "core/incoming", "core/outgoing", "core/requests", "net/unix"}
"""Framing, limits, the session's halves, requests, local sockets: of their mistakes nine of ten are noticed."""


def read(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "mutants" / name).read_text("utf-8"))


TABLE = read("table.toml")["module"]
EQUIVALENT = read("equivalent.toml")["mutant"]


@pytest.mark.row(52)
@pytest.mark.parametrize("row", TABLE, ids=[row["name"] for row in TABLE])
def test_a_row_names_a_module_and_tests_that_are_there(row: dict[str, Any]) -> None:
    assert (SOURCES / f"{row['name']}.py").is_file()
    assert row["goal"] == 90 or (row["goal"] == 80 and row["name"] not in PROMISED)
    files = {test.partition("::")[0] for test in row["tests"]}
    assert files and all((ROOT / path).is_file() for path in files)
    for test in [*row["tests"], *row.get("slow", [])]:
        path, _, name = test.partition("::")
        if not name:
            continue
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert path in files and name in functions


@pytest.mark.row(52)
def test_each_module_has_one_row_and_the_promised_ones_have_one() -> None:
    listed = [row["name"] for row in TABLE]
    assert len(set(listed)) == len(listed)
    assert set(listed) >= PROMISED


@pytest.mark.row(52)
def test_what_is_listed_as_equivalent_is_a_line_of_its_module_and_has_a_reason() -> None:
    for mutant in EQUIVALENT:
        assert set(mutant) == {"module", "where", "was", "becomes", "reason"}
        source = (SOURCES / f"{mutant['module']}.py").read_text("utf-8")
        assert mutant["was"] in " ".join(line.strip() for line in function(source, mutant["where"])), mutant
        assert mutant["was"] != mutant["becomes"] and len(mutant["reason"].split()) > 3, mutant
        assert mutant["module"] in {row["name"] for row in TABLE}


def function(source: str, name: str) -> Iterator[str]:
    """Its lines, of each function with this name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            yield from source.splitlines()[node.lineno - 1 : node.end_lineno]
    if not name:
        yield from source.splitlines()


def test_no_mutant_is_listed_twice() -> None:
    keys = [(mutant["module"], mutant["where"], mutant["was"], mutant["becomes"]) for mutant in EQUIVALENT]
    assert len(set(keys)) == len(keys)
