"""What users' tests get: pairs, servers, wires, and the fixtures for pytest."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from inner_pytest import run_pytest
from node_ipc import blocking
from node_ipc.config.address import Pipe, Tcp
from node_ipc.config.config import Config
from node_ipc.drivers import unseen
from node_ipc.errors import AddressInUse, ConfigError, ConnectDenied, HandlerError, RemoteError, WrongLoopError
from node_ipc.testing import Conditions, MemoryDriver, NothingHappens, Started, Wire, WireServer, connect, pair, serve


def test_a_pair_in_one_line() -> None:
    client, server, socket, driver = pair()
    heard: list[Any] = []
    server.on("add", lambda data, socket: socket.emit("sum", data["a"] + data["b"]))
    client.on("sum", heard.append)
    client.emit("add", {"a": 1, "b": 2})
    assert heard == []
    driver.run_until_idle()
    assert heard == [3]
    assert server.sockets == [socket]


def test_options_for_both_and_for_one() -> None:
    everything = pair(max_message_size=1000, client={"sync": True}, server={"max_connections": 3})
    client, server = everything.client.settings, everything.server.settings
    assert client.max_message_size == server.max_message_size == 1000
    assert (client.sync, server.sync) == (True, False)
    assert (client.max_connections, server.max_connections) == (100, 3)
    with pytest.raises(ConfigError):
        pair(maxMessageSize=5)


def test_a_configuration_is_copied() -> None:
    config = Config(retry=7)
    everything = pair(config=config, parser="fast")
    assert everything.client.settings.retry == 7
    assert everything.client.settings.profile == "fast"
    assert config.parser == "guarded"


@pytest.mark.parametrize(
    "address", ["tcp://localhost:0", Tcp("localhost", 0), "world", Pipe("a"), "tls://localhost:443"]
)
def test_any_address(address: Any) -> None:
    everything = pair(address=address)
    everything.client.emit("n")
    everything.driver.run_until_idle()
    assert everything.socket.stats().messages_in == 1


def test_the_assured_profile() -> None:
    everything = pair(parser="assured", allowed_events=["n"])
    assert everything.client.emit("n")


def test_several_pairs_on_one_driver() -> None:
    driver = MemoryDriver(conditions=Conditions(latency=0.5))
    first, second = pair(driver=driver), pair(driver=driver, address="unix:/memory/other")
    assert first.driver is second.driver is driver
    assert first.server is not second.server
    assert second.connection is driver.connections[-1]


def test_faults() -> None:
    everything = pair(retry=100)
    lost: list[Any] = []
    everything.client.on("disconnect", lost.append)
    everything.connection.drop()
    everything.driver.advance(1)
    assert len(lost) == 1
    assert everything.client.state is node_ipc.ClientState.CONNECTED
    assert everything.server.sockets != [everything.socket]


def test_errors_of_starting_and_connecting_are_raised() -> None:
    driver = MemoryDriver()
    serve(driver)
    with pytest.raises(AddressInUse):
        serve(driver)
    driver.refusal = ConnectDenied("no")
    with pytest.raises(ConnectDenied):
        connect(driver)


def test_a_started_server_gives_clients_and_wires() -> None:
    driver = MemoryDriver()
    started = Started(serve(driver), driver)
    client = started.connect(sync=True)
    wire = started.wire()
    assert client.settings.sync
    assert len(started.server.sockets) == 2
    wire.write(b'{"type":"n"')
    wire.write(b"}\f")
    driver.run_until_idle()
    assert started.server.sockets[1].stats().messages_in == 1
    wire.close()
    driver.run_until_idle()
    assert wire.is_lost or wire.has_ended


def test_a_server_of_wires() -> None:
    driver = MemoryDriver()
    server = WireServer(driver, "tcp://localhost:0")
    client = connect(driver, server.address)
    client.emit("n", 1)
    driver.run_until_idle()
    assert server.wires[0].take() == b'{"type":"n","data":1}\f'
    server.accepts = False
    refused = Wire.connected(driver, server.address)
    assert refused.has_ended
    with pytest.raises(AddressInUse):
        WireServer(driver, server.address)
    server.close()
    assert Wire.connected(driver, server.address).error is not None
    client.abort()
    driver.run_until_idle()


def test_handlers_that_wait_run_on_the_virtual_clock() -> None:
    client, server, _, driver = pair()

    @server.handle("later")
    async def later(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return driver.now()

    async def main() -> list[float]:
        return [await client.request("later", 3600, timeout=None), await client.request("later", 1)]

    assert driver.run(main(), limit=1e4) == [3600, 3601]


# ---- pytest


PLUGIN_TESTS = """
import pytest

