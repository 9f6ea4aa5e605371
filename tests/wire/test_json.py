"""JSON as Node reads and writes it: what is accepted, what is refused, and what becomes of the odd cases."""

from __future__ import annotations

import dataclasses
import gc
import math
import sys
import threading
import time
import tracemalloc
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from node_ipc import Config
from node_ipc.errors import FrameTooLarge, InvalidEvent, InvalidJSON, InvalidMessage, InvalidPayload
from node_ipc.wire.codec import choose, shallow
from node_ipc.wire.json import (
    Envelope,
    buffer,
    decode_envelope,
    decode_raw_envelope,
    encode,
    encode_slowly,
    salvage,
    to_bytes,
    word_weight,
)

REFUSED = (msgspec.MsgspecError, RecursionError, ValueError, MemoryError)
"""What the fast decoder raises; a session then asks ``salvage``."""


def read(frame: bytes) -> Any:
    """One frame as a session reads it: a message, or the error."""
    try:
        return decode_envelope(frame)
    except REFUSED:
        try:
            return salvage(frame)
        except (InvalidJSON, InvalidMessage, InvalidEvent) as error:
            return error


def payload(text: bytes) -> Any:
    """What becomes of a payload in JSON."""
    found = read(b'{"type":"a","data":' + text + b"}")
    return found.data if isinstance(found, Envelope) else found


# ---- reading: y is what every parser must accept, n what it must refuse, i what it may decide

ACCEPTED: dict[bytes, Any] = {
    b"null": None,
    b"true": True,
    b"false": False,
    b"0": 0,
    b"-0": 0,
    b"-1": -1,
    b"1": 1,
    b"123456789": 123456789,
    b"1.5": 1.5,
    b"-1.5": -1.5,
    b"1e2": 100.0,
    b"1E2": 100.0,
    b"1e+2": 100.0,
    b"1E-2": 0.01,
    b"0.1e1": 1.0,
    b"0e1": 0.0,
    b"0e+1": 0.0,
    b"-0.0": 0.0,
    b"1.7976931348623157e308": 1.7976931348623157e308,
    b"5e-324": 5e-324,
    b"9007199254740993": 9007199254740993,
    b"18446744073709551615": 18446744073709551615,
    b"-9223372036854775808": -9223372036854775808,
    b'""': "",
    b'"a"': "a",
    b'" "': " ",
    b'"\\""': '"',
    b'"\\\\"': "\\",
    b'"\\/"': "/",
    b'"/"': "/",
    b'"\\b\\f\\n\\r\\t"': "\b\f\n\r\t",
    b'"\\u0000"': "\0",
    b'"\\u0041"': "A",
    b'"\\u00e9"': "é",
    b'"\\u20AC"': "€",
    b'"\\u20ac"': "€",
    b'"\\ud83d\\ude00"': "😀",
    b'"\\uD83D\\uDE00"': "😀",
    b'"\\ufeff"': "\ufeff",
    b'"\\uffff"': "\uffff",
    b'"\\u2028\\u2029"': "\u2028\u2029",
    '"é"'.encode(): "é",
    '"€"'.encode(): "€",
    '"😀"'.encode(): "😀",
    '"\u2028\u2029"'.encode(): "\u2028\u2029",
    '"\ufeff"'.encode(): "\ufeff",
    '"\uffff"'.encode(): "\uffff",
    '"\U0010ffff"'.encode(): "\U0010ffff",
    b'"\x7f"': "\x7f",
    b'"\\u0022"': '"',
    b'"\\u005c"': "\\",
    b'"\\\\u0041"': "\\u0041",
    b'"a/*b*/c"': "a/*b*/c",
    b"[]": [],
    b"[ ]": [],
    b"[[]]": [[]],
    b"[[],[]]": [[], []],
    b"[1]": [1],
    b"[1,2,3]": [1, 2, 3],
    b"[ 1 , 2 ]": [1, 2],
    b"[1,null,1]": [1, None, 1],
    b'["a"]': ["a"],
    b"[true,false,null]": [True, False, None],
    b"[\n1\r\n,\t2 ]": [1, 2],
    b"{}": {},
    b"{ }": {},
    b'{"a":1}': {"a": 1},
    b'{ "a" : 1 }': {"a": 1},
    b'{"a":1,"b":2}': {"a": 1, "b": 2},
    b'{"a":1,"a":2}': {"a": 2},
    b'{"a":null}': {"a": None},
    b'{"":0}': {"": 0},
    b'{"\\u0061":1}': {"a": 1},
    b'{"a\\u0000b":1}': {"a\0b": 1},
    b'{"a":{"b":[]}}': {"a": {"b": []}},
    b'{"__proto__":1}': {"__proto__": 1},
    b'{"type":"b","data":2}': {"type": "b", "data": 2},
    b" 1": 1,
    b"1\n": 1,
    b"\t1\r\n": 1,
}

