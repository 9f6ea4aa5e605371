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
REFUSED = (
    "It is the answer to a request that nobody looked at, so the test fails. Await the request in driver.run(main()), "
    "or look at outcome.result() or outcome.error after driver.run_until(outcome)"
)
ON_THEIR_WAY = (
    "When this failed messages were still on their way: driver.run_until_idle() lets them arrive, and "
    "driver.advance(seconds) those of a slow link"
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail the test in which a handler failed, or a payload did not fit, unheard; one that fails anyhow says so."""
    __tracebackhide__ = True
    try:
        result = yield
    except Exception as error:
        if any(driver.is_carrying for driver in _drivers(item)):
            error.add_note(ON_THEIR_WAY)
        for failure in _failures(item):
            error.add_note(
                "Before this there was an error that nobody heard:\n"
                + "".join(traceback.format_exception(failure)).rstrip()
            )
        raise
    unfinished = sum(driver.finish() for driver in _drivers(item))
    failures = _failures(item)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise BaseExceptionGroup("several errors that nobody heard", failures)
    if unfinished:
        item.warn(pytest.PytestWarning(UNFINISHED.format(unfinished)))
    return result


def _drivers(item: pytest.Item) -> list[MemoryDriver]:
    return item.stash.get(DRIVERS, [])


def _failures(item: pytest.Item) -> list[BaseException]:
    """What failed unheard in this test; it is told once."""
    found: list[BaseException] = []
    for driver in _drivers(item):
        refusals = list(driver.refusals.values())
        failed = [(failure, EXPECTED) for failure in driver.failures]
        for outcome in list(driver.refusals):
            outcome.looked_at()
        driver.failures.clear()
        # of a handler that failed the request was answered with an error, too: that says less of it
        for failure, advice in failed or [(refusal, REFUSED) for refusal in refusals]:
            failure.add_note(advice)
            found.append(failure)
    return found


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("ipc_options"))):  # the closest mark counts most
        options.update(mark.kwargs)
    return options