def test_pair(ipc_pair):
    client, server, socket, driver = ipc_pair
    heard = []
    server.on("n", heard.append)
    client.emit("n", 1)
    driver.run_until_idle()
    assert heard == [1]

@pytest.mark.ipc_options(max_connections=7)
class TestMarked:
    @pytest.mark.ipc_options(sync=True)
    def test_options(self, ipc_pair):
        assert ipc_pair.server.settings.max_connections == 7
        assert ipc_pair.client.settings.sync

    @pytest.mark.ipc_options(max_connections=2)
    def test_the_closest_mark_counts(self, ipc_server):
        server, driver = ipc_server
        assert server.settings.max_connections == 2
        assert ipc_server.connect().state.value == "connected"
        assert ipc_server.wire().link is not None
        assert len(server.sockets) == 2

def test_coroutines_left_over_are_closed(ipc_pair):
    client, server, socket, driver = ipc_pair
    async def waiting(data):
        await driver.sleep(10)
    server.on("n", waiting)
    client.emit("n")
    client.emit("n")
    driver.run_until(lambda: driver.tasks)
"""


@pytest.mark.parametrize("how", ["-p", "twice"])
def test_the_plugin(tmp_path: Path, how: str) -> None:
    if how == "twice":  # by the entry point and by name
        (tmp_path / "conftest.py").write_text('pytest_plugins = ["node_ipc.pytest_plugin"]\n')
    run = run_tests(tmp_path, PLUGIN_TESTS)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout


def run_tests(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """What pytest says of a user's tests."""
    (folder / "test_users.py").write_text(program)
    arguments = ["-p", "node_ipc.pytest_plugin", "--strict-markers", "-W", "error", "-p", "no:asyncio", "test_users.py"]
    return run_pytest(folder, *arguments, paths=[Path(node_ipc.__file__).parent.parent])


FAILING_TESTS = """
import asyncio
import os
import pytest

def fails(ipc_pair):
    client, server, socket, driver = ipc_pair
    server.on("n", lambda data: 1 / 0)
    client.emit("n")
    driver.run_until_idle()

def test_one(ipc_pair):
    fails(ipc_pair)

def test_several_of_both_ends(ipc_server):
    client, driver = ipc_server.connect(), ipc_server.driver
    ipc_server.server.on("n", lambda data, socket: [socket.emit("n"), data["missing"]])
    client.on("n", lambda: 1 / 0)
    client.emit("n")
    driver.run_until_idle()

def test_one_that_waits(ipc_pair):
    client, server, socket, driver = ipc_pair
    async def late(data):
        await asyncio.sleep(3600)
        assert data == "something else"
    server.on("n", late)
    client.emit("n", "something")
    driver.advance(3601)

def test_of_a_request(ipc_pair):
    client, server, socket, driver = ipc_pair
    server.handle("divide", lambda params: 1 / 0)
    answer = client.request("divide")
    driver.run_until(answer)
    assert answer.error is not None

def test_a_failing_test_says_why(ipc_pair):
    client, server, socket, driver = ipc_pair
    got = []
    server.on("n", lambda data: got.append(data["missing"]))
    client.emit("n")
    driver.run_until_idle()
    assert got == [1], "the assertion itself"

@pytest.fixture
def mine(ipc_pair):
    return ipc_pair

def test_by_a_fixture_of_ones_own(mine):
    fails(mine)

@pytest.mark.parametrize("side", ["client", "server"])
def test_a_payload_that_does_not_fit(ipc_pair, side):
    client, server, socket, driver = ipc_pair
    here, there = (client, socket) if side == "client" else (server, client)
    @here.on("n")
    def number(data: int):
        raise AssertionError("it is not called")
    there.emit("n", "tea")
    driver.run_until_idle()

def test_one_that_does_not_fit_and_is_heard(ipc_pair):
    client, server, socket, driver = ipc_pair
    errors = []
    client.on("error", errors.append)
    client.on("n", print, type=int)
    socket.emit("n", "tea")
    driver.run_until_idle()
    assert "does not fit" in str(errors[0])

def test_heard_passes(ipc_pair):
    errors = []
    ipc_pair.server.on("error", errors.append)
    fails(ipc_pair)
    assert len(errors) == 1

def test_skipped_is_skipped(ipc_pair):
    fails(ipc_pair)
    pytest.skip("enough")
"""


