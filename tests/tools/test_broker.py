"""``node-ipc doctor`` at a broker, and what it says of the bus of a server that describes itself."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import brokers
import node_ipc
from brokers import Broker
from cluster_ends import ends, until
from node_ipc import Config, contract
from node_ipc.tools.broker import is_broker, visit
from node_ipc.tools.cli import main


@pytest.fixture(params=["nats", "redis"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    started = brokers.start(request.param)
    yield started
    started.close()


FAST = Config(bus_heartbeat=100, bus_group="test")
LISTENING = Config(bus_heartbeat=1_000, bus_group="test")
"""For so long that those whose heartbeats are a tenth of this are heard, however late some of them are."""


async def test_a_broker_that_takes_us_and_who_is_there(broker: Broker) -> None:
    gets_in, said = await visit(broker.url, FAST, 5)
    assert gets_in and "a server gets in" in said[0] and "bytes" in said[0]
    assert said[1].startswith("no server of the group 'test' is heard there")
    async with ends(broker, ("a",), ("a",)) as all:
        gets_in, said = await visit(broker.url, LISTENING, 5)
        assert gets_in and said[1] == "2 servers of the group 'test', with 2 sockets"
        assert not any(all.errors) and [len(server.everywhere.nodes) for server in all.servers] == [1, 1]


async def test_one_that_is_away_or_does_not_know_us_is_said_without_the_password() -> None:
    broker = brokers.start(
        "nats", config='authorization { user: "me", password: "nevershown" }\n', user="me:nevershown-either@"
    )
    try:
        gets_in, said = await visit(broker.url, FAST, 5)
        assert not gets_in and "does NOT get in" in said[0] and "Authorization Violation" in said[0]
        broker.kill()
        gets_in, more = await visit(broker.url, FAST, 5)
        assert not gets_in and "cannot be reached" in more[0] and "nevershown-either" not in str(said + more)
    finally:
        broker.close()


DEAF: dict[str, dict[str, Any]] = {
    "nats": {"config": 'authorization { users: [ {user: "me", password: "x", permissions: {publish: "other"} } ] }\n'},
    "redis": {"arguments": ("--user", "me", "on", ">x", "resetchannels", "+@all", "~*")},
}


@pytest.mark.parametrize("engine", DEAF)
async def test_one_whose_permissions_do_not_let_our_messages_through(engine: str) -> None:
    broker = brokers.start(engine, **DEAF[engine], user="me:x@")
    try:
        gets_in, said = await visit(broker.url, FAST, 3)
        assert not gets_in and "do NOT come through" in said[0], said
    finally:
        broker.close()


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    broker = brokers.start("redis")
    try:
        assert main(["doctor", broker.url, "-o", "bus_heartbeat=50"]) == 0
        assert capsys.readouterr().out.startswith("a server gets in at redis://127.0.0.1")
        broker.kill()
        assert main(["doctor", broker.url.replace("://", "://me:nevershown@")]) == 1
        out = capsys.readouterr().out
        assert "does NOT get in" in out and "nevershown" not in out
    finally:
        broker.close()
    assert main(["doctor", "redis://me:nevershown@host:port"]) != 0
    assert "nevershown" not in capsys.readouterr().err


def test_what_is_a_broker_and_what_a_server_of_ours() -> None:
    assert [is_broker(each) for each in ("nats://h", "redis://h", "REDISS://h")] == [True] * 3
    assert [is_broker(each) for each in ("tls://h:1", "nats", "redis", "unix:/a", "/nats:")] == [False] * 5


async def test_a_server_that_describes_itself_says_how_its_bus_is(broker: Broker) -> None:
    async with ends(broker, ("a",), ("a",)) as all:
        contract.describe(all.servers[0])
        document = await all.clients[0].request("rpc.describe")
        assert document["x-node-ipc"]["bus"] == {"engine": broker.name, "state": "up", "servers": 2}
        path = f"{broker.folder}/s0"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "node_ipc", "doctor", path), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert f"its bus ({broker.name}) is up, with 1 other server" in out.decode()
        await asyncio.to_thread(broker.kill)
        await until(lambda: all.events[0][-1] == "bus.down")
        document = await all.clients[0].request("rpc.describe")
        assert document["x-node-ipc"]["bus"]["state"] == "down"
    async with node_ipc.serve(f"{broker.folder}/alone") as alone, node_ipc.connect(f"{broker.folder}/alone") as client:
        contract.describe(alone)
        assert "bus" not in (await client.request("rpc.describe"))["x-node-ipc"]
