"""Fixtures for pytest, loaded by its entry point: ``ipc_pair`` and ``ipc_server``, in memory on a virtual clock.

    def test_sum(ipc_pair):
        client, server, socket, driver = ipc_pair

    @pytest.mark.ipc_options(parser="fast", max_connections=2)
    def test_many(ipc_server):
        first, second = ipc_server.connect(), ipc_server.connect()

A handler that raises fails its test, and so does a payload that does not fit its type, unless an ``error`` handler
hears of it, and a request that was answered with an error at which nobody looked. What a handler awaits of asyncio
(``asyncio.sleep``, ``timeout``, queues …) keeps to the virtual clock. Where a test ends, what it began is done first
(``driver.finish()``).

What failed unheard on another driver of a test's, as on that of ``pair()`` without a ``with`` block, is an error of the
test's teardown, unless somebody read ``driver.failures``.

Nothing but pytest is imported before a test asks for a fixture, but for a few lines.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .drivers.unseen import Unseen
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

    with closing(_driver(request)) as driver:
        yield pair(driver=driver, **_options(request))


@pytest.fixture
def ipc_server(request: pytest.FixtureRequest) -> Iterator[Started]:
    """A ``(server, driver)`` that listens; ``connect()`` gives a client of it, ``wire()`` a peer that speaks bytes."""
    from .testing import Started, serve

    with closing(_driver(request)) as driver:
        yield Started(serve(driver, **_options(request)), driver)


DRIVERS = pytest.StashKey["list[MemoryDriver]"]()
IN_MEMORY = (
    "The server of ipc_pair and ipc_server is in memory, where connect of node_ipc, node_ipc.blocking and ipc does not "
    "look: ipc_server.connect() gives a client of it, and ipc_pair has one"
)
UNFINISHED = (
    "async handlers that had not ended where the test did: {}. What stands below the line at which one waits was not "
    "tested. Let what it waits for happen, or end it with driver.close() as the last line, where it is meant to wait"
)


def _driver(request: pytest.FixtureRequest) -> MemoryDriver:
    from .testing import MemoryDriver

    driver = MemoryDriver()
    request.node.stash.setdefault(DRIVERS, []).append(driver)
    return driver


UNSEEN: pytest.StashKey[Unseen] = pytest.StashKey()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """The memory drivers that are made meanwhile belong to this test."""
    from .drivers import unseen  # a few lines; the driver itself is loaded by who makes one

    item.stash[UNSEEN] = test = unseen.Unseen()
    with unseen.made_by(test):
        try:
            return (yield)
        finally:
            test.is_over = True


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """A driver of a fixture that outlives the test warns when it goes itself: until then somebody may look."""
    from .drivers.unseen import made_by, now

    with nullcontext() if fixturedef.scope == "function" or now() is None else made_by(None):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail the test in which a handler failed, or a payload did not fit, unheard; one that fails anyhow says so."""
    __tracebackhide__ = True
    drivers = _drivers(item)
    try:
        result = yield
    except BaseException as error:  # pytest.fail, too
        if drivers:
            from .drivers.memory import note_failures
            from .errors import ConnectError

            note_failures(error, drivers)
            if isinstance(error, ConnectError):
                error.add_note(IN_MEMORY)
        _note_unseen(item, error)
        raise
    if not drivers:
        return result
    from .drivers.memory import raise_failures

    unfinished = sum(driver.finish() for driver in drivers)
    raise_failures(drivers)
    for line in (line for driver in drivers for line in driver.misheard):
        item.warn(pytest.PytestWarning(line))
    if unfinished:
        item.warn(pytest.PytestWarning(UNFINISHED.format(unfinished)))
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Behind the last fixture that may look: what failed on the test's drivers, and nobody saw, is the test's error."""
    __tracebackhide__ = True
    try:
        result = yield
    except BaseException as error:
        _note_unseen(item, error)
        raise
    if failures := _take_unseen(item):
        from .drivers.memory import raise_together

        raise_together(failures)
    return result


def _note_unseen(item: pytest.Item, error: BaseException) -> None:
    if failures := _take_unseen(item):
        from .drivers.memory import note_before

        note_before(error, failures)


def _take_unseen(item: pytest.Item) -> list[BaseException]:
    test = item.stash.get(UNSEEN, None)
    return [] if test is None else test.take()


def _drivers(item: pytest.Item) -> list[MemoryDriver]:
    return item.stash.get(DRIVERS, [])


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("ipc_options"))):  # the closest mark counts most
        options.update(mark.kwargs)
    return options
