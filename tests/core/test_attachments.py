"""Bytes and arrays beside the JSON: what two ends agree on, what goes over the wire, and what handlers get."""

from __future__ import annotations

import array
import base64
import dataclasses
import gc
import json
import mmap
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, TypedDict

import msgspec
import numpy
import numpy.typing
import pytest
from msgspec import Raw

import node_ipc
from node_ipc import BackpressureError, Config, FrameTooLarge, InvalidMessage, InvalidPayload
from node_ipc.core.holdings import everybody
from node_ipc.core.outgoing import Attaching
from node_ipc.core.watch import Watch
from node_ipc.testing import MemoryDriver, Pair, Started, Wire, WireServer, connect, pair, serve
from node_ipc.wire.attached import BEGIN, Entry, Half
from node_ipc.wire.codec import choose
from node_ipc.wire.parcel import take_apart

KIB = 1024
LARGE = bytes(range(256)) * 100
"""25,600 bytes, among them the delimiter."""
GRID = numpy.arange(60_000, dtype="<i4").reshape(200, 300)
ANSWER = b'{"type":"ipc.attachments","data":{"version":1}}\f'
OFFER = b'{"type":"hello","data":{},"attachments":1}\f'


def plain(type: str, data: Any) -> bytes:
    """What goes out where nothing was agreed."""
    return msgspec.json.encode({"type": type, "data": data}) + b"\f"


def attached(type: str, data: Any, *pieces: tuple[dict[str, Any], bytes]) -> bytes:
    entries = [{"at": entry["at"], "size": len(piece), **entry} for entry, piece in pieces]
    head = json.dumps({"attachments": entries, "type": type, "data": data}, separators=(",", ":")).encode()
    return head + b"\f" + b"".join(piece for _, piece in pieces)


def a_client(**options: Any) -> tuple[MemoryDriver, node_ipc.Client, Wire]:
    driver = MemoryDriver()
    listening = WireServer(driver)
    client = connect(driver, listening.address, **options)
    return driver, client, listening.wires[-1]


def a_server(**options: Any) -> tuple[MemoryDriver, node_ipc.Server, Wire]:
    driver = MemoryDriver()
    server = serve(driver, **options)
    return driver, server, Started(server, driver).wire()


def agreed(**options: Any) -> Pair:
    ends = pair(**options)
    ends.client.emit("first", LARGE)
    ends.driver.run_until_idle()
    assert state_of(ends.socket) is state_of(ends.client._session) is Attaching.AGREED
    return ends


def state_of(session: Any) -> Attaching:
    state: Attaching = session.outgoing.attaching
    return state


# ---- the agreement


def test_the_first_message_with_large_bytes_is_an_offer_and_no_other_frame_is_changed() -> None:
    driver, client, wire = a_client()
    for data in (b"small", {"text": "a" * 50_000}, [1.5] * 9000, LARGE, LARGE, {"n": 1}):
        client.emit("message", data)
        driver.run_until_idle()
    offer = plain("message", LARGE)[:-2] + b',"attachments":1}\f'
    before = [plain("message", data) for data in (b"small", {"text": "a" * 50_000}, [1.5] * 9000)]
    assert wire.take() == b"".join([*before, offer, plain("message", LARGE), plain("message", {"n": 1})])


def test_a_server_offers_as_a_client_does() -> None:
    driver, server, wire = a_server()
    server.broadcast("message", LARGE)
    driver.run_until_idle()
    assert wire.take() == plain("message", LARGE)[:-2] + b',"attachments":1}\f'


@pytest.mark.parametrize(
    "options",
    [
        {"attachments": "off"},
        {"parser": "assured", "allowed_events": ["message", "hello"]},
        {"delimiter": "m"},
    ],
    ids=str,
)
def test_who_does_not_take_attachments_neither_offers_nor_answers(options: dict[str, Any]) -> None:
    codec = choose(Config(**options).settings())
    assert not codec.attaches
    if "parser" not in options:
        driver, client, wire = a_client(**options)
        client.emit("message", LARGE)
        wire.write(OFFER.replace(b"\f", client.settings.delimiter.encode()))
        driver.run_until_idle()
        assert b"attachments" not in wire.take()


def test_in_the_assured_profile_attachments_have_to_be_allowed() -> None:
    allowed = Config(parser="assured", allowed_events=["message", "ipc.attachments"])
    assert choose(allowed.settings()).attaches


def test_an_offer_is_answered_once_and_its_message_is_heard() -> None:
    driver, server, wire = a_server()
    heard: list[Any] = []
    server.on("hello", lambda data: heard.append(data))
    wire.write(OFFER + b'{"type":"hello","data":1}\f' + b'{"attachments": 1, "data": [2], "type": "hello"}\f')
    driver.run_until_idle()
    assert (wire.take(), heard) == (ANSWER, [{}, 1, [2]])
    server.broadcast("message", LARGE)
    driver.run_until_idle()
    assert wire.take() == attached("message", None, ({"at": []}, LARGE))


def test_both_may_offer_at_the_same_time() -> None:
    ends = pair()
    got: list[Any] = []
    ends.client.on("message", got.append, type=bytes)
    ends.server.on("message", lambda data: got.append(data), type=bytes)
    for _ in range(3):
        ends.client.emit("message", LARGE)
        ends.socket.emit("message", LARGE)
        ends.driver.run_until_idle()
    assert got == [LARGE] * 6
    assert state_of(ends.socket) is state_of(ends.client._session) is Attaching.AGREED


def test_the_agreement_is_no_handlers_business() -> None:
    ends = pair()
    heard: list[Any] = []
    for end in (ends.client, ends.server):
        end.on("*", lambda name, *rest: heard.append(name))
    ends.client.emit("message", LARGE)
    ends.driver.run_until_idle()
    assert heard == ["message"] and state_of(ends.client._session) is Attaching.AGREED


