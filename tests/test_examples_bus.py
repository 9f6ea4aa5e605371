"""``examples/chat`` and ``examples/emitter``: processes on a hub and on real brokers, with Python and Node clients."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import brokers
from interop.conftest import in_ci
from interop.install import NodeMissing, install_all
from processes import Program

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers need fork()")


class Stage:
    """Programs that share a directory of sockets."""

    def __init__(self, root: str) -> None:
        self.root = f"{root}/"
        self.programs: list[Program] = []

    def python(self, path: str, *arguments: str) -> Program:
        run = [sys.executable, str(TESTS / "run_example.py"), self.root, "0", str(EXAMPLES / path), *arguments]
        return self.keep(Program(*run, stdin=subprocess.PIPE, PYTHONUNBUFFERED=""))  # each line in one piece

    def keep(self, program: Program) -> Program:
        self.programs.append(program)
        return program

    def serve(self, *arguments: str) -> Program:
        server = self.python("chat/server.py", *arguments)
        for _ in range(2):
            server.wait_for("a process is ready")
        return server

    def guest(self, *arguments: str) -> Program:
        guest = self.python("chat/client.py", *arguments)
        guest.wait_for("here are:")
        return guest


def say(program: Program, text: str) -> None:
    assert program.process.stdin is not None
    program.process.stdin.write(f"{text}\n")
    program.process.stdin.flush()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="ipc-") as root:
        stage = Stage(root)
        yield stage
        for program in stage.programs:
            if program.process.stdin is not None:
                program.process.stdin.close()
            program.close()


def test_chat_on_one_machine_without_a_broker(stage: Stage) -> None:
    stage.serve()
    guests = [stage.guest(name, "lobby") for name in ("Ada", "Grace", "Mary")]
    guests[0].wait_for("Mary is here")
    say(guests[2], "hello")
    for guest in guests:
        guest.wait_for("Mary: hello")
    guests[1].close()
    guests[0].wait_for("Grace is gone")


def test_chat_with_a_node_client(stage: Stage) -> None:
    try:
        peers = install_all()
    except NodeMissing as error:
        (pytest.fail if in_ci() else pytest.skip)(f"real node-ipc is not here: {error}")
    peer = next(peer for peer in peers.values() if "14" in str(peer.version))
    stage.serve()
    ada = stage.guest("Ada", "lobby")
    script = str(EXAMPLES / "chat" / "client.js")
    command = ["node", script, "Grace", "lobby", stage.root, str(peer.folder / "node_modules")]
    grace = stage.keep(Program(*command, stdin=subprocess.PIPE))
    grace.wait_for("in lobby")
    ada.wait_for("Grace is here")
    say(grace, "hello from Node")
    ada.wait_for("Grace: hello from Node")
    mary = stage.python("chat/client.py", "Mary", "lobby")
    assert mary.wait_for("here are:").endswith("Ada, Grace, Mary")
    grace.wait_for("Mary is here")
    say(ada, "hello Node")
    grace.wait_for("Ada: hello Node")


@pytest.mark.parametrize("name", ["nats", "redis"])
def test_chat_between_two_servers_and_a_script_that_emits(stage: Stage, name: str) -> None:
    broker = brokers.start(name)
    try:
        stage.serve(broker.url)
        stage.serve(broker.url, "two")
        ada = stage.guest("Ada", "lobby")
        grace = stage.guest("Grace", "lobby", "two")
        ada.wait_for("Grace is here")
        say(ada, "hello")
        grace.wait_for("Ada: hello")
        prices = stage.python("emitter/prices.py", broker.url, "gold", "3")
        prices.wait_for("the broker has it")
        for guest in (ada, grace):
            guest.wait_for("prices: gold is at 3")
    finally:
        broker.close()