def test_a_handler_that_fails_unheard_fails_its_test(tmp_path: Path) -> None:
    told = run_tests(tmp_path, FAILING_TESTS).stdout
    assert "8 failed, 2 passed, 1 skipped" in told
    assert told.count("InvalidPayload: the payload of 'n' does not fit at $: Expected `int`, got `str`") >= 2
    assert "ZeroDivisionError: division by zero" in told
    assert "server.on('error', errors.append)" in told
    assert "several errors that nobody heard (2 sub-exceptions)" in told
    assert "AssertionError: assert 'something' == 'something else'" in told
    assert (
        "the assertion itself" in told
        and "Before this there was an error that" in told
        and "KeyError: 'missing'" in told
    )


TOO_SOON = """
import asyncio
import os

def test_not_run(ipc_pair):
    client, server, socket, driver = ipc_pair
    got = []
    client.on("hi", got.append)
    socket.emit("hi", 1)
    assert got == [1]

def test_on_a_slow_link(ipc_pair):
    client, server, socket, driver = ipc_pair
    driver.conditions.latency = 1
    got = []
    client.on("hi", got.append)
    socket.emit("hi", 1)
    driver.run_until_idle()
    assert got == [1]
"""
IN_TIME = """
def test_another_mistake(ipc_pair):
    client, server, socket, driver = ipc_pair
    got = []
    client.on("hi", got.append)
    socket.emit("hi", 1)
    driver.run_until_idle()
    assert got == [2]

def test_in_a_coroutine(ipc_pair):
    client, server, socket, driver = ipc_pair
    server.handle("add", sum)
    async def main():
        assert await client.request("add", [1, 2]) == 4
    driver.run(main())
"""


def test_a_test_that_asks_too_soon_is_told_how_messages_arrive(tmp_path: Path) -> None:
    told = run_tests(tmp_path, TOO_SOON).stdout
    assert "2 failed" in told
    assert told.count("messages were still on their way: driver.run_until_idle() lets them arrive") == 2


def test_a_test_that_fails_otherwise_is_not_told_so(tmp_path: Path) -> None:
    told = run_tests(tmp_path, IN_TIME).stdout
    assert "2 failed" in told
    assert "on their way" not in told


def test_run_until_gives_the_outcome_back() -> None:
    client, server, _, driver = pair()
    server.handle("add", sum)
    assert driver.run_until(client.request("add", [1, 2])).result() == 3
    with pytest.raises(node_ipc.RemoteError, match="there is no method"):
        driver.run_until(client.request("ad")).result()
    client.emit("add")
    driver.run_until(lambda: server.stats().messages_in > 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: node_ipc.connect("world", timeout=1),
        lambda: node_ipc.serve("world"),
        lambda: node_ipc.serve_udp("127.0.0.1:0"),
        lambda: node_ipc.IPC().connect_to("world"),
    ],
    ids=["connect", "serve", "serve_udp", "ipc.connect_to"],
)
def test_real_endpoints_are_refused_on_the_virtual_clock(make: Callable[[], Any]) -> None:
    driver = MemoryDriver()

    async def main() -> None:
        await make()

    with pytest.raises(node_ipc.WrongLoopError, match=r"in memory, .* Use ipc_server\.connect\(\)"):
        driver.run(main())


