"""The raw profile: bytes in, the same bytes out."""

from __future__ import annotations

import pytest

from node_ipc.config.config import Config
from node_ipc.errors import InvalidPayload
from node_ipc.wire.codec import choose
from node_ipc.wire.raw import RawCodec


def test_payloads_go_out_alone() -> None:
    codec = RawCodec("hex")
    assert codec.raw
    assert codec.encode("00ff") == b"\x00\xff"
    assert codec.encode(b"00ff") == b"00ff"
    assert codec.encode([5, 0x6D]) == b"\x05\x6d"


def test_there_are_no_events_in_raw_mode() -> None:
    with pytest.raises(InvalidPayload, match="raw mode has no events"):
        RawCodec("utf8").encode("message", "hello")
    RawCodec("utf8").check_name("connect")


def test_a_read_is_not_cut() -> None:
    splitter = RawCodec("utf8").splitter()
    assert splitter.split(b"a\fb\xff") == [b"a\fb\xff"]
    assert splitter.rest == b""
    assert splitter.fault is None


@pytest.mark.parametrize("options", [{"raw_buffer": True}, {"parser": "raw"}])
def test_both_spellings_choose_it(options: dict[str, object]) -> None:
    codec = choose(Config(encoding="base64", **options).settings())
    assert isinstance(codec, RawCodec)
    assert codec.encode("aGk=") == b"hi"
