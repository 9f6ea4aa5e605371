"""Payloads of types that msgspec does not know: refused at ``on``, or made by the hooks; pydantic, Path, deque, numpy.

The hooks here are the documented examples (docs/howto/typed-payloads.md).
"""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pydantic
import pytest

from node_ipc import Event, HandlerError, InvalidPayload, RemoteError, buffer
from node_ipc.testing import pair


def enc_hook(value: Any) -> Any:
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, deque):
        return list(value)
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        return value.tolist()
    raise NotImplementedError


def dec_hook(type: Any, value: Any) -> Any:
    if issubclass(type, pydantic.BaseModel):
        return type.model_validate(value)
    return numpy.asarray(value) if type is numpy.ndarray else type(value)


class Order(pydantic.BaseModel):
    item: str
    count: int = 1


@dataclasses.dataclass
class Frame:
    pixels: numpy.ndarray
    source: Path


VALUES: list[tuple[Any, Any]] = [
    (Order, Order(item="tea", count=2)),
    (list[Order], [Order(item="tea")]),
    (Path, Path("/tmp/x")),
    (deque, deque([1, 2])),
    (dict[str, Path], {"home": Path("/home")}),
    (numpy.ndarray, numpy.array([[1.5, 2.0], [3.0, 4.0]])),
    (numpy.float32, numpy.float32(1.5)),
    (numpy.int64, numpy.int64(7)),
]


def same(one: Any, other: Any) -> bool:
    return bool(numpy.array_equal(one, other)) if isinstance(other, numpy.ndarray) else bool(one == other)


@pytest.mark.parametrize(("type", "value"), VALUES, ids=lambda case: f"{case!r:.40}")
def test_hooks_make_other_types_of_payloads_params_and_results(type: Any, value: Any) -> None:
    ends = pair(enc_hook=enc_hook, dec_hook=dec_hook)
    heard: list[Any] = []
    event = Event("it", type)
    ends.server.on(event, lambda data: heard.append(data))
    ends.server.handle(event, lambda params: params)
    ends.client.emit(event, value)
    answer = ends.client.request("it", value, type=type)
    ends.driver.run_until(answer)
    for found in (heard[0], answer.result()):
        assert isinstance(found, value.__class__) and same(found, value)
    ends.driver.close()


@pytest.mark.parametrize("type", [bytes, bytearray])
def test_bytes_come_as_base64_or_as_node_s_buffer(type: Any) -> None:
    ends = pair()
    heard: list[Any] = []
    ends.server.on("image", lambda data, socket: heard.append(data), type=type)
    ends.client.emit("image", b"\xff\x00")
    ends.client.emit("image", buffer(b"\xff\x01"))
    ends.client.emit("image", buffer(b"x" * 100_000))
    ends.server.on("*", lambda kind, data, socket: None)  # payloads are decoded for all of them
    ends.client.emit("image", buffer(b"\xff\x02"))
    ends.driver.run_until_idle()
    assert heard == [type(b"\xff\x00"), type(b"\xff\x01"), type(b"x" * 100_000), type(b"\xff\x02")]
    assert {each.__class__ for each in heard} == {type}


class Picture(msgspec.Struct):
    pixels: bytes


@pytest.mark.parametrize(
    ("type", "payload", "said"),
    [
        (bytes, {"type": "Buffer", "data": [1, 256]}, "holds no bytes"),
        (bytes, {"type": "Buffer"}, "holds no bytes"),
        (bytes, {"pixels": 1}, "Expected `bytes`, got `object`. If it is a Buffer of Node's, take it without a type"),
        (Picture, {"pixels": buffer(b"x")}, "at $.pixels: Expected `bytes`, got `object`. If it is a Buffer of Node's"),
        (bytes, "no base64 text", "does not fit"),
    ],
    ids=["values", "none", "object", "inside", "text"],
)
def test_what_is_no_bytes_says_what_to_do(type: Any, payload: Any, said: str) -> None:
    ends = pair()
    errors: list[Exception] = []
    ends.server.on("image", lambda data, socket: errors.append(AssertionError(data)), type=type)
    ends.server.on("error", lambda error, socket: errors.append(error))
    ends.client.emit("image", payload)
    ends.driver.run_until_idle()
    (error,) = errors
    assert isinstance(error, InvalidPayload) and said in str(error)


class Labelled(msgspec.Struct):
    label: str
    rest: object


