"""Messages to frames: envelopes, delimiters inside payloads, limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from node_ipc.config.config import Config
from node_ipc.core.events import Event
from node_ipc.errors import ConfigError, EventNotAllowed, FrameTooLarge, InvalidEvent, InvalidPayload, ReservedEvent
from node_ipc.wire.framed import EXPECTED, PREFIXES, FramedCodec
from node_ipc.wire.parcel import ATTACHED_BYTES, Parcel


def codec(**options: Any) -> FramedCodec:
    return FramedCodec(Config(**options).settings())


def read(framed: FramedCodec, data: bytes) -> list[tuple[str, Any]]:
    """What the other side reads."""
    splitter = framed.splitter()
    frames = splitter.split(data)
    assert splitter.fault is None
    assert not splitter.rest
    return [(message.type, message.data) for message in map(framed.decode, frames)]


@pytest.mark.parametrize(
    ("type", "data", "frame"),
    [
        ("message", "hello", b'{"type":"message","data":"hello"}\f'),
        ("message", None, b'{"type":"message","data":null}\f'),
        ("message", {"a": [1, 2.5, True]}, b'{"type":"message","data":{"a":[1,2.5,true]}}\f'),
        ("é\f\"'", "é\f", '{"type":"é\\f\\"\'","data":"é\\f"}\f'.encode()),
        ("\ud800", "\udfff", b'{"type":"\\ud800","data":"\\udfff"}\f'),
        (Event("order", int), 5, b'{"type":"order","data":5}\f'),
        ("raw", Raw(b"[1, 2]"), b'{"type":"raw","data":[1, 2]}\f'),
    ],
)
def test_frames(type: Any, data: Any, frame: bytes) -> None:
    assert codec().encode(type, data) == frame
    framed = codec()
    assert framed.encode(type, data) == framed.encode(type, data) == frame  # the second has a prefix kept


def test_data_left_out_is_an_empty_object() -> None:
    assert codec().encode("a") == b'{"type":"a","data":{}}\f'


def test_the_delimiter_of_the_configuration() -> None:
    assert codec(delimiter="<end>").encode("a", 1) == b'{"type":"a","data":1}<end>'


@pytest.mark.parametrize("type", [None, 5, b"a", ["a"], {"a": 1}, object()])
def test_names_are_text(type: Any) -> None:
    with pytest.raises(InvalidEvent, match="must be text"):
        codec().encode(type, 1)


def test_names_are_checked_as_the_profile_says() -> None:
    with pytest.raises(ReservedEvent):
        codec().encode("connect", 1)
    assert codec(parser="fast").encode("connect", 1)
    with pytest.raises(EventNotAllowed):
        codec(parser="assured", allowed_events=["a"]).encode("b", 1)
    with pytest.raises(InvalidEvent):
        codec().check_name("")


def test_a_refused_name_is_refused_again() -> None:
    framed = codec()
    for _ in range(2):
        with pytest.raises(ReservedEvent):
            framed.encode("connect", 1)


def test_prefixes_are_kept_within_a_bound() -> None:
    framed = codec()
    for i in range(3 * PREFIXES):
        assert framed.encode(f"n{i}", i) == b'{"type":"n%d","data":%d}\f' % (i, i)
        assert len(framed._prefixes) <= PREFIXES


def test_names_of_events_that_had_bytes_are_kept_within_a_bound_and_for_a_few_messages() -> None:
    framed = codec()
    for i in range(PREFIXES + 100):
        assert isinstance(framed.encode(f"n{i}", bytes(ATTACHED_BYTES)), Parcel)
        assert len(framed._bearing) <= PREFIXES
    for _ in range(EXPECTED):
        assert framed.encode(f"n{i}", 5) == b'{"type":"n%d","data":5}\f' % i
    assert f"n{i}" not in framed._bearing and f"n{i - 1}" in framed._bearing


@pytest.mark.row(4)
def test_the_limit_is_exact() -> None:
    framed = codec(max_message_size=100, delimiter="<end>")
    overhead = len(framed.encode("a", "")) - len("<end>")
    assert len(framed.encode("a", "x" * (100 - overhead))) == 100 + len("<end>")
    with pytest.raises(
        FrameTooLarge, match=r"cannot emit 'a': the message has 101 bytes and the limit is 100.*max_message_size"
    ):
        framed.encode("a", "x" * (101 - overhead))
    with pytest.raises(FrameTooLarge):  # bytes, not characters
        framed.encode("a", "é" * (100 - overhead))


def test_what_cannot_be_json_is_named() -> None:
    with pytest.raises(InvalidPayload) as caught:
        codec().encode("order", {"a": [object()]})
    assert (caught.value.event, caught.value.path) == ("order", "$.a[0]")
    with pytest.raises(InvalidPayload, match="'order'"):
        codec().encode(Event("order", dict), object())


# ---- delimiters in payloads

DELIMITERS = [
    "\f", "\n", "\r\n", "\r\n\f", "\x1e", "\0", "}\f", "\f}", '"\f"', "<", "<>", "<end>",
    "||", "!!", "O", "OO", 'O"}', "}O", '"O":',
    "\U0001f600",
    "→", "é", "y", "p", '"type":"x|', "|1}", "é\n", "x<", 'O"}O"}', "O\",\"data\":1", "{O{", ' <', "<|>",
]  # fmt: skip


def texts(delimiter: str) -> st.SearchStrategy[str]:
    """Text full of the delimiter, of its parts, and of what JSON puts around text."""
    parts = [
        delimiter,
        delimiter[:1],
        delimiter[-1:],
        delimiter[:-1],
        delimiter[1:],
        "x",
        '"',
        "\\",
        "}",
        "{",
        ":",
        ",",
        "\\u",
    ]
    return st.lists(st.sampled_from(parts), max_size=6).map("".join)


def payloads(delimiter: str) -> st.SearchStrategy[Any]:
    leaves = st.one_of(texts(delimiter), st.sampled_from([1, None, True, 0.5]))
    return st.one_of(
        leaves,
        st.lists(leaves, max_size=3),
        st.dictionaries(texts(delimiter), leaves, max_size=2),
    )


@pytest.mark.row(8)
@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_delimiters_in_payloads_and_names(delimiter: str) -> None:
    framed = codec(delimiter=delimiter)
    rounds = 0

    @given(st.lists(st.tuples(texts(delimiter).filter(bool), payloads(delimiter)), min_size=6, max_size=6))
    @settings(max_examples=30, deadline=None, database=None, derandomize=True)
    def round_trip(messages: list[tuple[str, Any]]) -> None:
        nonlocal rounds
        rounds += len(messages)
        stream = b""
        for type, data in messages:
            frame = framed.encode(type, data)
            assert frame.find(delimiter.encode()) == len(frame) - len(delimiter.encode())
            assert json.loads(frame[: -len(delimiter.encode())]) == {"type": type, "data": data}
            stream += frame
        assert read(framed, stream) == messages

    round_trip()
    assert rounds >= 5000 / len(DELIMITERS)


@pytest.mark.row(8)
@pytest.mark.parametrize("delimiter", ["1", '"', ",", "{}", "true", ":", "a", "u", "\\u0041", " ", "", "0\\"])
def test_delimiters_that_cannot_work_are_refused(delimiter: str) -> None:
    with pytest.raises(ConfigError, match="delimiter"):
        codec(delimiter=delimiter)


@pytest.mark.row(8)
@pytest.mark.parametrize(
    ("delimiter", "raw"),
    [("\f", b'1}\f{"type":"forged"'), ("\n", b"[1,\n2]"), ("\x1e", b"[1,\x1e2]"), ("}\f", b"1}\f"), ("\f\f", b"\f\f1")],
)
def test_a_raw_payload_cannot_forge_a_frame(delimiter: str, raw: bytes) -> None:
    with pytest.raises(InvalidPayload, match="Raw payload holds the delimiter") as caught:
        codec(delimiter=delimiter).encode("a", Raw(raw))
    assert caught.value.event == "a"


@pytest.mark.row(8)
def test_a_raw_payload_with_a_delimiter_inside_a_text_is_escaped() -> None:
    framed = codec(delimiter="<end>")
    frame = framed.encode("a", Raw(b'"an <end>"'))
    assert frame.count(b"<end>") == 1
    assert read(framed, frame) == [("a", "an <end>")]
