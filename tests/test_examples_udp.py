"""The UDP programs in ``examples/``, run as a user runs them; see ``test_examples.py``."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processes import Program

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"
PORTS = 4
"""World's, and the next ones for those who speak to it."""

Start = Callable[[str], Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts examples around a port of their own."""
    port = free_ports()
    programs: list[Program] = []

    def start_one(path: str) -> Program:
        run = str(TESTS / "run_example.py")
        programs.append(Program.python(run, f"{tmp_path}/", str(port), str(EXAMPLES / path)))
        return programs[-1]

    yield start_one
    for program in programs:
        program.close()


def free_ports() -> int:
    """The first of some UDP ports in a row that nobody has, outside the range the kernel gives to others."""
    while True:
        first = random.randrange(20_000, 32_000)
        sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(PORTS)]
        try:
            for number, sock in enumerate(sockets):
                sock.bind(("127.0.0.1", first + number))
            return first
        except OSError:
            continue
        finally:
            for sock in sockets:
                sock.close()


def world(start: Start, folder: str) -> Program:
    program = start(f"{folder}/world.py")
    program.wait_for("world is ready")
    return program


def answers(program: Program) -> list[str]:
    """What followed "got a message from world :" on each line that has it."""
    before = "got a message from world : "
    return [line.partition(before)[2] for line in program.lines if before in line]


def test_basic_hello_is_answered_and_world_ends_with_ctrl_c(start: Start) -> None:
    server = world(start, "udp_basic")
    for _ in range(2):
        hello = start("udp_basic/hello.py")
        hello.ends()
        assert answers(hello) == ["hello world!"]
        assert server.wait_for("got a message") == "got a message from hello : hello"
    server.interrupt()
    server.ends()


def test_broadcast_everybody_is_told_to_leave(start: Start) -> None:
    server = world(start, "udp_broadcast")
    names = ["hello", "goodbye", "welcome"]
    programs = [start(f"udp_broadcast/{name}.py") for name in names]
    for name, program in zip(names, programs, strict=True):
        program.ends()
        assert answers(program) == [f"{name} world!"]
        assert program.lines.count("world tells everybody to leave") == 1
    server.wait_for("everybody has spoken")
    server.interrupt()
    heard = [line for line in server.ends() if line.startswith("got a message from")]
    assert sorted(heard) == sorted(f"got a message from {name} : {name}" for name in names)


def test_raw_bytes_written_in_four_ways(start: Start) -> None:
    server = world(start, "udp_raw")
    hello = start("udp_raw/hello.py")
    hello.ends()
    assert answers(hello) == ["b'goodbye'"] * 4
    server.interrupt()
    heard = [line for line in server.ends() if line.startswith("got ")]
    assert [line.partition(" : ")[2] for line in heard] == [
        "68 65 6c 6c 6f",
        "05 6d 5c",
        "05 6d 5c",
        "00 02 00 ff ee cc",
    ]
    assert all(" bytes from port " in line for line in heard)
