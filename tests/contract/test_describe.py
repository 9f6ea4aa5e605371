"""Servers that say themselves what they take: ``rpc.describe`` and ``rpc.ping``, on every front."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import subprocess
import sys
import threading
from typing import Any

import pytest
from msgspec import Struct

import node_ipc
from node_ipc import IPC, Client, Event, RemoteError, Server, blocking
from node_ipc.contract import Contract, ContractError, Message, Method, contract_of, describe, json_schema, typescript
from node_ipc.contract.describe import MOST_BYTES
from node_ipc.testing import Pair, pair, serve

from .shop import register


class Order(Struct):
    item: str
    count: int = 1


def asked(ends: Pair, method: str = "rpc.describe", params: Any = None) -> Any:
    answer = ends.client.request(method, params)
    ends.driver.run_until_idle()
    return answer.result()


def test_nothing_is_told_unless_the_server_was_told_to() -> None:
    ends = pair()
    register(ends.server)
    for method in ("rpc.describe", "rpc.ping"):
        with pytest.raises(RemoteError, match="there is no method"):
            asked(ends, method)


def test_what_is_registered_is_told_with_schemas_version_and_limits() -> None:
    ends = pair(max_message_size=100_000, message_timeout=math.inf, delimiter="\n")
    describe(ends.server, title="The shop", version="2.1.0", sends=[Event("done", list[Order])])
    register(ends.server)
    document = asked(ends)
    assert document["asyncapi"] == "3.0.0"
    assert document["info"] == {"title": "The shop", "version": "2.1.0"}
    own = document["x-node-ipc"]
    assert own["id"] == "world" and own["delimiter"] == "\n"
    assert own["software"] == f"node-ipc for Python {node_ipc.__version__}"
    assert own["limits"]["maxMessageSize"] == 100_000 and own["limits"]["messageTimeout"] is None
    assert document["operations"]["receive.order"]["summary"] == "Somebody wants something."
    assert document["operations"]["answers.add"]["x-node-ipc-method"] == "add"
    assert document["components"]["schemas"]["Terms"]["properties"] == {
        "a": {"type": "integer"},
        "b": {"type": "integer"},
    }
    assert "send.done" in document["operations"]


def test_nothing_of_the_machine_is_told() -> None:
    ends = pair(address="unix:/memory/secret place/app.world")
    describe(ends.server)
    register(ends.server)
    assert "secret place" not in json.dumps(asked(ends)) and "servers" not in asked(ends)


def test_it_follows_the_handlers_and_is_written_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    ends = pair()
    describe(ends.server)
    assert asked(ends)["operations"] == {}
    module = sys.modules["node_ipc.contract.describe"]
    write = module.asyncapi

    def counted(contract: Contract) -> Any:
        written.append(contract)
        return write(contract)

    monkeypatch.setattr(module, "asyncapi", counted)
    ends.server.on("order", lambda data: None, type=Order)
    for _ in range(3):
        assert list(asked(ends)["operations"]) == ["receive.order"]
    assert len(written) == 1
    ends.server.off("order")
    ends.server.handle("add", lambda params: params)
    assert list(asked(ends)["operations"]) == ["answers.add"]
    assert len(written) == 2


@pytest.mark.parametrize("params", [None, 1, "text", {"a": [1, 2]}])
def test_ping_comes_back(params: Any) -> None:
    ends = pair()
    describe(ends.server)
    assert asked(ends, "rpc.ping", params) == ("pong" if params is None else params)


def test_a_contract_that_is_said_is_told_as_it_is() -> None:
    ends = pair()
    describe(ends.server, Contract("shop", receives=[Message("order", Order)], version="3.0.0"))
    ends.server.on("other", lambda: None)
    document = asked(ends)
    assert list(document["operations"]) == ["receive.order"] and document["info"]["version"] == "3.0.0"


def test_a_client_describes_itself_to_its_server() -> None:
    ends = pair()
    describe(ends.client)
    ends.client.handle("where", lambda params: "here", type=Order)
    answer = ends.server.request(ends.socket, "rpc.describe")
    ends.driver.run_until_idle()
    assert list(answer.result()["operations"]) == ["asks.where"]


def test_what_cannot_describe_itself_is_refused() -> None:
    ends = pair()
    describe(ends.server)
    with pytest.raises(ContractError, match=r"answers rpc\.describe or rpc\.ping already"):
        describe(ends.server)
    ends.client.handle("rpc.ping", lambda: None)
    with pytest.raises(ContractError, match="already"):
        describe(ends.client)
    with pytest.raises(RemoteError, match="no method"):  # nor half of it
        answer = ends.server.request(ends.socket, "rpc.describe")
        ends.driver.run_until_idle()
        answer.result()
    nothing: Any = IPC()
    with pytest.raises(ContractError, match=r"ipc\.server"):
        describe(nothing)


async def test_a_udp_port_answers_no_requests() -> None:
    async with node_ipc.serve_udp("udp4://127.0.0.1:0") as port:
        server: Any = port
        with pytest.raises(ContractError, match="UDP"):
            describe(server)


def test_a_description_that_is_too_long_is_refused_and_harms_nobody() -> None:
    ends = pair()
    describe(ends.server, description="x" * MOST_BYTES)
    with pytest.raises(RemoteError, match=f"and {MOST_BYTES} at most are sent"):
        asked(ends)
    assert asked(ends, "rpc.ping") == "pong" and ends.server.stats().errors == 0


def test_what_no_payload_can_be_is_told_to_the_server_only() -> None:
    errors: list[str] = []
    ends = pair()
    ends.server.on("error", lambda error: errors.append(str(error)))
    describe(ends.server, sends=[Message("odd", complex)])
    with pytest.raises(RemoteError, match="the handler failed"):
        asked(ends)
    assert len(errors) == 1 and "complex" in errors[0]


def test_what_carries_requests_is_no_part_of_it() -> None:
    """A server that asks with progress hears ``rpc.progress``."""
    ends = pair()
    describe(ends.server)
    ends.server.on("order", lambda: None)
    ends.server.request(ends.socket, "work", progress=lambda data: None)
    assert list(asked(ends)["operations"]) == ["receive.order"]
    assert [each.name for each in contract_of(ends.server).receives] == ["order"]
    assert contract_of(ends.server).answers == []


@pytest.mark.filterwarnings("ignore::node_ipc.contract.ContractWarning")
def test_the_contract_comes_back_from_the_document() -> None:
    ends = pair()
    describe(ends.server, name="shop", version="2.0.0", sends=[Event("done", list[Order])])
    register(ends.server)
    found = contract_of(asked(ends))
    assert repr(found) == "<Contract 'shop', receives 8, sends 1, answers 3, asks 0>"
    assert found.version == "2.0.0"
    [order] = [each for each in found.receives if each.name == "order"]
    assert order.description == "Somebody wants something."
    own = contract_of(ends.server, name="shop", version="2.0.0", sends=[Event("done", list[Order])])
    gc.collect()  # what the types are made of is there as long as the contract
    again, plain = json_schema(found)["$defs"], json_schema(own)["$defs"]
    for name in ("Terms", "Circle", "Square", "Tree", "receives.count", "answers.page.params"):
        assert _without_words(again[name]) == _without_words(plain[name])
    assert "export interface Terms {" in typescript(found)


def _without_words(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_words(each) for key, each in schema.items() if key != "description"}
    return schema


def test_contracts_that_are_gone_leave_no_modules() -> None:
    def left() -> set[str]:
        gc.collect()
        return {name for name in sys.modules if name.startswith("_declared_")}

    before = left()
    found = contract_of(_of(Method("add", list[Order], int)))
    assert len(left() - before) == 1
    del found
    assert left() == before


def _of(method: Method) -> dict[str, Any]:
    from node_ipc.contract import asyncapi

    return asyncapi(Contract("shop", answers=[method]))


@pytest.mark.parametrize(
    "change",
    [
        {"info": {"title": '"""\nimport os\nos.abort()\n"""', "version": "1"}},
        {"x-node-ipc": {"id": '");import os;os.abort();("'}},
        {"operations": {"a": {"action": "receive", "channel": {"address": 'x"\n;1/0', "messages": {"m": {}}}}}},
        {"operations": {"a": {"action": "receive", "channel": {"$ref": "#/operations/a/channel"}}}},
        {"operations": 7},
        {"asyncapi": "2.6.0"},
        {"info": None, "operations": {"a": None}},
    ],
)
def test_a_document_of_a_hostile_server_declares_types_or_is_refused(change: dict[str, Any]) -> None:
    document = {**_of(Method("add", list[Order], int)), **change}
    try:
        assert isinstance(contract_of(document), Contract)
    except ContractError as error:
        assert str(error)


# ---- on real sockets


async def test_an_asyncio_server(root: str) -> None:
    async with node_ipc.serve("world", socket_root=root) as server:
        describe(server, version="4.0.0")

        @server.handle("add")
        async def add(params: list[int]) -> int:
            return sum(params)

        async with node_ipc.connect("world", socket_root=root) as client:
            document = await client.request("rpc.describe")
            assert document["info"]["version"] == "4.0.0" and list(document["operations"]) == ["answers.add"]
            pings = await asyncio.gather(*(client.request("rpc.ping", n) for n in range(1000)))
            assert pings == list(range(1000))
            many = await asyncio.gather(*(client.request("rpc.describe") for _ in range(200)))
            assert all(each == document for each in many)


def test_a_blocking_server(root: str) -> None:
    with blocking.serve("world", socket_root=root) as server:
        describe(server, version="4.0.0")
        server.on("order", lambda data: None, type=Order)
        server.on("end", lambda: server.stop())
        found: list[Any] = []

        def ask() -> None:
            with blocking.connect("world", socket_root=root) as client:
                found.extend([client.request("rpc.describe"), client.request("rpc.ping")])
                client.emit("end")

        thread = threading.Thread(target=ask)
        thread.start()
        server.serve_forever()
        thread.join()
    assert found[0]["info"]["version"] == "4.0.0" and "receive.order" in found[0]["operations"]
    assert found[1] == "pong"


def test_the_server_of_the_callback_front(root: str) -> None:
    code = f"""
