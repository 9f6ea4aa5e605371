"""Large frames: what they hold is counted, and what takes long is read in another way, to the same result."""

from __future__ import annotations

import gc
import sys
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from node_ipc import Config, FrameTooLarge, InvalidPayload, Raw
from node_ipc.core.payload import typed_decoder
from node_ipc.drivers.memory import MemoryDriver
from node_ipc.testing import Wire, pair, serve
from node_ipc.wire import costs
from node_ipc.wire.codec import choose
from node_ipc.wire.costs import (
    FEW_LONG_NUMBERS,
    LARGE_FRAME,
    count_values,
    has_many_long_numbers,
    may_have_more_values,
    without_collector,
)
from node_ipc.wire.json import decode_large_envelope

LONG = "17976931348623158079.25"
MANY_LONG = FEW_LONG_NUMBERS + 1000
MANY = 100_000
"""A number that ``max_message_values`` is set to here."""


@pytest.mark.parametrize(
    ("frame", "values"),
    [(b"", 0), (b"1", 0), (b'{"type":"a","data":[1,2,3]}', 5), (b"[[],[]]", 4), (b'","', 1), (b"[" * 9, 9)],
)
def test_values_are_counted(frame: bytes, values: int) -> None:
    assert count_values(frame) == values


@pytest.mark.row(52)
@pytest.mark.parametrize("byte", [b",", b"[", b"{"])
@pytest.mark.parametrize(("values", "more"), [(100_000, False), (100_001, True)])
def test_many_values_are_found_wherever_they_begin(byte: bytes, values: int, more: bool) -> None:
    text = b"x" * 200_001
    assert may_have_more_values(byte * values + text, MANY) is more
    assert may_have_more_values(text + byte * values, MANY) is more


@pytest.mark.row(52)
def test_what_is_too_short_for_so_many_values_is_not_counted() -> None:
    assert not may_have_more_values(b"," * (2 * MANY + 1), MANY)
    assert may_have_more_values(b"," * (2 * MANY + 2), MANY)


@pytest.mark.parametrize(
    ("number", "is_long"),
    [(b"1234567890123456789", False), (b"12345678901234567890", True), (b"0.1234567890123456789", True)],
)
def test_many_long_numbers_are_found(number: bytes, is_long: bool) -> None:
    few, many = (b",".join([number] * count) for count in (FEW_LONG_NUMBERS, FEW_LONG_NUMBERS + 1))
    assert has_many_long_numbers(many) is has_many_long_numbers(Raw(many)) is is_long
    assert not has_many_long_numbers(few)


def frame_of(payload: str) -> bytes:
    return f'{{"type":"m","data":{payload}}}'.encode()


def padded(*items: str) -> str:
    return f"[{','.join(items)}{(',' + LONG) * MANY_LONG}]"


@pytest.mark.parametrize(
    ("text", "value"),
    [(LONG, 1.7976931348623158e19), ("1e5", 1e5), ("123456789012345678901234567890", 123456789012345678901234567890)],
)
def test_numbers_are_read_as_in_small_frames(text: str, value: Any) -> None:
    large = decode_large_envelope(frame_of(padded(text))).data[0]
    assert large == value
    assert type(large) is type(msgspec.json.decode(text))
    assert decode_large_envelope(frame_of(text)).data == value


def test_a_number_beyond_a_double_is_refused_in_a_large_frame_too() -> None:
    codec = choose(Config().settings())
    frame = frame_of(padded("1e400"))
    with pytest.raises(msgspec.ValidationError):
        codec.decode_large(frame)
    found = codec.salvage(frame)
    assert isinstance(found, InvalidPayload)
    assert found.event == "m"


@pytest.mark.parametrize("count", [1, FEW_LONG_NUMBERS + 1])
def test_a_payload_with_a_type(count: int) -> None:
    raw = Raw(f"[{','.join([LONG] * count)}{' ' * LARGE_FRAME}]".encode())
    assert typed_decoder(list[float], "m")(raw) == [1.7976931348623158e19] * count
    first = typed_decoder(list[Decimal], "m")(raw)[0]
    assert first == (Decimal(LONG) if count == 1 else Decimal("1.7976931348623157E+19"))
    with pytest.raises(InvalidPayload, match=r"does not fit at \$\[0\]"):
        typed_decoder(list[str], "m")(raw)


def test_the_collector_is_back_whatever_happens() -> None:
    def state(argument: Any) -> bool:
        return gc.isenabled()

    assert without_collector(state, None) is (sys.version_info >= (3, 12))
    with pytest.raises(ZeroDivisionError):
        without_collector(lambda zero: 1 / zero, 0)
    assert gc.isenabled()
    gc.disable()
    try:
        assert without_collector(lambda argument: (state(argument), argument), 5) == (False, 5)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(("version", "looks_on"), [((3, 11, 9), False), ((3, 12, 0), True), ((4, 0, 0), True)])
def test_the_collector_is_left_alone_where_it_does_not_look_on(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], looks_on: bool
) -> None:
    monkeypatch.setattr(costs, "sys", SimpleNamespace(version_info=version))
    assert without_collector(lambda _: gc.isenabled(), None) is looks_on


# ---- between a client and a server


def test_as_many_values_as_may_be_and_one_more() -> None:
    client, server, _, driver = pair(max_message_values=MANY)
    heard: list[int] = []
    server.on("m", lambda data: heard.append(len(data)))
    envelope = 2 + 1  # its comma, its object, and the list
    client.emit("m", [0] * (MANY - envelope + 1))
    driver.run_until_idle()
    assert heard == [MANY - envelope + 1]
    with pytest.raises(FrameTooLarge, match=f"'m': .* about {MANY + 1} values .* {MANY}; raise max_message_values"):
        client.emit("m", [0] * (MANY - envelope + 2))
    client.emit("m", "x" * MANY * 3)
    driver.run_until_idle()
    assert heard == [MANY - envelope + 1, MANY * 3]


@pytest.mark.parametrize(("parser", "heard"), [("guarded", "FrameTooLarge"), ("fast", "delivered")])
def test_too_many_end_the_link_as_too_many_bytes_do_and_what_came_before_is_delivered(parser: str, heard: str) -> None:
    driver = MemoryDriver()
    server = serve(driver, max_message_values=MANY, parser=parser)
    told: list[str] = []
    server.on("m", lambda data: told.append("delivered"))
    server.on("error", lambda error: told.append(type(error).__name__))
    wire = Wire.connected(driver, server.address)
    wire.write(frame_of("1") + b"\f" + frame_of(f"[{'0,' * MANY}0]") + b"\f")
    driver.run_until_idle()
    assert told == ["delivered", heard]
    assert wire.has_ended is (heard != "delivered")


@pytest.mark.parametrize("type", [None, list[Any]])
def test_large_messages_behind_slow_handlers(type: Any) -> None:
    client, server, _, driver = pair(max_handler_frames=1)
    heard: list[Any] = []

    async def slow(data: Any) -> None:
        heard.append(data[0])

    server.on("m", slow, type=type)
    large = [1.5, "x" * LARGE_FRAME, 17976931348623158079]
    for _ in range(4):
        client.emit("m", large)
        client.emit("m", [2])
    driver.run_until_idle()
    assert heard == [1.5, 2] * 4
