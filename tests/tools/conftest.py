"""Fixtures of the command line's tests: a socket root of the test's own, and commands as processes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest

from processes import Program

Command = Callable[..., Program]


@pytest.fixture
def root() -> Iterator[str]:
    """A short directory for sockets: pytest's own are too long for a socket's path."""
    path = tempfile.mkdtemp(prefix="ipc-")
    yield f"{path}/"
    shutil.rmtree(path)


@pytest.fixture
def node_ipc(root: str) -> Iterator[Command]:
    """Starts ``node-ipc COMMAND …`` with the test's socket root, which must be empty at the end."""
    started: list[Program] = []

    def start(*arguments: str, **environment: str) -> Program:
        started.append(Program.python("-m", "node_ipc", *arguments, "-o", f"socket_root={root}", **environment))
        return started[-1]

    yield start
    for program in started:
        program.close()
    assert os.listdir(root) == []
