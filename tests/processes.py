"""Programs as processes of their own, and the lines they print."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from never_shown import look

DEADLINE = 60.0
"""Seconds that anything may take; a test machine may be busy."""


def wait_until_it_sleeps(pid: int) -> None:
    """Until this process waits in the kernel for something to come; on Linux, where that can be seen.

    It sleeps for moments in other places, too (a lock of the kernel, a full pipe): it has to have slept from one look
    to the next, and then it was not switched in between.
    """
    status, before = Path(f"/proc/{pid}/status"), ""
    deadline = time.monotonic() + DEADLINE
    while (now := status.read_text().partition("\nState:\t")[2]) != before or not now.startswith("S"):
        assert time.monotonic() < deadline, f"it never sleeps:\n{now}"
        before = now
        time.sleep(0.02)


def until(condition: Callable[[], Any], seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def listens(path: str | Path) -> bool:
    """Whether somebody can connect: the file of a socket is there a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


class Program:
    """A running process; its standard error counts as output, too."""

    folder: Path | None = None
    """Where it runs; None: where the tests do."""
    group: int | None = None
    """0: its own, so that what it starts can be ended with it."""

    def __init__(self, *command: str, stdin: int = subprocess.DEVNULL, **environment: str) -> None:
        self.lines: list[str] = []
        self._name = " ".join(command)
        self._new: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            cwd=self.folder,
            process_group=self.group,
            env={**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "error", **environment},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @classmethod
    def python(cls, *arguments: str, **environment: str) -> Program:
        """This Python with these arguments, its output not held back."""
        return cls(sys.executable, "-u", *arguments, stdin=subprocess.DEVNULL, **environment)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            look(line, f"what {self._name} says")
            self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def wait_for(self, text: str) -> str:
        """The next line with ``text`` in it."""
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                line = self._new.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self._name} did not print {text!r}:\n{self.printed}") from None
            if line is None:
                self._new.put(None)
                raise AssertionError(f"{self._name} ended without printing {text!r}:\n{self.printed}")
            self.lines.append(line)
            if text in line:
                return line

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def ends(self, code: int = 0) -> list[str]:
        """Wait until it ends by itself, with this exit code; all the lines it printed."""
        while (line := self._next_line()) is not None:
            self.lines.append(line)
        self._reader.join()
        ended = self.process.wait(DEADLINE)
        assert ended == code, f"{self._name} ended with {ended}:\n{self.printed}"
        return self.lines

    def _next_line(self) -> str | None:
        try:
            return self._new.get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f"{self._name} does not end:\n{self.printed}") from None

    def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        self.process.kill()
        self._reader.join()
        self.process.wait()

    def close(self) -> None:
        """After a test: whatever still runs ends."""
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def printed(self) -> str:
        return "\n".join(self.lines)
