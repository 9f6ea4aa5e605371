"""Requests between Python and plain node-ipc code, in both directions: the programs of examples/node_worker."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import node_ipc

from .conftest import NodePool
from .install import PACKAGES

sys.path.insert(0, str(Path(__file__).parents[1]))
from processes import Program

EXAMPLES = Path(__file__).parents[2] / "examples" / "node_worker"
RUN = str(Path(__file__).parents[1] / "run_example.py")

NEVER_ANSWERS = """
import sys
from node_ipc import blocking

server = blocking.serve("worker", socket_root=sys.argv[1])
server.on("rpc.request", lambda data: print("asked for a", data["method"], flush=True))
print("ready", flush=True)
server.serve_forever()
"""

ADDS = """
import sys
from node_ipc import blocking

server = blocking.serve("world", socket_root=sys.argv[1])
if sys.argv[2] == "adds":
    server.handle("add", sum, type=list[int])
elif sys.argv[2] == "leaves":
    server.on("rpc.request", lambda data, socket: socket.abort())
print("ready", flush=True)
server.serve_forever()
"""
TOPIC = Path(node_ipc.__file__).parent / "tools" / "topics" / "node.txt"


class Stage:
    """Programs of one test, all with the same directory of sockets."""

    def __init__(self, nodes: NodePool, root: str) -> None:
        self._nodes = nodes
        self.root = root
        self.programs: list[Program] = []

    def run(self, program: Program) -> Program:
        self.programs.append(program)
        return program

    def python(self, program: str) -> Program:
        self.programs.append(Program.python(RUN, self.root, "0", str(EXAMPLES / program)))
        return self.programs[-1]

    def worker_that_never_answers(self) -> Program:
        self.programs.append(Program.python("-c", NEVER_ANSWERS, self.root))
        return self.programs[-1]

    def node(self, program: str, version: str) -> Program:
        peer = self._nodes.installed(version)
        modules = str(peer.folder / "node_modules")
        self.programs.append(Program(peer.node, str(EXAMPLES / program), self.root, modules))
        return self.programs[-1]


@pytest.fixture
def stage(node_pool: NodePool, socket_root: str) -> Iterator[Stage]:
    stage = Stage(node_pool, socket_root)
    yield stage
    for program in stage.programs:
        program.close()


@pytest.mark.parametrize("version", ["v9", "v14"])
def test_node_asks_and_python_answers(stage: Stage, version: str) -> None:
    worker = stage.python("worker.py")
    worker.wait_for("ready")
    summary, refused = stage.node("driver.js", version).ends()
    assert summary == 'summary {"mean":3,"median":2}'
    assert refused.startswith("refused: ") and "$.values" in refused
    worker.interrupt()
    worker.ends()


@pytest.mark.parametrize("version", ["v9", "v14"])
def test_a_worker_that_is_killed_leaves_no_request_pending(stage: Stage, version: str) -> None:
    worker = stage.worker_that_never_answers()
    worker.wait_for("ready")
    driver = stage.node("driver.js", version)
    worker.wait_for("asked for a summary")
    worker.process.kill()
    assert driver.ends() == ["refused: the worker is gone"]


@pytest.mark.parametrize("version", ["v9", "v14"])
def test_python_asks_and_node_answers(stage: Stage, version: str) -> None:
    stage.node("answer.js", version).wait_for("ready")
    assert stage.python("ask.py").ends() == [
        "upper: HELLO",
        "add: 3",
        "refused: there is no method nothing (-32601)",
        "refused: add failed (-32603)",
    ]


@pytest.mark.parametrize("version", ["v9", "v10", "v14"])
@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("adds", "sum: 6"),
        ("leaves", "refused: the server is gone"),
        (
            "knows nothing",
            "refused: there is no method 'add': case counts; the log of that side names those it has",
        ),
    ],
)
def test_the_program_in_the_help_on_node_asks(
    stage: Stage, node_pool: NodePool, tmp_path: Path, version: str, does: str, said: str
) -> None:
    code = next(part for part in re.split(r"\n\n(?=\S)", TOPIC.read_text("utf-8")) if "import ipc from" in part)
    program = re.sub(r"^  ", "", code[code.index("  import ") :], flags=re.M)
    assert program.count("'/tmp/'") == 1
    (tmp_path / "ask.mjs").write_text(program.replace("'/tmp/'", repr(stage.root)), "utf-8")
    peer = node_pool.installed(version)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "node-ipc").symlink_to(peer.folder / "node_modules" / PACKAGES[version])
    stage.run(Program.python("-c", ADDS, stage.root, does)).wait_for("ready")
    assert stage.run(Program(peer.node, str(tmp_path / "ask.mjs"))).ends() == [said]