REFUSED_TEXTS: list[bytes] = [
    b"",
    b" ",
    b"nul",
    b"Null",
    b"NULL",
    b"tru",
    b"True",
    b"undefined",
    b"NaN",
    b"-NaN",
    b"Infinity",
    b"-Infinity",
    b"+1",
    b"01",
    b"-01",
    b"00",
    b"1.",
    b".1",
    b"-.1",
    b"-",
    b"--1",
    b"1e",
    b"1e+",
    b"1E-",
    b"1.e1",
    b"1.5.5",
    b"0x1",
    b"0b1",
    b"1_000",
    b"1 2",
    b"1a",
    b"1,",
    "١".encode(),
    "１".encode(),
    b"'a'",
    b'"',
    b'"a',
    b'"\\"',
    b'"\\x41"',
    b'"\\a"',
    b'"\\ "',
    b'"\\u"',
    b'"\\u1"',
    b'"\\u12"',
    b'"\\u123"',
    b'"\\u123g"',
    b'"\\U0041"',
    b'"\\ud83d\\u"',
    b'"\x00"',
    b'"\t"',
    b'"\n"',
    b'"\r"',
    b'"\x1f"',
    b'"a""b"',
    b'"a" "b"',
    b"[",
    b"]",
    b"[1",
    b"[1,",
    b"[1,]",
    b"[,1]",
    b"[,]",
    b"[1,,2]",
    b"[1 2]",
    b"[1:2]",
    b"[1}",
    b"[[]",
    b"[]]",
    b'["a"',
    b"[a]",
    b"[-]",
    b"[\x00]",
    b"[\x0b1]",
    b"[\xc2\xa01]",
    b"[\xe2\x81\xa01]",
    b"{",
    b'{"a"',
    b'{"a":',
    b'{"a":1',
    b'{"a":1,',
    b'{"a":1,}',
    b'{,"a":1}',
    b'{"a":1,,"b":2}',
    b'{"a" 1}',
    b'{"a",1}',
    b'{"a"::1}',
    b'{"a":1 "b":2}',
    b"{a:1}",
    b"{'a':1}",
    b"{1:1}",
    b"{null:1}",
    b'{"a":1}}',
    b'{"a":[}',
    b"// a\n1",
    b"/* a */ 1",
    b"1 // a",
    b"1 /* a */",
    b"# a",
    b"<a>",
    b"\xef\xbb\xbf1",
    b"\xef\xbb\xbf",
    b"\x0c1",
    b"\\u0031",
    b"`a`",
    b"(1)",
    b"1;",
    b"*",
]

UNDECIDED: dict[bytes, Any] = {
    b'"\\ud83d"': "\ud83d",  # lone surrogates are sound in JavaScript
    b'"\\ude00"': "\ude00",
    b'"\\ude00\\ud83d"': "\ude00\ud83d",
    b'"\\ud83da"': "\ud83da",
    b'"\\ud83d\\u0041"': "\ud83dA",
    b'"\\ud83d\\ud83d\\ude00"': "\ud83d😀",
    b'["\\ud800",{"\\udc00":1}]': ["\ud800", {"\udc00": 1}],
    b'["\\ud800",1e2,-3]': ["\ud800", 100.0, -3],
    b"123456789012345678901234567890": 123456789012345678901234567890,
    b"0.1e-400": 0.0,
    b"-1e-400": 0.0,
    b"1e400": InvalidPayload,
    b"-1e400": InvalidPayload,
    b'["\\ud800",1e400]': InvalidPayload,
    b"1" * 4301: InvalidPayload,
    b"-" + b"1" * 5000: InvalidPayload,
    b'["\\ud800",' + b"1" * 5000 + b"]": InvalidPayload,
    b"[" * 500 + b"]" * 500: list,
    b"[" * 100_000 + b"]" * 100_000: InvalidPayload,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000: InvalidPayload,
    b'["\\ud800",' + b"[" * 100_000 + b"]" * 100_000 + b"]": InvalidPayload,
    b"[" * 100_000: (InvalidPayload, InvalidJSON),
}


