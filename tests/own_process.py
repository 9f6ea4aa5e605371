"""Runs a test that looks at memory, marked ``own_process``, in a process of its own.

What a process holds that has run ten thousand tests depends on them: free memory of theirs is taken, or is not. Also
glibc gives large blocks back at once only until the first of them is free: then it keeps those up to that size, and how
much of that is left in the end is luck. Here it gives all from 128 KiB up back at once (mallopt(3), M_MMAP_THRESHOLD).
"""

from __future__ import annotations

import os
import tempfile

import pytest

from inner_pytest import run_pytest

__all__ = ["pytest_pyfunc_call"]

INSIDE = "NODE_IPC_OWN_PROCESS"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    if pyfuncitem.get_closest_marker("own_process") is None or INSIDE in os.environ:
        return None
    folder = pyfuncitem.config.rootpath
    surroundings = {INSIDE: "yes", "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
    with tempfile.TemporaryDirectory() as base:
        done = run_pytest(folder, f"--basetemp={base}", pyfuncitem.nodeid, paths=(), **surroundings)
    if done.returncode or "1 passed" not in done.stdout:
        pytest.fail(f"in a process of its own:\n{done.stdout}{done.stderr}", pytrace=False)
    return True