@pytest.mark.parametrize("dec_hook", [None, dec_hook])
@pytest.mark.parametrize(
    ("type", "payload"),
    [
        (dict[str, object], {"a": {"b": [1, None]}, "c": "text", "d": 1.5}),
        (list[object], [1, {"a": 2}, [True]]),
        (Mapping[str, object], {"a": 1}),
        (dict[str, object | None], {"a": None, "b": [1]}),
        (Labelled, {"label": "one", "rest": {"a": "\ud800"}}),
        (dict[str, object], {"small": b"ab", "large": bytes(20_000), "lists": [bytes(20_000)]}),
    ],
    ids=["dict", "list", "mapping", "optional", "surrogate", "bytes"],
)
def test_object_inside_a_type_is_whatever_comes(type: Any, payload: Any, dec_hook: Any) -> None:
    ends = pair(dec_hook=dec_hook)
    heard: list[Any] = []
    ends.server.on("it", lambda data, socket: heard.append(data), type=type)
    ends.server.on("untyped", lambda data, socket: heard.append(data))
    ends.server.on("error", lambda error, socket: heard.append(error))
    for _ in range(2):  # the first tells that bytes may come beside the JSON, and with the second they do
        ends.client.emit("it", payload)
        ends.driver.run_until_idle()
    ends.client.emit("untyped", payload)
    ends.driver.run_until_idle()
    once, again, untyped = heard
    plain = untyped if type is not Labelled else Labelled(untyped["label"], untyped["rest"])
    assert once == again == plain
    ends.driver.close()


def test_hooks_reach_into_structures() -> None:
    ends = pair(enc_hook=enc_hook, dec_hook=dec_hook)
    heard: list[Any] = []

    def frame(data: Frame) -> None:
        heard.append(data)

    ends.server.on("frame", frame)
    ends.client.emit("frame", Frame(numpy.arange(3), Path("/dev/video0")))
    ends.driver.run_until(lambda: heard)
    assert heard[0].pixels.tolist() == [0, 1, 2] and heard[0].source == Path("/dev/video0")
    ends.driver.close()


@pytest.mark.parametrize("type", [Order, list[Order], Path, deque, numpy.float32, Frame, dict[str, Frame | None]])
def test_without_a_hook_such_a_type_is_refused_when_it_is_registered(type: Any) -> None:
    ends = pair()
    for verb in (ends.server.on, ends.client.once, ends.server.handle):
        with pytest.raises(TypeError, match=r"is no type that msgspec knows\. Set the option dec_hook"):
            verb("it", lambda data: None, type=type)
    with pytest.raises(TypeError, match="dec_hook"):
        ends.client.request("it", type=type)
    assert ends.server.events.handlers("it") == []
    ends.driver.close()


def test_without_a_hook_such_a_value_is_refused_when_it_is_emitted() -> None:
    ends = pair()
    with pytest.raises(InvalidPayload, match=r"the value at \$.where \(PosixPath\) cannot be JSON.*enc_hook"):
        ends.client.emit("it", {"where": Path("/tmp")})
    ends.driver.close()


@pytest.mark.parametrize("attachments", ["auto", "off"])
@pytest.mark.parametrize("kind", [TypeError, NotImplementedError])
def test_a_hook_that_knows_no_way_says_so_in_its_own_words(kind: type[Exception], attachments: str) -> None:
    def hook(value: Any) -> Any:
        raise kind("only orders go out here")

    ends = pair(enc_hook=hook, attachments=attachments)
    ends.driver.run_until_idle()
    with pytest.raises(InvalidPayload, match=r"at \$\.where \(PosixPath\) .*: only orders go out here\..*let enc_hook"):
        ends.client.emit("it", {"where": Path("/tmp"), "large": bytes(20_000)})
    ends.driver.close()


def test_what_does_not_fit_is_told_with_its_place() -> None:
    ends = pair(enc_hook=enc_hook, dec_hook=dec_hook)
    errors: list[Any] = []
    ends.server.on("error", errors.append)
    ends.server.on("order", lambda data: None, type=list[Order])
    ends.server.handle("order", lambda params: None, type=Order)
    ends.client.emit("order", [{"item": "tea"}, {"count": "x"}])
    answer = ends.client.request("order", {})
    ends.driver.run_until(answer)
    assert isinstance(errors[0], InvalidPayload) and errors[0].path == "$[1]"
    assert isinstance(answer.error, RemoteError) and answer.error.code == -32602
    ends.driver.close()


@pytest.mark.parametrize(
    ("type", "payload", "path"),
    [(dict[int, str], {"a": "b"}, "$"), (list[dict[int, str]], [{}, {"a": "b"}], "$[1]")],
)
def test_a_key_that_does_not_fit_is_told_with_the_place_of_its_dict(type: Any, payload: Any, path: str) -> None:
    with pair() as ends:
        errors: list[InvalidPayload] = []
        ends.server.on("error", errors.append)
        ends.server.on("order", lambda data: None, type=type)
        ends.client.emit("order", payload)
    said = f"the payload of 'order' does not fit at {path}: a key is wrong: Expected `int`, got `str`"
    assert [(str(error), error.path, error.event) for error in errors] == [(said, path, "order")]


def test_a_hook_that_breaks_harms_only_its_message() -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError

    ends = pair(server={"enc_hook": broken, "dec_hook": broken}, client={"enc_hook": enc_hook})
    errors: list[Any] = []
    ends.server.on("error", errors.append)
    ends.server.on("path", lambda data: None, type=Path)
    ends.server.handle("params", lambda params: None, type=Path)
    ends.server.handle("result", lambda: Path("/tmp"))
    ends.client.emit("path", Path("/tmp"))
    for method in ("params", "result"):
        answer = ends.client.request(method, "/tmp", timeout=None)
        ends.driver.run_until(answer)
        assert isinstance(answer.error, RemoteError)
    assert [type(error) for error in errors] == [HandlerError] * 3
    assert ends.client.state.value == "connected"
    ends.driver.close()


