"""Fixtures for pytest, loaded by its entry point: ``ipc_pair`` and ``ipc_server``, in memory on a virtual clock.

    def test_sum(ipc_pair):
        client, server, socket, driver = ipc_pair

    @pytest.mark.ipc_options(parser="fast", max_connections=2)
    def test_many(ipc_server):
        first, second = ipc_server.connect(), ipc_server.connect()

Nothing but pytest is imported before a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing import Pair, Started

__all__ = ["ipc_pair", "ipc_server"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "ipc_options(**options): node_ipc configuration options for ipc_pair and ipc_server"
    )


@pytest.fixture
def ipc_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A connected ``(client, server, socket, driver)``."""
    from .testing import MemoryDriver, pair

    with MemoryDriver() as driver:
        yield pair(driver=driver, **_options(request))


@pytest.fixture
def ipc_server(request: pytest.FixtureRequest) -> Iterator[Started]:
    """A ``(server, driver)`` that listens; ``connect()`` gives a client of it, ``wire()`` a peer that speaks bytes."""
    from .testing import MemoryDriver, Started, serve

    with MemoryDriver() as driver:
        yield Started(serve(driver, **_options(request)), driver)


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("ipc_options"))):  # the closest mark counts most
        options.update(mark.kwargs)
    return options