from node_ipc import ipc
from node_ipc.contract import describe
ipc.config.id, ipc.config.silent, ipc.config.socket_root = "world", True, {root!r}
def ready():
    describe(ipc.server, version="5.0.0")
    ipc.server.on("order", lambda data, socket: None)
    ipc.connect_to("world", ask)
def ask():
    answer = ipc.of.world.request("rpc.describe")
    answer.then(lambda: tell(answer.value))
def tell(document):
    print(document["info"]["version"], *document["operations"])
    ipc.disconnect("world")
    ipc.server.stop()
ipc.serve(ready)
ipc.server.start()
ipc.run()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr) == ("5.0.0 receive.order\n", "")


def test_workers_describe_themselves_by_their_setup() -> None:
    """A setup is a function that registers, and a contract of it is the same with and without."""

    def setup(server: Server) -> None:
        describe(server)
        server.on("order", lambda data: None, type=Order)

    found = contract_of(setup)
    assert ([each.name for each in found.receives], found.answers) == (["order"], [])


def test_types() -> None:
    """What ``serve`` and ``connect`` return fits, as a type checker sees it."""
    server: Server = serve(pair().driver, "unix:/memory/app.typed")
    client: Client = pair().client
    describe(server)
    describe(client)
    assert (type(server), type(client)) == (Server, Client)