GREEN_BUT_WRONG = """
import asyncio
import os
import node_ipc
import pytest

def test_the_last_line_emits(ipc_pair):
    client, server, socket, driver = ipc_pair
    server.on("n", lambda data: 1 / 0)
    client.emit("n", 1)

def test_the_last_line_emits_over_a_slow_link(ipc_server):
    ipc_server.driver.conditions.latency = 0.5
    client = ipc_server.connect()
    ipc_server.server.on("n", lambda data: 1 / 0)
    client.emit("n", 1)

def test_a_handler_that_waits_and_is_wrong(ipc_pair):
    client, server, socket, driver = ipc_pair
    @server.on("n")
    async def late(data):
        await asyncio.sleep(3600)
        assert data == 2
    client.emit("n", 1)

def test_a_request_that_is_refused(ipc_pair):
    client, server, socket, driver = ipc_pair
    @server.handle("order")
    def order(o: int):
        return o
    client.request("order", "two", timeout=1)
    driver.run_until_idle()

def test_a_request_that_nobody_answers_and_that_is_run(ipc_pair):
    client, server, socket, driver = ipc_pair
    driver.run_until(client.request("ordr"))

def test_a_request_whose_result_does_not_fit(ipc_pair):
    client, server, socket, driver = ipc_pair
    server.handle("order", lambda: "two")
    driver.run_until(client.request("order", type=int))

def test_a_request_that_fails_is_told_once(ipc_pair):
    client, server, socket, driver = ipc_pair
    server.handle("order", lambda: 1 / 0)
    client.request("order")

def test_refused_and_seen_passes(ipc_pair):
    client, server, socket, driver = ipc_pair
    server.handle("order", print, type=int)
    async def main():
        with pytest.raises(node_ipc.RemoteError):
            await client.request("order", "two")
    driver.run(main())
    answer = client.request("order", "two")
    driver.run_until(answer)
    assert answer.error.code == -32602

def test_one_that_never_ends_is_told(ipc_pair):
    client, server, socket, driver = ipc_pair
    @server.on("n")
    async def for_ever(data):
        await asyncio.Event().wait()
    client.emit("n", 1)

def test_a_ticker_is_told(ipc_pair):
    client, server, socket, driver = ipc_pair
    @server.on("n")
    async def ticks(data, socket):
        while True:
            socket.emit("tick")
            await asyncio.sleep(1)
    client.emit("n", 1)

def test_a_ticker_that_is_closed_passes(ipc_pair):
    test_a_ticker_is_told(ipc_pair)
    ipc_pair.driver.run_until_idle()
    ipc_pair.driver.close()

def test_two_that_answer_each_other_for_ever_pass(ipc_pair):
    client, server, socket, driver = ipc_pair
    count = []
    server.on("n", lambda data, socket: socket.emit("n", data))
    client.on("n", lambda data: [count.append(data), client.emit("n", data)])
    client.emit("n", 1)
    driver.run_until(lambda: len(count) > 9)
"""


def test_what_was_not_waited_for_is_done_where_a_test_ends(tmp_path: Path) -> None:
    told = run_tests(tmp_path, GREEN_BUT_WRONG).stdout
    assert "9 failed, 3 passed" in told, told
    assert "assert 1 == 2" in told
    assert told.count("RemoteError: the payload of 'order' does not fit at $: Expected `int`, got `str`") >= 1
    assert "RemoteError: there is no method 'ordr'" in told
    assert "It is the answer to a request that nobody looked at" in told
    assert "ExceptionGroup: several" not in told  # of one failure, both ends hear
    assert told.count("async handlers that had not ended where the test did: 1.") >= 2


def test_what_is_left_is_finished() -> None:
    client, server, _, driver = pair()
    ends: list[float] = []

    @server.on("wait")
    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)
        ends.append(driver.now())

    client.emit("wait", 10)
    client.emit("wait", 3600)
    assert driver.finish() == 0
    assert ends == [10, 3600]
    assert driver.finish() == 0
    assert driver.now() == 3600


def test_an_outcome_says_how_to_get_its_value() -> None:
    client, server, _, driver = pair()
    server.handle("one", lambda: 1)
    one, none = client.request("one"), client.request("none")
    assert "driver.run_until(outcome), then outcome.result()" in repr(one)
    driver.run_until_idle()
    assert repr(one) == "<MemoryOutcome of 1: outcome.result() gives it>"
    assert "an error: RemoteError(" in repr(none) and "outcome.result() raises it" in repr(none)
    assert none in driver.refusals  # to be shown is not to be looked at
    assert none.error is not None and not driver.refusals


