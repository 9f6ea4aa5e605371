"""Requests and answers, on the memory driver and its virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
from asyncio import CancelledError
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

import node_ipc
from node_ipc import (
    BackpressureError,
    ConnectError,
    ConnectionLost,
    Event,
    HandlerError,
    InvalidEvent,
    InvalidPayload,
    NotConnected,
    Raw,
    RemoteError,
    RequestError,
    RequestTimeout,
    Socket,
    blocking,
)
from node_ipc.core.requests import Request
from node_ipc.core.watch import Activity, Watch
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.testing import Pair, Wire, WireServer, connect, pair, serve


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


FILE = os.fsdecode(b"caf\xe9.txt")
"""A file's name with a byte that is no UTF-8: a text with a lone surrogate."""


def test_lone_surrogates_pass_both_ways(ends: Pair) -> None:
    heard: list[Any] = []

    def read(params: Any, socket: Any, request: Request) -> Any:
        request.progress(params)
        if params == "fail":
            raise RemoteError(5, FILE, {FILE: FILE})
        return [params, request.id]

    ends.server.handle("read", read)
    ends.server.handle(FILE, lambda params: params, type=list[str])
    assert asked(ends, "read", FILE, progress=heard.append)[0] == heard[0] == FILE
    assert asked(ends, FILE, [FILE], type=list[str]) == [FILE]
    with pytest.raises(RemoteError) as refused:
        asked(ends, "read", "fail")
    assert (refused.value.message, refused.value.data) == (FILE, {FILE: FILE})
    assert bytes(asked(ends, "read", FILE, type=Raw)).startswith(b'["caf\\udce9.txt"')


def test_an_id_with_a_lone_surrogate_goes_back_as_it_came(ends: Pair) -> None:
    ends.server.handle("echo", lambda params, socket, request: [params, request.id, repr(request)])
    wire = Wire.connected(ends.driver, ends.server.address)
    wire.write(b'{"type":"rpc.request","data":{"id":"\\ud800","method":"echo","params":"\\udce9"}}\f')
    ends.driver.run_until_idle()
    answer = json.loads(wire.take().removesuffix(b"\f"))["data"]
    assert (answer["id"], answer["result"][:2]) == ("\ud800", ["\udce9", "\ud800"])


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
    ends.server.handle("any", lambda *arguments: [arguments[0], arguments[1].id, len(arguments)])
    assert asked(ends, "none", "ignored") == "none"
    assert asked(ends, "both", 1) == [1, ends.socket.id]
    assert asked(ends, "any", 1) == [1, ends.socket.id, 2]
    with pytest.raises(TypeError, match="may take"):
        ends.server.handle("four", lambda a, b, c, d: None)


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


def test_requests_that_are_done_leave_room_for_others() -> None:
    ends = pair(max_request_bytes=5_000)

    @ends.server.handle("length")
    async def length(params: str) -> int:
        await ends.driver.sleep(0.1)
        return len(params)

    for _ in range(4):
        assert asked(ends, "length", "x" * 3_000) == 3_000


def test_a_remote_error_is_answered_as_it_is(ends: Pair) -> None:
    @ends.server.handle("refuse")
    def refuse() -> None:
        raise RemoteError(7, "not today", {"tomorrow": True})

    with pytest.raises(RemoteError, match="not today") as refused:
        asked(ends, "refuse")
    assert (refused.value.code, refused.value.message, refused.value.data) == (7, "not today", {"tomorrow": True})


@pytest.mark.parametrize("code", ["ENOENT", True, 1.5])
def test_a_remote_error_whose_code_is_no_whole_number_keeps_its_words(ends: Pair, code: Any) -> None:
    def refuse() -> None:
        raise RemoteError(code, "not today")

    ends.server.handle("refuse", refuse)
    with pytest.raises(RemoteError) as refused:
        asked(ends, "refuse")
    assert (refused.value.code, refused.value.message) == (-32603, "not today")


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


@pytest.mark.parametrize(("error", "told"), [(NotConnected("gone"), 0), (KeyError("order"), 1)])
def test_a_handler_that_fails_once_the_link_has_gone_is_told_unless_it_is_for_that(
    ends: Pair, error: Exception, told: int
) -> None:
    errors: list[Any] = []
    ends.server.on("error", errors.append)

    def late(params: Any, socket: Socket) -> None:
        socket.abort()
        raise error

    ends.server.handle("late", late)
    ends.client.request("late")
    ends.driver.run_until_idle()
    assert [each.__cause__ for each in errors] == [error] * told


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


def test_a_type_is_no_handler_and_is_named(ends: Pair) -> None:
    with pytest.raises(TypeError, match=r"and Add is the type of a payload: handle\('add', handler, type=Add\)"):
        ends.server.handle("add", Add)


def test_a_handler_with_a_yield_is_named_with_its_method(ends: Pair) -> None:
    def count(params: Any) -> Any:
        yield params

    with pytest.raises(TypeError, match=r"the handler \S*count of 'numbers' has a yield, .* a request has one answer"):
        ends.server.handle("numbers", count)


def test_one_method_has_one_handler(ends: Pair) -> None:
    ends.server.handle("add", lambda: 1)
    with pytest.raises(ValueError, match="already"):
        ends.server.handle("add", lambda: 2)
    with pytest.raises(TypeError, match="a method's name is text that is not empty, not ''"):
        ends.server.handle("", lambda: 3)


UNSENDABLE: dict[str, Any] = {
    "too large": lambda: "x" * 2_000,
    "too many values": lambda: [0] * 300_000,
    "no JSON": lambda: {"at": {1, 2}.__iter__()},
    "an error without words": lambda: _raise(RemoteError(1, None)),  # type: ignore[arg-type]
    "an error with an object": lambda: _raise(RemoteError(1, "x", object())),
    "an error that is too large": lambda: _raise(RemoteError(1, "x" * 2_000)),
    "an error of its own": lambda: _raise(OwnError()),
    "a cancellation": lambda: _raise(CancelledError()),
}