@pytest.mark.row(5)
@pytest.mark.parametrize("text", ACCEPTED, ids=lambda text: f"y {text!r:.40}")
def test_accepted(text: bytes) -> None:
    expected = ACCEPTED[text]
    found = payload(text)
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, (int, float))


@pytest.mark.row(5)
@pytest.mark.parametrize("text", REFUSED_TEXTS, ids=lambda text: f"n {text!r:.40}")
def test_refused(text: bytes) -> None:
    assert isinstance(payload(text), InvalidJSON)


@pytest.mark.row(5)
@pytest.mark.parametrize("text", REFUSED_TEXTS, ids=lambda text: f"n {text!r:.40}")
def test_refused_also_beside_a_lone_surrogate(text: bytes) -> None:
    found = payload(b'["\\ud800",' + text + b"]")
    assert isinstance(found, InvalidJSON)


@pytest.mark.row(5)
@pytest.mark.parametrize("text", UNDECIDED, ids=lambda text: f"i {text!r:.40}")
def test_decided(text: bytes) -> None:
    expected, found = UNDECIDED[text], payload(text)
    if isinstance(expected, (type, tuple)):
        assert isinstance(found, expected)
    else:
        assert found == expected


@pytest.mark.row(5)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-8-sig"])
def test_utf_8_only(encoding: str) -> None:
    """U+755C is ``\\u`` in UTF-16, which leads to the slow path; json.loads of bytes would guess the encoding."""
    assert isinstance(read('{"type":"a","data":"\u755c\\u0041"}'.encode(encoding)), InvalidJSON)


@pytest.mark.row(5)
def test_invalid_utf_8_reaches_no_handler() -> None:
    for bad in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"):
        for tail in (b"", b"\\ud800"):
            with pytest.raises(InvalidJSON):
                salvage(b'{"type":"a","data":"' + bad + tail + b'"}')


# ---- the envelope

ENVELOPES: dict[bytes, Any] = {
    b'{"type":"a"}': Envelope("a", {}),
    b'{"type":"a","data":null}': Envelope("a", None),
    b'{"data":1,"type":"a"}': Envelope("a", 1),
    b' { "type" : "a" , "data" : 1 } ': Envelope("a", 1),
    b'{"type":"a","data":1,"extra":[{}],"__proto__":{}}': Envelope("a", 1),
    b'{"type":"a","type":"b","data":1,"data":2}': Envelope("b", 2),
    b'{"t\\u0079pe":"a","dat\\u0061":1}': Envelope("a", 1),
    b'{"type":"","data":1}': Envelope("", 1),
    b'{"type":"\\ud800","data":1}': Envelope("\ud800", 1),
    b'{"type":"a\\ud800"}': Envelope("a\ud800", {}),
    b"null": InvalidMessage,
    b"5": InvalidMessage,
    b'""': InvalidMessage,
    b'"\\ud800"': InvalidMessage,
    b"[]": InvalidMessage,
    b'["\\ud800"]': InvalidMessage,
    b'[{"type":"a"}]': InvalidMessage,
    b"{}": InvalidEvent,
    b'{"data":1}': InvalidEvent,
    b'{"data":"\\ud800"}': InvalidEvent,
    b'{"Type":"a"}': InvalidEvent,
    b'{"type":null}': InvalidEvent,
    b'{"type":5}': InvalidEvent,
    b'{"type":["a"]}': InvalidEvent,
    b'{"type":{"toString":"a"}}': InvalidEvent,
    b'{"type":5,"data":"\\ud800"}': InvalidEvent,
    b'{"type":5,"type":"a","data":"\\ud800"}': Envelope("a", "\ud800"),
    b'{"type":5,"type":"a"}': Envelope("a", {}),
    b'{"type":-0.0,"data":1,"type":"\\ud800","data":2}': Envelope("\ud800", 2),
    b'{"type":"a","type":5}': InvalidEvent,
    b"": InvalidJSON,
    b"{": InvalidJSON,
    b'{"type":"a"': InvalidJSON,
    b'{"type":"a"}{"type":"b"}': InvalidJSON,
    b'{"type":"a"}\x00': InvalidJSON,
    b"garbage": InvalidJSON,
    b"[" * 100_000: (InvalidMessage, InvalidJSON, InvalidPayload),
    b'{"type":1e400}': InvalidEvent,
    b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"type":"a"}': (Envelope, InvalidPayload),
}


