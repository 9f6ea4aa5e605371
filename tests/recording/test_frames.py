"""Cutting a copy of a stream into frames, however it was read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_ipc.recording.frames import Cutter, Loaded, Long, pong_to

frames = st.lists(st.text(alphabet="ab<en", max_size=6).map(str.encode), max_size=8)


@given(frames, st.lists(st.integers(1, 7), max_size=30))
def test_any_reads_give_the_same_frames(sent: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(frame + b"<end>" for frame in sent) + b"half"
    whole = Cutter(b"<end>", 100).cut(stream)
    cutter, found, at = Cutter(b"<end>", 100), [], 0
    for size in [*sizes, len(stream)]:
        if part := stream[at : at + size]:
            found += cutter.cut(part)
        at += size
    assert found == whole == stream.split(b"<end>")[:-1]


@pytest.mark.parametrize("step", [1, 3, 64, 10_000])
def test_of_a_long_frame_the_beginning_is_kept(step: int) -> None:
    stream = b"short\f" + b"x" * 1000 + b"\fafter\f"
    cutter, found = Cutter(b"\f", 10), []
    for at in range(0, len(stream), step):
        found += cutter.cut(stream[at : at + step])
    assert found == [b"short", Long(b"x" * 10, 1000), b"after"]


def test_without_a_delimiter_each_read_is_one() -> None:
    assert Cutter(b"", 10).cut(b"abc") == [b"abc"]


def test_the_answer_to_a_heartbeat_repeats_its_data() -> None:
    assert pong_to(b'{"type":"ipc.ping","data":{"behind":7}}') == b'{"type":"ipc.pong","data":{"behind":7}}'
    assert pong_to(b'{"type":"ping","data":{}}') is None
    assert pong_to(Long(b"", 9)) is None


@pytest.mark.parametrize("step", [1, 3, 64, 10_000])
def test_bytes_behind_a_frame_pass_and_are_told_of(step: int) -> None:
    head = b'{"attachments":[{"at":[],"size":300},{"at":["a"],"size":2}],"type":"picture","data":{"a":null}}'
    behind = b'\f{"type":"no","data":1}\f' + bytes(278)
    stream = b'{"type":"a"}\f' + (head + b"\f" + behind) * 3 + b'{"type":"b","data":1,"attachments":1}\f'
    cutter, found = Cutter(b"\f", 200), []
    for at in range(0, len(stream), step):
        found += cutter.cut(stream[at : at + step])
    told = [(each.plain, each.size) if isinstance(each, Loaded) else each for each in found]
    assert told == [
        b'{"type":"a"}',
        *[(b'{"type":"picture","data":{"a":null}}', len(head) + 302)] * 3,
        b'{"type":"b","data":1}',  # as whoever offers nothing writes it
    ]


def test_a_thousand_small_messages_with_bytes_in_one_read() -> None:
    stream = b'{"attachments":[{"at":[],"size":1}],"type":"x","data":null}\f\f' * 1000
    assert len(Cutter(b"\f", 200).cut(stream)) == 1000
