"""Requests between Python and plain node-ipc code, in both directions: the programs of examples/node_worker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import NodePool

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


class Stage:
    """Programs of one test, all with the same directory of sockets."""

    def __init__(self, nodes: NodePool, root: str) -> None:
        self._nodes = nodes
        self._root = root
        self.programs: list[Program] = []

    def python(self, program: str) -> Program:
        self.programs.append(Program.python(RUN, self._root, "0", str(EXAMPLES / program)))
        return self.programs[-1]

    def worker_that_never_answers(self) -> Program:
        self.programs.append(Program.python("-c", NEVER_ANSWERS, self._root))
        return self.programs[-1]

    def node(self, program: str, version: str) -> Program:
        peer = self._nodes.installed(version)
        modules = str(peer.folder / "node_modules")
        self.programs.append(Program(peer.node, str(EXAMPLES / program), self._root, modules))
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
