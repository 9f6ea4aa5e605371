"""One process of a run: started on its core, spoken to in lines, and what it used of the machine."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Child", "RunFailed", "on_cores"]


class RunFailed(Exception):
    """A run that does not count: a message was lost, a process ended or took too long."""


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """What is started inside may run on these cores only, all its threads included."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Child:
    """A server or client process; a context manager that ends it."""

    def __init__(self, command: list[str], core: int, environment: dict[str, str]) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._buffer = b""
        with on_cores({core}):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, env=environment
            )
        assert self._process.stdin and self._process.stdout
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout.fileno()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        assert self._process.stdout
        self._process.stdout.close()
        self._said.close()

    def line(self, seconds: float) -> dict[str, Any]:
        """The next line of JSON.

        Raises:
            RunFailed: when it says ``error``, when the process ended, or after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            if not select.select([self._stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise RunFailed(f"nothing came within {seconds:g} s{self._last_words()}")
            data = os.read(self._stdout, 1 << 20)
            if not data:
                raise RunFailed(f"the process ended{self._last_words()}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise RunFailed(said["error"])
        return said

    def go(self) -> None:
        """Answer a client that is ready."""
        self._stdin.write(b"go\n")
        self._stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU time of all its threads so far, in user and kernel; clock_getcpuclockid(3) makes the number so."""
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def rss_bytes(self) -> int:
        """Memory in use now."""
        with open(f"/proc/{self._process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _last_words(self) -> str:
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").strip().splitlines()
        return f": {words[-1]}" if words else ""
