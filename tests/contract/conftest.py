"""The tools that judge what is written, installed from npm by the test run itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from interop.install import InstallFailed, NodeMissing, install, install_all

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