def test_each_link_agrees_anew() -> None:
    ends = agreed()
    ends.socket.abort()
    ends.driver.advance(5)
    assert ends.client.state is node_ipc.ClientState.CONNECTED
    assert state_of(ends.client._session) is Attaching.UNKNOWN


@pytest.mark.parametrize("value", [b'"1"', b"null", b"0", b"-1", b"{}", b'"[1]"'])
def test_a_member_of_that_name_with_another_meaning_is_read_over(value: bytes) -> None:
    driver, server, wire = a_server()
    heard: list[Any] = []
    server.on("hello", lambda data: heard.append(data))
    wire.write(b'{"type":"hello","data":{"n":1.50},"attachments":' + value + b',"trace":{}}\f')
    driver.run_until_idle()
    assert (heard, wire.take(), wire.is_lost) == ([{"n": 1.5}], b"", False)


@pytest.mark.parametrize(
    "data", [{"a": "\ud800"}, {"n": 10**30}, {"d": "[" * 5}, {"attachments": [1]}, {"x": {"attachments": 1}}], ids=repr
)
def test_the_message_of_an_offer_may_hold_whatever_messages_hold(data: Any) -> None:
    driver, server, wire = a_server()
    heard: list[Any] = []
    server.on("hello", lambda data: heard.append(data))
    wire.write(json.dumps({"type": "hello", "data": data, "attachments": 1}, separators=(",", ":")).encode() + b"\f")
    driver.run_until_idle()
    assert (heard, wire.take()) == ([data], ANSWER)


@pytest.mark.parametrize("typed", [False, True])
def test_attachments_before_the_agreement_end_the_link(typed: bool) -> None:
    driver, server, wire = a_server()
    errors: list[Any] = []
    heard: list[Any] = []
    server.on("error", lambda error: errors.append(error))
    server.on("message", lambda data: heard.append(data), type=bytes if typed else None)
    wire.write(plain("message", b"1") + attached("message", None, ({"at": []}, b"abc")))
    driver.run_until_idle()
    assert [type(error) for error in errors] == [InvalidMessage] and "offer" in str(errors[0])
    assert wire.has_ended and len(heard) == 1


# ---- types: the same either way


class Frame(msgspec.Struct):
    at: float
    pixels: node_ipc.Bytes | numpy.ndarray


@dataclasses.dataclass
class Shot:
    name: str
    image: numpy.ndarray


class Sound(TypedDict):
    samples: array.array  # type: ignore[type-arg]  # before 3.12 it takes none
    rate: int


class Deep(msgspec.Struct, rename="camel"):
    many_parts: list[dict[str, Frame | None]]
    small: bytes = b""


RECORDS = numpy.zeros(9000, dtype=[("x", ">f4"), ("y", "<i2", (2,)), ("in", [("z", "u1")])])
ALIGNED = numpy.zeros(9000, dtype=numpy.dtype([("x", "u1"), ("y", "f8")], align=True))
ARRAYS = {
    "plain": GRID,
    "fortran": numpy.asfortranarray(GRID),
    "strided": GRID[::2, ::3],
    "backwards": GRID[::-1],
    "big-endian": GRID.astype(">i8"),
    "one value": numpy.array(1.5),
    "no values": numpy.zeros((0, 300), dtype="f4"),
    "no values of many": numpy.zeros((5000, 0, 7)),
    "bool": GRID % 2 == 0,
    "complex": GRID.astype("c16"),
    "text": numpy.array(["a", "bcd"] * 9000),
    "bytes": numpy.array([b"a", b"bcd"] * 9000),
    "times": numpy.arange(9000).astype("M8[ms]"),
    "half": GRID.astype("f2"),
    "records": RECORDS,
    "aligned": ALIGNED,
    "a field of records": RECORDS["y"],
    "read-only": numpy.frombuffer(LARGE, "u1"),
    "small": GRID[:2, :2],
}


@pytest.mark.parametrize("attachments", ["auto", "off"])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_arrive_as_they_were(name: str, attachments: str) -> None:
    ends = agreed() if attachments == "auto" else pair(attachments="off")
    sent: Any = ARRAYS[name]
    got: list[Any] = []
    ends.server.on("array", lambda data: got.append(data), type=numpy.ndarray)
    ends.client.emit("array", sent)
    ends.driver.run_until_idle()
    numpy.testing.assert_array_equal(got[0], sent)
    assert got[0].shape == sent.shape and (got[0].dtype == sent.dtype or name == "aligned")
    assert got[0].flags.writeable and got[0].size == sent.size


VALUES: list[tuple[Any, Any, Any]] = [
    (Frame, {"at": 1.5, "pixels": GRID}, Frame(1.5, GRID)),
    (Frame, Frame(1.5, GRID), Frame(1.5, GRID)),
    (Frame, Frame(1.5, LARGE), Frame(1.5, LARGE)),
    (Frame, {"at": 1, "pixels": bytearray(LARGE)}, Frame(1.0, LARGE)),
    (Shot, Shot("a", GRID), Shot("a", GRID)),
    (dict[str, numpy.ndarray], {"a": GRID, "b": GRID[:1]}, {"a": GRID, "b": GRID[:1]}),
    (
        Sound,
        {"samples": array.array("h", range(9000)), "rate": 1},
        {"samples": array.array("h", range(9000)), "rate": 1},
    ),
    (Deep, Deep([{"a": Frame(1.0, LARGE), "b": None}], b"x"), Deep([{"a": Frame(1.0, LARGE), "b": None}], b"x")),
    (bytes, LARGE, LARGE),
    (bytearray, LARGE, bytearray(LARGE)),
    (memoryview, memoryview(LARGE), memoryview(LARGE)),
    (node_ipc.Bytes, LARGE, LARGE),
    (node_ipc.Bytes, array.array("d", range(9000)), array.array("d", range(9000)).tobytes()),
    (node_ipc.Bytes | None, LARGE, LARGE),
    (tuple[int, bytes], (1, LARGE), (1, LARGE)),
    (numpy.typing.NDArray[numpy.int32], GRID, GRID),
    (numpy.ndarray, LARGE, numpy.frombuffer(LARGE, "u1")),
    (
        None,
        {"a": LARGE, "b": [LARGE]},
        {"a": base64.b64encode(LARGE).decode(), "b": [base64.b64encode(LARGE).decode()]},
    ),
    (
        dict[str, Any],
        {"a": GRID},
        {"a": {"dtype": "<i4", "shape": [200, 300], "data": base64.b64encode(GRID.tobytes()).decode()}},
    ),
]