def test_what_a_fixture_has_not_is_said_with_whose_it_is() -> None:
    made = pair()
    started = Started(made.server, made.driver)
    with pytest.raises(AttributeError, match=r"'Started' object .* it is \(server, driver\): use \.server\.on$"):
        started.on  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"use \.client\.on or \.server\.on$"):
        made.on  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match=r"use \.driver\.advance$"):
        started.advance  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(made, "nonsense")
    for wrong in ("client", "connection"):
        with pytest.raises(AttributeError, match=r"ipc_server\.connect\(\) gives another client$"):
            getattr(started, wrong)
    with pytest.raises(AttributeError, match=r"connect\(driver, server\.address\) of node_ipc\.testing gives another"):
        made.connect  # type: ignore[attr-defined]  # noqa: B018


def test_a_client_in_the_wrong_place_is_led_to_the_right_one() -> None:
    made = pair()
    with pytest.raises(
        TypeError, match=r"ipc_server\.connect\(\) takes no address, so no 'world': it connects to this"
    ):
        Started(made.server, made.driver).connect("world")
    wrong: Any
    for wrong in ("world", made.server):
        with pytest.raises(
            TypeError, match=r"connect\(driver, server\.address\)\. With the fixture, ipc_server\.connect"
        ):
            connect(wrong)
        with pytest.raises(TypeError, match=r'takes the memory driver first, .*: serve\(driver, "world"\)'):
            serve(wrong)
    wrong = made.server
    with pytest.raises(TypeError, match=r"give its own, server\.address"):
        connect(made.driver, wrong)
    there = re.escape(f"There is no link to unix:/memory/app.wrld: {'cannot connect to unix:/memory/app.wrld'}")
    with pytest.raises(NothingHappens, match=rf"{there}.*Servers of this driver are at: unix:/memory/app\.world\."):
        connect(made.driver, "wrld")
    made.server.abort()
    made.driver.run_until_idle()
    with pytest.raises(NothingHappens, match=r"Servers of this driver are at: none\."):
        connect(made.driver, "world")


# ---- a with block


def test_what_fails_in_a_handler_fails_the_with_block() -> None:
    with pytest.raises(HandlerError, match="a handler of 'n' failed") as failed, pair() as made:
        made.server.on("n", lambda data: 1 / data)
        made.client.emit("n", 0)  # the last line: it arrives nevertheless
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert "No 'error' handler heard this, so the test fails" in failed.value.__notes__[0]
    assert made.driver.failures == []
    with pytest.raises(HandlerError), MemoryDriver() as driver:
        client, server, _, _ = pair(driver=driver)
        server.on("n", lambda data: 1 / data)
        client.emit("n", 0)
        driver.run_until_idle()


def test_several_that_fail_in_a_with_block_are_a_group_and_a_refused_request_is_one() -> None:
    with pytest.raises(ExceptionGroup, match="several errors that nobody heard") as several, pair() as made:
        made.server.on("n", lambda data: 1 / data)
        made.client.emit("n", 0)
        made.client.emit("n", "")
    assert len(several.value.exceptions) == 2
    with pytest.raises(RemoteError, match="there is no method 'ordr'") as refused, pair() as made:
        made.client.request("ordr")
    assert "It is the answer to a request that nobody looked at" in refused.value.__notes__[0]


def test_what_a_with_block_raises_goes_on_with_what_failed_before() -> None:
    with pytest.raises(AssertionError) as failed, pair() as made:
        made.server.on("n", lambda data: 1 / data)
        made.client.emit("n", 0)
        made.driver.run_until_idle()
        made.client.emit("n", 1)
        raise AssertionError
    first, second = failed.value.__notes__
    assert "messages were still on their way" in first
    assert "Before this there was an error that nobody heard" in second and "ZeroDivisionError" in second


def test_what_was_heard_does_not_fail_a_with_block() -> None:
    errors: list[Exception] = []
    with pair() as (client, server, _, driver):
        server.on("n", lambda data: 1 / data)
        server.on("error", errors.append)
        client.emit("n", 0)
        driver.run_until_idle()
        server.off("error", errors.append)
        client.emit("n", 0)
        driver.run_until_idle()
        driver.failures.clear()
    assert [type(error) for error in errors] == [HandlerError]


