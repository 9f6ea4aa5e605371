"""Fixtures for pytest, loaded by its entry point: ``ipc_pair`` and ``ipc_server``, in memory on a virtual clock.

    def test_sum(ipc_pair):
        client, server, socket, driver = ipc_pair

    @pytest.mark.ipc_options(parser="fast", max_connections=2)
    def test_many(ipc_server):
        first, second = ipc_server.connect(), ipc_server.connect()

A handler that raises fails its test, and so does a payload that does not fit its type, unless an ``error`` handler
hears of it; what a handler awaits of asyncio
(``asyncio.sleep``, ``timeout``, queues …) keeps to the virtual clock.

Nothing but pytest is imported before a test asks for a fixture.
"""

from __future__ import annotations

import traceback
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing import MemoryDriver, Pair, Started

__all__ = ["ipc_pair", "ipc_server"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "ipc_options(**options): node_ipc configuration options for ipc_pair and ipc_server"
    )


@pytest.fixture
def ipc_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A connected ``(client, server, socket, driver)``."""
    from .testing import pair

    with _driver(request) as driver:
        yield pair(driver=driver, **_options(request))


@pytest.fixture
def ipc_server(request: pytest.FixtureRequest) -> Iterator[Started]:
    """A ``(server, driver)`` that listens; ``connect()`` gives a client of it, ``wire()`` a peer that speaks bytes."""
    from .testing import Started, serve

    with _driver(request) as driver:
        yield Started(serve(driver, **_options(request)), driver)


DRIVERS = pytest.StashKey["list[MemoryDriver]"]()
EXPECTED = (
    "No 'error' handler heard this, so the test fails. Where it is what the test wants, let it listen: "
    "server.on('error', errors.append), or the client's"
)


def _driver(request: pytest.FixtureRequest) -> MemoryDriver:
    from .testing import MemoryDriver

    driver = MemoryDriver()
    request.node.stash.setdefault(DRIVERS, []).append(driver)
    return driver


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail the test in which a handler failed, or a payload did not fit, unheard; one that fails anyhow says so."""
    try:
        result = yield
    except Exception as error:
        for failure in _failures(item):
            error.add_note(
                "Before this there was an error that nobody heard:\n"
                + "".join(traceback.format_exception(failure)).rstrip()
            )
        raise
    failures = _failures(item)
    for failure in failures:
        failure.add_note(EXPECTED)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise BaseExceptionGroup("several errors that nobody heard", failures)
    return result


def _failures(item: pytest.Item) -> list[BaseException]:
    """What failed unheard in this test; it is told once."""
    found: list[BaseException] = []
    for driver in item.stash.get(DRIVERS, []):
        found += driver.failures
        driver.failures.clear()
    return found


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("ipc_options"))):  # the closest mark counts most
        options.update(mark.kwargs)
    return options
