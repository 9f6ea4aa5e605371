"""``node-ipc top`` as a command, on real servers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import DEADLINE, Program, is_alive, listens, until

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


def test_a_server_is_looked_at_through_a_tap(node_ipc: Command, root: str, tmp_path: Path) -> None:
    """The server behind it knows nothing of it."""
    echo = node_ipc("listen", "world", "--echo")
    echo.wait_for("listening at")
    tap = node_ipc("tap", "spy", "--to", "world", "--observe")
    tap.wait_for("Ctrl-C ends")
    assert os.path.exists(f"{root}app.spy.observe") and not os.path.exists(f"{root}app.world.observe")
    client = Program.python("-c", ASKING.format(root=root))
    try:
        program = node_ipc("top", "spy")
        program.wait_for("order")
        program.wait_for("nothing (answered)")
        program.interrupt()
        program.ends()
        looks = node_ipc("top", "spy", "--json")
        look = json.loads(looks.wait_for('"order"'))
        looks.interrupt()
        looks.ends()
    finally:
        client.kill()
        client.close()
    assert look["events"]["order"]["in"] > 0 and look["events"]["order"]["out"] > 0
    for each in (tap, echo):
        each.interrupt()
        each.ends()


ASKING = """
import time
from node_ipc import blocking
with blocking.connect("spy", socket_root={root!r}) as client:
    client.on("order", lambda data: None)
    while True:
        client.emit("order", 1)
        try:
            client.request("nothing", timeout=0.05)
        except Exception:
            pass
"""


def test_a_tap_shows_or_is_looked_at(node_ipc: Command) -> None:
    assert "it" in node_ipc("tap", "a", "--to", "b", "--print").ends(2)[-1]
    [line] = node_ipc("tap", "a", "--to", "b", "--observe", "--json").ends(2)[-1:]
    assert "nothing is shown, so --json goes with --print" in line


WORKERS = """
import sys, node_ipc
from node_ipc.scale import workers
def setup(server):
    server.on("order", lambda data, socket: socket.emit("thanks"))
workers.run(setup, "world", count=4, socket_root=sys.argv[1], observe=True)
"""


def test_each_of_several_workers_is_looked_at(node_ipc: Command, root: str) -> None:
    program = Program.python("-c", WORKERS, root)
    try:
        sockets = [f"{root}app.world.observe", *(f"{root}app.world.observe.{number}" for number in (2, 3, 4))]
        until(lambda: all(map(listens, sockets)))
        looks = [node_ipc("top", "world", "--json", "--worker", str(number)) for number in (1, 2, 3, 4)]
        told = [json.loads(each.wait_for('"format"')) for each in looks]
        for each in looks:
            each.interrupt()
            each.ends()
        assert [each["worker"] for each in told] == [1, 2, 3, 4]
        assert {each["workers"] for each in told} == {4}
        processes = {each["process"] for each in told}
        assert len(processes) == 4 and program.process.pid not in processes
        printed = node_ipc("top", "world", "--once").ends()
        assert f"worker 1 of 4, process {told[0]['process']}; --worker N looks at another" in printed
        assert max(map(len, printed)) <= 80
        [line] = node_ipc("top", "world", "--once", "--worker", "7").ends(1)
        assert "cannot look at worker 7 of" in line and "those that can be looked at are 1, 2, 3, 4" in line

        os.kill(told[1]["process"], signal.SIGKILL)  # another takes its place, and its number
        until(lambda: not is_alive(told[1]["process"]))
        until(lambda: listens(sockets[1]))
        again = node_ipc("top", "world", "--json", "--worker", "2")
        look = json.loads(again.wait_for('"format"'))
        assert look["worker"] == 2 and look["process"] not in processes
        again.interrupt()
        again.ends()
    finally:
        program.interrupt()
        program.process.wait(DEADLINE)
        program.close()
    assert os.listdir(root) == []


DESCRIBED = """
import sys
from node_ipc import blocking
from node_ipc.contract import describe
with blocking.serve("world", socket_root=sys.argv[1], observe=True) as server:
    describe(server, title="The shop", version="2.1.0")
    server.on("order", lambda data: None)
    print("ready", flush=True)
    server.serve_forever()
"""


def test_what_the_server_says_of_itself_is_shown(node_ipc: Command, root: str) -> None:
    program = Program.python("-c", DESCRIBED, root)
    program.wait_for("ready")
    try:
        printed = node_ipc("top", "world", "--once").ends()
        look = node_ipc("top", "world", "--json")
        says = json.loads(look.wait_for('"says": "The shop'))["says"]
        look.interrupt()
        look.ends()
    finally:
        program.interrupt()
        program.process.wait(DEADLINE)
        program.close()
    assert says.startswith("The shop 2.1.0 (node-ipc for Python ") and "hears 1 event" in says
    assert printed[1].startswith("The shop 2.1.0 (") and max(map(len, printed)) <= 80


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