UNSEEN = """
import gc
import pytest
from node_ipc.testing import MemoryDriver, pair

def fails(made):
    made.server.on("n", lambda data: 1 / 0)
    made.client.emit("n", 1)
    made.driver.run_until_idle()

def test_nobody_looks():
    fails(pair())

def test_nobody_looks_and_the_driver_is_gone():
    fails(pair())
    gc.collect()

def test_one_that_does_not_fit():
    client, server, socket, driver = pair()
    server.on("n", lambda data: None, type=int)
    client.emit("n", "tea")
    driver.run_until_idle()

@pytest.fixture
def mine():
    return pair()

def test_of_a_fixture(mine):
    fails(mine)

def test_that_fails_anyhow(mine):
    fails(mine)
    with pytest.raises(ValueError):
        mine.driver.advance(1)

def test_somebody_looks():
    client, server, socket, driver = made = pair()
    fails(made)
    assert [type(failure.__cause__) for failure in driver.failures] == [ZeroDivisionError]

def test_somebody_hears():
    made = pair()
    errors = []
    made.server.on("error", errors.append)
    fails(made)
    assert len(errors) == 1

def test_a_with_block_raises():
    with pytest.raises(Exception, match="a handler of 'n' failed"), pair() as made:
        fails(made)

@pytest.fixture
def looks():
    made = pair()
    yield made
    assert len(made.driver.failures) == 1

def test_a_fixture_looks(looks):
    fails(looks)

@pytest.fixture(scope="module")
def driver():
    driver = MemoryDriver()
    yield driver
    assert len(driver.failures) == 1

def test_one_that_lives_on(driver):
    fails(pair(driver=driver))

def test_meant_to_fail():
    fails(pair())
    pytest.xfail("it does")

def test_behind_it(driver):
    pass
"""


def test_a_failure_that_nobody_looked_at_is_an_error_of_its_test(tmp_path: Path) -> None:
    told = run_tests(tmp_path, UNSEEN).stdout
    assert "1 failed, 10 passed, 1 xfailed, 4 errors" in told, told
    for name in ("nobody_looks", "nobody_looks_and_the_driver_is_gone", "one_that_does_not_fit", "of_a_fixture"):
        assert f"ERROR at teardown of test_{name} " in told
    assert told.count("nobody looked at driver.failures. Where it is what the test wants") == 5
    assert "InvalidPayload: the payload of 'n' does not fit at $: Expected `int`, got `str`" in told
    why = told.partition("test_that_fails_anyhow")[2]
    assert "DID NOT RAISE" in why and "Before this there was an error that nobody heard" in why


def test_what_fails_on_a_driver_of_a_test_that_has_ended_is_a_warning() -> None:
    test = unseen.Unseen()
    with unseen.made_by(test):
        driver = MemoryDriver()
    assert test.take() == []
    test.is_over = True
    driver.keep_failure(ValueError("too late for its test"))
    with pytest.warns(RuntimeWarning, match="too late for its test"):
        del driver
        gc.collect()


def test_of_many_inputs_in_one_test_the_last_failures_are_told() -> None:
    test = unseen.Unseen()
    with unseen.made_by(test):
        drivers = [MemoryDriver() for _ in range(100)]
    for number, driver in enumerate(drivers):
        driver.keep_failure(ValueError(number))
    assert [failure.args[0] for failure in test.take()] == list(range(90, 100))
    assert test.take() == []


def test_without_the_plugin_it_is_a_warning_with_the_handlers_line(tmp_path: Path) -> None:
    program = tmp_path / "test_users.py"
    program.write_text(
        """
import unittest
from node_ipc.testing import pair

class Tests(unittest.TestCase):
    def test_nobody_looks(self):
        client, server, socket, driver = pair()
        server.on("n", lambda data: 1 / 0)
        client.emit("n")
        driver.run_until_idle()

    def test_somebody_looks(self):
        client, server, socket, driver = pair()
        server.on("other", lambda data: 1 / 0)
        client.emit("other")
        driver.run_until_idle()
        self.assertEqual(len(driver.failures), 1)
"""
    )
    paths = {**os.environ, "PYTHONPATH": str(Path(node_ipc.__file__).parent.parent)}
    command = [sys.executable, "-m", "unittest", "-q", "test_users"]
    told = subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True).stderr
    assert told.count("RuntimeWarning") == 1
    assert "test_users.py:8: RuntimeWarning: HandlerError: a handler of 'n' failed: ZeroDivisionError" in told
    assert "nobody looked at driver.failures" in told