class OwnError(BaseException):
    """As trio's and anyio's cancellations are."""


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("kind", UNSENDABLE)
def test_an_answer_that_cannot_be_sent_is_an_error_on_both_sides_at_once(kind: str, asynchronous: bool) -> None:
    many = kind == "too many values"
    ends = pair(server={"max_message_values": 100_000} if many else {"max_message_size": 1_000})
    errors: list[Any] = []
    ends.server.on("error", errors.append)

    async def late() -> Any:
        await ends.driver.sleep(0.1)
        return UNSENDABLE[kind]()

    ends.server.handle("it", late if asynchronous else UNSENDABLE[kind])
    before = ends.driver.now()
    told = "the answer cannot be sent: cannot emit .* the limit is" if kind.startswith("too ") else "the handler failed"
    with pytest.raises(RemoteError, match=told):
        asked(ends, "it")
    assert ends.driver.now() < before + 1
    assert [error.event for error in errors] == ["it"]
    ends.driver.run_until_idle()
    assert ends.server.requests._running == {}
    ends.driver.close()


@pytest.mark.row(52)
def test_whose_answer_cannot_be_sent_is_said(ends: Pair) -> None:
    def price() -> Any:
        return {"of": [1, object()]}

    causes: list[Any] = []
    ends.server.handle("price", price)
    ends.server.on("error", lambda error: causes.append(error.__cause__))
    with pytest.raises(RemoteError):
        asked(ends, "price")
    told = str(causes[0])
    assert told.startswith("what ") and "price returned cannot be sent: the value at $.of[1]" in told
    assert causes[0].path == "$.result.of[1]" and "$.result" not in told


def test_what_is_cancelled_by_somebody_else_is_answered_with_an_error(ends: Pair) -> None:
    tasks: list[Any] = []
    spawn = ends.driver.spawn

    def kept(*arguments: Any) -> Any:
        tasks.append(spawn(*arguments))
        return tasks[-1]

    ends.driver.spawn = kept  # type: ignore[assignment, method-assign]
    ends.server.handle("never", _never(ends.driver))
    ends.server.on("error", lambda error: None)
    answer = ends.client.request("never")
    ends.driver.advance(0.1)
    tasks[0].cancel()
    ends.driver.advance(0.1)
    assert isinstance(answer.error, RemoteError)


