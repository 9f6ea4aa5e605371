"""What a server at work says of itself, as ``node-ipc contract --at`` and ``node-ipc doctor`` ask for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import node_ipc as library
from node_ipc.contract import Contract, asyncapi
from node_ipc.tools.cli import main
from node_ipc.tools.described import described_at, in_words
from processes import Program

from .conftest import Command

SHOP = """
import sys, msgspec, node_ipc
from node_ipc import blocking
from node_ipc.contract import describe

class Order(msgspec.Struct):
    item: str
    count: int = 1

def register(server):
    describe(server, title="The shop", version="2.1.0")
    @server.on("order")
    def order(data: Order, socket):
        "Somebody wants something."
    @server.handle("price")
    def price(item: str) -> float:
        return 1.5

if __name__ == "__main__":
    with blocking.serve("world", socket_root=sys.argv[1]) as server:
        if sys.argv[2:] != ["mute"]:
            register(server)
        print("ready", flush=True)
        server.serve_forever()
"""


@pytest.fixture
def shop(node_ipc: Command, root: str, tmp_path: Path) -> Iterator[Program]:
    """A server "world" that describes itself."""
    yield from served(tmp_path, root)


@pytest.fixture
def mute(node_ipc: Command, root: str, tmp_path: Path) -> Iterator[Program]:
    """One that does not."""
    yield from served(tmp_path, root, "mute")


def served(folder: Path, root: str, *words: str) -> Iterator[Program]:
    (folder / "shop.py").write_text(SHOP)
    program = Program.python(str(folder / "shop.py"), root, *words)
    program.wait_for("ready")
    yield program
    program.interrupt()
    program.process.wait(50)
    program.close()


def test_the_contract_of_a_server_at_work_is_shown(shop: Program, node_ipc: Command) -> None:
    assert node_ipc("contract", "--at", "world").ends() == [
        "The shop 2.1.0",
        "  clients emit         order: Order",
        "  the server answers   price(string): number",
    ]


def test_every_format_is_made_of_it_and_checked_against_it(shop: Program, node_ipc: Command, tmp_path: Path) -> None:
    flags = {
        "typescript": "w.ts",
        "json-schema": "w.schema.json",
        "asyncapi": "w.json",
        "html": "w.html",
        "python": "w.py",
    }
    words = [word for flag, file in flags.items() for word in (f"--{flag}", str(tmp_path / file))]
    assert node_ipc("contract", "--at", "world", *words).ends() == []
    assert node_ipc("contract", "--at", "world", *words, "--check").ends() == []
    assert "export interface Order {" in (tmp_path / "w.ts").read_text()
    assert "Somebody wants something." in (tmp_path / "w.html").read_text()
    assert json.loads((tmp_path / "w.json").read_text())["x-node-ipc"]["limits"]["maxMessageSize"] == 16 * 1024**2
    subprocess.run([sys.executable, str(tmp_path / "w.py")], check=True)
    text = (tmp_path / "w.py").read_text()
    assert "class Order(Struct):" in text and 'order = Event("order", Order)' in text
    code = node_ipc("contract", "--from", str(tmp_path / "w.json"), "--python", "-").ends()
    assert "\n".join(code).strip() == text.strip()
    (tmp_path / "w.ts").write_text("old")
    assert "+export interface Order {" in "\n".join(node_ipc("contract", "--at", "world", *words, "--check").ends(1))


def test_the_files_of_the_code_and_of_the_server_are_alike(shop: Program, root: str, tmp_path: Path) -> None:
    def written(*words: str) -> str:
        command = [sys.executable, "-m", "node_ipc", "contract", *words, "--typescript", "-"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    of_code = written("shop:register", "--title", "The shop", "--contract-version", "2.1.0")
    assert written("--at", "world", "-o", f"socket_root={root}") == of_code


def test_a_server_that_did_not_opt_in(mute: Program, node_ipc: Command) -> None:
    [line] = node_ipc("contract", "--at", "world").ends(1)
    assert "does not describe itself: a server opts in with node_ipc.contract.describe(server)" in line


def test_where_nobody_is(node_ipc: Command) -> None:
    [line] = node_ipc("contract", "--at", "world").ends(1)
    assert line.startswith("node-ipc contract: ") and "world" in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--at", "world", "app"), "--at asks a server at work: it goes without TARGET"),
        (("--at", "world", "--from", "x.json"), "without --from"),
        (("--at", "udp4://127.0.0.1:8000"), "UDP has no requests"),
        (("--at", "world", "--check"), "--check compares files"),
        (("--at", "world", "--python", "x", "--html", "x"), "two formats cannot go into one file"),
        (("--at", "tcp://"), "tcp://"),
    ],
)
def test_what_makes_no_sense(node_ipc: Command, words: tuple[str, ...], says: str) -> None:
    assert says in "\n".join(node_ipc("contract", *words).ends(2))


async def test_one_that_never_answers(root: str) -> None:
    async with library.serve("world", socket_root=root) as server:

        @server.handle("rpc.describe")
        async def never() -> None:
            await asyncio.sleep(100)

        with pytest.raises(library.RequestTimeout, match=r"describe\(server\), and node-ipc doctor says more"):
            await described_at("world", library.Config(socket_root=root), 0.05)


@pytest.mark.usefixtures("doctor_waits")
@pytest.mark.parametrize("answer", [None, 7, "text", [1], {}, {"asyncapi": "3.0.0", "operations": {"a": 1}}])
def test_answers_that_are_no_description(
    root: str, capsys: pytest.CaptureFixture[str], answer: Any, tmp_path: Path
) -> None:
    code = (
        "import sys; from node_ipc import blocking\n"
        f"with blocking.serve('world', socket_root={root!r}) as server:\n"
        f"    server.handle('rpc.describe', lambda: {answer!r})\n"
        "    server.handle('rpc.ping', lambda: 1)\n"
        "    print('ready', flush=True)\n"
        "    server.serve_forever()\n"
    )
    program = Program.python("-c", code)
    program.wait_for("ready")
    try:
        assert main(["contract", "--at", "world", "-o", f"socket_root={root}"]) == 1
        assert capsys.readouterr().err.startswith("node-ipc contract: ")
        assert main(["doctor", "world", "-o", f"socket_root={root}"]) == 0
    finally:
        program.interrupt()
        program.process.wait(50)
        program.close()


# ---- doctor


@pytest.mark.usefixtures("shop", "doctor_waits")
def test_doctor_tells_what_the_server_says(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = doctor_says(root, capsys)
    assert re.search(r", and it answers, a request in \d+\.\d ms\. It is The shop 2\.1\.0 \(node-ipc for Python ", line)
    assert line.endswith("): hears 1 event, answers 1 method; a message may have 16,777,216 bytes")


@pytest.mark.usefixtures("mute", "doctor_waits")
def test_doctor_asks_servers_that_offer_neither_as_before(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor_says(root, capsys).endswith(", and it answers")


def doctor_says(root: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["doctor", "world", "-o", f"socket_root={root}"]) == 0
    return capsys.readouterr().out.splitlines()[0]


def test_what_a_hostile_server_says_is_shown_harmlessly() -> None:
    document = {
        **{"info": {"title": "\x1b[2J", "version": 7}, "operations": {"a": {"action": ["receive"]}, "b": None}},
        **{"x-node-ipc": {"software": 3, "limits": {"maxMessageSize": "1"}}},
    }
    assert in_words(document) == "\x1b[2J 7: has no events and no methods"
    assert in_words({"info": [], "operations": "x"}) == "a server : has no events and no methods"
    assert "hears" not in in_words(asyncapi(Contract("quiet")))


def test_the_examples_of_the_help_that_ask_a_server(shop: Program, node_ipc: Command, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "node_ipc", "contract", "--help"]
    environment = {**os.environ, "COLUMNS": "140"}
    help = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    examples = [each for each in re.findall(r"^  node-ipc (contract .*?)(?:  |$)", help, re.M) if "--at" in each]
    assert len(examples) == 2
    for words in map(shlex.split, examples):
        words = ["world" if word.startswith("tcp:") else word for word in words]
        words = [str(tmp_path / word) if word.endswith(".py") else word for word in words]
        node_ipc(*words).ends()
    assert "class Order" in (tmp_path / "world.py").read_text()