MISHEARD = """
import pytest
from node_ipc import ConnectError, blocking

def test_an_event_that_nobody_hears(ipc_pair):
    client, server, socket, driver = ipc_pair
    server.on("message", print)
    client.emit("mesage", 1)

def test_one_that_no_client_hears(ipc_pair):
    client, server, socket, driver = ipc_pair
    client.on("answer", print)
    server.broadcast("anser", 1)

def test_one_that_is_not_like_another(ipc_pair):
    ipc_pair.server.on("message", print)
    ipc_pair.client.emit("other", 1)

def test_a_method_that_is_emitted(ipc_server):
    ipc_server.server.handle("add", print)
    ipc_server.connect().emit("add", 1)

def test_a_real_client(ipc_server, tmp_path):
    blocking.connect("world", socket_root=f"{tmp_path}/")
"""


def test_an_event_that_is_nearly_a_handlers_is_told_by_the_fixtures(tmp_path: Path) -> None:
    told = run_tests(tmp_path, MISHEARD).stdout  # where warnings are errors
    assert "4 failed, 1 passed" in told, told
    assert "events named 'mesage' come, and no handler hears them; there is one for 'message'" in told
    assert "events named 'anser' come, and no handler hears them; there is one for 'answer'" in told
    assert "there is one for requests of 'add': was request meant, and not emit?" in told
    assert "ipc_server.connect() gives a client of it, and ipc_pair has one" in told


def test_the_tests_on_the_page_pass(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "howto" / "testing.md").read_text("utf-8")
    programs = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)
    assert len(programs) == 6
    assert "7 passed" in run_tests(tmp_path, "\n".join(programs)).stdout


def test_the_plugin_in_this_process(request: pytest.FixtureRequest) -> None:
    from node_ipc import pytest_plugin

    options = pytest_plugin._options(request)
    assert options == {}
    assert pytest_plugin.__all__ == ["ipc_pair", "ipc_server"]


def test_a_client_of_a_pair_says_what_it_has_in_the_place_of_receive() -> None:
    client, server, _, driver = pair()
    for endpoint in (client, server):
        with pytest.raises(AttributeError, match=r"no attribute 'receive': use on\(event, handler\)"):
            endpoint.receive("message")  # type: ignore[union-attr]
    driver.close()


@pytest.mark.parametrize("verb", ["connect", "serve", "serve_udp", "reconnect"])
def test_the_blocking_front_on_the_virtual_clock_says_what_to_use(verb: str, tmp_path: Path) -> None:
    """It would make a real socket, and hold up the clock that it waits for."""

    async def main() -> None:
        where = "127.0.0.1:0" if verb == "serve_udp" else "world"
        made = getattr(blocking, verb)(where, socket_root=f"{tmp_path}/")
        next(made)

    with MemoryDriver() as driver, pytest.raises(WrongLoopError, match=r"Use ipc_server\.connect\(\)"):
        driver.run(main())


def test_seconds_given_to_run_until_name_advance() -> None:
    driver = MemoryDriver()
    with pytest.raises(TypeError, match=r"not 2\.0: advance\(2\.0\) lets so much time pass"):
        driver.run_until(2.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"a condition to call, or an outcome, not 'done'$"):
        driver.run_until("done")  # type: ignore[arg-type]


def test_what_nobody_heard_is_named_where_nothing_happens() -> None:
    client, server, _, driver = pair()
    with pytest.raises(NothingHappens, match=r" s$"):
        driver.run_until(lambda: False)
    server.on("join", lambda data: None)
    client.emit("jion", 1)
    with pytest.raises(NothingHappens, match=r"got 1 event that no handler heard \(there are handlers of: 'join'\)"):
        driver.run_until(lambda: False)
