"""Plays a lesson of the site as a reader does: files are written, commands typed, and what is printed is compared.

A block of code whose first line names a file (``# server.py``) is that file. A ``console`` block is what a terminal
shows, the one that its caption names: after ``$`` what the reader types, ``^C`` where Ctrl-C is pressed, and else what
the program prints, line by line and nothing besides. ``…`` stands for any text, alone on its line for any lines.
A program goes on when its block ends; what it prints later is in a later block of its terminal.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from processes import Program

from .pages import Block, blocks

MADE_BEFORE = re.compile(
    r"mkdir .* && cd .*|python3? -m venv \.venv|\. \.venv/bin/activate|pip install .*|npm install --ignore-scripts .*"
)
"""What the test has done in its own way: an empty folder, an environment with node-ipc, real node-ipc for Node."""

CUSTOMIZED = """
from node_ipc import Config

Config.socket_root.default = {root!r}
"""


class Terminal:
    """One window: at most one program at a time."""

    def __init__(self, folder: Path, surroundings: dict[str, str]) -> None:
        self._folder, self._surroundings = folder, surroundings
        self.program: Typed | None = None

    def show(self, block: Block) -> None:
        skipping = False
        for line in block.text.splitlines():
            if line.startswith("$ "):
                self.end()
                self._type(line[2:])
            elif line == "^C":
                self._running(block).interrupt_group()
            elif line == "…":
                skipping = True
            elif line:
                self._expect(block, line, skipping)
                skipping = False
        if skipping and self.program is not None:
            self.program.anything_more = True

    def _type(self, command: str) -> None:
        if not MADE_BEFORE.fullmatch(command):
            self.program = Typed(command, self._folder, self._surroundings)

    def _running(self, block: Block) -> Typed:
        assert self.program is not None, f"{block.place}: nothing runs in this terminal"
        return self.program

    def _expect(self, block: Block, wanted: str, skipping: bool) -> None:
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.split("…")))
        program = self._running(block)
        while True:
            printed = program.next_line()
            assert printed is not None, f"{block.place}: the program ended without {wanted!r}:\n{program.printed}"
            if pattern.fullmatch(printed):
                return
            assert skipping, f"{block.place}: not {wanted!r} but {printed!r} was printed:\n{program.printed}"

    def end(self) -> None:
        """Wait for the program's own end; there must be nothing more that the lesson does not show."""
        if self.program is not None:
            program, self.program = self.program, None
            program.ends_quietly()


class Typed(Program):
    """A command line, in a process group of its own as in a terminal."""

    group = 0
    anything_more = False

    def __init__(self, command: str, folder: Path, surroundings: dict[str, str]) -> None:
        self.folder = folder
        super().__init__("bash", "-c", command, stdin=subprocess.DEVNULL, **surroundings)

    def interrupt_group(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        super().kill()

    def next_line(self) -> str | None:
        """The next line that is not empty; None at the end."""
        while (line := self._next_line()) is not None:
            self.lines.append(line)
            if line.strip():
                return line
        return None

    def ends_quietly(self) -> None:
        while (line := self.next_line()) is not None:
            assert self.anything_more, f"{self._name} prints what the lesson does not show: {line!r}\n{self.printed}"
        self.process.wait(60)
        self.close()


@contextmanager
def played(page: str, folder: Path, root: str, node_modules: Path | None = None) -> Iterator[dict[str, Terminal]]:
    """All of a lesson; afterwards what still runs gets a Ctrl-C, and has to end."""
    customized = folder / "customized"
    customized.mkdir()
    (customized / "sitecustomize.py").write_text(CUSTOMIZED.format(root=root), "utf-8")
    bin = Path(sys.executable).parent
    surroundings = {
        "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(customized),
        "PYTHONUNBUFFERED": "1",
    }
    here = folder / "lesson"
    here.mkdir()
    if node_modules is not None:
        (here / "node_modules").symlink_to(node_modules)
    terminals: dict[str, Terminal] = {}
    try:
        for block in blocks(page):
            if block.language == "console":
                terminal = terminals.setdefault(block.caption, Terminal(here, surroundings))
                terminal.show(block)
            elif block.file is not None:
                (here / block.file).write_text(block.text.replace("'/tmp/'", repr(root)), "utf-8")
        yield terminals
        for terminal in terminals.values():
            if terminal.program is not None and terminal.program.process.poll() is None:
                terminal.program.interrupt_group()
                terminal.program.anything_more = True
            terminal.end()
    finally:
        for terminal in terminals.values():
            if terminal.program is not None:
                terminal.program.close()