@pytest.mark.row(9)
@pytest.mark.parametrize("frame", ENVELOPES, ids=lambda frame: f"{frame!r:.40}")
def test_envelopes(frame: bytes) -> None:
    expected, found = ENVELOPES[frame], read(frame)
    if isinstance(expected, Envelope):
        assert found == expected
    else:
        assert isinstance(found, expected)


@pytest.mark.row(9)
def test_raw_envelopes_give_the_same_verdict() -> None:
    """While payloads stay undecoded the envelope is judged as it is otherwise."""
    for frame, expected in ENVELOPES.items():
        try:
            found: Any = decode_raw_envelope(frame)
        except REFUSED:
            try:
                found = salvage(frame)
            except (InvalidJSON, InvalidMessage, InvalidEvent) as error:
                found = error
        if isinstance(expected, Envelope):
            data = msgspec.json.decode(found.data) if isinstance(found.data, Raw) else found.data
            assert (found.type, data) == (expected.type, expected.data)
        elif isinstance(expected, type):
            assert isinstance(found, expected), frame


def test_a_payload_that_cannot_be_held_names_event_and_place() -> None:
    found = read(b'{"type":"order","data":{"items":[1,{"price":1e400}]}}')
    assert isinstance(found, InvalidPayload)
    assert (found.event, found.path) == ("order", "$[...][1][...]")
    deep = read(b'{"type":"order","data":' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    assert isinstance(deep, InvalidPayload)
    assert deep.event == "order"
    assert "nested too deeply" in str(deep)


@pytest.mark.parametrize("frame", [b"garbage", b'{"type":"a"', b'{"type":"a"}{"type":"b"}'])
def test_what_is_no_json_says_what_the_decoder_said(frame: bytes) -> None:
    error = read(frame)
    assert isinstance(error, InvalidJSON) and isinstance(error.__cause__, msgspec.DecodeError)
    assert str(error) == f"a frame is not JSON: {error.__cause__}"


@pytest.mark.parametrize(
    ("payload", "weight"),
    [
        *(("Monday12", 6), ("text", 2), (Raw(b'"text"'), 2), ("a" * 64, 62), ("", 0)),
        *(("texts", -4), ("A+9/", -4), ("a" * 68, -4), ("\ud800", -4), (5, -4), (None, -4), (Raw(b"[1,22]"), -4)),
    ],
)
def test_how_much_a_payload_speaks_for_being_a_word(payload: Any, weight: int) -> None:
    assert word_weight(payload) == weight


# ---- nesting and size


@pytest.mark.row(6)
def test_depth_64_decodes() -> None:
    assert isinstance(payload(b"[" * 64 + b"]" * 64), list)
    assert isinstance(payload(b'{"a":' * 64 + b"1" + b"}" * 64), dict)


DEEP = b'{"type":"a","data":' + b"[" * 500_000 + b"]" * 500_000 + b"}"


@pytest.mark.row(6)
def test_depth_500_000_is_an_error_within_50_ms() -> None:
    def seconds() -> float:
        started = time.process_time()
        assert isinstance(read(DEEP), InvalidPayload)
        return time.process_time() - started

    assert min(seconds() for _ in range(3)) <= 0.05


@pytest.mark.row(6)
def test_depth_from_a_deep_stack() -> None:
    def down(frames: int) -> Any:
        return down(frames - 1) if frames else (payload(b"[" * 64 + b"]" * 64), read(DEEP))

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000 + 1000)
    try:
        sound, error = down(800)
    finally:
        sys.setrecursionlimit(limit)
    assert isinstance(sound, list)
    assert isinstance(error, InvalidPayload)


