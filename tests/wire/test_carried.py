"""What travels beside a message: written where there is room, and read without trust."""

from __future__ import annotations

from typing import Any

import pytest

from node_ipc.config.config import Config
from node_ipc.errors import InvalidPayload
from node_ipc.wire.carried import MOST_CARRIED, Carried, carrying, plain_of
from node_ipc.wire.codec import Codec, choose, logged, shallow

PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
FRAME = (
    b'{"type":"order","data":{"n":1},"trace":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}'
)


class Carrier:
    """Puts the same beside each message."""

    def __init__(self, members: dict[str, str]) -> None:
        self.members = members
        self.sizes: list[int] = []

    def emitting(self, name: str, data: Any, carrier: dict[str, str]) -> list[Any]:
        carrier.update(self.members)
        return [lambda size, error: self.sizes.append(size)]


def codec(members: dict[str, str] = PARENT, **options: Any) -> Codec:
    return carrying(choose(Config(**options).settings()), Carrier(members))


def test_it_stands_behind_type_and_data() -> None:
    assert codec().encode("order", {"n": 1}) == FRAME + b"\f"


def test_what_was_sent_is_read() -> None:
    for decode in (codec().decode, codec().decode_large):
        message = decode(FRAME)
        assert (message.type, message.data, message.carrier, message.size) == ("order", {"n": 1}, PARENT, len(FRAME))
    assert codec().decode_raw(FRAME).carrier == PARENT


@pytest.mark.parametrize(
    "trace",
    [
        *("null", "1", '"text"', "[]", "[[1]]", "{}", '{"a":1}', '{"a":null,"b":{"c":"d"}}'),
        *("[" * 500 + "]" * 500, '{"a":"' + "x" * MOST_CARRIED + '"}'),
    ],
)
def test_what_is_no_carrier_is_nothing_and_the_message_is_well(trace: str) -> None:
    message = codec().decode(b'{"trace":' + trace.encode() + b',"type":"order","data":{"trace":7}}')
    assert (message.type, message.data, message.carrier) == ("order", {"trace": 7}, {})


def test_only_texts_are_kept() -> None:
    assert codec().decode(b'{"type":"x","trace":{"a":"b","c":1}}').carrier == {"a": "b"}


def test_a_payload_with_such_a_member_is_a_payload() -> None:
    assert codec().decode(b'{"type":"x","data":{"trace":{"a":"b"}}}').carrier == {}


@pytest.mark.parametrize("members", [{"baggage": "x" * MOST_CARRIED}, {}])
def test_without_it_the_message_is_the_plain_one(members: dict[str, str]) -> None:
    assert codec(members).encode("order", {"n": 1}) == b'{"type":"order","data":{"n":1}}\f'


def test_a_message_that_has_no_room_for_it_goes_out_without() -> None:
    body = "x" * 80
    whole = choose(Config().settings()).encode("order", body)
    assert codec(max_message_size=len(whole)).encode("order", body) == whole


@pytest.mark.parametrize("delimiter", ["|", "||", "x|y"])
def test_a_delimiter_that_would_be_in_it_keeps_it_out(delimiter: str) -> None:
    whole = codec({"baggage": "ax|y||b"}, delimiter=delimiter).encode("order", {"n": 1})
    assert whole == b'{"type":"order","data":{"n":1}}' + delimiter.encode()


def test_the_watch_is_told_the_size_that_goes_out() -> None:
    carrier = Carrier(PARENT)
    frame = carrying(choose(Config().settings()), carrier).encode("order", {"n": 1})
    assert carrier.sizes == [len(frame)]


def test_frames_that_only_the_slow_decoder_can_read_are_read() -> None:
    found = codec().salvage(b'{"type":"x","data":"\\ud800","trace":{"a":"b"}}')
    assert isinstance(found, Carried) and found.data == "\ud800"
    deep = b'{"type":"x","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert isinstance(codec().salvage(deep), InvalidPayload)


def test_a_format_of_ones_own_has_no_room_and_is_watched_all_the_same() -> None:
    class Lines:
        def encode(self, type: str, data: Any) -> bytes:
            return f"{type} {data}\n".encode()

        def decode(self, data: bytes) -> tuple[list[tuple[str, Any]], int]:
            end = data.rfind(b"\n") + 1
            return [
                (type, rest) for type, rest in (line.split(" ", 1) for line in data[:end].decode().split("\n")[:-1])
            ], end

    watched = codec(parser=Lines())
    assert watched.encode("a", 1) == b"a 1\n"
    [frame] = watched.splitter().split(b"a 1\n")
    message: Any = watched.decode(frame)
    assert (message.type, message.data, message.carrier, message.size) == ("a", "1", {}, 0)


def test_it_is_put_on_once_and_taken_off() -> None:
    plain = choose(Config().settings())
    watched = carrying(plain, Carrier(PARENT))
    assert carrying(watched, Carrier({})) is watched
    assert plain_of(watched) is plain and plain_of(plain) is plain
    for over in (logged(watched, print), shallow(watched)):
        assert carrying(over, Carrier({})) is over
