"""Requests and answers, on the memory driver and its virtual clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from node_ipc import (
    BackpressureError,
    ConnectionLost,
    Event,
    HandlerError,
    InvalidEvent,
    InvalidPayload,
    NotConnected,
    Raw,
    RemoteError,
    RequestTimeout,
)
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.testing import Pair, Wire, WireServer, connect, pair


class Add(msgspec.Struct):
    a: int
    b: int


@pytest.fixture
def ends() -> Iterator[Pair]:
    both = pair()
    yield both
    both.driver.close()


def asked(ends: Pair, *arguments: Any, **options: Any) -> Any:
    """The result of a request, or its error raised."""
    answer = ends.client.request(*arguments, **options)
    ends.driver.run_until(answer)
    return answer.result()


# ---- answering


def test_what_a_handler_returns_is_the_answer(ends: Pair) -> None:
    ends.server.handle("add", lambda params: params["a"] + params["b"])
    assert asked(ends, "add", {"a": 1, "b": 2}) == 3


def test_a_method_has_a_name(ends: Pair) -> None:
    name: Any = 5
    with pytest.raises(InvalidEvent, match="a method's name must be text, not int: 5"):
        ends.client.request(name)
    assert ends.client.requests.pending == 0


def test_either_side_may_ask(ends: Pair) -> None:
    ends.client.handle("double", lambda number: number * 2)
    answer = ends.socket.request("double", 21)
    ends.driver.run_until(answer)
    assert answer.result() == 42


def test_a_handler_may_take_nothing_the_params_or_the_socket_too(ends: Pair) -> None:
    ends.server.handle("none", lambda: "none")
    ends.server.handle("both", lambda params, socket: [params, socket.id])
    assert asked(ends, "none", "ignored") == "none"
    assert asked(ends, "both", 1) == [1, ends.socket.id]
    with pytest.raises(TypeError, match="may take"):
        ends.server.handle("three", lambda a, b, c: None)


def test_params_and_results_are_typed(ends: Pair) -> None:
    @ends.server.handle("add")
    def add(params: Add) -> Add:
        return Add(params.a + params.b, 0)

    assert asked(ends, "add", Add(1, 2), type=Add) == Add(3, 0)
    assert asked(ends, Event("add", Add), Add(1, 2)) == {"a": 3, "b": 0}
    assert bytes(asked(ends, "add", Add(1, 2), type=Raw)) == b'{"a":3,"b":0}'
    with pytest.raises(RemoteError, match=r"\$\.b") as refused:
        asked(ends, "add", {"a": 1, "b": "x"})
    assert refused.value.code == -32602
    with pytest.raises(InvalidPayload):
        asked(ends, "add", Add(1, 2), type=int)


def test_async_handlers_answer_when_they_are_done_in_any_order(ends: Pair) -> None:
    @ends.server.handle("after")
    async def after(seconds: float) -> float:
        await ends.driver.sleep(seconds)
        return seconds

    answers = [ends.client.request("after", seconds) for seconds in (3.0, 1.0, 2.0)]
    ends.driver.advance(1.5)
    assert [answer.done for answer in answers] == [False, True, False]
    ends.driver.advance(2)
    assert [answer.result() for answer in answers] == [3.0, 1.0, 2.0]


def test_ten_thousand_in_flight_answered_in_reverse(ends: Pair) -> None:
    waiting: list[Any] = []

    @ends.server.handle("hold")
    async def hold(number: int) -> int:
        outcome = ends.driver.outcome(number)
        waiting.append(outcome)
        return await outcome

    answers = [ends.client.request("hold", number, timeout=None) for number in range(10_000)]
    ends.driver.run_until(lambda: len(waiting) == 10_000)
    assert ends.client.requests.pending == 10_000
    for outcome in reversed(waiting):
        outcome.settle()
    ends.driver.run_until_idle()
    assert [answer.result() for answer in answers] == list(range(10_000))
    assert ends.client.requests.pending == 0


# ---- errors


def test_a_remote_error_is_answered_as_it_is(ends: Pair) -> None:
    @ends.server.handle("refuse")
    def refuse() -> None:
        raise RemoteError(7, "not today", {"tomorrow": True})

    with pytest.raises(RemoteError, match="not today") as refused:
        asked(ends, "refuse")
    assert (refused.value.code, refused.value.message, refused.value.data) == (7, "not today", {"tomorrow": True})


@pytest.mark.parametrize("asynchronous", [False, True])
def test_of_any_other_exception_the_peer_learns_only_that_it_failed(ends: Pair, asynchronous: bool) -> None:
    errors: list[Any] = []
    ends.server.on("error", errors.append)

    def sync() -> None:
        raise KeyError("the secret")

    async def late() -> None:
        await ends.driver.sleep(1)
        raise KeyError("the secret")

    ends.server.handle("fail", late if asynchronous else sync)
    with pytest.raises(RemoteError) as refused:
        asked(ends, "fail")
    assert refused.value.code == -32603
    assert "secret" not in str(refused.value)
    (error,) = errors
    assert isinstance(error, HandlerError) and error.event == "fail"
    assert isinstance(error.__cause__, KeyError)


def test_no_such_method_fails_at_once_also_where_nothing_is_handled(ends: Pair) -> None:
    for _ in range(2):
        with pytest.raises(RemoteError, match="no method 'nope'") as refused:
            asked(ends, "nope", timeout=None)
        assert refused.value.code == -32601
        ends.server.handle("something", lambda: None) if not ends.server.requests._methods else None


def test_a_result_that_json_cannot_hold_is_a_failure_of_the_handler(ends: Pair) -> None:
    errors: list[Any] = []
    ends.server.on("error", errors.append)
    ends.server.handle("object", lambda: object())
    with pytest.raises(RemoteError, match="failed"):
        asked(ends, "object")
    assert isinstance(errors[0].__cause__, InvalidPayload)


def test_params_that_json_cannot_hold_raise_at_the_call_and_nothing_is_pending(ends: Pair) -> None:
    with pytest.raises(InvalidPayload):
        ends.client.request("add", object())
    assert ends.client.requests.pending == 0


def test_what_is_answered_tells_its_handler_and_the_type_of_its_params(ends: Pair) -> None:
    def add(params: Add) -> int:
        return params.a + params.b

    whatever = ends.server.handle("whatever", lambda: None)
    ends.server.handle("add", add)
    given = ends.server.handle("given", lambda params: params, type=list[int])
    named = ends.server.handle(Event("named", bytes), lambda params: params)
    assert ends.server.requests.methods() == {
        "whatever": (whatever, None),
        "add": (add, Add),
        "given": (given, list[int]),
        "named": (named, bytes),
    }


def test_one_method_has_one_handler(ends: Pair) -> None:
    ends.server.handle("add", lambda: 1)
    with pytest.raises(ValueError, match="already"):
        ends.server.handle("add", lambda: 2)
    with pytest.raises(TypeError):
        ends.server.handle("", lambda: 3)


# ---- giving up


def test_a_timed_out_request_is_forgotten_on_both_sides_and_its_late_answer_counted(ends: Pair) -> None:
    ended: list[str] = []

    @ends.server.handle("slow")
    async def slow() -> None:
        try:
            await ends.driver.sleep(10)
            ended.append("finished")
        finally:
            ended.append("left")

    answer = ends.client.request("slow", timeout=1)
    ends.driver.advance(1.01)
    with pytest.raises(RequestTimeout, match=r"no answer to 'slow' within 1 s"):
        answer.result()
    ends.driver.run_until_idle()
    assert ended == ["left"]
    assert ends.client.requests.pending == 0
    assert ends.server.requests._running == {}
    ends.socket.emit("rpc.response", {"jsonrpc": "2.0", "id": 1, "result": 1})
    ends.driver.run_until_idle()
    assert ends.client.stats().late == 1


def test_who_stops_waiting_is_forgotten_too(ends: Pair) -> None:
    @ends.server.handle("never")
    async def never() -> None:
        await ends.driver.outcome(None)

    answer = ends.client.request("never")
    ends.driver.advance(0.1)
    assert answer.abandon is not None
    answer.abandon()
    ends.driver.advance(0.1)
    assert ends.client.requests.pending == 0
    assert ends.server.requests._running == {}


def test_a_lost_link_fails_what_was_asked_over_it(ends: Pair) -> None:
    ends.server.handle("never", _never(ends.driver))
    answer = ends.client.request("never")
    ends.driver.advance(0.1)
    ends.connection.drop()
    ends.driver.advance(0.1)
    with pytest.raises(ConnectionLost, match="'never'"):
        answer.result()
    assert ends.server.requests._running == {}


def _never(driver: MemoryDriver) -> Any:
    async def never() -> None:
        await driver.outcome(None)

    return never


def test_a_request_made_while_the_link_is_down_waits_for_the_next(ends: Pair) -> None:
    ends.server.handle("add", lambda params: sum(params))
    ends.connection.drop()
    ends.driver.run_until(lambda: not ends.server.sockets)
    assert asked(ends, "add", [1, 2], timeout=30) == 3


def test_a_time_out_says_that_the_link_is_down(ends: Pair) -> None:
    ends.server.stop()
    ends.driver.run_until(lambda: ends.client.last_error is not None)
    with pytest.raises(
        RequestTimeout, match=r"no answer to 'add' within 0.1 s: the client is waiting \(cannot connect to"
    ):
        asked(ends, "add", timeout=0.1)


def test_closing_the_client_fails_what_is_asked(ends: Pair) -> None:
    ends.server.handle("never", _never(ends.driver))
    answer = ends.client.request("never", timeout=None)
    ends.client.close()
    ends.driver.run_until(answer)
    with pytest.raises((ConnectionLost, NotConnected)):
        answer.result()


# ---- hostile and foreign peers


def test_on_the_wire_it_is_json_rpc() -> None:
    ends = pair()
    ends.server.handle("add", lambda params: params["a"] + params["b"])
    wire = Wire.connected(ends.driver, ends.server.address)
    question = {"jsonrpc": "2.0", "id": "any-id", "method": "add", "params": {"a": 1, "b": 2}}
    wire.write(json.dumps({"type": "rpc.request", "data": question}).encode() + b"\f")
    ends.driver.run_until_idle()
    answer = json.loads(wire.take().rstrip(b"\f"))
    assert answer == {"type": "rpc.response", "data": {"jsonrpc": "2.0", "id": "any-id", "result": 3}}


def test_a_notification_is_carried_out_and_not_answered(ends: Pair) -> None:
    done: list[Any] = []
    ends.server.handle("note", done.append)
    wire = Wire.connected(ends.driver, ends.server.address)
    wire.write(b'{"type":"rpc.request","data":{"jsonrpc":"2.0","method":"note","params":1}}\f')
    ends.driver.run_until_idle()
    assert done == [1]
    assert wire.take() == b""


def test_a_peer_cannot_answer_for_another(ends: Pair) -> None:
    other = connect(ends.driver, ends.server.address)
    ends.driver.run_until_idle()
    ends.client.handle("who", lambda: "the right one")
    answer = ends.socket.request("who")
    other.emit("rpc.response", {"jsonrpc": "2.0", "id": 1, "result": "an impostor"})
    ends.driver.run_until(answer)
    assert answer.result() == "the right one"
    assert ends.server.stats().late == 1


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"[]",
        b'{"id":1}',
        b'{"id":99,"result":1}',
        b'{"id":"1","result":1}',
        b'{"id":1,"error":{"code":"x"}}',
        b'{"id":1,"error":5}',
        b'{"id":[1]}',
    ],
)
def test_an_answer_that_is_none_harms_nothing(data: bytes) -> None:
    driver = MemoryDriver()
    server = WireServer(driver)
    client = connect(driver, server.address)
    errors: list[Any] = []
    client.on("error", errors.append)
    answer = client.request("add", timeout=5)
    driver.run_until_idle()
    server.wires[0].write(b'{"type":"rpc.response","data":' + data + b"}\f")
    driver.run_until_idle()
    assert client.state.value == "connected"
    if answer.done:
        assert answer.error is None and answer.value is None  # {"id": 1} alone is an answer without a result
    else:
        driver.advance(6)
        assert isinstance(answer.error, RequestTimeout)


def test_asking_all_gathers_results_and_errors_by_socket(ends: Pair) -> None:
    other = connect(ends.driver, ends.server.address)
    ends.driver.run_until_idle()
    ends.client.handle("name", lambda: "first")
    answers = ends.server.request_all("name", timeout=5)
    ends.driver.run_until(answers)
    results = answers.result()
    assert results[ends.socket] == "first"
    (error,) = [value for socket, value in results.items() if socket is not ends.socket]
    assert isinstance(error, RemoteError)
    other.close()
    ends.client.close()
    ends.driver.run_until(lambda: not ends.server.sockets)
    nobody = ends.server.request_all("name")
    assert nobody.done and nobody.result() == {}


def test_asking_all_goes_past_those_that_cannot_be_asked() -> None:
    ends = pair()
    stuck = connect(ends.driver, ends.server.address)
    connect(ends.driver, ends.server.address)
    ends.driver.run_until_idle()
    first, full, closing = ends.server.sockets
    ends.client.handle("name", lambda: "first")
    stuck.pause_reading(True)
    with pytest.raises(BackpressureError):
        while True:
            full.emit("fill", "x" * 1_000_000)
    closing.close()
    assert closing in ends.server.sockets
    answers = ends.server.request_all("name", "x" * 1_000_000, timeout=5)
    ends.driver.run_until(answers)
    found = answers.result()
    assert found[first] == "first"
    assert (type(found[full]), type(found[closing])) == (BackpressureError, NotConnected)
    assert ends.server.requests.pending == 0


def test_giving_up_to_ask_all_forgets_each_request_on_both_sides() -> None:
    ends = pair()
    given_up: list[bool] = []

    @ends.client.handle("never")
    async def never() -> None:
        try:
            await ends.driver.sleep(100)
        finally:
            given_up.append(True)

    answers = ends.server.request_all("never", timeout=None)
    ends.driver.run_until_idle()
    assert answers.abandon is not None
    answers.abandon()  # as when whoever awaits it is cancelled
    ends.driver.run_until_idle()
    assert ends.server.requests.pending == 0 and given_up == [True]
    assert answers.done


def test_a_full_queue_refuses_the_request_and_forgets_it() -> None:
    driver = MemoryDriver()
    ends = pair(driver=driver, client={"max_queued_messages": 1})
    ends.connection.drop()
    driver.run_until(lambda: not ends.server.sockets)
    ends.client.emit("one")
    with pytest.raises(BackpressureError):
        ends.client.request("two")
    assert ends.client.requests.pending == 0
