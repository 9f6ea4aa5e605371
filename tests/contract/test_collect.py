"""From code to a contract: whatever has handlers."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest

import node_ipc
from node_ipc import IPC, Config, Event, blocking
from node_ipc.contract import (
    Contract,
    ContractError,
    ContractWarning,
    Message,
    Method,
    contract_of,
    json_schema,
    typescript,
)
from node_ipc.core.server import ServerState
from node_ipc.testing import Pair, pair

from . import shop


@pytest.fixture
def ends() -> Iterator[Pair]:
    both = pair()
    yield both
    both.driver.close()


def said(contract: Contract) -> dict[str, list[str]]:
    """Names by direction, without those that have none."""
    directions = ("receives", "sends", "answers", "asks")
    return {each: [item.name for item in getattr(contract, each)] for each in directions if getattr(contract, each)}


# ---- what it is made from


def test_a_function_is_called_with_a_server_that_listens_nowhere() -> None:
    contract = contract_of(shop.register, events=[shop.order, shop.done])
    assert said(contract) == {
        "receives": ["blobs", "count", 'odd name/with ~ and "quotes"', "order", "ping", "row", "times", "tree"],
        "sends": ["done"],
        "answers": ["add", "free", "page"],
    }
    types = dict(contract.payloads())
    assert types["receives.order"] is shop.Order
    assert types["receives.ping"] is Any
    assert types["answers.page.params"] == list[shop.Point]
    assert types["answers.page.result"] == shop.Page[int]
    assert (types["answers.free.params"], types["answers.free.result"]) == (Any, Any)
    assert (contract.name, contract.address) == ("world", None)


def test_a_server_of_the_core(ends: Pair) -> None:
    shop.register(ends.server)
    contract = contract_of(ends.server)
    assert said(contract)["answers"] == ["add", "free", "page"]
    assert contract.name == "world"
    assert contract.address == ends.server.address


def test_a_client_is_the_other_side(ends: Pair) -> None:
    ends.client.on(shop.done, lambda data: None)
    ends.client.handle("confirm", lambda params: True)
    contract = contract_of(ends.client, sends=[shop.order])
    assert said(contract) == {"receives": ["order"], "sends": ["done"], "asks": ["confirm"]}


def test_what_carries_requests_is_no_event(ends: Pair) -> None:
    ends.server.on("a", print)
    ends.client.request("b")
    ends.server.handle("c", lambda params: None)
    ends.driver.run_until_idle()
    ends.client.on("d", print)
    assert said(contract_of(ends.server)) == {"receives": ["a"], "answers": ["c"]}
    assert said(contract_of(ends.client)) == {"sends": ["d"]}


async def test_a_server_of_asyncio(tmp_path: Any) -> None:
    async with node_ipc.serve(f"unix:{tmp_path}/app.moon") as server:
        shop.register(server)
        contract = contract_of(server)
    assert contract.name == "moon"
    assert "order" in said(contract)["receives"]


def test_a_server_and_a_client_of_blocking(tmp_path: Any) -> None:
    with blocking.serve(f"unix:{tmp_path}/moon.sock") as server:
        server.on(shop.order, lambda data, socket: None)
        assert contract_of(server).name == "moon"
        assert said(contract_of(server)) == {"receives": ["order"]}


async def test_a_udp_port() -> None:
    async with node_ipc.serve("udp4://127.0.0.1:0") as port:
        port.on(shop.order, lambda data, peer: None)
        contract = contract_of(port)
    assert said(contract) == {"receives": ["order"]}
    assert contract.name == "world"


def test_an_ipc_with_handlers_in_the_callback_of_serve() -> None:
    """As every program of node-ipc has them; nothing listens for that."""
    ipc = IPC(Config(id="sun", silent=True))

    def started() -> None:
        shop.register(ipc.server)

    ipc.serve(started)
    contract = contract_of(ipc)
    assert contract.name == "sun"
    assert "order" in said(contract)["receives"]
    assert said(contract_of(ipc)) == said(contract)
    assert ipc.server.state is ServerState.IDLE


def test_a_callback_of_serve_that_fails_is_the_error() -> None:
    ipc = IPC(Config(silent=True))
    ipc.serve(lambda: 1 / 0)
    with pytest.raises(ContractError, match=r"the callback of serve\(\) failed: ZeroDivisionError") as raised:
        contract_of(ipc)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_a_module_of_events_goes_both_ways() -> None:
    module = ModuleType("events")
    module.order, module.again, module.other = Event("order", int), Event("order", int), 5  # type: ignore[attr-defined]
    assert said(contract_of(module)) == {"receives": ["order"], "sends": ["order"]}


def test_a_contract_is_what_it_is() -> None:
    contract = Contract("world", receives=[shop.order])
    assert contract_of(contract) is contract


def test_a_function_for_a_client() -> None:
    def register(client: Any) -> None:
        client.on(shop.done, lambda data: None)

    assert said(contract_of(register, role="client")) == {"sends": ["done"]}


# ---- directions and types


def test_events_without_a_handler_are_sent_and_others_are_named() -> None:
    contract = contract_of(shop.register, events=[shop.order, shop.moved, Event("add", int)], sends=[shop.order])
    assert said(contract)["sends"] == ["moved", "order"]


def test_several_types_of_one_event_are_told() -> None:
    def register(server: Any) -> None:
        server.on("a", lambda data: None)
        server.on("a", lambda data: None, type=int)
        server.on("b", lambda data: None, type=int)
        server.on("b", lambda data: None, type=str)

    with pytest.warns(ContractWarning, match=r"^b: its handlers take several types \(int, str\); written: int$"):
        contract = contract_of(register)
    assert [each.type for each in contract.receives] == [int, int]


def test_results_of_handlers_of_every_kind() -> None:
    class Adder:
        def __call__(self, params: shop.Terms) -> int:
            return params.a

        def method(self, params: shop.Terms) -> str:
            return ""

    def of_two(factor: int, params: shop.Terms) -> float:
        return 1.5

    def register(server: Any) -> None:
        server.handle("callable", Adder())
        server.handle("method", Adder().method)
        server.handle("partial", functools.partial(of_two, 2), type=shop.Terms)
        server.handle("builtin", len, type=str)

    results = {each.name: each.result for each in contract_of(register).answers}
    assert results == {"builtin": Any, "callable": int, "method": str, "partial": float}


def test_only_the_annotation_of_the_result_counts() -> None:
    def strange(params, socket: Nowhere) -> int: ...  # type: ignore[no-untyped-def, name-defined, empty-body]  # noqa: F821
    def unknown(params) -> Nowhere: ...  # type: ignore[no-untyped-def, name-defined]  # noqa: F821
    def later(params: int) -> Awaitable[str]: ...  # type: ignore[empty-body]
    def whatever(params: int) -> object: ...

    @functools.wraps(later)
    def wrapped(*arguments: Any) -> Any: ...

    def register(server: Any) -> None:
        server.handle("strange", strange, type=int)
        server.handle("unknown", unknown, type=int)
        server.handle("later", later)
        server.handle("whatever", whatever)
        server.handle("wrapped", wrapped, type=int)

    says = r"^unknown: the annotation of its result cannot be resolved \(name 'Nowhere' is not defined\); written: Any$"
    with pytest.warns(ContractWarning, match=says):
        results = {each.name: each.result for each in contract_of(register).answers}
    assert results == {"later": str, "strange": int, "unknown": Any, "whatever": Any, "wrapped": str}


def test_ten_thousand_events_of_ten_thousand_types() -> None:
    """Time grows with their number, and not with its square: twice as many take less than four times as long."""

    def seconds(count: int) -> float:
        types = [msgspec.defstruct(f"T{n}", [("a", int)], module="many") for n in range(count)]
        messages = [Message(f"e{n}", type) for n, type in enumerate(types)]
        began = time.process_time()
        contract = Contract("world", receives=messages)
        assert len(json_schema(contract)["$defs"]) == 2 * count
        assert typescript(contract).count("export interface T") == count
        return time.process_time() - began

    seconds(100)
    assert seconds(10_000) < 4 * seconds(5_000) + 1


# ---- what is wrong


def test_nothing_registered() -> None:
    with pytest.raises(
        ContractError, match=r"has no event and no method: register handlers with on\(\) and handle\(\)"
    ):
        contract_of(lambda server: None)
    with pytest.raises(ContractError, match="empty has no event and no method: give a server, or a function"):
        contract_of(ModuleType("empty"))


async def _register(server: Any) -> None: ...


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (5, "a contract is made from a server, a client"),
        (node_ipc, "has no event and no method"),
        (_register, "_register is async: give a plain function"),
        (lambda: None, "takes no argument: it is to register handlers on the server"),
        (lambda server: 1 / 0, "failed: ZeroDivisionError: division by zero"),
        (IPC(), "has no server and 0 clients"),
    ],
    ids=str,
)
def test_what_no_contract_is_made_from(target: Any, says: str) -> None:
    with pytest.raises(ContractError) as raised:
        contract_of(target)
    assert says in str(raised.value)


async def test_what_serve_returns_is_not_open_yet(tmp_path: Any) -> None:
    opening = node_ipc.serve(f"unix:{tmp_path}/a")
    with pytest.raises(ContractError, match="has to be awaited first, so give a function instead"):
        contract_of(opening)
    async with opening:
        pass


def test_types_that_no_payload_can_have() -> None:
    class One(msgspec.Struct):
        a: int

    class Two(msgspec.Struct):
        b: int

    with pytest.raises(ContractError, match=r"^receives\.a: payloads cannot be of .*: If a type union"):
        json_schema(Contract("world", receives=[Message("a", One | Two)]))


def test_names_are_text_and_stand_once() -> None:
    with pytest.raises(ContractError, match="'a' stands twice in 'receives': one name, one type"):
        Contract("world", receives=[Message("a"), Event("a", int)])
    with pytest.raises(ContractError, match=r"a name in 'receives' is text that is not empty, not \[\]"):
        Contract("world", receives=[Message([])])  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="a name in 'answers' is text that is not empty, not ''"):
        Contract("world", answers=[Method("")])
    with pytest.raises(ContractError, match="a contract's name is the server's id, as 'world', not 5"):
        Contract(5)  # type: ignore[arg-type]


def test_contract_errors_are_ours() -> None:
    assert issubclass(ContractError, node_ipc.IPCError)
    assert issubclass(ContractError, ValueError)
    assert ContractError.code == "ERR_IPC_CONTRACT"
