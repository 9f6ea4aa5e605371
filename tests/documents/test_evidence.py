"""``docs/evidence``: every number that tests bear is a promise, and the page says what a run was, good or bad."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from .pages import DOCS, ROOT

RUN = """<testsuites><testsuite>
<testcase classname="tests.interop.test_streams" name="test_x[both-python_serves_v9-unix]"/>
<testcase classname="tests.interop.test_streams" name="test_x[both-v9_serves_python-unix]"><failure/></testcase>
<testcase classname="tests.interop.test_streams" name="test_x[python_serves_python-unix]"/>
<testcase classname="tests.interop.test_tls" name="test_y[mutual-python_serves_v14]"><skipped/></testcase>
<testcase classname="tests.reliability.test_package" name="test_two_builds_are_the_same_and_hold_what_they_should"/>
<testcase classname="tests.core.test_session" name="test_none"><error/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def made() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "evidence" / "make.py"))


def numbers() -> set[int]:
    parts = tomllib.loads((DOCS / "evidence" / "promises.toml").read_text("utf-8"))["part"]
    found = [int(key) for part in parts for key in part if key != "title"]
    assert len(found) == len({*found})
    return {*found}


def test_each_number_in_the_tests_is_a_promise(made: dict[str, Any]) -> None:
    shown = made["marked"]()
    assert set(shown) <= numbers() and len(shown) > 50
    assert ("tests/reliability/test_package.py", "test_two_builds_are_the_same_and_hold_what_they_should") in shown[53]


BUS = tomllib.loads((DOCS / "evidence" / "bus.toml").read_text("utf-8"))


@pytest.mark.parametrize("row", BUS)
def test_each_row_of_a_bus_is_shown_by_tests_with_every_engine_that_has_it(row: str) -> None:
    tests = BUS[row]
    assert tests.get("engines") or (tests["some"] and tests["why"])
    for where in ("memory", "engines", "some"):
        for name in tests.get(where, ()):
            module, _, test = name.partition("::")
            text = (ROOT / "tests" / module).read_text("utf-8")
            found = re.search(rf"^(?:async )?def {test}\(([^)]*)\)", text, re.M)
            assert found is not None, name
            if where == "engines":
                assert "broker: Broker" in found[1] and "params=list(brokers.BROKERS)" in text, name


def test_each_threat_is_shown_by_tests_that_exist() -> None:
    text = (DOCS / "topics" / "threats.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| (?!how \|)", line)]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+|\*)`", row.split(" | ")[-1])
        assert named, row
        for module, test in named:
            source = (ROOT / "tests" / module).read_text("utf-8")
            assert re.search(rf"^(?:async )?def {'test_' if test == '*' else test + '[(]'}", source, re.M), (
                module,
                test,
            )


def test_the_page_says_what_a_run_was(made: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run.xml").write_text(RUN, "utf-8")
    page = made["page"]([*made["cases"](tmp_path / "run.xml")])
    assert "3 cases passed, 2 failed, 1 were skipped" in page
    assert "| Unix socket | client | 0 of 1 | not run | not run |" in page
    assert "| Unix socket | server | 1 of 1 | not run | not run |" in page
    assert "| TLS | server | not run | not run | 0 of 1 |" in page
    assert "| 53 | The package itself is no risk | 1 passed |" in page
    assert "| 19 | A socket is never reachable with a wider mode than it will have | not in this run |" in page


def test_the_page_of_the_last_run_is_there_and_names_tests_that_exist() -> None:
    text = (DOCS / "evidence" / "last-run.md").read_text("utf-8")
    assert all(f"\n| {number} | " in text for number in numbers())
    assert all((ROOT / "tests" / name).is_file() for name in text.split("`") if name.endswith(".py"))
