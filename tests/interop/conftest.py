"""Fixtures of the interop tests: the Node processes, and the ends of one scenario."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from .certificates import Certificates
from .install import InstallFailed, NodeMissing, Peer, install_all
from .pairs import Ends
from .peers import NodePeer

HERE = Path(__file__).parent
PEERS = pytest.StashKey["dict[str, Peer] | Exception"]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install the real peers before the first test, outside its time limit; what fails is told by each test."""
    if session.config.option.collectonly or not any(HERE in item.path.parents for item in session.items):
        return
    try:
        session.config.stash[PEERS] = install_all()
    except (NodeMissing, InstallFailed) as error:
        session.config.stash[PEERS] = error


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that nothing was shown about real node-ipc."""
    error = terminalreporter.config.stash.get(PEERS, None)
    if isinstance(error, NodeMissing):
        title = "INTEROP TESTS COULD NOT RUN" if in_ci() else "INTEROP TESTS WERE SKIPPED"
        terminalreporter.section(title, red=True, bold=True)
        terminalreporter.write_line(f"Nothing was checked against real node-ipc: {error}.", red=True, bold=True)


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true")


class NodePool:
    """The Node processes of the session, one a version, started when first asked for."""

    def __init__(self, peers: dict[str, Peer] | Exception) -> None:
        self._peers = peers
        self._shared: dict[str, NodePeer] = {}
        self._used: list[NodePeer] = []

    async def get(self, version: str, *, own_process: bool = False) -> NodePeer:
        """The process of this version, attached to the running loop; ``own_process`` is one that may be killed."""
        node = self._shared.get(version)
        if own_process or node is None or not node.alive:
            node = self._start(version)
            if not own_process:
                self._shared[version] = node
        if node not in self._used:
            node.attach()
            self._used.append(node)
        return node

    def _start(self, version: str) -> NodePeer:
        return NodePeer(self.installed(version))

    def installed(self, version: str) -> Peer:
        """Where this version is, and its Node; skips where there is none, and fails where that is not allowed."""
        if isinstance(self._peers, NodeMissing) and not in_ci():
            pytest.skip(f"real node-ipc is not here: {self._peers}")
        if isinstance(self._peers, Exception):
            pytest.fail(f"real node-ipc is not here: {self._peers}", pytrace=False)
        return self._peers[version]

    async def rest(self) -> None:
        """After a test: close every endpoint; a process that does not obey, or is not shared, ends."""
        used, self._used = self._used, []
        for node in used:
            shared = self._shared.get(node.version) is node
            try:
                if shared and node.alive:
                    await node.reset()
            except BaseException:
                shared = False
                raise
            finally:
                node.detach()
                if not shared or not node.alive:
                    self._end(node)

    def _end(self, node: NodePeer) -> None:
        if self._shared.get(node.version) is node:
            del self._shared[node.version]
        node.close()

    def close(self) -> None:
        for node in [*self._shared.values()]:
            self._end(node)


@pytest.fixture(scope="session")
def node_pool(request: pytest.FixtureRequest) -> Iterator[NodePool]:
    pool = NodePool(request.config.stash[PEERS])
    yield pool
    pool.close()


@pytest.fixture
async def nodes(node_pool: NodePool) -> AsyncIterator[NodePool]:
    """The pool, at rest again after the test."""
    yield node_pool
    await node_pool.rest()


@pytest.fixture
def socket_root() -> Iterator[str]:
    """A short directory of our own: the path of a Unix socket must be under 108 bytes, and pytest's are long."""
    path = tempfile.mkdtemp(prefix="interop-")
    yield path + "/"
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def ends(nodes: NodePool, socket_root: str) -> AsyncIterator[Ends]:
    opened = Ends(nodes, socket_root)
    yield opened
    await opened.close()
