"""The watch over secrets that tests/never_shown.py keeps sees each way in which one can get out."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

import never_shown
from inner_pytest import run_pytest
from never_shown import NEVER_SHOWN

HERE = Path(__file__).parent
WAYS = {
    "printed": "print(secret)",
    "printed to stderr": "print(secret, file=sys.stderr)",
    "printed and read by the test": "print(secret); capsys.readouterr()",
    "logged": "logging.getLogger('any').error('x %s', secret)",
    "an attribute of a record": "logging.getLogger('any').error('x', extra={'why': [secret]})",
    "in a traceback": "node_ipc.config.logs.logger.failure('x', ValueError(secret), stderr=False)",
    "said by a child": "Program.python('-c', f'print({secret!r})').ends()",
    "a key": "print('-----BEGIN PRIVATE KEY-----')",
}
NOT = {"nothing": "print('all is well')", "raised and caught": "pytest.raises(ValueError, int, secret)"}
TESTS = """
import logging, sys, pytest, node_ipc.config.logs
from processes import Program
@pytest.fixture
def secret(): return "never" + "shown"
"""
TEST = """
def test_{number}(capsys, secret):
    {code}
"""


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Why the test of each failed, by one pytest that is watched; empty for those that passed."""
    folder, codes = tmp_path_factory.mktemp("watched"), WAYS | NOT
    tests = (TEST.format(number=number, code=code) for number, code in enumerate(codes.values()))
    (folder / "test_it.py").write_text(TESTS + "".join(tests))
    run_pytest(folder, "-p", "never_shown", "--junitxml=run.xml", "test_it.py", paths=[HERE])
    found: dict[str, str] = {}
    for case in ElementTree.parse(folder / "run.xml").iter("testcase"):
        name = list(codes)[int(case.get("name", "").removeprefix("test_"))]
        wrong = [*case.iter("failure"), *case.iter("error")]
        found[name] = found.get(name, "") + "".join(each.get("message", "") for each in wrong)
    assert [*found] == [*codes]
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_that_is_shown_fails_its_test(way: str, failures: dict[str, str]) -> None:
    assert "has a secret in it" in failures[way]


@pytest.mark.parametrize("way", NOT)
def test_other_tests_pass(way: str, failures: dict[str, str]) -> None:
    assert failures[way] == ""


def test_this_run_is_watched(request: pytest.FixtureRequest) -> None:
    hooks = request.config.hook.pytest_runtest_makereport.get_hookimpls()
    assert any(hook.function.__module__ == never_shown.__name__ for hook in hooks)


@pytest.mark.parametrize("module", ["net/test_tls.py", "config/test_tls_options.py", "cluster/test_nats.py"])
def test_the_secrets_of_the_tests_can_be_told(module: str) -> None:
    assert NEVER_SHOWN in (HERE / module).read_text("utf-8")
