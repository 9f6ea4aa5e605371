"""The programs in ``examples/``, run as a user runs them: real processes that talk, read off what they print.

``run_example.py`` moves their sockets into a directory of the test and their port to a free one; nothing else about
them is changed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ports import free_port
from processes import Program

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"
READY = "world is ready"

Start = Callable[[str], Program]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts examples that share a socket root and a port of their own."""
    root = tempfile.mkdtemp(prefix="ipc-")
    port = free_port()
    programs: list[Program] = []

    def start_one(path: str) -> Program:
        run = str(TESTS / "run_example.py")
        programs.append(Program.python(run, f"{root}/", str(port), str(EXAMPLES / path)))
        return programs[-1]

    yield start_one
    for program in programs:
        program.close()
    left = os.listdir(root)
    shutil.rmtree(root)
    assert left == [], f"the examples left files behind: {left}"


def answers(client: Program) -> list[str]:
    """What followed "got a message from world :" on each line that has it."""
    before = "got a message from world : "
    return [line.partition(before)[2] for line in client.lines if before in line]


def serve(start: Start, path: str) -> Program:
    server = start(path)
    server.wait_for(READY)
    return server


@pytest.mark.parametrize("folder", ["unix_basic", "tcp_basic"])
def test_basic_hello_is_answered_and_the_server_ends_with_ctrl_c(start: Start, folder: str) -> None:
    server = serve(start, f"{folder}/server.py")
    client = start(f"{folder}/client.py")
    client.ends()
    assert [answer for answer in answers(client) if "hello world!" in answer] == answers(client) != []
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
    assert answers(client) == ["{'id': 'world', 'message': 'hello world!'}"]
    server.interrupt()
    server.ends()


def test_basic_the_server_may_be_killed_and_started_again(start: Start) -> None:
    killed = serve(start, "unix_basic/server.py")
    killed.kill()
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
        assert answers(client) == [f"{name} world!"]
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
    assert answers(client) == [f"hello{number} world!" for number in range(10)]
    server.interrupt()
    heard = [line for line in server.ends() if line.startswith("got hello")]
    assert heard == [f"got hello{number} and have 1 to answer" for number in range(10)]


@pytest.mark.parametrize("folder", ["unix_raw", "tcp_raw"])
def test_raw_text(start: Start, folder: str) -> None:
    server = serve(start, f"{folder}/server.py")
    client = start(f"{folder}/client.py")
    client.ends()
    assert "".join(answer.partition("' ")[2] for answer in answers(client)) == "hellogoodbye"
    assert server.wait_for("got 5 bytes") == "got 5 bytes : 68 65 6c 6c 6f"
    server.interrupt()
    server.ends()


def test_raw_bytes_written_in_four_ways(start: Start) -> None:
    server = serve(start, "unix_raw/server.py")
    client = start("unix_raw/bytes_client.py")
    client.ends()
    assert answers(client) == ["b'hello'", *["b'goodbye'"] * 4]
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
