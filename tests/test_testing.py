"""What users' tests get: pairs, servers, wires, and the fixtures for pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import node_ipc
from node_ipc.config.address import Pipe, Tcp
from node_ipc.config.config import Config
from node_ipc.errors import AddressInUse, ConfigError, ConnectDenied
from node_ipc.testing import Conditions, MemoryDriver, Started, Wire, WireServer, connect, pair, serve


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
    assert everything.socket.messages_in == 1


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
    assert started.server.sockets[1].messages_in == 1
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
        await driver.sleep(seconds)
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
    (tmp_path / "test_users.py").write_text(PLUGIN_TESTS)
    if how == "twice":  # by the entry point and by name
        (tmp_path / "conftest.py").write_text('pytest_plugins = ["node_ipc.pytest_plugin"]\n')
    source = str(Path(node_ipc.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    arguments = ["-p", "node_ipc.pytest_plugin", "-q", "--strict-markers", "-W", "error", "-p", "no:asyncio"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "test_users.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout


def test_the_plugin_in_this_process(request: pytest.FixtureRequest) -> None:
    from node_ipc import pytest_plugin

    options = pytest_plugin._options(request)
    assert options == {}
    assert pytest_plugin.__all__ == ["ipc_pair", "ipc_server"]
