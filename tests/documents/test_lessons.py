"""The tutorials, played from an empty folder to their end: what they say is printed is printed, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.conftest import in_ci
from interop.install import NodeMissing, install_all

from .lesson import played


@pytest.fixture
def root() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ipc-") as folder:
        yield f"{folder}/"


def test_two_processes(tmp_path: Path, root: str) -> None:
    with played("docs/tutorials/two-processes.md", tmp_path, root):
        pass


def test_a_daemon(tmp_path: Path, root: str) -> None:
    with played("docs/tutorials/daemon.md", tmp_path, root) as terminals:
        daemon = terminals["Terminal 1"].program
        assert daemon is not None and daemon.process.wait(60) == 0


@pytest.mark.timeout(300)
def test_node_and_python(tmp_path: Path, root: str) -> None:
    try:
        peer = install_all()["v9"]
    except NodeMissing as error:
        (pytest.fail if in_ci() else pytest.skip)(f"real node-ipc is not here: {error}")
    with played("docs/tutorials/node-and-python.md", tmp_path, root, peer.folder / "node_modules"):
        pass