class Text(str):
    pass


class Whole(int):
    pass


class Real(float):
    pass


@pytest.mark.parametrize(
    ("value", "arrives"),
    [(Text("a"), "a"), (Whole(5), 5), (Real(1.5), 1.5), ({"k": [Text("b")]}, {"k": ["b"]}), (numpy.float64(2.5), 2.5)],
)
@pytest.mark.parametrize("hook", [None, enc_hook])
def test_subclasses_of_text_and_numbers_are_what_they_are(value: Any, arrives: Any, hook: Any) -> None:
    ends = pair(enc_hook=hook)
    heard: list[Any] = []
    ends.server.on("it", lambda data: heard.append(data))
    ends.client.emit("it", value)
    ends.client.emit("it", [value, "\ud800"])
    ends.driver.run_until(lambda: len(heard) == 2)
    assert heard == [arrives, [arrives, "\ud800"]]
    ends.driver.close()


# ---- handlers of every shape


def test_a_coroutine_that_a_handler_returns_is_run() -> None:
    ends = pair()
    heard: list[Any] = []

    async def later(data: int) -> None:
        await ends.driver.sleep(1)
        heard.append(data)

    @functools.wraps(later)
    def wrapper(*arguments: Any) -> Any:
        return later(*arguments)

    ends.server.on("lambda", lambda data: later(data))
    ends.server.on("wrapped", wrapper)
    ends.server.once("once", lambda data: later(data))
    ends.server.on("connect", lambda socket: later(0))
    for number, name in enumerate(("lambda", "wrapped", "once"), 1):
        ends.client.emit(name, number)
    ends.driver.advance(2)
    assert sorted(heard) == [1, 2, 3]
    ends.client.emit("lambda", 4)
    ends.client.emit("wrapped", "no number")
    ends.driver.advance(2)
    assert sorted(heard) == [1, 2, 3, 4]
    assert [type(failure) for failure in ends.driver.failures] == [InvalidPayload]
    ends.driver.close()


def test_a_returned_coroutine_without_a_loop_is_told() -> None:
    ends = pair()
    ends.server.events._spawn = None  # as on the blocking front
    errors: list[Any] = []
    ends.server.on("error", errors.append)

    async def later() -> None:
        raise AssertionError("it never runs")

    ends.server.on("lambda", lambda data: later())
    ends.client.emit("lambda", 1)
    ends.driver.run_until(lambda: errors)
    assert "no event loop to run it" in str(errors[0].__cause__)
    ends.driver.close()


def test_captured_defaults_are_left_alone() -> None:
    ends = pair()
    heard: list[Any] = []
    for i in range(3):
        ends.server.on("it", lambda data, i=i: heard.append((data, i)))
        ends.server.handle(f"it {i}", lambda params, socket=None, i=i: [params, socket is not None, i])
    ends.client.emit("it", "x")
    answer = ends.client.request("it 2", "y")
    ends.driver.run_until(answer)
    assert heard == [("x", 0), ("x", 1), ("x", 2)]
    assert answer.result() == ["y", True, 2]
    ends.driver.close()


def test_a_partial_of_a_typed_handler_is_typed() -> None:
    ends = pair()
    heard: list[Any] = []

    def handler(kept: list[Any], data: Size) -> None:
        kept.append(data)

    ends.server.on("it", functools.partial(handler, heard))
    ends.client.emit("it", {"n": 5})
    ends.driver.run_until(lambda: heard)
    assert heard == [Size(5)]
    ends.driver.close()


class Size(msgspec.Struct):
    n: int


def test_what_is_registered_by_the_thousand_takes_time_by_the_piece() -> None:
    """Each typed handler once compiled the entries of all names anew: 10,000 took a minute."""
    ends = pair()
    for number in range(10_000):
        ends.server.on(f"event {number}", lambda data: None, type=int)
    for _ in range(1_000):
        ends.server.once("*", lambda type: None)
    ends.client.emit("event 5", 5)
    ends.driver.run_until_idle()
    assert ends.server.events.handlers("*") == []
    ends.driver.close()


def test_decoders_are_kept_for_the_latest_types_only() -> None:
    from node_ipc.core.payload import made_decoder

    ends = pair()
    for number in range(512):
        made = msgspec.defstruct(f"Type{number}", [("a", int)])
        ends.server.once(f"event {number}", lambda data: None, type=made)
    kept: Any = made_decoder.__wrapped__  # type: ignore[attr-defined]  # by functools.wraps
    assert 0 < kept.cache_info().currsize <= 256
    ends.driver.close()


def test_shortcuts_are_kept_for_the_latest_names_only() -> None:
    """A blocking client that received a million names by name had a million entries."""
    from node_ipc.core.events import SHORTCUTS

    ends = pair()
    table = ends.client.events._table
    before = len(table)
    for number in range(10 * SHORTCUTS):
        ends.client.events.shortcut(f"name {number}", lambda data: None)
    assert len(table) == before + SHORTCUTS
    ends.driver.close()
