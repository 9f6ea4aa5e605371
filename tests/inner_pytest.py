"""pytest as a process of its own, whose words a test reads: the same words wherever the outer run was started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

OUTER = ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS", "PYTEST_PLUGINS")
"""Where one of the first two is set pytest repeats each error whole in its summary; the others are the outer run's."""


def run_pytest(
    folder: Path, *arguments: str, paths: Sequence[str | Path], **environment: str
) -> subprocess.CompletedProcess[str]:
    """What pytest says of the tests in a folder. ``paths``: where Python looks for modules first."""
    surroundings = {name: value for name, value in os.environ.items() if name not in OUTER} | environment
    surroundings["PYTHONPATH"] = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True)