@pytest.mark.parametrize("attachments", ["auto", "off"])
@pytest.mark.parametrize(
    ("type", "sent", "wanted"), VALUES, ids=[str(each[0]) + str(i) for i, each in enumerate(VALUES)]
)
def test_the_receiver_gets_the_same_either_way(type: Any, sent: Any, wanted: Any, attachments: str) -> None:
    ends = agreed() if attachments == "auto" else pair(attachments="off")
    got: list[Any] = []
    ends.server.on("value", lambda data: got.append(data), type=type)
    ends.client.emit("value", sent)
    ends.driver.run_until_idle()
    assert same(got[0], wanted)


def same(one: Any, other: Any) -> bool:
    if isinstance(other, numpy.ndarray):
        return isinstance(one, numpy.ndarray) and one.dtype == other.dtype and numpy.array_equal(one, other)
    if isinstance(other, (Frame, Shot, Deep)):
        names = getattr(other, "__struct_fields__", None) or other.__dataclass_fields__
        return type(one) is type(other) and all(same(getattr(one, each), getattr(other, each)) for each in names)
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in other)
    if isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def test_anything_with_a_buffer_can_be_emitted() -> None:
    ends = agreed()
    got: list[Any] = []
    ends.server.on("value", lambda data: got.append(data), type=bytes)
    with mmap.mmap(-1, 40_000) as mapped:
        mapped[:3] = b"abc"
        ends.client.emit("value", mapped)
    ends.client.emit("value", memoryview(LARGE)[::-1].tobytes())
    ends.driver.run_until_idle()
    assert got == [b"abc" + bytes(39_997), LARGE[::-1]]


class Unfit(msgspec.Struct):
    pixels: int