@pytest.mark.row(6)
def test_depth_in_a_thread_with_a_small_stack() -> None:
    """With the codec that sessions have there; decoding without a look first would crash from Python 3.12 on."""
    codec = shallow(choose(Config().settings()))
    found: list[Any] = []

    def decode_both() -> None:
        found.append(codec.decode(b'{"type":"a","data":' + b"[" * 64 + b"]" * 64 + b"}").data)
        with pytest.raises(RecursionError):
            codec.decode(DEEP)
        found.append(codec.salvage(DEEP))

    before = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=decode_both)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert isinstance(found[0], list)
    assert isinstance(found[1], InvalidPayload)


CAP = 1024 * 1024
SHAPES: dict[str, bytes] = {
    "empty lists": b"[" + b"[]," * (CAP // 3 - 10) + b"[]]",
    "empty objects": b"[" + b"{}," * (CAP // 3 - 10) + b"{}]",
    "small objects": b"[" + b'{"a":0},' * (CAP // 8 - 10) + b"{}]",
    "nulls": b"[" + b"null," * (CAP // 5 - 10) + b"null]",
    "floats": b"[" + b"1.5e-7," * (CAP // 7 - 10) + b"0]",
    "integers": b"[" + b"1234567," * (CAP // 8 - 10) + b"0]",
    "keys": b"{" + b",".join(b'"%x":0' % i for i in range(CAP // 11)) + b"}",
    "escapes": b'"' + b"\\u20ac" * (CAP // 6 - 10) + b'"',
    "one wide character": b'"' + b"a" * (CAP - 100) + "😀".encode() + b'"',
    "lone surrogates": b'"' + b"\\ud800" * (CAP // 6 - 10) + b'"',
    "an integer that fits no int": b"1" * (CAP - 100),
    "an exponent out of range": b"1e" + b"9" * (CAP - 100),
}


@pytest.mark.row(7)
@pytest.mark.parametrize("name", SHAPES)
def test_no_shape_stalls_or_swells(name: str) -> None:
    """At a limit of 1 MiB; both grow in proportion with it."""
    text = SHAPES[name]
    assert len(text) <= CAP

    def seconds() -> float:
        started = time.process_time()
        payload(text)
        return time.process_time() - started

    gc.collect()
    gc.freeze()  # the collector shall walk what the frame makes, not what the test run holds
    assert min(seconds() for _ in range(3)) <= 0.15
    tracemalloc.start()
    found = payload(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 32 * CAP
    if name.startswith(("an integer", "an exponent")):
        assert isinstance(found, InvalidPayload)


# ---- writing


class Point(msgspec.Struct):
    x: Any
    y: Any = 0


class Text(str):
    """A subclass of text."""


@dataclasses.dataclass
class Line:
    start: Any


def written(data: Any) -> bytes:
    """Encoded as a codec does it."""
    try:
        return encode(data)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return encode_slowly(data, "event", error)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, b"null"),
        ("a\f\0\u2028é", '"a\\f\\u0000\u2028é"'.encode()),
        (math.nan, b"null"),
        ([math.inf, -math.inf], b"[null,null]"),
        (b"hi", b'"aGk="'),
        ((1, 2), b"[1,2]"),
        ({1: "a"}, b'{"1":"a"}'),
        (Point(1, [2]), b'{"x":1,"y":[2]}'),
        (Line("a"), b'{"start":"a"}'),
        (Raw(b'{"a": 1}'), b'{"a": 1}'),
        (2**70, str(2**70).encode()),
        ("\ud800", b'"\\ud800"'),
        ("😀\ud83d", b'"\\ud83d\\ude00\\ud83d"'),
        ({"\udfff": [math.nan, 1.5, None, True]}, b'{"\\udfff":[null,1.5,null,true]}'),
        (["\ud800", Raw(b'{"a": [1]}'), b"hi", (1,)], b'["\\ud800",{"a":[1]},"aGk=",[1]]'),
        (Point("\ud800"), b'{"x":"\\ud800","y":0}'),
        (["\ud800", Raw(b'"caf\\udce9"')], b'["\\ud800","caf\\udce9"]'),
        (Text("\ud800"), b'"\\ud800"'),
    ],
)
def test_written(data: Any, text: bytes) -> None:
    assert written(data) == text


def test_what_json_cannot_hold_is_told_in_the_encoder_s_words() -> None:
    with pytest.raises(InvalidPayload) as caught:
        written(object())
    assert f"cannot be JSON: {caught.value.__cause__}. Use dicts" in str(caught.value)


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("data", "path", "type"),
    [
        (object(), "$", "object"),
        ([1, {2, 3}, object()], "$[2]", "object"),
        ({"items": [{"price": 1 + 2j}]}, "$.items[0].price", "complex"),
        ({"a b": object()}, "$['a b']", "object"),
        (Point(Line(object())), "$.x.start", "object"),
        ({"a": {(1, 2): 3}}, "$.a", "dict"),
        (CYCLE, "$[0]", "list"),
    ],
)
def test_what_json_cannot_hold_is_named(data: Any, path: str, type: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        written(data)
    assert caught.value.event == "event"
    assert caught.value.path.startswith(path)
    assert f"({type})" in str(caught.value)
    assert "cannot emit 'event'" in str(caught.value)


@pytest.mark.parametrize("depth", [1, 31, 32, 33, 48, 63, 64, 65, 80])
@pytest.mark.parametrize("kind", ["list", "dict", "both"])
def test_what_json_cannot_hold_is_named_64_levels_deep(depth: int, kind: str) -> None:
    """Further down it is the value at that depth that is named."""
    data: Any = 1 + 2j
    path: list[str] = []
    for level in range(depth):
        as_list = kind == "list" or (kind == "both" and level % 2)
        data = [0, data] if as_list else {"a": data}
        path.insert(0, "[1]" if as_list else ".a")
    with pytest.raises(InvalidPayload) as caught:
        written(data)
    assert caught.value.path == "$" + "".join(path[:64])
    named = "complex" if depth <= 64 else "list" if path[64] == "[1]" else "dict"
    assert f"({named})" in str(caught.value)


def test_what_json_cannot_hold_beside_a_lone_surrogate() -> None:
    with pytest.raises(InvalidPayload, match="cannot emit 'event'"):
        written(["\ud800", object()])


def test_a_cycle_is_named_as_one() -> None:
    with pytest.raises(InvalidPayload, match="too deeply or refers to itself"):
        written(CYCLE)


@pytest.mark.parametrize("character", [chr(c) for c in (0, 0x1F, 0x7F, 0x80, 0x2028, 0xFEFF, 0xFFFF, 0x10FFFF)])
def test_what_is_written_is_read_again(character: str) -> None:
    data = {character: [character * 3]}
    assert payload(written(data)) == data


# ---- bytes


def test_large_bytes_go_as_they_are_and_the_error_of_a_buffer_says_so() -> None:
    codec = choose(Config().settings())
    data = bytes(range(256)) * 3000
    assert len(codec.encode("frame", data)) < 1.34 * len(data)
    with pytest.raises(FrameTooLarge, match=r"Bytes, which buffer\(\) makes a list of, are one value"):
        codec.encode("frame", buffer(data))


def test_buffers_as_node_writes_them() -> None:
    assert buffer(b"hi") == {"type": "Buffer", "data": [104, 105]}
    assert buffer(bytearray(b"hi")) == buffer(memoryview(b"hi")) == buffer(b"hi")


@pytest.mark.parametrize(
    "given", [b"hi", bytearray(b"hi"), memoryview(b"hi"), [104, 105], (104, 105), "aGk=", buffer(b"hi")]
)
def test_to_bytes(given: Any) -> None:
    assert to_bytes(given) == b"hi"


@pytest.mark.parametrize(
    "given", ["a", "a-b=", [256], ["a"], {"type": "Buffer"}, {"type": "Buffer", "data": "x"}, {"type": "b"}, 5, None]
)
def test_no_bytes_in_it(given: Any) -> None:
    with pytest.raises(InvalidPayload, match="holds no bytes"):
        to_bytes(given)
