"""A test that is marked ``own_process`` runs in another process, and what fails or is skipped there fails here."""

from __future__ import annotations

import os
from pathlib import Path

from inner_pytest import run_pytest

TESTS = """
import os, pytest
pytestmark = pytest.mark.own_process
def test_elsewhere(tmp_path): assert str(os.getppid()) != os.environ["ABOVE"]
async def test_elsewhere_with_a_loop(): assert str(os.getppid()) != os.environ["ABOVE"]
def test_fails(): assert 1 == 2
def test_is_skipped(): pytest.skip("for no reason")
"""
SETTINGS = """
[pytest]
asyncio_mode = auto
markers = own_process
"""


def test_what_fails_or_is_skipped_in_its_own_process_fails_here(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    above = str(os.getpid())
    done = run_pytest(tmp_path, "-p", "own_process", "test_it.py", paths=[Path(__file__).parent], ABOVE=above)
    assert "2 failed, 2 passed" in done.stdout
    assert "assert 1 == 2" in done.stdout
    assert "1 skipped" in done.stdout