@pytest.mark.parametrize(
    ("type", "sent", "place"),
    [
        (Unfit, {"pixels": LARGE}, r"\$.pixels"),
        (numpy.typing.NDArray[numpy.float32], GRID, "float32"),
        (array.array, GRID, "no array.array"),
        (bytes, GRID, "node_ipc.Bytes"),
        (dict[str, bytes], {"a": GRID}, "node_ipc.Bytes"),
        (numpy.ndarray, "text!", "base64|array"),
        (numpy.ndarray, [["a"], ["b"]], "numbers"),
        (numpy.ndarray, {"dtype": "<i4", "shape": [2], "data": "AAAA"}, "has 8 bytes, and 3 came"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(type: Any, sent: Any, place: str) -> None:
    ends = agreed()
    errors: list[Any] = []
    ends.server.on("error", lambda error: errors.append(error))
    ends.server.on("value", lambda data: errors.append("heard"), type=type)
    ends.client.emit("value", sent)
    ends.driver.run_until_idle()
    assert [each.__class__ for each in errors] == [InvalidPayload]
    with pytest.raises(InvalidPayload, match=place):
        raise errors[0]


@pytest.mark.parametrize("attachments", ["auto", "off"])
@pytest.mark.parametrize(
    ("value", "word"),
    [
        (numpy.array([object()]), "objects"),
        (numpy.ma.masked_array([1, 2], [True, False]), "mask"),
        (array.array("w" if sys.version_info >= (3, 13) else "u", "ab"), "text"),
        (object(), "unsupported"),
        (memoryview(LARGE)[::2], "contiguous"),
    ],
    ids=["objects", "mask", "text", "object", "gaps"],
)
def test_what_cannot_be_sent_is_refused_with_its_place(value: Any, word: str, attachments: str) -> None:
    ends = agreed() if attachments == "auto" else pair(attachments="off")
    with pytest.raises(InvalidPayload, match=rf"at \$\.b\[1\].*{word}") as raised:
        ends.client.emit("value", {"a": GRID, "b": [LARGE, value]})
    assert raised.value.path == "$.b[1]"


def test_hooks_of_the_users_come_first() -> None:
    def enc_hook(value: Any) -> Any:
        if isinstance(value, numpy.ndarray):
            return {"mine": value.shape}
        raise NotImplementedError

    ends = agreed(enc_hook=enc_hook, dec_hook=lambda type, value: ("made", value))
    got: list[Any] = []
    ends.server.on("value", lambda data: got.append(data))
    ends.client.emit("value", {"a": GRID, "b": LARGE})
    ends.driver.run_until_idle()
    assert got == [{"a": {"mine": [200, 300]}, "b": base64.b64encode(LARGE).decode()}]


# ---- relays, requests, broadcasts


class Envelope(msgspec.Struct):
    to: str
    payload: Raw


def test_a_relay_passes_attachments_on_undecoded() -> None:
    ends = agreed()
    got: list[Any] = []
    ends.server.on("relay", lambda data, socket: socket.emit("relayed", {"inner": data, "n": 1}), type=Raw)
    ends.server.on("send", lambda data, socket: socket.emit("relayed", {"inner": data.payload}), type=Envelope)
    ends.client.on("relayed", got.append, type=dict[str, Any])
    ends.client.on("relayed", got.append, type=dict[str, dict[str, numpy.ndarray] | int])
    sent: list[int] = []
    ends.server.on_trace(lambda trace: sent.append(trace.bytes) if trace.what == "sent" else None)
    ends.client.emit("relay", {"grid": GRID})
    ends.client.emit("send", {"to": "me", "payload": {"grid": GRID}})
    ends.driver.run_until_idle()
    assert [each["inner"]["grid"]["dtype"] for each in got[::2]] == ["<i4", "<i4"]
    assert all(numpy.array_equal(each["inner"]["grid"], GRID) for each in got[1::2])
    assert max(sent) < GRID.nbytes + KIB  # not as base64


def test_what_is_relayed_is_json_to_who_looks_into_it() -> None:
    ends = agreed()
    got: list[Any] = []
    ends.server.on("relay", lambda data: got.append(data), type=Raw)
    ends.client.emit("relay", {"b": LARGE})
    ends.driver.run_until_idle()
    assert msgspec.json.decode(bytes(got[0])) == {"b": base64.b64encode(LARGE).decode()}
    assert len(got[0]) > len(LARGE) and "25600" in repr(got[0])


@pytest.mark.parametrize("attachments", ["auto", "off"])
def test_requests_and_answers_take_arrays(attachments: str) -> None:
    ends = agreed() if attachments == "auto" else pair(attachments="off")

    @ends.server.handle("infer")
    def infer(params: dict[str, numpy.ndarray]) -> Any:
        return params["image"] * 2

    for _ in range(3):
        answer = ends.client.request("infer", {"image": GRID}, type=numpy.ndarray)
        ends.driver.run_until(answer)
        assert numpy.array_equal(answer.result(), GRID * 2)


def test_a_request_that_waits_is_taken_back_with_its_bytes() -> None:
    ends = agreed()
    asked: list[Any] = []
    ends.server.handle("keep", lambda params: asked.append(params))
    ends.connection.stall()
    while ends.client.emit("fill", LARGE):
        pass
    answer = ends.client.request("keep", LARGE, timeout=1)
    waiting = ends.client.pending_bytes
    ends.driver.advance(1.5)
    assert answer.error is not None and ends.client.pending_bytes < waiting
    ends.connection.resume()
    ends.driver.run_until_idle()
    assert asked == []


def test_a_broadcast_reaches_those_who_agreed_and_those_who_did_not() -> None:
    driver, server, plain_wire = a_server()
    taking, other = Started(server, driver).wire(), connect(driver, server.address)
    taking.write(OFFER)
    driver.run_until_idle()
    taking.take()
    got: list[Any] = []
    other.on("grid", got.append, type=numpy.ndarray)
    server.broadcast("grid", GRID)
    driver.run_until_idle()
    about = {"at": [], "dtype": "<i4", "shape": [200, 300]}
    assert taking.take() == attached("grid", None, (about, GRID.tobytes()))
    in_json = {"dtype": "<i4", "shape": [200, 300], "data": GRID.tobytes()}
    assert plain_wire.take() == plain("grid", in_json)[:-2] + b',"attachments":1}\f'
    assert numpy.array_equal(got[0], GRID)


# ---- order, limits, slow and broken peers


def test_order_is_kept_between_messages_of_both_kinds() -> None:
    ends = agreed()
    got: list[Any] = []
    ends.server.on("n", lambda data: got.append(data))
    ends.server.on("b", lambda data: got.append(data[0]), type=bytes)
    ends.driver.conditions.buffer = 10_000
    for number in range(200):
        if number % 3:
            ends.client.emit("n", number)
        else:
            ends.client.emit("b", bytes([number]) * (KIB if number % 2 else 40_000))
    ends.driver.run_until_idle()
    assert got == list(range(200))


@pytest.mark.parametrize("size", [20_000, 300_000, 2_000_000])
@pytest.mark.parametrize("kind", ["bytearray", "memoryview", "array.array", "C", "F", "strided", "big-endian"])
def test_what_is_emitted_may_be_changed_at_once(kind: str, size: int) -> None:
    ends = agreed()
    got: list[bytes] = []
    kinds: dict[str, Callable[[], Any]] = {
        "bytearray": lambda: bytearray(size),
        "memoryview": lambda: memoryview(bytearray(size)),
        "array.array": lambda: array.array("B", bytes(size)),
        "C": lambda: numpy.zeros((size // 100, 100), "u1"),
        "F": lambda: numpy.zeros((100, size // 100), "u1", order="F"),
        "strided": lambda: numpy.zeros(size * 2, "u1")[::2],
        "big-endian": lambda: numpy.zeros(size // 2, ">u2"),
    }
    made = kinds[kind]()
    ends.server.on("b", lambda data: got.append(data), type=node_ipc.Bytes)
    ends.connection.stall()
    ends.client.emit("b", made)
    view = made if kind in ("bytearray", "memoryview", "array.array") else made.reshape(-1, order="A")
    for at in (0, -1):
        view[at] = 7
    ends.connection.resume()
    ends.driver.run_until_idle()
    assert got == [bytes(size)]


def test_what_nobody_may_change_is_sent_from_where_it_lies() -> None:
    still = numpy.zeros(100_000, "u1")
    still.setflags(write=False)
    _, pieces = take_apart({"a": LARGE, "b": still, "c": memoryview(bytearray(20_000)).toreadonly()}, None)
    assert pieces[0].view.obj is LARGE and isinstance(pieces[2].view.obj, bytearray)
    assert numpy.may_share_memory(numpy.frombuffer(pieces[1].view, "u1"), still)


def test_where_one_event_has_bytes_the_first_of_another_is_not_written_as_base64_before() -> None:
    ends = agreed()
    ends.socket.emit("first", LARGE)
    large = bytes(8 * 2**20)
    tracemalloc.start()
    ends.socket.encode("second", {"pixels": large})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20


def test_an_array_that_has_to_be_put_in_order_is_copied_once() -> None:
    for made in (numpy.zeros(200_000, "u1")[::2], numpy.zeros(9_000, numpy.dtype("u1,f8", align=True))):
        _, [piece] = take_apart(made, None)
        assert not isinstance(piece.view.obj, bytes)  # as a second copy would be


@pytest.mark.parametrize("size", [12_500, 16_400, 20_000, 40_000])
def test_messages_of_one_turn_are_each_as_they_were_where_nobody_agreed(size: int) -> None:
    ends = pair(server={"attachments": "off"}, client={"max_pending_bytes": 10**8})
    got: list[Any] = []
    ends.server.on("b", lambda data: got.append((data["n"], base64.b64decode(data["p"])[:1])))
    memory = bytearray(size)
    message = {"n": 0, "p": memory}
    for number in range(3):
        message["n"] = memory[0] = number
        ends.client.emit("b", message)
    ends.driver.run_until_idle()
    assert got == [(0, b"\0"), (1, b"\1"), (2, b"\2")]


def test_who_did_not_agree_gets_what_was_emitted_whatever_becomes_of_it() -> None:
    ends = pair(server={"attachments": "off"}, client={"max_pending_bytes": 10**8})
    got: list[Any] = []
    ends.server.on("b", lambda data: got.append(data), type=bytes)
    ends.connection.stall()
    changed = bytearray(b"a" * 400_000)
    for _ in range(3):
        ends.client.emit("b", changed)
    changed[:] = bytes(len(changed))
    ends.connection.resume()
    ends.driver.run_until_idle()
    assert got == [b"a" * 400_000] * 3


@pytest.mark.parametrize("type", [set[bytes], frozenset[bytes], set[bytes] | None])
def test_a_set_of_bytes_is_one_also_where_they_come_beside_the_message(type: Any) -> None:
    ends = agreed()
    got: list[Any] = []
    ends.server.on("keys", lambda data: got.append(data), type=type)
    ends.client.emit("keys", [LARGE, b"small"])
    ends.driver.run_until_idle()
    assert got == [{LARGE, b"small"}] and ends.driver.failures == []


def test_the_largest_message_is_counted_with_its_attachments() -> None:
    ends = agreed(max_message_size=100_000)
    got: list[Any] = []
    ends.server.on("b", lambda data: got.append(len(data)), type=bytes)
    ends.client.emit("b", bytes(99_000))
    with pytest.raises(FrameTooLarge, match="max_message_size"):
        ends.client.emit("b", bytes(100_000))
    ends.driver.run_until_idle()
    assert got == [99_000]


def test_bytes_that_are_too_many_as_base64_are_refused_where_nobody_agreed() -> None:
    ends = pair(max_message_size=100_000, server={"attachments": "off"})
    got: list[Any] = []
    ends.server.on("b", lambda data: got.append(data))
    with pytest.raises(FrameTooLarge, match="cannot emit 'b': the message has 1200"):
        ends.client.emit("b", bytes(90_000))
    with pytest.raises(FrameTooLarge, match="cannot emit 'b': the message has 1200"):
        ends.server.broadcast("b", bytes(90_000))
    ends.client.emit("b", "next")
    ends.driver.run_until_idle()
    assert got == ["next"]


def test_pending_bytes_and_the_hard_limit_hold_for_attachments() -> None:
    ends = agreed(max_pending_bytes=200_000, soft_pending_bytes=50_000)
    ends.connection.stall()
    with pytest.raises(BackpressureError, match="max_pending_bytes"):
        for _ in range(20):
            ends.client.emit("b", LARGE)
    assert 150_000 < ends.client.pending_bytes <= 200_000 + 65_536


def test_the_oldest_are_dropped_whole() -> None:
    ends = agreed(max_pending_bytes=200_000, slow_policy="drop_oldest")
    got: list[Any] = []
    ends.server.on("b", lambda data: got.append(data[0]), type=bytes)
    ends.connection.stall()
    for number in range(50):
        ends.client.emit("b", bytes([number]) * 30_000)
    ends.connection.resume()
    ends.driver.run_until_idle()
    assert got == sorted(got) and got[-1] == 49 and len(got) + ends.client.stats().dropped == 50


def test_many_pieces_are_one_message_and_more_than_the_most_stay_in_the_json() -> None:
    ends = agreed()
    got: list[Any] = []
    ends.server.on("many", lambda data: got.append(data), type=list[bytes])
    ends.client.emit("many", [bytes([n % 256]) * 17_000 for n in range(300)])
    ends.driver.run_until_idle()
    assert got == [[bytes([n % 256]) * 17_000 for n in range(300)]]


def listening() -> tuple[MemoryDriver, node_ipc.Server, Wire, list[Any]]:
    """A server that takes attachments, a peer of it, and what it hears."""
    driver, server, wire = a_server(message_timeout=5000)
    heard: list[Any] = []
    server.on("error", lambda error: heard.append(error.code))
    server.on("close", lambda socket: heard.append("close"))
    wire.write(OFFER)
    driver.run_until_idle()
    server.on("message", lambda data: heard.append(data), type=bytes)
    return driver, server, wire, heard


def test_a_peer_that_stops_in_the_middle_of_the_bytes_is_cut_in_time() -> None:
    driver, server, wire, heard = listening()
    other = connect(driver, server.address)
    wire.write(attached("message", None, ({"at": []}, bytes(100_000)))[:-1])
    driver.advance(4)
    other.emit("message", b"served")
    driver.run_until_idle()
    assert heard == [b"served"]
    driver.advance(2)
    assert heard[1:] == ["ERR_IPC_MESSAGE_TIMEOUT", "close"]


def test_a_link_that_ends_in_the_middle_of_the_bytes_tells_how_much_was_missing() -> None:
    driver, server, wire, heard = listening()
    told: list[Any] = []
    server.on("error", lambda error: told.append(str(error)))
    losses: list[Any] = []
    server.on("close", lambda socket: losses.append(socket.loss))
    whole = attached("message", None, ({"at": []}, bytes(100_000)))
    wire.write(whole[:-7])
    wire.close()
    driver.run_until_idle()
    assert heard == ["ERR_IPC_INVALID_MESSAGE", "close"] and told[0].endswith(
        "7 are missing: the peer ended in the middle of it"
    )
    assert losses[0].cut_off == len(whole) - len(b"\f") - 7


class Arriving:
    """What comes over a link that reads straight into memory, as a kernel's does and the memory driver's does not."""

    def __init__(self, link: Any, large: bytes) -> None:
        self.left = memoryview(large)
        self.come = 0
        self.read: Callable[[], bool] | None = None
        link.read_into, link.read_first = self._read_into, self._read_first

    def _read_into(self, room: memoryview) -> int:
        assert room.nbytes, "a kernel that is asked for no bytes gives none, as at the end"
        count = min(len(room), self.come)
        room[:count] = self.left[:count]
        self.left, self.come = self.left[count:], self.come - count
        return count

    def _read_first(self, read: Callable[[], bool] | None) -> None:
        self.read = read

    def more(self, size: int) -> bool:
        """So much has come; whether it was read in this way."""
        self.come += size
        return self.read is not None and self.read()


class Watching:
    """The heartbeat, as far as reads tell it anything."""

    def __init__(self) -> None:
        self.times = 0

    def heard(self) -> None:
        self.times += 1


def test_a_large_piece_is_read_straight_into_its_place_and_is_a_sign_of_life_each_time() -> None:
    driver, server, wire, heard = listening()
    (socket,) = server.sockets
    server.on("message", lambda data, socket: socket.emit("thanks"))
    socket.incoming.watch = watching = Watching()
    traced: list[Any] = []
    server.on_trace(lambda trace: traced.append(trace) if trace.what == "received" else None)
    whole = attached("message", None, ({"at": []}, LARGE * 10))
    before, begun = server.stats(), len(whole) - 200_000
    arriving = Arriving(socket._link, whole[begun:])
    wire.take()
    wire.write(whole[:begun])
    driver.run_until_idle()
    assert not arriving.more(0) and watching.times == 0
    assert arriving.more(150_000) and watching.times == 1
    assert heard == [] and not arriving.more(0)
    assert arriving.more(50_000) and heard == [LARGE * 10]
    assert arriving.read is None
    driver.run_until_idle()
    assert wire.take() == plain("thanks", {})
    after = server.stats()
    assert (after.bytes_in - before.bytes_in, after.messages_in - before.messages_in) == (len(whole), 1)
    assert [trace.messages for trace in traced] == [0, 0, 1]
    assert sum(trace.bytes for trace in traced) == len(whole)


@pytest.mark.row(4)
def test_what_is_read_straight_into_its_place_counts_among_what_all_peers_make_this_process_hold() -> None:
    driver, server, first = a_server(max_total_received_bytes=1024 * KIB)
    errors: list[Any] = []
    server.on("error", lambda error, socket: errors.append(error))
    wires = [first, *(Wire.connected(driver, server.address) for _ in range(2))]
    driver.run_until_idle()
    arriving: list[Arriving] = []
    whole = attached("message", None, ({"at": []}, bytes(900 * KIB)))
    begun = 70 * KIB
    for wire, socket in zip(wires, server.sockets, strict=True):
        wire.write(OFFER)
        driver.run_until_idle()
        arriving.append(Arriving(socket._link, whole[begun:]))
        wire.write(whole[:begun])
        driver.run_until_idle()
    for link, size in zip(arriving, (400, 500, 300), strict=True):
        assert errors == []
        link.more(size * KIB)
    assert [type(error) for error in errors] == [BackpressureError]
    assert "max_total_received_bytes (1048576)" in str(errors[0])
    driver.run_until_idle()
    assert [wire.has_ended or wire.is_lost for wire in wires] == [False, True, False]
    assert 700 * KIB < everybody.total <= 1024 * KIB
    for wire in wires:
        wire.abort()
    driver.run_until_idle()
    assert everybody.total == 0


def test_a_very_large_piece_is_read_a_mebibyte_at_a_time_and_others_have_their_turn_between() -> None:
    driver, server, wire, heard = listening()
    (socket,) = server.sockets
    large = bytes(3 * KIB * KIB)
    whole = attached("message", None, ({"at": []}, large))
    begun = len(whole) - 2 * KIB * KIB - 300 * KIB
    arriving = Arriving(socket._link, whole[begun:])
    wire.write(whole[:begun])
    driver.run_until_idle()
    read = []
    for size in (len(whole) - begun, 0, 0):
        before = server.stats().bytes_in
        arriving.more(size)
        read.append(server.stats().bytes_in - before)
    assert read == [KIB * KIB, KIB * KIB, 300 * KIB]
    driver.run_until_idle()
    assert heard == [large]


def test_reads_of_a_large_piece_do_not_end_what_a_turn_sends_together() -> None:
    driver, server, wire, _ = listening()
    (socket,) = server.sockets
    whole = attached("message", None, ({"at": []}, LARGE * 10))
    begun = len(whole) - 200_000
    arriving = Arriving(socket._link, whole[begun:])
    wire.write(whole[:begun])
    driver.run_until_idle()
    sizes: list[int] = []
    write = driver.connections[-1].server.write

    def note(data: bytes) -> None:
        sizes.append(data.count(b"\f"))
        write(data)

    driver.connections[-1].server.write = note  # type: ignore[method-assign]
    for came, number in ((0, 3), (10_000, 2), (10_000, 0), (0, 4)):
        socket.emit("n")
        arriving.more(came)
        for _ in range(number):
            socket.emit("n")
    driver.run_until_idle()
    assert sizes == [1, 4, 3, 5]


def test_a_large_piece_that_comes_is_an_answer_in_sync_mode() -> None:
    driver, client, wire = a_client(sync=True)
    client.emit("message", LARGE)
    driver.run_until_idle()
    wire.take()
    wire.write(ANSWER)
    for number in range(2):
        client.emit("n", number)
    driver.run_until_idle()
    assert wire.take() == plain("n", 0)
    assert client._session is not None
    whole = attached("picture", None, ({"at": []}, LARGE * 10))
    begun = len(whole) - 100_000
    arriving = Arriving(client._session._link, whole[begun:])
    wire.write(whole[:begun])
    driver.run_until_idle()
    assert wire.take() == b""
    arriving.more(100_000)
    driver.run_until_idle()
    assert wire.take() == plain("n", 1)


class Picture:
    """What a hook of the user's makes of an object with an array in it."""

    def __init__(self, pixels: Any) -> None:
        self.pixels = pixels


class Pictures(msgspec.Struct):
    first: Picture


def picture_of(type: Any, value: Any) -> Any:
    return Picture(value["pixels"])


@pytest.mark.parametrize(
    ("type", "whole", "taken"),
    [
        (Picture, lambda picture: picture, lambda made: made),
        (Picture | None, lambda picture: picture, lambda made: made),
        (list[Picture], lambda picture: [picture], lambda made: made[0]),
        (Pictures, lambda picture: {"first": picture}, lambda made: made.first),
    ],
)
def test_a_hook_gets_what_stands_in_an_object_without_attachments(type: Any, whole: Any, taken: Any) -> None:
    def heard(**options: Any) -> Any:
        ends = pair(dec_hook=picture_of, **options)
        got: list[Any] = []
        ends.client.on("picture", got.append, type=type)
        for end in (ends.client, ends.socket):
            end.emit("message", LARGE)
            ends.driver.run_until_idle()
        ends.socket.emit("picture", whole({"pixels": numpy.zeros(30_000)}))
        ends.driver.run_until_idle()
        assert (state_of(ends.socket) is Attaching.AGREED) == (not options)
        return taken(got[0]).pixels

    assert heard() == heard(attachments="off") and heard()["dtype"] == "<f8"


@pytest.mark.parametrize("size", [3, 30_000])
@pytest.mark.parametrize("type", [numpy.ndarray, numpy.typing.NDArray[numpy.float64], array.array])
def test_who_wants_an_array_of_an_object_that_holds_one_hears_under_which_name(type: Any, size: int) -> None:
    ends = agreed()
    told: list[str] = []
    ends.client.on("error", lambda error: told.append(str(error)))
    ends.client.on("frame", lambda data: None, type=type)
    ends.socket.emit("frame", {"at": 1.5, "pixels": numpy.zeros(size)})
    ends.socket.emit("frame", {"at": 1.5})
    ends.driver.run_until_idle()
    assert "expected an array, got dict with one in its member 'pixels': give the type of the whole" in told[0]
    assert told[1].endswith("expected an array, got dict")


@pytest.mark.parametrize(
    "sent", [attached("frame", None, ({"at": []}, bytes(100_000)))[:-7], b'{"type":"frame","data":"QUFB']
)
def test_a_client_that_was_cut_inside_a_message_hears_that_it_may_be_slow(sent: bytes) -> None:
    """Whichever way the server's bytes travel: it cuts off who reads too slowly, and has no other way to say so."""
    driver, client, wire = a_client()
    told: list[str] = []
    client.on("error", lambda error: told.append(str(error)))
    wire.write(OFFER)
    driver.run_until_idle()
    wire.write(sent)
    wire.close()
    driver.run_until_idle()
    assert "the server ended in the middle of it. It was stopped or killed, or it cut this client off" in told[0]
    assert "reads more slowly than it sends" in told[0] and "slow_policy='drop_oldest'" in told[0]


def test_a_length_that_lies_costs_no_memory() -> None:
    driver, _, wire, heard = listening()
    head = b'{"attachments":[{"at":[],"size":16000000}],"type":"message","data":null}\f'
    tracemalloc.start()
    try:
        wire.write(head + bytes(1000))
        driver.run_until_idle()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * KIB * KIB and heard == []


def test_half_messages_count_in_what_all_peers_may_make_a_server_hold() -> None:
    driver, _, wire, _ = listening()
    wire.write(attached("message", None, ({"at": []}, bytes(3_000_000)))[:-1])
    driver.run_until_idle()

    assert everybody.total >= 2_900_000
    wire.abort()
    driver.run_until_idle()
    assert everybody.total < 100_000


@pytest.mark.parametrize("size", [1, 7, 1000, 65_536])
def test_any_cut_of_the_stream_gives_the_same_messages(size: int) -> None:
    driver, _, wire, heard = listening()
    noise = BEGIN + b'{"at":[],"size":3}]}\f\f\xff' * 20
    stream = b"".join(
        [
            plain("message", b"one"),
            attached("message", None, ({"at": []}, noise)),
            plain("other", BEGIN.decode()),
            attached("message", None, ({"at": []}, b"")),
            attached("message", None, ({"at": []}, b"x" * 2000)),
            plain("message", "ü".encode()),
            attached("message", None, ({"at": []}, b"\f")),
        ]
    )
    for start in range(0, len(stream), size):
        wire.write(stream[start : start + size])
        driver.run_until_idle()
    assert heard == [b"one", noise, b"", b"x" * 2000, "ü".encode(), b"\f"]


def test_async_handlers_hold_attachments_back_as_they_hold_messages_back() -> None:
    ends = agreed(server={"max_handler_frames": 1})
    got: list[int] = []
    gates = [ends.driver.outcome(None) for _ in range(5)]

    @ends.server.on("b", type=bytes)
    async def slow(data: bytes) -> None:
        got.append(data[0])
        await gates[data[0]]

    for number in range(5):
        ends.client.emit("b", bytes([number]) * 20_000)
    for number, gate in enumerate(gates):
        ends.driver.run_until_idle()
        assert got == list(range(number + 1))
        gate.settle()
    ends.driver.run_until_idle()


def test_what_waits_for_a_link_goes_out_when_it_is_there() -> None:
    driver = MemoryDriver()
    server = serve(driver)
    got: list[Any] = []
    server.on("b", lambda data: got.append(data), type=bytes)
    client = node_ipc.Client("world", server.address, driver, Config(socket_root="/memory/").settings())
    changed = bytearray(LARGE)
    client.connect()
    client.emit("b", changed)
    changed[:] = bytes(len(changed))
    driver.run_until_idle()
    assert got == [LARGE] and state_of(client._session) is Attaching.AGREED


# ---- who watches


def test_watchers_taps_and_traces_hear_of_attachments_without_harm() -> None:
    ends = pair()
    seen: list[Any] = []
    traces: list[Any] = []

    class Watch:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

    ends.server.on_trace(lambda trace: traces.append((trace.what, trace.messages)))
    ends.server.events.tap(lambda type, data, *rest: seen.append((type, data)))
    got: list[Any] = []
    ends.server.on("b", lambda data: got.append(data), type=bytes)
    for _ in range(3):
        ends.client.emit("b", LARGE)
        ends.driver.run_until_idle()
    assert got == [LARGE] * 3 and seen == [("b", base64.b64encode(LARGE).decode())] * 3
    assert sum(messages for what, messages in traces if what == "received") == 3
    assert (ends.server.stats().messages_in, ends.server.stats().errors) == (3, 0)


def test_who_watches_hears_the_sizes_and_what_travels_beside_a_message() -> None:
    ends = agreed()
    told: list[Any] = []

    class Told(Watch):
        def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> Any:
            carrier["traceparent"] = "here"
            return lambda size, error: told.append(("emitted", name, size, error))

        def handling(self, name: str, message: Any, socket: Any) -> None:
            told.append(("handling", name, message.size, message.carrier))

    got: list[Any] = []
    ends.client.watch(Told())
    ends.server.watch(Told())
    ends.server.on("b", lambda data: got.append(data), type=bytes)
    ends.client.emit("b", LARGE)
    ends.driver.run_until_idle()
    (_, name, sent, error), (_, heard, came, carrier) = told
    assert got == [LARGE] and (name, heard, error, carrier) == ("b", "b", None, {"traceparent": "here"})
    assert 0 <= sent - came < 100 and came > len(LARGE)


def test_a_half_message_that_is_garbage_is_collected_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    circle: list[Any] = [Half(b"", [Entry([], 100)])]
    circle.append(circle)
    del circle
    gc.collect()
    assert not told


def test_numpy_is_not_imported_by_us() -> None:
    code = (
        "import sys, array, node_ipc\n"
        "from node_ipc.testing import pair\n"
        "ends = pair()\n"
        "got = []\n"
        "ends.server.on('b', lambda data: got.append(data), type=node_ipc.Bytes)\n"
        "for _ in range(3): ends.client.emit('b', array.array('d', range(9000))); ends.driver.run_until_idle()\n"
        "assert [len(each) for each in got] == [72000] * 3 and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---- text where bytes came


class Named(msgspec.Struct):
    name: str
    body: str | None = None


class Taken(msgspec.Struct):
    name: str
    body: bytes


@pytest.mark.parametrize(
    ("type", "data", "place"),
    [
        (str, LARGE, "$"),
        (str | None, LARGE, "$"),
        (Named, {"name": "a", "body": LARGE}, "$.body"),
        (list[str], ["a", LARGE], "$[1]"),
        *((type, LARGE, None) for type in (bytes, bytes | None, Any, None, node_ipc.Raw)),
        (Taken, {"name": "a", "body": LARGE}, None),
        (str, "x" * 100_000, None),
    ],
)
@pytest.mark.parametrize("verb", ["on", "handle"])
def test_bytes_that_come_where_the_type_says_text_are_told_once(
    type: Any, data: Any, place: str | None, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    ends = agreed()
    heard: list[Any] = []
    getattr(ends.server, verb)("shot", lambda data: heard.append(data), type=type)
    for _ in range(3):
        (ends.client.emit if verb == "on" else ends.client.request)("shot", data)
    ends.driver.run_until_idle()
    assert len(heard) == 3
    told = f"bytes came of 'shot', at {place}, where the type says str: what is there is the base64 text of them"
    assert caplog.text.count("where the type says str") == caplog.text.count(told) == (place is not None)


def test_an_answer_of_bytes_for_which_text_is_wanted_is_told(caplog: pytest.LogCaptureFixture) -> None:
    ends = agreed()
    ends.server.handle("shot", lambda: LARGE)
    for _ in range(2):
        answer = ends.client.request("shot", type=str)
        assert len(ends.driver.run_until(answer).result()) > len(LARGE)
    assert caplog.text.count("Annotate bytes, which gets them as they were emitted") == 1
