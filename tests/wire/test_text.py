"""Node's text encodings, byte by byte as ``Buffer.from`` makes them."""

from __future__ import annotations

import array
from typing import Any

import pytest

from node_ipc.errors import InvalidPayload
from node_ipc.wire.text import from_text, to_payload_bytes


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("hé€😀", "utf8", "hé€😀".encode()),
        ("hé€😀", "utf-8", "hé€😀".encode()),
        ("hé€😀", "UTF8", "hé€😀".encode()),
        ("aé", "ascii", b"a\xe9"),  # Node's ascii writes as latin1
        ("aé\xff", "latin1", b"a\xe9\xff"),
        ("aé\xff", "binary", b"a\xe9\xff"),
        ("a€", "utf16le", b"a\x00\xac\x20"),
        ("a€", "utf-16le", b"a\x00\xac\x20"),
        ("😀", "ucs2", b"\x3d\xd8\x00\xde"),
        ("a", "ucs-2", b"a\x00"),
        ("00ff7F", "hex", b"\x00\xff\x7f"),
        ("", "hex", b""),
        ("aGk=", "base64", b"hi"),
        ("aGk", "base64", b"hi"),
        ("_-8", "base64", b"\xff\xef"),
        ("/+8=", "base64", b"\xff\xef"),
        ("a G\nk =\t", "base64", b"hi"),
        ("", "base64", b""),
    ],
)
def test_text(text: str, encoding: str, expected: bytes) -> None:
    assert from_text(text, encoding) == expected
    assert to_payload_bytes(text, encoding) == expected


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("0", "hex"),
        ("0g", "hex"),
        ("é", "hex"),
        ("a*b", "base64"),
        ("aé==", "base64"),
        ("a", "base64"),
        ("€", "ascii"),
        ("€", "latin1"),
        ("\ud800", "utf8"),
        ("\ud800", "utf16le"),
    ],
)
def test_text_that_does_not_fit(text: str, encoding: str) -> None:
    with pytest.raises(InvalidPayload, match="cannot be written in the encoding"):
        from_text(text, encoding)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x01\xfe",
        bytearray(b"\x01\xfe"),
        memoryview(b"\x01\xfe"),
        memoryview(b"\x01\x00\xfe\x00")[::2],
        array.array("B", [1, 254]),
        [1, 254],
        (1, 254),
        iter([1, 254]),
        range(1, 255, 253),
    ],
)
def test_bytes_go_out_as_they_are(payload: Any) -> None:
    assert to_payload_bytes(payload, "hex") == b"\x01\xfe"


def test_wider_items_go_out_as_they_lie_in_memory() -> None:
    assert to_payload_bytes(array.array("H", [1, 2]), "utf8") == array.array("H", [1, 2]).tobytes()


@pytest.mark.parametrize("payload", [[256], [-1], ["a"], [1.5], [None]])
def test_lists_hold_byte_values_only(payload: Any) -> None:
    with pytest.raises(InvalidPayload, match="list of byte values"):
        to_payload_bytes(payload, "utf8")


@pytest.mark.parametrize("payload", [5, None, {}, {"a": 1}, 1.5, object()])
def test_what_raw_mode_does_not_take(payload: Any) -> None:
    with pytest.raises(InvalidPayload, match="raw mode emits text, bytes"):
        to_payload_bytes(payload, "utf8")
