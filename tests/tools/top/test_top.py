"""``node-ipc top`` as a command, on real servers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import DEADLINE, Program

from ..conftest import Command

SERVER = """
import asyncio, sys, node_ipc
async def main():
    async with node_ipc.serve("world", socket_root=sys.argv[1], observe=True) as server:
        server.on("order", lambda data, socket: socket.emit("thanks"))
        server.on("end", lambda data, socket: server.stop())
        print("ready", flush=True)
        async with node_ipc.connect("world", socket_root=sys.argv[1]) as client:
            client.on("thanks", lambda: None)
            client.on("end", lambda: sys.exit())
            while True:
                client.emit("order", {"article": "lamp"})
                await asyncio.sleep(0.01)
try:
    asyncio.run(main())
except (KeyboardInterrupt, node_ipc.NotConnected):
    pass
"""


@pytest.fixture
def server(root: str, node_ipc: Command) -> Iterator[Program]:
    """A server "world" at work, in the socket root of the commands."""
    program = Program.python("-c", SERVER, root)
    program.wait_for("ready")
    yield program
    program.interrupt()
    program.close()
    for left in os.listdir(root):  # it may have been killed
        os.unlink(f"{root}{left}")


def test_one_table_for_scripts(node_ipc: Command, server: Program) -> None:
    printed = node_ipc("top", "world", "--once").ends()
    assert printed[0].startswith("unix:") and "1 links" in printed[0]
    order = next(line for line in printed if line.startswith("order"))
    assert float(order.split()[1]) > 5
    assert max(map(len, printed)) <= 80


def test_each_look_as_json(node_ipc: Command, server: Program) -> None:
    program = node_ipc("top", "world", "--json")
    looks = [json.loads(program.wait_for('"format"')) for _ in range(2)]
    program.interrupt()
    program.ends()
    assert looks[1]["events"]["order"]["in"] > looks[0]["events"].get("order", {"in": 0})["in"]


def test_a_server_that_is_killed_and_comes_again(node_ipc: Command, server: Program, root: str) -> None:
    program = node_ipc("top", "world")
    program.wait_for("order")
    server.kill()
    program.wait_for("the server is gone")
    again = Program.python("-c", SERVER, root)
    try:
        program.wait_for("1 links")
    finally:
        program.interrupt()
        program.ends()
        again.interrupt()
        again.close()


@pytest.mark.parametrize("address", ["world", "tcp://127.0.0.1:1"])
def test_where_nobody_can_be_looked_at_it_says_what_to_do(node_ipc: Command, address: str) -> None:
    [line] = node_ipc("top", address, "--once").ends(1)
    assert line.startswith("node-ipc top: cannot look at ")
    assert "observe=True" in line and "server.observe()" in line


def test_a_socket_that_tells_nothing_is_given_up(node_ipc: Command, root: str) -> None:
    code = (
        "from node_ipc import blocking\n"
        f"with blocking.serve('world.observe', socket_root={root!r}) as server:\n"
        "    print('ready')\n"
        "    server.serve_forever()\n"
    )
    other = Program.python("-c", code)
    other.wait_for("ready")
    try:
        [line] = node_ipc("top", "world", "--once").ends(1)
    finally:
        other.interrupt()
        other.process.wait(DEADLINE)
        other.close()
    assert "tells nothing within 10 s" in line


def test_the_examples_of_the_help(node_ipc: Command, server: Program, root: str) -> None:
    """Those that end by themselves run as they stand; the others begin."""
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    help = subprocess.run(
        [sys.executable, "-m", "node_ipc", "top", "--help"], capture_output=True, text=True, env=environment, check=True
    ).stdout
    examples = re.findall(r"^  node-ipc (top .*?)(?:  |\||$)", help, re.M)
    assert len(examples) >= 3
    for words in map(shlex.split, examples):
        program = node_ipc(*words)
        if "--once" in words:
            program.ends()
        else:
            program.wait_for("http://" if "--web" in words else "unix:")
            program.interrupt()
            program.ends()


class Terminal:
    """The command in a terminal of its own."""

    def __init__(self, *arguments: str, rows: int = 24, columns: int = 80) -> None:
        self._file, other = pty.openpty()
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "node_ipc", *arguments],
            stdin=other,
            stdout=other,
            stderr=other,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows)},
            start_new_session=True,
        )
        os.close(other)
        self.said = ""

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + DEADLINE
        while text not in self.said:
            assert time.monotonic() < end, self.said[-3000:]
            try:
                self.said += os.read(self._file, 65536).decode("utf-8", "replace")
            except OSError:
                raise AssertionError(f"it ended without {text!r}: {self.said[-3000:]}") from None

    def press(self, keys: str) -> None:
        os.write(self._file, keys.encode())

    def end(self) -> int:
        end = time.monotonic() + DEADLINE
        while self.process.poll() is None and time.monotonic() < end:
            try:
                self.said += os.read(self._file, 65536).decode("utf-8", "replace")
            except OSError:
                break
        code: int = self.process.wait(DEADLINE)
        os.close(self._file)
        return code


def test_on_a_terminal_it_is_the_program_with_keys(server: Program, root: str) -> None:
    terminal = Terminal("top", "world", "-o", f"socket_root={root}")
    terminal.wait_for("order")
    terminal.wait_for("Quit")
    terminal.press("p")
    terminal.wait_for("PAUSED")
    terminal.press("q")
    assert terminal.end() == 0


def test_the_plain_table_refreshes_in_its_place(server: Program, root: str) -> None:
    terminal = Terminal("top", "world", "--plain", "-o", f"socket_root={root}")
    terminal.wait_for("order")
    seen = terminal.said.count("\x1b[H")
    while terminal.said.count("\x1b[H") < seen + 2:
        terminal.said += os.read(terminal._file, 65536).decode()
    terminal.press("\x03")
    os.killpg(terminal.process.pid, 2)
    assert terminal.end() == 0
    assert terminal.said.count("\x1b[2J") == 1


def test_without_textual_it_is_the_plain_table_and_says_how_to_get_more(
    server: Program, root: str, tmp_path: Path
) -> None:
    (tmp_path / "textual.py").write_text("raise ModuleNotFoundError('no', name='textual')")
    os.environ["PYTHONPATH"], before = str(tmp_path), os.environ.get("PYTHONPATH")
    try:
        terminal = Terminal("top", "world", "-o", f"socket_root={root}", columns=200)
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    terminal.wait_for("pip install 'node-ipc[monitor]'")
    terminal.wait_for("order")
    os.killpg(terminal.process.pid, 2)
    assert terminal.end() == 0
