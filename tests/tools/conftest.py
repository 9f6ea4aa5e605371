"""Fixtures of the command line's tests: a socket root of the test's own, and commands as processes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from node_ipc.tools import doctor, emit
from processes import Program, wait_until_it_sleeps

Command = Callable[..., Program]


@pytest.fixture
def root() -> Iterator[str]:
    """A short directory for sockets: pytest's own are too long for a socket's path."""
    path = tempfile.mkdtemp(prefix="ipc-")
    yield f"{path}/"
    shutil.rmtree(path)


@pytest.fixture
def doctor_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that answer as soon as a busy machine lets them: doctor, in this process, waits for no longer."""
    monkeypatch.setattr(doctor, "ANSWER_SECONDS", 20.0)


@pytest.fixture
def looked_at_asleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """For a server's process: commands in this one look at it when it sleeps, and has read what has come.

    Where it waits for a processor instead it is busy, they say, and on a busy machine they are right.
    """

    def when_asleep(pid: int, look: Callable[..., Any], *arguments: Any) -> Any:
        wait_until_it_sleeps(pid)
        return look(*arguments)

    def of(pid: int) -> None:
        for module, name in ((doctor, "silence"), (doctor, "standstill"), (emit, "silence")):
            monkeypatch.setattr(module, name, partial(when_asleep, pid, getattr(module, name)))

    return of


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
