"""The watch over secrets that tests/never_shown.py keeps sees each way in which one can get out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import never_shown
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
TEST = """
import logging, sys, pytest, node_ipc.config.logs
from processes import Program
def test_it(capsys):
    secret = "never" + "shown"
    {}
"""


def outcome(code: str, folder: Path) -> str:
    (folder / "test_it.py").write_text(TEST.format(code))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "never_shown", "-p", "no:cacheprovider", str(folder)]
    surroundings = {**os.environ, "PYTHONPATH": str(HERE)}
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=folder).stdout


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_that_is_shown_fails_its_test(way: str, tmp_path: Path) -> None:
    said = outcome(WAYS[way], tmp_path)
    assert "1 failed" in said and "has a secret in it" in said


@pytest.mark.parametrize("way", NOT)
def test_other_tests_pass(way: str, tmp_path: Path) -> None:
    assert "1 passed" in outcome(NOT[way], tmp_path)


def test_this_run_is_watched(request: pytest.FixtureRequest) -> None:
    hooks = request.config.hook.pytest_runtest_makereport.get_hookimpls()
    assert any(hook.function.__module__ == never_shown.__name__ for hook in hooks)


@pytest.mark.parametrize("module", ["net/test_tls.py", "config/test_tls_options.py", "cluster/test_nats.py"])
def test_the_secrets_of_the_tests_can_be_told(module: str) -> None:
    assert NEVER_SHOWN in (HERE / module).read_text("utf-8")