def test_what_is_cancelled_by_somebody_else_before_it_began_says_so(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn = ends.driver.spawn

    def cancelled(*arguments: Any) -> Any:
        task = spawn(*arguments)
        task.cancel()
        return task

    errors: list[Any] = []
    ends.server.handle("never", _never(ends.driver))
    ends.server.on("error", errors.append)
    monkeypatch.setattr(ends.driver, "spawn", cancelled)
    with pytest.raises(RemoteError, match="the handler failed"):
        asked(ends, "never")
    assert [str(error) for error in errors] == ["the handler of 'never' failed: RuntimeError('it was cancelled')"]


def test_a_handler_that_ends_with_what_runs_it_has_not_failed(ends: Pair) -> None:
    errors: list[Any] = []
    ends.server.on("error", lambda error, socket: errors.append(error))
    ends.server.handle("never", _never(ends.driver))
    ends.client.request("never", timeout=None)
    ends.driver.advance(0.1)
    assert len(ends.driver.tasks) == 1
    ends.driver.close()
    assert errors == ends.driver.failures == []


def test_an_interrupt_in_a_handler_is_answered_and_goes_on(ends: Pair) -> None:
    ends.server.on("error", lambda error: None)
    ends.server.handle("stop", lambda: _raise(KeyboardInterrupt()))
    answer = ends.client.request("stop")
    with pytest.raises(KeyboardInterrupt):
        ends.driver.run_until(answer)
    ends.driver.run_until(answer)
    assert isinstance(answer.error, RemoteError)


def test_a_peer_that_cannot_even_be_told_is_cut(ends: Pair) -> None:
    errors: list[Any] = []
    ends.server.on("error", lambda error, socket: errors.append(error))
    ends.server.handle("fill", lambda params, socket: _fill(socket))
    answer = ends.client.request("fill", timeout=None)
    ends.driver.run_until(lambda: ends.server.sockets == [])
    assert isinstance(errors[0], BackpressureError) and "cannot be given the answer" in str(errors[0])
    with pytest.raises(ConnectionLost):
        ends.driver.run_until(answer)
        answer.result()


def _fill(socket: Any) -> None:
    for size in (1_000_000, 1):
        with contextlib.suppress(BackpressureError):
            while True:
                socket.emit("fill", "x" * size)


def test_what_is_to_be_awaited_is_an_error_where_nothing_runs_it(ends: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Any] = []
    ends.server.on("error", errors.append)
    monkeypatch.setattr(MemoryDriver, "runs_coroutines", False)
    ends.server.handle("later", lambda: asyncio.sleep(0))
    with pytest.raises(RemoteError, match="the handler failed"):
        asked(ends, "later")
    assert [each.event for each in errors] == ["later"] and "no event loop to run it" in str(errors[0])


def test_an_outcome_is_the_answer_also_where_nothing_runs_it_once_it_is_settled_well(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryDriver, "runs_coroutines", False)
    ends.server.on("error", lambda error: None)
    well, failed, pending = (ends.driver.outcome(number) for number in range(3))
    well.settle()
    failed.settle(ValueError("no"))
    for name, outcome in (("well", well), ("failed", failed), ("pending", pending)):
        ends.server.handle(name, partial(_given, outcome))
    assert asked(ends, "well") == 0
    for name in ("failed", "pending"):
        with pytest.raises(RemoteError, match="the handler failed"):
            asked(ends, name)


def test_what_a_handler_returns_is_awaited(ends: Pair) -> None:
    async def later(params: int) -> int:
        await ends.driver.sleep(1)
        return params + 1

    ends.client.handle("there", lambda params: params * 10)
    ends.server.handle("lambda", lambda params: later(params))
    ends.server.handle("relay", lambda params, socket: socket.request("there", params))
    assert asked(ends, "lambda", 1) == 2
    assert asked(ends, "relay", 4) == 40


# ---- the request itself


def test_a_handler_sees_its_request(ends: Pair) -> None:
    seen: list[Any] = []

    @ends.server.handle("it")
    def it(params: Any, socket: Any, request: Any) -> None:
        seen.append((request.id, request.method, request.deadline, request.socket is socket, request.cancelled))

    asked(ends, "it", timeout=5)
    asked(ends, "it", timeout=None)
    assert seen == [(1, "it", 5.0, True, False), (2, "it", None, True, False)]


def test_progress_is_heard_before_the_answer(ends: Pair) -> None:
    told: list[Any] = []
    returned: list[bool] = []

    @ends.server.handle("work")
    async def work(params: Any, socket: Any, request: Any) -> str:
        for percent in (10, 60):
            await ends.driver.sleep(1)
            returned.append(request.progress(percent))
        return "done"

    answer = ends.client.request("work", progress=told.append)
    ends.driver.advance(1.5)
    assert told == [10]
    ends.driver.run_until(answer)
    assert (told, answer.result(), returned) == ([10, 60], "done", [True, True])
    answer = ends.client.request("work")
    ends.driver.run_until(answer)
    assert returned == [True, True, False, False]
    ends.socket.emit("rpc.progress", {"id": 1, "data": "late"})
    ends.socket.emit("rpc.progress", [])
    ends.driver.run_until_idle()
    assert told == [10, 60]
    assert ["'rpc.progress'" in str(failure) for failure in ends.driver.failures] == [True]


def test_progress_that_fails_harms_only_itself(ends: Pair) -> None:
    errors: list[Any] = []
    ends.client.on("error", errors.append)
    ends.server.handle("work", lambda params, socket, request: request.progress(1))
    answer = ends.client.request("work", progress=lambda data: 1 / 0)
    ends.driver.run_until(answer)
    assert answer.result() is True
    assert isinstance(errors[0].__cause__, ZeroDivisionError)
    with pytest.raises(TypeError, match="progress must be callable"):
        ends.client.request("work", progress=5)  # type: ignore[call-overload]


def test_progress_behind_the_answer_is_heard_by_nobody(ends: Pair) -> None:
    requests: list[Any] = []
    told: list[Any] = []
    ends.server.handle("work", lambda params, socket, request: requests.append(request))
    assert asked(ends, "work", progress=told.append) is None
    assert requests[0].progress(1) is False
    ends.driver.run_until_idle()
    assert told == []


def test_progress_over_a_socket_that_its_own_handler_closed_is_heard_by_nobody(ends: Pair) -> None:
    told: list[bool] = []

    @ends.server.handle("bye")
    def bye(params: Any, socket: Any, request: Any) -> None:
        socket.abort()
        told.append(request.progress(1))

    ends.client.request("bye", progress=print)
    ends.driver.run_until_idle()
    assert told == [False]


def test_a_request_knows_that_it_was_given_up(ends: Pair) -> None:
    requests: list[Any] = []

    @ends.server.handle("shielded")
    async def shielded(params: Any, socket: Any, request: Any) -> None:
        requests.append(request)
        await ends.driver.outcome(None)

    ends.client.request("shielded", timeout=1, progress=print)
    ends.driver.advance(0.5)
    ends.client.request("shielded", timeout=None, progress=print)
    ends.driver.advance(1)
    assert [request.cancelled for request in requests] == [True, False]
    ends.connection.drop()
    ends.driver.advance(1)
    assert [request.cancelled for request in requests] == [True, True]
    assert [request.progress(1) for request in requests] == [False, False]


def test_notifications_are_told_apart(ends: Pair) -> None:
    ends.server.handle("never", _never(ends.driver))
    wire = Wire.connected(ends.driver, ends.server.address)
    for _ in range(3):
        wire.write(b'{"type":"rpc.request","data":{"jsonrpc":"2.0","method":"never"}}\f')
        wire.write(b'{"type":"rpc.request","data":{"jsonrpc":"2.0","id":1,"method":"never"}}\f')
    ends.driver.run_until_idle()
    (running,) = ends.server.requests._running.values()
    assert len(running) == 6
    wire.abort()
    ends.driver.run_until_idle()
    assert ends.server.requests._running == {}


# ---- giving up


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("giving_up", ["time-out", "cancelled", "closed"])
def test_what_is_given_up_while_the_link_is_down_is_never_carried_out(giving_up: str, sync: bool) -> None:
    ends = pair(client={"sync": sync})
    done: list[Any] = []
    dropped: list[int] = []
    ends.server.handle("charge", done.append)
    ends.server.on("message", done.append)
    ends.connection.drop()
    ends.driver.run_until(lambda: ends.client.state.value == "waiting")
    answers = [ends.client.request("charge", number, timeout=0.1) for number in range(5)]
    ends.client.emit("message", "kept")
    if giving_up == "cancelled":
        for answer in answers:
            assert answer.abandon is not None
            answer.abandon()
    elif giving_up == "closed":
        ends.client.on("disconnect", lambda loss: dropped.append(loss.dropped))
        ends.client.close()
    else:
        ends.driver.advance(0.101)
    assert [answer.done for answer in answers] == [True] * 5
    assert ends.client._queue.bytes == sum(map(len, ends.client._queue.frames))
    ends.driver.advance(10)
    assert done == ([] if giving_up == "closed" else ["kept"])
    assert dropped == ([1] if giving_up == "closed" else []), "what is taken back is not lost"
    assert ends.client.requests._unsent == {}
    ends.driver.close()


def test_what_is_given_up_while_the_kernel_is_full_is_never_carried_out(ends: Pair) -> None:
    done: list[Any] = []
    ends.server.handle("charge", done.append)
    ends.driver.stall()
    while not ends.client._session.is_full:  # type: ignore[union-attr]
        ends.client.emit("fill", "x" * 100_000)
    fillers = ends.client.stats().messages_out
    ends.client.request("charge", 1, timeout=0.1)
    ends.client.request("charge", 2, timeout=5)
    ends.driver.advance(1)
    ends.driver.resume()
    ends.driver.advance(1)
    assert done == [2]
    assert ends.server.stats().messages_in == fillers + 1, "and there is nothing to take back either"


def test_in_sync_mode_the_loss_of_the_link_ends_what_was_sent_and_keeps_what_was_not() -> None:
    ends = pair(client={"sync": True})
    done: list[Any] = []
    ends.server.handle("never", _never(ends.driver))

    def add(params: int) -> int:
        done.append(params)
        return params

    ends.server.handle("add", add)
    first, second = ends.client.request("never", timeout=None), ends.client.request("add", 1, timeout=None)
    ends.driver.advance(0.1)
    ends.connection.drop()
    ends.driver.advance(0.1)
    assert isinstance(first.error, ConnectionLost) and not second.done
    ends.driver.run_until(second)
    assert (second.result(), done) == (1, [1])
    ends.driver.close()


@pytest.mark.parametrize("timeout", [0, -0.001, -5.5, float("-inf")])
def test_a_time_that_is_over_sends_nothing(ends: Pair, timeout: float) -> None:
    done: list[Any] = []
    ends.server.handle("charge", done.append)
    answer = ends.client.request("charge", 1, timeout=timeout)
    assert isinstance(answer.error, RequestTimeout)
    ends.driver.advance(1)
    assert done == []


def test_a_time_that_was_over_is_told_where_nobody_looks(ends: Pair, caplog: pytest.LogCaptureFixture) -> None:
    ends.client.request("pay", 1, timeout=0)
    (told,) = (message for message in caplog.messages if "the request 'pay' failed" in message)
    assert "no answer to 'pay' within 0 s" in told


@pytest.mark.parametrize("timeout", [True, "5", [], float("nan")])
def test_a_time_that_is_none_is_refused_at_once(ends: Pair, timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"request\(timeout=…\) takes seconds as a number"):
        ends.client.request("charge", 1, timeout=timeout)
    assert ends.client.requests.pending == 0


def test_an_answer_may_be_awaited_by_several_and_again(ends: Pair) -> None:
    ends.server.handle("slow", _slow(ends.driver))
    answer = ends.client.request("slow")
    results: list[Any] = []

    async def wait() -> None:
        results.append(await answer)

    first = ends.driver.spawn(wait(), lambda error: None)
    ends.driver.spawn(wait(), lambda error: None)
    ends.driver.advance(0.1)
    first.cancel()
    ends.driver.run_until(answer)
    ends.driver.run_until_idle()
    assert results == ["slow"]
    ends.driver.run(wait())
    assert results == ["slow", "slow"]


def test_an_answer_that_was_given_up_says_so_to_whoever_awaits_it_then(ends: Pair) -> None:
    ends.server.handle("slow", _slow(ends.driver))
    answer = ends.client.request("slow")

    async def wait() -> None:
        await answer

    only = ends.driver.spawn(wait(), lambda error: None)
    ends.driver.advance(0.1)
    only.cancel()
    ends.driver.advance(0.1)
    for _ in range(2):
        with pytest.raises(RequestError, match="'slow' was given up by whoever waited"):
            ends.driver.run(wait())


def _slow(driver: MemoryDriver) -> Any:
    async def slow() -> str:
        await driver.sleep(5)
        return "slow"

    return slow


@pytest.mark.filterwarnings("error")
def test_a_handler_that_is_cancelled_before_its_first_step_leaves_nothing(ends: Pair) -> None:
    ends.server.handle("never", _never(ends.driver))
    wire = Wire.connected(ends.driver, ends.server.address)
    wire.write(
        b'{"type":"rpc.request","data":{"jsonrpc":"2.0","id":1,"method":"never"}}\f'
        b'{"type":"rpc.cancel","data":{"id":1}}\f'
    )
    ends.driver.run_until_idle()
    gc.collect()
    assert ends.server.requests._running == {}
    assert wire.take() == b""


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


def test_a_request_that_was_given_up_keeps_no_close_waiting() -> None:
    """Neither it nor the word that takes it back has to arrive: nobody counts on them."""
    ends = pair(close_timeout=60_000)
    ends.connection.to_server.stall()
    ends.client.request("never", timeout=0.5)
    ends.driver.advance(1)
    closed = ends.client.close()
    ends.driver.run_until(closed, limit=3)
    assert ends.client.requests.pending == 0


def test_a_request_says_nothing_of_its_time_and_has_half_a_minute(ends: Pair) -> None:
    ends.server.handle("never", _never(ends.driver))
    answer = ends.client.request("never")
    ends.driver.advance(29.99)
    assert not answer.done
    ends.driver.advance(0.01)
    with pytest.raises(RequestTimeout, match="within 30 s"):
        answer.result()


def test_a_lost_link_fails_what_was_asked_over_it(ends: Pair) -> None:
    ends.server.handle("never", _never(ends.driver))
    answer = ends.client.request("never")
    ends.driver.advance(0.1)
    ends.connection.drop()
    ends.driver.advance(0.1)
    with pytest.raises(ConnectionLost, match="'never'"):
        answer.result()
    assert ends.server.requests._running == {}


def test_requests_that_share_an_id_or_have_none_end_with_their_link(ends: Pair) -> None:
    under_way: list[Request] = []

    async def never(params: Any, socket: Any, request: Request) -> None:
        under_way.append(request)
        await ends.driver.outcome(None)

    ends.server.handle("never", never)
    wire = Wire.connected(ends.driver, ends.server.address)
    for id in (b'"id":7,', b'"id":7,', b'"id":"7",', b'"id":null,', b"", b""):
        wire.write(b'{"type":"rpc.request","data":{%s"method":"never"}}\f' % id)
    ends.driver.run_until_idle()
    tasks = [request.task for request in under_way]
    assert len(under_way) == 6 and None not in tasks
    wire.abort()
    ends.driver.run_until_idle()
    assert [request.cancelled for request in under_way] == [True] * 6
    assert [request.task for request in under_way] == [None] * 6
    assert ends.server.requests._running == {}


def _given(outcome: Any) -> Any:
    return outcome


def _never(driver: MemoryDriver) -> Any:
    async def never() -> None:
        await driver.outcome(None)

    return never


def test_a_request_made_while_the_link_is_down_waits_for_the_next(ends: Pair) -> None:
    ends.server.handle("add", lambda params: sum(params))
    ends.connection.drop()
    ends.driver.run_until(lambda: not ends.server.sockets)
    assert asked(ends, "add", [1, 2], timeout=30) == 3


def test_a_time_out_says_what_is_known_of_one_that_never_answered() -> None:
    """Each step is one sign more of who is there: nothing came, an event came, an answer came."""
    driver = MemoryDriver()
    listening = WireServer(driver)
    client = connect(driver, listening.address)

    def told() -> str:
        answer = client.request("add", timeout=1.5)
        driver.run_until(answer, limit=10)
        return str(answer.error)

    text = told()
    assert text.startswith(
        "no answer to 'add' within 1.5 s: nothing has come over the link since it is there. The server"
    )
    assert "A handler may take longer than this waits (timeout=), and a program of node-ipc (JavaScript)" in text
    assert text.endswith("answers only once it is taught to: node-ipc help node")
    listening.wires[0].write(b'{"type":"news","data":1}\f')
    driver.run_until_idle()
    text = told()
    assert "within 1.5 s: it has answered no request over this link yet. A handler may" in text and "node" in text
    answered = client.request("add")
    listening.wires[0].write(b'{"type":"rpc.response","data":{"id":3,"result":3}}\f')
    driver.run_until(answered, limit=10)
    assert answered.result() == 3
    assert (
        told() == "no answer to 'add' within 1.5 s: it was read. A handler may take longer than this waits (timeout=)"
    )
    listening.wires[0].close()
    driver.run_until(lambda: len(listening.wires) == 2 and client.state is node_ipc.ClientState.CONNECTED)
    assert "nothing has come over the link" in told(), "what answered is not there any more"


def test_a_time_out_of_what_is_unread_says_whether_anything_came_and_since_when(ends: Pair) -> None:
    ends.connection.to_server.stall()
    first = ends.client.request("add", timeout=5)
    ends.driver.run_until(first)
    unread = "nothing has come over the link since it is there, and what was sent is unread for these 5 s. The server"
    assert unread in str(first.error)
    ends.socket.emit("news")
    ends.driver.run_until_idle()
    second, third = (ends.client.request("add", timeout=seconds) for seconds in (1, 2))
    ends.driver.run_until(third)
    assert "within 1 s: the link is up, and what was sent is unread. The server" in str(second.error)
    assert "within 2 s: the link is up, and what was sent is unread" in str(third.error)


def test_once_all_answers_have_come_busy_handlers_make_their_peer_wait_again() -> None:
    with pair(server={"max_handler_frames": 1}) as ends:
        begun: list[int] = []

        @ends.server.on("work")
        async def work(number: int) -> None:
            begun.append(number)
            await ends.driver.sleep(36_000)

        ends.client.handle("name", lambda: "c")
        answer = ends.server.request(ends.socket, "name")
        ends.driver.run_until(answer)
        for number in range(3):
            ends.client.emit("work", number)
        ends.driver.advance(1)
        assert begun == [0]


def test_a_server_s_socket_that_never_answers_is_told_of_as_a_client() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    wire = Wire.connected(driver, server.address)
    driver.run_until_idle()
    (socket,) = server.sockets
    answer = socket.request("add", timeout=1)
    driver.run_until(answer, limit=10)
    assert "The client may be stopped or caught in a handler" in str(answer.error)
    assert "node-ipc help node" in str(answer.error)
    wire.close()


def test_one_that_takes_attachments_is_no_program_of_javascript(ends: Pair) -> None:
    ends.server.handle("slow", _never(ends.driver))
    ends.server.on("bytes", lambda data: None, type=bytes)
    ends.client.emit("bytes", bytes(100_000))
    ends.driver.run_until_idle()
    with pytest.raises(
        RequestTimeout, match=r"within 1 s: it was read. A handler may take longer than this waits \(timeout=\)$"
    ):
        asked(ends, "slow", timeout=1)


def test_a_time_out_says_that_the_link_is_down(ends: Pair) -> None:
    ends.server.stop()
    ends.driver.run_until(lambda: isinstance(ends.client.last_error, ConnectError))
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


NO_SECONDS = (b"true", b'"5"', b"1e12", b"[5]", b"null")


def answered(data: bytes) -> tuple[Any, Any]:
    """A client whose request 1 was answered with these bytes, and the outcome."""
    driver = MemoryDriver()
    server = WireServer(driver)
    client = connect(driver, server.address)
    client.on("error", lambda error: None)
    answer = client.request("add", timeout=5)
    driver.run_until_idle()
    server.wires[0].write(b'{"type":"rpc.response","data":' + data + b"}\f")
    driver.run_until_idle()
    assert client.state.value == "connected"
    return driver, answer


@pytest.mark.parametrize(
    "data",
    [
        *(b"null", b"[]", b'{"id":99,"result":1}', b'{"id":[1]}', b'{"id":true,"result":1}', b'{"id":1.5,"result":1}'),
        *(b'{"id":"x","result":1}', b'{"id":"\\u0661","result":1}', b'{"id":"00000000000000000001","result":1}'),
    ],
)
def test_an_answer_without_a_known_id_harms_nothing(data: bytes) -> None:
    driver, answer = answered(data)
    assert not answer.done
    driver.advance(6)
    assert isinstance(answer.error, RequestTimeout)


@pytest.mark.parametrize(("given", "known"), [(b"5", 5.0), (b"0.5", 0.5), *((each, None) for each in NO_SECONDS)])
def test_the_seconds_that_a_request_is_waited_for_are_its_deadline_where_they_are_a_number(
    given: bytes, known: float | None
) -> None:
    with MemoryDriver() as driver:
        server = serve(driver)
        deadlines: list[float | None] = []

        @server.handle("work")
        async def work(params: Any, socket: Any, request: Any) -> None:
            deadlines.append(request.deadline)

        wire = Wire.connected(driver, server.address)
        now = driver.now()
        wire.write(b'{"type":"rpc.request","data":{"id":1,"method":"work","timeout":' + given + b"}}\f")
        driver.run_until_idle()
        assert deadlines == [None if known is None else now + known]
        assert not server.requests._by_task, "what has ended is kept no longer"


def test_of_a_long_name_that_nobody_answers_its_begin_comes_back(ends: Pair) -> None:
    with pytest.raises(RemoteError, match=f"no method '{'m' * 64}'"):
        asked(ends, "m" * 100)


@pytest.mark.parametrize("rest", [b"", b',"result":null', b',"error":null'])
def test_an_answer_without_a_result_is_none(rest: bytes) -> None:
    _, answer = answered(b'{"id":1' + rest + b"}")
    assert answer.result() is None


@pytest.mark.parametrize("id", [b"1", b"1.0", b'"1"'])
def test_an_id_may_come_back_as_text_or_as_a_float(id: bytes) -> None:
    _, answer = answered(b'{"id":' + id + b',"result":[5]}')
    assert answer.done and answer.result() == [5]


def test_an_answer_of_an_id_alone_is_none() -> None:
    _, answer = answered(b'{"id":1}')
    assert answer.done and answer.result() is None


@pytest.mark.parametrize(
    ("error", "code", "message", "data"),
    [
        (b'"boom"', -32603, "boom", "boom"),
        (b'{"code":"ENOENT","message":"no file"}', -32603, "ENOENT: no file", {"code": "ENOENT", "message": "no file"}),
        (b'{"code":"ENOENT","message":"no file","data":[1]}', -32603, "ENOENT: no file", [1]),
        (b'{"message":"only words"}', -32603, "only words", None),
        (b'{"code":7,"message":{"why":1}}', 7, "{'why': 1}", None),
        (b'{"code":[1],"message":null}', -32603, "None", {"code": [1], "message": None}),
        (b"5", -32603, "it answered with the error 5", 5),
        (b"false", -32603, "it answered with the error False", False),
    ],
)
def test_an_error_in_another_form_fails_the_request_at_once(error: bytes, code: Any, message: str, data: Any) -> None:
    _, answer = answered(b'{"id":1,"error":' + error + b"}")
    assert answer.done
    assert (answer.error.code, answer.error.message, answer.error.data) == (code, message, data)


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


# ---- notifications


@pytest.mark.parametrize("id", ["", '"id":null,'], ids=["none", "null"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_request_without_an_id_is_carried_out_and_not_answered(id: str, asynchronous: bool) -> None:
    """A notification of JSON-RPC; who forgets the id while trying things out finds this in the README."""
    ends = pair()
    called: list[Any] = []
    errors: list[Any] = []
    ends.server.on("error", errors.append)

    def note(params: Any, socket: Any, request: Request) -> str:
        called.append((params, request.id))
        return "unheard"

    async def note_later(params: Any, socket: Any, request: Request) -> str:
        return note(params, socket, request)

    ends.server.handle("note", note_later if asynchronous else note)
    ends.server.handle("fail", lambda: 1 / 0)
    wire = Wire.connected(ends.driver, ends.server.address)
    for method in ("note", "fail", "nobody"):
        wire.write(b'{"type":"rpc.request","data":{%s"method":"%s","params":1}}\f' % (id.encode(), method.encode()))
    ends.driver.run_until_idle()
    assert (called, wire.bytes) == ([(1, None)], b"")
    (failure,) = errors
    assert isinstance(failure, HandlerError) and failure.event == "fail"
    ends.driver.close()


def test_parameters_that_are_for_something_else_are_refused_when_they_are_registered(ends: Pair) -> None:
    def swapped(params: Any, request: Any, socket: Any) -> None: ...
    def named(params: Any, request: Any) -> None: ...
    def third_is_data(params: Any, socket: Any, c: int) -> None: ...
    def third_is_a_struct(params: Any, socket: Any, request: Add) -> None: ...
    def third_is_a_socket(params: Any, a: Any, b: Socket) -> None: ...
    def second_is_a_request(params: Any, a: Request) -> None: ...
    def four(params: Any, socket: Any, request: Any, more: Any) -> None: ...

    for handler, told in (
        (swapped, "swapped of 'm' has request as its second parameter, which gets the socket"),
        (named, "has request as its second parameter, which gets the socket"),
        (third_is_data, "has c: int as its third parameter, which gets the request"),
        (third_is_a_struct, "has request: Add as its third parameter"),
        (third_is_a_socket, "has b: Socket as its third parameter"),
        (second_is_a_request, "has a: Request as its second parameter, which gets the socket"),
        (four, "may take"),
        (lambda params, session, conn: None, "has conn as its third parameter"),
    ):
        for end in (ends.server, ends.client):
            with pytest.raises(TypeError) as refused:
                end.handle("m", handler)
            assert told in str(refused.value) and "(params, socket, request)" in str(refused.value)
        assert "m" not in ends.server.requests.methods()


def test_parameters_that_fit_or_say_nothing_are_taken(ends: Pair) -> None:
    def typed(params: Any, socket: Socket, request: Request) -> None: ...
    def unresolved(params: Any, socket: Nowhere, request: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def kept(params: Any, socket: Any, step: int = 3) -> None: ...
    def own_names(params: Any, who: Any, what: Any) -> None: ...

    for handler in (typed, unresolved, kept, own_names):
        ends.server.handle(handler.__name__, handler)
        assert asked(ends, handler.__name__) is None


# ---- ending in the handler of a request


def stop_server(ends: Pair) -> Any:
    return ends.server.stop()


def close_socket(ends: Pair) -> Any:
    return ends.socket.close()


ENDINGS = [stop_server, close_socket]


@pytest.mark.parametrize("end", ENDINGS)
def test_who_ends_in_a_request_s_handler_answers_first(ends: Pair, end: Any) -> None:
    def quit(params: Any) -> str:
        end(ends)
        return "bye"

    ends.server.handle("quit", quit)
    assert asked(ends, "quit") == "bye"
    ends.driver.run_until_idle()
    assert not ends.socket.is_open and ends.socket.loss is not None


@pytest.mark.parametrize("end", ENDINGS)
def test_who_ends_in_an_async_handler_answers_first_and_hears_nothing_more(ends: Pair, end: Any) -> None:
    heard: list[Any] = []

    async def quit(params: Any) -> str:
        end(ends)
        await ends.driver.sleep(0.5)
        return "bye"

    ends.server.on("more", heard.append)
    ends.server.handle("quit", quit)
    answer = ends.client.request("quit")
    ends.driver.run_until_idle()
    ends.client.emit("more", 1)
    ends.driver.run_until(answer)
    assert answer.result() == "bye" and not heard
    assert ends.driver.now() == pytest.approx(0.5)
    ends.driver.run_until_idle()
    assert ends.socket.loss is not None and ends.socket.loss.unheard == 1


def test_the_one_who_asked_is_known_in_its_handler_and_nobody_outside(ends: Pair) -> None:
    askers: list[Any] = []
    ends.server.handle("who", lambda: askers.append(ends.server.requests.answering_to()))
    asked(ends, "who")
    assert askers == [ends.socket] and ends.server.requests.answering_to() is None


def test_awaiting_the_stop_in_a_request_s_handler_does_not_wait_for_itself(ends: Pair) -> None:
    async def quit(params: Any) -> str:
        await ends.server.stop()
        return "bye"

    ends.server.handle("quit", quit)
    assert asked(ends, "quit") == "bye"
    ends.driver.run_until(ends.server.closed)
    assert ends.driver.now() < 0.1


@pytest.mark.parametrize("handler", [lambda ends: lambda: ends.server.stop(), lambda ends: ends.server.stop])
def test_stop_itself_is_a_handler_of_requests(ends: Pair, handler: Any) -> None:
    ends.server.handle("quit", handler(ends))
    assert asked(ends, "quit") is None
    ends.driver.run_until(ends.server.closed)


def test_a_client_that_closes_in_a_request_s_handler_answers_first(ends: Pair) -> None:
    async def quit(params: Any) -> str:
        await ends.client.close()
        return "bye"

    ends.client.handle("quit", quit)
    ends.client.handle("close", ends.client.close)
    answer = ends.socket.request("quit")
    ends.driver.run_until(answer)
    assert answer.result() == "bye"
    ends.driver.run_until(ends.client.closed)
    assert ends.driver.now() < 0.1


@pytest.mark.parametrize("end", [lambda ends: ends.server.stop(2), lambda ends: ends.socket.close(2)])
def test_an_answer_that_does_not_come_is_not_waited_for_longer_than_it_may_take(ends: Pair, end: Any) -> None:
    async def quit(params: Any) -> str:
        end(ends)
        await ends.driver.sleep(1000)
        return "bye"

    ends.server.handle("quit", quit)
    with pytest.raises(ConnectionLost):
        asked(ends, "quit", timeout=None)
    assert ends.driver.now() == pytest.approx(2)
    assert not ends.socket.is_open


def test_only_the_request_whose_handler_ended_it_is_answered_first(ends: Pair) -> None:
    """The others are given up as at any end: their handlers may take for ever."""

    async def long(params: Any) -> str:
        await ends.driver.sleep(1)
        return "late"

    ends.server.handle("long", long)
    ends.server.handle("quit", lambda: ends.server.stop())
    other = connect(ends.driver, ends.server.address)
    waiting = other.request("long")
    ends.driver.run_until_idle()
    assert asked(ends, "quit") is None
    ends.driver.run_until(waiting)
    assert isinstance(waiting.error, ConnectionLost)
    assert ends.driver.now() < 0.1


@pytest.mark.parametrize("loss", ["abort", "peer"])
def test_a_link_that_is_lost_while_the_last_answer_is_awaited_is_over(ends: Pair, loss: str) -> None:
    cancelled: list[bool] = []

    async def quit(params: Any, socket: Any, request: Request) -> str:
        ends.server.stop()
        try:
            await ends.driver.sleep(1)
        finally:
            cancelled.append(request.cancelled)
        return "bye"

    ends.server.handle("quit", quit)
    ends.client.request("quit")
    ends.driver.run_until_idle()
    if loss == "abort":
        ends.server.abort()
    else:
        ends.client.abort()
    ends.driver.run_until(ends.server.closed)
    assert ends.driver.now() < 0.1
    ends.driver.run_until_idle()
    assert cancelled == [True]


def test_a_failing_handler_that_had_stopped_the_server_is_answered_with_its_error(ends: Pair) -> None:
    def quit(params: Any) -> None:
        ends.server.stop()
        raise RemoteError(7, "no", None)

    ends.server.handle("quit", quit)
    with pytest.raises(RemoteError, match="no"):
        asked(ends, "quit")
    ends.driver.run_until(ends.server.closed)


# ---- what is too large for one side only

LIMITS: list[dict[str, Any]] = [{"max_message_size": 50_000}, {"max_message_values": 50_000}]
MANY = [1] * 60_000
ASKED_ABOUT = (
    r"It was a message of 1\d{5} bytes: is the other side's max_message_size smaller, or has it more values than "
    "the other side's max_message_values"
)


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("asks", ["client", "server"])
def test_a_request_that_is_too_large_for_the_other_side_only_says_what_to_look_at(
    asks: str, limits: dict[str, Any]
) -> None:
    other = "server" if asks == "client" else "client"
    sides: dict[str, Any] = {other: limits}
    client, server, socket, driver = pair(**sides)
    asker: Any = client if asks == "client" else socket
    (server if asks == "client" else client).handle("slow", lambda params: asyncio.sleep(3600))
    small = asker.request("slow", 1)
    driver.run_until_idle()
    large = asker.request("slow", MANY)
    driver.run_until(large)
    with pytest.raises(ConnectionLost, match=ASKED_ABOUT):
        large.result()
    with pytest.raises(ConnectionLost, match=r"It may have been carried out$"):
        small.result()
    driver.close()


def test_a_request_that_never_went_to_the_link_was_not_carried_out() -> None:
    client, server, _, driver = pair()
    server.handle("slow", lambda params: asyncio.sleep(3600))
    driver.connections[-1].to_server.stall()
    answers = [client.request("slow", "x" * 100_000) for _ in range(50)]
    driver.run_until_idle()
    waiting = client.pending_bytes // 100_000
    driver.connections[-1].drop()
    driver.run_until_idle()
    errors = [str(answer.error) for answer in answers]
    never = [error for error in errors if "It was not carried out: the other side had not read it" in error]
    assert 0 < len(never) <= waiting and never == errors[-len(never) :], "those that waited here, which were the last"
    assert all("It may have been carried out" in error for error in errors[: -len(never)])
    driver.close()


@pytest.mark.parametrize("limits", LIMITS)
def test_an_answer_that_is_too_large_is_told_to_who_asks(limits: dict[str, Any]) -> None:
    (option,) = limits
    client, server, _, driver = pair(server=limits)
    server.on("error", lambda error, socket: None)
    server.handle("many", lambda params: MANY)
    answer = client.request("many")
    driver.run_until(answer)
    with pytest.raises(RemoteError, match=f"the answer cannot be sent: .*the limit is 50000; raise {option} on both"):
        answer.result()
    client, server, _, driver = pair(client=limits)
    server.handle("many", lambda params: MANY)
    answer = client.request("many")
    driver.run_until(answer)
    with pytest.raises(ConnectionLost, match=f"raise {option} on the receiving side"):
        answer.result()


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_link_that_this_side_ends_is_no_question_of_size(size: int) -> None:
    client, server, _, driver = pair()
    server.handle("slow", lambda params: asyncio.sleep(3600))
    answer = client.request("slow", "x" * size)
    driver.run_until_idle()
    client.abort()
    driver.run_until(answer)
    with pytest.raises(ConnectionLost, match=r"It may have been carried out$"):
        answer.result()
    driver.close()


@pytest.mark.parametrize("limits", LIMITS)
async def test_on_real_links_of_both_waiting_fronts_too(limits: dict[str, Any], tmp_path: Path) -> None:
    root = f"{tmp_path}/"

    def block() -> None:
        with blocking.connect("world", socket_root=root) as world:
            with pytest.raises(ConnectionLost, match=ASKED_ABOUT):
                world.request("echo", MANY, timeout=20)

    async with node_ipc.serve("world", socket_root=root, **limits) as server:
        server.handle("echo", lambda params: params)
        async with node_ipc.connect("world", socket_root=root) as world:
            assert await world.request("echo", 1) == 1
            with pytest.raises(ConnectionLost, match=ASKED_ABOUT):
                await world.request("echo", MANY, timeout=20)
        await asyncio.to_thread(block)


@pytest.mark.row(52)
@pytest.mark.parametrize("reason", [None, ConnectError("nobody is there")])
def test_what_waits_for_an_answer_hears_why_there_will_be_none(ends: Pair, reason: ConnectError | None) -> None:
    async def never(params: Any) -> None:
        await ends.driver.sleep(1000)

    ends.server.handle("never", never)
    answer = ends.client.request("never")
    ends.driver.run_until_idle()
    ends.client.requests.end(reason)
    with pytest.raises(NotConnected) as told:
        answer.result()
    assert str(told.value) == f"'never' was not answered: {reason or 'the endpoint is closed'}"
    assert told.value.__cause__ is reason


@pytest.mark.parametrize("reason", [None, ConnectError("nobody is there")])
def test_that_nothing_will_be_answered_is_told_where_nobody_looks_unless_that_was_meant(
    ends: Pair, reason: ConnectError | None, caplog: pytest.LogCaptureFixture
) -> None:
    ends.server.handle("never", _never(ends.driver))
    ends.client.request("never")
    ends.client.requests.end(reason)
    told = [message for message in caplog.messages if "the request 'never' failed" in message]
    assert len(told) == (reason is not None) and all("nobody is there" in message for message in told)


@pytest.mark.parametrize("asks", ["client", "server"])
def test_what_is_no_request_is_told_by_its_event_also_where_nothing_is_answered(ends: Pair, asks: str) -> None:
    errors: list[Any] = []
    asker, answerer = (ends.socket, ends.client) if asks == "server" else (ends.client, ends.server)
    answerer.on("error", errors.append)
    asker.emit("rpc.request", {"method": 5})
    ends.driver.run_until_idle()
    (error,) = errors
    assert str(error).startswith("the payload of 'rpc.request' does not fit at $.method: ")


class Ends(Watch):
    """Writes down how requests ended that are answered here."""

    def __init__(self) -> None:
        self.errors: list[Any] = []

    def answering(self, method: str, message: Any, request: Any) -> Activity:
        return Ending(self.errors)


class Ending(Activity):
    def __init__(self, errors: list[Any]) -> None:
        self.errors = errors

    def ended(self, error: BaseException | None) -> None:
        self.errors.append(error)


def test_who_watches_hears_with_what_a_request_was_answered(ends: Pair) -> None:
    def refuse() -> None:
        raise RemoteError(7, "not today", {"tomorrow": True})

    heard = Ends()
    ends.server.watch(heard)
    ends.server.handle("add", lambda params: None, type=int)
    ends.server.handle("refuse", refuse)
    for method in ("add", "nothing", "refuse"):
        with pytest.raises(RemoteError) as refused:
            asked(ends, method, "x")
        error = heard.errors.pop()
        told = refused.value
        assert (error.code, error.message, error.data) == (told.code, told.message, told.data)
    assert heard.errors == []
