"""The tests in this directory run on Windows only: `.ci/run-windows-tests` runs them under wine."""

import sys

import pytest

collect_ignore_glob = [] if sys.platform == "win32" else ["*"]


if sys.platform == "win32":
    import itertools
    import os

    from .node_peer import PACKAGES

    _numbers = itertools.count()

    @pytest.fixture
    def path() -> str:
        r"""A pipe's path that nobody else uses."""
        return rf"\\.\pipe\tmp-app.test-{os.getpid()}-{next(_numbers)}"

    @pytest.fixture(params=PACKAGES)
    def version(request: pytest.FixtureRequest) -> str:
        """Each real node-ipc in turn."""
        name: str = request.param
        return name
