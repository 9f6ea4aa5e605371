"""The tools that judge what is written, installed from npm by the test run itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.install import InstallFailed, NodeMissing, Peer, install, install_all

from .project import Compiler, Project

HERE = Path(__file__).parent
TOOLS = pytest.StashKey["Path | Exception"]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install before the first test, outside its time limit; what fails is told by each test that needs it."""
    if session.config.option.collectonly or not any(HERE in item.path.parents for item in session.items):
        return
    try:
        install_all()
        session.config.stash[TOOLS] = install("contract") / "node_modules"
    except (NodeMissing, InstallFailed) as error:
        session.config.stash[TOOLS] = error


@pytest.fixture(scope="session")
def tools(request: pytest.FixtureRequest) -> Path:
    """``node_modules`` with TypeScript, the types of node-ipc 9 and AsyncAPI's schemas."""
    found = request.config.stash[TOOLS]
    if isinstance(found, NodeMissing):
        pytest.skip(str(found))
    if isinstance(found, Exception):
        pytest.fail(str(found))
    return found


@pytest.fixture(scope="session")
def peers(tools: Path) -> dict[str, Peer]:
    """The real node-ipc, by version."""
    return install_all()


@pytest.fixture(scope="session")
def compiler(tools: Path) -> Iterator[Compiler]:
    """TypeScript's, of this run."""
    started = Compiler(tools)
    yield started
    started.close()


@pytest.fixture
def project(tmp_path: Path, tools: Path, peers: dict[str, Peer], compiler: Compiler) -> Project:
    """An empty folder for TypeScript."""
    return Project(tmp_path, tools, peers, compiler)


@pytest.fixture
def root() -> Iterator[str]:
    """A short directory for sockets: pytest's own are too long for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="ipc-") as path:
        yield f"{path}/"
