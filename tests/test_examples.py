"""The programs in ``examples/``, run as a user runs them: real processes that talk, read off what they print.

``run_example.py`` moves their sockets into a directory of the test and their port to a free one; nothing else about
them is changed.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"
DEADLINE = 30.0
"""Seconds that anything may take; a test machine may be busy."""
READY = "world is ready"


class Program:
    """One example as a process of its own, and the lines it prints."""

    def __init__(self, root: str, port: int, path: str) -> None:
        self.path = path
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        command = [sys.executable, "-u", str(TESTS / "run_example.py"), root, str(port), str(EXAMPLES / path)]
        environment = {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "error"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def wait_for(self, text: str) -> str:
        """The next line with ``text`` in it."""
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                line = self._new.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self.path} did not print {text!r}:\n{self.printed}") from None
            if line is None:
                self._new.put(None)
                raise AssertionError(f"{self.path} ended without printing {text!r}:\n{self.printed}")
            self.lines.append(line)
            if text in line:
                return line

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def ends(self) -> list[str]:
        """Wait until it ends by itself, with exit status 0; all the lines it printed."""
        while (line := self._next_line()) is not None:
            self.lines.append(line)
        self._reader.join()
        assert self.process.wait(DEADLINE) == 0, f"{self.path} ended with {self.process.returncode}:\n{self.printed}"
        return self.lines

    def _next_line(self) -> str | None:
        try:
            return self._new.get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f"{self.path} does not end:\n{self.printed}") from None

    def close(self) -> None:
        self.process.kill()
        self._reader.join()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def printed(self) -> str:
        return "\n".join(self.lines)

    def answers(self) -> list[str]:
        """What followed "got a message from world :" on each line that has it."""
        before = "got a message from world : "
        return [line.partition(before)[2] for line in self.lines if before in line]


Start = Callable[[str], Program]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts examples that share a socket root and a port of their own."""
    root = tempfile.mkdtemp(prefix="ipc-")
    port = free_port()
    programs: list[Program] = []

    def start_one(path: str) -> Program:
        programs.append(Program(f"{root}/", port, path))
        return programs[-1]

    yield start_one
    for program in programs:
        program.close()
    left = os.listdir(root)
    shutil.rmtree(root)
    assert left == [], f"the examples left files behind: {left}"


def free_port() -> int:
    """A port that nobody has on either loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def serve(start: Start, path: str) -> Program:
    server = start(path)
    server.wait_for(READY)
    return server


@pytest.mark.parametrize("folder", ["unix_basic", "tcp_basic"])
def test_basic_hello_is_answered_and_the_server_ends_with_ctrl_c(start: Start, folder: str) -> None:
    server = serve(start, f"{folder}/server.py")
    client = start(f"{folder}/client.py")
    client.ends()
    assert [answer for answer in client.answers() if "hello world!" in answer] == client.answers() != []
    assert client.lines[-1] == "disconnected from world"
    assert "hello" in server.wait_for("got a message")
    server.wait_for("has disconnected")
    server.interrupt()
    server.ends()


def test_basic_the_client_may_be_started_first(start: Start) -> None:
    client = start("unix_basic/client.py")
    client.wait_for("connecting to")
    server = serve(start, "unix_basic/server.py")
    client.ends()
    assert client.answers() == ["{'id': 'world', 'message': 'hello world!'}"]
    server.interrupt()
    server.ends()


def test_basic_the_server_may_be_killed_and_started_again(start: Start) -> None:
    killed = serve(start, "unix_basic/server.py")
    killed.process.kill()
    killed.process.wait()
    again = serve(start, "unix_basic/server.py")  # over the socket that the killed one left
    start("unix_basic/client.py").ends()
    again.interrupt()
    again.ends()


@pytest.mark.parametrize("folder", ["unix_multi_client", "tcp_multi_client"])
def test_multi_client_everybody_hears_the_broadcast(start: Start, folder: str) -> None:
    server = serve(start, f"{folder}/server.py")
    names = ["hello", "goodbye", "welcome"]
    clients = [start(f"{folder}/{name}_client.py") for name in names]
    for name, client in zip(names, clients, strict=True):
        client.ends()
        assert client.answers() == [f"{name} world!"]
        assert client.lines.count("world asked for the end of the connection") == 1
        assert client.lines[-1] == "disconnected from world"
    server.wait_for("everybody has spoken")
    server.interrupt()
    heard = [line for line in server.ends() if line.startswith("got a message from")]
    assert sorted(heard) == sorted(f"got a message from {name} : {name}" for name in names)


@pytest.mark.parametrize("folder", ["unix_sync", "tcp_sync"])
def test_sync_one_question_at_a_time(start: Start, folder: str) -> None:
    server = serve(start, f"{folder}/server.py")
    client = start(f"{folder}/client.py")
    client.ends()
    assert client.answers() == [f"hello{number} world!" for number in range(10)]
    server.interrupt()
    heard = [line for line in server.ends() if line.startswith("got hello")]
    assert heard == [f"got hello{number} and have 1 to answer" for number in range(10)]


@pytest.mark.parametrize("folder", ["unix_raw", "tcp_raw"])
def test_raw_text(start: Start, folder: str) -> None:
    server = serve(start, f"{folder}/server.py")
    client = start(f"{folder}/client.py")
    client.ends()
    assert "".join(answer.partition("' ")[2] for answer in client.answers()) == "hellogoodbye"
    assert server.wait_for("got 5 bytes") == "got 5 bytes : 68 65 6c 6c 6f"
    server.interrupt()
    server.ends()


def test_raw_bytes_written_in_four_ways(start: Start) -> None:
    server = serve(start, "unix_raw/server.py")
    client = start("unix_raw/bytes_client.py")
    client.ends()
    assert client.answers() == ["b'hello'", *["b'goodbye'"] * 4]
    server.interrupt()
    assert [line for line in server.ends() if line.startswith("got ")] == [
        "got 5 bytes : 68 65 6c 6c 6f",
        "got 3 bytes : 05 6d 5c",
        "got 3 bytes : 05 6d 5c",
        "got 6 bytes : 00 02 00 ff ee cc",
    ]


def test_several_instances_in_one_process(start: Start) -> None:
    program = start("unix_instances/instances.py")
    printed = program.ends()
    assert "words answered : hello world!" in printed
    assert "numbers answered : 5c 6d 05" in printed
